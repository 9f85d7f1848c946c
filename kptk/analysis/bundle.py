"""The bundle: all that the analysis of errors looks at, as arrays; made once, without the models.

Everything else in this package is array work on it, so sliders and what-ifs need no inference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import DataError, InputError
from kptk.evaluation import Evaluation, Predictions
from kptk.evaluation.evaluator import check_results, kind_of_results, read_results
from kptk.evaluation.ground_truth import GroundTruth, honour_ignore
from kptk.evaluation.result import data_provenance, ignore_note, versions
from kptk.geometry import iou
from kptk.inputs import check_threshold
from kptk.instances import Instances
from kptk.pipeline.pose import crop_boxes
from kptk.skeleton import Skeleton

Float = NDArray[np.float64]
Index = NDArray[np.intp]
Bool = NDArray[np.bool_]


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

    def take(self, rows: Index) -> Candidates:
        """Some of them, in the order given."""
        return Candidates(*(getattr(self, field.name)[rows] for field in fields(self)))


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
        notes: what was repaired or assumed.
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
    centers, sizes = crop_boxes(boxes.astype(np.float32), input_size)
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)


INPUT_SIZE = (256, 192)  # PP-TinyPose's larger input; only its aspect matters here
_NO_POSES = (
    "There are no poses on ground-truth boxes, so what each module costs cannot be told apart: "
    "there is no verdict, and 'pose' may hold people whose box is to blame."
)
_NO_THRESHOLD = "No threshold is known, so every box counts as a detection."


def bundle_of_evaluation(evaluation: Evaluation, det_threshold: float | None = None) -> Bundle:
    """The bundle of a pipeline's evaluation, or of one of COCO keypoint results.

    Args:
        evaluation: of ``kptk.evaluate``.
        det_threshold: lowest box score of a detection; None: the pipeline's own.

    Raises:
        InputError: it has no poses, or nothing was detected with.
        DataError: nobody has to be found.
    """
    of_pipeline = evaluation.predictions is not None
    section = evaluation.end_to_end if of_pipeline else evaluation.keypoints
    if section is None or section.skeleton is None:
        if of_pipeline:
            raise InputError(
                "analyze needs a detector and a keypoint model, since it tells which of them is "
                f"at fault. This evaluation has only: {', '.join(evaluation.sections)}. Evaluate "
                "a pipeline of both."
            )
        raise InputError(
            "analyze needs keypoints. This evaluation is of boxes alone, so there is no pose whose "
            "share of the errors could be told."
        )
    notes = tuple(evaluation.provenance.get("notes", ()))
    truth = GroundTruth(section.annotations, section.skeleton, evaluation.name, None, notes)
    provenance = evaluation.provenance
    if evaluation.predictions is None:
        return bundle_of_results(
            section.results, truth, det_threshold=det_threshold, provenance=provenance
        )
    return bundle_of_predictions(
        evaluation.predictions, truth, det_threshold, provenance=provenance
    )


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
    if threshold is None:
        threshold = min(found.scores.min(initial=0.0), 0.0)
    size = made_by.get("models", {}).get("pose", {}).get("input_size") or INPUT_SIZE
    return _bundle(
        truth,
        found,
        given,
        two_stage=True,
        threshold=check_threshold(threshold),
        input_size=(int(size[0]), int(size[1])),
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
    notes = []
    if two_stage:
        for index, record in enumerate(found):
            box = record["bbox"]
            if len(box) != 4 or not all(map(math.isfinite, box)) or min(box[2:]) < 0:
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
    threshold = det_threshold
    if threshold is None:
        threshold = min((float(record["score"]) for record in found), default=0.0)
        threshold = min(threshold, 0.0)
        notes += [_NO_THRESHOLD] if two_stage else []
    given = [] if poses_on_truth is None else _read_given(poses_on_truth, truth, joints)
    if two_stage and not given:
        notes.append(_NO_POSES)
    return _bundle(
        truth,
        Instances.from_results(found, joints),
        Instances.from_results([{"score": 1.0, "image_id": 0, **r} for r in given], joints),
        two_stage=two_stage,
        threshold=float(threshold),
        input_size=input_size or INPUT_SIZE,
        made_by={"results": name, "results_sha256": sha256},
        provenance=provenance,
        notes=notes,
    )


def _read_given(poses: Any, truth: GroundTruth, joints: int) -> list[dict[str, Any]]:
    records, name, _ = read_results(poses)
    known = {annotation["id"] for annotation in truth.content["annotations"]}
    for index, record in enumerate(records):
        if record.get("annotation_id") not in known:
            raise DataError(
                f"Record {index} of {name} (poses on ground-truth boxes) must have the "
                f"annotation_id of a person. Got {record.get('annotation_id')!r}."
            )
        if len(record.get("keypoints") or ()) != 3 * joints:
            raise DataError(
                f"keypoints of record {index} of {name} must be {3 * joints} numbers (x, y, score "
                f"for each of {joints} joints). Got {len(record.get('keypoints') or ())}."
            )
    return records


def _bundle(
    truth: GroundTruth,
    found: Instances,
    given: Instances,
    *,
    two_stage: bool,
    threshold: float,
    input_size: tuple[int, int],
    made_by: Mapping[str, Any],
    provenance: Mapping[str, Any] | None,
    notes: Sequence[str],
) -> Bundle:
    """People and candidates by image, checked, with what is odd about them."""
    content, ignored = honour_ignore(truth.content, "keypoints")
    notes = [*truth.notes, *(() if provenance else ignore_note(ignored)), *notes]
    skeleton = truth.skeleton
    if skeleton is None or not len(skeleton):
        raise DataError(
            f"The people of {truth.name} must have labelled keypoints. The category has none, so "
            "keypoint errors cannot be told."
        )
    joints = len(skeleton)
    for some, what in ((found, "predictions"), (given, "poses")):
        if len(some) and some.keypoints.shape[1] != joints:
            raise DataError(
                f"The {what} have {some.keypoints.shape[1]} joints, the people of {truth.name} "
                f"have {joints}. Both must have the same joints."
            )
    images = sorted(content["images"], key=lambda image: int(image["id"]))
    image_ids = np.array([image["id"] for image in images], np.int64)
    annotations = content["annotations"]
    everyone = Instances.from_annotations(annotations, joints)
    order = np.argsort(np.searchsorted(image_ids, everyone.image_ids), kind="stable")
    everyone = everyone[order]
    unasked = [bool(a.get("ignore")) or a.get("num_keypoints") == 0 for a in annotations]
    row = {int(number): i for i, number in enumerate(everyone.ids)}
    here = [(i, row[int(number)]) for i, number in enumerate(given.ids) if int(number) in row]
    poses = np.full((len(everyone), joints, 3), np.nan)
    for i, g in here:
        poses[g] = _placed(given.keypoints[i])
    people = People(
        annotation_id=everyone.ids,
        image=np.searchsorted(image_ids, everyone.image_ids).astype(np.intp),
        box=everyone.boxes,
        area=everyone.areas,
        points=everyone.keypoints,
        crowd=everyone.crowd,
        ignored=everyone.crowd | np.array(unasked, np.bool_)[order] | ~everyone.labelled,
        given=poses,
    )
    _check_people(people, truth.name)
    image = np.searchsorted(image_ids, found.image_ids).astype(np.intp)
    order = np.lexsort((-found.scores, image))
    found, image = found[order], image[order]
    points = _placed(found.keypoints)
    boxes, crop = found.boxes, np.tile([-np.inf, -np.inf, np.inf, np.inf], (len(found), 1))
    if two_stage:
        crop = crops(boxes, input_size)
    else:  # the rectangle round the keypoints that are there; a point at 0, 0 where none is
        known = np.isfinite(points[..., :2])
        low = np.where(known, points[..., :2], np.inf).min(axis=1, initial=np.inf)
        high = np.where(known, points[..., :2], -np.inf).max(axis=1, initial=-np.inf)
        boxes = np.concatenate([low, high], axis=1)
        boxes = np.where(np.isfinite(boxes), boxes, 0.0)
    bundle = Bundle(
        name=truth.name,
        skeleton=skeleton,
        image_ids=image_ids,
        images=images,
        people=people,
        candidates=Candidates(image, boxes, found.scores, points, crop),
        threshold=threshold,
        input_size=input_size,
        two_stage=two_stage,
        provenance=provenance or {**data_provenance(truth), **made_by, **versions()},
    )
    return replace(bundle, notes=tuple(dict.fromkeys([*notes, *_notes(bundle)])))


def _placed(keypoints: Float) -> Float:
    """(..., K, 3) poses; x, y are NaN and the score 0 where a keypoint was not placed."""
    missing = ~np.isfinite(keypoints[..., :2]).all(axis=-1)
    placed = keypoints.copy()
    placed[missing, :2] = np.nan
    placed[..., 2] = np.where(missing, 0.0, np.nan_to_num(keypoints[..., 2], posinf=0, neginf=0))
    return placed


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
    d, g = bundle.pairs()
    overlap = iou(candidates.box[d], people.box[g])
    overlaps = bool((bundle.detected[d] & (overlap > 0)).any())
    if not len(candidates):
        notes.append("There are no detections at all: everybody is missed.")
    elif not bundle.detected.any():
        notes.append(
            f"No box reaches the threshold of {bundle.threshold:g}; the best score is "
            f"{candidates.score.max():.3f}. Everybody is missed."
        )
    elif not overlaps:
        notes.append(
            "No detection overlaps anybody. Are these the predictions of these images, in pixels?"
        )
    return notes
