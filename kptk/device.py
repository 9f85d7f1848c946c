"""Device strings: ``auto``, ``cpu``, ``gpu:0``, ``npu:0``, ``xpu:0``, ``mlu:0``."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from kptk.errors import DeviceError, InputError

ACCELERATORS = ("gpu", "npu", "xpu", "mlu")
_FORM = re.compile(rf"({'|'.join(ACCELERATORS)})(?::(\d+))?")
_FORMS = "'auto', 'cpu', 'gpu', 'gpu:0', 'npu:0', 'xpu:0' or 'mlu:0'"


class Device(NamedTuple):
    """One device: ``kind`` is ``"auto"``, ``"cpu"`` or an accelerator's name."""

    kind: str
    number: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}" if self.kind in ACCELERATORS else self.kind


def parse_device(text: str) -> Device:
    """Read a device string.

    Args:
        text: ``"auto"``, ``"cpu"``, ``"gpu"`` (the first one), ``"gpu:1"``, ``"npu:0"``,
            ``"xpu:0"`` or ``"mlu:0"``; case does not matter.

    Raises:
        DeviceError: another form; the message lists the right ones.
    """
    if not isinstance(text, str):
        raise DeviceError(f"device must be {_FORMS}. Got {text!r}.")
    form = text.strip().lower()
    if form in ("auto", "cpu"):
        return Device(form)
    match = _FORM.fullmatch(form)
    if match:
        return Device(match[1], int(match[2] or 0))
    raise DeviceError(f"device must be {_FORMS}. Got {text!r}.{_advice(form)}")


def _advice(form: str) -> str:
    if "," in form:
        return f" Prediction runs on one device: {form.split(',')[0]!r}."
    if form.startswith("cuda"):
        return f" Paddle calls it {form.replace('cuda', 'gpu')!r}."
    if form.startswith("cpu:"):
        return " 'cpu' has no number."
    return ""


def check_threads(threads: int | None) -> int:
    """Return the number of CPU threads to use; None means all that this process may use."""
    if threads is None:
        return available_cores()
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InputError(f"threads must be a positive integer or None. Got {threads!r}.")
    return threads


def available_cores() -> int:
    """Return how many cores this process may run on (containers and taskset count)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
