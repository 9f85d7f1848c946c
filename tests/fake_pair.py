"""A detector and a keypoint model that read the answer off the image.

Every image is one colour, which names it; what is found on it is looked up. The keypoint model
puts its keypoints at fixed positions in the box, so that a right box gives a perfect pose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from kptk.pipeline.detector import Detections
from kptk.pipeline.pipeline import Pipeline
from kptk.skeleton import COCO17

# (17, 2) where the keypoints are in a box, from 0 to 1
PLACES = np.stack([np.tile([0.2, 0.4, 0.6, 0.8], 5)[:17], np.repeat(np.arange(5), 4)[:17] / 5], 1)


def pose_in(box: Sequence[float]) -> np.ndarray:
    """(17, 2) keypoints of a person whose box is x1, y1, x2, y2."""
    corners = np.asarray(box, np.float64)
    return corners[:2] + PLACES * (corners[2:] - corners[:2])


class FakeDetector:
    """Gives the boxes listed for an image: ``{number: [(x1, y1, x2, y2, score), ...]}``."""

    def __init__(self, found: Mapping[int, Sequence[Sequence[float]]], threshold: float) -> None:
        self.found = found
        self.model = SimpleNamespace(
            name="fake-det", path=Path("fake-det"), weights=(),
            input_size=(64, 64), threshold=threshold,
        )  # fmt: skip
        self.engine = SimpleNamespace(name="fake", device="cpu", precision="f32")
        self.calls: list[int] = []

    def predict(
        self, images: Sequence[np.ndarray], *, threshold: float, batch_size: int
    ) -> list[Detections]:
        self.calls.append(len(images))
        return [self._one(int(image[0, 0, 0]), threshold) for image in images]

    def _one(self, number: int, threshold: float) -> Detections:
        rows = np.array(self.found.get(number, []), np.float32).reshape(-1, 5)
        rows = rows[rows[:, 4] >= threshold]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
        return Detections(rows[:, :4], rows[:, 4])


class FakePose:
    """Gives the keypoints at :data:`PLACES` of the box, all of one score."""

    def __init__(self, score: float = 0.8) -> None:
        self.score = score
        self.model = SimpleNamespace(
            name="fake-kpt", path=Path("fake-kpt"), weights=(), input_size=(128, 96)
        )
        self.engine = SimpleNamespace(name="fake", device="cpu", precision="f32")
        self.flip = self.udp = False
        self.calls: list[int] = []

    def predict(
        self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray], *, batch_size: int
    ) -> list[np.ndarray]:
        assert len(images) == len(boxes)
        self.calls.append(sum(map(len, boxes)))
        return [self._people(group) for group in boxes]

    def _people(self, boxes: np.ndarray) -> np.ndarray:
        points = np.full((len(boxes), len(COCO17), 3), self.score, np.float32)
        for person, box in zip(points, boxes, strict=True):
            person[:, :2] = pose_in(box)
        return points


def fake_pipeline(
    found: Mapping[int, Sequence[Sequence[float]]] | None, threshold: float = 0.5
) -> Pipeline:
    """A pipeline of the two; ``found`` None leaves the detector out."""
    detector: Any = None if found is None else FakeDetector(found, threshold)
    pose: Any = FakePose()
    return Pipeline(detector, pose)


def person(number: int, image: int, box: Sequence[float], **changes: Any) -> dict[str, Any]:
    """An annotation whose keypoints lie at :data:`PLACES` of the box x1, y1, x2, y2."""
    x1, y1, x2, y2 = box
    points = np.column_stack([pose_in(box), np.full(17, 2.0)])
    record = {
        "id": number, "image_id": image, "category_id": 1, "iscrowd": 0,
        "bbox": [x1, y1, x2 - x1, y2 - y1], "area": float((x2 - x1) * (y2 - y1)),
        "num_keypoints": 17, "keypoints": points.ravel().tolist(),
    }  # fmt: skip
    return {**record, **changes}


def document(annotations: list[dict[str, Any]], n_images: int) -> dict[str, Any]:
    """A COCO document of one category; images 1, 2, ... of 200 x 100 pixels."""
    return {
        "images": [
            {"id": i + 1, "file_name": f"{i + 1}.png", "width": 200, "height": 100}
            for i in range(n_images)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.names)}],
    }


def write_data(folder: Path, content: Mapping[str, Any], split: str = "val") -> Path:
    """The document as a data set in PaddleX's layout, with its images."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    (folder / "annotations" / f"instance_{split}.json").write_text(json.dumps(content))
    for image in content["images"]:
        size = (image["width"], image["height"])
        Image.new("RGB", size, (image["id"],) * 3).save(folder / "images" / image["file_name"])
    return folder
