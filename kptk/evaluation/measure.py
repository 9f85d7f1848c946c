"""`kptk.evaluate`: a pipeline on a data set, or results against annotations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from kptk.errors import InputError
from kptk.evaluation.collecting import Predictions, collect
from kptk.evaluation.provenance import (
    data_provenance,
    ignore_note,
    made_by_of,
    own_threshold,
    versions,
)
from kptk.evaluation.result import Evaluation
from kptk.evaluation.results_file import evaluate_results
from kptk.evaluation.scores import Scores, score
from kptk.evaluation.scoring import MIN_SCORE, ScoreMode, Scoring, make_scoring, score_poses
from kptk.evaluation.truth import Truth, honour_ignore, read_truth, truth_of_data

if TYPE_CHECKING:
    from kptk.coco import KeypointData
    from kptk.runner import Pipeline

Path_ = str | os.PathLike[str]
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
        from kptk.evaluation.run import check_data, prepare

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
    from kptk.bulk.folder import is_run_folder

    if is_run_folder(predictions):
        from kptk.evaluation.stored_run import evaluate_run

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
