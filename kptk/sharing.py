"""How a batch is shared out among the cores of a CPU: in parts, each on one core.

A network that is given two cores for every operator leaves them waiting for each other. Two parts
of a batch, each on a core of its own, take 15 to 30 % less time (``benchmarks/RESULTS.md``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import ModelError

if TYPE_CHECKING:
    from kptk.engine import Engine

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
        """Run the network; see `kptk.engine.Engine.run`."""
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
