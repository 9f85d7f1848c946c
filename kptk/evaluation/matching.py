"""Who belongs to whom: COCO's matching for all images at once, by numpy alone.

The first half of a COCO evaluation that equals pycocotools' to the last bit of every similarity;
the other half, averaging, is `kptk.evaluation.averaging`. Matching is done once, averaging as often
as weights or selections change (bootstraps, sliders).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kptk.errors import DataError
from kptk.evaluation.records import Boxes, Points, Side, ground_truth_side, result_side

Kind = Literal["bbox", "keypoints"]
Float = NDArray[np.float64]
Index = NDArray[np.intp]

# pycocotools.cocoeval.Params
THRESHOLDS: Float = np.linspace(0.5, 0.95, 10)
RECALLS: Float = np.linspace(0.0, 1.0, 101)
MAX_DETS: Mapping[str, tuple[int, ...]] = {"bbox": (1, 10, 100), "keypoints": (20,)}
AREAS: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 1024.0),
    "medium": (1024.0, 9216.0),
    "large": (9216.0, 1e10),
}
_LOWEST = float(THRESHOLDS[0])
_CHUNK = 256  # groups that are matched together: bounds the memory


@dataclass(frozen=True, eq=False)
class Matches:
    """What belongs to what, for every threshold and size.

    D detections (at most 20 poses or 100 boxes an image and category, the best), G ground truths,
    T = 10 thresholds .5, .55, ... .95, A = 4 sizes all, small, medium, large.

    Attributes:
        kind: ``"bbox"`` or ``"keypoints"``.
        image_ids: (I,) ids of all images, ascending; weights go by this order.
        category_ids: (C,) ids, ascending.
        image: (D,) index into ``image_ids``. Detections are ordered by category, then score.
        category: (D,) index into ``category_ids``.
        rank: (D,) place among the detections of the same image and category, 0 is the best.
        score: (D,) scores.
        result: (D,) place in the list of results.
        truth: (A, T, D) place in the list of annotations of the ground truth matched; -1: none.
        ignored: (A, T, D) whether a detection counts neither for nor against.
        gt_image: (G,) index into ``image_ids``.
        gt_category: (G,) index into ``category_ids``.
        gt_ignored: (A, G) whether a ground truth need not be found.
        gt_annotation: (G,) place in the list of annotations.
    """

    kind: Kind
    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    image: Index
    category: Index
    rank: Index
    score: Float
    result: Index
    truth: Index
    ignored: NDArray[np.bool_]
    gt_image: Index
    gt_category: Index
    gt_ignored: NDArray[np.bool_]
    gt_annotation: Index


def match(
    annotations: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: Kind,
    sigmas: Sequence[float] | None = None,
) -> Matches:
    """Match results to ground truths as ``pycocotools.COCOeval.evaluate`` does.

    Args:
        annotations: a COCO document. ``area`` is needed; ``iscrowd`` is 0 and ``num_keypoints``
            counted where they are missing. As in pycocotools, ``ignore`` is not looked at.
        results: COCO result records. A joint that is NaN is missing: it matches nothing. Sizes
            of poses come from their joints, never from a ``bbox``.
        kind: ``"bbox"`` or ``"keypoints"``.
        sigmas: OKS sigma of each joint; None: COCO's 17.

    Raises:
        DataError: a record lacks something, or the joints are not as many as the sigmas.
    """
    _check_kind(kind)
    image_ids = np.array(sorted({int(i["id"]) for i in annotations["images"]}), np.int64)
    category_ids = np.array(sorted({int(c["id"]) for c in annotations["categories"]}), np.int64)
    shape = _shape(kind, sigmas)
    truth = ground_truth_side(annotations["annotations"], shape, image_ids, category_ids)
    found = result_side(results, shape, image_ids, category_ids, MAX_DETS[kind][-1])
    gt_ignored = truth.ignored | _outside(truth.area)
    matched = match_sides(truth, found, gt_ignored, shape)
    place = np.full(matched.shape, -1, np.intp)
    ignored = np.repeat(_outside(found.area)[:, None], len(THRESHOLDS), axis=1)
    size, _, _ = hit = np.nonzero(matched >= 0)
    place[hit] = truth.place[matched[hit]]
    ignored[hit] = gt_ignored[size, matched[hit]]
    order = np.lexsort((found.rank, found.image, -found.score, found.category))
    return Matches(
        kind, image_ids, category_ids,
        found.image[order], found.category[order], found.rank[order], found.score[order],
        found.place[order],
        place[..., order], ignored[..., order],
        truth.image, truth.category, gt_ignored, truth.place,
    )  # fmt: skip


def _check_kind(kind: str) -> None:
    if kind not in MAX_DETS:
        raise DataError(f"kind must be 'bbox' or 'keypoints'. Got {kind!r}.")


def _shape(kind: Kind, sigmas: Sequence[float] | None) -> Boxes | Points:
    from kptk.skeleton import COCO17

    if kind == "bbox":
        return Boxes()
    return Points(np.asarray(COCO17.sigmas if sigmas is None else sigmas, np.float64))


def _outside(area: Float) -> NDArray[np.bool_]:
    """(A, n): which areas lie outside each size; the edges belong to both neighbours."""
    low, high = np.array(list(AREAS.values())).T[:, :, None]
    outside: NDArray[np.bool_] = (area < low) | (area > high)
    return outside


def match_sides(
    truth: Side, found: Side, gt_ignored: NDArray[np.bool_], shape: Boxes | Points
) -> Index:
    """The ground truth matched by each detection.

    Args:
        truth: G ground truths.
        found: D detections.
        gt_ignored: (A, G) whether a ground truth need not be found, for each of A sizes.
        shape: what they are.

    Returns:
        (A, T, D) index into the ground truths, -1 for none.
    """
    matched = np.full((len(gt_ignored), len(THRESHOLDS), len(found.place)), -1, np.intp)
    for group in _groups(truth, found):
        d, g = group.pairs()
        values = shape.similarity(found.shapes[d], truth.shapes[g], truth.area[g], truth.boxes[g],
                                  truth.crowd[g])  # fmt: skip
        _match_group(group, values, truth.crowd, gt_ignored, matched)
    return matched


@dataclass(frozen=True, eq=False)
class _Group:
    """Some images (with category) that have both detections and ground truths; n of them."""

    d_start: Index
    d_count: Index
    g_start: Index
    g_count: Index

    def pairs(self) -> tuple[Index, Index]:
        """Every detection with every ground truth of its image: indices (P,), (P,)."""
        owner, d, g = self.local_pairs()
        return self.d_start[owner] + d, self.g_start[owner] + g

    def local_pairs(self) -> tuple[Index, Index, Index]:
        """The same, counted within the image: (image of the group, detection, ground truth)."""
        counts = self.d_count * self.g_count
        owner = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        d, g = np.divmod(place, self.g_count[owner])
        return owner, d, g


def _groups(truth: Side, found: Side) -> Iterator[_Group]:
    """Images with detections and ground truths, in groups of like numbers of ground truths."""
    keys, d_start, d_count = np.unique(found.key, return_index=True, return_counts=True)
    gt_keys, g_start, g_count = np.unique(truth.key, return_index=True, return_counts=True)
    _, d, g = np.intersect1d(keys, gt_keys, assume_unique=True, return_indices=True)
    order = np.lexsort((d_count[d], g_count[g]))
    d, g = d[order], g[order]
    for start in range(0, len(d), _CHUNK):
        part = slice(start, start + _CHUNK)
        yield _Group(d_start[d[part]], d_count[d[part]], g_start[g[part]], g_count[g[part]])


def _match_group(
    group: _Group,
    values: Float,
    crowd: NDArray[np.bool_],
    gt_ignored: NDArray[np.bool_],
    matched: Index,
) -> None:
    """Greedy matching by rank, all images, sizes and thresholds of the group at once."""
    owner, d, g = group.local_pairs()
    n, width = len(group.d_start), int(group.g_count.max())
    similarity = np.full((n, int(group.d_count.max()), width), -1.0)
    similarity[owner, d, g] = values
    places = np.minimum(group.g_start[:, None] + np.arange(width), len(crowd) - 1)
    often = crowd[places]
    ignored = gt_ignored[:, places].transpose(1, 0, 2)[:, :, None, :]
    free = np.ones((n, len(gt_ignored), len(THRESHOLDS), width), np.bool_)
    for rank in range(similarity.shape[1]):
        rows = np.flatnonzero((similarity[:, rank] >= _LOWEST).any(axis=1))
        if not len(rows):
            continue
        usable = free[rows] | often[rows, None, None, :]
        chosen = _choose(similarity[rows, rank], usable, ignored[rows])
        row, size, threshold = np.nonzero(chosen >= 0)
        best = chosen[row, size, threshold]
        free[rows[row], size, threshold, best] = False
        matched[size, threshold, group.d_start[rows[row]] + rank] = group.g_start[rows[row]] + best


def _choose(similarity: Float, usable: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> Index:
    """(n, A, T): the ground truth each detection takes, -1 for none.

    The most similar one at or above the threshold; ignored ones only if there is no other; of
    equals the last, as in pycocotools' loop.
    """
    enough = similarity[:, None, None, :] >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    candidates = usable & enough
    wanted = candidates & ~ignored
    candidates = np.where(wanted.any(axis=-1, keepdims=True), wanted, candidates)
    keys = np.where(candidates, similarity[:, None, None, :], -1.0)
    last = keys.shape[-1] - 1 - keys[..., ::-1].argmax(axis=-1)
    return np.where(candidates.any(axis=-1), last, -1)
