"""What AP would be if one kind of error were gone: isolated, signed, and not additive.

Every change starts from the pipeline's own detections.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from kptk.analysis.bundle import Bundle, Index
from kptk.analysis.changes import (
    FREE,
    GROUPS,
    LOWER_THRESHOLD,
    PERFECT_RANKING,
    Change,
    detector_changes,
    score_changes,
)
from kptk.analysis.detection_types import type_detections
from kptk.analysis.joint_changes import JOINT_FIXES, error_changes, joint_changes, scored_pairs
from kptk.analysis.joints import JointLabels, label_joints, oks_pairs
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.poses import METRICS, Poses, match_poses, rank_candidates, statistics

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


__all__ = [
    "FREE", "GROUPS", "JOINT_FIXES", "LOWER_THRESHOLD", "METRIC", "PERFECT_RANKING", "WhatIf",
    "what_ifs",
]  # fmt: skip
