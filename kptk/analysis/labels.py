"""One label for every person: found, or whose error it is that he was not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.assign import assign
from kptk.analysis.bundle import Bool, Bundle, Float, Index
from kptk.analysis.detection_types import DETECTION_TYPES, type_detections
from kptk.analysis.found import Found, at, find
from kptk.analysis.geometry import clip_to, oks
from kptk.analysis.joints import JOINT_LABELS, JointLabels, label_joints, oks_of_pairs, pair_poses
from kptk.analysis.misplaced import badly_localised
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.rates import Rate, error_rates
from kptk.analysis.traits import tags

OK, BOX_LIMITED, WRONG_PERSON, BOX_SENSITIVE, POSE = (
    "ok", "box-limited", "wrong-person", "box-sensitive", "pose",
)  # fmt: skip
BADLY_LOCALISED, BELOW_THRESHOLD, NMS_SUPPRESSED, OVER_CAP, NEVER_DETECTED = (
    "badly-localised", "below-threshold", "nms-suppressed", "over-cap", "never-detected",
)  # fmt: skip
PERSON_LABELS = (
    OK, BOX_LIMITED, WRONG_PERSON, BOX_SENSITIVE, POSE,
    BADLY_LOCALISED, BELOW_THRESHOLD, NMS_SUPPRESSED, OVER_CAP, NEVER_DETECTED,
)  # fmt: skip
OF_POSES, LIKELY = "poses", "likely"
"""Details of ``nms-suppressed``: by OKS-NMS of the poses; by the detector's own, most likely."""

Names = NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class PersonLabels:
    """The label of each of G people; those who need not be found have none.

    Attributes:
        label: (G,) one of ``PERSON_LABELS``; "" for people who need not be found.
        detail: (G,) of ``pose`` the dominant joint error, of ``badly-localised`` one of merged,
            part, loose, shifted, of ``nms-suppressed`` ``likely`` or ``poses``; else "".
        candidate: (G,) the candidate concerned, -1: none. ``ok``: the pose that was matched;
            ``nms-suppressed, likely``: the neighbour's box that is in the way.
        best_iou: (G,) the largest IoU of the person's box with any detection; 0 without any.
        oks: (G,) of the pose of the candidate concerned; NaN without one.
        oks_given: (G,) of the pose on the ground-truth box; NaN where there is none.
        flipped: (G,) whether that person's own pose fits better with left and right exchanged.
        tags: (G,) flags by name: tiny, truncated, occluded, crowded.
    """

    label: Names
    detail: Names
    candidate: Index
    best_iou: Float
    oks: Float
    oks_given: Float
    flipped: Bool
    tags: Mapping[str, Bool]


class _Draft:
    """Labels while they are given: each person keeps the first one."""

    def __init__(self, bundle: Bundle) -> None:
        n = len(bundle.people)
        self.open = bundle.evaluated.copy()
        self.label, self.detail = np.full(n, "", object), np.full(n, "", object)
        self.candidate = np.full(n, -1, np.intp)

    def give(
        self, who: Bool, label: str, candidate: Index, detail: str | Names | None = None
    ) -> None:
        """Label the people (G,) who have no label yet; candidate and detail are (G,) too."""
        chosen = who & self.open
        self.label[chosen] = label
        self.candidate[chosen] = candidate[chosen]
        if detail is not None:
            self.detail[chosen] = detail if isinstance(detail, str) else detail[chosen]
        self.open &= ~chosen


def label_people(
    bundle: Bundle, options: AnalysisOptions, found: Found | None = None
) -> PersonLabels:
    """Give every person that must be found exactly one label, the first that holds.

    t is ``oks_threshold``, d his box: the detection that belongs to him by IoU, one to one
    (:func:`kptk.analysis.assign.assign`), K its pose.

    - *ok*: a pose is matched to him with an OKS of at least t, as COCO matches.
    - *nms-suppressed* (detail ``poses``) and *over-cap*: a pose would be, but it resembles a better
      one (OKS-NMS), or it is not among the image's best ``max_poses``, which COCO counts.
    - *box-limited*: OKS(joints clipped to crop(d)) < t: no pose model can reach t on this box.
    - *wrong-person*: OKS(K) to another person is at least t and at least that to him.
    - *box-sensitive*: the pose on the ground-truth box reaches t.
    - *pose*: neither does; the detail is the joint error that costs most (:func:`_dominant`).
    - *badly-localised*: no box is his, but one was meant for him, with an IoU in [``near_iou``,
      ``match_iou``); see :func:`kptk.analysis.misplaced.badly_localised`.
    - *below-threshold*: a candidate from ``low_score`` up, below the threshold, would be his box.
    - *nms-suppressed* (detail ``likely``): a neighbour's detection overlaps him by at least
      ``nms_iou``, so a box of his own would have been suppressed. What the detector's NMS took
      away is not stored, hence likely.
    - *never-detected*: everybody else.

    Without boxes (``two_stage`` False) what can be said is *ok*, *over-cap*, *pose* (of the poses
    that reach t for nobody one is paired with him, OKS from ``pair_oks`` up), *below-threshold* (a
    pose below the threshold would be matched with t) and *never-detected*.
    ``found`` is what :func:`kptk.analysis.found.find` gives; None: it is worked out here.

    """
    found = find(bundle, options) if found is None else found
    draft = _Draft(bundle)
    draft.give(found.pose >= 0, OK, found.pose)
    draft.give(at(found.left & ~found.counted, found.uncut), OVER_CAP, found.uncut)
    draft.give(found.uncut >= 0, NMS_SUPPRESSED, found.uncut, OF_POSES)
    own = found.box if bundle.two_stage else _loose_poses(bundle, found, options)
    joints = _joints_of(bundle, np.where(found.pose >= 0, found.pose, own), options)
    given = _oks_given(bundle)
    if bundle.two_stage:
        limited, wrong = _at_limit(bundle, own, options), _others_fit(bundle, own, options)
        draft.give((own >= 0) & limited, BOX_LIMITED, own)
        draft.give((own >= 0) & wrong, WRONG_PERSON, own)
        draft.give((own >= 0) & (given >= options.oks_threshold), BOX_SENSITIVE, own)
    draft.give(own >= 0, POSE, own, _dominant(joints, len(bundle.people)))
    _label_missed(bundle, found, options, draft)
    flipped = np.zeros(len(bundle.people), np.bool_)
    flipped[joints.person] = joints.flipped & (draft.candidate[joints.person] == joints.candidate)
    return PersonLabels(
        draft.label, draft.detail, draft.candidate,
        found.near.best_of_people(len(bundle.people))[0],
        _oks_of(bundle, draft.candidate), given, flipped, tags(bundle, options),
    )  # fmt: skip


def _label_missed(bundle: Bundle, found: Found, options: AnalysisOptions, draft: _Draft) -> None:
    """Label the people without a box of their own (or without a pose, where there are no boxes)."""
    n = len(bundle.people)
    low = bundle.candidates.score >= min(options.low_score, bundle.threshold)
    if not bundle.two_stage:
        late = pair_poses(bundle, options.oks_threshold, low)
    else:
        near, detail = badly_localised(bundle, found.near, draft.open, options)
        draft.give(near >= 0, BADLY_LOCALISED, near, detail)
        late = assign(bundle, low, options.match_iou).candidate
    draft.give(at(~bundle.detected, late), BELOW_THRESHOLD, late)
    overlap, neighbour = found.near.best_of_people(n)
    draft.give((neighbour >= 0) & (overlap >= options.nms_iou), NMS_SUPPRESSED, neighbour, LIKELY)
    draft.give(np.ones(n, np.bool_), NEVER_DETECTED, np.full(n, -1, np.intp))


def _loose_poses(bundle: Bundle, found: Found, options: AnalysisOptions) -> Index:
    """(G,) a pose for each person, of those that reach the OKS threshold for nobody; -1: none."""
    loose = found.counted & (found.best_oks < options.oks_threshold)
    return pair_poses(bundle, options.pair_oks, loose)


def _at_limit(bundle: Bundle, own: Index, options: AnalysisOptions) -> Bool:
    """(G,) whether not even the true joints, clipped to what the pose model saw, would do."""
    rows = np.flatnonzero(own >= 0)
    truth = bundle.people.points[rows]
    clipped = clip_to(truth, bundle.candidates.crop[own[rows]])
    limited = np.zeros(len(own), np.bool_)
    best = oks(clipped, truth, bundle.people.area[rows], bundle.sigmas)
    limited[rows] = best < options.oks_threshold
    return limited


def _others_fit(bundle: Bundle, own: Index, options: AnalysisOptions) -> Bool:
    """(G,) whether the pose on each person's box fits another person at least as well, and well."""
    rows = np.flatnonzero(own >= 0)
    row, other = bundle.companions(rows)
    theirs = np.full(len(bundle.people), -1.0)
    np.maximum.at(theirs, rows[row], np.nan_to_num(oks_of_pairs(bundle, own[rows[row]], other)))
    fits: Bool = (theirs >= options.oks_threshold) & (theirs >= _oks_of(bundle, own))
    return fits


def _oks_of(bundle: Bundle, candidate: Index) -> Float:
    """(G,) OKS of each person to the pose of a candidate; NaN where that is -1."""
    values = np.full(len(candidate), np.nan)
    rows = np.flatnonzero(candidate >= 0)
    values[rows] = oks_of_pairs(bundle, candidate[rows], rows)
    return values


def _oks_given(bundle: Bundle) -> Float:
    people = bundle.people
    values = oks(people.given, people.points, people.area, bundle.sigmas)
    return np.where(people.has_given, values, np.nan)


def _joints_of(bundle: Bundle, candidate: Index, options: AnalysisOptions) -> JointLabels:
    """The joints of each person's pose, of the people that must be found and have one."""
    rows = np.flatnonzero((candidate >= 0) & bundle.evaluated)
    chosen = candidate[rows]
    return label_joints(
        bundle, rows, bundle.candidates.points[chosen], chosen,
        options.good_similarity, options.miss_similarity,
    )  # fmt: skip


def _dominant(joints: JointLabels, n: int) -> Names:
    """(n,) of each person the joint error that costs most OKS, "" if all joints are good.

    Of the labels jitter, inversion, swap and miss the one with the largest sum of 1 - similarity
    over its joints; of equals the last in that order.
    """
    lost = np.nan_to_num(1 - joints.similarity)
    wrong = range(1, len(JOINT_LABELS))
    costs = np.stack([(lost * (joints.label == i)).sum(axis=1) for i in wrong], axis=1)
    worst = len(wrong) - costs[:, ::-1].argmax(axis=1)
    names = np.array(["", *JOINT_LABELS[1:]], object)
    detail = np.full(n, "", object)
    detail[joints.person] = names[np.where(costs.max(axis=1, initial=0) > 0, worst, 0)]
    return detail


__all__ = [
    "DETECTION_TYPES", "PERSON_LABELS", "PersonLabels", "Rate", "error_rates", "label_people",
    "type_detections",
]  # fmt: skip
