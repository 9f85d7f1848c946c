"""What every engine rests on: its protocol, its errors, device strings, batches shared out."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kptk.errors import DeviceError, InputError, ModelError

Inputs = Mapping[str, NDArray[np.float32]]
Outputs = tuple[NDArray[Any], ...]

ACCELERATORS = ("gpu", "npu", "xpu", "mlu")
PADDLE_ONLY = ("npu", "xpu", "mlu")  # ONNX Runtime has none of them

# What brings each kind of device, by Paddle unless said otherwise.
PACKAGES = {
    "gpu": "paddlepaddle-gpu in place of paddlepaddle, or onnxruntime-gpu in place of onnxruntime",
    "npu": "paddle-custom-npu beside paddlepaddle",
    "xpu": "paddlepaddle-xpu in place of paddlepaddle",
    "mlu": "paddle-custom-mlu beside paddlepaddle",
}

_DEVICES = re.compile(rf"({'|'.join(ACCELERATORS)})(?::(\d+(?:\s*,\s*\d+)*))?")
_FORMS = "'auto', 'cpu', 'gpu', 'gpu:0', 'npu:0', 'xpu:0' or 'mlu:0'"

# Pixels in a part: what the network makes of more leaves a core's cache. 8 crops of 128x96, 2 of
# 256x192, for which parts of 8 take 12 % longer.
_PIXELS = 8 * 128 * 96


class Engine(Protocol):
    """Something that runs a network.

    Attributes:
        name: ``"onnxruntime"``, ``"openvino"`` or ``"paddle"``.
        device: ``"cpu"``, ``"gpu:0"``, ...
        precision: what it computes in: ``"f32"`` or ``"bf16"``.
        input_names: names of the inputs, in the model's order.
    """

    name: str
    device: str
    precision: str
    input_names: tuple[str, ...]

    def run(self, inputs: Inputs) -> Outputs:
        """Run the network.

        Args:
            inputs: one float32 array a name in ``input_names``, batch first.

        Returns:
            The outputs in the model's order, with the model's dtypes.

        Raises:
            ModelError: names or shapes do not fit the network.
        """
        ...


def ordered_inputs(names: tuple[str, ...], inputs: Inputs) -> list[NDArray[np.float32]]:
    """Return the inputs in the model's order, float32 and contiguous."""
    if set(inputs) != set(names):
        raise ModelError(
            f"The network's inputs are {', '.join(names)}. Got {', '.join(inputs) or 'none'}."
        )
    return [np.ascontiguousarray(inputs[name], dtype=np.float32) for name in names]


def run_error(error: Exception, names: tuple[str, ...], arrays: list[Any]) -> ModelError:
    """What an engine raised while it ran, with the shapes it was given."""
    shapes = ", ".join(f"{n} {a.shape}" for n, a in zip(names, arrays, strict=True))
    return ModelError(f"The network could not run on {shapes}: {error}")


def load_error(error: Exception, path: Path) -> ModelError:
    """What an engine raised while it loaded a file."""
    return ModelError(
        f"{str(path)!r} cannot be loaded: {error} The file may be damaged: fetch or export the "
        "model again."
    )


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
    first, *others = parse_devices(text)
    if others:
        raise DeviceError(
            f"device must be {_FORMS}. Got {text!r}. This runs on one device: {str(first)!r}."
        )
    return first


def parse_devices(text: str) -> tuple[Device, ...]:
    """Read a device string that may name several devices of one kind.

    Args:
        text: what :func:`parse_device` takes, or PaddleX's form for several: ``"gpu:0,1"``.

    Returns:
        The devices in the order named.

    Raises:
        DeviceError: another form, or a device named twice.
    """
    form = text.strip().lower() if isinstance(text, str) else ""
    if form in ("auto", "cpu"):
        return (Device(form),)
    match = _DEVICES.fullmatch(form)
    if match is None:
        advice = ""
        if "," in form:
            advice = " Several devices are of one kind and have numbers: 'gpu:0,1'."
        elif form.startswith("dcu"):
            advice = f" Paddle's DCU build calls it {form.replace('dcu', 'gpu')!r}."
        elif form.startswith("cuda"):
            advice = f" Paddle calls it {form.replace('cuda', 'gpu')!r}."
        elif form.startswith("cpu:"):
            advice = " 'cpu' has no number."
        raise DeviceError(f"device must be {_FORMS}. Got {text!r}.{advice}")
    numbers = [int(number) for number in (match[2] or "0").split(",")]
    if len(set(numbers)) < len(numbers):
        raise DeviceError(f"device must name each device once. Got {text!r}.")
    return tuple(Device(match[1], number) for number in numbers)


def join_devices(devices: Sequence[Device]) -> str:
    """The string that :func:`parse_devices` reads: ``"gpu:0,1"``."""
    first, *others = devices
    return ",".join([str(first), *(str(device.number) for device in others)])


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


class Shared:
    """An engine that runs small batches on all cores together, and others in parts.

    A network that is given two cores for every operator leaves them waiting for each other. Two
    parts of a batch, each on a core of its own, take 15 to 30 % less time
    (``benchmarks/RESULTS.md``).

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
    def _alone(self) -> tuple[Engine, ThreadPoolExecutor]:
        """The network again, for as many runs at once as there are cores, and their threads."""
        pool = ThreadPoolExecutor(self._threads, "kptk-part")
        return self._load(1, self._threads), pool

    def run(self, inputs: Inputs) -> Outputs:
        """Run the network; see `Engine.run`."""
        lengths = {len(array) for array in inputs.values()}
        if len(lengths) > 1:
            raise ModelError(f"The inputs of a batch must be equally long. Got {sorted(lengths)}.")
        length = max(lengths, default=0)
        at_once = self._in_parts and length >= self._threads
        count = length if self._by_image else 1
        if at_once and not self._by_image:  # as many for each core, none of them above _PIXELS
            pixels = max(int(np.prod(array.shape[2:])) for array in inputs.values())
            most = max(1, _PIXELS // pixels)
            count = min(length, self._threads * -(-length // (self._threads * most)))
        if count <= 1:
            return self._together.run(inputs)
        pieces = [np.array_split(array, count) for array in inputs.values()]
        parts = [dict(zip(inputs, arrays, strict=True)) for arrays in zip(*pieces, strict=True)]
        if at_once:
            with self._lock:
                engine, pool = self._alone
            answers = list(pool.map(engine.run, parts))
        else:
            answers = [self._together.run(part) for part in parts]
        return tuple(np.concatenate(arrays) for arrays in zip(*answers, strict=True))
