"""Run a pipeline over a data set and keep what it says, for scoring now and again later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kptk.coco.load import read_json
from kptk.errors import DataError, InputError
from kptk.files import show_progress, write_json
from kptk.instances import Instances
from kptk.pipeline.detector import Detections
from kptk.pipeline.pose import crop_boxes
from kptk.skeleton import COCO17
from kptk.stored import MAX_CANDIDATES

if TYPE_CHECKING:
    from kptk.coco import KeypointData
    from kptk.pipeline.pipeline import Pipeline

CANDIDATES, PEOPLE, META = "candidates.json", "people.json", "made_by.json"
_CHUNK = 8  # images in memory at a time


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """What a pipeline says about a data set, before any score mode or threshold.

    Attributes:
        candidates: every box from ``min_score`` up, at most 100 an image, with the detector's
            score and, with a pose model, keypoints and the area of the crop. None without a
            detector.
        people: the pose on every single person's ground-truth box, those without labelled
            keypoints too: the same, score 1, ``ids`` of their annotations. None without a pose
            model.
        image_ids: the images that were looked at.
        made_by: models, engine and options, as plain values.
        category_id: of the people in COCO records.
    """

    candidates: Instances | None
    people: Instances | None
    image_ids: tuple[int, ...]
    made_by: Mapping[str, Any]
    category_id: int = 1

    def __repr__(self) -> str:
        counts = {"candidates": self.candidates, "people": self.people}
        parts = [f"{len(value)} {name}" for name, value in counts.items() if value is not None]
        return f"Predictions({', '.join(parts)})"

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write them to a folder, as COCO results; :meth:`load` reads them again."""
        target = Path(folder).expanduser()
        write_json(target / META, {**self.made_by, "image_ids": list(self.image_ids)})
        for name, people in ((CANDIDATES, self.candidates), (PEOPLE, self.people)):
            if people is not None:
                write_json(target / name, people.to_results(self.category_id))
            else:
                (target / name).unlink(missing_ok=True)
        return target

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Predictions:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the folder does not hold predictions.
        """
        source = Path(folder).expanduser()
        if not (source / META).is_file():
            raise DataError(
                f"{str(source)!r} must hold predictions saved by Evaluation.save: {META} is not "
                "there. A single file of COCO results can be given instead."
            )
        records = {
            name: read_json(source / name) if (source / name).is_file() else None
            for name in (CANDIDATES, PEOPLE)
        }
        every = [*(records[CANDIDATES] or ()), *(records[PEOPLE] or ())]
        joints = max((len(record.get("keypoints", ())) // 3 for record in every), default=0)
        found = {
            name: None if there is None else Instances.from_results(there, joints)
            for name, there in records.items()
        }
        made_by = dict(read_json(source / META))
        image_ids = tuple(made_by.pop("image_ids"))
        category_id = every[0]["category_id"] if every else 1
        return cls(found[CANDIDATES], found[PEOPLE], image_ids, made_by, category_id)


def collect(
    pipe: Pipeline, data: KeypointData, min_score: float, *, progress: bool, ppdet_boxes: bool
) -> Predictions:
    """Run both halves of a pipeline over a data set.

    The people of a few images, on detected and on ground-truth boxes, go through the pose model
    together: full batches are what makes it quick.

    Args:
        pipe: with a detector, a pose model, or both.
        data: the images and their people.
        min_score: lowest box score of a candidate.
        progress: show a progress bar (``KPTK_PROGRESS=0`` hides it too).
        ppdet_boxes: cut ground-truth boxes as PaddleDetection does, a pixel shorter and inside the
            image, instead of taking them as they are annotated.

    Raises:
        DataError: an image cannot be read, or the keypoints are not the model's.
    """
    from tqdm.auto import tqdm

    joints = len(data.skeleton)
    if pipe.pose is not None and joints not in (0, len(COCO17)):
        raise DataError(
            f"The keypoint model places {len(COCO17)} joints; the data has {joints}. Evaluate "
            "results of a model for these joints with evaluate(predictions=..., annotations=...)."
        )
    pose = pipe.pose if joints else None
    if pipe.detector is None and pose is None:
        raise DataError("The data must have keypoints to evaluate a keypoint model. It has none.")
    candidates: list[Instances] = []
    people: list[Instances] = []
    # a pose model alone has nothing to do where nobody is
    image_ids = [i for i in data.image_ids if pipe.detector is not None or data.people(i)]
    hidden = not (progress and show_progress())
    with tqdm(total=len(image_ids), unit=" images", desc="evaluate", disable=hidden) as bar:
        for start in range(0, len(image_ids), _CHUNK):
            chunk = image_ids[start : start + _CHUNK]
            images = [_read(data, image_id) for image_id in chunk]
            found = [Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))] * len(chunk)
            if pipe.detector is not None:
                found = pipe.detector.predict(
                    images, threshold=min_score, batch_size=pipe.det_batch_size
                )
            boxes = [boxes[:MAX_CANDIDATES] for boxes, _ in found]
            gt = [_ground_truth_boxes(data, image_id, ppdet_boxes) for image_id in chunk]
            every = [*boxes, *(gt_boxes for gt_boxes, _ in gt)]
            points: list[NDArray[np.float32]] = [
                np.zeros((len(some), 0, 3), np.float32) for some in every
            ]
            if pose is not None:
                points = pose.predict([*images, *images], every, batch_size=pipe.kpt_batch_size)
            for k, image_id in enumerate(chunk):
                scores = found[k].scores[:MAX_CANDIDATES]
                candidates.append(_instances(pipe, image_id, boxes[k], scores, points[k]))
                gt_boxes, ids = gt[k]
                ones = np.ones(len(ids), np.float32)
                on_gt = points[len(chunk) + k]
                people.append(_instances(pipe, image_id, gt_boxes, ones, on_gt, ids))
            bar.update(len(chunk))
    placed = joints if pose is not None else 0
    return Predictions(
        candidates=Instances.concatenate(candidates, placed) if pipe.detector is not None else None,
        people=Instances.concatenate(people, placed) if pose is not None else None,
        image_ids=tuple(data.image_ids),
        made_by={},
        category_id=data.category_id,
    )


def _read(data: KeypointData, image_id: int) -> NDArray[np.uint8]:
    try:
        return data.read(image_id)
    except InputError as error:
        raise DataError(
            f"Image {image_id} of the data cannot be read, so nothing can be said about its "
            f"people. {error} Run kptk check, or leave it out with data.subset(ids)."
        ) from error


def _ground_truth_boxes(
    data: KeypointData, image_id: int, ppdet_boxes: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes (N, 4) x1, y1, x2, y2 of single people with an area, and their annotations' ids."""
    people = Instances.from_annotations(data.people(image_id), len(data.skeleton))
    corners = people.boxes
    if ppdet_boxes:  # KeypointTopDownCocoDataset._load_coco_keypoint_annotations
        image = data.image(image_id)
        start = np.maximum(0, corners[:, :2])
        last = np.array([image["width"], image["height"]]) - 1
        size = np.array([a["bbox"][2:] for a in data.people(image_id)], np.float64).reshape(-1, 2)
        corners = np.concatenate([start, np.minimum(last, start + np.maximum(0, size - 1))], axis=1)
    rounded = corners.astype(np.float32)
    good = (rounded[:, 2:] > rounded[:, :2]).all(axis=1)
    return rounded[good], people.ids[good]


def _instances(
    pipe: Pipeline,
    image_id: int,
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    points: NDArray[np.float32],
    ids: NDArray[np.int64] | None = None,
) -> Instances:
    """People of one image; their area is that of the crop, what the pose model looked at."""
    n = len(boxes)
    areas = np.full(n, np.nan)
    keypoints = points.astype(np.float64)
    if pipe.pose is not None and points.shape[1]:
        _, crops = crop_boxes(boxes, pipe.pose.model.input_size)
        areas = crops.prod(axis=1).astype(np.float64)
        keypoints[~np.isfinite(keypoints).all(axis=2)] = np.nan
    return Instances(
        image_ids=np.full(n, image_id, np.int64),
        boxes=boxes.astype(np.float64),
        scores=scores.astype(np.float64),
        keypoints=keypoints,
        areas=areas,
        ids=np.full(n, -1, np.int64) if ids is None else ids,
        crowd=np.zeros(n, np.bool_),
    )
