"""Strokes and plates that stay legible on any picture; drawn in place, in the picture's pixels."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Canvas = NDArray[np.uint8]
Colour = tuple[int, int, int]
Float = NDArray[np.float64]

DARK: Colour = (18, 18, 22)
WHITE: Colour = (255, 255, 255)
SHIFT = 4  # OpenCV takes coordinates in 1/16 pixel
_DASH = 6.0  # pixels


def draw_frame(canvas: Canvas, box: Float, colour: Colour, width: int) -> None:
    """Draw a box (4,) in canvas pixels with a dark outline, in place."""
    import cv2

    low, high = fixed(box.reshape(2, 2))
    for ink, line in ((DARK, width + 2), (colour, width)):
        cv2.rectangle(canvas, low, high, ink, line, cv2.LINE_AA, SHIFT)


def draw_dashed(canvas: Canvas, box: Float, colour: Colour) -> None:
    """Draw a dashed box (4,) in canvas pixels, in place."""
    import cv2

    x1, y1, x2, y2 = np.clip(box, -16 * max(canvas.shape), 16 * max(canvas.shape))
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]])
    for start, end in pairwise(corners):
        length = float(np.abs(end - start).max())
        steps = np.arange(0.0, length, 2 * _DASH)
        along = (end - start) / max(length, 1e-6)
        spots = start + steps[:, None] * along
        ends = start + np.minimum(steps + _DASH, length)[:, None] * along
        lines = _inside(canvas, spots, ends)
        for ink, width in ((DARK, 4), (colour, 2)):
            cv2.polylines(canvas, lines, False, ink, width, cv2.LINE_AA, SHIFT)


def _inside(canvas: Canvas, starts: Float, ends: Float) -> list[NDArray[np.int32]]:
    """The dashes that are seen at all, in OpenCV's fixed point."""
    limit = np.array(canvas.shape[1::-1]) + _DASH
    seen = (np.maximum(starts, ends) >= -_DASH).all(1) & (np.minimum(starts, ends) <= limit).all(1)
    dashes = np.stack([starts[seen], ends[seen]], axis=1) * (1 << SHIFT)
    return list(np.rint(dashes).astype(np.int32))


def put_text(
    canvas: Canvas, box: Float, text: str, colour: Colour, taken: list[tuple[int, int, int, int]]
) -> None:
    """Put a plate in the box's lower left corner; higher where there is another, in ``taken``."""
    plate = _plate(text, colour)
    height, width = plate.shape[:2]
    room = np.array(canvas.shape[1::-1]) - (width, height)
    outside = box[0] > canvas.shape[1] or box[1] > canvas.shape[0] or (box[2:] < 0).any()
    if (room < 0).any() or not np.isfinite(box).all() or outside:
        return
    x, y = np.clip((box[[0, 3]] - (0, height)).astype(int), 0, room).tolist()
    while y >= height and any(
        x < x2 and x1 < x + width and y < y2 and y1 < y + height for x1, y1, x2, y2 in taken
    ):
        y -= height
    taken.append((x, y, x + width, y + height))
    canvas[y : y + height, x : x + width] = plate


@lru_cache(maxsize=64)
def _plate(text: str, colour: Colour) -> NDArray[np.uint8]:
    """Text on a plate of a colour, (h, w, 3)."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(13)
    left, top, right, bottom = font.getbbox(text)
    plate = Image.new("RGB", (int(right - left) + 10, int(bottom - top) + 8), colour)
    ImageDraw.Draw(plate).text((5 - left, 4 - top), text, fill=ink_on(colour), font=font)
    return np.array(plate)


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever is read better on a colour."""
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    return (0, 0, 0) if bright else WHITE


def fixed(points: Float) -> list[tuple[int, int]]:
    """Points (n, 2 or more) in OpenCV's fixed point; NaN becomes 0."""
    flat = np.clip(np.nan_to_num(points[:, :2]), -1e5, 1e5) * (1 << SHIFT)
    return [(int(x), int(y)) for x, y in np.rint(flat)]


def rgb(colour: str) -> Colour:
    """``#rrggbb`` as three numbers."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue
