"""Boxes that are near a person but not on him: merged, part, loose, shifted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.bundle import Bool, Bundle, Float, Index
from kptk.analysis.geometry import box_area, iou
from kptk.analysis.options import AnalysisOptions

MERGED, PART, LOOSE, SHIFTED = "merged", "part", "loose", "shifted"
DETAILS = (MERGED, PART, LOOSE, SHIFTED)

COVER = 0.5
"""Share of each of two people's boxes that a merged box must cover."""
INSIDE = 0.75
"""Share of a box inside the other one, from which it is a part of it."""


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Every kept box with every single person of its image, P pairs ordered by box.

    Attributes:
        candidate: (P,) index into the candidates.
        person: (P,) index into the people.
        iou: (P,) intersection over union.
    """

    candidate: Index
    person: Index
    iou: Float

    def best_of_candidates(self, n: int) -> tuple[Float, Index]:
        """(n,) the largest IoU of each candidate, 0 without any; (n,) with whom, -1."""
        return _best(self.candidate, self.person, self.iou, n)

    def best_of_people(self, n: int) -> tuple[Float, Index]:
        """(n,) the largest IoU with each person, 0 without any; (n,) whose box it is, -1."""
        return _best(self.person, self.candidate, self.iou, n)


def _best(of: Index, what: Index, value: Float, n: int) -> tuple[Float, Index]:
    """The largest value of each and what has it; of equals the first in the list."""
    most, which = np.zeros(n), np.full(n, -1, np.intp)
    order = np.argsort(-value, kind="stable")
    order = order[value[order] > 0]
    owners, first = np.unique(of[order], return_index=True)
    most[owners], which[owners] = value[order][first], what[order][first]
    return most, which


def overlaps(bundle: Bundle, kept: Bool) -> Overlaps:
    """How kept boxes (D,) overlap people who are not crowds."""
    d, g = bundle.pairs()
    chosen = kept[d] & ~bundle.people.crowd[g]
    d, g = d[chosen], g[chosen]
    return Overlaps(d, g, iou(bundle.candidates.box[d], bundle.people.box[g]))


def badly_localised(
    bundle: Bundle, near: Overlaps, wanted: Bool, options: AnalysisOptions
) -> tuple[Index, NDArray[np.object_]]:
    """Find the box that was meant for each person but is not on him.

    With IoU(d, g) in [``near_iou``, ``match_iou``), box d was meant for person g if it overlaps
    nobody more than g, or if it is *merged* of him and somebody else. A box that is on a neighbour
    and merely touches g says nothing about g. With ``|x|`` the area, of the first that holds:

    - merged: d covers at least half of g and half of another person h, and
      IoU(d, rectangle round g and h) > max(IoU(d, g), IoU(d, h));
    - part: ``|d & g| / |d|`` >= .75: a box inside the person;
    - loose: ``|d & g| / |g|`` >= .75: a box that holds the person and much else;
    - shifted: all others.

    Args:
        bundle: candidates and people.
        near: of the detections.
        wanted: (G,) the people to look at.
        options: ``near_iou`` and ``match_iou``.

    Returns:
        (G,) the candidate, -1: there is none; of several the one with the largest IoU. (G,) the
        detail, empty without a candidate.
    """
    _, favourite = near.best_of_candidates(len(bundle.candidates))
    rows = np.flatnonzero(
        wanted[near.person] & (near.iou >= options.near_iou) & (near.iou < options.match_iou)
    )
    d, g = near.candidate[rows], near.person[rows]
    merged = _merged(bundle, d, g, near.iou[rows])
    meant = merged | (favourite[d] == g)
    d, g, merged, share = d[meant], g[meant], merged[meant], near.iou[rows][meant]
    _, chosen = _best(g, np.arange(len(g)), share, len(bundle.people))
    candidate = np.full(len(chosen), -1, np.intp)
    detail = np.full(len(chosen), "", object)
    there = chosen >= 0
    candidate[there] = d[chosen[there]]
    detail[there] = _details(bundle, d, g, merged)[chosen[there]]
    return candidate, detail


def _details(bundle: Bundle, d: Index, g: Index, merged: Bool) -> NDArray[np.object_]:
    box, his = bundle.candidates.box[d], bundle.people.box[g]
    cases = [merged, _share_inside(box, his) >= INSIDE, _share_inside(his, box) >= INSIDE]
    return np.select(cases, [np.array(name, object) for name in DETAILS[:3]], SHIFTED)


def _merged(bundle: Bundle, d: Index, g: Index, share: Float) -> Bool:
    """(P,) whether box d fits the rectangle round g and another person better than either."""
    people, boxes = bundle.people, bundle.candidates.box
    row, other = bundle.companions(g)
    box, his, third = boxes[d[row]], people.box[g[row]], people.box[other]
    both = np.concatenate([np.minimum(his, third)[:, :2], np.maximum(his, third)[:, 2:]], axis=1)
    better = iou(box, both) > np.maximum(share[row], iou(box, third))
    covered = (_share_inside(his, box) >= COVER) & (_share_inside(third, box) >= COVER)
    merged = np.zeros(len(d), np.bool_)
    merged[row[better & covered & ~people.crowd[other]]] = True
    return merged


def _share_inside(inner: Float, outer: Float) -> Float:
    """(P,) share of the area of ``inner`` that lies in ``outer``; 0 where it has none."""
    low = np.maximum(inner[:, :2], outer[:, :2])
    high = np.minimum(inner[:, 2:], outer[:, 2:])
    common = box_area(np.concatenate([low, high], axis=1))
    own = box_area(inner)
    share: Float = np.divide(common, own, out=np.zeros(len(own)), where=own > 0)
    return share
