"""kptk against PaddleX 3.7.2 on the CPU: same weights, picture, people and threads.

PaddleX runs in its own environment (``make paddlex-env``) and process; the two take turns. Both run
their detector and are then told the same people, so that there are as many as wanted. Where the
answers do not agree there is no number, but an error.

One PaddleX has as many threads as kptk; another is as it comes, with 10 threads whatever the
machine. The last columns say what the machine can do. The floor is the time that the convolutions'
multiplications alone take at the speed of NumPy's matrix product, so PaddleX's time over the floor
is more than any float32 engine without Winograd's trick can reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import harness
import numpy as np

import kptk
from kptk.io.images import read_image

ROUNDS = 3
PEOPLE = (1, 8, 30)
SURE = 0.2  # see tests/test_paddlex.py


@dataclass(frozen=True)
class Case:
    """Two models, how kptk runs them, and how many times faster it shall be with `PEOPLE`."""

    det: str
    kpt: str
    precision: str
    aims: tuple[float | None, float | None, float | None]
    pixels: float  # 95 % of the points lie nearer to PaddleX's; of crops up to 300 pixels wide

    @property
    def title(self) -> str:
        """Its name in the table."""
        return f"{self.det} + {self.kpt}, {self.precision}"

    def pipeline(self) -> Any:
        """kptk's pipeline."""
        int8 = harness.int8_model(self.det) if self.precision == "int8" else None
        config = harness.pair(self.det, self.kpt, int8)
        hpi = self.precision != "float32"
        return kptk.create_pipeline(config, threads=harness.THREADS, enable_hpi=hpi)


CASES = (
    Case("det640", "kpt128", "float32", (2.0, 6.0, 13.0), 1.0),
    Case("det640", "kpt256", "float32", (2.5, 7.0, 11.0), 1.0),
    Case("det320", "kpt128", "float32", (None, 12.0, None), 1.0),
    Case("det640", "kpt128", "bfloat16", (3.5, 10.0, 18.0), 2.0),
    Case("det640", "kpt256", "bfloat16", (None, None, None), 2.0),
    Case("det640", "kpt128", "int8", (3.5, 10.0, 18.0), 2.0),
    Case("det640", "kpt256", "int8", (None, None, None), 2.0),
    Case("det320", "kpt128", "int8", (None, 12.0, None), 2.0),
)


def check(ours: np.ndarray, theirs: Any, pixels: float) -> None:
    """Hold the points to each other; a few of them hang on how OpenCV rounds."""
    expected = np.array(theirs).reshape(-1, 17, 3)
    assert ours.shape == expected.shape
    distance = np.linalg.norm((ours - expected)[..., :2], axis=2)
    most = np.quantile(distance[expected[..., 2] > SURE], 0.95)
    assert most < pixels, f"kptk and PaddleX differ by {most:.2f} pixels"


def cases_for(
    pipe: Any, paddlexes: Sequence[harness.PaddleX], config: str, n: int
) -> dict[str, Callable[[], float]]:
    """All sides on n people, as an array and as a file."""
    image = read_image(harness.PICTURE)
    boxes = harness.people(n, image.shape[:2])

    def ours(source: Any) -> None:
        pipe.detector.boxes = boxes
        pipe(source)

    def theirs(paddlex: harness.PaddleX, in_memory: bool) -> float:
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
        "paddlex": partial(theirs, paddlexes[0], True),
        "paddlex as it comes": partial(theirs, paddlexes[1], True),
        "kptk file": harness.timed(partial(ours, harness.PICTURE)),
        "paddlex file": partial(theirs, paddlexes[0], False),
    }


def agree(pipe: Any, paddlex: harness.PaddleX, config: str, pixels: float) -> None:
    """One picture, eight people, both answers."""
    image = read_image(harness.PICTURE)
    pipe.detector.boxes = harness.people(8, image.shape[:2])
    boxes = pipe.detector.boxes.tolist()
    picture = str(harness.PICTURE)
    answer = paddlex.ask("predict", config=config, image=picture, boxes=boxes, in_memory=False)
    check(pipe(harness.PICTURE).keypoints, answer["keypoints"], pixels)


def rows_of(
    case: Case, paddlexes: Sequence[harness.PaddleX], config: str, speed: float
) -> list[list[Any]]:
    """The lines of the table of one case."""
    pipe = case.pipeline()
    pipe.detector = harness.Crowd(pipe.detector)
    agree(pipe, paddlexes[0], config, case.pixels)
    detector, crop = (harness.operations(name) for name in (case.det, case.kpt))
    rows = []
    for n, aim in zip(PEOPLE, case.aims, strict=True):
        times = harness.in_turn(cases_for(pipe, paddlexes, config, n), ROUNDS, rest=0.2)
        floor = 1e3 * (detector + n * crop) / speed
        theirs, ours = times.ms("paddlex"), times.ms("kptk")
        pairs = [
            ("paddlex", "kptk"),
            ("paddlex file", "kptk file"),
            ("paddlex as it comes", "kptk"),
        ]
        ratios = [times.ratio(*pair) for pair in pairs]
        numbers = [f"{theirs:.1f}", f"{ours:.1f}", *ratios, aim or ""]
        least = [f"{floor:.1f}", f"{theirs / floor:.1f}"] if case.precision == "float32" else []
        rows.append([case.title, n, *numbers, *(least or ["", ""])])
        harness.note(f"{rows[-1]}")
    return rows


def main() -> None:
    """Measure every case and print."""
    rows: list[list[Any]] = []
    speed = harness.matrix_speed()
    with harness.PaddleX() as same, harness.PaddleX(threads=None) as as_it_comes:
        for case in CASES:
            config = str(harness.pair(case.det, case.kpt))
            version = same.ask("load", config=config)
            as_it_comes.ask("load", config=config)
            rows += rows_of(case, (same, as_it_comes), config, speed)
    heads = ["models", "people", "PaddleX, ms", "kptk, ms", "array", "JPEG file"]
    harness.section(
        f"Against PaddleX {version}",
        f'{harness.THREADS} threads on both sides, but for the column "as it comes": an array, and '
        "PaddleX with its own number of threads, 10. PaddleX takes its default path, float32. kptk "
        "takes float32; `enable_hpi`, which computes in bfloat16; or `enable_hpi` with the "
        "detector quantized by `kptk export --format openvino-int8`. How many times longer PaddleX "
        "takes:",
        harness.table([*heads, "as it comes", "aim", "floor, ms", "at most"], rows),
        "Of the points of eight people 95 % agree within "
        f"{CASES[0].pixels} pixels in float32, within {CASES[-1].pixels} in less. The floor is "
        "what the convolutions' multiplications take in float32 at the speed of NumPy's matrix "
        f'product, {speed / 1e9:.0f} GFLOP/s here; no more than "at most" can be had from it.',
    )


if __name__ == "__main__":
    main()
