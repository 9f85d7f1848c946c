"""Around the networks: decoding heatmaps, drawing people and JSON, against PaddleX's loops."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import cv2
import harness
import numpy as np
from numpy.typing import NDArray

import kptk
from kptk.io.images import read_image
from kptk.pipeline import pose
from kptk.pipeline.results import PoseResult

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


def labelled_poses(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Poses of the demo set's people, moved into boxes: (n, 17, 3). They all lack an ear."""
    data = kptk.load_coco(kptk.demo_path("day"), split="val")
    people = [person for image in data.image_ids for person in data.people(image)]
    nearly = [person for person in people if person["num_keypoints"] == 16]
    found = []
    for person, (left, top, right, bottom) in zip(nearly, boxes, strict=False):
        points = np.array(person["keypoints"], np.float32).reshape(17, 3)
        points[points[:, 2] == 0] = points[0]  # it is put where the nose is
        x, y, width, height = person["bbox"]
        points[:, 0] = left + (points[:, 0] - x) / width * (right - left)
        points[:, 1] = top + (points[:, 1] - y) / height * (bottom - top)
        points[:, 2] = 0.9
        found.append(points)
    return np.array(found)


def pictures(paddlex: harness.PaddleX, scale: int) -> list[list[Any]]:
    """The rows of drawing and of JSON; the pictures look different, so they are not compared."""
    image = cv2.resize(read_image(harness.PICTURE), None, fx=scale, fy=scale)
    height, width = image.shape[:2]
    file = harness.WORK / f"picture{scale}.png"
    cv2.imwrite(str(file), image[..., ::-1])
    boxes = harness.people(DRAWN, (height, width))
    points = labelled_poses(boxes)
    result = PoseResult(
        image=image,
        name="picture",
        path=None,
        suffix=".jpg",
        boxes=boxes,
        scores=np.ones(DRAWN, np.float32),
        keypoints=points,
    )
    arguments = {"image": str(file), "boxes": boxes.tolist(), "keypoints": points.tolist()}
    ours = {"draw": lambda: result.img, "json": lambda: json.dumps(result.json)}
    titles = {
        "draw": (f"draw {DRAWN} people on {width} x {height}", "20"),
        "json": (f"JSON of {DRAWN} people", ""),
    }
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
        if scale == 1 or what == "draw"
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
        rows = [decoding(paddlex), *pictures(paddlex, 1), *pictures(paddlex, 3)]
    harness.section(
        "Decoding, drawing, JSON",
        "The decoded points agree within .01 pixels. kptk draws boxes and scores too, which "
        "PaddleX does not.",
        harness.table(["", "PaddleX, ms", "kptk, ms", "ratio", "aim"], rows),
    )


if __name__ == "__main__":
    main()
