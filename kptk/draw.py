"""Drawing people on a picture: boxes, scores, limbs and joints, legible on any background."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError
from kptk.skeleton import COCO17, Skeleton

# Blue against orange stays apart under every common colour-vision deficiency. RGB.
COLOURS = {"left": (64, 156, 255), "right": (255, 146, 20), "centre": (236, 236, 236)}
_DARK = (18, 18, 22)
# Boxes of people who are followed: three of Okabe and Ito's colours, far from the sides'. RGB.
_TRACKS = ((0, 158, 115), (240, 228, 66), (204, 121, 167))
_SHIFT = 4  # OpenCV takes coordinates in 1/16 pixel


def draw_poses(
    image: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    keypoints: NDArray[np.float32],
    *,
    skeleton: Skeleton = COCO17,
    kpt_threshold: float = 0.2,
    track_ids: NDArray[np.int64] | None = None,
) -> NDArray[np.uint8]:
    """Draw people on a copy of an image.

    The person's left is blue, right orange, the middle light grey. Joints whose score is below
    the threshold are hollow and have no limbs; NaN joints, boxes and scores are left out.

    Args:
        image: RGB uint8 (H, W, 3); not modified.
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
        scores: (N,) detection scores, written at the boxes.
        keypoints: (N, K, 3) x, y in pixels, score.
        skeleton: names and limbs of the K joints.
        kpt_threshold: lowest score of a joint that counts as found.
        track_ids: (N,) numbers of people who are followed through a film: written before the
            scores, and each box has its number's colour. None: no numbers.

    Returns:
        RGB uint8 (H, W, 3), a new array.

    Raises:
        InputError: the shapes do not fit together.
    """
    _check(boxes, scores, keypoints, skeleton)
    canvas = np.array(image, order="C")
    order = np.argsort(scores, kind="stable")  # the surest person ends on top
    widths = [_line_width(boxes[i], keypoints[i], image.shape) for i in range(len(boxes))]
    for i in order:
        _draw_box(canvas, boxes[i], widths[i], None if track_ids is None else int(track_ids[i]))
    for i in order:
        joints = _joints(keypoints[i], kpt_threshold, canvas.shape)
        _draw_limbs(canvas, joints, skeleton, widths[i])
        _draw_joints(canvas, joints, skeleton, widths[i])
    for i in order:
        number = "" if track_ids is None else f"#{track_ids[i]} "
        _draw_label(canvas, boxes[i], float(scores[i]), number)
    return canvas


def _check(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    keypoints: NDArray[np.float32],
    skeleton: Skeleton,
) -> None:
    people = len(boxes)
    wanted = ((people, 4), (people,), (people, len(skeleton), 3))
    got = (boxes.shape, scores.shape, keypoints.shape)
    if got != wanted:
        raise InputError(
            f"boxes, scores and keypoints must have shapes {wanted[0]}, {wanted[1]} and "
            f"{wanted[2]}. Got {got[0]}, {got[1]} and {got[2]}."
        )


class _Joints(NamedTuple):
    """A person's joints in OpenCV's fixed point, as plain lists: OpenCV takes them one by one."""

    points: list[list[int]]
    known: list[bool]  # has a place
    found: list[bool]  # its score is high enough, too


def _joints(joints: NDArray[np.float32], threshold: float, shape: tuple[int, ...]) -> _Joints:
    known = np.isfinite(joints[:, 0]) & np.isfinite(joints[:, 1])
    found = known & (joints[:, 2] >= threshold)  # a score that is NaN is not
    points = _fixed(np.where(known[:, None], joints[:, :2], 0), shape)
    return _Joints(points.tolist(), known.tolist(), found.tolist())


def _line_width(
    box: NDArray[np.float32], joints: NDArray[np.float32], shape: tuple[int, ...]
) -> int:
    """Width for a person's limbs: in proportion to the person, within what suits the picture."""
    corners = box.reshape(2, 2) if np.isfinite(box).all() else joints[:, :2]
    corners = corners[np.isfinite(corners).all(axis=1)]
    size = float(np.ptp(corners, axis=0).max()) if len(corners) else 0.0
    return int(np.clip(round(size / 80), 1, max(2, round(max(shape[:2]) / 160))))


def _fixed(points: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Pixels → OpenCV's fixed point; far outside is clipped, where OpenCV would overflow."""
    reach = float(4 * max(shape[:2]))
    fixed: NDArray[np.float32] = np.rint(np.clip(points, -reach, reach) * (1 << _SHIFT))
    return fixed.astype(np.int32)


def _draw_box(
    canvas: NDArray[np.uint8], box: NDArray[np.float32], width: int, track: int | None
) -> None:
    import cv2

    if not np.isfinite(box).all():
        return
    corners = _fixed(box.reshape(2, 2), canvas.shape).tolist()
    line = max(1, width // 3) if track is None else max(1, width // 2)
    inner = COLOURS["centre"] if track is None else _TRACKS[track % len(_TRACKS)]
    for colour, extra in ((_DARK, 2), (inner, 0)):
        cv2.rectangle(
            canvas, corners[0], corners[1], colour, line + extra, cv2.LINE_AA, _SHIFT
        )  # fmt: skip


def _draw_limbs(canvas: NDArray[np.uint8], joints: _Joints, skeleton: Skeleton, width: int) -> None:
    import cv2

    limbs = [
        (joints.points[a], joints.points[b], COLOURS[side], max(1, width // 2) if fine else width)
        for (a, b), side, fine in _limb_styles(skeleton)
        if joints.found[a] and joints.found[b]
    ]
    for start, end, _, line in limbs:  # all outlines lie beneath all colours
        cv2.line(canvas, start, end, _DARK, line + _outline(line), cv2.LINE_AA, _SHIFT)
    for start, end, colour, line in limbs:
        cv2.line(canvas, start, end, colour, line, cv2.LINE_AA, _SHIFT)


def _outline(width: int) -> int:
    """How much wider than a line of this width its dark outline is."""
    return max(2, width // 3)


@lru_cache(maxsize=16)
def _limb_styles(skeleton: Skeleton) -> list[tuple[tuple[int, int], str, bool]]:
    """For each limb: its joints, its side, and whether it lies in the face (drawn finer)."""
    styles = []
    for a, b in skeleton.edges:
        sides = {skeleton.side(a), skeleton.side(b)} - {"centre"}
        side = sides.pop() if len(sides) == 1 else "centre"
        styles.append(((a, b), side, _in_face(skeleton, a) or _in_face(skeleton, b)))
    return styles


def _in_face(skeleton: Skeleton, joint: int) -> bool:
    return skeleton.names[joint].rpartition("_")[2] in ("nose", "eye", "ear")


@lru_cache(maxsize=16)
def _joint_styles(skeleton: Skeleton) -> list[tuple[tuple[int, int, int], float]]:
    """Colour and relative size of each joint; those of the face are smaller."""
    joints = range(len(skeleton))
    return [(COLOURS[skeleton.side(i)], 0.6 if _in_face(skeleton, i) else 1.0) for i in joints]


def _draw_joints(
    canvas: NDArray[np.uint8], joints: _Joints, skeleton: Skeleton, width: int
) -> None:
    one, ring = 1 << _SHIFT, max(1, width // 2)
    edge = _outline(width) * one // 2
    for point, known, found, (colour, size) in zip(*joints, _joint_styles(skeleton), strict=True):
        radius = int(size * (width + min(1.5, 0.75 * width)) * one)
        if found:
            _circle(canvas, point, radius + edge, _DARK, -1)
            _circle(canvas, point, radius, colour, -1)
        elif known:
            _circle(canvas, point, radius, _DARK, ring + _outline(ring))
            _circle(canvas, point, radius, colour, ring)


def _circle(
    canvas: NDArray[np.uint8],
    center: list[int],
    radius: int,
    colour: tuple[int, int, int],
    thickness: int,
) -> None:
    """A circle in fixed point; filled where the thickness is -1."""
    import cv2

    cv2.circle(canvas, center, radius, colour, thickness, cv2.LINE_AA, _SHIFT)


def _draw_label(
    canvas: NDArray[np.uint8], box: NDArray[np.float32], score: float, number: str
) -> None:
    """Write number and score on a dark plate above the box, or inside it at the picture's edge."""
    if not (np.isfinite(box).all() and np.isfinite(score)):
        return
    size = int(np.clip((box[3] - box[1]) / 8, 11, max(11, max(canvas.shape[:2]) / 50)))
    plate = _plate(f"{number}{score:.2f}", size)
    height, width = plate.shape[:2]
    top = int(box[1]) - height if box[1] >= height else int(box[1])
    top = max(0, min(top, canvas.shape[0] - height))
    left = max(0, min(int(box[0]), canvas.shape[1] - width))
    spot = canvas[top : top + height, left : left + width]
    spot[:] = plate[: spot.shape[0], : spot.shape[1]]


@lru_cache(maxsize=512)
def _plate(text: str, size: int) -> NDArray[np.uint8]:
    """White text on a dark plate, with the font that comes inside Pillow."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    pad = max(2, size // 5)
    left, top, right, bottom = font.getbbox(text)
    shape = (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad)
    plate = Image.new("RGB", shape, _DARK)
    ImageDraw.Draw(plate).text((pad - left, pad - top), text, fill=(255, 255, 255), font=font)
    array = np.array(plate)
    array.flags.writeable = False
    return array
