"""kptk against PaddleX 3.7.2 on the CPU: same weights, picture, people and threads.

PaddleX runs in its own environment (``make paddlex-env``) and process; the two take turns. Both run
their detector and are then told the same people, so that there are as many as wanted. Where the
answers do not agree there is no number, but an error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import harness
import numpy as np

import kptk
from kptk.images import read_image

ROUNDS = 3
PEOPLE = (1, 8, 30)
# Models, enable_hpi, and how many times faster kptk shall be with 1, 8 and 30 people.
PAIRS = (
    ("det640", "kpt128", False, (2.0, 6.0, 13.0)),
    ("det640", "kpt256", False, (2.5, 7.0, 11.0)),
    ("det320", "kpt128", False, (None, 12.0, None)),
    ("det640", "kpt128", True, (3.5, 10.0, 18.0)),
    ("det640", "kpt256", True, (None, None, None)),
)
SURE = 0.2  # see tests/test_paddlex.py
PIXELS = {False: 1.0, True: 2.0}  # of crops up to 300 wide; bfloat16 has 8 bits


def check(ours: np.ndarray, theirs: Any, pixels: float) -> None:
    """Hold the points to each other; a few of them hang on how OpenCV rounds."""
    expected = np.array(theirs).reshape(-1, 17, 3)
    assert ours.shape == expected.shape
    distance = np.linalg.norm((ours - expected)[..., :2], axis=2)
    most = np.quantile(distance[expected[..., 2] > SURE], 0.95)
    assert most < pixels, f"kptk and PaddleX differ by {most:.2f} pixels"


def cases_for(
    pipe: Any, paddlex: harness.PaddleX, config: str, n: int
) -> dict[str, Callable[[], float]]:
    """Both sides on n people, as an array and as a file."""
    image = read_image(harness.PICTURE)
    boxes = harness.people(n, image.shape[:2])

    def ours(source: Any) -> None:
        pipe.detector.boxes = boxes
        pipe(source)

    def theirs(in_memory: bool) -> float:
        answer = paddlex.ask(
            "predict",
            config=config,
            image=str(harness.PICTURE),
            boxes=boxes.tolist(),
            in_memory=in_memory,
        )
        return float(answer["seconds"])

    return {
        "kptk": harness.timed(partial(ours, image)),
        "paddlex": partial(theirs, True),
        "kptk file": harness.timed(partial(ours, harness.PICTURE)),
        "paddlex file": partial(theirs, False),
    }


def agree(pipe: Any, paddlex: harness.PaddleX, config: str, pixels: float) -> None:
    """One picture, eight people, both answers."""
    image = read_image(harness.PICTURE)
    pipe.detector.boxes = harness.people(8, image.shape[:2])
    boxes = pipe.detector.boxes.tolist()
    picture = str(harness.PICTURE)
    answer = paddlex.ask("predict", config=config, image=picture, boxes=boxes, in_memory=False)
    check(pipe(harness.PICTURE).keypoints, answer["keypoints"], pixels)


def main() -> None:
    """Measure every pair and print."""
    rows = []
    with harness.PaddleX() as paddlex:
        for det, kpt, hpi, aims in PAIRS:
            config = str(harness.pair(det, kpt))
            pipe = kptk.create_pipeline(config, threads=harness.THREADS, enable_hpi=hpi)
            engines = f"{pipe.detector.engine.name} + {pipe.pose.engine.name}"  # type: ignore[union-attr]
            pipe.detector = harness.Crowd(pipe.detector)  # type: ignore[assignment]
            version = paddlex.ask("load", config=config)
            agree(pipe, paddlex, config, PIXELS[hpi])
            for n, aim in zip(PEOPLE, aims, strict=True):
                cases = cases_for(pipe, paddlex, config, n)
                times = harness.in_turn(cases, ROUNDS, rest=0.2)
                numbers = [f"{times.ms(name):.1f}" for name in ("paddlex", "kptk")]
                ratios = [
                    times.ratio("paddlex", "kptk"), times.ratio("paddlex file", "kptk file")
                ]  # fmt: skip
                title = f"{det} + {kpt}, {'enable_hpi' if hpi else engines}"
                rows.append([title, n, *numbers, *ratios, aim or ""])
                harness.note(f"{rows[-1]}")
    harness.section(
        f"Against PaddleX {version}",
        f"{harness.THREADS} threads on both sides, PaddleX's default path, float32; with "
        "enable_hpi kptk computes in bfloat16. How many times longer PaddleX takes.",
        harness.table(
            ["models", "people", "PaddleX, ms", "kptk, ms", "array", "JPEG file", "aim"], rows
        ),
        f"Of the points of eight people 95 % agree within {PIXELS[False]} pixels, with "
        f"enable_hpi within {PIXELS[True]}.",
    )


if __name__ == "__main__":
    main()
