"""Arithmetic of boxes and keypoints, row by row: IoU, similarity, OKS, OKS-NMS, clipping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Index = NDArray[np.intp]

_EPS = float(np.spacing(1))


def box_area(boxes: Float) -> Float:
    """(P,) square pixels of boxes (P, 4) x1, y1, x2, y2."""
    area: Float = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    return area


def iou(
    a: Float, b: Float, crowd: Bool | None = None, areas: tuple[Float, Float] | None = None
) -> Float:
    """(P,) intersection over union of boxes (P, 4) x1, y1, x2, y2.

    Args:
        a: boxes.
        b: boxes.
        crowd: (P,) where True the intersection is taken over the area of ``a`` alone, as COCO
            does where ``b`` is a crowd.
        areas: (P,) of ``a`` and of ``b``, where they are known more exactly than from the corners.
    """
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = np.where((sides > 0).all(axis=1), sides.prod(axis=1), 0.0)
    own, other = areas or (box_area(a), box_area(b))
    union = own + other - common if crowd is None else np.where(crowd, own, own + other - common)
    result: Float = np.divide(common, union, out=np.zeros(len(a)), where=union > 0)
    return result


def keypoint_extent(keypoints: Float) -> Float:
    """(P,) area of the rectangle around the keypoints (P, K, 2 or more) that are there.

    The size that COCO's ``loadRes`` gives a pose; 0 without any keypoint.
    """
    known = np.isfinite(keypoints[..., :2]).all(axis=2, keepdims=True)
    low = np.where(known, keypoints[..., :2], np.inf).min(axis=1, initial=np.inf)
    high = np.where(known, keypoints[..., :2], -np.inf).max(axis=1, initial=-np.inf)
    there = (high >= low).all(axis=1)
    return np.where(there, np.where(there[:, None], high - low, 0.0).prod(axis=1), 0.0)


def keypoint_similarity(found: Float, truth: Float, area: Float, sigmas: Float) -> Float:
    """(P, K) how near each keypoint is: ``exp(-d^2 / (2 area (2 sigma)^2))``.

    The summand of pycocotools' ``computeOks``. NaN where the truth has no coordinates, 0 where the
    keypoint was not placed.

    Args:
        found: (P, K, 2 or more) x, y.
        truth: (P, K, 2 or more) x, y.
        area: (P,) square pixels of the truth.
        sigmas: (K,) OKS sigmas.
    """
    squares = ((found[..., :2] - truth[..., :2]) ** 2).sum(axis=2)
    similarity = np.exp(-squares / (2 * (area[:, None] + _EPS) * (2 * sigmas) ** 2))
    placed = np.isfinite(found[..., :2]).all(axis=2)
    known = np.isfinite(truth[..., :2]).all(axis=2)
    return np.where(known, np.where(placed, similarity, 0.0), np.nan)


def oks(
    found: Float, truth: Float, area: Float, sigmas: Float, boxes: Float | None = None
) -> Float:
    """(P,) object keypoint similarity over the labelled keypoints, as ``computeOks`` rounds it.

    Args:
        found: (P, K, 2 or more) x, y; a missing keypoint is NaN and like nothing.
        truth: (P, K, 3) x, y, v.
        area: (P,) square pixels of the truth.
        sigmas: (K,) OKS sigmas.
        boxes: (P, 4) x, y, width, height of the truth. Where it has no labelled keypoint,
            pycocotools compares every keypoint with this box, doubled in every direction; without
            boxes the result is NaN there.
    """
    points = np.where(np.isfinite(found[..., :2]), found[..., :2], np.inf)
    labelled = truth[..., 2] > 0
    counts = labelled.sum(axis=1)
    order = np.argsort(~labelled, axis=1, kind="stable")
    result = np.full(len(found), np.nan)
    for count in np.unique(counts):  # rows of equal length, so that sums round as pycocotools' do
        if not count and boxes is None:
            continue
        rows = np.flatnonzero(counts == count)
        chosen = order[rows][:, : count or None]
        near = points[rows[:, None], chosen]
        if count:
            away = near - truth[rows[:, None], chosen, :2]
        else:
            corner, size = boxes[rows][:, None, :2], boxes[rows][:, None, 2:]  # type: ignore[index]
            away = np.maximum(0, corner - size - near) + np.maximum(0, near - corner - size * 2)
        squares = away[..., 0] ** 2 + away[..., 1] ** 2
        e = squares / ((sigmas * 2) ** 2)[chosen] / (area[rows][:, None] + _EPS) / 2
        result[rows] = np.sum(np.exp(-e), axis=1) / e.shape[1]
    return result


def mutual_oks(a: Float, b: Float, areas: Float, sigmas: Float) -> Float:
    """(P,) OKS of two predicted poses (P, K, 2 or more): every keypoint counts."""
    labelled = np.concatenate([b[..., :2], np.ones((*b.shape[:2], 1))], axis=2)
    return oks(a, labelled, areas, sigmas)


def oks_nms(
    keypoints: Float, scores: Float, areas: Float, sigmas: Sequence[float] | Float, threshold: float
) -> Index:
    """Of poses that resemble each other keep the best (ppdet's ``oks_nms``).

    Args:
        keypoints: (N, K, 3) x, y, score of the poses of one image.
        scores: (N,) what ranks them.
        areas: (N,) pixels of their crops.
        sigmas: (K,) OKS sigmas.
        threshold: poses with a higher OKS to a better one go.

    Returns:
        Indices of the kept poses, best first.
    """
    n = len(keypoints)
    i, j = np.divmod(np.arange(n * n), n)
    mean = (areas[i] + areas[j]) / 2
    similarity = mutual_oks(keypoints[i], keypoints[j], mean, np.asarray(sigmas, np.float64))
    similarity = similarity.reshape(n, n)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if not kept or similarity[kept, index].max() <= threshold:
            kept.append(index)
    return np.array(kept, np.intp)


def clip_to(points: Float, rectangles: Float) -> Float:
    """(P, K, 2 or more): x, y moved to the nearest point of the rectangles (P, 4); NaN stays."""
    clipped = points.copy()
    low, high = rectangles[:, None, :2], rectangles[:, None, 2:]
    clipped[..., :2] = np.clip(points[..., :2], low, high)
    return clipped


def pull_to(
    found: Float, truth: Float, area: Float, sigmas: Float, similarity: float | Float
) -> Float:
    """Move keypoints that are further off straight towards the truth, up to a similarity.

    The distance is ``sqrt(-2 ln(similarity) area) 2 sigma``: with the 2 that coco-analyze leaves
    out there though its similarity has it.

    Args:
        found: (P, K, 3) x, y, score; a keypoint that was not placed takes the truth's position.
        truth: (P, K, 3) x, y, v; keypoints that are not labelled stay as found.
        area: (P,) square pixels of the truth.
        sigmas: (K,) OKS sigmas.
        similarity: in (0, 1]; at 1 keypoints go all the way. One for all, or (P, K).
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
