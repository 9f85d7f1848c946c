"""COCO records as arrays, and how alike two of them are: IoU of boxes, OKS of poses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import DataError

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
