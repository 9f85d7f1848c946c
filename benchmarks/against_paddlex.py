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
# Models, and how many times faster kptk shall be with 1, 8 and 30 people.
PAIRS = (
    ("det640", "kpt128", (2.0, 6.0, 13.0)),
    ("det640", "kpt256", (2.5, 7.0, 11.0)),
    ("det320", "kpt128", (None, 12.0, None)),
)
SURE, PIXELS = 0.2, 0.5  # see tests/test_paddlex.py


def check(ours: np.ndarray, theirs: Any) -> None:
    """Hold the points to each other; a few of them hang on how OpenCV rounds."""
    expected = np.array(theirs).reshape(-1, 17, 3)
    assert ours.shape == expected.shape
    distance = np.linalg.norm((ours - expected)[..., :2], axis=2)
    most = np.quantile(distance[expected[..., 2] > SURE], 0.95)
    assert most < PIXELS, f"kptk and PaddleX differ by {most:.2f} pixels"


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


def agree(pipe: Any, paddlex: harness.PaddleX, config: str) -> None:
    """One picture, eight people, both answers."""
    image = read_image(harness.PICTURE)
    pipe.detector.boxes = harness.people(8, image.shape[:2])
    boxes = pipe.detector.boxes.tolist()
    picture = str(harness.PICTURE)
    answer = paddlex.ask("predict", config=config, image=picture, boxes=boxes, in_memory=False)
    check(pipe(harness.PICTURE).keypoints, answer["keypoints"])


def main() -> None:
    """Measure every pair and print."""
    rows = []
    with harness.PaddleX() as paddlex:
        for det, kpt, aims in PAIRS:
            config = str(harness.pair(det, kpt))
            pipe = kptk.create_pipeline(config, threads=harness.THREADS)
            pipe.detector = harness.Crowd(pipe.detector)  # type: ignore[assignment]
            version = paddlex.ask("load", config=config)
            agree(pipe, paddlex, config)
            for n, aim in zip(PEOPLE, aims, strict=True):
                cases = cases_for(pipe, paddlex, config, n)
                times = harness.in_turn(cases, ROUNDS, rest=0.2)
                numbers = [f"{times.ms(name):.1f}" for name in ("paddlex", "kptk")]
                ratios = [
                    times.ratio("paddlex", "kptk"), times.ratio("paddlex file", "kptk file")
                ]  # fmt: skip
                rows.append([f"{det} + {kpt}", n, *numbers, *ratios, aim or ""])
                harness.note(f"{rows[-1]}")
    harness.section(
        f"Against PaddleX {version}",
        f"{harness.THREADS} threads on both sides, float32, kptk's engine "
        f"{pipe.pose.engine.name}. How many times longer PaddleX takes.",
        harness.table(
            ["models", "people", "PaddleX, ms", "kptk, ms", "array", "JPEG file", "aim"], rows
        ),
        f"Of the points of eight people 95 % agree within {PIXELS} pixels.",
    )


if __name__ == "__main__":
    main()
