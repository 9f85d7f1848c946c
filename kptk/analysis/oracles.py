"""The oracle game: what AP would be with a perfect detector, perfect poses, and both.

The two modules are the players of a cooperative game; the value of a coalition S is the AP when its
members are perfect. Shapley's split of the gap between nobody and both is what each costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from kptk.analysis.assign import assign
from kptk.analysis.bundle import Bundle, Float, Index
from kptk.analysis.geometry import clip_to, pull_to
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.poses import (
    METRICS,
    Poses,
    match_poses,
    rank_candidates,
    rank_given,
    statistics,
)
from kptk.errors import InputError
from kptk.evaluation import Matches

LEVELS = ("attainable", "perfect")
MEMBERS = ("", "D", "P", "DP")  # who is perfect: nobody, the detector, the pose model, both

T = TypeVar("T", float, Float)


@dataclass(frozen=True, eq=False)
class Game:
    """The four values at both levels.

    Attributes:
        values: by level (:data:`LEVELS`), members (:data:`MEMBERS`) and metric: 0 to 1.
        matches: by level and members, for the bootstrap. Values without the pose oracle are the
            same objects at both levels.
    """

    values: Mapping[str, Mapping[str, Mapping[str, float]]]
    matches: Mapping[str, Mapping[str, Matches]]

    def phi(self, level: str = "attainable", metric: str = "AP") -> tuple[float, float, float]:
        """What the detector costs, what the pose model costs, and their interaction.

        The first two add up to v(DP) - v(nobody). They are signed: with real models poses on
        detected boxes can be better than on ground-truth boxes.
        """
        values = self.values[level]
        return shapley(*(values[who][metric] for who in MEMBERS))


def shapley(nobody: T, detector: T, pose: T, both: T) -> tuple[T, T, T]:
    """The detector's part, the pose model's part, and the interaction, of numbers or arrays."""
    interaction = both - detector - pose + nobody
    for_detector = ((detector - nobody) + (both - pose)) / 2
    for_pose = ((pose - nobody) + (both - detector)) / 2
    return for_detector, for_pose, interaction


def play(bundle: Bundle, options: AnalysisOptions) -> Game:
    """Compute v(nobody), v(D), v(P) and v(DP).

    v(nobody): the pipeline's detections. v(D): the real poses on ground-truth boxes with score 1.
    v(P): the real boxes and scores, the joints of every detection that belongs to a person replaced
    by the oracle's. v(DP): ground-truth boxes and the oracle. OKS-NMS is the pipeline's own: it is
    applied once, to the real poses, and what it leaves stays.

    Raises:
        InputError: boxes, or poses on the ground-truth boxes, are not there.
    """
    if not bundle.two_stage or not bundle.people.has_given.any():
        raise InputError(
            "The oracle game needs the detector's boxes and the pose model's output on "
            "ground-truth boxes. Analyze an evaluation of a pipeline, or pass poses_on_truth=."
        )
    found = rank_candidates(bundle, options).kept(bundle.threshold)
    given = rank_given(bundle, options).kept()
    owner = assign(bundle, min_iou=options.match_iou).person[found.candidate]
    nobody, alone = match_poses(bundle, found, options), match_poses(bundle, given, options)
    matches = {
        level: {
            "": nobody,
            "D": alone,
            "P": match_poses(bundle, idealise(bundle, found, owner, level, options), options),
            "DP": match_poses(
                bundle, idealise(bundle, given, given.person, level, options), options
            ),
        }
        for level in LEVELS
    }
    shared = {"": statistics(nobody), "D": statistics(alone)}
    values = {
        level: {who: shared.get(who) or statistics(matches[level][who]) for who in MEMBERS}
        for level in LEVELS
    }
    return Game(values, matches)


def idealise(
    bundle: Bundle, poses: Poses, owner: Index, level: str, options: AnalysisOptions
) -> Poses:
    """Poses whose labelled joints are the oracle's.

    Args:
        bundle: the people.
        poses: real poses, with real scores, which stay.
        owner: (N,) whose pose each one is, index into the people; -1: it stays as it is.
        level: of :data:`LEVELS`.
        options: ``good_similarity`` is what is attainable.
    """
    rows = np.flatnonzero(owner >= 0)
    who = owner[rows]
    similarity = 1.0 if level == "perfect" else options.good_similarity
    points = poses.points.copy()
    points[rows] = oracle_joints(bundle, points[rows], who, poses.crop[rows], similarity)
    return Poses(poses.candidate, poses.person, poses.image, points, poses.score, poses.crop)


def oracle_joints(
    bundle: Bundle, points: Float, person: Index, crop: Float, similarity: float | Float
) -> Float:
    """Joints of poses, moved towards their person's up to a similarity, but not out of the crop.

    A pose model cannot place a joint outside the rectangle it sees, so what the box cut off stays
    the detector's fault.

    Args:
        bundle: the people.
        points: (N, K, 3) x, y, score.
        person: (N,) index into the people.
        crop: (N, 4) pixels, (x1, y1, x2, y2).
        similarity: in (0, 1], one for all or (N, K). Joints that have it already stay; so do those
            that are not labelled.

    Returns:
        (N, K, 3).
    """
    people = bundle.people
    truth = people.points[person]
    moved = pull_to(points, truth, people.area[person], bundle.sigmas, similarity)
    labelled = (truth[..., 2] > 0)[..., None]
    return np.where(labelled, clip_to(moved, crop), points)


__all__ = [
    "LEVELS", "MEMBERS", "METRICS", "Game", "idealise", "oracle_joints", "play", "shapley",
]  # fmt: skip
