"""The oracle game: what AP would be with a perfect detector, perfect poses, and both.

The two modules are the players of a cooperative game; the value of a coalition S is the AP when its
members are perfect. Shapley's split of the gap between nobody and both is what each costs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.bundle import Bundle, Poses
from kptk.analysis.matching import (
    METRICS,
    assign,
    match_poses,
    rank_candidates,
    rank_given,
    statistics,
)
from kptk.analysis.options import AnalysisOptions
from kptk.errors import InputError
from kptk.evaluation import Matches
from kptk.evaluation.matching import RECALLS
from kptk.geometry import Float, Index, clip_to, pull_to

LEVELS = ("attainable", "perfect")
MEMBERS = ("", "D", "P", "DP")  # who is perfect: nobody, the detector, the pose model, both
_EPS = float(np.spacing(1))
_THREADS = 2

T = TypeVar("T", float, Float)
Counts = NDArray[np.int64]


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
    nobody, alone = (match_poses(bundle, poses, options) for poses in (found, given))
    matches, values = {}, {}
    shared = {"": statistics(nobody), "D": statistics(alone)}
    for level in LEVELS:
        with_pose, both = (
            match_poses(bundle, idealise(bundle, poses, whose, level, options), options)
            for poses, whose in ((found, owner), (given, given.person))
        )
        matches[level] = {"": nobody, "D": alone, "P": with_pose, "DP": both}
        values[level] = {**shared, "P": statistics(with_pose), "DP": statistics(both)}
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
    similarity = 1.0 if level == "perfect" else options.good_similarity
    keypoints = poses.keypoints.copy()
    keypoints[rows] = oracle_joints(
        bundle, keypoints[rows], owner[rows], poses.crops[rows], similarity
    )
    return replace(poses, keypoints=keypoints)


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
    truth = bundle.people.keypoints[person]
    moved = pull_to(points, truth, bundle.people.areas[person], bundle.sigmas, similarity)
    return np.where((truth[..., 2] > 0)[..., None], clip_to(moved, crop), points)


# Intervals: a paired bootstrap over the images.
#
# Which detection is true is fixed by the matching, so a draw only changes how often each image
# counts and the accumulation is all that has to be redone. It is done here for the size "all"
# alone, from what a draw cannot change: precision has to be known at true positives only, since
# elsewhere it is neither read off nor a maximum of the envelope.


@dataclass(frozen=True, eq=False)
class Draws:
    """B bootstrap draws of the oracle game's values.

    Attributes:
        values: by level: (B, 4, 3) in the order of ``MEMBERS`` and ``METRICS``; NaN where a draw
            has nobody to be found.
        paired_with: a number that is the same for draws over the same images.
    """

    values: Mapping[str, Float]
    paired_with: int

    def __len__(self) -> int:
        return len(self.values[LEVELS[0]])

    def phi(self, level: str = "attainable", metric: str = "AP") -> tuple[Float, Float, Float]:
        """(B,) what the detector costs, what the pose model costs, and the interaction."""
        values = self.values[level][:, :, METRICS.index(metric)]
        return shapley(*(values[:, k] for k in range(len(MEMBERS))))

    def value(self, who: str, level: str = "attainable", metric: str = "AP") -> Float:
        """(B,) one of the four values."""
        return self.values[level][:, MEMBERS.index(who), METRICS.index(metric)]


def interval(draws: Float, confidence: float) -> tuple[float, float]:
    """The percentile interval of draws; NaN where there are none."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap(
    game: Game,
    n: int = 1000,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Draws:
    """Draw images with replacement, the same for all values of the game.

    Games over the same images (a baseline on the same data) are paired; see :func:`draw_weights`.

    Args:
        game: of :func:`kptk.analysis.oracle.play`.
        n: number of draws.
        seed: of the draws.
        progress: called with the number of draws done, in steps, for each of the six value sets.
    """
    images = game.matches[LEVELS[0]][""].image_ids
    weights = draw_weights(images, n, seed)
    done: dict[int, Float] = {}
    values = {level: np.full((n, len(MEMBERS), len(METRICS)), np.nan) for level in LEVELS}
    for level in LEVELS:
        for k, who in enumerate(MEMBERS):
            matches = game.matches[level][who]
            if id(matches) not in done:
                done[id(matches)] = weighted_metrics(matches, weights)
                if progress is not None:
                    progress(n)
            values[level][:, k] = done[id(matches)]
    return Draws(values, _key(images))


def draw_metrics(matches: Matches, n: int = 1000, seed: int = 0) -> Float:
    """(n, 3) AP, AP50 and AP75 of bootstrap draws, paired with those of :func:`bootstrap`."""
    return weighted_metrics(matches, draw_weights(matches.image_ids, n, seed))


def draw_weights(image_ids: NDArray[np.int64], n: int, seed: int) -> Counts:
    """(n, I) how often each image counts: I images drawn with replacement, n times.

    The draws depend on the seed and the image ids, so that what is computed over the same images
    is paired and what is computed over others is independent.
    """
    count = len(image_ids)
    if not count:
        return np.zeros((n, 0), np.int64)
    rng = np.random.default_rng((seed, _key(image_ids)))
    return rng.multinomial(count, np.full(count, 1 / count), size=n)


def _key(image_ids: NDArray[np.int64]) -> int:
    return zlib.crc32(np.ascontiguousarray(image_ids, np.int64).tobytes())


def weighted_metrics(matches: Matches, weights: Counts) -> Float:
    """AP, AP50 and AP75 for many weightings of the images.

    Equals ``accumulate(matches, weights[b], METRICS)`` for every b; one category.

    Args:
        matches: of poses; the size "all" is looked at.
        weights: (B, I) whole numbers.

    Returns:
        (B, 3) in the order of ``METRICS``; NaN where nobody has to be found.
    """
    # An entry is a detection, or one copy of it where equal scores meet on one image: copies of an
    # image follow each other, so detections (a, b) drawn twice come as a, b, a, b.
    entries, copy = _entries(matches, weights)
    image, copied = matches.image[entries], copy >= 0
    thresholds = []
    for truth, ignored in zip(
        matches.truth[0][:, entries], matches.ignored[0][:, entries], strict=True
    ):
        hits, free = np.flatnonzero((truth >= 0) & ~ignored), np.flatnonzero(ignored)
        thresholds.append(_Threshold(hits, free, np.searchsorted(free, hits)))
    wanted = matches.gt_image[~matches.gt_ignored[0]]
    truths = np.bincount(wanted, minlength=len(matches.image_ids))
    result = np.full((len(weights), len(METRICS)), np.nan)

    def work(part: range) -> None:
        for b in part:
            if n_truths := int(weights[b] @ truths):
                counts = weights[b][image]
                if copied.any():
                    counts = np.where(copied, counts > copy, counts)
                seen = np.cumsum(counts)
                each = np.array([t.average(counts, seen, n_truths) for t in thresholds])
                result[b] = each.mean(), each[0], each[5]  # METRICS

    parts = [range(k, len(weights), _THREADS) for k in range(_THREADS)]
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(work, parts))
    return result


@dataclass(frozen=True, eq=False)
class _Threshold:
    """Where, at one threshold, true positives and detections that do not count are."""

    hits: Index  # (H,) of the true positives among the entries
    free: Index  # (F,) of entries that count neither for nor against
    before: Index  # (H,) how many of these come before each hit

    def average(self, counts: Counts, seen: Counts, n_truths: int) -> float:
        """The mean precision at COCO's 101 recalls."""
        if not len(self.hits):
            return 0.0
        true = np.cumsum(counts[self.hits])
        total = seen[self.hits].astype(np.float64)
        if len(self.free):
            total -= np.concatenate([[0], np.cumsum(counts[self.free])])[self.before]
        precision = true / (total + _EPS)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        reached = np.searchsorted(true / n_truths, RECALLS, side="left")
        return float(envelope[reached[reached < len(envelope)]].sum() / len(RECALLS))


def _entries(matches: Matches, weights: Counts) -> tuple[Index, Index]:
    """Detections by rank; those with an equal one on their image once for every copy."""
    n = len(matches.score)
    tied = np.zeros(n, np.bool_)
    tied[1:] = (matches.score[1:] == matches.score[:-1]) & (matches.image[1:] == matches.image[:-1])
    run = np.cumsum(~tied)
    shared = tied.copy()
    shared[:-1] |= tied[1:]
    most = weights.max(axis=0, initial=0)[matches.image] if len(weights) else np.zeros(n, np.int64)
    times = np.where(shared, most, 1)
    entries = np.repeat(np.arange(n), times)
    copy = np.arange(len(entries)) - np.repeat(np.cumsum(times) - times, times)
    order = np.lexsort((entries, copy, run[entries]))
    return entries[order], np.where(shared[entries], copy, -1)[order]
