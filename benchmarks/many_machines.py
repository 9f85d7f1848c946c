"""What partitions cost: images a second, the overhead of a partition, bytes of both formats.

``python benchmarks/many_machines.py`` runs the demo pair over demo images in this process, as
partitions in this process, and on local Dask clusters of one and of several workers; then
partitions of results that are there already, so that nothing but kptk and Dask is timed. It takes
about a minute; docs/many_machines.md works the cost of large sets out from these numbers.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import harness
import numpy as np

import kptk

IMAGES = 24
ROUNDS = 2
SIZES = ((100, 1), (1000, 500))  # images, of them in a partition: of runs without inference


class Ready:
    """Gives one result again and again: five people."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        corners = rng.uniform(0, 300, (5, 2))
        self.result = kptk.PoseResult(
            image=np.zeros((480, 640, 3), np.uint8), name="ready", path=None, suffix=".jpg",
            boxes=np.hstack([corners, corners + 100]).astype(np.float32),
            scores=np.linspace(0.9, 0.5, 5).astype(np.float32),
            keypoints=rng.uniform(0, 400, (5, 17, 3)).astype(np.float32),
        )  # fmt: skip

    def predict(self, source: Any, **_: Any) -> Iterator[Any]:
        """A result for each path."""
        return (self.result for _ in source)


def make_ready() -> Ready:
    """The pipeline of those runs."""
    return Ready()


@contextmanager
def workers(count: int, threads: int) -> Iterator[Any]:
    """A client of a cluster of processes on this machine."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=count, threads_per_worker=threads, processes=True, host="127.0.0.1",
            dashboard_address=":0",
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client


def run(paths: Sequence[Path], pipeline: Any, size: int, client: Any = None, **options: Any) -> Any:
    """One run into a folder of its own; the folder is gone afterwards.

    Returns:
        Seconds of the whole, seconds within partitions, and bytes of the results.
    """
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        stored = kptk.predict_dataset(
            paths, pipeline, folder, client, partition_size=size, progress=False, **options
        )
        whole = time.perf_counter() - began
        within = sum(done.seconds for done in stored.partitions)
        size_of = sum(sum(done.files.values()) for done in stored.partitions)
        return whole, within, size_of


def rates(paths: list[Path]) -> list[list[str]]:
    """Images a second, best round: plain, in partitions, and on clusters; loading not counted."""
    threads = harness.THREADS
    half = len(paths) // (2 * threads)
    pipes = {count: kptk.create_pipeline("demo", threads=count) for count in (1, threads)}

    def plain(count: int) -> float:
        began = time.perf_counter()
        for _ in pipes[count].predict(paths):
            pass
        return time.perf_counter() - began

    def clustered(client: Any, count: int) -> float:
        return run(paths, "demo", half, client, threads=threads // count)[1] / count

    with workers(1, 1) as one, workers(threads, 1) as several:
        cases = {
            "`pipe.predict`, no files, 1 thread": lambda: plain(1),
            f"`pipe.predict`, no files, {threads} threads": lambda: plain(threads),
            "`predict_dataset`, this process, 1 thread": lambda: run(paths, pipes[1], half)[1],
            f"Dask, 1 worker of {threads} threads": lambda: clustered(one, 1),
            f"Dask, {threads} workers of 1 thread": lambda: clustered(several, threads),
        }
        times = harness.in_turn(cases, ROUNDS)
    return [[name, f"{len(paths) / min(times.seconds[name]):.1f}"] for name in cases]


def overheads() -> list[list[str]]:
    """Milliseconds of a partition of one image, and of an image in a large one."""
    rows = []
    with workers(1, 1) as client:
        for form in ("parquet", "jsonl"):
            for name, where in (("this process", None), ("Dask, 1 worker", client)):
                took = [fastest(count, size, where, form) for count, size in SIZES]
                rows.append([f"{form}, {name}", *(f"{1e3 * seconds:.2f}" for seconds in took)])
    return rows


def fastest(count: int, size: int, where: Any, form: str) -> float:
    """Seconds an image of a run whose results are there, after one that loads what it needs."""
    paths = [Path(f"/nowhere/{i:06d}.jpg") for i in range(count)]
    rounds = [run(paths, make_ready, size, where, format=form)[0] for _ in range(ROUNDS + 1)]
    return min(rounds[1:]) / count


def sizes(paths: list[Path]) -> list[list[str]]:
    """Bytes an image and a person, all in one partition."""
    pipe = kptk.create_pipeline("demo", threads=harness.THREADS)
    rows = []
    for form in ("parquet", "jsonl"):
        people = sum(len(result) for result in pipe.predict(paths))
        _, _, size = run(paths, pipe, len(paths), format=form)
        rows.append([form, f"{size / len(paths):.0f}", f"{size / people:.0f}"])
    rows.append(["people an image", f"{people / len(paths):.2f}", ""])
    return rows


def main() -> None:
    """Measure and print."""
    folder = kptk.demo_path("day") / "images"
    paths = sorted(folder.glob("*.jpg"))[:IMAGES]
    harness.section(
        "Many images",
        f"The demo pair on {IMAGES} images of demo/day, best of {ROUNDS} rounds, loading not "
        "counted. Images a second of this machine:",
        harness.table(["", "images/s"], rates(paths)),
        "Beside inference, with results that are there already (five people an image): "
        "milliseconds.",
        harness.table(
            ["", "a partition of one image", "an image in a partition of 500"], overheads()
        ),
        "Bytes of the results:",
        harness.table(["", "an image", "a person"], sizes(paths)),
    )


if __name__ == "__main__":
    main()
