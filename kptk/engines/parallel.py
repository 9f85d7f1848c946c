"""One network on several devices: a replica on each, batches handed to whichever is free."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from kptk.engines.base import Engine, Inputs, Outputs, join_devices, parse_device
from kptk.errors import ModelError

Chunk = TypeVar("Chunk")


Result = TypeVar("Result")


class Replicas:
    """Engines that hold the same network; itself an engine, safe to call from many threads.

    Args:
        engines: one for each device, two or more.

    Attributes:
        name: of the engines.
        device: all of theirs, as ``"gpu:0,1"``.
        precision: of the engines.
        input_names: of the network.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.name, self.precision = engines[0].name, engines[0].precision
        self.device = join_devices([parse_device(engine.device) for engine in engines])
        self.input_names = engines[0].input_names
        self._free: queue.SimpleQueue[Engine] = queue.SimpleQueue()
        for engine in engines:
            self._free.put(engine)
        self._count = len(engines)
        self._threads = ThreadPoolExecutor(self._count, thread_name_prefix=f"kptk {self.device}")

    def __len__(self) -> int:
        return self._count

    def run(self, inputs: Inputs) -> Outputs:
        """Run the network on the replica that has been free longest, or is the next to be so.

        Args:
            inputs: see `Engine.run`.

        Raises:
            ModelError: the replica failed; the message names its device.
        """
        engine = self._free.get()
        try:
            return engine.run(inputs)
        except Exception as error:  # whatever it is, the device is what the user needs to know
            raise ModelError(f"The replica on {engine.device} failed: {error}") from error
        finally:
            self._free.put(engine)

    def map(self, call: Callable[[Chunk], Result], chunks: Iterable[Chunk]) -> list[Result]:
        """Call for every chunk, on as many threads as there are devices; results in order."""
        return list(self._threads.map(call, chunks))


def spread(
    engine: Engine, call: Callable[[Chunk], Result], chunks: Sequence[Chunk]
) -> list[Result]:
    """Call for every chunk, at once where the engine is several; results in order.

    Args:
        engine: what ``call`` runs the network with.
        call: all the work on one chunk, what is done before and after the network too.
        chunks: the batches.

    Raises:
        KptkError: what ``call`` raised first, in the order of the chunks.
    """
    if isinstance(engine, Replicas) and len(chunks) > 1:
        return engine.map(call, chunks)
    return [call(chunk) for chunk in chunks]


def count_devices(engine: Engine) -> int:
    """How many batches an engine can work on at once."""
    return len(engine) if isinstance(engine, Replicas) else 1
