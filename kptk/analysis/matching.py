"""Which person a box belongs to, by IoU; poses as the pipeline ranks them, and their statistics.

The numbers are those of `kptk.evaluate` in score mode ``ppdet``: box score times the mean of the
keypoint scores above .2, then OKS-NMS by crop area.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kptk.analysis.bundle import Bundle, Poses
from kptk.analysis.options import AnalysisOptions
from kptk.evaluation import Matches, accumulate
from kptk.evaluation.matching import THRESHOLDS, Shapes, match_shapes
from kptk.evaluation.scores import pose_scores
from kptk.geometry import Bool, Float, Index, iou, keypoint_extent, mutual_oks

MATCH_IOU = 0.5
METRICS = ("AP", "AP50", "AP75")
_CHUNK = 100_000  # pairs of poses compared at a time: bounds the memory


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
    d, g = bundle.pairs()
    chosen = (bundle.detected if kept is None else kept)[d]
    d, g = d[chosen], g[chosen]
    crowd = bundle.people.crowd
    overlap = iou(bundle.candidates.boxes[d], bundle.people.boxes[g], crowd[g])
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


@dataclass(frozen=True, eq=False)
class Ranking:
    """All poses of one kind before suppression, and which of them resemble each other.

    Attributes:
        poses: every one, by image, with the score that ranks it.
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
        rank = np.empty(len(self.poses), np.intp)
        rank[np.argsort(-self.poses.scores, kind="stable")] = np.arange(len(self.poses))
        both = there[self.first] & there[self.second]
        a, b = self.first[both], self.second[both]
        better, worse = np.where(rank[a] > rank[b], (b, a), (a, b))
        gone = np.zeros(len(self.poses), np.bool_)
        for k in np.argsort(rank[worse], kind="stable").tolist():  # better ones are decided first
            if not gone[better[k]]:
                gone[worse[k]] = True
        return self.poses[there & ~gone]


def rank_candidates(bundle: Bundle, options: AnalysisOptions) -> Ranking:
    """The poses on all candidates.

    Without boxes (``two_stage`` False) the scores are the poses' own, and nothing is suppressed:
    the pipeline that wrote the file has done so.
    """
    found = bundle.candidates[bundle.candidates.placed]
    if not bundle.two_stage:
        none = np.zeros(0, np.intp)
        return Ranking(found, found.scores, none, none)
    return _rank(bundle, found, options)


def rank_given(bundle: Bundle, options: AnalysisOptions) -> Ranking:
    """The poses on the boxes of people with labelled keypoints; every box has score 1."""
    people = bundle.people
    rows = np.flatnonzero(people.has_given & ~people.crowd & people.labelled)
    return _rank(bundle, bundle.given(rows), options)


def _rank(bundle: Bundle, poses: Poses, options: AnalysisOptions) -> Ranking:
    empty = np.zeros(0, np.intp)
    firsts, seconds = [empty], [empty]
    keypoints = np.nan_to_num(poses.keypoints[..., :2])
    for i, j in _pairs_within(poses.image):
        area = (poses.areas[i] + poses.areas[j]) / 2
        alike = mutual_oks(keypoints[i], keypoints[j], area, bundle.sigmas) > options.oks_nms
        firsts.append(i[alike])
        seconds.append(j[alike])
    scored = replace(poses, scores=score_of(poses.keypoints, poses.scores))
    return Ranking(scored, poses.scores, np.concatenate(firsts), np.concatenate(seconds))


def _pairs_within(image: Index) -> Iterator[tuple[Index, Index]]:
    """All pairs i < j of rows of one image, in chunks; rows are ordered by image."""
    count = np.searchsorted(image, image, side="right") - np.arange(len(image)) - 1
    ends = np.cumsum(count)
    start = 0
    while start < len(image):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + _CHUNK, side="right")), start + 1)
        rows = np.arange(start, min(stop, len(image)))
        i = np.repeat(rows, count[rows])
        yield i, i + 1 + np.arange(len(i)) - np.repeat(ends[rows] - count[rows] - done, count[rows])
        start = int(rows[-1]) + 1


def score_of(keypoints: Float, box_score: Float) -> Float:
    """(N,) box score times the mean of the keypoint scores above .2 (ppdet)."""
    return pose_scores(keypoints, box_score, "ppdet", np.zeros(len(keypoints), np.bool_))


def rank_within(poses: Poses) -> tuple[Index, Index]:
    """Rows by image, then descending score, and how many of the image come before each."""
    order = np.lexsort((-poses.scores, poses.image))
    image = poses.image[order]
    return order, np.arange(len(order)) - np.searchsorted(image, image, side="left")


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
        Matches with A = 1; ``result`` is the index of the pose, ``gt_annotation`` of the person.
    """
    people = bundle.people
    n = len(people)
    truth = Shapes(
        index=np.arange(n),
        image=people.image,
        category=np.zeros(n, np.intp),
        rank=np.arange(n),
        score=np.zeros(n),
        shapes=people.keypoints,
        area=people.areas,
        boxes=np.concatenate([people.boxes[:, :2], people.boxes[:, 2:] - people.boxes[:, :2]], 1),
        crowd=people.crowd,
        ignored=people.ignored,
    )
    order, rank = rank_within(poses)
    order, rank = order[rank < options.max_poses], rank[rank < options.max_poses]
    n = len(order)
    keypoints = poses.keypoints[order]
    found = Shapes(
        index=order,
        image=poses.image[order],
        category=np.zeros(n, np.intp),
        rank=rank,
        score=poses.scores[order],
        shapes=keypoints,
        area=keypoint_extent(keypoints) if min_area > 0 else np.zeros(n),
        boxes=np.zeros((n, 4)),
        crowd=np.zeros(n, np.bool_),
        ignored=np.zeros(n, np.bool_),
    )
    gt_ignored = (truth.ignored | (truth.area < min_area))[None]
    matched = match_shapes(truth, found, gt_ignored, bundle.sigmas)
    small = np.broadcast_to(found.area < min_area, matched.shape)
    ignored = np.where(matched >= 0, gt_ignored[0][matched], small)
    by_score = np.lexsort((found.rank, found.image, -found.score))
    return Matches(
        kind="keypoints",
        image_ids=bundle.image_ids,
        category_ids=np.ones(1, np.int64),
        image=found.image[by_score],
        category=found.category,
        rank=found.rank[by_score],
        score=found.score[by_score],
        result=found.index[by_score],
        truth=matched[..., by_score],
        ignored=ignored[..., by_score],
        gt_image=truth.image,
        gt_category=truth.category,
        gt_ignored=gt_ignored,
        gt_annotation=truth.index,
    )


def statistics(matches: Matches) -> Mapping[str, float]:
    """AP, AP50 and AP75, 0 to 1; NaN where nobody has to be found."""
    return accumulate(matches, names=METRICS)


def found_people(matches: Matches, n_people: int, oks: float = 0.5) -> Bool:
    """(G,) people that some pose is matched to at the COCO threshold nearest to ``oks``."""
    taken = matches.truth[0, int(np.abs(THRESHOLDS - oks).argmin())]
    found = np.zeros(n_people, np.bool_)
    found[taken[taken >= 0]] = True
    return found
