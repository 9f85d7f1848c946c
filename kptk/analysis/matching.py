"""Which person a box belongs to, by IoU alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kptk.analysis.bundle import Bool, Bundle, Float, Index
from kptk.analysis.options import AnalysisOptions
from kptk.evaluation import Matches, accumulate
from kptk.evaluation.matching import THRESHOLDS, Shapes, match_shapes
from kptk.evaluation.scores import pose_scores
from kptk.geometry import box_area, iou, keypoint_extent, mutual_oks

MATCH_IOU = 0.5


@dataclass(frozen=True, eq=False)
class Assignment:
    """One-to-one by box, but for crowds, which take any number.

    Attributes:
        person: (D,) index into the people; -1: nobody's.
        iou: (D,) with that person; 0 where nobody.
        candidate: (G,) index into the candidates; -1: none. Crowds: the best of theirs.
    """

    person: Index
    iou: Float
    candidate: Index


def assign(bundle: Bundle, kept: Bool | None = None, min_iou: float = MATCH_IOU) -> Assignment:
    """Assign boxes to people: by descending score, each to the free person it overlaps most.

    People who need not be found come second. What is left over overlaps nobody enough, or somebody
    who has a better-scored box already: a duplicate.

    Args:
        bundle: candidates and people.
        kept: (D,) the candidates to look at; None: the pipeline's detections.
        min_iou: lowest overlap. Crowds count over the box's own area, as in COCO.
    """
    kept = bundle.detected if kept is None else kept
    d, g = bundle.pairs()
    chosen = kept[d]
    d, g = d[chosen], g[chosen]
    crowd = bundle.people.crowd
    overlap = iou(bundle.candidates.box[d], bundle.people.box[g], crowd[g])
    near = overlap >= min_iou
    d, g, overlap = d[near], g[near], overlap[near]
    # by candidate (they are in order of score); wanted people first, then the larger overlap
    order = np.lexsort((-overlap, bundle.people.ignored[g], d))
    person = np.full(len(bundle.candidates), -1, np.intp)
    share = np.zeros(len(bundle.candidates))
    candidate = np.full(len(bundle.people), -1, np.intp)
    for i in order.tolist():
        one, other = d[i], g[i]
        if person[one] >= 0 or (candidate[other] >= 0 and not crowd[other]):
            continue
        person[one], share[one] = other, overlap[i]
        if candidate[other] < 0:
            candidate[other] = one
    return Assignment(person, share, candidate)


# ---- poses: Poses as the pipeline ranks them, and their COCO statistics, from a bundle's arrays
# alone.
#
# The numbers are those of `kptk.evaluate` in score mode ``ppdet``: box score times the mean of the
# joint scores above .2, then OKS-NMS by crop area.


METRICS = ("AP", "AP50", "AP75")


_CHUNK = 100_000  # pairs of poses compared at a time: bounds the memory


@dataclass(frozen=True, eq=False)
class Poses:
    """N poses to be scored, ordered by image.

    Attributes:
        candidate: (N,) index into the candidates; -1: the pose on a ground-truth box.
        person: (N,) index into the people, of poses on ground-truth boxes; else -1.
        image: (N,) index into ``Bundle.image_ids``.
        points: (N, K, 3) x, y, score.
        score: (N,) what ranks them.
        crop: (N, 4) pixels, (x1, y1, x2, y2): what the pose model saw.
    """

    candidate: Index
    person: Index
    image: Index
    points: Float
    score: Float
    crop: Float

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: Index | Bool) -> Poses:
        """Some of them, in the order given."""
        return Poses(
            self.candidate[rows], self.person[rows], self.image[rows], self.points[rows],
            self.score[rows], self.crop[rows],
        )  # fmt: skip


def join(one: Poses, other: Poses) -> Poses:
    """Two lots of poses as one, by image; of equal images the first come first."""
    image = np.concatenate([one.image, other.image])
    joined = Poses(
        np.concatenate([one.candidate, other.candidate]),
        np.concatenate([one.person, other.person]),
        image,
        np.concatenate([one.points, other.points]),
        np.concatenate([one.score, other.score]),
        np.concatenate([one.crop, other.crop]),
    )
    return joined.take(np.argsort(image, kind="stable"))


@dataclass(frozen=True, eq=False)
class Ranking:
    """All poses of one kind before suppression, and which of them resemble each other.

    Attributes:
        poses: every one, by image.
        box_score: (N,) of their boxes.
        first: (C,) index into the poses.
        second: (C,) index of another one of the image whose OKS to the first is above the limit.
    """

    poses: Poses
    box_score: Float
    first: Index
    second: Index

    def kept(self, min_score: float = -np.inf) -> Poses:
        """The poses that OKS-NMS leaves of those on boxes with at least that score."""
        there = self.box_score >= min_score
        return self.poses.take(there & ~self._suppressed(there))

    def _suppressed(self, there: Bool) -> Bool:
        """(N,) whether a better pose resembles it; better ones are decided first."""
        rank = np.empty(len(self.poses), np.intp)
        rank[np.argsort(-self.poses.score, kind="stable")] = np.arange(len(self.poses))
        both = there[self.first] & there[self.second]
        a, b = self.first[both], self.second[both]
        swap = rank[a] > rank[b]
        better, worse = np.where(swap, b, a), np.where(swap, a, b)
        gone = np.zeros(len(self.poses), np.bool_)
        for k in np.argsort(rank[worse], kind="stable").tolist():
            if not gone[better[k]]:
                gone[worse[k]] = True
        return gone


def rank_candidates(bundle: Bundle, options: AnalysisOptions) -> Ranking:
    """The poses on all candidates.

    Without boxes (``two_stage`` False) the scores are the poses' own, and nothing is suppressed:
    whoever wrote the file has done so.
    """
    found = bundle.candidates
    placed = np.isfinite(found.points[..., 0]) & np.isfinite(found.points[..., 1])
    rows = np.flatnonzero(placed.sum(axis=1))
    points, box_score = found.points[rows], found.score[rows]
    ranked = Poses(
        rows, np.full(len(rows), -1, np.intp), found.image[rows], points, box_score,
        found.crop[rows],
    )  # fmt: skip
    if not bundle.two_stage:
        none = np.zeros(0, np.intp)
        return Ranking(ranked, box_score, none, none)
    return _ranking(ranked, box_score, bundle, options)


def rank_given(bundle: Bundle, options: AnalysisOptions) -> Ranking:
    """The poses on the ground-truth boxes of people with labelled joints; every box has score 1."""
    people = bundle.people
    rows = np.flatnonzero(people.has_given & ~people.crowd & people.labelled.any(axis=1))
    ones = np.ones(len(rows))
    given = Poses(
        np.full(len(rows), -1, np.intp), rows, people.image[rows], people.given[rows], ones,
        bundle.given_crop[rows],
    )  # fmt: skip
    return _ranking(given, ones, bundle, options)


def _ranking(poses: Poses, box_score: Float, bundle: Bundle, options: AnalysisOptions) -> Ranking:
    score = score_of(poses.points, box_score)
    scored = Poses(poses.candidate, poses.person, poses.image, poses.points, score, poses.crop)
    first, second = _alike(scored, bundle.sigmas, options.oks_nms)
    return Ranking(scored, box_score, first, second)


def score_of(points: Float, box_score: Float) -> Float:
    """(N,) box score times the mean of the joint scores above .2 (ppdet)."""
    return pose_scores(points, box_score, "ppdet", np.zeros(len(points), np.bool_))


def _alike(poses: Poses, sigmas: Float, limit: float) -> tuple[Index, Index]:
    """Pairs (first < second) of poses of one image with a higher OKS to each other."""
    firsts, seconds = [], []
    area = box_area(poses.crop)
    points = np.nan_to_num(poses.points[..., :2])
    for i, j in _pairs_within(poses.image):
        alike = mutual_oks(points[i], points[j], (area[i] + area[j]) / 2, sigmas)
        close = alike > limit
        firsts.append(i[close])
        seconds.append(j[close])
    empty = np.zeros(0, np.intp)
    return np.concatenate([empty, *firsts]), np.concatenate([empty, *seconds])


def _pairs_within(image: Index) -> list[tuple[Index, Index]]:
    """All pairs i < j of rows of one image, in chunks; rows are ordered by image."""
    end = np.searchsorted(image, image, side="right")
    count = end - np.arange(len(image)) - 1
    ends = np.cumsum(count)
    chunks = []
    start = 0
    while start < len(image):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + _CHUNK, side="right")), start + 1)
        rows = np.arange(start, min(stop, len(image)))
        i = np.repeat(rows, count[rows])
        place = np.arange(len(i)) - np.repeat(np.cumsum(count[rows]) - count[rows], count[rows])
        chunks.append((i, i + 1 + place))
        start = int(rows[-1]) + 1
    return chunks


def match_poses(
    bundle: Bundle, poses: Poses, options: AnalysisOptions, min_area: float = 0.0
) -> Matches:
    """Match poses to people as `kptk.evaluation.match` does, for the size "all" alone.

    Args:
        bundle: the people.
        poses: of this bundle.
        options: ``max_poses`` an image count.
        min_area: smaller people need not be found, and what matches nobody and is smaller counts
            for nothing; 0: everybody counts.

    Returns:
        Matches with A = 1; ``result`` is the place among the poses, ``gt_annotation`` among the
        people.
    """
    truth = _truth_side(bundle)
    found = _found_side(poses, min_area > 0, options.max_poses)
    gt_ignored = (truth.ignored | (truth.area < min_area))[None]
    matched = match_shapes(truth, found, gt_ignored, bundle.sigmas)
    place = matched
    small = np.broadcast_to(found.area < min_area, matched.shape)
    ignored = np.where(matched >= 0, gt_ignored[0][matched], small)
    order = np.lexsort((found.rank, found.image, -found.score))
    one = np.zeros(len(order), np.intp)
    return Matches(
        "keypoints", bundle.image_ids, np.ones(1, np.int64),
        found.image[order], one, found.rank[order], found.score[order], found.index[order],
        place[..., order], ignored[..., order],
        truth.image, truth.category, gt_ignored, truth.index,
    )  # fmt: skip


def _truth_side(bundle: Bundle) -> Shapes:
    people = bundle.people
    none = np.zeros(len(people))
    boxes = np.concatenate([people.box[:, :2], people.box[:, 2:] - people.box[:, :2]], axis=1)
    rows = np.arange(len(people))
    return Shapes(
        rows, people.image, np.zeros(len(people), np.intp), rows, none, people.points,
        people.area, boxes, people.crowd, people.ignored,
    )  # fmt: skip


def _found_side(poses: Poses, measured: bool, limit: int) -> Shapes:
    """Poses as the matching takes them; their areas are 0 unless measured."""
    order = np.lexsort((-poses.score, poses.image))
    image = poses.image[order]
    rank = np.arange(len(order)) - np.searchsorted(image, image, side="left")
    order, rank = order[rank < limit], rank[rank < limit]
    image, points = poses.image[order], poses.points[order]
    no = np.zeros(len(order), np.bool_)
    return Shapes(
        order, image, np.zeros(len(order), np.intp), rank, poses.score[order], points,
        keypoint_extent(points) if measured else np.zeros(len(order)),
        np.zeros((len(order), 4)), no, no,
    )  # fmt: skip


def statistics(matches: Matches) -> Mapping[str, float]:
    """AP, AP50 and AP75, 0 to 1; NaN where nobody has to be found."""
    return accumulate(matches, names=METRICS)


def found_people(matches: Matches, n_people: int, oks: float = 0.5) -> Bool:
    """(G,) people that some pose is matched to at the COCO threshold nearest to ``oks``."""
    row = int(np.abs(THRESHOLDS - oks).argmin())
    found = np.zeros(n_people, np.bool_)
    taken = matches.truth[0, row]
    found[taken[taken >= 0]] = True
    return found
