"""The bundle: all that the analysis of errors looks at, as arrays; made once, without the models.

Everything else in this package is array work on it, so sliders and what-ifs need no inference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import DataError, InputError
from kptk.evaluation import Evaluation, Predictions
from kptk.evaluation.evaluator import check_results, kind_of_results, read_results
from kptk.evaluation.ground_truth import GroundTruth as Truth
from kptk.evaluation.ground_truth import honour_ignore
from kptk.evaluation.result import data_provenance, ignore_note, versions
from kptk.geometry import iou
from kptk.inputs import check_threshold
from kptk.skeleton import Skeleton

Float = NDArray[np.float64]


Index = NDArray[np.intp]


Bool = NDArray[np.bool_]


Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class People:
    """The ground truth: G annotated people (crowds too), ordered by image, then as in the file.

    Attributes:
        annotation_id: (G,) ids.
        image: (G,) index into ``Bundle.image_ids``.
        box: (G, 4) pixels, (x1, y1, x2, y2).
        area: (G,) square pixels, as annotated: what OKS is scaled by.
        points: (G, K, 3) x, y, v; NaN coordinates where v is 0.
        crowd: (G,) a crowd region.
        ignored: (G,) need not be found in the keypoint evaluation: a crowd, ``ignore: 1``, or no
            labelled joint.
        given: (G, K, 3) x, y, score: the pose on the ground-truth box; NaN where there is none.
    """

    annotation_id: NDArray[np.int64]
    image: Index
    box: Float
    area: Float
    points: Float
    crowd: Bool
    ignored: Bool
    given: Float

    def __len__(self) -> int:
        return len(self.annotation_id)

    @cached_property
    def labelled(self) -> Bool:
        """(G, K) joints that are annotated, visible or occluded."""
        labelled: Bool = self.points[..., 2] > 0
        return labelled

    @cached_property
    def has_given(self) -> Bool:
        """(G,) whether there is a pose on the ground-truth box."""
        placed = np.isfinite(self.given[..., 0]) & np.isfinite(self.given[..., 1])
        some: Bool = placed.sum(axis=1) > 0
        return some


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the pipeline found: D boxes, ordered by image, then descending box score.

    Attributes:
        image: (D,) index into ``Bundle.image_ids``.
        box: (D, 4) pixels, (x1, y1, x2, y2).
        score: (D,) of the box.
        points: (D, K, 3) x, y, score; NaN where there is no joint.
        crop: (D, 4) pixels, (x1, y1, x2, y2): the rectangle that the pose model saw.
    """

    image: Index
    box: Float
    score: Float
    points: Float
    crop: Float

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, eq=False)
class Bundle:
    """One pipeline on one data set.

    Attributes:
        name: the data.
        skeleton: joints and their OKS sigmas.
        image_ids: (I,) ids, ascending.
        images: the COCO image records, in that order.
        people: the ground truth.
        candidates: what was found, from the lowest score up.
        threshold: the pipeline's: candidates at or above it are its detections.
        input_size: (height, width) of the pose model's input, which sets the crops' aspect.
        two_stage: whether the candidates are boxes of a detector with a pose on each. False for a
            file of keypoint results: boxes are then only drawn round the joints, ``score`` is the
            pose's, and nothing that asks what a box caused can be said.
        provenance: where it all comes from.
        notes: what was mended or assumed.
    """

    name: str
    skeleton: Skeleton
    image_ids: NDArray[np.int64]
    images: Sequence[Mapping[str, Any]]
    people: People
    candidates: Candidates
    threshold: float
    input_size: tuple[int, int]
    two_stage: bool
    provenance: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @cached_property
    def detected(self) -> Bool:
        """(D,) candidates that the pipeline emits: at or above its threshold."""
        kept: Bool = self.candidates.score >= self.threshold
        return kept

    @cached_property
    def sigmas(self) -> Float:
        """(K,) OKS sigmas."""
        return np.asarray(self.skeleton.sigmas, np.float64)

    @cached_property
    def evaluated(self) -> Bool:
        """(G,) people that must be found."""
        must: Bool = ~self.people.ignored
        return must

    @cached_property
    def given_crop(self) -> Float:
        """(G, 4) the crop of each ground-truth box."""
        return crops(self.people.box, self.input_size)

    def pairs(self) -> tuple[Index, Index]:
        """Every candidate with every person of its image: indices (P,), (P,), by candidate."""
        d_start = np.searchsorted(self.candidates.image, np.arange(len(self.image_ids)))
        g_start = np.searchsorted(self.people.image, np.arange(len(self.image_ids)))
        d_count = np.diff(np.append(d_start, len(self.candidates)))
        g_count = np.diff(np.append(g_start, len(self.people)))
        counts = d_count * g_count
        owner = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        d, g = np.divmod(place, np.maximum(g_count[owner], 1))
        return d_start[owner] + d, g_start[owner] + g

    def companions(self, person: Index) -> tuple[Index, Index]:
        """Each of n people with everybody else in the image: places (P,) in the n, others (P,)."""
        image = self.people.image
        first = np.searchsorted(image, image[person])
        counts = np.searchsorted(image, image[person], side="right") - first
        row = np.repeat(np.arange(len(person)), counts)
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        other = first[row] + place
        apart = other != person[row]
        return row[apart], other[apart]


def crops(boxes: Float, input_size: tuple[int, int]) -> Float:
    """(N, 4) the rectangles (x1, y1, x2, y2) that the pose model sees of boxes (N, 4)."""
    from kptk.pipeline.pose import crop_boxes

    centers, sizes = crop_boxes(boxes.astype(np.float32), input_size)
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)


# ---- arrays: Records of people and of what was found, as the arrays of a bundle.


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


# ---- build: From what users have (an evaluation, saved predictions, COCO results) to a bundle of
# arrays.


INPUT_SIZE = (256, 192)  # PP-TinyPose's larger input; only its aspect matters here


_NO_POSES = (
    "There are no poses on ground-truth boxes, so what each module costs cannot be told apart: "
    "there is no verdict, and 'pose' may hold people whose box is to blame."
)


def bundle_of_evaluation(evaluation: Evaluation, det_threshold: float | None = None) -> Bundle:
    """The bundle of a pipeline's evaluation, or of one of COCO keypoint results.

    Args:
        evaluation: of ``kptk.evaluate``.
        det_threshold: lowest box score of a detection; None: the pipeline's own.

    Raises:
        InputError: it has no poses, or nothing was detected with.
        DataError: nobody has to be found.
    """
    if evaluation.predictions is None:
        return _bundle_of_scores(evaluation, det_threshold)
    section = evaluation.end_to_end
    if section is None or section.skeleton is None:
        there = ", ".join(evaluation.sections)
        raise InputError(
            "analyze needs a detector and a keypoint model, since it tells which of them is at "
            f"fault. This evaluation has only: {there}. Evaluate a pipeline of both."
        )
    truth = Truth(
        section.annotations, section.skeleton, evaluation.name, None,
        tuple(evaluation.provenance.get("notes", ())),
    )  # fmt: skip
    return bundle_of_predictions(
        evaluation.predictions, truth, det_threshold, provenance=evaluation.provenance
    )


def _bundle_of_scores(evaluation: Evaluation, det_threshold: float | None) -> Bundle:
    """The bundle of an evaluated file of results."""
    section = evaluation.keypoints
    if section is None:
        raise InputError(
            "analyze needs keypoints. This evaluation is of boxes alone, so there is no pose whose "
            "share of the errors could be told."
        )
    truth = Truth(
        section.annotations, section.skeleton, evaluation.name, None,
        tuple(evaluation.provenance.get("notes", ())),
    )  # fmt: skip
    return bundle_of_results(
        section.results, truth, det_threshold=det_threshold, provenance=evaluation.provenance
    )


def bundle_of_predictions(
    predictions: Predictions,
    truth: Truth,
    det_threshold: float | None = None,
    *,
    provenance: Mapping[str, Any] | None = None,
) -> Bundle:
    """The bundle of what a pipeline said about a data set.

    Args:
        predictions: of ``kptk.evaluate``, with candidates and people.
        truth: the annotations.
        det_threshold: lowest box score of a detection; None: the pipeline's own.
        provenance: None: that of the predictions.

    Raises:
        InputError: there are no boxes or no poses.
        DataError: the predictions are of other data, or nobody has to be found.
    """
    if predictions.candidates is None or predictions.people is None:
        no_boxes = predictions.candidates is None
        missing = "boxes: no detector was run" if no_boxes else "poses"
        raise InputError(
            "analyze needs a detector and a keypoint model, since it tells which of them is at "
            f"fault. These predictions have no {missing}."
        )
    truth = truth.only(predictions.image_ids)
    category_id = truth.content["categories"][0]["id"]
    candidates = predictions.candidates.to_results(category_id)
    given = predictions.people.to_results(category_id)
    content, ignored = honour_ignore(truth.content, "keypoints")
    made_by = predictions.made_by
    known = provenance or {**data_provenance(truth), **made_by, **versions()}
    threshold = made_by.get("det_threshold") if det_threshold is None else det_threshold
    notes = [*truth.notes, *(() if provenance else ignore_note(ignored))]
    if threshold is None:
        threshold, note = _lowest(candidates)
        notes.append(note)
    pose_model = made_by.get("models", {}).get("pose", {})
    size = pose_model.get("input_size") or INPUT_SIZE
    return make_bundle(
        Sources(
            replace(truth, content=content), candidates, given, True, check_threshold(threshold),
            (int(size[0]), int(size[1])), known, tuple(notes),
        )
    )  # fmt: skip


def bundle_of_results(
    results: Any,
    truth: Truth,
    *,
    det_threshold: float | None = None,
    poses_on_truth: Any = None,
    input_size: tuple[int, int] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Bundle:
    """The bundle of COCO keypoint results, of any pipeline.

    Args:
        results: a file or list of COCO keypoint results. If every record has a ``bbox`` (x, y,
            width, height) they are boxes of a detector with a pose on each, and ``score`` is the
            box's; else ``score`` is the pose's.
        truth: the annotations.
        det_threshold: lowest score of a detection; None: all.
        poses_on_truth: a file or list of the same pose model's results on ground-truth boxes:
            ``annotation_id`` and ``keypoints``.
        input_size: (height, width) of the pose model's input, for the rectangle it saw.
        provenance: None: the names and hashes of the files.

    Raises:
        DataError: the results are of other data or incomplete, or nobody has to be found.
        InputError: the options do not fit the results.
    """
    records, name, sha256 = read_results(results)
    joints = len(truth.skeleton) if truth.skeleton is not None else 0
    if kind_of_results(records) == "bbox":
        raise DataError(f"{name} has boxes alone. analyze needs results with keypoints.")
    found, _ = check_results(records, "keypoints", truth.content, joints)
    two_stage = bool(found) and all(record.get("bbox") is not None for record in found)
    content, ignored = honour_ignore(truth.content, "keypoints")
    notes = [*truth.notes, *(() if provenance else ignore_note(ignored))]
    if two_stage:
        _check_boxes(found)
        if input_size is None:
            input_size = INPUT_SIZE
            notes.append("What the pose model saw of each box is taken to be 3 wide to 4 high.")
    elif poses_on_truth is not None or input_size is not None:
        raise InputError(
            "poses_on_truth and input_size are for results with boxes: every record needs a bbox "
            f"(x, y, width, height). {name} has records without."
        )
    threshold = det_threshold
    if threshold is None:
        threshold, note = _lowest(found)
        notes += [note] if two_stage else []
    given = [] if poses_on_truth is None else _read_given(poses_on_truth, truth, joints)
    if two_stage and not given:
        notes.append(_NO_POSES)
    source = {"results": name, "results_sha256": sha256}
    return make_bundle(
        Sources(
            replace(truth, content=content), found, given, two_stage, float(threshold),
            input_size or INPUT_SIZE, provenance or {**data_provenance(truth), **source,
                                                     **versions()}, tuple(notes),
        )
    )  # fmt: skip


def _lowest(records: Sequence[Record]) -> tuple[float, str]:
    """A threshold that all records pass, and the note about it."""
    lowest = min((float(record["score"]) for record in records), default=0.0)
    return min(lowest, 0.0), "No threshold is known, so every box counts as a detection."


def _check_boxes(records: Sequence[Record]) -> None:
    for place, record in enumerate(records):
        box = record["bbox"]
        good = len(box) == 4 and all(map(math.isfinite, box)) and min(box[2:]) >= 0
        if not good:
            raise DataError(
                f"bbox of result {place} must be four finite numbers x, y, width, height. "
                f"Got {box!r}."
            )


def _read_given(poses: Any, truth: Truth, joints: int) -> list[Record]:
    records, name, _ = read_results(poses)
    known = {annotation["id"] for annotation in truth.content["annotations"]}
    for place, record in enumerate(records):
        if record.get("annotation_id") not in known:
            raise DataError(
                f"Record {place} of {name} (poses on ground-truth boxes) must have the "
                f"annotation_id of a person. Got {record.get('annotation_id')!r}."
            )
        if len(record.get("keypoints") or ()) != 3 * joints:
            raise DataError(
                f"keypoints of record {place} of {name} must be {3 * joints} numbers (x, y, score "
                f"for each of {joints} joints). Got {len(record.get('keypoints') or ())}."
            )
    return records
