"""What makes people hard to find: how small, cut off, hidden and crowded they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kptk.analysis.bundle import Bool, Bundle, Float, Index
from kptk.analysis.geometry import iou
from kptk.analysis.options import AnalysisOptions

OVERLAP = 0.1
"""IoU above which a neighbour overlaps."""
EDGE = 2.0
"""Pixels from the image's edge within which a side of a box lies on it."""


def crowding(bundle: Bundle) -> tuple[Float, Index]:
    """How crowded people are.

    Returns:
        (G,) the largest IoU of the person's box with that of another single person, 0 where he is
        alone; (G,) the number of those whose IoU is above :data:`OVERLAP`. Crowd regions are not
        neighbours.
    """
    people = bundle.people
    row, other = bundle.companions(np.arange(len(people)))
    single = ~people.crowd[other]
    row, other = row[single], other[single]
    overlap = iou(people.box[row], people.box[other])
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
    x1, y1, x2, y2 = people.box.T
    width, height = x2 - x1, y2 - y1
    on_edge = height * ((x1 <= EDGE) + 1.0 * (x2 >= limits[:, 0] - EDGE))
    on_edge += width * ((y1 <= EDGE) + 1.0 * (y2 >= limits[:, 1] - EDGE))
    around = 2 * (width + height)
    known = np.isfinite(limits).all(axis=1) & (around > 0)
    share: Float = np.divide(on_edge, around, out=np.full(len(people), np.nan), where=known)
    return share


def hidden(bundle: Bundle) -> Float:
    """(G,) share of the labelled joints that are not visible (v = 1); 0 where none is labelled."""
    flags = bundle.people.points[..., 2]
    share: Float = (flags == 1).sum(axis=1) / np.maximum((flags > 0).sum(axis=1), 1)
    return share


def tags(bundle: Bundle, options: AnalysisOptions) -> Mapping[str, Bool]:
    """(G,) flags by name; a person can have several.

    ``tiny``: an annotated area below ``tiny_area``. ``truncated``: :func:`truncation` from
    ``truncated_share`` up. ``occluded``: :func:`hidden` from ``occluded_share`` up. ``crowded``:
    the largest IoU of :func:`crowding` from ``crowded_iou`` up.
    """
    return {
        "tiny": bundle.people.area < options.tiny_area,
        "truncated": np.nan_to_num(truncation(bundle)) >= max(options.truncated_share, 1e-9),
        "occluded": hidden(bundle) >= max(options.occluded_share, 1e-9),
        "crowded": crowding(bundle)[0] >= max(options.crowded_iou, 1e-9),
    }
