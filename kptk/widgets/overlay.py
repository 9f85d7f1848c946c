"""What is drawn over the browser's picture: annotations, similarity rings, crops, a heatmap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.geometry import iou, keypoint_similarity
from kptk.widgets.album import Float, Poses, Scene, Truth
from kptk.widgets.strokes import (
    DARK,
    SHIFT,
    WHITE,
    Canvas,
    Colour,
    draw_dashed,
    draw_frame,
    fixed,
    put_text,
    rgb,
)

if TYPE_CHECKING:
    from kptk.skeleton import Skeleton
    from kptk.widgets.picture import View

# How near a joint is: as in the error analysis, good from .85, missed below .5.
GOOD, MISSED = 0.85, 0.5
TRUTH: Colour = (64, 214, 163)  # the palette's green, lighter, so that it is seen at night
_RING = {"good": (64, 214, 163), "near": (240, 228, 66), "missed": (232, 104, 24)}
_SAME_PERSON = 0.5  # IoU
_HEAT_OPACITY = 0.8
_BAND_OPACITY = 0.6


@dataclass(frozen=True, eq=False)
class Heat:
    """Heatmap of one joint of one person.

    Attributes:
        values: (h, w) as the network gives them.
        corner: (x, y) in image pixels of the centre of cell (0, 0).
        cell: image pixels to a cell.
        name: of the joint.
    """

    values: NDArray[np.float32]
    corner: tuple[float, float]
    cell: float
    name: str


def ring_radii(area: float, sigma: float) -> tuple[float, float]:
    """How far from its place a joint has keypoint similarity .85 and .5, in pixels.

    From ``exp(-d^2 / (2 area (2 sigma)^2))``, the summand of pycocotools' ``computeOks``.

    Args:
        area: of the person, square pixels.
        sigma: OKS sigma of the joint.
    """
    near, far = np.sqrt(-2 * np.log([GOOD, MISSED]) * area) * 2 * sigma
    return float(near), float(far)


def pairs(poses: Poses, truth: Truth, places: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Which pose is whose: by annotation id, else by box: best score first, each at most once.

    Args:
        poses: of an image.
        truth: its annotations; crowds are nobody.
        places: the poses to look at.

    Returns:
        (place in poses, place in truth).
    """
    if len(poses) and (poses.ids >= 0).all():
        where = {int(number): g for g, number in enumerate(truth.ids)}
        return [(int(p), where[int(poses.ids[p])]) for p in places if int(poses.ids[p]) in where]
    free = set(np.flatnonzero(~truth.crowd).tolist())
    found: list[tuple[int, int]] = []
    for place in places[np.argsort(-poses.scores[places], kind="stable")].tolist():
        people = np.array(sorted(free), np.intp)
        overlap = iou(np.repeat(poses.boxes[[place]], len(people), axis=0), truth.boxes[people])
        if len(people) and overlap.max() >= _SAME_PERSON:
            best = int(people[overlap.argmax()])
            free.remove(best)
            found.append((place, best))
    return found


def similarity(points: Float, truth: Truth, person: int, skeleton: Skeleton) -> Float:
    """(K,) keypoint similarity of a pose (K, 3) with a person; NaN for joints not labelled."""
    sigmas = np.asarray(skeleton.sigmas, np.float64)
    area = truth.area[[person]]
    found: Float = keypoint_similarity(points[None], truth.points[[person]], area, sigmas)[0]
    return found


def draw_truth(
    canvas: Canvas,
    truth: Truth,
    view: View,
    skeleton: Skeleton,
    labels: Mapping[int, tuple[str, str]],
) -> None:
    """Draw annotated people, in place: green limbs, diamonds (hollow: v = 1), dashed boxes.

    Args:
        canvas: RGB uint8 (H, W, 3).
        truth: the people; in image pixels.
        view: to the canvas.
        skeleton: limbs.
        labels: annotation id → text and its colour ``#rrggbb``.
    """
    boxes, points = view.boxes(truth.boxes), view.points(truth.points)
    _draw_limbs(canvas, points, skeleton)
    for box, joints, number in zip(boxes, points, truth.ids.tolist(), strict=True):
        draw_dashed(canvas, box, _ink(labels, number))
        _draw_joints(canvas, joints)


def draw_labels(
    canvas: Canvas,
    truth: Truth,
    view: View,
    labels: Mapping[int, tuple[str, str]],
    focus: int | None,
) -> None:
    """Write the labels of annotated people in the lower left corners of their boxes, in place.

    Args:
        canvas: RGB uint8 (H, W, 3).
        truth: the people; in image pixels.
        view: to the canvas.
        labels: annotation id → text and its colour ``#rrggbb``.
        focus: annotation whose box is drawn in full.
    """
    taken: list[tuple[int, int, int, int]] = []
    for box, number in zip(view.boxes(truth.boxes), truth.ids.tolist(), strict=True):
        if number == focus:
            draw_frame(canvas, box, _ink(labels, number), 2)
        if number in labels:
            put_text(canvas, box, labels[number][0], _ink(labels, number), taken)


def _ink(labels: Mapping[int, tuple[str, str]], number: int) -> Colour:
    return rgb(labels[number][1]) if number in labels else TRUTH


def _draw_limbs(canvas: Canvas, people: Float, skeleton: Skeleton) -> None:
    """Lay a band of green under the limbs: a pose that is right lies on it."""
    import cv2

    band = canvas.copy()
    for joints in people:
        known = np.isfinite(joints[:, :2]).all(axis=1)
        spots, width = fixed(joints), _band(joints)
        for a, b in skeleton.edges:
            if known[a] and known[b]:
                cv2.line(band, spots[a], spots[b], TRUTH, width, cv2.LINE_AA, SHIFT)
    cv2.addWeighted(band, _BAND_OPACITY, canvas, 1 - _BAND_OPACITY, 0, dst=canvas)


def _band(joints: Float) -> int:
    """Width of a person's limbs: wider than those of the pose that is drawn on them."""
    known = joints[np.isfinite(joints[:, :2]).all(axis=1), :2]
    size = float(np.ptp(known, axis=0).max()) if len(known) else 0.0
    return int(np.clip(size / 32, 4, 16))


def _draw_joints(canvas: Canvas, joints: Float) -> None:
    import cv2

    spots, half = fixed(joints), 3 + _band(joints) // 3
    shape = np.array(((0, -half), (half, 0), (0, half), (-half, 0))) << SHIFT
    for joint in np.flatnonzero(np.isfinite(joints[:, :2]).all(axis=1)).tolist():
        diamond = (np.array(spots[joint]) + shape).astype(np.int32)
        visible = joints[joint, 2] == 2
        cv2.polylines(canvas, [diamond], True, DARK, 3, cv2.LINE_AA, SHIFT)
        cv2.fillPoly(canvas, [diamond], TRUTH if visible else DARK, cv2.LINE_AA, SHIFT)
        cv2.polylines(canvas, [diamond], True, TRUTH, 1, cv2.LINE_AA, SHIFT)


def draw_rings(canvas: Canvas, points: Float, scene: Scene, person: int, view: View) -> None:
    """Draw, in place, the rings of similarity .85 and .5 and where the joints were placed.

    Args:
        canvas: RGB uint8 (H, W, 3).
        points: (K, 3) x, y, score: the pose, in image pixels.
        scene: with ground truth.
        person: place of the person in it.
        view: to the canvas.
    """
    import cv2

    if scene.truth is None:
        return
    near = similarity(points, scene.truth, person, scene.skeleton)
    area = float(scene.truth.area[person])
    true, placed = fixed(view.points(scene.truth.points[person])), fixed(view.points(points))
    for joint in np.flatnonzero(np.isfinite(near)).tolist():
        radii = ring_radii(area, scene.skeleton.sigmas[joint])
        for radius, colour in zip(radii, (_RING["good"], _RING["missed"]), strict=True):
            size = round(min(radius * view.scale, 4000.0) * (1 << SHIFT))
            cv2.circle(canvas, true[joint], size, DARK, 3, cv2.LINE_AA, SHIFT)
            cv2.circle(canvas, true[joint], size, colour, 1, cv2.LINE_AA, SHIFT)
        if np.isfinite(points[joint, :2]).all():
            for width, colour in ((4, DARK), (2, ring_colour(near[joint]))):
                cv2.line(canvas, true[joint], placed[joint], colour, width, cv2.LINE_AA, SHIFT)


def ring_colour(similarity: float) -> Colour:
    """Green for a good joint, yellow for one that is near, vermillion for one that is missed."""
    if similarity >= GOOD:
        return _RING["good"]
    return _RING["near" if similarity >= MISSED else "missed"]


def draw_crops(canvas: Canvas, boxes: Float, input_size: tuple[int, int], view: View) -> None:
    """Outline, in place, what the pose model sees of boxes (N, 4) in image pixels."""
    from kptk.pose import crop_boxes

    centers, sizes = crop_boxes(boxes.astype(np.float32), input_size)
    rectangles = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)
    for rectangle in view.boxes(rectangles):
        draw_dashed(canvas, rectangle, WHITE)


def draw_heat(canvas: Canvas, heat: Heat, view: View) -> None:
    """Lay a heatmap over the picture, in place; the hotter, the less of the image is seen."""
    import cv2

    scale = heat.cell * view.scale
    x, y = view.points(np.array(heat.corner))
    matrix = np.array([[scale, 0, x], [0, scale, y]])
    values = np.clip(heat.values / max(float(heat.values.max()), 1e-6), 0, 1).astype(np.float32)
    spread = cv2.warpAffine(values, matrix, canvas.shape[1::-1], flags=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap((255 * spread).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    weight = _HEAT_OPACITY * np.sqrt(spread)[..., None]
    canvas[:] = (canvas * (1 - weight) + colours * weight).astype(np.uint8)
