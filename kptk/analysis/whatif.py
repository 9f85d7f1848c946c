"""Changes of what a pipeline found: boxes put right, detections dropped, scores set right."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import chain

import numpy as np

from kptk.analysis.bundle import Bool, Bundle, Float, Index
from kptk.analysis.labels import (
    BACKGROUND,
    DETECTION_TYPES,
    DUPLICATE,
    INVERSION,
    JITTER,
    JOINT_LABELS,
    MISS,
    SWAP,
    JointLabels,
    label_joints,
    oks_pairs,
    type_detections,
)
from kptk.analysis.matching import (
    METRICS,
    Poses,
    Ranking,
    assign,
    found_people,
    join,
    match_poses,
    rank_candidates,
    score_of,
    statistics,
)
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracle import oracle_joints
from kptk.evaluation.matching import THRESHOLDS
from kptk.geometry import oks

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


# ---- joint_changes: Changes of joints: one kind of joint error, or one joint, put right.
#
# As in coco-analyze a joint keeps the quality that its error left it: what a jittered one lacks up to
# good, a missed one up to a jitter, an inverted or swapped one as near as it is to the wrong joint;
# with the factor 2 of the distance that is missing there.


JOINT_FIXES = {JITTER: "fix jitter", INVERSION: "fix inversion", SWAP: "fix swap",
               MISS: "fix miss"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of a scored pose and a person whose joints are put right.

    Attributes:
        row: (n,) rows of the poses.
        person: (n,) index into the people.
        joints: labels, n rows.
    """

    row: Index
    person: Index
    joints: JointLabels


def scored_pairs(
    bundle: Bundle, found: Poses, options: AnalysisOptions, joints: JointLabels
) -> Pairs:
    """Of the pairs whose joints are labelled, those whose pose is scored and whose person counts.

    Args:
        bundle: candidates and people.
        found: the pipeline's poses.
        options: ``min_area`` is that of the smallest person.
        joints: labels of candidates' joints.
    """
    place = np.full(len(bundle.candidates) + 1, -1, np.intp)
    place[found.candidate] = np.arange(len(found))
    row = place[joints.candidate]
    large = bundle.people.area[joints.person] >= options.min_area
    chosen = np.flatnonzero((row >= 0) & large)
    taken = JointLabels(*(getattr(joints, f.name)[chosen] for f in fields(JointLabels)))
    return Pairs(row[chosen], taken.person, taken)


def error_changes(
    bundle: Bundle, found: Poses, options: AnalysisOptions, pairs: Pairs
) -> Iterator[Change]:
    """Each kind of joint error put right, and whole people flipped.

    Args:
        bundle: candidates and people.
        found: the pipeline's poses.
        options: the similarities that jitters and misses are put right to.
        pairs: of :func:`scored_pairs`.
    """
    for label, name in JOINT_FIXES.items():
        wrong = pairs.joints.label == JOINT_LABELS.index(label)
        similarity = _left(label, pairs.joints.best, options)
        better = oracle_joints(
            bundle, found.points[pairs.row], pairs.person, found.crop[pairs.row], similarity
        )
        yield _moved(name, GROUPS[2], found, pairs, better, wrong, _HOW[label])
    whole = np.repeat(pairs.joints.flipped[:, None], len(bundle.skeleton), axis=1)
    turned = found.points[pairs.row][:, bundle.skeleton.flip_order]
    note = "poses that fit better with left and right exchanged are exchanged"
    change = _moved("flip whole people", GROUPS[2], found, pairs, turned, whole, note)
    yield replace(change, changed=int(pairs.joints.flipped.sum()))


_HOW = {
    JITTER: "joints that are a little off become good",
    INVERSION: "joints on their left or right twin go to their own place, as near as they are now",
    SWAP: "joints on another person go to their own place, as near as they are now",
    MISS: "joints that are nowhere become jitters",
}


def _left(label: str, best: Float, options: AnalysisOptions) -> Float:
    """(n, K) the similarity that a joint has once the error is put right."""
    fixed = {JITTER: options.good_similarity, MISS: options.miss_similarity}
    if label in fixed:
        return np.full(best.shape, fixed[label])
    return np.clip(np.nan_to_num(best, nan=1.0), 1e-12, 1.0)


def _moved(
    name: str, group: str, found: Poses, pairs: Pairs, better: Float, which: Bool, note: str
) -> Change:
    """The change that puts some joints ``which`` (n, K) of the pairs where ``better`` has them."""
    points = found.points.copy()
    points[pairs.row] = np.where(which[..., None], better, points[pairs.row])
    return Change(name, group, replace(found, points=points), int(which.sum()), note)


def joint_changes(
    bundle: Bundle, found: Poses, options: AnalysisOptions, pairs: Pairs
) -> Iterator[Change]:
    """Each joint made good wherever it is not; see :func:`error_changes`."""
    limit = options.good_similarity
    labels = pairs.joints
    below = ~(labels.similarity >= limit) & (labels.label >= 0)
    better = oracle_joints(
        bundle, found.points[pairs.row], pairs.person, found.crop[pairs.row], limit
    )
    for k, name in enumerate(bundle.skeleton.names):
        which = below & (np.arange(below.shape[1]) == k)
        note = "this joint becomes good wherever it is not"
        yield _moved(name, GROUPS[3], found, pairs, better, which, note)


# ---- whatif: What AP would be if one kind of error were gone: isolated, signed, and not additive.
#
# Every change starts from the pipeline's own detections.


METRIC = METRICS[0]  # what gains are told in


@dataclass(frozen=True)
class WhatIf:
    """One change, and what it does to AP.

    Attributes:
        name: of the change.
        group: of :data:`GROUPS`.
        values: AP, AP50, AP75 after it, 0 to 1.
        delta: after less before; signed.
        changed: how many poses, people or joints it concerns.
        note: how it is done.
    """

    name: str
    group: str
    values: Mapping[str, float]
    delta: Mapping[str, float]
    changed: int
    note: str


def what_ifs(
    bundle: Bundle,
    options: AnalysisOptions,
    types: Index | None = None,
    joints: JointLabels | None = None,
    groups: Collection[str] = GROUPS,
) -> list[WhatIf]:
    """Every isolated change that the bundle allows.

    Args:
        bundle: candidates and people.
        options: the thresholds.
        types: (D,) of ``type_detections``; None: found here.
        joints: labels of the joints of the detections' pairs with people; None: found here.
        groups: which of :data:`GROUPS`.

    Returns:
        In the order of :data:`GROUPS`. Missed people and boxes need poses on ground-truth boxes;
        without them these two are left out.
    """
    ranking = rank_candidates(bundle, options)
    found = ranking.kept(bundle.threshold)
    before = _statistics(bundle, found, options)
    parts: list[Iterator[Change]] = []
    if GROUPS[0] in groups:
        types = type_detections(bundle, options) if types is None else types
        parts.append(detector_changes(bundle, found, options, types))
    if GROUPS[1] in groups:
        parts.append(score_changes(bundle, ranking, found, options))
    if GROUPS[2] in groups or GROUPS[3] in groups:
        joints = _pair_labels(bundle, options) if joints is None else joints
        pairs = scored_pairs(bundle, found, options, joints)
        wanted = ((GROUPS[2], error_changes), (GROUPS[3], joint_changes))
        parts += [make(bundle, found, options, pairs) for name, make in wanted if name in groups]
    # one at a time: each change holds a copy of all poses
    return [_result(bundle, change, before, options) for change in chain(*parts)]


def _pair_labels(bundle: Bundle, options: AnalysisOptions) -> JointLabels:
    candidate, person = oks_pairs(bundle, options.pair_oks, min_area=options.min_area)
    points = bundle.candidates.points[candidate]
    limits = options.good_similarity, options.miss_similarity
    return label_joints(bundle, person, points, candidate, *limits)


def _statistics(bundle: Bundle, poses: Poses, options: AnalysisOptions) -> Mapping[str, float]:
    return statistics(match_poses(bundle, poses, options, options.min_area))


def _result(
    bundle: Bundle, change: Change, before: Mapping[str, float], options: AnalysisOptions
) -> WhatIf:
    after = before if not change.changed else _statistics(bundle, change.poses, options)
    delta = {name: after[name] - before[name] for name in METRICS}
    return WhatIf(change.name, change.group, after, delta, change.changed, change.note)
