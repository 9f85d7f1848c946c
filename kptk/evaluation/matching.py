"""COCO records as arrays, and how alike two of them are: IoU of boxes, OKS of poses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kptk.errors import DataError, InputError

Float = NDArray[np.float64]


Index = NDArray[np.intp]


Records = Sequence[Mapping[str, Any]]


_EPS = float(np.spacing(1))


@dataclass(frozen=True, eq=False)
class Side:
    """One side of the matching, n records ordered by category, image and (results) rank.

    Attributes:
        place: (n,) place in the list of records.
        image: (n,) index of the image.
        category: (n,) index of the category.
        rank: (n,) place within image and category.
        score: (n,) score; 0 for ground truths.
        shapes: (n, 4) boxes x, y, width, height or (n, K, 3) points x, y, v.
        boxes: (n, 4) boxes, for ground truths.
        area: (n,) square pixels.
        crowd: (n,) may be matched many times.
        ignored: (n,) need not be found, whatever its size.
        key: (n,) one number for image and category, ascending.
    """

    place: Index
    image: Index
    category: Index
    rank: Index
    score: Float
    shapes: Float
    boxes: Float
    area: Float
    crowd: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    key: Index


@dataclass(frozen=True)
class Boxes:
    """Boxes x, y, width, height."""

    def read(self, records: Records) -> Float:
        """(n, 4) float64."""
        return _boxes(records)

    def areas(self, shapes: Float) -> Float:
        """(n,) width times height."""
        area: Float = shapes[:, 2] * shapes[:, 3]
        return area

    def labelled(self, records: Records, shapes: Float) -> NDArray[np.bool_]:
        """(n,): every box can be looked for."""
        return np.ones(len(shapes), np.bool_)

    def similarity(
        self, found: Float, truth: Float, area: Float, boxes: Float, crowd: NDArray[np.bool_]
    ) -> Float:
        """(P,) intersection over union; over the detection's own area where the truth is a crowd.

        Args:
            found: (P, 4) boxes.
            truth: (P, 4) boxes.
            area: not used; boxes have their own.
            boxes: not used.
            crowd: (P,) whether the truth is a crowd.
        """
        ends = np.minimum(found[:, :2] + found[:, 2:], truth[:, :2] + truth[:, 2:])
        width, height = (ends - np.maximum(found[:, :2], truth[:, :2])).T
        common = width * height
        own = self.areas(found)
        union = np.where(crowd, own, own + self.areas(truth) - common)
        meet = (width > 0) & (height > 0)
        result: Float = np.divide(common, union, out=np.zeros(len(own)), where=meet)
        return result


@dataclass(frozen=True, eq=False)
class Points:
    """Poses of K joints.

    Attributes:
        sigmas: (K,) OKS constants.
    """

    sigmas: Float

    def read(self, records: Records) -> Float:
        """(n, K, 3) float64 x, y, v; a missing coordinate is NaN."""
        k = len(self.sigmas)
        for record in records:
            if len(record.get("keypoints") or ()) != 3 * k:
                raise DataError(
                    f"There are {k} OKS sigmas, so keypoints must be {3 * k} numbers (x, y, v for "
                    f"each of {k} joints). Got {len(record.get('keypoints') or ())} in the record "
                    f"of image {record.get('image_id')!r}. Pass sigmas=, one for each joint."
                )
        flat = np.array([record["keypoints"] for record in records], np.float64)
        return flat.reshape(len(records), k, 3)

    def areas(self, shapes: Float) -> Float:
        """(n,) area of the rectangle around the joints that are there (COCO's ``loadRes``)."""
        known = np.isfinite(shapes[..., :2]).all(axis=2, keepdims=True)
        low = np.where(known, shapes[..., :2], np.inf).min(axis=1)
        high = np.where(known, shapes[..., :2], -np.inf).max(axis=1)
        area: Float = np.where((high >= low).all(axis=1), np.prod(high - low, axis=1), 0.0)
        return area

    def labelled(self, records: Records, shapes: Float) -> NDArray[np.bool_]:
        """(n,): whether ``num_keypoints`` is above 0; counted where it is missing."""
        counts = (shapes[..., 2] > 0).sum(axis=1)
        stated = [record.get("num_keypoints") for record in records]
        pairs = zip(stated, counts, strict=True)
        return np.array([(n if given is None else given) != 0 for given, n in pairs], np.bool_)

    def similarity(
        self, found: Float, truth: Float, area: Float, boxes: Float, crowd: NDArray[np.bool_]
    ) -> Float:
        """(P,) object keypoint similarity, in the order of operations of ``computeOks``.

        Where the truth has no labelled joint, every joint is compared with the truth's box,
        doubled in every direction.

        Args:
            found: (P, K, 3) poses.
            truth: (P, K, 3) poses.
            area: (P,) of the truths.
            boxes: (P, 4) of the truths.
            crowd: not used; OKS knows no crowds.
        """
        points = np.where(np.isfinite(found[..., :2]), found[..., :2], np.inf)
        labelled = truth[..., 2] > 0
        counts = labelled.sum(axis=1)
        order = np.argsort(~labelled, axis=1, kind="stable")
        result = np.empty(len(found))
        for count in np.unique(counts):  # rows of equal length, so that sums round alike
            rows = np.flatnonzero(counts == count)
            joints = order[rows][:, : count or None]
            near = points[rows[:, None], joints]
            if count:
                away = near - truth[rows[:, None], joints, :2]
            else:
                away = _outside_of(near, boxes[rows])
            result[rows] = self._oks(away, joints, area[rows])
        return result

    def _oks(self, away: Float, joints: Index, area: Float) -> Float:
        variances = ((self.sigmas * 2) ** 2)[joints]
        squares = away[..., 0] ** 2 + away[..., 1] ** 2
        e = squares / variances / (area[:, None] + _EPS) / 2
        oks: Float = np.sum(np.exp(-e), axis=1) / e.shape[1]
        return oks


def _outside_of(points: Float, boxes: Float) -> Float:
    """How far points lie outside boxes that are doubled in every direction."""
    low = (boxes[:, :2] - boxes[:, 2:])[:, None]
    high = (boxes[:, :2] + boxes[:, 2:] * 2)[:, None]
    return np.maximum(0, low - points) + np.maximum(0, points - high)


def _boxes(records: Records) -> Float:
    try:
        return np.array([record["bbox"] for record in records], np.float64).reshape(-1, 4)
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            "Every record must have a bbox of four numbers, x, y, width, height."
        ) from error


def ground_truth_side(
    records: Records,
    shape: Boxes | Points,
    image_ids: NDArray[np.int64],
    category_ids: NDArray[np.int64],
) -> Side:
    """Annotations as arrays."""
    places, image, category = _located(records, image_ids, category_ids)
    chosen = [records[i] for i in places]
    shapes = shape.read(chosen)
    crowd = np.array([bool(record.get("iscrowd")) for record in chosen], np.bool_)
    try:
        area = np.array([record["area"] for record in chosen], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError("Every annotation must have an area, a number of pixels.") from error
    return _side(
        places, image, category, np.zeros(len(places)), shapes, _boxes(chosen), area, crowd,
        crowd | ~shape.labelled(chosen, shapes), len(category_ids),
    )  # fmt: skip


def result_side(
    records: Records,
    shape: Boxes | Points,
    image_ids: NDArray[np.int64],
    category_ids: NDArray[np.int64],
    limit: int,
) -> Side:
    """Results as arrays: the best ``limit`` of each image and category."""
    places, image, category = _located(records, image_ids, category_ids)
    score = np.array([records[i]["score"] for i in places], np.float64)
    order = np.lexsort((-score, image, category))
    key = (image * len(category_ids) + category)[order]
    order = order[_ranks(key) < limit]
    chosen = [records[places[i]] for i in order]
    shapes = shape.read(chosen)
    no = np.zeros(len(order), np.bool_)
    return _side(
        places[order], image[order], category[order], score[order], shapes,
        np.zeros((len(order), 4)), shape.areas(shapes), no, no, len(category_ids),
    )  # fmt: skip


def _side(
    place: Index,
    image: Index,
    category: Index,
    score: Float,
    shapes: Float,
    boxes: Float,
    area: Float,
    crowd: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    n_categories: int,
) -> Side:
    key = image * n_categories + category
    order = np.argsort(key, kind="stable")
    return Side(
        place[order], image[order], category[order], _ranks(key[order]), score[order],
        shapes[order], boxes[order], area[order], crowd[order], ignored[order], key[order],
    )  # fmt: skip


def _ranks(key: Index) -> Index:
    """Place of each record within its run of equal keys."""
    place = np.arange(len(key))
    starts = np.ones(len(key), np.bool_)
    starts[1:] = key[1:] != key[:-1]
    return place - np.maximum.accumulate(np.where(starts, place, 0))


def _located(
    records: Records, image_ids: NDArray[np.int64], category_ids: NDArray[np.int64]
) -> tuple[Index, Index, Index]:
    """Records of known images and categories: their places, image and category indices."""
    images = {int(number): i for i, number in enumerate(image_ids)}
    categories = {int(number): i for i, number in enumerate(category_ids)}
    found = [
        (place, images.get(record["image_id"], -1), categories.get(record["category_id"], -1))
        for place, record in enumerate(records)
    ]
    rows = np.array(found, np.intp).reshape(-1, 3)
    rows = rows[(rows[:, 1:] >= 0).all(axis=1)]
    return rows[:, 0], rows[:, 1], rows[:, 2]


# ---- matching: Who belongs to whom: COCO's matching for all images at once, by numpy alone.
#
# The first half of a COCO evaluation that equals pycocotools' to the last bit of every similarity;
# the other half, averaging, is `kptk.evaluation.matching`. Matching is done once, averaging as often
# as weights or selections change (bootstraps, sliders).


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


# ---- averaging: COCO's averaging of matches: precision, recall and the 12 or 10 statistics, with
# weights.


BOX_NAMES = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip


KEYPOINT_NAMES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


NAMES = {"bbox": BOX_NAMES, "keypoints": KEYPOINT_NAMES}


_T50, _T75 = 0, 5


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
    places = {name: _place(name, matches.kind) for name in chosen}
    curves = average(matches, weights, sorted(set(places.values())))
    return {name: _statistic(name, curves, *place) for name, place in places.items()}


def _place(name: str, kind: str) -> tuple[str, int]:
    """Which size, and which of the limits on detections, a statistic is about.

    Of the limits 1, 10, 100 on boxes only recall is asked for at the first two.
    """
    limits = MAX_DETS[kind]
    number = name.removeprefix("AR")
    limit = limits.index(int(number)) if kind == "bbox" and number.isdigit() else len(limits) - 1
    return _SIZES.get(name[2:], "all"), limit


def _statistic(name: str, curves: Curves, size: str, limit: int) -> float:
    values = curves.precision if name.startswith("AP") else curves.recall
    chosen = values[..., list(AREAS).index(size), limit]
    threshold = {"50": _T50, "75": _T75}.get(name[2:])
    return nan_mean(chosen if threshold is None else chosen[threshold])


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
    shape = (len(matches.category_ids), len(AREAS), len(limits))
    precision = np.full((len(THRESHOLDS), len(RECALLS), *shape), np.nan)
    recall = np.full((len(THRESHOLDS), *shape), np.nan)
    checked = _check_weights(weights, len(matches.image_ids))
    entries, counts = _entries(matches, checked)
    gt_counts = checked[matches.gt_image]
    if wanted is None:
        wanted = [(size, m) for size in AREAS for m in range(len(limits))]
    for c, rows, gts in _categories(matches, entries):
        for size, m in wanted:
            a = list(AREAS).index(size)
            n_truths = float(gt_counts[gts][~matches.gt_ignored[a, gts]].sum())
            if not n_truths:
                continue
            few = matches.rank[entries[rows]] < limits[m]
            precision[:, :, c, a, m], recall[:, c, a, m] = _curve(
                matches, a, entries[rows][few], counts[rows][few], n_truths
            )
    return Curves(precision, recall)


def _check_weights(weights: ArrayLike | None, n_images: int) -> Float:
    if weights is None:
        return np.ones(n_images)
    array = np.asarray(weights, np.float64)
    if array.shape != (n_images,) or not (np.isfinite(array) & (array >= 0)).all():
        raise InputError(
            f"weights must be one number from 0 up for each of {n_images} images, shape "
            f"({n_images},). Got an array of shape {array.shape}."
        )
    return array


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


def _categories(matches: Matches, entries: Index) -> Iterator[tuple[int, slice, Index]]:
    """For each category: its index, its stretch of ``entries``, its ground truths."""
    category = matches.category[entries]
    order = np.argsort(matches.gt_category, kind="stable")
    gt_category = matches.gt_category[order]
    for c in range(len(matches.category_ids)):
        rows = slice(*np.searchsorted(category, [c, c + 1]))
        yield c, rows, order[slice(*np.searchsorted(gt_category, [c, c + 1]))]


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
    envelope = np.maximum.accumulate((tp / (fp + tp + _EPS))[:, ::-1], axis=1)[:, ::-1]
    for t, (heights, along) in enumerate(zip(envelope, recall, strict=True)):
        places = np.searchsorted(along, RECALLS, side="left")
        reached = places < len(heights)
        precision[t, reached] = heights[places[reached]]
    return precision, recall[:, -1]
