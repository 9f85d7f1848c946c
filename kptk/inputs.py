"""What both models check and do before the engine: images, boxes, thresholds, pixel values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError


def check_image(image: object, what: str = "image") -> NDArray[np.uint8]:
    """Return ``image`` if it is an RGB array a model can take.

    Args:
        image: RGB uint8 array (H, W, 3), H and W at least 1.
        what: how the message names it, e.g. ``"images[2]"``.

    Raises:
        InputError: another type, dtype or shape.
    """
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"{what} must be an RGB uint8 array of shape (H, W, 3). Got {type(image).__name__}. "
            "Read files with kptk.io.images.read_image, or hand them to a pipeline."
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(
            f"{what} must be an RGB uint8 array of shape (H, W, 3). "
            f"Got {image.dtype} of shape {image.shape}."
        )
    return image


def check_boxes(boxes: object, what: str = "boxes") -> NDArray[np.float32]:
    """Return boxes as float32 (N, 4) in pixels, (x1, y1, x2, y2).

    They may reach over the image's edge. An empty list is no boxes, (0, 4).

    Raises:
        InputError: another shape, or a box that is not finite or has no area; it says which one.
    """
    try:
        array = np.asarray(boxes, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be numbers of shape (N, 4). Got {boxes!r}.") from error
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        hint = " For one box write [[x1, y1, x2, y2]]." if array.shape == (4,) else ""
        raise InputError(
            f"{what} must have shape (N, 4), (x1, y1, x2, y2). Got {array.shape}.{hint}"
        )
    good = np.isfinite(array).all(axis=1) & (array[:, 2:] > array[:, :2]).all(axis=1)
    if not good.all():
        index = int(np.argmin(good))
        raise InputError(
            f"{what}[{index}] must be finite with x2 > x1 and y2 > y1, in pixels. "
            f"Got {array[index].tolist()}. Boxes are (x1, y1, x2, y2), not (x, y, width, height)."
        )
    return array


def check_threshold(value: object, what: str = "det_threshold") -> float:
    """Return a score threshold as float; ints and numpy scalars mean what they say.

    Raises:
        InputError: not a number, NaN, or outside 0 to 1.
    """
    number = value.item() if isinstance(value, np.generic) else value
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or not 0 <= float(number) <= 1:  # type: ignore[arg-type]
        raise InputError(f"{what} must be a number from 0 to 1. Got {value!r}.")
    return float(number)  # type: ignore[arg-type]


def check_batch_size(value: object, what: str = "batch_size") -> int:
    """Return a batch size as int.

    Raises:
        InputError: not a whole number, or below 1.
    """
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or int(value) < 1:  # type: ignore[call-overload]
        raise InputError(f"{what} must be a whole number of at least 1. Got {value!r}.")
    return int(value)  # type: ignore[call-overload, no-any-return]


def normalize(
    pixels: NDArray[np.uint8],
    mean: Sequence[float],
    std: Sequence[float],
    is_scale: bool,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Scale pixel values and put channels first.

    ``(x / 255 - mean) / std`` with ``is_scale``, else ``(x - mean) / std``, as one product and
    one sum.

    Args:
        pixels: (..., H, W, 3) uint8 RGB.
        mean: per channel, in the units after the division by 255 if ``is_scale``.
        std: per channel, likewise.
        is_scale: whether the model wants values divided by 255 first.
        out: where to write, (..., 3, H, W) float32.

    Returns:
        (..., 3, H, W) float32.
    """
    unit = 255.0 if is_scale else 1.0
    shape = (*pixels.shape[:-3], pixels.shape[-1], *pixels.shape[-3:-1])
    result = np.empty(shape, np.float32) if out is None else out
    for channel, (m, s) in enumerate(zip(mean, std, strict=True)):
        plane: NDArray[Any] = result[..., channel, :, :]
        np.multiply(pixels[..., channel], np.float32(1 / (s * unit)), out=plane)
        plane -= np.float32(m / s)
    return result
