"""From what users have (an evaluation, saved predictions, COCO results) to a bundle of arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kptk.analysis.arrays import Sources, make_bundle
from kptk.analysis.bundle import Bundle, Record
from kptk.errors import DataError, InputError
from kptk.evaluation import Evaluation, Predictions
from kptk.evaluation.provenance import data_provenance, ignore_note, versions
from kptk.evaluation.results_file import check_results, kind_of_results, read_results
from kptk.evaluation.truth import Truth, honour_ignore
from kptk.inputs import check_threshold

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
    candidates, given = predictions.candidates, predictions.people
    if candidates is None or given is None:
        missing = "boxes: no detector was run" if candidates is None else "poses"
        raise InputError(
            "analyze needs a detector and a keypoint model, since it tells which of them is at "
            f"fault. These predictions have no {missing}."
        )
    truth = truth.only(predictions.image_ids)
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
