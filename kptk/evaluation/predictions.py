"""Run a pipeline over a data set and keep what it says, for scoring now and again later."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import DataError, InputError
from kptk.files import write_json
from kptk.pipeline.pose import crop_boxes

if TYPE_CHECKING:
    from kptk.coco import KeypointData
    from kptk.pipeline.detector import Detections
    from kptk.pipeline.pipeline import Pipeline


Record = dict[str, Any]


Image = NDArray[np.uint8]


MAX_CANDIDATES = 100  # an image; COCO counts no more boxes than that


CANDIDATES, PEOPLE, META = "candidates.json", "people.json", "made_by.json"


_CHUNK = 8  # images in memory at a time


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """What a pipeline says about a data set, before any score mode or threshold.

    Attributes:
        candidates: every box from ``min_score`` up, at most 100 an image: ``image_id``,
            ``category_id``, ``bbox`` (x, y, width, height), ``score`` of the detector, and, with a
            pose model, ``keypoints`` (x, y, score) and ``crop_area``. None without a detector.
        people: the pose on every single person's ground-truth box, those without labelled points
            too: the same keys, ``score`` 1, and ``annotation_id``. None without a pose model.
        image_ids: the images that were looked at.
        made_by: models, engine and options, as plain values.
    """

    candidates: list[Record] | None
    people: list[Record] | None
    image_ids: tuple[int, ...]
    made_by: Mapping[str, Any]

    def __repr__(self) -> str:
        counts = {"candidates": self.candidates, "people": self.people}
        parts = [f"{len(value)} {name}" for name, value in counts.items() if value is not None]
        return f"Predictions({', '.join(parts)})"

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write them to a folder; :meth:`load` reads them again."""
        target = Path(folder).expanduser()
        write_json(target / META, {**self.made_by, "image_ids": list(self.image_ids)})
        for name, records in ((CANDIDATES, self.candidates), (PEOPLE, self.people)):
            if records is not None:
                write_json(target / name, records)
            else:
                (target / name).unlink(missing_ok=True)
        return target

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Predictions:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the folder does not hold predictions.
        """
        from kptk.coco.load import read_json

        source = Path(folder).expanduser()
        if not (source / META).is_file():
            raise DataError(
                f"{str(source)!r} must hold predictions saved by Evaluation.save: {META} is not "
                "there. A single file of COCO results can be given instead."
            )
        found = {
            name: read_json(source / name) if (source / name).is_file() else None
            for name in (CANDIDATES, PEOPLE)
        }
        made_by = dict(read_json(source / META))
        image_ids = tuple(made_by.pop("image_ids"))
        return cls(found[CANDIDATES], found[PEOPLE], image_ids, made_by)


def collect(
    pipe: Pipeline, data: KeypointData, min_score: float, *, progress: bool, ppdet_boxes: bool
) -> Predictions:
    """Run both halves of a pipeline over a data set.

    Args:
        pipe: with a detector, a pose model, or both.
        data: the images and their people.
        min_score: lowest box score of a candidate.
        progress: show a progress bar (``KPTK_PROGRESS=0`` hides it too).
        ppdet_boxes: cut ground-truth boxes as PaddleDetection does, a pixel shorter and inside the
            image, instead of taking them as they are annotated.

    Raises:
        DataError: an image cannot be read, or the joints are not the model's.
    """
    _check_joints(pipe, data)
    poses = pipe.pose is not None and len(data.skeleton) > 0
    if pipe.detector is None and not poses:
        raise DataError("The data must have keypoints to evaluate a keypoint model. It has none.")
    candidates: list[Record] = []
    people: list[Record] = []
    for chunk in _chunks(_image_ids(pipe, data), progress):
        images = [_read(data, image_id) for image_id in chunk]
        found = _detect(pipe, images, min_score)
        given = [_given_boxes(data, i, ppdet_boxes) for i in chunk]
        on_found, on_given = _poses(pipe if poses else None, images, found, given)
        for k, image_id in enumerate(chunk):
            base = {"image_id": image_id, "category_id": data.category_id}
            candidates += _records(base, found[k].boxes, found[k].scores, on_found[k], pipe)
            ones = np.ones(len(given[k].ids), np.float32)
            extra = _records(base, given[k].boxes, ones, on_given[k], pipe)
            people += [
                {**record, "annotation_id": i}
                for i, record in zip(given[k].ids, extra, strict=True)
            ]
    return Predictions(
        candidates if pipe.detector is not None else None,
        people if poses else None,
        tuple(data.image_ids),
        {},
    )


def _check_joints(pipe: Pipeline, data: KeypointData) -> None:
    from kptk.skeleton import COCO17

    joints = len(data.skeleton)
    if pipe.pose is not None and joints not in (0, len(COCO17)):
        raise DataError(
            f"The keypoint model places {len(COCO17)} joints; the data has {joints}. Evaluate "
            "results of a model for these joints with evaluate(predictions=..., annotations=...)."
        )


def _image_ids(pipe: Pipeline, data: KeypointData) -> list[int]:
    """A pose model alone has nothing to do where nobody is."""
    return [i for i in data.image_ids if pipe.detector is not None or data.people(i)]


def _chunks(image_ids: Sequence[int], progress: bool) -> Iterator[list[int]]:
    from tqdm.auto import tqdm

    from kptk.files import show_progress

    hidden = not (progress and show_progress())
    with tqdm(total=len(image_ids), unit=" images", desc="evaluate", disable=hidden) as bar:
        for start in range(0, len(image_ids), _CHUNK):
            chunk = list(image_ids[start : start + _CHUNK])
            yield chunk
            bar.update(len(chunk))


def _read(data: KeypointData, image_id: int) -> Image:
    try:
        return data.read(image_id)
    except InputError as error:
        raise DataError(
            f"Image {image_id} of the data cannot be read, so nothing can be said about its "
            f"people. {error} Run kptk check, or leave it out with data.subset(ids)."
        ) from error


@dataclass(frozen=True, eq=False)
class _Given:
    """Ground-truth boxes (N, 4) x1, y1, x2, y2 of single people, and their annotations' ids."""

    boxes: NDArray[np.float32]
    ids: list[int]


def _given_boxes(data: KeypointData, image_id: int, ppdet_boxes: bool) -> _Given:
    people = data.people(image_id)
    boxes = np.array([a["bbox"] for a in people], np.float64).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    if ppdet_boxes:  # KeypointTopDownCocoDataset._load_coco_keypoint_annotations
        image = data.image(image_id)
        start = np.maximum(0, boxes[:, :2])
        last = np.array([image["width"], image["height"]]) - 1
        end = np.minimum(last, start + np.maximum(0, boxes[:, 2:] - 1))
        corners = np.concatenate([start, end], axis=1)
    rounded = corners.astype(np.float32)
    good = (rounded[:, 2:] > rounded[:, :2]).all(axis=1)
    ids = [people[i]["id"] for i in np.flatnonzero(good)]
    return _Given(rounded[good], ids)


def _detect(pipe: Pipeline, images: Sequence[Image], min_score: float) -> list[Detections]:
    from kptk.pipeline.detector import Detections

    if pipe.detector is None:
        nobody = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        return [nobody for _ in images]
    found = pipe.detector.predict(images, threshold=min_score, batch_size=pipe.det_batch_size)
    return [Detections(b[:MAX_CANDIDATES], s[:MAX_CANDIDATES]) for b, s in found]


def _poses(
    pipe: Pipeline | None,
    images: Sequence[Image],
    found: Sequence[Detections],
    given: Sequence[_Given],
) -> tuple[list[Any], list[Any]]:
    """Poses on detected and on ground-truth boxes: all people of the images in one go."""
    if pipe is None or pipe.pose is None:
        return [None] * len(images), [None] * len(images)
    boxes = [detections.boxes for detections in found] + [people.boxes for people in given]
    points = pipe.pose.predict([*images, *images], boxes, batch_size=pipe.kpt_batch_size)
    return points[: len(images)], points[len(images) :]


def _records(
    base: Record,
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    points: NDArray[np.float32] | None,
    pipe: Pipeline,
) -> list[Record]:
    corners = boxes.astype(np.float64)
    sizes = corners[:, 2:] - corners[:, :2]
    records = [
        {**base, "bbox": [float(v) for v in (*corner[:2], *size)], "score": float(score)}
        for corner, size, score in zip(corners, sizes, scores, strict=True)
    ]
    if points is None or pipe.pose is None:
        return records
    _, crops = crop_boxes(boxes, pipe.pose.model.input_size)
    for record, person, crop in zip(records, points, crops, strict=True):
        known = np.isfinite(person).all(axis=1, keepdims=True)
        record["keypoints"] = np.where(known, person, 0).ravel().astype(float).tolist()
        record["crop_area"] = float(crop.prod())
    return records
