"""People that a pipeline found and nobody labelled: what an editor offers to add."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kptk.analysis.geometry import iou
from kptk.errors import InputError
from kptk.widgets.person import NOT_LABELLED, Box, Point

if TYPE_CHECKING:
    from kptk.evaluation import Evaluation
    from kptk.evaluation.collecting import Predictions

SAME_IOU = 0.5
"""A detection that overlaps a labelled person more than this is that person (COCO's AP50)."""
MIN_POINT_SCORE = 0.2
"""Joints of a lower score come without a label, as they are drawn hollow elsewhere."""


@dataclass(frozen=True)
class Candidate:
    """A detected person: x1, y1, x2, y2 in pixels, the detector's score, and joints, if any."""

    box: Box
    score: float
    points: tuple[Point, ...] | None


def candidates_by_image(
    predictions: Evaluation | Predictions | Sequence[Mapping[str, Any]] | None, n_joints: int
) -> dict[int, list[Candidate]]:
    """Detections by image id, highest score first.

    Args:
        predictions: an evaluation of a pipeline, its ``predictions``, or COCO results with
            ``bbox`` and, if they are poses, ``keypoints``.
        n_joints: how many joints a person has; keypoints of another number are left out.

    Raises:
        InputError: it is nothing of the kind, or holds no boxes.
    """
    found: dict[int, list[Candidate]] = {}
    for record in _records(predictions):
        if "bbox" not in record:
            raise InputError(
                "Detections need a bbox. Results with keypoints only say nothing about boxes; "
                "PoseResult.to_coco(with_boxes=True) writes both."
            )
        found.setdefault(record["image_id"], []).append(_candidate(record, n_joints))
    return {i: sorted(people, key=lambda c: -c.score) for i, people in found.items()}


def missed(
    candidates: Iterable[Candidate], labelled: Sequence[Box], min_score: float
) -> list[Candidate]:
    """Candidates from ``min_score`` up that are none of the labelled people."""
    boxes = np.array(labelled, np.float64).reshape(-1, 4)
    return [
        candidate
        for candidate in candidates
        if candidate.score >= min_score and not _is_one_of(candidate.box, boxes)
    ]


def _is_one_of(box: Box, boxes: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    same = np.broadcast_to(np.array(box, np.float64), boxes.shape)
    return bool((iou(same, boxes) > SAME_IOU).any())


def _records(
    predictions: Evaluation | Predictions | Sequence[Mapping[str, Any]] | None,
) -> Sequence[Mapping[str, Any]]:
    inner = getattr(predictions, "predictions", predictions)  # an Evaluation holds Predictions
    records = getattr(inner, "candidates", inner)
    if records is None:
        return []
    if isinstance(records, Sequence) and all(isinstance(r, Mapping) for r in records):
        return records
    raise InputError(
        "predictions must be an evaluation, its predictions, or a list of COCO results. "
        f"Got {type(predictions).__name__}."
    )


def _candidate(record: Mapping[str, Any], n_joints: int) -> Candidate:
    x, y, width, height = record["bbox"]
    values = record.get("keypoints") or ()
    points = tuple(map(_point, values[0::3], values[1::3], values[2::3]))
    fits = n_joints and len(points) == n_joints
    box = (float(x), float(y), float(x + width), float(y + height))
    return Candidate(box, float(record.get("score", 1.0)), points if fits else None)


def _point(x: float, y: float, score: float) -> Point:
    return Point(float(x), float(y), 2) if score >= MIN_POINT_SCORE else NOT_LABELLED
