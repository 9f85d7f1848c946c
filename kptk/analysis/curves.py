"""Precision against recall, with errors taken away one kind after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kptk.analysis.assign import assign
from kptk.analysis.bundle import Bundle, Float, Index
from kptk.analysis.joints import JOINT_LABELS, label_joints, oks_pairs
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracles import idealise, oracle_joints
from kptk.analysis.poses import Poses, match_poses, rank_candidates, score_of
from kptk.errors import InputError
from kptk.evaluation import Matches
from kptk.evaluation.averaging import average
from kptk.evaluation.matching import RECALLS, THRESHOLDS

if TYPE_CHECKING:
    import pandas as pd


def stacked_curves(
    bundle: Bundle, options: AnalysisOptions, threshold: float = 0.5
) -> pd.DataFrame:
    """Precision after each step, every step on top of those before it.

    Joints of detections that belong to a person become attainably good, one label after another:
    jitter, inversion, swap, miss. Then detections near a person get the true box and attainable
    joints on it (only with poses on ground-truth boxes). Then what still matches nobody goes. What
    is missing after that are people whom no detection is near.

    Args:
        bundle: candidates and people.
        options: the thresholds.
        threshold: of OKS, one of .5, .55, ... .95.

    Returns:
        Index ``recall`` 0, .01, ... 1; one column a step.

    Raises:
        InputError: another threshold.
    """
    import pandas as pd

    near = np.flatnonzero(np.isclose(THRESHOLDS, threshold))
    if not len(near):
        raise InputError(f"threshold must be one of .5, .55, ... .95. Got {threshold!r}.")
    row = int(near[0])
    columns: dict[str, Float] = {}
    for name, poses in _steps(bundle, options):
        matches = match_poses(bundle, poses, options)
        columns[name] = _precision(matches, row)
    right = _true_only(poses, matches, row)
    columns["false alarms dropped"] = _precision(match_poses(bundle, right, options), row)
    columns["missed people added"] = np.ones(len(RECALLS))
    return pd.DataFrame(columns, index=pd.Index(RECALLS, name="recall"))


def _steps(bundle: Bundle, options: AnalysisOptions) -> Iterator[tuple[str, Poses]]:
    found = rank_candidates(bundle, options).kept(bundle.threshold)
    yield "as it is", found
    owner = _owners(bundle, options)
    rows = np.flatnonzero(owner[found.candidate] >= 0)
    person = owner[found.candidate[rows]]
    labels = label_joints(
        bundle, person, found.points[rows], found.candidate[rows],
        options.good_similarity, options.miss_similarity,
    ).label  # fmt: skip
    better = oracle_joints(
        bundle, found.points[rows], person, found.crop[rows], options.good_similarity
    )
    poses = found
    for number, name in enumerate(JOINT_LABELS[1:], 1):
        points = found.points.copy()
        fixed = (labels >= 1) & (labels <= number)
        points[rows] = np.where(fixed[..., None], better, found.points[rows])
        poses = replace(found, points=points)
        yield f"{name} fixed", poses
    if bundle.two_stage and bundle.people.has_given.any():
        yield "boxes fixed", _on_true_boxes(bundle, poses, owner, options)


def _owners(bundle: Bundle, options: AnalysisOptions) -> Index:
    """(D,) whose each detection is, by box; by OKS where there are no boxes; -1: nobody's."""
    if bundle.two_stage:
        owner = assign(bundle, min_iou=options.match_iou).person
    else:
        owner = np.full(len(bundle.candidates), -1, np.intp)
        candidate, person = oks_pairs(bundle, options.pair_oks)
        owner[candidate] = person
    return np.where((owner >= 0) & bundle.evaluated[owner], owner, -1)


def _on_true_boxes(bundle: Bundle, poses: Poses, owner: Index, options: AnalysisOptions) -> Poses:
    """Detections near a person: attainable joints on the true box, with the box's own score."""
    people = bundle.people
    near = assign(bundle, bundle.detected & (owner < 0), options.near_iou).person
    free = bundle.evaluated & people.has_given
    free[owner[owner >= 0]] = False
    whose = np.where((near >= 0) & free[near], near, owner)[poses.candidate]
    rows = np.flatnonzero((whose >= 0) & people.has_given[whose])
    points, score, crop = poses.points.copy(), poses.score.copy(), poses.crop.copy()
    points[rows], crop[rows] = people.given[whose[rows]], bundle.given_crop[whose[rows]]
    score[rows] = score_of(points[rows], bundle.candidates.score[poses.candidate[rows]])
    moved = replace(poses, points=points, score=score, crop=crop)
    real = np.full(len(poses), -1, np.intp)
    real[rows] = whose[rows]
    return idealise(bundle, moved, real, "attainable", options)


def _precision(matches: Matches, row: int) -> Float:
    """(101,) precision at one threshold; NaN where nobody has to be found."""
    precision: Float = average(matches, wanted=[("all", -1)]).precision[row, :, 0, 0, -1]
    return precision


def _true_only(poses: Poses, matches: Matches, row: int) -> Poses:
    kept = (matches.truth[0, row] >= 0) | matches.ignored[0, row]
    return poses.take(np.sort(matches.result[kept]))
