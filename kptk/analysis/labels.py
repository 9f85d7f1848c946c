"""What became of every person, detection and keypoint: one label each, and error rates.

Whose error it is follows from the label: the detector's (:data:`DETECTOR_ERRORS`) or the keypoint
model's (:data:`KEYPOINT_ERRORS`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kptk.analysis.bundle import Bundle
from kptk.analysis.matching import assign, rank_candidates, rank_within, score_of
from kptk.analysis.options import AnalysisOptions
from kptk.geometry import Bool, Float, Index, box_area, clip_to, iou, keypoint_similarity, oks

OK, BOX_LIMITED, WRONG_PERSON, BOX_SENSITIVE, POSE = PERSON_OK = (
    "ok", "box-limited", "wrong-person", "box-sensitive", "pose",
)  # fmt: skip
MISPLACED, BELOW_THRESHOLD, NMS_SUPPRESSED, OVER_CAP, NEVER_DETECTED = NOT_DETECTED = (
    "badly-localised", "below-threshold", "nms-suppressed", "over-cap", "never-detected",
)  # fmt: skip
PERSON_LABELS = (*PERSON_OK, *NOT_DETECTED)
DETECTOR_ERRORS = (BOX_LIMITED, *NOT_DETECTED)
KEYPOINT_ERRORS = (WRONG_PERSON, BOX_SENSITIVE, POSE)
# details of nms-suppressed: by OKS-NMS of the poses; by the detector's own, most likely
OF_POSES, LIKELY = "poses", "likely"
MERGED, PART, LOOSE, SHIFTED = "merged", "part", "loose", "shifted"  # of badly-localised
DETECTION_TYPES = TRUE_POSITIVE, IGNORED, DUPLICATE, BAD_POSE, BADLY_LOCALISED, BACKGROUND = (
    "true positive", "ignored", "duplicate", "bad pose", "badly localised", "background",
)  # fmt: skip
JOINT_LABELS = GOOD, JITTER, INVERSION, SWAP, MISS = "good", "jitter", "inversion", "swap", "miss"
GOOD_SIMILARITY, MISS_SIMILARITY, PAIR_OKS = 0.85, 0.5, 0.1
FLIP_GAIN = 0.1
"""A pose is flipped if its OKS is higher by this with left and right exchanged. Without a margin
half of all people seen from the side would be: there left and right lie together."""
COVER = 0.5
"""Share of each of two people's boxes that a merged box must cover."""
INSIDE = 0.75
"""Share of a box inside the other one, from which it is a part of it."""
OVERLAP = 0.1
"""IoU above which a neighbour overlaps."""
EDGE = 2.0
"""Pixels from the image's edge within which a side of a box lies on it."""
_ROWS, _PEOPLE = 20_000, 1000  # pairs, and people with all others, compared at a time: memory

Names = NDArray[np.object_]


class Rate(NamedTuple):
    """A share of errors.

    Attributes:
        value: k / n, 0 to 1; NaN where n is 0, as are the bounds.
        low: lower bound of the interval.
        high: upper bound.
        k: errors.
        n: of how many.
    """

    value: float
    low: float
    high: float
    k: int
    n: int


def rate(k: int, n: int, confidence: float = 0.95) -> Rate:
    """A share with its Wilson interval."""
    low, high = wilson(k, n, confidence)
    return Rate(k / n if n else float("nan"), float(low), float(high), int(k), int(n))


def wilson(k: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Float, Float]:
    """Bounds of Wilson's score interval of shares k / n; NaN where n is 0.

    ``(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)`` with p = k / n and z
    the normal quantile (Wilson 1927).

    Args:
        k: how many of them.
        n: how many in all.
        confidence: of the interval, below 1.
    """
    hits, total = np.asarray(k, np.float64), np.asarray(n, np.float64)
    total = np.where(total > 0, total, np.nan)
    z = NormalDist().inv_cdf((1 + min(confidence, 1 - 1e-12)) / 2)
    share = hits / total
    middle = share + z**2 / (2 * total)
    reach = z * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    return np.maximum((middle - reach) / scale, 0), np.minimum((middle + reach) / scale, 1)


def error_rates(labels: PersonLabels, confidence: float = 0.95) -> Mapping[str, Rate]:
    """The error rate of each module, over the people that must be found.

    ``detector``: people with one of :data:`DETECTOR_ERRORS`, of all. ``keypoints``: people with one
    of :data:`KEYPOINT_ERRORS`, of those who are detected.
    """
    names = labels.label[labels.label != ""].astype(str)
    missed, by_detector, by_pose = (
        int(np.isin(names, group).sum())
        for group in (NOT_DETECTED, DETECTOR_ERRORS, KEYPOINT_ERRORS)
    )
    return {
        "detector": rate(by_detector, len(names), confidence),
        "keypoints": rate(by_pose, len(names) - missed, confidence),
    }


def crowding(bundle: Bundle) -> tuple[Float, Index]:
    """How crowded people are.

    Returns:
        (G,) the largest IoU of the person's box with that of another single person, 0 where they
        are alone; (G,) the number of those whose IoU is above :data:`OVERLAP`. Crowd regions are
        not neighbours.
    """
    people = bundle.people
    row, other = bundle.companions(np.arange(len(people)))
    single = ~people.crowd[other]
    row, other = row[single], other[single]
    overlap = iou(people.boxes[row], people.boxes[other])
    largest = np.zeros(len(people))
    np.maximum.at(largest, row, overlap)
    return largest, np.bincount(row[overlap > OVERLAP], minlength=len(people))


def truncation(bundle: Bundle) -> Float:
    """(G,) share of the box's outline that lies on the image's edge, or beyond it; 0 to 1.

    A side lies on the edge if it is within :data:`EDGE` pixels of it. NaN where the size of the
    image or of the box is not known.
    """
    people = bundle.people
    sizes = [[i.get("width") or np.nan, i.get("height") or np.nan] for i in bundle.images]
    limits = np.array(sizes, np.float64).reshape(-1, 2)[people.image]
    x1, y1, x2, y2 = people.boxes.T
    width, height = x2 - x1, y2 - y1
    on_edge = height * ((x1 <= EDGE) + 1.0 * (x2 >= limits[:, 0] - EDGE))
    on_edge += width * ((y1 <= EDGE) + 1.0 * (y2 >= limits[:, 1] - EDGE))
    around = 2 * (width + height)
    known = np.isfinite(limits).all(axis=1) & (around > 0)
    share: Float = np.divide(on_edge, around, out=np.full(len(people), np.nan), where=known)
    return share


def hidden(bundle: Bundle) -> Float:
    """(G,) share of the labelled keypoints that are not visible (v = 1); 0 where there are none."""
    flags = bundle.people.keypoints[..., 2]
    share: Float = (flags == 1).sum(axis=1) / np.maximum((flags > 0).sum(axis=1), 1)
    return share


def tags(bundle: Bundle, options: AnalysisOptions) -> Mapping[str, Bool]:
    """(G,) flags by name; a person can have several.

    ``tiny``: an annotated area below ``tiny_area``. ``truncated``: :func:`truncation` from
    ``truncated_share`` up. ``occluded``: :func:`hidden` from ``occluded_share`` up. ``crowded``:
    the largest IoU of :func:`crowding` from ``crowded_iou`` up.
    """
    return {
        "tiny": bundle.people.areas < options.tiny_area,
        "truncated": np.nan_to_num(truncation(bundle)) >= max(options.truncated_share, 1e-9),
        "occluded": hidden(bundle) >= max(options.occluded_share, 1e-9),
        "crowded": crowding(bundle)[0] >= max(options.crowded_iou, 1e-9),
    }


def ranking_scores(bundle: Bundle) -> Float:
    """(D,) what ranks the candidates' poses: ``ppdet``, or the score of a file of poses."""
    found = bundle.candidates
    return score_of(found.keypoints, found.scores) if bundle.two_stage else found.scores


def oks_of_pairs(bundle: Bundle, candidate: Index, person: Index) -> Float:
    """(P,) OKS of candidates' poses to people; NaN for people without a labelled keypoint."""
    found, people = bundle.candidates.keypoints, bundle.people
    values = np.empty(len(candidate))
    for start in range(0, len(candidate), _ROWS):
        part = slice(start, start + _ROWS)
        g = person[part]
        values[part] = oks(
            found[candidate[part]], people.keypoints[g], people.areas[g], bundle.sigmas
        )
    return values


def _oks_of(bundle: Bundle, candidate: Index) -> Float:
    """(G,) OKS of each person to the pose of a candidate; NaN where that is -1."""
    values = np.full(len(candidate), np.nan)
    rows = np.flatnonzero(candidate >= 0)
    values[rows] = oks_of_pairs(bundle, candidate[rows], rows)
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
    wanted = bundle.evaluated & (bundle.people.areas >= min_area)
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
    similarity = oks_of_pairs(bundle, d, g)
    near = similarity >= min_oks
    d, g, similarity = d[near], g[near], similarity[near]
    unwanted = bundle.people.ignored | (bundle.people.areas < min_area)
    order = np.lexsort((-g, -similarity, unwanted[g], d, -ranking_scores(bundle)[d]))
    taken = np.full(len(bundle.people), -1, np.intp)
    used = np.zeros(len(bundle.candidates), np.bool_)
    for one, other in zip(d[order].tolist(), g[order].tolist(), strict=True):
        if not used[one] and taken[other] < 0:
            used[one], taken[other] = True, one
    return taken


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


def label_joints(
    bundle: Bundle,
    person: Index,
    points: Float,
    candidate: Index,
    good: float = GOOD_SIMILARITY,
    miss: float = MISS_SIMILARITY,
) -> JointLabels:
    """Label the joints of poses (Ronchi & Perona, ICCV 2017).

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
    people, mirror = bundle.people, bundle.skeleton.flip_order

    def compared(rows: Index, who: Index) -> tuple[Float, Float]:
        """Similarity of poses to people's joints, and to their mirror images; -1: not labelled."""
        truth, area = people.keypoints[who], people.areas[who]
        straight, mirrored = (
            np.nan_to_num(keypoint_similarity(points[rows], t, area, bundle.sigmas), nan=-1.0)
            for t in (truth, truth[:, mirror])
        )
        return straight, mirrored

    own, inverted = compared(np.arange(len(person)), person)
    other = np.full(points.shape[:2], -1.0)
    who = np.full(points.shape[:2], -1, np.intp)
    for start in range(0, len(person), _PEOPLE):
        pair, neighbour = bundle.companions(person[start : start + _PEOPLE])
        known = people.labelled[neighbour]
        pair, neighbour = pair[known] + start, neighbour[known]
        if len(pair):
            value = np.maximum(*compared(pair, neighbour))
            rows, starts, counts = np.unique(pair, return_index=True, return_counts=True)
            other[rows] = np.maximum.reduceat(value, starts, axis=0)
            reached = value == np.repeat(other[rows], counts, axis=0)
            first = np.where(reached, neighbour[:, None], len(people))
            who[rows] = np.minimum.reduceat(first, starts, axis=0)
    stacked = np.stack([own, inverted, other])
    best, which = stacked.max(axis=0), stacked.argmax(axis=0)
    names = np.select(
        [best < miss, which == 2, which == 1, best <= good],
        [JOINT_LABELS.index(name) for name in (MISS, SWAP, INVERSION, JITTER)],
        default=JOINT_LABELS.index(GOOD),
    )
    there = people.labelled_keypoints[person]
    straight, turned = (
        oks(pose, people.keypoints[person], people.areas[person], bundle.sigmas)
        for pose in (points, points[:, mirror])
    )
    return JointLabels(
        person=person,
        candidate=candidate,
        label=np.where(there, names, -1).astype(np.int8),
        similarity=np.where(there, own, np.nan),
        best=np.where(there, best, np.nan),
        whose=np.where(there, np.where(which == 2, who, person[:, None]), -1),
        flipped=turned > straight + FLIP_GAIN,
    )


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
    cell = before[both].astype(np.intp) * n + after[both]
    return np.bincount(cell, minlength=n * n).reshape(n, n)


@dataclass(frozen=True, eq=False)
class Pairing:
    """Which person each detection (candidate from the threshold up) belongs to, and the reverse.

    Attributes:
        left: (D,) detections that OKS-NMS leaves.
        counted: (D,) of these, the best ``max_poses`` of each image: what COCO counts.
        pose: (G,) the counted pose that is matched to each person with an OKS of at least
            ``oks_threshold``, -1: none.
        uncut: (G,) the same, if nothing were suppressed or cut off.
        owner: (D,) whose box each is, by IoU; -1: nobody's. Without boxes it is the rectangle
            round the keypoints, which tells no more than who stands in a crowd.
        box: (G,) the box of each person, by IoU; -1: none. Without boxes: -1.
        overlaps: every detection with every single person of its image: candidates (P,), people
            (P,), IoU (P,); none without boxes.
        best_iou: (D,) the largest IoU of each detection with a single person, else 0.
        favourite: (D,) with whom; -1: nobody.
        best_iou_of_person: (G,) the largest IoU of each person with a detection, else 0.
        neighbour: (G,) with which; -1: none.
        best_oks: (D,) the largest OKS of each detection to a person that must be found, else 0.
    """

    left: Bool
    counted: Bool
    pose: Index
    uncut: Index
    owner: Index
    box: Index
    overlaps: tuple[Index, Index, Float]
    best_iou: Float
    favourite: Index
    best_iou_of_person: Float
    neighbour: Index
    best_oks: Float


def pair(bundle: Bundle, options: AnalysisOptions) -> Pairing:
    """Match poses by OKS and boxes by IoU."""
    n_people, n_found = len(bundle.people), len(bundle.candidates)
    # poses below the threshold suppress nothing
    detections = replace(bundle, candidates=bundle.candidates[bundle.detected])
    poses = rank_candidates(detections, options).kept()
    order, rank = rank_within(poses)
    left, counted = np.zeros((2, n_found), np.bool_)
    left[poses.candidate] = True
    counted[poses.candidate[order[rank < options.max_poses]]] = True

    owners = assign(bundle, min_iou=options.match_iou)
    d, g = bundle.pairs()
    wanted = bundle.detected[d] & bundle.evaluated[g]
    best_oks = np.zeros(n_found)
    values = np.nan_to_num(oks_of_pairs(bundle, d[wanted], g[wanted]))
    np.maximum.at(best_oks, d[wanted], values)
    single = (bundle.detected & bundle.two_stage)[d] & ~bundle.people.crowd[g]
    d, g = d[single], g[single]
    overlap = iou(bundle.candidates.boxes[d], bundle.people.boxes[g])
    best_iou, favourite = _best(d, g, overlap, n_found)
    best_iou_of_person, neighbour = _best(g, d, overlap, n_people)
    return Pairing(
        left=left,
        counted=counted,
        pose=pair_poses(bundle, options.oks_threshold, counted),
        uncut=pair_poses(bundle, options.oks_threshold),
        owner=owners.person,
        box=owners.candidate if bundle.two_stage else np.full(n_people, -1, np.intp),
        overlaps=(d, g, overlap),
        best_iou=best_iou,
        favourite=favourite,
        best_iou_of_person=best_iou_of_person,
        neighbour=neighbour,
        best_oks=best_oks,
    )


def _best(of: Index, what: Index, value: Float, n: int) -> tuple[Float, Index]:
    """The largest value above 0 of each of n and what has it; of equals the first in the list."""
    most, which = np.zeros(n), np.full(n, -1, np.intp)
    order = np.argsort(-value, kind="stable")
    order = order[value[order] > 0]
    owners, first = np.unique(of[order], return_index=True)
    most[owners], which[owners] = value[order][first], what[order][first]
    return most, which


def type_detections(
    bundle: Bundle, options: AnalysisOptions, found: Pairing | None = None
) -> Index:
    """Type every detection, by the first that holds; t is ``oks_threshold``.

    - *true positive*: its pose is matched to a person that must be found, OKS from t up.
    - *ignored*: it counts neither for nor against: its pose is matched to, or its box is on,
      somebody who need not be found (crowds, people without labelled joints); or it is not among
      the image's best ``max_poses``.
    - *bad pose*: the box is a person's own, but the pose does not reach t for them.
    - *duplicate*: the pose reaches t for somebody who has a better one, or OKS-NMS takes it away,
      or the box overlaps somebody by at least ``match_iou`` who has a better box.
    - *badly localised*: the largest IoU of the box with a person is at least ``near_iou``.
    - *background*: everything else. With a high score it may be somebody whom nobody annotated.

    Without boxes (``two_stage`` False) no box is anybody's: a pose that reaches ``pair_oks`` for
    somebody, but not t, is a bad one, and nothing is badly localised.

    ``found`` is what :func:`kptk.analysis.labels.pair` gives; None: it is worked out here.

    Returns:
        (D,) index into ``DETECTION_TYPES``; -1 for candidates below the threshold.
    """
    found = pair(bundle, options) if found is None else found
    t = options.oks_threshold
    matched, others = np.zeros((2, len(bundle.candidates)), np.bool_)
    matched[found.pose[(found.pose >= 0) & bundle.evaluated]] = True
    others[found.pose[(found.pose >= 0) & ~bundle.evaluated]] = True
    on_ignored = (found.owner >= 0) & bundle.people.ignored[found.owner]
    bad = (found.best_oks >= options.pair_oks) & (found.best_oks < t)
    if bundle.two_stage:
        rows = np.flatnonzero((found.owner >= 0) & ~on_ignored)
        bad = np.zeros(len(bundle.candidates), np.bool_)
        bad[rows] = oks_of_pairs(bundle, rows, found.owner[rows]) < t
    cases = {
        TRUE_POSITIVE: matched,
        IGNORED: others | on_ignored | (found.left & ~found.counted),
        BAD_POSE: bad,
        DUPLICATE: (found.best_oks >= t) | ~found.left | (found.best_iou >= options.match_iou),
        BADLY_LOCALISED: found.best_iou >= options.near_iou,
    }
    names = [-1, *map(DETECTION_TYPES.index, cases)]
    background = DETECTION_TYPES.index(BACKGROUND)
    return np.select([~bundle.detected, *cases.values()], names, background).astype(np.intp)


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


def label_people(
    bundle: Bundle, options: AnalysisOptions, found: Pairing | None = None
) -> PersonLabels:
    """Give every person that must be found exactly one label, the first that holds.

    t is ``oks_threshold``, d their box: the detection that belongs to them by IoU, one to one
    (:func:`kptk.analysis.matching.assign`), K its pose.

    - *ok*: a pose is matched to them with an OKS of at least t, as COCO matches.
    - *nms-suppressed* (detail ``poses``) and *over-cap*: a pose would be, but it resembles a better
      one (OKS-NMS), or it is not among the image's best ``max_poses``, which COCO counts.
    - *box-limited*: OKS(joints clipped to crop(d)) < t: no keypoint model can reach t on this box.
    - *wrong-person*: OKS(K) to another person is at least t and at least that to them.
    - *box-sensitive*: the pose on the ground-truth box reaches t.
    - *pose*: neither does; the detail is the joint error that costs most (:func:`_dominant`).
    - *badly-localised*: no box is theirs, but one was meant for them, with an IoU in [``near_iou``,
      ``match_iou``); see :func:`kptk.analysis.labels.badly_localised`.
    - *below-threshold*: a candidate from ``low_score`` up, below the threshold, would be their box.
    - *nms-suppressed* (detail ``likely``): a neighbour's detection overlaps them by at least
      ``nms_iou``, so a box of their own would have been suppressed. What the detector's NMS took
      away is not stored, hence likely.
    - *never-detected*: everybody else.

    Without boxes (``two_stage`` False) what can be said is *ok*, *over-cap*, *pose* (of the poses
    that reach t for nobody one is paired with them, OKS from ``pair_oks`` up), *below-threshold* (a
    pose below the threshold would be matched with t) and *never-detected*.
    ``found`` is what :func:`kptk.analysis.labels.pair` gives; None: it is worked out here.
    """
    found = pair(bundle, options) if found is None else found
    people, t = bundle.people, options.oks_threshold
    n = len(people)
    unlabelled = bundle.evaluated.copy()
    label, detail = np.full((2, n), "", object)
    candidate = np.full(n, -1, np.intp)

    def give(who: Bool, name: str, concerned: Index, why: str | Names = "") -> None:
        """Label the people (G,) who have no label yet."""
        chosen = who & unlabelled
        label[chosen], candidate[chosen] = name, concerned[chosen]
        detail[chosen] = why if isinstance(why, str) else why[chosen]
        unlabelled[chosen] = False

    give(found.pose >= 0, OK, found.pose)
    give(_at(found.left & ~found.counted, found.uncut), OVER_CAP, found.uncut)
    give(found.uncut >= 0, NMS_SUPPRESSED, found.uncut, OF_POSES)

    own = found.box
    if not bundle.two_stage:  # of the poses that reach the OKS threshold for nobody
        own = pair_poses(bundle, options.pair_oks, found.counted & (found.best_oks < t))
    chosen = np.where(found.pose >= 0, found.pose, own)
    rows = np.flatnonzero((chosen >= 0) & bundle.evaluated)
    joints = label_joints(
        bundle,
        rows,
        bundle.candidates.keypoints[chosen[rows]],
        chosen[rows],
        options.good_similarity,
        options.miss_similarity,
    )
    oks_given = oks(people.given, people.keypoints, people.areas, bundle.sigmas)
    oks_given = np.where(people.has_given, oks_given, np.nan)
    if bundle.two_stage:
        rows = np.flatnonzero(own >= 0)
        truth, limited = people.keypoints[rows], np.zeros(n, np.bool_)
        clipped = clip_to(truth, bundle.candidates.crops[own[rows]])
        limited[rows] = oks(clipped, truth, people.areas[rows], bundle.sigmas) < t
        give(limited, BOX_LIMITED, own)
        row, other = bundle.companions(rows)
        best_other = np.full(n, -1.0)
        to_others = np.nan_to_num(oks_of_pairs(bundle, own[rows[row]], other))
        np.maximum.at(best_other, rows[row], to_others)
        wrong = (best_other >= t) & (best_other >= _oks_of(bundle, own))
        give((own >= 0) & wrong, WRONG_PERSON, own)
        give((own >= 0) & (oks_given >= t), BOX_SENSITIVE, own)
    give(own >= 0, POSE, own, _dominant(joints, n))

    low = bundle.candidates.scores >= min(options.low_score, bundle.threshold)
    if bundle.two_stage:
        near, how = badly_localised(bundle, found, unlabelled, options)
        give(near >= 0, MISPLACED, near, how)
        late = assign(bundle, low, options.match_iou).candidate
    else:
        late = pair_poses(bundle, t, low)
    give(_at(~bundle.detected, late), BELOW_THRESHOLD, late)
    overlapped = (found.neighbour >= 0) & (found.best_iou_of_person >= options.nms_iou)
    give(overlapped, NMS_SUPPRESSED, found.neighbour, LIKELY)
    give(np.ones(n, np.bool_), NEVER_DETECTED, np.full(n, -1, np.intp))

    flipped = np.zeros(n, np.bool_)
    flipped[joints.person] = joints.flipped & (candidate[joints.person] == joints.candidate)
    return PersonLabels(
        label=label,
        detail=detail,
        candidate=candidate,
        best_iou=found.best_iou_of_person,
        oks=_oks_of(bundle, candidate),
        oks_given=oks_given,
        flipped=flipped,
        tags=tags(bundle, options),
    )


def _at(flags: Bool, index: Index) -> Bool:
    """(n,) the flags that an index (n,) points at; False where it is -1."""
    return np.append(flags, False)[index]


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


def badly_localised(
    bundle: Bundle, found: Pairing, wanted: Bool, options: AnalysisOptions
) -> tuple[Index, Names]:
    """Find the box that was meant for each person but is not on them.

    With IoU(d, g) in [``near_iou``, ``match_iou``), box d was meant for person g if it overlaps
    nobody more than g, or if it is *merged* of them and somebody else. A box that is on a neighbour
    and merely touches g says nothing about g. With ``|x|`` the area, of the first that holds:

    - merged: d covers at least half of g and half of another person h, and
      IoU(d, rectangle round g and h) > max(IoU(d, g), IoU(d, h));
    - part: ``|d & g| / |d|`` >= .75: a box inside the person;
    - loose: ``|d & g| / |g|`` >= .75: a box that holds the person and much else;
    - shifted: all others.

    Args:
        bundle: candidates and people.
        found: what belongs to whom.
        wanted: (G,) the people to look at.
        options: ``near_iou`` and ``match_iou``.

    Returns:
        (G,) the candidate, -1: there is none; of several the one with the largest IoU. (G,) the
        detail, empty without a candidate.
    """
    people, boxes = bundle.people, bundle.candidates.boxes
    d, g, share = found.overlaps
    rows = wanted[g] & (share >= options.near_iou) & (share < options.match_iou)
    d, g, share = d[rows], g[rows], share[rows]
    # whether box d fits the rectangle round g and another person better than either
    row, other = bundle.companions(g)
    box, one, third = boxes[d[row]], people.boxes[g[row]], people.boxes[other]
    both = np.concatenate([np.minimum(one, third)[:, :2], np.maximum(one, third)[:, 2:]], axis=1)
    better = iou(box, both) > np.maximum(share[row], iou(box, third))
    covered = (_share_inside(one, box) >= COVER) & (_share_inside(third, box) >= COVER)
    merged = np.zeros(len(d), np.bool_)
    merged[row[better & covered & ~people.crowd[other]]] = True

    meant = merged | (found.favourite[d] == g)
    d, g, merged, share = d[meant], g[meant], merged[meant], share[meant]
    part = _share_inside(boxes[d], people.boxes[g]) >= INSIDE
    loose = _share_inside(people.boxes[g], boxes[d]) >= INSIDE
    why = np.select([merged, part, loose], np.array([MERGED, PART, LOOSE], object), SHIFTED)
    _, chosen = _best(g, np.arange(len(g)), share, len(people))
    candidate = np.append(d, -1)[chosen]
    return candidate, np.append(why.astype(object), "")[chosen]


def _share_inside(inner: Float, outer: Float) -> Float:
    """(P,) share of the area of ``inner`` that lies in ``outer``; 0 where it has none."""
    low = np.maximum(inner[:, :2], outer[:, :2])
    common = box_area(np.concatenate([low, np.minimum(inner[:, 2:], outer[:, 2:])], axis=1))
    own = box_area(inner)
    share: Float = np.divide(common, own, out=np.zeros(len(own)), where=own > 0)
    return share
