"""Arithmetic of boxes and joints, on matching rows: IoU, keypoint similarity, OKS, clipping."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


Bool = NDArray[np.bool_]


_EPS = float(np.spacing(1))


def iou(a: Float, b: Float, crowd: Bool | None = None) -> Float:
    """(P,) intersection over union of boxes (P, 4) x1, y1, x2, y2.

    Args:
        a: boxes.
        b: boxes.
        crowd: (P,) where True the intersection is taken over the area of ``a`` alone, as COCO
            does where ``b`` is a crowd.
    """
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = np.where((sides > 0).all(axis=1), sides.prod(axis=1), 0.0)
    own, other = box_area(a), box_area(b)
    union = own + other - common if crowd is None else np.where(crowd, own, own + other - common)
    result: Float = np.divide(common, union, out=np.zeros(len(a)), where=union > 0)
    return result


def box_area(boxes: Float) -> Float:
    """(P,) square pixels of boxes (P, 4) x1, y1, x2, y2."""
    area: Float = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    return area


def keypoint_similarity(found: Float, truth: Float, area: Float, sigmas: Float) -> Float:
    """(P, K) how near each joint is: ``exp(-d^2 / (2 area (2 sigma)^2))``.

    The summand of pycocotools' ``computeOks``. A joint without coordinates on either side is NaN
    in the truth's case (nothing to compare with) and 0 in the other (it was not placed).

    Args:
        found: (P, K, 2 or more) x, y.
        truth: (P, K, 2 or more) x, y.
        area: (P,) square pixels of the truth.
        sigmas: (K,) OKS sigmas.
    """
    away = found[..., :2] - truth[..., :2]
    squares = (away**2).sum(axis=2)
    scale = 2 * (area[:, None] + _EPS) * (2 * sigmas) ** 2
    similarity = np.exp(-squares / scale)
    placed = np.isfinite(found[..., :2]).all(axis=2)
    known = np.isfinite(truth[..., :2]).all(axis=2)
    return np.where(known, np.where(placed, similarity, 0.0), np.nan)


def oks(found: Float, truth: Float, area: Float, sigmas: Float) -> Float:
    """(P,) object keypoint similarity over the labelled joints; NaN where none is labelled.

    Args:
        found: (P, K, 2 or more) x, y.
        truth: (P, K, 3) x, y, v.
        area: (P,) square pixels of the truth.
        sigmas: (K,) OKS sigmas.
    """
    labelled = truth[..., 2] > 0
    values = np.where(labelled, keypoint_similarity(found, truth, area, sigmas), 0.0)
    count = labelled.sum(axis=1)
    total = np.nansum(values, axis=1)
    result: Float = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return result


def clip_to(points: Float, rectangles: Float) -> Float:
    """(P, K, 2 or more): x, y moved to the nearest point of the rectangles (P, 4); NaN stays."""
    clipped = points.copy()
    low, high = rectangles[:, None, :2], rectangles[:, None, 2:]
    clipped[..., :2] = np.clip(points[..., :2], low, high)
    return clipped


def pull_to(
    found: Float, truth: Float, area: Float, sigmas: Float, similarity: float | Float
) -> Float:
    """Move joints that are further off straight towards the truth, up to a similarity.

    The distance is ``sqrt(-2 ln(similarity) area) 2 sigma``: with the 2 that coco-analyze leaves
    out there though its similarity has it.

    Args:
        found: (P, K, 3) x, y, score; a joint that was not placed takes the truth's place.
        truth: (P, K, 3) x, y, v; joints that are not labelled stay as found.
        area: (P,) square pixels of the truth.
        sigmas: (K,) OKS sigmas.
        similarity: in (0, 1]; at 1 joints go all the way. One for all, or (P, K).
    """
    moved = found.copy()
    away = found[..., :2] - truth[..., :2]
    distance = np.hypot(away[..., 0], away[..., 1])
    reach = np.sqrt(-2 * np.log(similarity) * area[:, None]) * 2 * sigmas
    far = (truth[..., 2] > 0) & ~(distance <= reach)
    share = np.divide(reach, distance, out=np.zeros_like(distance), where=distance > 0)
    offset = np.where(np.isfinite(away), away * share[..., None], 0.0)
    moved[..., :2] = np.where(far[..., None], truth[..., :2] + offset, found[..., :2])
    return moved
