"""Statistics of COCO results that are there already."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from kptk.bulk import read_predictions
from kptk.coco import KeypointData
from kptk.coco.load import read_json
from kptk.coco.rules import first_ids
from kptk.errors import DataError, InputError
from kptk.evaluation.ground_truth import Truth, honour_ignore, is_list, read_truth, truth_of_data
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
from kptk.pipeline.pipeline import Pipeline
from kptk.pipeline.pose import PoseModel
from kptk.skeleton import COCO17

if TYPE_CHECKING:
    from kptk.coco import KeypointData
    from kptk.evaluation.result import Evaluation
    from kptk.pipeline.pipeline import Pipeline


Path_ = str | os.PathLike[str]


Record = dict[str, Any]


def evaluate_results(
    predictions: Path_ | Sequence[Mapping[str, Any]],
    annotations: Path_ | Mapping[str, Any] | KeypointData,
    sigmas: Sequence[float] | None,
) -> Evaluation:
    """Score a file of COCO results."""
    records, name, sha256 = read_results(predictions)
    kind = kind_of_results(records) or _kind_of_annotations(annotations)
    truth = read_truth(annotations, kind, sigmas)
    joints = len(truth.skeleton) if truth.skeleton is not None else 0
    results, notes = check_results(records, kind, truth.content, joints)
    content, count = honour_ignore(truth.content, kind)
    source = {"box_source": "results", "score_mode": "as in the results", "results": name,
              "results_sha256": sha256}  # fmt: skip
    scores = score(name, kind, content, results, truth.skeleton, source)
    provenance = {
        **data_provenance(truth),
        **versions(),
        "notes": [*truth.notes, *notes, *ignore_note(count)],
    }
    return Evaluation(truth.name, {kind: scores}, None, provenance)


def _kind_of_annotations(annotations: Path_ | Mapping[str, Any] | KeypointData) -> Kind:
    """What annotations are for, when there are no results to tell."""
    categories = read_truth(annotations, "bbox", None).content["categories"]
    return "keypoints" if any(category.get("keypoints") for category in categories) else "bbox"


def read_results(
    predictions: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
) -> tuple[list[Record], str, str | None]:
    """COCO results, how they are called, and the file's SHA-256 if they are from one.

    Raises:
        DataError: they are no list of records.
    """
    name, sha256 = "results", None
    if isinstance(predictions, str | os.PathLike):
        from kptk.files import file_hash

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
    for place, record in enumerate(results):
        _check_result(place, record, kind, n_joints)
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
    return known, _result_notes(results, known, kind)


def _result_notes(results: Sequence[Record], known: Sequence[Record], kind: str) -> list[str]:
    notes = []
    if len(known) < len(results):
        notes.append(f"{len(results) - len(known)} results of other categories were left out.")
    if kind == "keypoints" and any("bbox" in record for record in known):
        notes.append(
            "Results carry a bbox, from which pycocotools would take the sizes for AP(M) and "
            "AP(L); they are taken from the joints, as for every COCO keypoint result."
        )
    missing = sum(_has_missing(record) for record in known) if kind == "keypoints" else 0
    if missing:
        notes.append(
            f"{missing} results have joints that are NaN or null, which pycocotools takes for a "
            "perfect match; they match nothing."
        )
    return notes


def _has_missing(record: Record) -> bool:
    return not all(value is not None and math.isfinite(value) for value in record["keypoints"])


def _check_result(place: int, record: Record, kind: str, n_joints: int) -> None:
    for key in ("image_id", "category_id", "score", kind):
        if record.get(key) is None:
            raise DataError(f"Result {place} has no {key!r}. Every COCO result needs one.")
    if not _is_finite(record["score"]):
        raise DataError(f"The score of result {place} must be a number. Got {record['score']!r}.")
    values = record[kind]
    wanted = 4 if kind == "bbox" else 3 * n_joints
    if not is_list(values) or len(values) != wanted:
        what = f"{len(values)} numbers" if is_list(values) else repr(values)
        raise DataError(
            f"{kind} of result {place} must be {wanted} numbers"
            f"{'' if kind == 'bbox' else f' (x, y, score for each of {n_joints} joints)'}. "
            f"Got {what}."
        )
    fine = all(map(_is_finite, values)) if kind == "bbox" else all(map(_is_number, values))
    if not fine:
        raise DataError(f"{kind} of result {place} must be numbers. Got {values!r}.")


def _is_finite(value: object) -> bool:
    return _is_number(value) and value is not None and math.isfinite(value)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    """A number, or None, which some writers use for NaN."""
    return value is None or (isinstance(value, Real) and not isinstance(value, bool))


# ---- stored_run: Statistics of what `kptk.predict_dataset` has stored.


def evaluate_run(
    folder: Path_,
    annotations: Path_ | Mapping[str, Any] | KeypointData,
    sigmas: Sequence[float] | None,
    *,
    score_mode: str,
    oks_nms: float | str | None,
    det_threshold: float | None,
    min_score: float,
) -> Evaluation:
    """Score stored people as poses end to end; the images are matched by file name.

    Args:
        folder: of :func:`kptk.predict_dataset`.
        annotations: a COCO annotation file, its content, or loaded data.
        sigmas: see ``evaluate``, like all others.
        score_mode: likewise.
        oks_nms: likewise.
        det_threshold: likewise.
        min_score: likewise; what is below the run's own threshold was not stored.

    Raises:
        InputError: an option is wrong.
        BulkError: the run is not finished.
        DataError: the annotations are not of these images.
    """
    stored = read_predictions(folder)
    settings = stored.manifest["settings"]
    own = stored.det_threshold
    scoring = make_scoring(score_mode, oks_nms, det_threshold, min_score, own)
    skeleton = read_truth(annotations, "keypoints", sigmas).skeleton or COCO17
    candidates = [c for c in stored.candidates(annotations) if c["score"] >= scoring.min_score]
    results = score_poses(candidates, scoring, skeleton.sigmas)
    found = evaluate_results(results, annotations, sigmas)
    made_by = {"run": settings, "scoring": {**scoring.json, "candidates_from": own}}
    return replace(found, provenance={**found.provenance, **made_by})


# ---- run: From what users hand to `kptk.evaluate` to a pipeline and data that can be measured.


def check_data(data: object) -> KeypointData:
    """Return loaded data.

    Raises:
        InputError: it is something else.
    """
    if isinstance(data, KeypointData):
        return data
    raise InputError(
        f"data must be loaded first: kptk.load_coco(path, split='val'). Got {type(data).__name__}."
    )


def prepare(
    pipe: Pipeline | str | os.PathLike[str],
    *,
    flip: bool | None,
    udp: bool | None,
    engine: str,
    device: str,
) -> Pipeline:
    """A pipeline as it is to be measured; the one handed in is not changed.

    Raises:
        InputError: an engine or device for a pipeline that is loaded already, or ``flip`` or
            ``udp`` without a pose model.
    """
    if isinstance(pipe, str | os.PathLike):
        from kptk.pipeline.pipeline import create_pipeline

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
    pose = PoseModel(
        pipe.pose.model,
        pipe.pose.engine,
        flip=pipe.pose.flip if flip is None else flip,
        udp=pipe.pose.udp if udp is None else udp,
    )
    return Pipeline(
        pipe.detector,
        pose,
        det_batch_size=pipe.det_batch_size,
        kpt_batch_size=pipe.kpt_batch_size,
        det_threshold=pipe.det_threshold,
        kpt_threshold=pipe.kpt_threshold,
        channel_order=pipe.channel_order,
    )


# ---- measure: `kptk.evaluate`: a pipeline on a data set, or results against annotations.


Results = Path_ | Sequence[Mapping[str, Any]] | Predictions


_DETECTED, _GIVEN = "detector", "ground truth"


def evaluate(
    pipe: Pipeline | Path_ | None = None,
    data: KeypointData | None = None,
    *,
    predictions: Results | None = None,
    annotations: Path_ | Mapping[str, Any] | KeypointData | None = None,
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
            joint scores above .2, over all candidates. ``"deploy"``, as the pipeline emits: the box
            score, over boxes from ``det_threshold`` up; on ground-truth boxes the mean of all
            joint scores.
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
        chosen = first_images(check_data(data), max_images)
        ready = prepare(pipe, flip=flip, udp=udp, engine=engine, device=device)
        own = own_threshold(ready)
        scoring = make_scoring(score_mode, oks_nms, det_threshold, min_score, own)
        return evaluate_pipeline(ready, chosen, scoring, progress=progress)
    if predictions is None or annotations is None or pipe is not None or data is not None:
        raise InputError(
            "evaluate needs a pipeline and data, evaluate(pipe, data), or results and ground "
            "truth, evaluate(predictions=..., annotations=...)."
        )
    _refuse(_NOT_NOW, flip=flip, udp=udp, engine=engine, device=device, max_images=max_images)
    from kptk.bulk import is_run_folder

    if is_run_folder(predictions):
        return evaluate_run(
            cast(Path_, predictions), annotations, sigmas, score_mode=score_mode, oks_nms=oks_nms,
            det_threshold=det_threshold, min_score=min_score,
        )  # fmt: skip
    stored = _stored(predictions)
    if isinstance(stored, Predictions):
        lowest = max(min_score, stored.made_by.get("candidates_from", 0))
        own = stored.made_by.get("det_threshold")
        scoring = make_scoring(score_mode, oks_nms, det_threshold, lowest, own)
        return evaluate_predictions(stored, read_truth(annotations, "keypoints", sigmas), scoring)
    mode = None if score_mode == "ppdet" else score_mode
    _refuse(_SCORED, score_mode=mode, oks_nms=oks_nms, det_threshold=det_threshold)
    return evaluate_results(stored, annotations, sigmas)


_NOT_NOW = "is for running a pipeline; with predictions= there is none to run. Leave it out."


_SCORED = (
    "is for what Evaluation.save wrote; COCO results are ranked by the score they carry. "
    "Leave it out."
)


def _refuse(why: str, **options: object) -> None:
    """Options that would not change anything are an error, since the user thinks they do."""
    for name, value in options.items():
        if value is not None and not (isinstance(value, str) and value == "auto"):
            raise InputError(f"{name} {why}")


def _stored(predictions: Results) -> Predictions | Path_ | Sequence[Mapping[str, Any]]:
    """A folder becomes the predictions that are saved in it."""
    if isinstance(predictions, str | os.PathLike) and Path(predictions).expanduser().is_dir():
        return Predictions.load(predictions)
    return predictions


def first_images(data: KeypointData, count: int | None) -> KeypointData:
    """The first images by id; None: all.

    Raises:
        InputError: ``count`` is no whole number from 1 up.
    """
    if count is None:
        return data
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise InputError(f"max_images must be a whole number of at least 1. Got {count!r}.")
    return data.subset(data.image_ids[: int(count)])


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
    predictions: Predictions, truth: Truth, scoring: Scoring, *, honour: bool = True
) -> Evaluation:
    """Score what a pipeline said; no inference."""
    truth = truth.only(predictions.image_ids)
    boxes, poses, notes = _both_truths(truth, honour)
    sections: dict[str, Scores] = {}
    candidates, people = predictions.candidates, predictions.people
    base = {"min_score": scoring.min_score}
    if candidates is not None:
        kept = [c for c in candidates if c["score"] >= scoring.min_score]
        found = [{key: c[key] for key in _BOX_KEYS} for c in kept]
        source = {"box_source": _DETECTED, "score_mode": "box score", **base}
        sections["detector"] = score("detector", "bbox", boxes, found, None, source)
    if people is not None and truth.skeleton is not None:
        labelled = _labelled(poses)
        given = [person for person in people if person["annotation_id"] in labelled]
        alone = Scoring(scoring.score_mode, scoring.oks_nms)
        source = {**alone.json, "box_source": _GIVEN, "det_threshold": None, "min_score": None,
                  "without_keypoints": len(people) - len(given)}  # fmt: skip
        results = score_poses(given, alone, truth.skeleton.sigmas)
        sections["pose"] = score(
            "pose on ground-truth boxes", "keypoints", poses, results, truth.skeleton, source
        )
        if candidates is not None:
            results = score_poses(kept, scoring, truth.skeleton.sigmas)
            source = {**scoring.json, "box_source": _DETECTED}
            sections["end_to_end"] = score(
                "end to end", "keypoints", poses, results, truth.skeleton, source
            )
    provenance = {**data_provenance(truth), **predictions.made_by, **versions()}
    return Evaluation(
        truth.name, sections, predictions, {**provenance, "notes": [*truth.notes, *notes]}
    )


_BOX_KEYS = ("image_id", "category_id", "bbox", "score")


def _both_truths(truth: Truth, honour: bool) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The annotations for boxes and for poses, with ``ignore`` flags honoured, and a note."""
    if not honour:
        return truth.content, truth.content, []
    boxes, count = honour_ignore(truth.content, "bbox")
    poses, _ = honour_ignore(truth.content, "keypoints")
    return boxes, poses, ignore_note(count)


def _labelled(annotations: Mapping[str, Any]) -> set[int]:
    return {a["id"] for a in annotations["annotations"] if any(v > 0 for v in a["keypoints"][2::3])}
