"""Around the networks: decoding heatmaps, drawing people and JSON, against PaddleX's loops."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import harness
import numpy as np
from numpy.typing import NDArray

from kptk import pose
from kptk.images import read_image
from kptk.results import PoseResult

ROUNDS = 15
DECODED, DRAWN = 64, 10


def heatmaps(n: int) -> NDArray[np.float32]:
    """Gaussian peaks of the width that PP-TinyPose gives, with a little noise: (n, 17, 32, 24)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :24]
    cx, cy = rng.uniform(3, 20, (n, 17, 1, 1)), rng.uniform(3, 28, (n, 17, 1, 1))
    peaks = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 8)
    return (peaks + rng.uniform(0, 0.02, peaks.shape)).astype(np.float32)


def kptk_decode(
    maps: NDArray[np.float32], centers: NDArray[np.float64], sizes: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Heatmaps to points in the image."""
    return pose.to_image(pose.decode_heatmaps(maps), centers, sizes, maps.shape[2:])


def decoding(paddlex: harness.PaddleX) -> list[Any]:
    """The row of DARK decoding; the points must be the same."""
    maps = heatmaps(DECODED)
    file = harness.WORK / "heatmaps.npy"
    np.save(file, maps)
    centers, sizes = pose.crop_boxes(harness.people(DECODED, (480, 640)), (128, 96))
    arguments = {"heatmaps": str(file), "centers": centers.tolist(), "sizes": sizes.tolist()}
    ours = kptk_decode(maps, centers, sizes)
    theirs = np.array(paddlex.ask("decode", **arguments)["keypoints"])
    np.testing.assert_allclose(ours, theirs.reshape(ours.shape), atol=0.01)
    cases = {
        "kptk": harness.timed(partial(kptk_decode, maps, centers, sizes)),
        "paddlex": lambda: float(paddlex.ask("decode", **arguments)["seconds"]),
    }
    return row(f"decode {DECODED} people", cases, "30")


def pictures(paddlex: harness.PaddleX) -> list[list[Any]]:
    """The rows of drawing and of JSON; the pictures look different, so they are not compared."""
    image = read_image(harness.PICTURE)
    boxes = harness.people(DRAWN, image.shape[:2])
    centers, sizes = pose.crop_boxes(boxes, (128, 96))
    points = kptk_decode(heatmaps(DRAWN), centers, sizes)
    ones = np.ones(DRAWN, np.float32)
    result = PoseResult(
        image=image,
        name="picture",
        path=None,
        suffix=".jpg",
        boxes=boxes,
        scores=ones,
        keypoints=points,
    )
    arguments = {
        "image": str(harness.PICTURE), "boxes": boxes.tolist(), "keypoints": points.tolist()
    }  # fmt: skip
    ours = {"draw": lambda: result.img, "json": lambda: json.dumps(result.json)}
    titles = {"draw": (f"draw {DRAWN} people", "20"), "json": (f"JSON of {DRAWN} people", "")}
    return [
        row(
            title,
            {
                "kptk": harness.timed(ours[what]),
                "paddlex": lambda what=what: float(paddlex.ask("draw", **arguments)[what]),
            },
            aim,
        )
        for what, (title, aim) in titles.items()
    ]


def row(title: str, cases: Any, aim: str) -> list[Any]:
    """One line of the table."""
    times = harness.in_turn(cases, ROUNDS, warm_up=2)
    numbers = [f"{times.ms(name):.2f}" for name in ("paddlex", "kptk")]
    return [title, *numbers, times.ratio("paddlex", "kptk"), aim]


def main() -> None:
    """Measure and print."""
    harness.WORK.mkdir(parents=True, exist_ok=True)
    with harness.PaddleX() as paddlex:
        rows = [decoding(paddlex), *pictures(paddlex)]
    harness.section(
        "Decoding, drawing, JSON",
        "The decoded points agree within .01 pixels. kptk draws boxes and scores too, which "
        "PaddleX does not.",
        harness.table(["", "PaddleX, ms", "kptk, ms", "ratio", "aim"], rows),
    )


if __name__ == "__main__":
    main()
