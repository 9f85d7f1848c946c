"""Device strings: ``auto``, ``cpu``, ``gpu:0``, ``npu:0``, ``xpu:0``, ``mlu:0``, ``gpu:0,1``."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kptk.errors import DeviceError, InputError, ModelError

if TYPE_CHECKING:
    from kptk.engines.load import Engine


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


# ---- sharing: How a batch is shared out among the cores of a CPU: in parts, each on one core.
#
# A network that is given two cores for every operator leaves them waiting for each other. Two parts
# of a batch, each on a core of its own, take 15 to 30 % less time (``benchmarks/RESULTS.md``).


# Pixels in a part: what the network makes of more leaves a core's cache. 8 crops of 128x96, 2 of
# 256x192, for which parts of 8 take 12 % longer.
_PIXELS = 8 * 128 * 96


Inputs = Mapping[str, NDArray[np.float32]]


Outputs = tuple[NDArray[Any], ...]


class Shared:
    """An engine that runs small batches on all cores together, and others in parts.

    Args:
        load: makes an engine, given the threads of a run and how many runs are at once.
        threads: cores to use.
        by_image: whether parts are single images. paddle2onnx turns PP-YOLOE's non-maximum
            suppression into operators that see the first image only: the count has one entry
            whatever the batch, and OpenVINO refuses the shapes.
        in_parts: whether batches of at least ``threads`` run in parts at once, on a CPU.
    """

    def __init__(
        self,
        load: Callable[[int, int], Engine],
        threads: int,
        *,
        by_image: bool,
        in_parts: bool = True,
    ) -> None:
        self._load, self._threads, self._by_image = load, threads, by_image
        self._together = load(threads, 1)
        self._in_parts = in_parts and threads > 1 and self._together.device == "cpu"
        self._lock = threading.Lock()
        self.name, self.device = self._together.name, self._together.device
        self.precision = self._together.precision
        self.input_names = self._together.input_names

    @cached_property
    def _alone(self) -> Engine:
        """The network again, for as many runs at once as there are cores."""
        return self._load(1, self._threads)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, "kptk-part")

    def run(self, inputs: Inputs) -> Outputs:
        """Run the network; see `kptk.engines.load.Engine.run`."""
        lengths = {len(array) for array in inputs.values()}
        if len(lengths) > 1:
            raise ModelError(f"The inputs of a batch must be equally long. Got {sorted(lengths)}.")
        length = max(lengths, default=0)
        parallel = self._in_parts and length >= self._threads
        count = length if self._by_image else self._parts(inputs, length) if parallel else 1
        if count <= 1:
            return self._together.run(inputs)
        parts = _split(inputs, count)
        if not parallel:
            return _join([self._together.run(part) for part in parts])
        with self._lock:
            alone, pool = self._alone, self._pool
        return _join(list(pool.map(alone.run, parts)))

    def _parts(self, inputs: Inputs, length: int) -> int:
        """How many parts a batch has: as many for each core, none of them above `_PIXELS`."""
        pixels = max(int(np.prod(array.shape[2:])) for array in inputs.values())
        most = max(1, _PIXELS // pixels)
        return min(length, self._threads * -(-length // (self._threads * most)))


def _split(inputs: Inputs, count: int) -> list[dict[str, NDArray[np.float32]]]:
    """The batch in so many parts, which differ by one at most."""
    pieces = {name: np.array_split(array, count) for name, array in inputs.items()}
    return [{name: arrays[i] for name, arrays in pieces.items()} for i in range(count)]


def _join(outputs: list[Outputs]) -> Outputs:
    return tuple(np.concatenate(arrays) for arrays in zip(*outputs, strict=True))
