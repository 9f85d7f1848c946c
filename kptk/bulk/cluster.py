"""Partitions over a dask.distributed cluster, with a bounded number on their way."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kptk.bulk.folder import Done
from kptk.bulk.lists import Partition
from kptk.bulk.work import Job, run_partition, site_of
from kptk.errors import BulkError, KptkError, require

if TYPE_CHECKING:
    from distributed import Client

_AHEAD = 2  # partitions to a thread of the cluster: one at work, one waiting
_RETRIES = 2  # after errors, on any worker
_ROUNDS = 3  # of as many deaths as Dask allows a task


@dataclass(frozen=True)
class Lost:
    """A partition that could not be done, and why."""

    partition: int
    reason: str


@contextmanager
def connected(client: Client | str, timeout: float) -> Iterator[Any]:
    """A client, made of an address and closed again, or the one given.

    Raises:
        BulkError: there is no scheduler, or no worker within ``timeout`` seconds.
    """
    distributed = require("distributed", "dask", "Work on many machines")
    if not isinstance(client, str):
        _await_workers(client, timeout)
        yield client
        return
    try:
        made = distributed.Client(client, timeout=timeout)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise BulkError(
            f"There is no Dask scheduler at {client!r} ({error}). Start one with: dask scheduler; "
            "it prints its address, tcp://HOST:PORT."
        ) from error
    with made:
        _await_workers(made, timeout)
        yield made


def _await_workers(client: Any, timeout: float) -> None:
    try:
        client.wait_for_workers(1, timeout=timeout)
    except OSError as error:
        address = client.scheduler.address
        raise BulkError(
            f"The scheduler at {address} has no workers. Start some, with kptk installed: "
            f"dask worker {address} --nthreads 1"
        ) from error


def run_on_cluster(client: Any, job: Job, partitions: Iterable[Partition]) -> Iterator[Done | Lost]:
    """Do partitions on the workers, in whatever order they end.

    Raises:
        KptkError: a worker cannot do this job at all.
        BulkError: the scheduler has gone.
    """
    from distributed import as_completed

    run = uuid.uuid4().hex[:8]  # another run with these settings may be on the same cluster
    running: dict[str, tuple[Partition, int]] = {}
    ended = as_completed()

    def submit(partition: Partition, round_: int) -> None:
        key = f"kptk-{run}-{partition.number}-{round_}"
        running[key] = partition, round_
        ended.add(
            client.submit(run_partition, job, partition, key=key, pure=False, retries=_RETRIES)
        )

    def settle(future: Any) -> Iterator[Done | Lost]:
        partition, round_ = running.pop(future.key)
        outcome = _outcome(future, partition.number)
        if outcome is None and round_ < _ROUNDS:
            submit(partition, round_ + 1)
        else:
            yield outcome or Lost(partition.number, _KILLED)

    for partition in partitions:
        while len(running) >= _room(client):
            yield from settle(next(ended))
        submit(partition, 1)
    while running:
        yield from settle(next(ended))
    client.run(site_of.cache_clear, on_error="ignore")


_KILLED = "the worker processes that were at it died again and again; their logs say more"


def _room(client: Any) -> int:
    """How many partitions may be on their way, by the threads that there are now."""
    threads: int = sum(client.nthreads().values())
    return max(2, _AHEAD * threads)


def _outcome(future: Any, number: int) -> Done | Lost | None:
    """What came of a partition; None: its workers died."""
    from distributed.scheduler import KilledWorker

    if future.status in ("cancelled", "lost"):
        raise BulkError(
            "The scheduler dropped the work: it was closed, or started anew. What is finished is "
            "in the folder; the same command goes on from there."
        )
    error = future.exception()
    if error is None:
        done: Done = future.result()
        return done
    if isinstance(error, KilledWorker):
        return None
    if isinstance(error, KptkError):
        raise error
    return Lost(number, f"{type(error).__name__}: {error}")
