"""`kptk.evaluate`: a pipeline on a data set, or results against annotations."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kptk.coco import KeypointData
from kptk.coco.load import read_json
from kptk.coco.rules import first_ids
from kptk.errors import DataError, InputError
from kptk.evaluation.ground_truth import (
    GroundTruth,
    honour_ignore,
    is_list,
    read_truth,
    truth_of_data,
)
from kptk.evaluation.matching import Kind
from kptk.evaluation.predictions import Predictions, collect
from kptk.evaluation.result import (
    Evaluation,
    data_provenance,
    ignore_note,
    made_by_of,
    own_threshold,
    versions,
)
from kptk.evaluation.scores import (
    MIN_SCORE,
    ScoreMode,
    Scores,
    Scoring,
    make_scoring,
    score,
    score_poses,
)
from kptk.files import file_hash
from kptk.inputs import check_batch_size
from kptk.pipeline.pipeline import Pipeline, create_pipeline
from kptk.skeleton import COCO17
from kptk.stored import is_run_folder, read_predictions

Path_ = str | os.PathLike[str]
Record = dict[str, Any]
Annotations = Path_ | Mapping[str, Any] | KeypointData
Results = Path_ | Sequence[Mapping[str, Any]] | Predictions


def evaluate(
    pipe: Pipeline | Path_ | None = None,
    data: KeypointData | None = None,
    *,
    predictions: Results | None = None,
    annotations: Annotations | None = None,
    score_mode: ScoreMode = "ppdet",
    oks_nms: float | Literal["auto"] | None = "auto",
    det_threshold: float | None = None,
    min_score: float = MIN_SCORE,
    flip: bool | None = None,
    udp: bool | None = None,
    engine: str = "auto",
    device: str = "auto",
    sigmas: Sequence[float] | None = None,
    max_images: int | None = None,
    progress: bool = True,
) -> Evaluation:
    """Measure COCO AP of a pipeline three ways, or of results that are there already.

    With ``pipe`` and ``data``: the detector alone (boxes), the pose model alone (on ground-truth
    boxes), and both together. With ``predictions`` and ``annotations``: one set of statistics of
    COCO results, or all three again, without inference, of what ``Evaluation.save`` wrote.
    Every number is pycocotools'.

    On ground-truth boxes the pose model sees every single person, no crowds. Those without a
    labelled point are kept in ``predictions``, but not scored, as PaddleDetection does.

    Args:
        pipe: a pipeline, or what ``create_pipeline`` takes; one with a single stage has only that
            stage's numbers.
        data: of ``load_coco``.
        predictions: a file or list of COCO results (keypoints, or boxes), a folder written by
            ``Evaluation.save`` or ``predict_dataset``, or ``Evaluation.predictions``.
        annotations: a COCO annotation file, its content, or loaded data.
        score_mode: what ranks poses. ``"ppdet"``, as published: box score times the mean of the
            keypoint scores above .2, over all candidates. ``"deploy"``, as the pipeline emits: the
            box score, over boxes from ``det_threshold`` up; on ground-truth boxes the mean of all
            keypoint scores.
        oks_nms: of two poses with a higher OKS the lower-ranked goes; None: none goes; ``"auto"``:
            .9 for ``ppdet``, None for ``deploy``.
        det_threshold: lowest box score end to end; None: all candidates for ``ppdet``, the
            pipeline's own for ``deploy``. The detector's AP is not concerned.
        min_score: lowest box score of a candidate, after the detector's own suppression.
        flip: average with the mirrored person; None: as the pipeline does.
        udp: unbiased data processing; None: as the pipeline does.
        engine: for a ``pipe`` that is a name or path; see ``create_pipeline``.
        device: likewise.
        sigmas: OKS sigma of each joint, with ``annotations``; None: by the joints' names.
        max_images: only the first images by id.
        progress: show a progress bar.

    Returns:
        The statistics with their provenance, and the predictions.

    Raises:
        InputError: an argument is wrong.
        DataError: data, annotations or results cannot be used.
    """
    if pipe is not None and data is not None and predictions is None and annotations is None:
        _refuse("is for annotations=; for data give it to load_coco.", sigmas=sigmas)
        if not isinstance(data, KeypointData):
            raise InputError(
                "data must be loaded first: kptk.load_coco(path, split='val'). "
                f"Got {type(data).__name__}."
            )
        chosen = first_images(data, max_images)
        ready = _prepare(pipe, flip=flip, udp=udp, engine=engine, device=device)
        own = own_threshold(ready)
        scoring = make_scoring(score_mode, oks_nms, det_threshold, min_score, own)
        return evaluate_pipeline(ready, chosen, scoring, progress=progress)
    if predictions is None or annotations is None or pipe is not None or data is not None:
        raise InputError(
            "evaluate needs a pipeline and data, evaluate(pipe, data), or results and ground "
            "truth, evaluate(predictions=..., annotations=...)."
        )
    _refuse(
        "is for running a pipeline; with predictions= there is none to run. Leave it out.",
        flip=flip,
        udp=udp,
        engine=engine,
        device=device,
        max_images=max_images,
    )
    if isinstance(predictions, str | os.PathLike) and is_run_folder(predictions):
        # of predict_dataset: poses end to end, images by file name
        stored = read_predictions(predictions)
        own = stored.det_threshold
        scoring = make_scoring(score_mode, oks_nms, det_threshold, min_score, own)
        truth = read_truth(annotations, "keypoints", sigmas)
        skeleton = truth.skeleton or COCO17
        candidates = stored.candidates(annotations)
        candidates = candidates[candidates.scores >= scoring.min_score]
        ranked = score_poses(candidates, scoring, skeleton.sigmas)
        category_id = truth.content["categories"][0]["id"]
        found = evaluate_results(
            ranked.to_results(category_id, ("keypoints",)), annotations, sigmas
        )
        options = {**scoring.json, "candidates_from": own}
        made_by = {"run": stored.manifest["settings"], "scoring": options}
        return replace(found, provenance={**found.provenance, **made_by})
    if isinstance(predictions, str | os.PathLike) and Path(predictions).expanduser().is_dir():
        predictions = Predictions.load(predictions)
    if isinstance(predictions, Predictions):
        lowest = max(min_score, predictions.made_by.get("candidates_from", 0))
        own = predictions.made_by.get("det_threshold")
        scoring = make_scoring(score_mode, oks_nms, det_threshold, lowest, own)
        truth = read_truth(annotations, "keypoints", sigmas)
        return evaluate_predictions(predictions, truth, scoring)
    _refuse(
        "is for what Evaluation.save wrote; COCO results are ranked by the score they carry. "
        "Leave it out.",
        score_mode=None if score_mode == "ppdet" else score_mode,
        oks_nms=oks_nms,
        det_threshold=det_threshold,
    )
    return evaluate_results(predictions, annotations, sigmas)


def _refuse(why: str, **options: object) -> None:
    """Options that would not change anything are an error, since the user thinks they do."""
    for name, value in options.items():
        if value is not None and not (isinstance(value, str) and value == "auto"):
            raise InputError(f"{name} {why}")


def _prepare(
    pipe: Pipeline | Path_, *, flip: bool | None, udp: bool | None, engine: str, device: str
) -> Pipeline:
    """A pipeline as it is to be measured; the one handed in is not changed."""
    if isinstance(pipe, str | os.PathLike):
        pipe = create_pipeline(pipe, engine=engine, device=device)
    elif (engine, device) != ("auto", "auto"):
        raise InputError(
            "engine and device are chosen when a pipeline is made: "
            "create_pipeline(..., engine=..., device=...), or pass evaluate its name or path."
        )
    if flip is None and udp is None:
        return pipe
    if pipe.pose is None:
        raise InputError("flip and udp are for keypoint models. This pipeline has none.")
    chosen, pose = copy(pipe), copy(pipe.pose)
    pose.flip = pose.flip if flip is None else flip
    pose.udp = pose.udp if udp is None else udp
    chosen.pose = pose
    return chosen


def first_images(data: KeypointData, count: int | None) -> KeypointData:
    """The first images by id; None: all.

    Raises:
        InputError: ``count`` is no whole number from 1 up.
    """
    if count is None:
        return data
    return data.subset(data.image_ids[: check_batch_size(count, "max_images")])


def evaluate_pipeline(
    pipe: Pipeline,
    data: KeypointData,
    scoring: Scoring,
    *,
    progress: bool = True,
    as_published: bool = False,
) -> Evaluation:
    """Run a pipeline over data and score it.

    Args:
        pipe: as it is to be measured.
        data: the images and their people.
        scoring: the checked options.
        progress: show a progress bar.
        as_published: as PaddleDetection does: ground-truth boxes cut its way, ``ignore`` flags
            not honoured.
    """
    found = collect(pipe, data, scoring.min_score, progress=progress, ppdet_boxes=as_published)
    predictions = replace(found, made_by=made_by_of(pipe, scoring, as_published))
    return evaluate_predictions(predictions, truth_of_data(data), scoring, honour=not as_published)


def evaluate_predictions(
    predictions: Predictions, truth: GroundTruth, scoring: Scoring, *, honour: bool = True
) -> Evaluation:
    """Score what a pipeline said; no inference."""
    truth = truth.only(predictions.image_ids)
    boxes, poses, notes = truth.content, truth.content, []
    if honour:
        boxes, count = honour_ignore(truth.content, "bbox")
        poses, _ = honour_ignore(truth.content, "keypoints")
        notes = ignore_note(count)
    category_id = truth.content["categories"][0]["id"]
    sections: dict[str, Scores] = {}
    candidates, people = predictions.candidates, predictions.people
    if candidates is not None:
        candidates = candidates[candidates.scores >= scoring.min_score]
        source = {
            "box_source": "detector",
            "score_mode": "box score",
            "min_score": scoring.min_score,
        }
        found = candidates.to_results(category_id, ("bbox",))
        sections["detector"] = score("detector", "bbox", boxes, found, None, source)
    if people is not None and truth.skeleton is not None:
        labelled = [
            a["id"] for a in poses["annotations"] if any(v > 0 for v in a["keypoints"][2::3])
        ]
        known = people[np.isin(people.ids, labelled)]
        alone = Scoring(scoring.score_mode, scoring.oks_nms)
        source = {
            **alone.json,
            "box_source": "ground truth",
            "det_threshold": None,
            "min_score": None,
            "without_keypoints": len(people) - len(known),
        }
        ranked = score_poses(known, alone, truth.skeleton.sigmas)
        found = ranked.to_results(category_id, ("keypoints", "annotation_id"))
        title = "pose on ground-truth boxes"
        sections["pose"] = score(title, "keypoints", poses, found, truth.skeleton, source)
        if candidates is not None:
            ranked = score_poses(candidates, scoring, truth.skeleton.sigmas)
            found = ranked.to_results(category_id, ("keypoints",))
            source = {**scoring.json, "box_source": "detector"}
            sections["end_to_end"] = score(
                "end to end", "keypoints", poses, found, truth.skeleton, source
            )
    provenance = {
        **data_provenance(truth),
        **predictions.made_by,
        **versions(),
        "notes": [*truth.notes, *notes],
    }
    return Evaluation(truth.name, sections, predictions, provenance)


def evaluate_results(
    predictions: Path_ | Sequence[Mapping[str, Any]],
    annotations: Annotations,
    sigmas: Sequence[float] | None,
) -> Evaluation:
    """Score COCO results, in a file or a list."""
    records, name, sha256 = read_results(predictions)
    kind = kind_of_results(records)
    if kind is None:  # no results to tell: what the annotations are for
        categories = read_truth(annotations, "bbox", None).content["categories"]
        kind = "keypoints" if any(c.get("keypoints") for c in categories) else "bbox"
    truth = read_truth(annotations, kind, sigmas)
    joints = len(truth.skeleton) if truth.skeleton is not None else 0
    results, notes = check_results(records, kind, truth.content, joints)
    content, count = honour_ignore(truth.content, kind)
    source = {
        "box_source": "results",
        "score_mode": "as in the results",
        "results": name,
        "results_sha256": sha256,
    }
    scores = score(name, kind, content, results, truth.skeleton, source)
    provenance = {
        **data_provenance(truth),
        **versions(),
        "notes": [*truth.notes, *notes, *ignore_note(count)],
    }
    return Evaluation(truth.name, {kind: scores}, None, provenance)


def read_results(
    predictions: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
) -> tuple[list[Record], str, str | None]:
    """COCO results, their name, and the file's SHA-256 if they are from one.

    Raises:
        DataError: they are no list of records.
    """
    name, sha256 = "results", None
    if isinstance(predictions, str | os.PathLike):
        path = Path(predictions).expanduser()
        loaded = read_json(path)
        name, sha256 = path.name, file_hash(path)
    else:
        loaded = predictions
    if not is_list(loaded) or not all(isinstance(record, Mapping) for record in loaded):
        kind = "an annotation file" if isinstance(loaded, Mapping) else type(loaded).__name__
        raise DataError(
            f"{name} must be a list of COCO results (image_id, category_id, score, and keypoints "
            f"or bbox). Got {kind}."
        )
    return [dict(record) for record in loaded], name, sha256


def kind_of_results(results: Sequence[Mapping[str, Any]]) -> Kind | None:
    """``"keypoints"`` or ``"bbox"``; None without results.

    Raises:
        DataError: the results are neither, or both kinds are mixed.
    """
    poses = ["keypoints" in result for result in results]
    boxes = ["bbox" in result for result in results]
    if all(poses):
        return "keypoints" if results else None
    if all(boxes) and not any(poses):
        return "bbox"
    raise DataError(
        "Results must all have keypoints, or all have bbox (x, y, width, height). Of "
        f"{len(results)}, {sum(poses)} have keypoints and {sum(boxes)} have bbox."
    )


def check_results(
    results: Sequence[Record], kind: str, content: Mapping[str, Any], n_joints: int
) -> tuple[list[Record], list[str]]:
    """Refuse results that cannot be scored; say what pycocotools would get wrong.

    Returns:
        The results that count, and notes.

    Raises:
        DataError: a record is incomplete or does not belong to these annotations.
    """
    for index, record in enumerate(results):
        _check_result(index, record, kind, n_joints)
    images = {image["id"] for image in content["images"]}
    strange = [r["image_id"] for r in results if r["image_id"] not in images]
    if strange:
        raise DataError(
            f"{len(strange)} results are on images that are not in the annotations, the first on "
            f"image {strange[0]!r}. Are these the results of another data set?"
        )
    categories = {category["id"] for category in content["categories"]}
    known = [r for r in results if r["category_id"] in categories]
    if results and not known:
        raise DataError(
            f"No result has a category that is evaluated ({first_ids(sorted(categories))}). "
            f"Got category_id {results[0]['category_id']!r}."
        )
    notes = []
    if len(known) < len(results):
        notes.append(f"{len(results) - len(known)} results of other categories were left out.")
    if kind == "keypoints" and any("bbox" in record for record in known):
        notes.append(
            "Results carry a bbox, from which pycocotools would take the sizes for AP(M) and "
            "AP(L); they are taken from the joints, as for every COCO keypoint result."
        )
    missing = sum(
        not all(v is not None and math.isfinite(v) for v in record["keypoints"])
        for record in (known if kind == "keypoints" else ())
    )
    if missing:
        notes.append(
            f"{missing} results have joints that are NaN or null, which pycocotools takes for a "
            "perfect match; they match nothing."
        )
    return known, notes


def _check_result(index: int, record: Record, kind: str, n_joints: int) -> None:
    def is_number(value: object, finite: bool) -> bool:
        """None is what some writers have for NaN."""
        if value is None:
            return not finite
        number = isinstance(value, Real) and not isinstance(value, bool)
        return number and (not finite or math.isfinite(value))  # type: ignore[arg-type]

    for key in ("image_id", "category_id", "score", kind):
        if record.get(key) is None:
            raise DataError(f"Result {index} has no {key!r}. Every COCO result needs one.")
    if not is_number(record["score"], finite=True):
        raise DataError(f"The score of result {index} must be a number. Got {record['score']!r}.")
    values = record[kind]
    wanted = 4 if kind == "bbox" else 3 * n_joints
    if not is_list(values) or len(values) != wanted:
        what = f"{len(values)} numbers" if is_list(values) else repr(values)
        raise DataError(
            f"{kind} of result {index} must be {wanted} numbers"
            f"{'' if kind == 'bbox' else f' (x, y, score for each of {n_joints} joints)'}. "
            f"Got {what}."
        )
    if not all(is_number(value, finite=kind == "bbox") for value in values):
        raise DataError(f"{kind} of result {index} must be numbers. Got {values!r}.")
