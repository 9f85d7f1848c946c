"""How poses are ranked: score modes and OKS-NMS.

``ppdet``, as PaddleDetection evaluates and publishes: box score times the mean of the joint scores
above .2, over all candidates, then OKS-NMS at .9. ``deploy``, as PaddleX's pipeline emits: the
detector's score alone, over the boxes at or above the threshold, no OKS-NMS. On ground-truth boxes
every box has score 1, so there ``deploy`` ranks by the mean of all joint scores: with tied scores
the order of the file would decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError
from kptk.evaluation.records import Points
from kptk.inputs import check_threshold

Float = NDArray[np.float64]
Record = dict[str, Any]
ScoreMode = Literal["ppdet", "deploy"]

OKS_NMS = 0.9
JOINT_THRESHOLD = 0.2  # in_vis_thre of ppdet's KeyPointTopDownCOCOEval
MIN_SCORE = 0.01


@dataclass(frozen=True)
class Scoring:
    """The checked options of an evaluation.

    Attributes:
        score_mode: ``"ppdet"`` or ``"deploy"``.
        oks_nms: OKS above which the lower-ranked of two poses goes; None: none goes.
        det_threshold: lowest box score end to end; None: all candidates.
        min_score: lowest box score of a candidate.
    """

    score_mode: ScoreMode = "ppdet"
    oks_nms: float | None = OKS_NMS
    det_threshold: float | None = None
    min_score: float = MIN_SCORE

    @property
    def json(self) -> dict[str, Any]:
        """The options as plain values."""
        return asdict(self)


def make_scoring(
    score_mode: str,
    oks_nms: float | str | None,
    det_threshold: float | None,
    min_score: float,
    own_threshold: float | None,
) -> Scoring:
    """Check options; what is left open follows the score mode.

    Args:
        score_mode: ``"ppdet"`` or ``"deploy"``.
        oks_nms: a number, None, or ``"auto"``.
        det_threshold: a number or None.
        min_score: lowest box score of a candidate.
        own_threshold: the pipeline's threshold, which ``deploy`` takes by default.

    Raises:
        InputError: one of them is wrong.
    """
    if score_mode not in ("ppdet", "deploy"):
        raise InputError(f"score_mode must be 'ppdet' or 'deploy'. Got {score_mode!r}.")
    if oks_nms == "auto":
        oks_nms = OKS_NMS if score_mode == "ppdet" else None
    if det_threshold is None and score_mode == "deploy":
        det_threshold = own_threshold
    mode: ScoreMode = "ppdet" if score_mode == "ppdet" else "deploy"
    return Scoring(
        mode,
        None if oks_nms is None else check_threshold(oks_nms, "oks_nms"),
        None if det_threshold is None else check_threshold(det_threshold),
        check_threshold(min_score, "min_score"),
    )


def score_poses(
    candidates: Sequence[Mapping[str, Any]], scoring: Scoring, sigmas: Sequence[float]
) -> list[Record]:
    """COCO keypoint results, ranked by the score mode, image by image as they come.

    Args:
        candidates: ``image_id``, ``category_id``, ``keypoints`` (x, y, score), ``score`` of the
            box (1 for ground-truth boxes, which carry ``annotation_id``), and ``crop_area``, the
            pixels the pose model looked at.
        scoring: the options.
        sigmas: OKS sigma of each joint.

    Returns:
        ``image_id``, ``category_id``, ``keypoints``, ``score``, and ``annotation_id`` where given.
    """
    lowest = scoring.det_threshold
    kept = [c for c in candidates if lowest is None or c["score"] >= lowest]
    by_image: dict[int, list[Mapping[str, Any]]] = {}
    for candidate in kept:
        by_image.setdefault(candidate["image_id"], []).append(candidate)
    return [
        record for group in by_image.values() for record in _score_image(group, scoring, sigmas)
    ]


def _score_image(
    group: Sequence[Mapping[str, Any]], scoring: Scoring, sigmas: Sequence[float]
) -> list[Record]:
    points = np.array([c["keypoints"] for c in group], np.float64).reshape(len(group), -1, 3)
    boxes = np.array([c["score"] for c in group], np.float64)
    given = np.array(["annotation_id" in c for c in group])
    scores = pose_scores(points, boxes, scoring.score_mode, given)
    chosen = np.arange(len(group))
    if scoring.oks_nms is not None:
        areas = np.array([c["crop_area"] for c in group], np.float64)
        chosen = oks_nms(points, scores, areas, sigmas, scoring.oks_nms)
    return [_result(group[i], float(scores[i])) for i in chosen.tolist()]


def _result(candidate: Mapping[str, Any], score: float) -> Record:
    keys = ("image_id", "category_id", "keypoints", "annotation_id")
    return {**{key: candidate[key] for key in keys if key in candidate}, "score": score}


def pose_scores(
    points: Float, boxes: Float, score_mode: ScoreMode, given: NDArray[np.bool_]
) -> Float:
    """(N,) the score that ranks each pose.

    Args:
        points: (N, K, 3) x, y, score.
        boxes: (N,) box scores.
        score_mode: see the module.
        given: (N,) whether the box is a ground truth's.
    """
    peaks = points[..., 2]
    if score_mode == "deploy":
        return np.where(given, peaks.mean(axis=1), boxes)
    counted = peaks > JOINT_THRESHOLD
    mean = np.where(counted, peaks, 0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    scores: Float = mean * boxes
    return scores


def oks_nms(
    points: Float, scores: Float, areas: Float, sigmas: Sequence[float], threshold: float
) -> NDArray[np.intp]:
    """Of poses that resemble each other keep the best (ppdet's ``oks_nms``).

    Args:
        points: (N, K, 3) x, y, score of the poses of one image.
        scores: (N,) their ranks.
        areas: (N,) pixels of their crops.
        sigmas: (K,) OKS sigmas.
        threshold: poses with a higher OKS to a better one go.

    Returns:
        Indices of the kept poses, best first.
    """
    likeness = _pairwise_oks(points, areas, np.asarray(sigmas, np.float64))
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if not kept or likeness[kept, i].max() <= threshold:
            kept.append(int(i))
    return np.array(kept, np.intp)


def _pairwise_oks(points: Float, areas: Float, sigmas: Float) -> Float:
    """(N, N) OKS of every two poses, every joint counted, by their mean area."""
    n, k, _ = points.shape
    i, j = np.divmod(np.arange(n * n), n)
    truth = np.concatenate([points[j, :, :2], np.ones((n * n, k, 1))], axis=2)
    mean = (areas[i] + areas[j]) / 2
    nothing = np.zeros((n * n, 4))
    oks = Points(sigmas).similarity(points[i], truth, mean, nothing, np.zeros(n * n, np.bool_))
    return oks.reshape(n, n)
