"""Which person a box belongs to, by IoU alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kptk.analysis.bundle import Bool, Bundle, Float, Index
from kptk.analysis.geometry import iou

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
