"""The browser's picture: a pure function from a state to the bytes of a JPEG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kptk.widgets.album import Float, Poses, Scene
from kptk.widgets.overlay import (
    Heat,
    draw_crops,
    draw_heat,
    draw_labels,
    draw_rings,
    draw_truth,
    pairs,
)
from kptk.widgets.strokes import draw_frame

DETECTED, ANNOTATED = "detected", "annotated"
_QUALITY = 90
_SELECTED = (240, 228, 66)  # the palette's yellow
_GREY = 96

Region = tuple[float, float, float, float]


@dataclass(frozen=True)
class Look:
    """What is shown of a scene, and how.

    Attributes:
        box_threshold: detected boxes below it are left out.
        kpt_threshold: joints below it are hollow and have no limbs.
        on: poses on ``"detected"`` or on ``"annotated"`` boxes.
        poses: whether they are shown.
        truth: whether the annotations are shown.
        crops: whether the outline of what the pose model saw is shown.
        rings: whether the rings of keypoint similarity .85 and .5 are shown, with a line from each
            labelled joint to where it was placed.
        selected: place of a person in the poses; rings and crops are then his alone.
        focus: annotation that the page is about; rings and crops are then his.
        region: the part of the image that is shown, pixels (x1, y1, x2, y2); None: all of it.
        pixels: (width, height) of the picture.
    """

    box_threshold: float = 0.5
    kpt_threshold: float = 0.2
    on: str = DETECTED
    poses: bool = True
    truth: bool = True
    crops: bool = False
    rings: bool = False
    selected: int | None = None
    focus: int | None = None
    region: Region | None = None
    pixels: tuple[int, int] = (960, 720)


@dataclass(frozen=True, eq=False)
class State:
    """All that a picture depends on.

    Attributes:
        scene: the image and its people.
        look: what is shown of them.
        labels: annotation id → label and its colour ``#rrggbb``, written at the annotated box.
        heat: a heatmap to lay over the image.
    """

    scene: Scene
    look: Look = field(default_factory=Look)
    labels: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    heat: Heat | None = None

    @property
    def poses(self) -> Poses:
        """The poses that ``look.on`` asks for, whatever their score."""
        scene = self.scene
        annotated = self.look.on == ANNOTATED and scene.given is not None
        return scene.given if annotated and scene.given is not None else scene.detected

    @property
    def shown(self) -> NDArray[np.intp]:
        """Places of the poses that are shown."""
        poses = self.poses
        kept = (poses.scores >= self.look.box_threshold) | (poses.ids >= 0)
        return np.flatnonzero(kept & self.look.poses)

    @property
    def region(self) -> Region:
        """The part of the image that is shown."""
        height, width = self.scene.image.shape[:2]
        return self.look.region or (0.0, 0.0, float(width), float(height))

    @property
    def chosen(self) -> NDArray[np.intp]:
        """Places of the poses that rings and crops are drawn for.

        Those of the selected person, else of the person the page is about, else all.
        """
        shown, selected, truth = self.shown, self.look.selected, self.scene.truth
        if selected is not None:
            return np.array([place for place in shown.tolist() if place == selected], np.intp)
        if self.look.focus is None or truth is None:
            return shown
        owners = pairs(self.poses, truth, shown)
        own = [place for place, person in owners if truth.ids[person] == self.look.focus]
        return np.array(own, np.intp)


@dataclass(frozen=True)
class View:
    """From image pixels to the picture's: ``(p + 1/2 - origin) scale - 1/2``.

    Attributes:
        origin: (x, y) of the region's corner.
        scale: picture pixels to an image pixel.
    """

    origin: tuple[float, float]
    scale: float

    def points(self, points: Float) -> Float:
        """The same points (..., 2 or more) in the picture; what follows x, y is kept."""
        moved = points.copy()
        moved[..., :2] = (points[..., :2] + 0.5 - np.array(self.origin)) * self.scale - 0.5
        return moved

    def boxes(self, boxes: Float) -> Float:
        """The same boxes (N, 4) in the picture."""
        corners: Float = self.points(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        return corners


def render(state: State) -> bytes:
    """The picture of a state.

    Returns:
        A JPEG of ``look.pixels``. The same state gives the same bytes.
    """
    import cv2

    canvas = np.ascontiguousarray(draw(state)[..., ::-1])
    options = [
        cv2.IMWRITE_JPEG_QUALITY, _QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]  # fmt: skip
    _, encoded = cv2.imencode(".jpg", canvas, options)
    return bytes(encoded)


def draw(state: State) -> NDArray[np.uint8]:
    """The picture of a state as RGB uint8 (height, width, 3)."""
    look, scene = state.look, state.scene
    x1, y1, x2, _ = state.region
    view = View((x1, y1), look.pixels[0] / (x2 - x1))
    canvas = cut(scene.image, state.region, look.pixels)
    if state.heat is not None:
        draw_heat(canvas, state.heat, view)
    if look.truth and scene.truth is not None:
        draw_truth(canvas, scene.truth, view, scene.skeleton, state.labels)
    canvas = _draw_poses(canvas, state, view)
    if look.truth and scene.truth is not None:
        draw_labels(canvas, scene.truth, view, state.labels, look.focus)
    if look.rings and scene.truth is not None:
        for place, person in pairs(state.poses, scene.truth, state.chosen):
            draw_rings(canvas, state.poses.points[place], scene, person, view)
    if look.crops:
        draw_crops(canvas, state.poses.boxes[state.chosen], scene.input_size, view)
    return canvas


def _draw_poses(canvas: NDArray[np.uint8], state: State, view: View) -> NDArray[np.uint8]:
    from kptk.draw import draw_poses

    poses, shown = state.poses, state.shown
    drawn = draw_poses(
        canvas,
        view.boxes(poses.boxes[shown]).astype(np.float32),
        np.where(poses.ids[shown] >= 0, np.nan, poses.scores[shown]).astype(np.float32),
        view.points(poses.points[shown]).astype(np.float32),
        skeleton=state.scene.skeleton,
        kpt_threshold=state.look.kpt_threshold,
    )
    if state.look.selected is not None:
        for box in view.boxes(poses.boxes[state.chosen]):
            draw_frame(drawn, box, _SELECTED, 2)
    return drawn


def cut(image: NDArray[np.uint8], region: Region, pixels: tuple[int, int]) -> NDArray[np.uint8]:
    """A region of an image at another size; grey where it lies outside.

    Args:
        image: RGB uint8 (H, W, 3).
        region: x1, y1, x2, y2 in pixels, from edge to edge.
        pixels: (width, height) of the result.
    """
    import cv2

    width, height = pixels
    scale = np.array([width / (region[2] - region[0]), height / (region[3] - region[1])])
    if scale.min() < 1:  # an average over the pixels that fall together
        low = np.clip(np.floor(region[:2]).astype(int), 0, np.array(image.shape[1::-1]) - 1)
        high = np.minimum(np.ceil(region[2:]).astype(int), image.shape[1::-1])
        part = image[low[1] : max(high[1], low[1] + 1), low[0] : max(high[0], low[0] + 1)]
        smaller: NDArray[np.uint8] = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
        return smaller
    shift = 0.5 * scale - 0.5 - np.array(region[:2]) * scale
    matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    inside = region[0] >= 0 and region[1] >= 0
    inside = inside and region[2] <= image.shape[1] and region[3] <= image.shape[0]
    border = cv2.BORDER_REPLICATE if inside else cv2.BORDER_CONSTANT
    larger: NDArray[np.uint8] = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border,
        borderValue=(_GREY,) * 3,
    )  # fmt: skip
    return larger


def region_around(box: Float, shape: tuple[int, ...], pad: float = 1.7) -> Region:
    """The part of an image that shows a box well: the image's aspect, not larger than the image.

    Args:
        box: (4,) x1, y1, x2, y2 in pixels.
        shape: of the image, (H, W, ...).
        pad: how much larger than the box.
    """
    height, width = shape[:2]
    sides = np.maximum(box[2:] - box[:2], 1.0)
    share = float(np.clip(pad * max(sides[0] / width, sides[1] / height), 0.05, 1.0))
    size = np.array([width, height]) * share
    low = np.clip((box[:2] + box[2:]) / 2 - size / 2, 0, np.array([width, height]) - size)
    return (float(low[0]), float(low[1]), float(low[0] + size[0]), float(low[1] + size[1]))


def fit(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """(width, height) of an image's picture whose longer side is ``side``."""
    height, width = shape[:2]
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))
