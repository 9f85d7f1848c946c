"""What AP would be if one kind of error were gone: isolated, signed, and not additive.

Every change starts from the pipeline's own detections.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from kptk.analysis.bundle import Bundle, Poses
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
    Ranking,
    assign,
    found_people,
    match_poses,
    rank_candidates,
    score_of,
    statistics,
)
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracle import oracle_joints
from kptk.evaluation.matching import THRESHOLDS
from kptk.geometry import Bool, Float, Index, oks

METRIC = METRICS[0]  # what gains are told in
GROUPS = ("detector", "threshold and scores", "joint errors", "joints")
LOWER_THRESHOLD = "lower the threshold"
PERFECT_RANKING = "perfect ranking of scores"
FREE = (LOWER_THRESHOLD, PERFECT_RANKING)  # they cost no training
JOINT_FIXES = {
    JITTER: "fix jitter",
    INVERSION: "fix inversion",
    SWAP: "fix swap",
    MISS: "fix miss",
}
_HOW = {
    JITTER: "joints that are a little off become good",
    INVERSION: "joints on their left or right twin go to their own place, as near as they are now",
    SWAP: "joints on another person go to their own place, as near as they are now",
    MISS: "joints that are nowhere become jitters",
}


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


Change = tuple[str, Poses, int, str]  # name, the poses after it, how many it concerns, how


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
    parts: dict[str, Iterator[Change]] = {}
    if GROUPS[0] in groups:
        types = type_detections(bundle, options) if types is None else types
        parts[GROUPS[0]] = _detector_changes(bundle, found, options, types)
    if GROUPS[1] in groups:
        parts[GROUPS[1]] = _score_changes(bundle, ranking, found, options)
    if GROUPS[2] in groups or GROUPS[3] in groups:
        if joints is None:
            candidate, person = oks_pairs(bundle, options.pair_oks, min_area=options.min_area)
            points = bundle.candidates.keypoints[candidate]
            limits = options.good_similarity, options.miss_similarity
            joints = label_joints(bundle, person, points, candidate, *limits)
        for group in GROUPS[2:]:
            if group in groups:
                parts[group] = _joint_changes(bundle, found, options, joints, group)

    def measured(poses: Poses) -> Mapping[str, float]:
        return statistics(match_poses(bundle, poses, options, options.min_area))

    before = measured(found)
    results = []
    for group, changes in parts.items():
        for name, poses, changed, note in changes:  # one at a time: each is a copy of all poses
            after = measured(poses) if changed else before
            delta = {metric: after[metric] - before[metric] for metric in METRICS}
            results.append(WhatIf(name, group, after, delta, changed, note))
    return results


def _detector_changes(
    bundle: Bundle, found: Poses, options: AnalysisOptions, types: Index
) -> Iterator[Change]:
    """Missed people added, boxes put right, background and duplicates dropped."""
    people = bundle.people
    if bundle.two_stage and people.has_given.any():
        # whose box each detection is, those at a lower overlap included; -1: nobody's
        owner = assign(bundle, min_iou=options.match_iou).person
        rest = assign(bundle, bundle.detected & (owner < 0), options.near_iou).person
        free = np.ones(len(people) + 1, np.bool_)
        free[owner[owner >= 0]] = False
        owner = np.where((owner < 0) & free[rest] & (rest >= 0), rest, owner)

        near = found_people(match_poses(bundle, found, options), len(people))
        near[owner[owner >= 0]] = True
        missed = np.flatnonzero(bundle.evaluated & people.has_given & ~near)
        added = bundle.given(missed)
        added = replace(added, scores=score_of(added.keypoints, added.scores))
        joined = Poses.concatenate([found, added])
        yield (
            "add missed people",
            joined[np.argsort(joined.image, kind="stable")],
            len(missed),
            f"people without a box from IoU {options.near_iou:g} up get one, with score 1 and the "
            "pose model's own pose",
        )
        who = owner[found.candidate]
        rows = np.flatnonzero((who >= 0) & bundle.evaluated[who] & people.has_given[who])
        yield (
            "fix boxes",
            on_true_boxes(bundle, found, rows, who[rows]),
            len(rows),
            "every detection near a person gets the true box; its score stays, the pose is the "
            "pose model's own",
        )
    for kind, name in ((BACKGROUND, "drop background"), (DUPLICATE, "drop duplicates")):
        gone = types[found.candidate] == DETECTION_TYPES.index(kind)
        yield name, found[~gone], int(gone.sum()), f"detections of type {kind} go"


def on_true_boxes(bundle: Bundle, poses: Poses, rows: Index, person: Index) -> Poses:
    """Poses of which some ``rows`` are the model's own on the true box of a ``person`` each."""
    keypoints, scores, crops = poses.keypoints.copy(), poses.scores.copy(), poses.crops.copy()
    keypoints[rows], crops[rows] = bundle.people.given[person], bundle.given_crops[person]
    box_scores = bundle.candidates.scores[poses.candidate[rows]]
    scores[rows] = score_of(keypoints[rows], box_scores)
    return replace(poses, keypoints=keypoints, scores=scores, crops=crops)


def _score_changes(
    bundle: Bundle, ranking: Ranking, found: Poses, options: AnalysisOptions
) -> Iterator[Change]:
    """The threshold lowered, and poses ranked as well as can be."""
    lowered = ranking.kept(min(options.low_score, bundle.threshold))
    yield (
        LOWER_THRESHOLD,
        lowered,
        int((~np.isin(lowered.candidate, found.candidate)).sum()),
        f"the detector's threshold goes from {bundle.threshold:g} to {options.low_score:g}",
    )
    # Poses and people are paired one to one, the best OKS first; a paired pose's score is that
    # OKS, the others come after all of these.
    row = np.full(len(bundle.candidates), -1, np.intp)
    row[found.candidate] = np.arange(len(found))
    d, g = bundle.pairs()
    wanted = (row[d] >= 0) & bundle.evaluated[g]
    i, g = row[d[wanted]], g[wanted]
    people = bundle.people
    fit = oks(found.keypoints[i], people.keypoints[g], people.areas[g], bundle.sigmas)
    near = fit >= THRESHOLDS[0]
    i, g, fit = i[near], g[near], fit[near]
    score: Float = found.scores - found.scores.max(initial=0.0) - 1
    free = np.ones(len(people), np.bool_)
    for k in np.argsort(-fit, kind="stable").tolist():
        if score[i[k]] < 0 and free[g[k]]:
            score[i[k]] = fit[k]
            free[g[k]] = False
    yield (
        PERFECT_RANKING,
        replace(found, scores=score),
        len(found),
        "poses are ranked by their OKS with the person each fits; an upper bound",
    )


def _joint_changes(
    bundle: Bundle, found: Poses, options: AnalysisOptions, joints: JointLabels, group: str
) -> Iterator[Change]:
    """Each kind of joint error put right and whole people flipped, or each joint made good.

    As in coco-analyze a joint keeps the quality that its error left it: what a jittered one lacks
    up to good, a missed one up to a jitter, an inverted or swapped one as near as it is to the
    wrong joint; with the factor 2 of the distance that is missing there.
    """
    # of the labelled pairs those whose pose is scored and whose person counts
    index = np.full(len(bundle.candidates) + 1, -1, np.intp)
    index[found.candidate] = np.arange(len(found))
    large = bundle.people.areas[joints.person] >= options.min_area
    chosen = np.flatnonzero((index[joints.candidate] >= 0) & large)
    joints = JointLabels(*(getattr(joints, field.name)[chosen] for field in fields(JointLabels)))
    rows = index[joints.candidate]
    own = found[rows]

    def oracle(similarity: float | Float) -> Float:
        return oracle_joints(bundle, own.keypoints, joints.person, own.crops, similarity)

    def changed(which: Bool, better: Float) -> Poses:
        """The poses with some joints ``which`` (n, K) where ``better`` has them."""
        keypoints = found.keypoints.copy()
        keypoints[rows] = np.where(which[..., None], better, own.keypoints)
        return replace(found, keypoints=keypoints)

    if group == GROUPS[2]:
        as_near = np.clip(np.nan_to_num(joints.best, nan=1.0), 1e-12, 1.0)
        left = {JITTER: options.good_similarity, MISS: options.miss_similarity}
        for label, name in JOINT_FIXES.items():
            wrong = joints.label == JOINT_LABELS.index(label)
            poses = changed(wrong, oracle(left.get(label, as_near)))
            yield name, poses, int(wrong.sum()), _HOW[label]
        note = "poses that fit better with left and right exchanged are exchanged"
        poses = changed(joints.flipped[:, None], own.keypoints[:, bundle.skeleton.flip_order])
        yield "flip whole people", poses, int(joints.flipped.sum()), note
        return
    below = ~(joints.similarity >= options.good_similarity) & (joints.label >= 0)
    good = oracle(options.good_similarity)
    for k, name in enumerate(bundle.skeleton.names):
        which = below & (np.arange(below.shape[1]) == k)
        note = "this joint becomes good wherever it is not"
        yield name, changed(which, good), int(which.sum()), note
