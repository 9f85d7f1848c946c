"""People as columns: the one record from prediction to evaluation, analysis, widgets and storage.

Lists of COCO records exist only at the edge: :meth:`Instances.from_annotations`,
:meth:`Instances.from_results` and :meth:`Instances.to_results`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

Record = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Instances:
    """N people, annotated or predicted, of any number of images.

    Attributes:
        image_ids: (N,) int64.
        boxes: (N, 4) float64, (x1, y1, x2, y2) in pixels; NaN where there is no box.
        scores: (N,) float64, of the boxes; 1 for annotations and for ground-truth boxes.
        keypoints: (N, K, 3) float64: x, y in pixels and the keypoint's score, or, of annotations,
            its flag v (0 not labelled, 1 hidden, 2 visible). Missing coordinates are NaN.
        areas: (N,) float64, square pixels: of annotations as annotated, which OKS is scaled by; of
            predictions what the keypoint model saw; NaN where unknown.
        ids: (N,) int64, the annotation; of predictions the one whose box was used, -1 for none.
        crowd: (N,) bool, a region of many people.
    """

    image_ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    keypoints: NDArray[np.float64]
    areas: NDArray[np.float64]
    ids: NDArray[np.int64]
    crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, chosen: Any) -> Self:
        """Some of them: by mask, indices or slice."""
        return type(self)(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def of_image(self, image_id: int) -> Self:
        """Those of one image."""
        return self[self.image_ids == image_id]

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(N,) bool: at least one keypoint is labelled (or predicted)."""
        return np.asarray((self.keypoints[..., 2] > 0).any(axis=1), np.bool_)

    @classmethod
    def concatenate(cls, parts: Iterable[Instances], n_keypoints: int = 0) -> Self:
        """One after the other; nobody at all where there are no parts."""
        every = list(parts) or [cls.from_results([], n_keypoints)]
        columns = zip(
            *([getattr(p, field.name) for field in fields(cls)] for p in every), strict=True
        )
        return cls(*(np.concatenate(column) for column in columns))

    @classmethod
    def from_annotations(cls, annotations: Sequence[Record], n_keypoints: int) -> Instances:
        """COCO annotations, which have ``id``, ``image_id``, ``bbox`` and ``area``."""
        keypoints = _keypoints(annotations, n_keypoints, 0.0)
        keypoints[keypoints[..., 2] <= 0, :2] = np.nan
        keypoints[..., 2] = np.maximum(keypoints[..., 2], 0)
        return cls(
            _integers(annotations, "image_id"),
            corners([a["bbox"] for a in annotations]),
            np.ones(len(annotations)),
            keypoints,
            np.array([a["area"] for a in annotations], np.float64),
            _integers(annotations, "id"),
            np.array([bool(a.get("iscrowd")) for a in annotations], np.bool_),
        )

    @classmethod
    def from_results(cls, records: Sequence[Record], n_keypoints: int) -> Instances:
        """COCO results; ``bbox``, ``keypoints``, ``annotation_id`` and ``crop_area`` may be absent.

        A keypoint of score 0 at (0, 0) is missing.
        """
        keypoints = _keypoints(records, n_keypoints, np.nan)
        keypoints[(keypoints == 0).all(axis=2)] = np.nan
        nothing = [np.nan] * 4
        return cls(
            _integers(records, "image_id"),
            corners([r.get("bbox") or nothing for r in records]),
            np.array([r["score"] for r in records], np.float64),
            keypoints,
            np.array([r.get("crop_area", np.nan) for r in records], np.float64),
            np.array([r.get("annotation_id", -1) for r in records], np.int64),
            np.zeros(len(records), np.bool_),
        )

    def to_results(
        self,
        category_id: int = 1,
        keys: Sequence[str] = ("bbox", "keypoints", "crop_area", "annotation_id"),
    ) -> list[dict[str, Any]]:
        """COCO results as :meth:`from_results` reads them, missing keypoints as (0, 0, 0).

        Of ``keys`` a record has those that are known of it.
        """
        placed = np.isfinite(self.keypoints).all(axis=2, keepdims=True)
        width = 3 * self.keypoints.shape[1]
        flat = np.where(placed, self.keypoints, 0).reshape(len(self), width).tolist()
        sizes = np.concatenate([self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]], axis=1)
        records: list[dict[str, Any]] = []
        for i, score in enumerate(self.scores.tolist()):
            record: dict[str, Any] = {
                "image_id": int(self.image_ids[i]),
                "category_id": category_id,
                "score": score,
            }
            known = {
                "bbox": sizes[i].tolist() if np.isfinite(sizes[i]).all() else None,
                "keypoints": flat[i] or None,
                "crop_area": float(self.areas[i]) if np.isfinite(self.areas[i]) else None,
                "annotation_id": int(self.ids[i]) if self.ids[i] >= 0 else None,
            }
            records.append(record | {k: known[k] for k in keys if known[k] is not None})
        return records

    def to_pandas(self, names: Sequence[str]) -> pd.DataFrame:
        """A row a person: image_id, id, box and score, then ``{name}_x``, ``_y``, ``_score``."""
        import pandas as pd

        columns: dict[str, Any] = {"image_id": self.image_ids, "id": self.ids}
        columns |= dict(zip(("x1", "y1", "x2", "y2"), self.boxes.T, strict=True))
        columns["score"] = self.scores
        for k, name in enumerate(names):
            for j, part in enumerate(("x", "y", "score")):
                columns[f"{name}_{part}"] = self.keypoints[:, k, j]
        return pd.DataFrame(columns)


def corners(boxes: ArrayLike) -> NDArray[np.float64]:
    """COCO's (x, y, width, height) as (N, 4) x1, y1, x2, y2."""
    array = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1)


def _integers(records: Sequence[Record], key: str) -> NDArray[np.int64]:
    return np.array([record[key] for record in records], np.int64)


def _keypoints(records: Sequence[Record], count: int, missing: float) -> NDArray[np.float64]:
    nothing = [missing] * (3 * count)
    rows = [record.get("keypoints") or nothing for record in records]
    return np.array(rows, np.float64).reshape(len(records), count, 3)
