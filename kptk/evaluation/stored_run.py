"""Statistics of what `kptk.predict_dataset` has stored."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kptk.bulk.stored import read_predictions
from kptk.coco import KeypointData
from kptk.evaluation.results_file import evaluate_results
from kptk.evaluation.scoring import make_scoring, score_poses
from kptk.evaluation.truth import read_truth
from kptk.skeleton import COCO17

if TYPE_CHECKING:
    from kptk.evaluation.result import Evaluation

Path_ = str | os.PathLike[str]


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
