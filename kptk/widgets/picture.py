"""Strokes and plates that stay legible on any picture; drawn in place, in the picture's pixels."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kptk.geometry import iou, keypoint_similarity
from kptk.widgets.album import Float, Poses, Scene, Truth

if TYPE_CHECKING:
    from kptk.skeleton import Skeleton


Canvas = NDArray[np.uint8]


Colour = tuple[int, int, int]


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


# ---- overlay: What is drawn over the browser's picture: annotations, similarity rings, crops, a
# heatmap.


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
    from kptk.pipeline.pose import crop_boxes

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


# ---- picture: The browser's picture: a pure function from a state to the bytes of a JPEG.


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
    from kptk.pipeline.results import draw_poses

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


# ---- captions: What is said of a page, as HTML.


def caption_of(state: State, oks_given: float | None) -> str:
    """The caption of a picture: the image, how much is shown, and the person it is about.

    Args:
        state: of the picture.
        oks_given: OKS of the person's pose on the annotated box; None or NaN: not known.
    """
    scene = state.scene
    if scene.error is not None:
        return f"<b>{html.escape(scene.name)}</b>: {html.escape(scene.error)}"
    parts = [f"{len(state.shown)} of {len(state.poses)} poses shown"]
    if scene.truth is not None:
        parts.append(f"{int((~scene.truth.crowd).sum())} annotated")
    if state.heat is not None:
        peak = float(state.heat.values.max())
        parts.append(f"heatmap of {html.escape(state.heat.name)}, peak {peak:.2f}")
    said = f"<b>{html.escape(scene.name)}</b> <span class='soft'>{' · '.join(parts)}</span>"
    return said + _person(state, oks_given)


def _person(state: State, oks_given: float | None) -> str:
    number = state.look.focus
    if number is None:
        return ""
    said = f"<br>person {number}"
    if number in state.labels:
        said += f" {chip(*state.labels[number])}"
    if oks_given is not None and math.isfinite(oks_given):
        said += f" <span class='soft'>OKS {oks_given:.2f} on the annotated box</span>"
    return said


def chip(text: str, colour: str) -> str:
    """A label on its colour ``#rrggbb``."""
    red, green, blue = ink_on(rgb(colour))
    style = f"background:{colour};color:rgb({red},{green},{blue})"
    return f"<span class='kptk-chip' style='{style}'>{html.escape(text)}</span>"


def plain(text: str) -> str:
    """HTML as plain text."""
    return html.unescape(re.sub("<[^>]+>", " ", text)).strip()
