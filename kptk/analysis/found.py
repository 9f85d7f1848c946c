"""Which poses count, and whom they and their boxes belong to: what labels are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kptk.analysis.assign import assign
from kptk.analysis.bundle import Bool, Bundle, Candidates, Float, Index
from kptk.analysis.joints import oks_of_pairs, pair_poses
from kptk.analysis.misplaced import Overlaps, overlaps
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.poses import rank_candidates


@dataclass(frozen=True, eq=False)
class Found:
    """What was found of whom, by the detections (candidates from the threshold up).

    Attributes:
        left: (D,) detections that OKS-NMS leaves.
        counted: (D,) of these, the best ``max_poses`` of each image: what COCO counts.
        pose: (G,) the counted pose that is matched to each person with an OKS of at least
            ``oks_threshold``, -1: none.
        uncut: (G,) the same, if nothing were suppressed or cut off.
        owner: (D,) whose box each is, by IoU; -1: nobody's. Without boxes it is the rectangle
            round the joints, which tells no more than who stands in a crowd.
        box: (G,) the box of each person, by IoU; -1: none. Without boxes: -1.
        near: overlaps of the detections with single people; none without boxes.
        best_oks: (D,) the largest OKS of each detection to a person that must be found, else 0.
    """

    left: Bool
    counted: Bool
    pose: Index
    uncut: Index
    owner: Index
    box: Index
    near: Overlaps
    best_oks: Float


def find(bundle: Bundle, options: AnalysisOptions) -> Found:
    """Match poses by OKS and boxes by IoU."""
    left, counted = _counting(bundle, options)
    owners = assign(bundle, min_iou=options.match_iou)
    none = np.full(len(bundle.people), -1, np.intp)
    boxes = bundle.two_stage
    return Found(
        left,
        counted,
        pair_poses(bundle, options.oks_threshold, counted),
        pair_poses(bundle, options.oks_threshold),
        owners.person,
        owners.candidate if boxes else none,
        overlaps(bundle, bundle.detected & boxes),
        _best_oks(bundle),
    )


def at(flags: Bool, index: Index) -> Bool:
    """(n,) the flags that an index (n,) points at; False where it is -1."""
    values = np.zeros(len(index), np.bool_)
    there = index >= 0
    values[there] = flags[index[there]]
    return values


def _counting(bundle: Bundle, options: AnalysisOptions) -> tuple[Bool, Bool]:
    """(D,) detections that OKS-NMS leaves, and (D,) those of them that COCO counts."""
    detections = np.flatnonzero(bundle.detected)  # poses below the threshold suppress nothing
    few = replace(bundle, candidates=_take(bundle.candidates, detections))
    poses = rank_candidates(few, options).kept()
    order = np.lexsort((-poses.score, poses.image))
    image = poses.image[order]
    rank = np.arange(len(order)) - np.searchsorted(image, image, side="left")
    left, counted = np.zeros((2, len(bundle.candidates)), np.bool_)
    rows = detections[poses.candidate]
    left[rows] = True
    counted[rows[order[rank < options.max_poses]]] = True
    return left, counted


def _take(found: Candidates, rows: Index) -> Candidates:
    return Candidates(
        found.image[rows], found.box[rows], found.score[rows], found.points[rows], found.crop[rows]
    )


def _best_oks(bundle: Bundle) -> Float:
    d, g = bundle.pairs()
    chosen = bundle.detected[d] & bundle.evaluated[g]
    d, g = d[chosen], g[chosen]
    best = np.zeros(len(bundle.candidates))
    np.maximum.at(best, d, np.nan_to_num(oks_of_pairs(bundle, d, g)))
    return best
