"""A pipeline whose pictures are text files that say what happens to whoever looks at them.

``3``: three people. ``hold``: the first process waits there for good; later ones find one person.
``poison``: kills the process. ``bug``: an exception. ``bad``: cannot be read.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from kptk.errors import InputError
from kptk.pipeline.results import PoseResult

SIZE = (40, 60)  # height, width


class FakePipe:
    """Writes down, beside the pictures, what it is asked for."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex

    def predict(
        self, source: Sequence[str], *, det_threshold: float | None, channel_order: str | None
    ) -> Iterator[PoseResult]:
        for path in map(Path, source):
            with (path.parent / "log").open("a") as log:
                log.write(f"{os.getpid()} {self.name} {path.name}\n")
            yield look_at(path)


def look_at(path: Path) -> PoseResult:
    order = path.read_text() if path.exists() else "bad"
    if order == "hold":
        wait_once(path)
        order = "1"
    if order == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "bug":
        raise ZeroDivisionError("a bug")
    count = 0 if order == "bad" else int(order)
    rng = np.random.default_rng(len(path.stem) + count)
    corners = rng.uniform(1, 30, (count, 2))
    points = rng.uniform(0, 40, (count, 17, 3))
    if count:
        points[0, 3] = np.nan  # a missing point
    return PoseResult(
        image=None if order == "bad" else np.zeros((*SIZE, 3), np.uint8),
        name=path.stem,
        path=str(path),
        suffix=path.suffix,
        boxes=np.hstack([corners, corners + 5]).astype(np.float32),
        scores=np.linspace(0.9, 0.5, count).astype(np.float32),
        keypoints=points.astype(np.float32),
        error=InputError(f"{path} is bad.") if order == "bad" else None,
    )


def wait_once(path: Path) -> None:
    """The first to come leaves its process id and waits on a pipe that nobody opens."""
    note, pipe = path.with_suffix(".pid"), path.with_suffix(".pipe")
    if note.exists():
        return
    os.mkfifo(pipe)
    note.with_suffix(".tmp").write_text(str(os.getpid()))
    note.with_suffix(".tmp").rename(note)
    pipe.open()


def make_fake() -> FakePipe:
    """What a run is given as its pipeline."""
    return FakePipe()


def make_death() -> FakePipe:
    """Kills whoever wants a pipeline."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def write_pictures(folder: Path, orders: Mapping[int, str], count: int) -> list[Path]:
    """So many pictures, ``0.jpg``, ``1.jpg``, ...; with one person unless ordered otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_text(orders.get(number, "1"))
    return paths


def looked_at(folder: Path) -> Counter[str]:
    """How often each picture was looked at."""
    return Counter(line.split()[2] for line in log_lines(folder))


def log_lines(folder: Path) -> list[str]:
    """The log: process id, pipeline, picture."""
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []
