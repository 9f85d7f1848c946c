"""COCO's matching and averaging in numpy: equal to pycocotools, with weights, and quick.

Similarities equal pycocotools' to the last bit. Matching is done once, averaging as often as
weights or selections change (bootstraps, sliders).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kptk.errors import DataError, InputError
from kptk.geometry import iou, keypoint_extent, oks
from kptk.instances import corners
from kptk.skeleton import COCO17

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Index = NDArray[np.intp]
Records = Sequence[Mapping[str, Any]]

Kind = Literal["bbox", "keypoints"]

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
        rank: (D,) index among the detections of the same image and category, 0 is the best.
        score: (D,) scores.
        result: (D,) index in the list of results.
        truth: (A, T, D) index in the list of annotations of the ground truth matched; -1: none.
        ignored: (A, T, D) whether a detection counts neither for nor against.
        gt_image: (G,) index into ``image_ids``.
        gt_category: (G,) index into ``category_ids``.
        gt_ignored: (A, G) whether a ground truth need not be found.
        gt_annotation: (G,) index in the list of annotations.
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


@dataclass(frozen=True, eq=False)
class Shapes:
    """Boxes or poses to be matched: n of them, ordered by image and category, then rank.

    Attributes:
        index: (n,) index into what they were made from.
        image: (n,) index of the image.
        category: (n,) index of the category.
        rank: (n,) index within image and category, 0 is the best.
        score: (n,) score; 0 for ground truths.
        shapes: (n, 4) boxes x, y, width, height or (n, K, 3) keypoints x, y, v.
        area: (n,) square pixels.
        boxes: (n, 4) x, y, width, height of ground truths.
        crowd: (n,) ground truths that may be matched many times.
        ignored: (n,) ground truths that need not be found, whatever their size.
    """

    index: Index
    image: Index
    category: Index
    rank: Index
    score: Float
    shapes: Float
    area: Float
    boxes: Float
    crowd: Bool
    ignored: Bool


def match(
    annotations: Mapping[str, Any],
    results: Records,
    kind: Kind,
    sigmas: Sequence[float] | None = None,
) -> Matches:
    """Match results to ground truths as ``pycocotools.COCOeval.evaluate`` does.

    Args:
        annotations: a COCO document. ``area`` is needed; ``iscrowd`` is 0 and ``num_keypoints``
            counted where they are missing. As in pycocotools, ``ignore`` is not looked at.
        results: COCO result records. A keypoint that is NaN is missing: it matches nothing. Sizes
            of poses come from their keypoints, never from a ``bbox``.
        kind: ``"bbox"`` or ``"keypoints"``.
        sigmas: OKS sigma of each keypoint; None: COCO's 17.

    Raises:
        DataError: a record lacks something, or the keypoints are not as many as the sigmas.
    """
    if kind not in MAX_DETS:
        raise DataError(f"kind must be 'bbox' or 'keypoints'. Got {kind!r}.")
    image_ids = np.array(sorted({int(i["id"]) for i in annotations["images"]}), np.int64)
    category_ids = np.array(sorted({int(c["id"]) for c in annotations["categories"]}), np.int64)
    oks_sigmas = None
    if kind == "keypoints":
        oks_sigmas = np.asarray(COCO17.sigmas if sigmas is None else sigmas, np.float64)
    limit = MAX_DETS[kind][-1]
    truth = _read(annotations["annotations"], oks_sigmas, image_ids, category_ids, None)
    found = _read(results, oks_sigmas, image_ids, category_ids, limit)
    low, high = np.array(list(AREAS.values())).T[:, :, None]  # edges belong to both neighbours
    gt_ignored = truth.ignored | (truth.area < low) | (truth.area > high)
    matched = match_shapes(truth, found, gt_ignored, oks_sigmas)
    index = np.full(matched.shape, -1, np.intp)
    outside = (found.area < low) | (found.area > high)
    ignored = np.repeat(outside[:, None], len(THRESHOLDS), axis=1)
    size, _, _ = hit = np.nonzero(matched >= 0)
    index[hit] = truth.index[matched[hit]]
    ignored[hit] = gt_ignored[size, matched[hit]]
    order = np.lexsort((found.rank, found.image, -found.score, found.category))
    return Matches(
        kind=kind,
        image_ids=image_ids,
        category_ids=category_ids,
        image=found.image[order],
        category=found.category[order],
        rank=found.rank[order],
        score=found.score[order],
        result=found.index[order],
        truth=index[..., order],
        ignored=ignored[..., order],
        gt_image=truth.image,
        gt_category=truth.category,
        gt_ignored=gt_ignored,
        gt_annotation=truth.index,
    )


def _read(
    records: Records,
    sigmas: Float | None,
    image_ids: NDArray[np.int64],
    category_ids: NDArray[np.int64],
    limit: int | None,
) -> Shapes:
    """COCO records as arrays: annotations, or of results the best ``limit`` of each image.

    Those of unknown images and categories are left out.
    """
    images = {int(number): i for i, number in enumerate(image_ids)}
    categories = {int(number): i for i, number in enumerate(category_ids)}
    located = [
        (index, images.get(r["image_id"], -1), categories.get(r["category_id"], -1))
        for index, r in enumerate(records)
    ]
    rows = np.array(located, np.intp).reshape(-1, 3)
    index, image, category = rows[(rows[:, 1:] >= 0).all(axis=1)].T
    score = np.zeros(len(index))
    if limit is not None:
        score = np.array([records[i]["score"] for i in index], np.float64)
    order = np.lexsort((-score, category, image))
    key = (image * len(category_ids) + category)[order]
    rank = np.arange(len(key)) - np.searchsorted(key, key, side="left")
    if limit is not None:
        order, rank = order[rank < limit], rank[rank < limit]
    chosen = [records[i] for i in index[order]]
    nobody = np.zeros(len(order), np.bool_)
    if sigmas is None:
        shapes = _boxes(chosen)
        area, labelled = shapes[:, 2] * shapes[:, 3], ~nobody
    else:
        shapes = _keypoints(chosen, len(sigmas))
        area, count = keypoint_extent(shapes), (shapes[..., 2] > 0).sum(axis=1)
        stated = [r.get("num_keypoints") for r in chosen]
        pairs = zip(stated, count, strict=True)
        labelled = np.array([(n if given is None else given) != 0 for given, n in pairs], np.bool_)
    boxes, crowd, ignored = np.zeros((len(order), 4)), nobody, nobody
    if limit is None:
        boxes = _boxes(chosen)
        crowd = np.array([bool(r.get("iscrowd")) for r in chosen], np.bool_)
        ignored = crowd | ~labelled
        try:
            area = np.array([r["area"] for r in chosen], np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError("Every annotation must have an area, a number of pixels.") from error
    return Shapes(
        index=index[order],
        image=image[order],
        category=category[order],
        rank=rank,
        score=score[order],
        shapes=shapes,
        area=area,
        boxes=boxes,
        crowd=crowd,
        ignored=ignored,
    )


def _boxes(records: Records) -> Float:
    try:
        return np.array([record["bbox"] for record in records], np.float64).reshape(-1, 4)
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            "Every record must have a bbox of four numbers, x, y, width, height."
        ) from error


def _keypoints(records: Records, count: int) -> Float:
    """(n, K, 3) float64 x, y, v; a missing coordinate is NaN."""
    for record in records:
        numbers = len(record.get("keypoints") or ())
        if numbers != 3 * count:
            raise DataError(
                f"There are {count} OKS sigmas, so keypoints must be {3 * count} numbers (x, y, v "
                f"for each of {count} joints). Got {numbers} in the record of image "
                f"{record.get('image_id')!r}. Pass sigmas=, one for each joint."
            )
    flat = np.array([record["keypoints"] for record in records], np.float64)
    return flat.reshape(len(records), count, 3)


def match_shapes(truth: Shapes, found: Shapes, gt_ignored: Bool, sigmas: Float | None) -> Index:
    """The ground truth that each detection is matched to: greedily, the best detections first.

    Images are taken in groups, so that each step (a rank) is done for all images, sizes and
    thresholds of a group at once.

    Args:
        truth: G ground truths.
        found: D detections.
        gt_ignored: (A, G) whether a ground truth need not be found, for each of A sizes.
        sigmas: (K,) OKS sigmas of poses; None: the shapes are boxes.

    Returns:
        (A, T, D) index into the ground truths, -1 for none.
    """
    matched = np.full((len(gt_ignored), len(THRESHOLDS), len(found.index)), -1, np.intp)
    n_categories = int(max(truth.category.max(initial=0), found.category.max(initial=0))) + 1
    d_keys, d_starts, d_counts = np.unique(
        found.image * n_categories + found.category, return_index=True, return_counts=True
    )
    g_keys, g_starts, g_counts = np.unique(
        truth.image * n_categories + truth.category, return_index=True, return_counts=True
    )
    _, d_rows, g_rows = np.intersect1d(d_keys, g_keys, assume_unique=True, return_indices=True)
    order = np.lexsort((d_counts[d_rows], g_counts[g_rows]))  # like numbers together: less padding
    for start in range(0, len(order), _CHUNK):
        rows = order[start : start + _CHUNK]
        d_start, d_count = d_starts[d_rows[rows]], d_counts[d_rows[rows]]
        g_start, g_count = g_starts[g_rows[rows]], g_counts[g_rows[rows]]
        # every detection with every ground truth of its image: image of the group, and indices
        pairs = d_count * g_count
        owner = np.repeat(np.arange(len(rows)), pairs)
        within = np.arange(pairs.sum()) - np.repeat(np.cumsum(pairs) - pairs, pairs)
        d, g = np.divmod(within, g_count[owner])
        similarity = np.full((len(rows), int(d_count.max()), int(g_count.max())), -1.0)
        similarity[owner, d, g] = _similarity(
            found, d_start[owner] + d, truth, g_start[owner] + g, sigmas
        )
        candidates = np.minimum(
            g_start[:, None] + np.arange(similarity.shape[2]), len(truth.index) - 1
        )
        often = truth.crowd[candidates]
        ignored = gt_ignored[:, candidates].transpose(1, 0, 2)[:, :, None, :]
        free = np.ones((len(rows), *matched.shape[:2], similarity.shape[2]), np.bool_)
        for rank in range(similarity.shape[1]):
            near = np.flatnonzero((similarity[:, rank] >= THRESHOLDS[0]).any(axis=1))
            if not len(near):
                continue
            usable = free[near] | often[near, None, None, :]
            chosen = _choose(similarity[near, rank], usable, ignored[near])
            row, size, threshold = np.nonzero(chosen >= 0)
            best = chosen[row, size, threshold]
            free[near[row], size, threshold, best] = False
            matched[size, threshold, d_start[near[row]] + rank] = g_start[near[row]] + best
    return matched


def _similarity(found: Shapes, d: Index, truth: Shapes, g: Index, sigmas: Float | None) -> Float:
    if sigmas is not None:
        return oks(found.shapes[d], truth.shapes[g], truth.area[g], sigmas, truth.boxes[g])
    areas = found.area[d], truth.boxes[g, 2] * truth.boxes[g, 3]
    return iou(corners(found.shapes[d]), corners(truth.boxes[g]), truth.crowd[g], areas)


def _choose(similarity: Float, usable: Bool, ignored: Bool) -> Index:
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


BOX_NAMES = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip

KEYPOINT_NAMES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")

NAMES = {"bbox": BOX_NAMES, "keypoints": KEYPOINT_NAMES}

_SIZES = {"s": "small", "m": "medium", "l": "large"}


@dataclass(frozen=True, eq=False)
class Curves:
    """Precision and recall; NaN where there is no ground truth.

    Attributes:
        precision: (T, 101, C, A, M) precision at recall 0, .01, ... 1.
        recall: (T, C, A, M) the highest recall.
    """

    precision: Float
    recall: Float


def accumulate(
    matches: Matches,
    weights: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, float]:
    """The statistics of ``pycocotools.COCOeval.summarize``.

    Args:
        matches: of :func:`kptk.evaluation.match`.
        weights: (I,) how often each image of ``matches.image_ids`` counts. Whole numbers, such as
            the draws of a multinomial bootstrap, give what pycocotools gives on a data set that
            holds each image so often; other numbers from 0 up are taken as such weights too.
        names: which statistics; None: all. Few are quicker.

    Returns:
        The 12 box or 10 keypoint statistics by name, 0 to 1; NaN where undefined.

    Raises:
        InputError: the weights are not one number from 0 up for each image, or there is no such
            statistic.
    """
    known = NAMES[matches.kind]
    chosen = known if names is None else tuple(names)
    strange = [name for name in chosen if name not in known]
    if strange:
        raise InputError(f"names must be among {', '.join(known)}. Got {strange[0]!r}.")
    limits = MAX_DETS[matches.kind]
    wanted = {}  # the size that a statistic is about, and which of the limits on detections
    for name in chosen:
        number = name.removeprefix("AR")
        of_boxes = matches.kind == "bbox" and number.isdigit()  # 1, 10, 100: only recall is asked
        limit = limits.index(int(number)) if of_boxes else len(limits) - 1
        wanted[name] = _SIZES.get(name[2:], "all"), limit
    curves = average(matches, weights, sorted(set(wanted.values())))
    stats = {}
    for name, (size, limit) in wanted.items():
        values = curves.precision if name.startswith("AP") else curves.recall
        of_size = values[..., list(AREAS).index(size), limit]
        threshold = {"50": 0, "75": 5}.get(name[2:])
        stats[name] = nan_mean(of_size if threshold is None else of_size[threshold])
    return stats


def nan_mean(values: Float) -> float:
    """The mean of what is not NaN; NaN if nothing is left, without a warning."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def average(
    matches: Matches,
    weights: ArrayLike | None = None,
    wanted: list[tuple[str, int]] | None = None,
) -> Curves:
    """Precision and recall, as ``pycocotools.COCOeval.accumulate`` finds them.

    Args:
        matches: of :func:`kptk.evaluation.match`.
        weights: see :func:`accumulate`.
        wanted: pairs of a size and an index into the limits on detections; None: all.

    Returns:
        The curves; NaN too where they are not wanted.
    """
    limits = MAX_DETS[matches.kind]
    n_images = len(matches.image_ids)
    weight = np.ones(n_images) if weights is None else np.asarray(weights, np.float64)
    if weight.shape != (n_images,) or not (np.isfinite(weight) & (weight >= 0)).all():
        raise InputError(
            f"weights must be one number from 0 up for each of {n_images} images, shape "
            f"({n_images},). Got an array of shape {weight.shape}."
        )
    shape = (len(matches.category_ids), len(AREAS), len(limits))
    precision = np.full((len(THRESHOLDS), len(RECALLS), *shape), np.nan)
    recall = np.full((len(THRESHOLDS), *shape), np.nan)
    entries, counts = _entries(matches, weight)
    gt_counts = weight[matches.gt_image]
    if wanted is None:
        wanted = [(size, m) for size in AREAS for m in range(len(limits))]
    category = matches.category[entries]
    for c in range(len(matches.category_ids)):
        rows = slice(*np.searchsorted(category, [c, c + 1]))
        of_category = matches.gt_category == c
        for size, m in wanted:
            a = list(AREAS).index(size)
            n_truths = float(gt_counts[of_category & ~matches.gt_ignored[a]].sum())
            if not n_truths:
                continue
            few = matches.rank[entries[rows]] < limits[m]
            precision[:, :, c, a, m], recall[:, c, a, m] = _curve(
                matches, a, entries[rows][few], counts[rows][few], n_truths
            )
    return Curves(precision, recall)


def _entries(matches: Matches, weights: Float) -> tuple[Index, Float]:
    """Indices of the detections that count, best first, and how often each does.

    Equal scores on one image are a case of their own: copies of an image follow each other, so the
    detections (a, b) drawn twice come as a, b, a, b and not as a, a, b, b.
    """
    counts = weights[matches.image]
    everything = np.flatnonzero(counts > 0)
    tied = np.zeros(len(counts), np.bool_)
    tied[1:] = (
        (matches.score[1:] == matches.score[:-1])
        & (matches.image[1:] == matches.image[:-1])
        & (matches.category[1:] == matches.category[:-1])
    )
    if not tied.any() or (counts[everything] == 1).all() or (counts % 1).any():
        return everything, counts[everything]
    times = counts.astype(np.intp)
    entries = np.repeat(np.arange(len(counts)), times)
    copy = np.arange(len(entries)) - np.repeat(np.cumsum(times) - times, times)
    run = np.cumsum(~tied)[entries]
    entries = entries[np.lexsort((entries, copy, run))]
    return entries, np.ones(len(entries))


def _curve(
    matches: Matches, a: int, entries: Index, counts: Float, n_truths: float
) -> tuple[Float, Float]:
    """Precision (T, 101) at COCO's recalls, and the highest recall (T,), of one size."""
    precision = np.zeros((len(THRESHOLDS), len(RECALLS)))
    if not len(entries):
        return precision, np.zeros(len(THRESHOLDS))
    hit = matches.truth[a][:, entries] >= 0
    counted = np.where(matches.ignored[a][:, entries], 0.0, counts)
    tp = np.cumsum(np.where(hit, counted, 0.0), axis=1)
    fp = np.cumsum(np.where(hit, 0.0, counted), axis=1)
    recall = tp / n_truths
    envelope = np.maximum.accumulate((tp / (fp + tp + np.spacing(1)))[:, ::-1], axis=1)[:, ::-1]
    for t, (heights, along) in enumerate(zip(envelope, recall, strict=True)):
        index = np.searchsorted(along, RECALLS, side="left")
        reached = index < len(heights)
        precision[t, reached] = heights[index[reached]]
    return precision, recall[:, -1]
