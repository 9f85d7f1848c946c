"""Device strings: ``auto``, ``cpu``, ``gpu:0``, ``npu:0``, ``xpu:0``, ``mlu:0``, ``gpu:0,1``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from kptk.errors import DeviceError, InputError

ACCELERATORS = ("gpu", "npu", "xpu", "mlu")
PADDLE_ONLY = ("npu", "xpu", "mlu")  # ONNX Runtime has none of them
# What brings each kind of device, by Paddle unless said otherwise.
PACKAGES = {
    "gpu": "paddlepaddle-gpu in place of paddlepaddle, or onnxruntime-gpu in place of onnxruntime",
    "npu": "paddle-custom-npu beside paddlepaddle",
    "xpu": "paddlepaddle-xpu in place of paddlepaddle",
    "mlu": "paddle-custom-mlu beside paddlepaddle",
}
_FORM = re.compile(rf"({'|'.join(ACCELERATORS)})(?::(\d+))?")
_SEVERAL = re.compile(rf"({'|'.join(ACCELERATORS)}):(\d+(?:\s*,\s*\d+)+)")
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


def parse_devices(text: str) -> tuple[Device, ...]:
    """Read a device string that may name several devices of one kind.

    Args:
        text: what :func:`parse_device` takes, or PaddleX's form for several: ``"gpu:0,1"``.

    Returns:
        The devices in the order named.

    Raises:
        DeviceError: another form, or a device named twice.
    """
    match = _SEVERAL.fullmatch(text.strip().lower()) if isinstance(text, str) else None
    if match is None:
        return (parse_device(text),)
    numbers = [int(number) for number in match[2].split(",")]
    if len(set(numbers)) < len(numbers):
        raise DeviceError(f"device must name each device once. Got {text!r}.")
    return tuple(Device(match[1], number) for number in numbers)


def join_devices(devices: Sequence[Device]) -> str:
    """The string that :func:`parse_devices` reads: ``"gpu:0,1"``."""
    first, *others = devices
    return ",".join([str(first), *(str(device.number) for device in others)])


def _advice(form: str) -> str:
    if "," in form:
        if _SEVERAL.fullmatch(form):
            return f" This runs on one device: {form.split(',')[0]!r}."
        return " Several devices are of one kind and have numbers: 'gpu:0,1'."
    if form.startswith("dcu"):
        return f" Paddle's DCU build calls it {form.replace('dcu', 'gpu')!r}."
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
