"""Records of people and of what was found, as the arrays of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kptk.analysis.bundle import Bundle, Candidates, Float, Index, People, Record, crops
from kptk.analysis.geometry import iou
from kptk.errors import DataError
from kptk.evaluation.truth import Truth
from kptk.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class Sources:
    """Records of a pipeline, before they are arrays.

    Attributes:
        truth: the people; ``ignore: 1`` honoured.
        found: the candidates: ``image_id``, ``score``, ``keypoints``, and ``bbox`` with
            ``two_stage``.
        given: poses on ground-truth boxes, with ``annotation_id``.
        two_stage: see :class:`kptk.analysis.bundle.Bundle`.
        threshold: of the box scores.
        input_size: (height, width) of the pose model's input.
        provenance: where it all comes from.
        notes: what was mended or assumed.
    """

    truth: Truth
    found: Sequence[Record]
    given: Sequence[Record]
    two_stage: bool
    threshold: float
    input_size: tuple[int, int]
    provenance: Mapping[str, Any]
    notes: tuple[str, ...]


def make_bundle(sources: Sources) -> Bundle:
    """Arrays of records.

    Raises:
        DataError: the joints are other joints, or nobody has to be found.
    """
    truth = sources.truth
    skeleton = truth.skeleton
    if skeleton is None or not len(skeleton):
        raise DataError(
            f"The people of {truth.name} must have labelled keypoints. The category has none, so "
            "keypoint errors cannot be told."
        )
    for records, what in ((sources.found, "predictions"), (sources.given, "poses")):
        _check_joints(records, what, skeleton, truth.name)
    images = sorted(truth.content["images"], key=lambda image: int(image["id"]))
    image_ids = np.array([image["id"] for image in images], np.int64)
    people = _people(truth.content["annotations"], image_ids, sources.given, len(skeleton))
    _check_people(people, truth.name)
    bundle = Bundle(
        truth.name, skeleton, image_ids, images, people,
        _candidates(sources, image_ids, len(skeleton)), sources.threshold, sources.input_size,
        sources.two_stage, sources.provenance,
    )  # fmt: skip
    notes = [*sources.notes, *_notes(bundle)]
    return replace(bundle, notes=tuple(dict.fromkeys(notes)))


def _check_joints(records: Sequence[Record], what: str, skeleton: Skeleton, name: str) -> None:
    wanted = 3 * len(skeleton)
    for record in records:
        if len(record.get("keypoints") or ()) != wanted:
            raise DataError(
                f"The {what} have {len(record.get('keypoints') or ()) / 3:g} joints, the people of "
                f"{name} have {len(skeleton)}. Both must have the same joints."
            )


def _check_people(people: People, name: str) -> None:
    if (~people.ignored).any():
        return
    if not len(people):
        raise DataError(
            f"There must be people in {name} to be found. It has no annotations of people."
        )
    crowds = int(people.crowd.sum())
    raise DataError(
        f"There must be people in {name} who have to be found. Of {len(people)} annotations "
        f"{crowds} are crowds and {len(people) - crowds} have no labelled joint or are marked "
        "ignore, so there is no error to explain."
    )


def _notes(bundle: Bundle) -> list[str]:
    """What is odd, though it can be analysed."""
    notes = []
    people, candidates = bundle.people, bundle.candidates
    without = int((bundle.evaluated & ~people.has_given).sum())
    if without and people.has_given.any():
        notes.append(
            f"{without} of {int(bundle.evaluated.sum())} people to be found have no pose on their "
            "ground-truth box; what is said of ground-truth boxes counts them as missed."
        )
    if not len(candidates):
        notes.append("There are no detections at all: everybody is missed.")
    elif not bundle.detected.any():
        notes.append(
            f"No box reaches the threshold of {bundle.threshold:g}; the best score is "
            f"{candidates.score.max():.3f}. Everybody is missed."
        )
    elif not _any_overlap(bundle):
        notes.append(
            "No detection overlaps anybody. Are these the predictions of these images, in pixels?"
        )
    return notes


def _any_overlap(bundle: Bundle) -> bool:
    d, g = bundle.pairs()
    overlap = iou(bundle.candidates.box[d], bundle.people.box[g])
    return bool((bundle.detected[d] & (overlap > 0)).any())


def _people(
    annotations: Sequence[Mapping[str, Any]],
    image_ids: Any,
    given: Sequence[Record],
    joints: int,
) -> People:
    image = np.searchsorted(image_ids, np.array([a["image_id"] for a in annotations], np.int64))
    order = np.argsort(image, kind="stable")
    chosen = [annotations[i] for i in order.tolist()]
    points = _points(chosen, joints)
    points[points[..., 2] <= 0, :2] = np.nan
    points[..., 2] = np.maximum(points[..., 2], 0)
    crowd = _flags(chosen, "iscrowd")
    uncounted = np.array([a.get("num_keypoints") == 0 for a in chosen], np.bool_)
    unlabelled = ~(points[..., 2] > 0).any(axis=1)
    ids = np.array([a["id"] for a in chosen], np.int64)
    return People(
        ids, image[order].astype(np.intp), _corners(chosen),
        np.array([a["area"] for a in chosen], np.float64), points, crowd,
        crowd | uncounted | unlabelled | _flags(chosen, "ignore"), _given(given, ids, joints),
    )  # fmt: skip


def _flags(records: Sequence[Mapping[str, Any]], key: str) -> Any:
    return np.array([bool(record.get(key)) for record in records], np.bool_)


def _given(records: Sequence[Record], ids: Any, joints: int) -> Float:
    """(G, K, 3) the poses on ground-truth boxes, in the people's order."""
    poses = np.full((len(ids), joints, 3), np.nan)
    row = {int(number): i for i, number in enumerate(ids)}
    here = [record for record in records if record["annotation_id"] in row]
    rows = np.array([row[record["annotation_id"]] for record in here], np.intp)
    poses[rows] = _found_points(here, joints)
    return poses


def _candidates(sources: Sources, image_ids: Any, joints: int) -> Candidates:
    found = sources.found
    image = np.searchsorted(image_ids, np.array([r["image_id"] for r in found], np.int64))
    score = np.array([r["score"] for r in found], np.float64)
    order = np.lexsort((-score, image))
    chosen = [found[i] for i in order.tolist()]
    points = _found_points(chosen, joints)
    if sources.two_stage:
        boxes = _corners(chosen)
        crop = crops(boxes, sources.input_size)
    else:
        boxes = _around(points)
        crop = np.tile([-np.inf, -np.inf, np.inf, np.inf], (len(chosen), 1))
    return Candidates(_index(image[order]), boxes, score[order], points, crop)


def _index(values: Any) -> Index:
    index: Index = np.asarray(values, np.intp)
    return index


def _corners(records: Sequence[Mapping[str, Any]]) -> Float:
    """(N, 4) x1, y1, x2, y2 of COCO's x, y, width, height."""
    boxes = np.array([record["bbox"] for record in records], np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _points(records: Sequence[Mapping[str, Any]], joints: int) -> Float:
    flat = np.array([record["keypoints"] for record in records], np.float64)
    return flat.reshape(len(records), joints, 3)


def _found_points(records: Sequence[Mapping[str, Any]], joints: int) -> Float:
    """(N, K, 3) poses; x, y are NaN, the score 0, where a joint was not placed (0, 0, 0)."""
    points = _points(records, joints)
    missing = ~np.isfinite(points[..., :2]).all(axis=2) | (points == 0).all(axis=2)
    points[missing, :2] = np.nan
    points[..., 2] = np.where(np.isfinite(points[..., 2]), points[..., 2], 0.0)
    points[missing, 2] = 0.0
    return points


def _around(points: Float) -> Float:
    """(N, 4) the rectangle round the joints that are there; a point at 0, 0 where none is."""
    known = np.isfinite(points[..., :2]).all(axis=2, keepdims=True)
    low = np.where(known, points[..., :2], np.inf).min(axis=1, initial=np.inf)
    high = np.where(known, points[..., :2], -np.inf).max(axis=1, initial=-np.inf)
    boxes = np.concatenate([low, high], axis=1)
    return np.where(np.isfinite(boxes), boxes, 0.0)
