"""COCO's averaging of matches: precision, recall and the 12 or 10 statistics, with weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kptk.errors import InputError
from kptk.evaluation.matching import AREAS, MAX_DETS, RECALLS, THRESHOLDS, Matches

Float = NDArray[np.float64]
Index = NDArray[np.intp]

BOX_NAMES = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip
KEYPOINT_NAMES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
NAMES = {"bbox": BOX_NAMES, "keypoints": KEYPOINT_NAMES}

_EPS = float(np.spacing(1))
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
