"""What kptk costs on top of the engines: end to end against the bare networks.

``python benchmarks/pipeline.py`` times the networks alone (the detector on one image, the pose
model at several batch sizes, on arrays that are ready) and kptk on the same picture, in turn in one
process. The limit of a round is detector + people x pose model at its best batch. ``python
benchmarks/pipeline.py gpu:0`` does so on a GPU.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import harness
import numpy as np

import kptk
from kptk.io.images import read_image

ROUNDS = 9
PEOPLE = (1, 8, 30)
BATCHES = (1, 4, 8, 16, 32)
PAIRS = (("det640", "kpt128"), ("det640", "kpt256"), ("det320", "kpt128"))


def bare_cases(pipe: Any) -> dict[str, Callable[[], float]]:
    """The networks alone, on noise."""
    rng = np.random.default_rng(0)
    height, width = pipe.detector.model.input_size
    image = rng.standard_normal((1, 3, height, width)).astype(np.float32)
    inputs = {"image": image, "scale_factor": np.ones((1, 2), np.float32)}
    detector, pose = pipe.detector.engine, pipe.pose.engine
    cases = {"detector": harness.timed(lambda: detector.run(inputs))}
    for batch in BATCHES:
        crops = rng.standard_normal((batch, 3, *pipe.pose.model.input_size)).astype(np.float32)
        run = partial(pose.run, {pose.input_names[0]: crops})
        cases[f"pose {batch}"] = harness.timed(run)
    return cases


def kptk_cases(pipe: Any) -> dict[str, Callable[[], float]]:
    """kptk on the picture, as an array and as a JPEG file, with so many people."""
    image = read_image(harness.PICTURE)
    crowd = pipe.detector = harness.Crowd(pipe.detector)

    def predict(source: Any, n: int) -> None:
        crowd.boxes = harness.people(n, image.shape[:2])
        result = pipe(source)
        assert len(result) == n

    return {
        f"{how} {n}": harness.timed(partial(predict, source, n))
        for n in PEOPLE
        for how, source in (("array", image), ("jpeg", harness.PICTURE))
    }


def rows_of(times: harness.Times, title: str) -> list[list[str]]:
    """kptk's time over the limit, for each number of people."""
    per_person = [
        min(seconds / batch for seconds, batch in zip(round_, BATCHES, strict=True))
        for round_ in zip(*(times.seconds[f"pose {batch}"] for batch in BATCHES), strict=True)
    ]
    rows = []
    for n in PEOPLE:
        limits = [d + n * p for d, p in zip(times.seconds["detector"], per_person, strict=True)]
        ratios = [
            harness.spread(a / b for a, b in zip(times.seconds[f"{how} {n}"], limits, strict=True))
            for how in ("array", "jpeg")
        ]
        limit = 1e3 * statistics.median(limits)
        rows.append([title, str(n), f"{limit:.1f}", f"{times.ms(f'array {n}'):.1f}", *ratios])
    return rows


def main() -> None:
    """Measure every pair and print."""
    device = sys.argv[1] if sys.argv[1:] else "cpu"
    rows, networks = [], []
    for det, kpt in PAIRS:
        config = harness.pair(det, kpt)
        pipe = kptk.create_pipeline(config, threads=harness.THREADS, device=device)
        times = harness.in_turn({**bare_cases(pipe), **kptk_cases(pipe)}, ROUNDS, warm_up=2)
        rows += rows_of(times, f"{det} + {kpt}")
        per_crop = [f"{times.ms(f'pose {batch}') / batch:.2f}" for batch in BATCHES]
        networks.append([f"{det} + {kpt}", f"{times.ms('detector'):.1f}", *per_crop])
    harness.section(
        f"End to end against the bare engines, {device}",
        f"Engines {pipe.detector.engine.name} and {pipe.pose.engine.name}, {harness.THREADS} "
        "threads. Milliseconds of the "
        "networks alone: the detector on one image, the pose model a crop in batches of so many.",
        harness.table(["models", "detector", *(f"pose, {b}" for b in BATCHES)], networks),
        "kptk's time over detector + people x pose model at its best batch; the aim is 1.15.",
        harness.table(
            ["models", "people", "limit, ms", "kptk, ms", "array", "JPEG file"], rows
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main()
