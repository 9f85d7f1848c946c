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
from kptk.evaluation.ground_truth import GroundTruth, honour_ignore
from kptk.evaluation.result import data_provenance, ignore_note, versions
from kptk.geometry import Bool, Float, Index, box_area, iou
from kptk.inputs import check_threshold
from kptk.instances import Instances
from kptk.pipeline.pose import crop_boxes
from kptk.skeleton import Skeleton

__all__ = ["Bool", "Bundle", "Float", "Index", "People", "Poses"]

INPUT_SIZE = (256, 192)  # PP-TinyPose's larger input; only its aspect matters here
_NO_POSES = (
    "There are no poses on ground-truth boxes, so what each module costs cannot be told apart: "
    "there is no verdict, and 'pose' may hold people whose box is to blame."
)
_NO_THRESHOLD = "No threshold is known, so every box counts as a detection."


@dataclass(frozen=True, eq=False)
class People(Instances):
    """The ground truth: G annotated people (crowds too), ordered by image, then as in the file.

    Attributes:
        image: (G,) index into ``Bundle.image_ids``.
        ignored: (G,) need not be found in the keypoint evaluation: a crowd, ``ignore: 1``, or no
            labelled keypoint.
        given: (G, K, 3) x, y, score: the pose on the ground-truth box; NaN where there is none.
    """

    image: Index
    ignored: Bool
    given: Float

    @cached_property
    def labelled_keypoints(self) -> Bool:
        """(G, K) keypoints that are annotated, visible or occluded."""
        labelled: Bool = self.keypoints[..., 2] > 0
        return labelled

    @cached_property
    def has_given(self) -> Bool:
        """(G,) whether there is a pose on the ground-truth box."""
        return _any_placed(self.given)


@dataclass(frozen=True, eq=False)
class Poses(Instances):
    """N boxes with a pose on each, ordered by image: candidates, or poses to be scored.

    Candidates come by descending box score within an image, and ``scores`` are the boxes'; of poses
    to be scored they are what ranks them.

    Attributes:
        image: (N,) index into ``Bundle.image_ids``.
        crops: (N, 4) pixels, (x1, y1, x2, y2): what the keypoint model saw.
        candidate: (N,) index into the candidates; -1: the pose on a ground-truth box.
        person: (N,) index into the people, of poses on ground-truth boxes; else -1.
    """

    image: Index
    crops: Float
    candidate: Index
    person: Index

    @classmethod
    def of(
        cls,
        image_ids: NDArray[np.int64],
        image: Index,
        boxes: Float,
        scores: Float,
        keypoints: Float,
        crops: Float,
        person: Index | None = None,
    ) -> Poses:
        """The candidates of images (I,); with ``person`` (N,) poses on their boxes."""
        nobody = np.full(len(image), -1, np.intp)
        return cls(
            image_ids=image_ids[image],
            boxes=boxes,
            scores=scores,
            keypoints=keypoints,
            areas=box_area(crops),
            ids=nobody.astype(np.int64),
            crowd=np.zeros(len(image), np.bool_),
            image=image,
            crops=crops,
            candidate=np.arange(len(image)) if person is None else nobody,
            person=nobody if person is None else person,
        )

    @property
    def placed(self) -> Bool:
        """(N,) whether there is any keypoint."""
        return _any_placed(self.keypoints)


def _any_placed(keypoints: Float) -> Bool:
    return np.asarray(np.isfinite(keypoints[..., :2]).all(axis=2).sum(axis=1) > 0, np.bool_)


@dataclass(frozen=True, eq=False)
class Bundle:
    """One pipeline on one data set.

    Attributes:
        name: the data.
        skeleton: keypoints and their OKS sigmas.
        image_ids: (I,) ids, ascending.
        images: the COCO image records, in that order.
        people: the ground truth.
        candidates: what was found, from the lowest score up.
        threshold: the pipeline's: candidates at or above it are its detections.
        input_size: (height, width) of the keypoint model's input, which sets the crops' aspect.
        two_stage: whether the candidates are boxes of a detector with a pose on each. False for a
            file of keypoint results: boxes are then only drawn round the keypoints, ``scores`` are
            the poses', and nothing that asks what a box caused can be said.
        provenance: where it all comes from.
        notes: what was repaired or assumed.
    """

    name: str
    skeleton: Skeleton
    image_ids: NDArray[np.int64]
    images: Sequence[Mapping[str, Any]]
    people: People
    candidates: Poses
    threshold: float
    input_size: tuple[int, int]
    two_stage: bool
    provenance: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @cached_property
    def detected(self) -> Bool:
        """(D,) candidates that the pipeline emits: at or above its threshold."""
        kept: Bool = self.candidates.scores >= self.threshold
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
    def given_crops(self) -> Float:
        """(G, 4) the crop of each ground-truth box."""
        return crops(self.people.boxes, self.input_size)

    def given(self, person: Index) -> Poses:
        """The poses on the boxes of n people; every box has score 1."""
        people, ones = self.people[person], np.ones(len(person))
        seen = self.given_crops[person]
        return Poses.of(
            self.image_ids, people.image, people.boxes, ones, people.given, seen, person
        )

    def pairs(self) -> tuple[Index, Index]:
        """Every candidate with every person of its image: indices (P,), (P,), by candidate."""
        return self._with_people(self.candidates.image)

    def companions(self, person: Index) -> tuple[Index, Index]:
        """Each of n people with everybody else in the image: rows (P,) of the n, others (P,)."""
        row, other = self._with_people(self.people.image[person])
        apart = other != person[row]
        return row[apart], other[apart]

    def _with_people(self, image: Index) -> tuple[Index, Index]:
        """Rows (n,) by their images with every person there: rows (P,), people (P,)."""
        first = np.searchsorted(self.people.image, image)
        counts = np.searchsorted(self.people.image, image, side="right") - first
        row = np.repeat(np.arange(len(image)), counts)
        return row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts - first, counts)


def crops(boxes: Float, input_size: tuple[int, int]) -> Float:
    """(N, 4) the rectangles (x1, y1, x2, y2) that the keypoint model sees of boxes (N, 4)."""
    centers, sizes = crop_boxes(boxes.astype(np.float32), input_size)
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)


def bundle_of_evaluation(evaluation: Evaluation, det_threshold: float | None = None) -> Bundle:
    """The bundle of a pipeline's evaluation, or of one of COCO keypoint results.

    Args:
        evaluation: of ``kptk.evaluate``.
        det_threshold: lowest box score of a detection; None: the pipeline's own.

    Raises:
        InputError: it has no poses, or nothing was detected with.
        DataError: nobody has to be found.
    """
    of_results = evaluation.predictions is None
    section = evaluation.keypoints if of_results else evaluation.end_to_end
    if of_results and section is None:
        raise InputError(
            "analyze needs keypoints. This evaluation is of boxes alone, so there is no pose whose "
            "share of the errors could be told."
        )
    if section is None or (not of_results and section.skeleton is None):
        there = ", ".join(evaluation.sections)
        raise InputError(
            "analyze needs a detector and a keypoint model, since it tells which of them is at "
            f"fault. This evaluation has only: {there}. Evaluate a pipeline of both."
        )
    known = evaluation.provenance
    notes = tuple(known.get("notes", ()))
    truth = GroundTruth(section.annotations, section.skeleton, evaluation.name, None, notes)
    if evaluation.predictions is not None:
        return bundle_of_predictions(evaluation.predictions, truth, det_threshold, provenance=known)
    return bundle_of_results(section.results, truth, det_threshold=det_threshold, provenance=known)


def bundle_of_predictions(
    predictions: Predictions,
    truth: GroundTruth,
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
    found, given = predictions.candidates, predictions.people
    if found is None or given is None:
        missing = "boxes: no detector was run" if found is None else "poses"
        raise InputError(
            "analyze needs a detector and a keypoint model, since it tells which of them is at "
            f"fault. These predictions have no {missing}."
        )
    truth = truth.only(predictions.image_ids)
    made_by = predictions.made_by
    threshold = made_by.get("det_threshold") if det_threshold is None else det_threshold
    notes = [] if threshold is not None else [_NO_THRESHOLD]
    height, width = made_by.get("models", {}).get("pose", {}).get("input_size") or INPUT_SIZE
    return _bundle(
        truth,
        found,
        given,
        threshold=None if threshold is None else check_threshold(threshold),
        input_size=(int(height), int(width)),
        two_stage=True,
        made_by=made_by,
        provenance=provenance,
        notes=notes,
    )


def bundle_of_results(
    results: Any,
    truth: GroundTruth,
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
        poses_on_truth: a file or list of the same keypoint model's results on ground-truth boxes:
            ``annotation_id`` and ``keypoints``.
        input_size: (height, width) of the keypoint model's input, for the rectangle it saw.
        provenance: None: the names and hashes of the files.

    Raises:
        DataError: the results are of other data or incomplete, or nobody has to be found.
        InputError: the options do not fit the results.
    """
    records, name, sha256 = read_results(results)
    n_keypoints = len(truth.skeleton) if truth.skeleton is not None else 0
    if kind_of_results(records) == "bbox":
        raise DataError(f"{name} has boxes alone. analyze needs results with keypoints.")
    records, _ = check_results(records, "keypoints", truth.content, n_keypoints)
    two_stage = bool(records) and all(record.get("bbox") is not None for record in records)
    notes = []
    if two_stage:
        for index, record in enumerate(records):
            box = record["bbox"]
            if not (len(box) == 4 and all(map(math.isfinite, box)) and min(box[2:]) >= 0):
                raise DataError(
                    f"bbox of result {index} must be four finite numbers x, y, width, height. "
                    f"Got {box!r}."
                )
        if input_size is None:
            notes.append("What the pose model saw of each box is taken to be 3 wide to 4 high.")
    elif poses_on_truth is not None or input_size is not None:
        raise InputError(
            "poses_on_truth and input_size are for results with boxes: every record needs a bbox "
            f"(x, y, width, height). {name} has records without."
        )
    if not two_stage:  # boxes that only some results have are left out, unread
        records = [{k: v for k, v in record.items() if k != "bbox"} for record in records]
    if det_threshold is None and two_stage:
        notes.append(_NO_THRESHOLD)
    on_truth: list[dict[str, Any]] = []
    if poses_on_truth is not None:
        on_truth = _read_given(poses_on_truth, truth, n_keypoints)
    if two_stage and not on_truth:
        notes.append(_NO_POSES)
    return _bundle(
        truth,
        Instances.from_results(records, n_keypoints),
        Instances.from_results([{**r, "image_id": -1, "score": 1} for r in on_truth], n_keypoints),
        threshold=det_threshold,
        input_size=input_size or INPUT_SIZE,
        two_stage=two_stage,
        made_by={"results": name, "results_sha256": sha256},
        provenance=provenance,
        notes=notes,
    )


def _read_given(poses: Any, truth: GroundTruth, n_keypoints: int) -> list[dict[str, Any]]:
    records, name, _ = read_results(poses)
    known = {annotation["id"] for annotation in truth.content["annotations"]}
    for index, record in enumerate(records):
        if record.get("annotation_id") not in known:
            raise DataError(
                f"Record {index} of {name} (poses on ground-truth boxes) must have the "
                f"annotation_id of a person. Got {record.get('annotation_id')!r}."
            )
        if len(record.get("keypoints") or ()) != 3 * n_keypoints:
            raise DataError(
                f"keypoints of record {index} of {name} must be {3 * n_keypoints} numbers (x, y, "
                f"score for each of {n_keypoints} joints). "
                f"Got {len(record.get('keypoints') or ())}."
            )
    return records


def _bundle(
    truth: GroundTruth,
    found: Instances,
    given: Instances,
    *,
    threshold: float | None,
    input_size: tuple[int, int],
    two_stage: bool,
    made_by: Mapping[str, Any],
    provenance: Mapping[str, Any] | None,
    notes: Sequence[str],
) -> Bundle:
    """Check that all are of the same keypoints and that somebody has to be found, and sort.

    Raises:
        DataError: it is not so.
    """
    content, ignored = honour_ignore(truth.content, "keypoints")
    notes = [*truth.notes, *(() if provenance else ignore_note(ignored)), *notes]
    skeleton = truth.skeleton
    if skeleton is None or not len(skeleton):
        raise DataError(
            f"The people of {truth.name} must have labelled keypoints. The category has none, so "
            "keypoint errors cannot be told."
        )
    for poses, what in ((found, "predictions"), (given, "poses")):
        if len(poses) and poses.keypoints.shape[1] != len(skeleton):
            raise DataError(
                f"The {what} have {poses.keypoints.shape[1]} joints, the people of {truth.name} "
                f"have {len(skeleton)}. Both must have the same joints."
            )
    images = sorted(content["images"], key=lambda image: int(image["id"]))
    image_ids = np.array([image["id"] for image in images], np.int64)
    people = _people(content["annotations"], image_ids, given, len(skeleton))
    if people.ignored.all():
        if not len(people):
            raise DataError(
                f"There must be people in {truth.name} to be found. It has no annotations of "
                "people."
            )
        crowds = int(people.crowd.sum())
        raise DataError(
            f"There must be people in {truth.name} who have to be found. Of {len(people)} "
            f"annotations {crowds} are crowds and {len(people) - crowds} have no labelled joint or "
            "are marked ignore, so there is no error to explain."
        )

    image = np.searchsorted(image_ids, found.image_ids)
    order = np.lexsort((-found.scores, image))
    keypoints = _placed(found.keypoints[order]) if len(found) else np.zeros((0, len(skeleton), 3))
    boxes = found.boxes[order]
    seen = np.tile([-np.inf, -np.inf, np.inf, np.inf], (len(order), 1))
    if two_stage:
        seen = crops(boxes, input_size)
    else:  # the rectangle round the keypoints that are there; a point at 0, 0 where none is
        known = np.isfinite(keypoints[..., :1])
        low = np.where(known, keypoints[..., :2], np.inf).min(axis=1, initial=np.inf)
        high = np.where(known, keypoints[..., :2], -np.inf).max(axis=1, initial=-np.inf)
        boxes = np.concatenate([low, high], axis=1)
        boxes = np.where(np.isfinite(boxes), boxes, 0.0)
    bundle = Bundle(
        name=truth.name,
        skeleton=skeleton,
        image_ids=image_ids,
        images=images,
        people=people,
        candidates=Poses.of(image_ids, image[order], boxes, found.scores[order], keypoints, seen),
        threshold=float(
            min(found.scores.min(initial=0.0), 0.0) if threshold is None else threshold
        ),
        input_size=input_size,
        two_stage=two_stage,
        provenance=provenance or {**data_provenance(truth), **made_by, **versions()},
    )
    return replace(bundle, notes=tuple(dict.fromkeys([*notes, *_odd(bundle)])))


def _people(
    annotations: Sequence[Mapping[str, Any]],
    image_ids: NDArray[np.int64],
    given: Instances,
    n_keypoints: int,
) -> People:
    image = np.searchsorted(image_ids, np.array([a["image_id"] for a in annotations], np.int64))
    order = np.argsort(image, kind="stable")
    records = [annotations[i] for i in order.tolist()]
    people = Instances.from_annotations(records, n_keypoints)
    excused = [bool(a.get("ignore")) or a.get("num_keypoints") == 0 for a in records]
    on_truth = np.full((len(records), n_keypoints, 3), np.nan)
    row = {number: i for i, number in enumerate(people.ids.tolist())}
    known = np.array([number in row for number in given.ids.tolist()], np.bool_)
    if known.any():
        rows = [row[number] for number in given.ids[known].tolist()]
        on_truth[rows] = _placed(given.keypoints[known])
    return People(
        **vars(people),
        image=image[order],
        ignored=people.crowd | ~people.labelled | np.array(excused, np.bool_),
        given=on_truth,
    )


def _placed(keypoints: Float) -> Float:
    """Poses (N, K, 3) whose missing keypoints are NaN, NaN, 0."""
    known = np.isfinite(keypoints[..., :2]).all(axis=2, keepdims=True)
    score = np.where(np.isfinite(keypoints[..., 2:]) & known, keypoints[..., 2:], 0.0)
    return np.concatenate([np.where(known, keypoints[..., :2], np.nan), score], axis=2)


def _odd(bundle: Bundle) -> list[str]:
    """What is odd, though it can be analysed."""
    notes = []
    people, candidates = bundle.people, bundle.candidates
    without = int((bundle.evaluated & ~people.has_given).sum())
    if without and people.has_given.any():
        notes.append(
            f"{without} of {int(bundle.evaluated.sum())} people to be found have no pose on their "
            "ground-truth box; what is said of ground-truth boxes counts them as missed."
        )
    d, g = bundle.pairs()
    if not len(candidates):
        notes.append("There are no detections at all: everybody is missed.")
    elif not bundle.detected.any():
        notes.append(
            f"No box reaches the threshold of {bundle.threshold:g}; the best score is "
            f"{candidates.scores.max():.3f}. Everybody is missed."
        )
    elif not (bundle.detected[d] & (iou(candidates.boxes[d], people.boxes[g]) > 0)).any():
        notes.append(
            "No detection overlaps anybody. Are these the predictions of these images, in pixels?"
        )
    return notes
