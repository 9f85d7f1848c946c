"""How the cost grows: with images, people per image, image size and the size of a data set."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import harness
import numpy as np
from evaluator import data_set

import kptk
from kptk.evaluation import accumulate, match
from kptk.io.images import read_image

ROUNDS = 3
FOLDERS, PEOPLE = (4, 16, 64), (1, 2, 4, 8, 16, 32, 64)
SIDES, DATA_SETS = (320, 640, 1280, 2560, 5120), (500, 1000, 2000, 5000)


def folder_of(count: int, root: str) -> Path:
    """A folder with so many links to one picture."""
    folder = Path(root) / str(count)
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.jpg").symlink_to(harness.PICTURE)
    return folder


def growth(unit: str, cases: Mapping[int, Callable[[], object]]) -> dict[int, float]:
    """Milliseconds at each size."""
    harness.note(f"growth: {unit}")
    times = harness.in_turn({str(n): harness.timed(call) for n, call in cases.items()}, ROUNDS)
    return {n: times.ms(str(n)) for n in cases}


def row(unit: str, ms: Mapping[int, float]) -> list[str]:
    """A line of the table, with the exponent b of the best fit ms = a size^b."""
    slope = np.polyfit(np.log(list(ms)), np.log(list(ms.values())), 1)[0]
    return [unit, ", ".join(f"{n}: {value:.0f}" for n, value in ms.items()), f"{slope:.2f}"]


def plot(measured: Mapping[str, Mapping[int, float]]) -> None:
    """One panel for each unit, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3), layout="constrained")
    for ax, (unit, ms) in zip(figure.subplots(1, len(measured)), measured.items(), strict=True):
        ax.loglog(list(ms), list(ms.values()), "o-")
        ax.set(xlabel=unit, ylabel="ms")
        ax.grid(alpha=0.3)
    figure.savefig(Path(__file__).with_name("growth.png"), dpi=80)


def main() -> None:
    """Measure, plot and print."""
    pipe = kptk.create_pipeline(harness.pair("det320", "kpt128"), threads=harness.THREADS)
    crowd: Any = harness.Crowd(pipe.detector)
    pipe.detector = crowd
    image = read_image(harness.PICTURE)

    def crowded(n: int) -> None:
        crowd.boxes = harness.people(n, image.shape[:2])
        pipe(image)

    measured = {"people in an image": growth("people", {n: partial(crowded, n) for n in PEOPLE})}
    crowd.boxes = harness.people(4, image.shape[:2])
    sizes = {side: partial(pipe, _resized(image, side)) for side in SIDES}
    measured["image width, 4 people"] = growth("image width", sizes)
    with tempfile.TemporaryDirectory() as root:
        folders = {n: partial(pipe, folder_of(n, root)) for n in FOLDERS}
        measured["images, 4 people in each"] = growth("images", folders)
    scored = {n: partial(_score, *data_set(n)) for n in DATA_SETS}
    measured["images evaluated"] = growth("images evaluated", scored)
    plot(measured)
    harness.section(
        "How the cost grows",
        "Models det320 + kpt128. Milliseconds at each size; an exponent of 1 is in proportion to "
        "it. Evaluation is of 3 people and 11 detections in each image.",
        harness.table(
            ["", "size: ms", "exponent"], [row(unit, ms) for unit, ms in measured.items()]
        ),
        "![The table as curves](growth.png)",
    )


def _resized(image: Any, width: int) -> Any:
    import cv2

    return cv2.resize(image, (width, width * 3 // 4))


def _score(document: Any, results: Any) -> None:
    accumulate(match(document, results, "keypoints"))


if __name__ == "__main__":
    main()
