"""Changes of what a pipeline found: boxes put right, detections dropped, scores set right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from kptk.analysis.assign import assign
from kptk.analysis.bundle import Bundle, Float, Index
from kptk.analysis.detection_types import BACKGROUND, DETECTION_TYPES, DUPLICATE
from kptk.analysis.geometry import oks
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.poses import Poses, Ranking, found_people, join, match_poses, score_of
from kptk.evaluation.matching import THRESHOLDS

GROUPS = ("detector", "threshold and scores", "joint errors", "joints")
LOWER_THRESHOLD = "lower the threshold"
PERFECT_RANKING = "perfect ranking of scores"
FREE = (LOWER_THRESHOLD, PERFECT_RANKING)  # they cost no training


@dataclass(frozen=True, eq=False)
class Change:
    """Poses after a change of the pipeline's own.

    Attributes:
        name: of the change.
        group: of :data:`GROUPS`.
        poses: the poses now.
        changed: how many poses, people or joints it concerns.
        note: how it is done.
    """

    name: str
    group: str
    poses: Poses
    changed: int
    note: str


def detector_changes(
    bundle: Bundle, found: Poses, options: AnalysisOptions, types: Index
) -> Iterator[Change]:
    """Missed people added, boxes put right, background and duplicates dropped.

    Args:
        bundle: candidates and people.
        found: the pipeline's poses.
        options: the thresholds.
        types: (D,) of ``type_detections``.
    """
    group = GROUPS[0]
    if bundle.two_stage and bundle.people.has_given.any():
        owner = _near_owner(bundle, options)
        missed = _missed(bundle, found, owner, options)
        yield Change(
            "add missed people",
            group,
            join(found, _given(bundle, missed)),
            len(missed),
            "people without a box from IoU "
            f"{options.near_iou:g} up get one, with score 1 and the pose model's own pose",
        )
        fixed, count = _on_true_boxes(bundle, found, owner)
        yield Change(
            "fix boxes",
            group,
            fixed,
            count,
            "every detection near a person gets the true box; its score stays, the pose is the "
            "pose model's own",
        )
    for kind, name in ((BACKGROUND, "drop background"), (DUPLICATE, "drop duplicates")):
        gone = types[found.candidate] == DETECTION_TYPES.index(kind)
        note = f"detections of type {kind} go"
        yield Change(name, group, found.take(~gone), int(gone.sum()), note)


def _near_owner(bundle: Bundle, options: AnalysisOptions) -> Index:
    """(D,) whose box each detection is, those at a lower overlap included; -1: nobody's."""
    owner = assign(bundle, min_iou=options.match_iou).person
    rest = assign(bundle, bundle.detected & (owner < 0), options.near_iou).person
    free = np.ones(len(bundle.people) + 1, np.bool_)
    free[owner[owner >= 0]] = False
    return np.where((owner < 0) & free[rest] & (rest >= 0), rest, owner)


def _missed(bundle: Bundle, found: Poses, owner: Index, options: AnalysisOptions) -> Index:
    """People whom neither a box nor a pose is near, and for whom there is a pose to add."""
    near = found_people(match_poses(bundle, found, options), len(bundle.people))
    near[owner[owner >= 0]] = True
    return np.flatnonzero(bundle.evaluated & bundle.people.has_given & ~near)


def _given(bundle: Bundle, person: Index) -> Poses:
    points = bundle.people.given[person]
    return Poses(
        np.full(len(person), -1, np.intp), person, bundle.people.image[person], points,
        score_of(points, np.ones(len(person))), bundle.given_crop[person],
    )  # fmt: skip


def _on_true_boxes(bundle: Bundle, found: Poses, owner: Index) -> tuple[Poses, int]:
    who = owner[found.candidate]
    rows = np.flatnonzero((who >= 0) & bundle.evaluated[who] & bundle.people.has_given[who])
    given = bundle.people.given[who[rows]]
    points, score, crop = found.points.copy(), found.score.copy(), found.crop.copy()
    points[rows] = given
    score[rows] = score_of(given, bundle.candidates.score[found.candidate[rows]])
    crop[rows] = bundle.given_crop[who[rows]]
    return replace(found, points=points, score=score, crop=crop), len(rows)


def score_changes(
    bundle: Bundle, ranking: Ranking, found: Poses, options: AnalysisOptions
) -> Iterator[Change]:
    """The threshold lowered, and poses ranked as well as can be.

    Args:
        bundle: candidates and people.
        ranking: of all candidates.
        found: the pipeline's poses.
        options: the thresholds.
    """
    lowered = ranking.kept(min(options.low_score, bundle.threshold))
    yield Change(
        LOWER_THRESHOLD,
        GROUPS[1],
        lowered,
        int((~np.isin(lowered.candidate, found.candidate)).sum()),
        f"the detector's threshold goes from {bundle.threshold:g} to {options.low_score:g}",
    )
    score = perfect_scores(bundle, found, options)
    yield Change(
        PERFECT_RANKING,
        GROUPS[1],
        replace(found, score=score),
        len(found),
        "poses are ranked by their OKS with the person each fits; an upper bound",
    )


def perfect_scores(bundle: Bundle, poses: Poses, options: AnalysisOptions) -> Float:
    """(N,) scores that rank poses as well as can be.

    Poses and people are paired one to one, the best OKS first; a paired pose's score is that OKS,
    the others come after all of these.
    """
    row = np.full(len(bundle.candidates), -1, np.intp)
    row[poses.candidate] = np.arange(len(poses))
    d, g = bundle.pairs()
    wanted = (row[d] >= 0) & bundle.evaluated[g]
    i, g = row[d[wanted]], g[wanted]
    people = bundle.people
    fit = oks(poses.points[i], people.points[g], people.area[g], bundle.sigmas)
    near = fit >= THRESHOLDS[0]
    i, g, fit = i[near], g[near], fit[near]
    score: Float = poses.score - poses.score.max(initial=0.0) - 1
    free = np.ones(len(people), np.bool_)
    for k in np.argsort(-fit, kind="stable").tolist():
        if score[i[k]] < 0 and free[g[k]]:
            score[i[k]] = fit[k]
            free[g[k]] = False
    return score
