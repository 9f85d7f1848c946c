"""What became of each joint: good, jitter, inversion, swap or miss (Ronchi & Perona, ICCV 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.bundle import Bool, Bundle, Float, Index
from kptk.analysis.geometry import keypoint_similarity, oks
from kptk.analysis.poses import score_of

GOOD, JITTER, INVERSION, SWAP, MISS = "good", "jitter", "inversion", "swap", "miss"
JOINT_LABELS = (GOOD, JITTER, INVERSION, SWAP, MISS)

GOOD_SIMILARITY = 0.85
MISS_SIMILARITY = 0.5
PAIR_OKS = 0.1
FLIP_GAIN = 0.1
"""A pose is flipped if its OKS is higher by this with left and right exchanged. Without a margin
half of all people seen from the side would be: there left and right lie together."""

_ROWS = 20_000  # pairs of a pose and a person that are compared together: bounds the memory


@dataclass(frozen=True, eq=False)
class JointLabels:
    """Joints of n poses, each compared with the person it is paired with and with all others.

    Attributes:
        person: (n,) index into the people.
        candidate: (n,) index into the candidates; -1: the pose on the ground-truth box.
        label: (n, K) int8 index into ``JOINT_LABELS``; -1 where the joint is not labelled.
        similarity: (n, K) keypoint similarity to its own joint; NaN where that is not labelled.
        best: (n, K) the highest similarity to anyone's joint of that name or its mirror image,
            0 where the pose has no such joint; NaN where the person's own is not labelled.
        whose: (n, K) person whom ``best`` belongs to; -1 where the joint is not labelled.
        flipped: (n,) whether the pose fits better with left and right exchanged.
    """

    person: Index
    candidate: Index
    label: NDArray[np.int8]
    similarity: Float
    best: Float
    whose: Index
    flipped: Bool

    def __len__(self) -> int:
        return len(self.person)

    @property
    def counts(self) -> dict[str, int]:
        """How many joints have each label."""
        counts = np.bincount(self.label[self.label >= 0], minlength=len(JOINT_LABELS))
        return dict(zip(JOINT_LABELS, counts.tolist(), strict=True))


def ranking_scores(bundle: Bundle) -> Float:
    """(D,) what ranks the candidates' poses: ``ppdet``, or the score of a file of poses."""
    found = bundle.candidates
    return score_of(found.points, found.score) if bundle.two_stage else found.score


def oks_of_pairs(bundle: Bundle, candidate: Index, person: Index) -> Float:
    """(P,) OKS of candidates' poses to people; NaN for people without a labelled joint."""
    found, people = bundle.candidates, bundle.people
    values = np.empty(len(candidate))
    for start in range(0, len(candidate), _ROWS):
        part = slice(start, start + _ROWS)
        d, g = candidate[part], person[part]
        values[part] = oks(found.points[d], people.points[g], people.area[g], bundle.sigmas)
    return values


def oks_pairs(
    bundle: Bundle, min_oks: float = PAIR_OKS, kept: Bool | None = None, min_area: float = 0.0
) -> tuple[Index, Index]:
    """Pair poses and people one to one, as COCO matches them.

    By descending pose score, each takes the free person it is most like; people who need not be
    found come second, and pairs with them are left out.

    Args:
        bundle: candidates and people.
        min_oks: lowest OKS of a pair. coco-analyze labels joints of pairs from .1.
        kept: (D,) the candidates to look at; None: the pipeline's detections.
        min_area: square pixels; smaller people need not be found.

    Returns:
        Indices of candidates (n,) and of people (n,), in the order of people.
    """
    taken = pair_poses(bundle, min_oks, kept, min_area)
    wanted = bundle.evaluated & (bundle.people.area >= min_area)
    person = np.flatnonzero(wanted & (taken >= 0))
    return taken[person], person


def pair_poses(
    bundle: Bundle, min_oks: float, kept: Bool | None = None, min_area: float = 0.0
) -> Index:
    """(G,) the candidate whose pose each person gets, -1: none; see :func:`oks_pairs`.

    Of equally like people a pose takes the last, as pycocotools does.
    """
    d, g = bundle.pairs()
    chosen = (bundle.detected if kept is None else kept)[d]
    d, g = d[chosen], g[chosen]
    likeness = oks_of_pairs(bundle, d, g)
    near = likeness >= min_oks
    d, g, likeness = d[near], g[near], likeness[near]
    unwanted = bundle.people.ignored | (bundle.people.area < min_area)
    order = np.lexsort((-g, -likeness, unwanted[g], d, -ranking_scores(bundle)[d]))
    taken = np.full(len(bundle.people), -1, np.intp)
    used = np.zeros(len(bundle.candidates), np.bool_)
    for one, other in zip(d[order].tolist(), g[order].tolist(), strict=True):
        if not used[one] and taken[other] < 0:
            used[one], taken[other] = True, one
    return taken


def label_joints(
    bundle: Bundle,
    person: Index,
    points: Float,
    candidate: Index,
    good: float = GOOD_SIMILARITY,
    miss: float = MISS_SIMILARITY,
) -> JointLabels:
    """Label the joints of poses.

    Each joint is compared with the joint of that name of everybody in the image, and with its
    mirror image (the right wrist for a left one); m is the highest similarity, r whose it is.
    Good: m > ``good`` on itself; jitter: ``miss`` <= m <= ``good`` on itself; inversion: m >=
    ``miss`` on its own mirror image; swap: m >= ``miss`` on somebody else; miss: m < ``miss``.
    Of equal similarities the own joint goes first, then the own mirror image. The similarity to
    another person is scaled by that person's area.

    Args:
        bundle: candidates and people.
        person: (n,) whose pose each is taken for.
        points: (n, K, 3) the poses x, y, score.
        candidate: (n,) the candidates they are of; -1: on the ground-truth box.
        good: similarity above which a joint is good.
        miss: similarity below which a joint is missed.
    """
    people, sigmas, mirror = bundle.people, bundle.sigmas, bundle.skeleton.flip_order
    truth, area = _known(bundle, person), people.area[person]
    own = keypoint_similarity(points, truth, area, sigmas)
    inverted = keypoint_similarity(points, truth[:, mirror], area, sigmas)
    other, who = _others(bundle, person, points)
    stacked = np.nan_to_num(np.stack([own, inverted, other]), nan=-1.0)
    best, place = stacked.max(axis=0), stacked.argmax(axis=0)
    names = np.select(
        [best < miss, place == 2, place == 1, best <= good],
        [JOINT_LABELS.index(name) for name in (MISS, SWAP, INVERSION, JITTER)],
        default=JOINT_LABELS.index(GOOD),
    )
    there = people.labelled[person]
    own = np.where(there, own, np.nan)
    turned = oks(points[:, mirror], people.points[person], area, sigmas)
    return JointLabels(
        person, candidate,
        np.where(there, names, -1).astype(np.int8),
        own,
        np.where(there, best, np.nan),
        np.where(there, np.where(place == 2, who, person[:, None]), -1),
        turned > oks(points, people.points[person], area, sigmas) + FLIP_GAIN,
    )  # fmt: skip


def _known(bundle: Bundle, person: Index) -> Float:
    """(n, K, 2) the labelled joints of people, NaN where not labelled."""
    people = bundle.people
    points = people.points[person][..., :2]
    points[~people.labelled[person]] = np.nan
    return points


def _others(bundle: Bundle, person: Index, points: Float) -> tuple[Float, Index]:
    """(n, K) the highest similarity to anybody else, -1 where there is nobody, and (n, K) whom."""
    best = np.full(points.shape[:2], -1.0)
    who = np.full(points.shape[:2], -1, np.intp)
    pair, other = bundle.companions(person)
    known = bundle.people.labelled.sum(axis=1) > 0
    pair, other = pair[known[other]], other[known[other]]
    for start, end in _chunks(pair, len(person)):
        rows = slice(*np.searchsorted(pair, [start, end]))
        _compare(bundle, pair[rows], other[rows], points, best, who)
    return best, who


def _compare(
    bundle: Bundle, pair: Index, other: Index, points: Float, best: Float, who: Index
) -> None:
    """Fill in ``best`` and ``who`` of the pairs that have neighbours; ``pair`` ascends."""
    if not len(pair):
        return
    truth, area = _known(bundle, other), bundle.people.area[other]
    found, mirror = points[pair], bundle.skeleton.flip_order
    here = keypoint_similarity(found, truth, area, bundle.sigmas)
    there = keypoint_similarity(found, truth[:, mirror], area, bundle.sigmas)
    value = np.maximum(np.nan_to_num(here, nan=-1.0), np.nan_to_num(there, nan=-1.0))
    rows, starts, counts = np.unique(pair, return_index=True, return_counts=True)
    best[rows] = np.maximum.reduceat(value, starts, axis=0)
    reached = value == np.repeat(best[rows], counts, axis=0)
    first = np.where(reached, other[:, None], len(bundle.people))
    who[rows] = np.minimum.reduceat(first, starts, axis=0)


def _chunks(pair: Index, n: int) -> list[tuple[int, int]]:
    """Stretches of the n pairs with about ``_ROWS`` rows each."""
    if not len(pair):
        return []
    ends = np.append(np.unique(pair[_ROWS::_ROWS]), n)
    return list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))


def transition_matrix(given: JointLabels, detected: JointLabels) -> NDArray[np.intp]:
    """(5, 5) counts of joints: label on the ground-truth box by label on the detected box.

    Over the people that are in both, and the joints labelled in both. What lies right of the
    diagonal got worse with the box.

    Args:
        given: labels of poses on ground-truth boxes, at most one pose a person.
        detected: labels of poses on detected boxes, at most one pose a person.
    """
    _, one, other = np.intersect1d(given.person, detected.person, return_indices=True)
    before, after = given.label[one], detected.label[other]
    both = (before >= 0) & (after >= 0)
    n = len(JOINT_LABELS)
    place = before[both].astype(np.intp) * n + after[both]
    return np.bincount(place, minlength=n * n).reshape(n, n)
