"""What is kept of one image: between a result and the files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kptk.bulk.folder import plain_text
from kptk.errors import InputError
from kptk.results import PoseResult
from kptk.skeleton import COCO17

Float = NDArray[np.float32]
K = len(COCO17)


@dataclass(frozen=True, eq=False)
class Row:
    """One image of the list.

    Attributes:
        image: its place in the list, from 0.
        image_id: its COCO id; None where the list has none.
        path: as in the list.
        width: pixels; None where it could not be read.
        height: likewise.
        boxes: float32 (N, 4) x1, y1, x2, y2 in pixels, highest score first.
        scores: float32 (N,) detection scores.
        keypoints: float32 (N, 17, 3) x, y in pixels, score; missing points are NaN.
        error: why there is no result; None when all went well.
    """

    image: int
    image_id: int | None
    path: str
    width: int | None
    height: int | None
    boxes: Float
    scores: Float
    keypoints: Float
    error: str | None

    @property
    def result(self) -> PoseResult:
        """The same as a PoseResult without its picture."""
        stem, dot, suffix = self.path.rpartition(".")
        return PoseResult(
            image=None,
            name=stem or self.path,
            path=self.path,
            suffix=f"{dot}{suffix}",
            boxes=self.boxes,
            scores=self.scores,
            keypoints=self.keypoints,
            error=None if self.error is None else InputError(self.error),
        )


def row_of(result: PoseResult, image: int, image_id: int | None, path: str) -> Row:
    """What is kept of a result; the picture is let go."""
    height, width = (None, None) if result.image is None else result.image.shape[:2]
    error = None if result.error is None else plain_text(str(result.error))
    return Row(
        image, image_id, plain_text(path), width, height, result.boxes, result.scores,
        result.keypoints, error,
    )  # fmt: skip


def failed_row(image: int, image_id: int | None, path: str, error: str) -> Row:
    """An image without a result."""
    empty = np.zeros((0, K, 3), np.float32)
    boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    return Row(
        image, image_id, plain_text(path), None, None, boxes, scores, empty, plain_text(error)
    )
