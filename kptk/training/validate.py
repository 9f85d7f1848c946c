"""AP of a network while it trains, by the same code as everywhere else in kptk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.coco.layout import read_document
from kptk.detector import Detector
from kptk.evaluation import coco_stats
from kptk.modeldir import ModelDir
from kptk.pose import PoseModel
from kptk.sources import read_image
from kptk.training.network import kind_of
from kptk.training.settings import TrainSettings

_CHUNK = 16  # images in memory at a time


class NetworkEngine:
    """A Paddle network that stands in for an engine (see kptk.engine.Engine)."""

    name = "network"
    device = "cpu"

    def __init__(self, network: Any, kind: str) -> None:
        self._network = network
        self._kind = kind
        self.input_names: tuple[str, ...] = ("image",)
        if kind == "detection":
            self.input_names = ("image", "scale_factor")

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[Any], ...]:
        """Run the network in evaluation mode."""
        import paddle

        with paddle.no_grad():
            out = self._network({name: paddle.to_tensor(value) for name, value in inputs.items()})
        pair = (out["bbox"], out["bbox_num"]) if self._kind == "detection" else out["keypoint"]
        return tuple(value.numpy() for value in pair)


def validate(network: Any, settings: TrainSettings) -> dict[str, float]:
    """Measure a network on the validation set: boxes, or keypoints on ground-truth boxes.

    The score of a pose is the mean of its keypoint scores.

    Args:
        network: in evaluation mode (the caller sees to that).
        settings: of the run.

    Returns:
        COCO's statistics, see ``kptk.evaluation.coco_stats``.
    """
    content = read_document(settings.val.annotations)
    images = sorted(content["images"], key=lambda image: int(image["id"]))[: settings.eval_images]
    chosen = {image["id"] for image in images}
    truth = {
        **content,
        "images": images,
        "annotations": [item for item in content["annotations"] if item["image_id"] in chosen],
    }
    kind = kind_of(settings.model)
    engine = NetworkEngine(network, kind)
    model = _model_dir(settings, kind)
    results: list[dict[str, Any]] = []
    for chunk in _chunks(images):
        pixels = [read_image(settings.val.images / image["file_name"]) for image in chunk]
        ids = [int(image["id"]) for image in chunk]
        if kind == "detection":
            results += _boxes(Detector(model, engine), pixels, ids)
        else:
            results += _poses(PoseModel(model, engine), pixels, ids, truth["annotations"])
    return coco_stats(truth, results, "bbox" if kind == "detection" else "keypoints")


def _chunks(images: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(images), _CHUNK):
        yield images[start : start + _CHUNK]


def _boxes(
    detector: Detector, pixels: list[NDArray[np.uint8]], ids: list[int]
) -> list[dict[str, Any]]:
    found = detector.predict(pixels, threshold=0.0, batch_size=8)
    return [
        {"image_id": image_id, "category_id": 1, "bbox": _xywh(box), "score": float(score)}
        for image_id, (boxes, scores) in zip(ids, found, strict=True)
        for box, score in zip(boxes, scores, strict=True)
    ]


def _poses(
    pose: PoseModel,
    pixels: list[NDArray[np.uint8]],
    ids: list[int],
    annotations: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    people: dict[int, list[list[float]]] = {image_id: [] for image_id in ids}
    for item in annotations:
        if item["image_id"] in people and not item.get("iscrowd", 0):
            x, y, width, height = item["bbox"]
            if width > 0 and height > 0:
                people[item["image_id"]].append([x, y, x + width, y + height])
    boxes = [np.array(people[image_id], np.float32).reshape(-1, 4) for image_id in ids]
    found = pose.predict(pixels, boxes, batch_size=32)
    return [
        {
            "image_id": image_id,
            "category_id": 1,
            "keypoints": [float(value) for value in points.reshape(-1)],
            "score": float(points[:, 2].mean()),
        }
        for image_id, group in zip(ids, found, strict=True)
        for points in group
    ]


def _xywh(box: NDArray[np.float32]) -> list[float]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return [x1, y1, x2 - x1, y2 - y1]


def _model_dir(settings: TrainSettings, kind: str) -> ModelDir:
    """The preprocessing of the exported model, without an exported model."""
    return ModelDir(
        path=Path(settings.model),
        kind=kind,
        name=settings.model,
        input_size=settings.size,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        is_scale=True,
        interp=2,
        keep_ratio=False,
        threshold=0.5,
        labels=("pedestrian",) if kind == "detection" else ("keypoint",),
        onnx=None,
        paddle=None,
    )
