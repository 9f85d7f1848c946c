"""Drawing people on a picture: boxes, scores, limbs and joints, legible on any background."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

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
    order = np.argsort(scores, kind="stable").tolist()  # the surest person ends on top
    widths = _line_widths(boxes, keypoints, image.shape)
    placed: NDArray[np.bool_] = np.all(np.isfinite(boxes), axis=1)
    corners = np.rint(_in_reach(boxes.reshape(-1, 2, 2), image.shape)).astype(np.int32).tolist()
    for i in order:
        if placed[i]:
            track = None if track_ids is None else int(track_ids[i])
            _draw_box(canvas, corners[i], int(widths[i]), track)
    joints = _joints(keypoints, kpt_threshold, widths, skeleton, canvas.shape)
    limbs = _limbs(joints, widths, skeleton)
    for i in order:
        _draw_limbs(canvas, limbs, i)
        _draw_joints(canvas, joints, i, int(widths[i]), skeleton)
    for i in order:
        if placed[i] and np.isfinite(scores[i]):
            number = "" if track_ids is None else f"#{track_ids[i]} "
            _draw_label(canvas, boxes[i].tolist(), f"{number}{scores[i]:.2f}")
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
    """Joints of N people in OpenCV's fixed point, worked out at once: it takes them one by one."""

    points: NDArray[np.int32]  # (N, K, 2)
    known: NDArray[np.bool_]  # (N, K), has a place
    found: NDArray[np.bool_]  # (N, K), its score is high enough, too
    radii: NDArray[np.int32]  # (N, K)


class _Limbs(NamedTuple):
    """Limbs of N people as quadrangles in OpenCV's fixed point: the joints cover their ends."""

    outlines: NDArray[np.int32]  # (N, L, 4, 2)
    insides: NDArray[np.int32]  # (N, L, 4, 2)
    drawn: list[list[int]]  # of each person, which
    colours: list[tuple[int, int, int]]  # of each limb


def _joints(
    keypoints: NDArray[np.float32],
    threshold: float,
    widths: NDArray[np.int32],
    skeleton: Skeleton,
    shape: tuple[int, ...],
) -> _Joints:
    known: NDArray[np.bool_] = np.all(np.isfinite(keypoints[..., :2]), axis=2)
    found = known & (keypoints[..., 2] >= threshold)  # a score that is NaN is not
    points = np.rint(_in_reach(keypoints[..., :2], shape) * (1 << _SHIFT)).astype(np.int32)
    width = widths[:, None]
    sizes = np.array([size for _, size in _joint_styles(skeleton)], np.float32)
    radii = sizes * (width + np.minimum(1.5, 0.75 * width)) * (1 << _SHIFT)
    return _Joints(points, known, found, radii.astype(np.int32))


def _limbs(joints: _Joints, widths: NDArray[np.int32], skeleton: Skeleton) -> _Limbs:
    styles = _limb_styles(skeleton)
    ends = np.array([edge for edge, _, _ in styles], np.intp).reshape(-1, 2)
    fine = np.array([fine for _, _, fine in styles], np.bool_)
    starts, stops = (joints.points[:, ends[:, i]].astype(np.float32) for i in (0, 1))
    along = stops - starts
    length = np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1.0)
    across = along[..., ::-1] * np.array([-1, 1], np.float32) / length
    width = widths[:, None]
    inside = np.where(fine, np.maximum(1, width // 2), width)

    def quadrangles(line: NDArray[np.int32]) -> NDArray[np.int32]:
        # what a polygon's edge passes through is filled, too: half a pixel on each side
        half = across * ((line - 0.5) / 2 * (1 << _SHIFT))[..., None]
        corners = np.stack([starts - half, stops - half, stops + half, starts + half], axis=2)
        fixed: NDArray[np.int32] = np.rint(corners).astype(np.int32)
        return fixed

    drawn: NDArray[np.bool_] = np.all(joints.found[:, ends], axis=2)
    return _Limbs(
        quadrangles(inside + _outline(inside)),
        quadrangles(inside),
        [np.flatnonzero(of_person).tolist() for of_person in drawn],
        [COLOURS[side] for _, side, _ in styles],
    )


def _line_widths(
    boxes: NDArray[np.float32], keypoints: NDArray[np.float32], shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """Widths of people's limbs: in proportion to the person, within what suits the picture."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinite boxes
        sizes = np.abs(boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    for i in np.flatnonzero(~np.isfinite(sizes)):  # the joints say how large, then
        joints = keypoints[i, :, :2]
        known = joints[np.isfinite(joints).all(axis=1)]
        sizes[i] = np.ptp(known, axis=0).max() if len(known) else 0.0
    most = max(2, round(max(shape[:2]) / 160))
    widths: NDArray[np.int32] = np.rint(sizes / 80).clip(1, most).astype(np.int32)
    return widths


def _in_reach(points: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Points far outside come nearer, where OpenCV would overflow; NaN becomes 0."""
    reach = float(4 * max(shape[:2]))
    return np.nan_to_num(points).clip(-reach, reach)


def _draw_box(
    canvas: NDArray[np.uint8], corners: list[list[int]], width: int, track: int | None
) -> None:
    import cv2

    line = max(1, width // 3) if track is None else max(1, width // 2)
    inner = COLOURS["centre"] if track is None else _TRACKS[track % len(_TRACKS)]
    for colour, extra in ((_DARK, 2), (inner, 0)):  # upright edges need no smoothing
        cv2.rectangle(canvas, corners[0], corners[1], colour, line + extra)


def _draw_limbs(canvas: NDArray[np.uint8], limbs: _Limbs, person: int) -> None:
    import cv2

    outlines, insides = limbs.outlines[person], limbs.insides[person]
    for i in limbs.drawn[person]:  # all outlines lie beneath all colours
        cv2.fillConvexPoly(canvas, outlines[i], _DARK, cv2.LINE_AA, _SHIFT)
    for i in limbs.drawn[person]:
        cv2.fillConvexPoly(canvas, insides[i], limbs.colours[i], cv2.LINE_AA, _SHIFT)


def _outline(width: Any) -> Any:
    """How much wider than lines of these widths (int or array) their dark outlines are."""
    return np.maximum(2, width // 3)


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
    canvas: NDArray[np.uint8], joints: _Joints, person: int, width: int, skeleton: Skeleton
) -> None:
    from cv2 import LINE_AA, circle

    ring = max(1, width // 2)
    edge, wider = int(_outline(width)) * (1 << _SHIFT) // 2, int(_outline(ring))
    of_person = (part[person].tolist() for part in joints)
    for point, known, found, radius, (colour, _) in zip(
        *of_person, _joint_styles(skeleton), strict=True
    ):
        if found:
            circle(canvas, point, radius + edge, _DARK, -1, LINE_AA, _SHIFT)
            circle(canvas, point, radius, colour, -1, LINE_AA, _SHIFT)
        elif known:
            circle(canvas, point, radius, _DARK, ring + wider, LINE_AA, _SHIFT)
            circle(canvas, point, radius, colour, ring, LINE_AA, _SHIFT)


def _draw_label(canvas: NDArray[np.uint8], box: list[float], text: str) -> None:
    """Write on a dark plate above the box, or inside it at the picture's edge."""
    rows, columns = canvas.shape[:2]
    left, top, _, bottom = box
    size = int(min(max((bottom - top) / 8, 11), max(11, max(rows, columns) / 50)))
    plate = _plate(text, size)
    height, width = plate.shape[:2]
    above = int(top) - height if top >= height else int(top)
    y = max(0, min(above, rows - height))
    x = max(0, min(int(left), columns - width))
    spot = canvas[y : y + height, x : x + width]
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
