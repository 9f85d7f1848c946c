"""Boxes that are handed in with the images: which belong to which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from kptk.errors import InputError
from kptk.frames import BadFrame, Frame
from kptk.inputs import check_boxes


def boxes_per_frame(boxes: Any, single: bool) -> Iterable[Any]:
    """One array of boxes for each frame."""
    if single:
        return [check_boxes(boxes)]
    if not isinstance(boxes, Iterable) or (isinstance(boxes, np.ndarray) and boxes.ndim == 2):
        raise InputError(
            "boxes for several images must be a list with one array (N, 4) for each image. "
            f"Got {type(boxes).__name__}{getattr(boxes, 'shape', '')}."
        )
    return boxes


def pair(
    frames: Iterator[Frame | BadFrame], boxes: Iterable[Any]
) -> Iterator[tuple[Frame | BadFrame, Any]]:
    """Frames with their boxes; an error where there are more of one than of the other."""
    rest = iter(boxes)
    missing = object()
    count = 0
    for count, frame in enumerate(frames, 1):
        given = next(rest, missing)
        if given is missing or given is None:
            raise InputError(
                f"boxes must hold one array (N, 4) for each image. Image {count}, {frame.name}, "
                "has none; for an image without people give an empty list."
            )
        yield frame, given
    if next(rest, missing) is not missing:
        raise InputError(
            f"boxes must hold one array for each image. There are only {count} images."
        )
