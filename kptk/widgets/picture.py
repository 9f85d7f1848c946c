"""The browser's image: a pure function from a state to the bytes of a JPEG, and what is said of it.

Over the image lie annotations, poses, similarity rings, crops and a heatmap, in strokes that stay
legible on any background. Everything is drawn in place, in the canvas's pixels.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kptk.geometry import Float, Index, iou, keypoint_similarity
from kptk.instances import Instances
from kptk.pipeline.pose import crop_boxes
from kptk.pipeline.results import DARK, SHIFT, draw_poses, ink_on, text_plate
from kptk.skeleton import Skeleton
from kptk.widgets.album import Scene

Canvas = NDArray[np.uint8]
Colour = tuple[int, int, int]
Region = tuple[float, float, float, float]

DETECTED, ANNOTATED = "detected", "annotated"
# How near a joint is: as in the error analysis, good from .85, missed below .5.
GOOD, MISSED = 0.85, 0.5

_TRUTH: Colour = (64, 214, 163)  # the palette's green, lighter, so that it is seen at night
_NEAR: Colour = (240, 228, 66)  # the palette's yellow, also of who is selected
_FAR: Colour = (232, 104, 24)  # its vermillion, lighter
_GREY = 96  # around the image
_DASH = 6.0  # pixels
_SAME_PERSON = 0.5  # IoU
_HEAT_OPACITY, _BAND_OPACITY = 0.8, 0.6
_QUALITY = 90
_MOST = 40  # people whose joints are told; nobody reads more, and it would be slow to send


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
            labelled joint to where it was put.
        selected: index of a person in the poses; rings and crops are then theirs alone.
        focus: annotation that the page is about; rings and crops are then theirs.
        region: the part of the image that is shown, pixels (x1, y1, x2, y2); None: all of it.
        pixels: (width, height) of what is drawn.
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
    """All that the drawing depends on.

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
    def poses(self) -> Instances:
        """The poses that ``look.on`` asks for, whatever their score."""
        given = self.scene.given
        return given if given is not None and self.look.on == ANNOTATED else self.scene.detected

    @property
    def truth(self) -> Instances | None:
        """The annotations, if they are shown."""
        return self.scene.truth if self.look.truth else None

    def colour_of(self, number: int) -> Colour:
        """Of an annotated person: their label's, or that of the truth."""
        return _rgb(self.labels[number][1]) if number in self.labels else _TRUTH

    @property
    def shown(self) -> Index:
        """Indices of the poses that are shown."""
        poses = self.poses
        kept = (poses.scores >= self.look.box_threshold) | (poses.ids >= 0)
        return np.flatnonzero(kept & self.look.poses)

    @property
    def region(self) -> Region:
        """The part of the image that is shown."""
        height, width = self.scene.image.shape[:2]
        return self.look.region or (0.0, 0.0, float(width), float(height))

    @property
    def chosen(self) -> Index:
        """Indices of the poses that rings and crops are drawn for.

        Those of the selected person, else of the person the page is about, else all.
        """
        shown, truth, own = self.shown, self.scene.truth, self.shown
        if self.look.selected is not None:
            own = shown[shown == self.look.selected]
        elif self.look.focus is not None and truth is not None:
            owners = pairs(self.poses, truth, shown)
            own = np.array([i for i, g in owners if truth.ids[g] == self.look.focus], np.intp)
        return own


@dataclass(frozen=True)
class View:
    """From image pixels to the canvas's: ``(p + 1/2 - origin) scale - 1/2``.

    Attributes:
        origin: (x, y) of the region's corner.
        scale: canvas pixels to an image pixel.
    """

    origin: tuple[float, float]
    scale: float

    def points(self, points: Float) -> Float:
        """The same points (..., 2 or more) on the canvas; what follows x, y is kept."""
        moved = points.copy()
        moved[..., :2] = (points[..., :2] + 0.5 - np.array(self.origin)) * self.scale - 0.5
        return moved

    def boxes(self, boxes: Float) -> Float:
        """The same boxes (N, 4) on the canvas."""
        corners: Float = self.points(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        return corners


# -- whose is which, and how near ------------------------------------------------------------


def pairs(poses: Instances, truth: Instances, indices: Index) -> list[tuple[int, int]]:
    """Which pose is whose: by annotation id, else by box: best score first, each at most once.

    Args:
        poses: of an image.
        truth: its annotations; crowds are nobody.
        indices: the poses to look at.

    Returns:
        (index in poses, index in truth).
    """
    if len(poses) and (poses.ids >= 0).all():
        where = {number: g for g, number in enumerate(truth.ids.tolist())}
        ids = poses.ids.tolist()
        return [(i, where[ids[i]]) for i in indices.tolist() if ids[i] in where]
    free = ~truth.crowd
    found: list[tuple[int, int]] = []
    for i in indices[np.argsort(-poses.scores[indices], kind="stable")].tolist():
        overlap = iou(np.repeat(poses.boxes[[i]], len(truth), axis=0), truth.boxes) * free
        if len(truth) and overlap.max() >= _SAME_PERSON:
            best = int(overlap.argmax())
            free[best] = False
            found.append((i, best))
    return found


def similarity(points: Float, truth: Instances, person: int, skeleton: Skeleton) -> Float:
    """(K,) keypoint similarity of a pose (K, 3) with a person; NaN for joints not labelled."""
    one, sigmas = truth[[person]], np.asarray(skeleton.sigmas, np.float64)
    near: Float = keypoint_similarity(points[None], one.keypoints, one.areas, sigmas)[0]
    return near


def ring_radii(area: float, sigma: float) -> tuple[float, float]:
    """How far from the truth a joint has keypoint similarity .85 and .5, in pixels.

    From ``exp(-d^2 / (2 area (2 sigma)^2))``, the summand of pycocotools' ``computeOks``.

    Args:
        area: of the person, square pixels.
        sigma: OKS sigma of the joint.
    """
    near, far = np.sqrt(-2 * np.log([GOOD, MISSED]) * area) * 2 * sigma
    return float(near), float(far)


# -- what part of the image ------------------------------------------------------------------


def fit(shape: tuple[int, ...], width: float, height: float | None = None) -> tuple[int, int]:
    """(width, height) of an image (H, W, ...) made as large as fits; a square without height."""
    scale = min(width / shape[1], (width if height is None else height) / shape[0])
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def region_around(box: Float, shape: tuple[int, ...], pad: float = 1.7) -> Region:
    """The part of an image that shows a box well: the image's aspect, not larger than the image.

    Args:
        box: (4,) x1, y1, x2, y2 in pixels.
        shape: of the image, (H, W, ...).
        pad: how much larger than the box.
    """
    whole = np.array(shape[1::-1])
    share = (np.maximum(box[2:] - box[:2], 1.0) / whole).max()
    size = whole * np.clip(pad * share, 0.05, 1.0)
    low = np.clip((box[:2] + box[2:]) / 2 - size / 2, 0, whole - size)
    return (float(low[0]), float(low[1]), float(low[0] + size[0]), float(low[1] + size[1]))


def region_of(scene: Scene, annotation_id: int | None, pad: float = 1.7) -> Region | None:
    """The part around an annotated person; None: all of it, where there is no such person."""
    if scene.truth is None or annotation_id not in scene.truth.ids:
        return None
    box = scene.truth.boxes[scene.truth.ids == annotation_id][0]
    return region_around(box, scene.image.shape, pad)


def cut(image: Canvas, region: Region, pixels: tuple[int, int]) -> Canvas:
    """A region of an image at another size; grey where it lies outside.

    Args:
        image: RGB uint8 (H, W, 3).
        region: x1, y1, x2, y2 in pixels, from edge to edge.
        pixels: (width, height) of the result.
    """
    corner, end, whole = np.array(region[:2]), np.array(region[2:]), np.array(image.shape[1::-1])
    scale = np.array(pixels) / (end - corner)
    if scale.min() < 1:  # an average over the pixels that fall together
        low = np.clip(np.floor(corner).astype(int), 0, whole - 1)
        high = np.maximum(np.minimum(np.ceil(end).astype(int), whole), low + 1)
        part = image[low[1] : high[1], low[0] : high[0]]
        return np.asarray(cv2.resize(part, pixels, interpolation=cv2.INTER_AREA), np.uint8)
    matrix = np.column_stack([np.diag(scale), 0.5 * scale - 0.5 - corner * scale])
    inside = (corner >= 0).all() and (end <= whole).all()
    border = cv2.BORDER_REPLICATE if inside else cv2.BORDER_CONSTANT
    options: Any = {"flags": cv2.INTER_LINEAR, "borderMode": border, "borderValue": (_GREY,) * 3}
    return np.asarray(cv2.warpAffine(image, matrix, pixels, **options), np.uint8)


# -- drawing ---------------------------------------------------------------------------------


def render(state: State) -> bytes:
    """A state drawn.

    Returns:
        A JPEG of ``look.pixels``. The same state gives the same bytes.
    """
    canvas = np.ascontiguousarray(draw(state)[..., ::-1])
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    _, encoded = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, *sampling])
    return bytes(encoded)


def draw(state: State) -> Canvas:
    """A state drawn as RGB uint8 (height, width, 3)."""
    look, scene, poses, shown = state.look, state.scene, state.poses, state.shown
    x1, y1, x2, _ = state.region
    view = View((x1, y1), look.pixels[0] / (x2 - x1))
    canvas = cut(scene.image, state.region, look.pixels)
    if state.heat is not None:
        _draw_heat(canvas, state.heat, view)
    if state.truth is not None:
        _draw_truth(canvas, state, state.truth, view)
    drawn = (  # poses on annotated boxes have no score
        view.boxes(poses.boxes[shown]),
        np.where(poses.ids[shown] >= 0, np.nan, poses.scores[shown]),
        view.points(poses.keypoints[shown]),
    )
    boxes, scores, points = (array.astype(np.float32) for array in drawn)
    style: Any = {"skeleton": scene.skeleton, "kpt_threshold": look.kpt_threshold}
    canvas = draw_poses(canvas, boxes, scores, points, **style)
    if look.selected is not None:
        for box in view.boxes(poses.boxes[state.chosen]):
            _draw_frame(canvas, box, _NEAR)
    if state.truth is not None:
        _draw_labels(canvas, state, state.truth, view)
    if look.rings and scene.truth is not None:
        for i, person in pairs(poses, scene.truth, state.chosen):
            _draw_rings(canvas, poses.keypoints[i], scene, person, view)
    if look.crops:
        boxes = poses.boxes[state.chosen].astype(np.float32)
        centers, sizes = crop_boxes(boxes, scene.input_size)
        crops = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)
        for crop in view.boxes(crops):
            _draw_dashed(canvas, crop, (255, 255, 255))
    return canvas


def _draw_heat(canvas: Canvas, heat: Heat, view: View) -> None:
    """Lay a heatmap over the image; the hotter, the less of the image is seen."""
    corner, scale = view.points(np.array(heat.corner)), heat.cell * view.scale
    values = np.clip(heat.values / max(float(heat.values.max()), 1e-6), 0, 1).astype(np.float32)
    matrix = np.column_stack([np.eye(2) * scale, corner])
    spread = cv2.warpAffine(values, matrix, canvas.shape[1::-1], flags=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap((255 * spread).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    weight = _HEAT_OPACITY * np.sqrt(spread)[..., None]
    canvas[:] = (canvas * (1 - weight) + colours * weight).astype(np.uint8)


def _draw_truth(canvas: Canvas, state: State, truth: Instances, view: View) -> None:
    """Draw annotated people: green limbs, diamonds (hollow: v = 1), dashed boxes.

    The limbs are a band that is wider than those of a pose: one that is right lies on it.
    """
    people = view.points(truth.keypoints)
    known = np.asarray(np.isfinite(people[..., :2]).all(axis=2), np.bool_)
    spots = [_fixed(joints) for joints in people]
    sizes = [
        float(np.ptp(joints[there, :2], axis=0).max()) if there.any() else 0.0
        for joints, there in zip(people, known, strict=True)
    ]
    widths = (np.array(sizes) / 32).clip(4, 16).astype(int).tolist()
    band = canvas.copy()
    for i, width in enumerate(widths):
        for a, b in state.scene.skeleton.edges:
            if known[i, a] and known[i, b]:
                cv2.line(band, spots[i][a], spots[i][b], _TRUTH, width, cv2.LINE_AA, SHIFT)
    cv2.addWeighted(band, _BAND_OPACITY, canvas, 1 - _BAND_OPACITY, 0, dst=canvas)
    boxes = view.boxes(truth.boxes)
    for i, width in enumerate(widths):
        _draw_dashed(canvas, boxes[i], state.colour_of(truth.ids[i]))
        half = 3 + width // 3
        diamond = np.array(((0, -half), (half, 0), (0, half), (-half, 0))) << SHIFT
        for k in np.flatnonzero(known[i]).tolist():
            corners = [(np.array(spots[i][k]) + diamond).astype(np.int32)]
            inside = _TRUTH if people[i, k, 2] == 2 else DARK
            cv2.polylines(canvas, corners, True, DARK, 3, cv2.LINE_AA, SHIFT)
            cv2.fillPoly(canvas, corners, inside, cv2.LINE_AA, SHIFT)
            cv2.polylines(canvas, corners, True, _TRUTH, 1, cv2.LINE_AA, SHIFT)


def _draw_labels(canvas: Canvas, state: State, truth: Instances, view: View) -> None:
    """Write labels in the lower left corners of annotated boxes; the box in focus in full."""
    size = np.array(canvas.shape[1::-1])
    taken: list[tuple[int, int, int, int]] = []
    for box, number in zip(view.boxes(truth.boxes), truth.ids.tolist(), strict=True):
        colour = state.colour_of(number)
        if number == state.look.focus:
            _draw_frame(canvas, box, colour)
        if number not in state.labels or (box[:2] > size).any() or not (box[2:] >= 0).all():
            continue
        plate = text_plate(state.labels[number][0], 13, colour)
        height, width = plate.shape[:2]
        room = size - (width, height)
        if (room < 0).any():
            continue
        x, y = np.clip((box[[0, 3]] - (0, height)).astype(int), 0, room).tolist()
        while y >= height and any(  # higher where there is another
            x < x2 and x1 < x + width and y < y2 and y1 < y + height for x1, y1, x2, y2 in taken
        ):
            y -= height
        taken.append((x, y, x + width, y + height))
        canvas[y : y + height, x : x + width] = plate


def _draw_rings(canvas: Canvas, points: Float, scene: Scene, person: int, view: View) -> None:
    """Draw the rings of similarity .85 and .5 and a line to where each joint was put.

    It is green for a good joint, yellow for one that is near, vermillion for one that is missed.
    """
    truth, skeleton = scene.truth, scene.skeleton
    assert truth is not None
    near = similarity(points, truth, person, skeleton)
    true, found = _fixed(view.points(truth.keypoints[person])), _fixed(view.points(points))
    for k in np.flatnonzero(np.isfinite(near)).tolist():
        radii = ring_radii(float(truth.areas[person]), skeleton.sigmas[k])
        for radius, colour in zip(radii, (_TRUTH, _FAR), strict=True):
            size = round(min(radius * view.scale, 4000.0) * (1 << SHIFT))
            for ink, width in ((DARK, 3), (colour, 1)):
                cv2.circle(canvas, true[k], size, ink, width, cv2.LINE_AA, SHIFT)
        if np.isfinite(points[k, :2]).all():
            colour = _TRUTH if near[k] >= GOOD else _NEAR if near[k] >= MISSED else _FAR
            for ink, width in ((DARK, 4), (colour, 2)):
                cv2.line(canvas, true[k], found[k], ink, width, cv2.LINE_AA, SHIFT)


def _draw_frame(canvas: Canvas, box: Float, colour: Colour) -> None:
    low, high = _fixed(box.reshape(2, 2))
    for ink, width in ((DARK, 4), (colour, 2)):
        cv2.rectangle(canvas, low, high, ink, width, cv2.LINE_AA, SHIFT)


def _draw_dashed(canvas: Canvas, box: Float, colour: Colour) -> None:
    """Draw a dashed box; dashes that nobody sees are left out, since a box may be huge."""
    x1, y1, x2, y2 = np.clip(box, -16 * max(canvas.shape), 16 * max(canvas.shape))
    limit = np.array(canvas.shape[1::-1]) + _DASH
    for start, end in pairwise(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]])):
        length = float(np.abs(end - start).max())
        along = (end - start) / max(length, 1e-6)
        steps = np.arange(0.0, length, 2 * _DASH)
        both = np.stack([steps, np.minimum(steps + _DASH, length)], axis=1)
        dashes = start + both[..., None] * along  # (n, 2 ends, 2)
        seen = (dashes.max(axis=1) >= -_DASH).all(1) & (dashes.min(axis=1) <= limit).all(1)
        lines = list(np.rint(dashes[seen] * (1 << SHIFT)).astype(np.int32))
        for ink, width in ((DARK, 4), (colour, 2)):
            cv2.polylines(canvas, lines, False, ink, width, cv2.LINE_AA, SHIFT)


def _rgb(colour: str) -> Colour:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def _fixed(points: Float) -> list[tuple[int, int]]:
    """Points (n, 2 or more) in OpenCV's fixed point; NaN becomes 0."""
    flat = np.clip(np.nan_to_num(points[:, :2]), -1e5, 1e5) * (1 << SHIFT)
    return [(int(x), int(y)) for x, y in np.rint(flat)]


# -- what is said of it ----------------------------------------------------------------------


def joint_marks(state: State) -> list[list[Any]]:
    """Joints that are shown, for the pointer: ``[x, y, text]`` in image pixels, edge to edge.

    Pixel centres at whole numbers become half ones: the image's corner is at 0, 0.
    """
    names, truth, poses = state.scene.skeleton.names, state.truth, state.poses
    told: list[tuple[Float, list[str]]] = []
    for points in () if truth is None else truth.keypoints[:_MOST]:
        seen = [("", "hidden", "visible")[int(v)] for v in points[:, 2]]
        told.append((points, [f", annotated, {word}" for word in seen]))
    owner = {} if truth is None else dict(pairs(poses, truth, state.shown))
    for i in state.shown[:_MOST].tolist():
        points = poses.keypoints[i]
        texts = [f"  score {score:.2f}  at {x:.1f}, {y:.1f}" for x, y, score in points]
        if truth is not None and i in owner:
            near = similarity(points, truth, owner[i], state.scene.skeleton)
            away = np.hypot(*(points[:, :2] - truth.keypoints[owner[i], :, :2]).T)
            for k in np.flatnonzero(np.isfinite(near)).tolist():
                texts[k] += f"\n{away[k]:.1f} px off, similarity {near[k]:.2f}"
        told.append((points, texts))
    return [
        [*(points[k, :2] + 0.5).round(2).tolist(), f"{names[k]}{texts[k]}"]
        for points, texts in told
        for k in np.flatnonzero(np.isfinite(points[:, 0])).tolist()
    ]


def box_areas(state: State) -> list[list[Any]]:
    """Boxes that are shown, for the pointer: ``[x1, y1, x2, y2, text, index]``, edge to edge."""
    poses, truth = state.poses, state.truth
    areas: list[list[Any]] = []
    for i in state.shown.tolist():
        detected = f"detected, score {poses.scores[i]:.2f}"
        text = detected if poses.ids[i] < 0 else f"pose on annotated box {poses.ids[i]}"
        areas.append([*poses.boxes[i].round(2).tolist(), text, i])
    if truth is not None:
        for number, crowd, box in zip(truth.ids.tolist(), truth.crowd, truth.boxes, strict=True):
            label = f": {state.labels[number][0]}" if number in state.labels else ""
            text = f"annotated {'crowd' if crowd else 'person'} {number}{label}"
            areas.append([*box.round(2).tolist(), text, -1])
    return areas


def caption_of(state: State, oks_given: float | None) -> str:
    """The caption, as HTML: the image, how much is shown, and the person it is about.

    Args:
        state: what is drawn.
        oks_given: OKS of the person's pose on the annotated box; None or NaN: not known.
    """
    scene, number = state.scene, state.look.focus
    name = f"<b>{html.escape(scene.name)}</b>"
    if scene.error is not None:
        return f"{name}: {html.escape(scene.error)}"
    parts = [f"{len(state.shown)} of {len(state.poses)} poses shown"]
    if scene.truth is not None:
        parts.append(f"{int((~scene.truth.crowd).sum())} annotated")
    if state.heat is not None:
        peak = float(state.heat.values.max())
        parts.append(f"heatmap of {html.escape(state.heat.name)}, peak {peak:.2f}")
    said = f"{name} <span class='soft'>{' · '.join(parts)}</span>"
    if number is not None:
        said += f"<br>person {number}"
        if number in state.labels:
            said += f" {chip(*state.labels[number])}"
        if oks_given is not None and math.isfinite(oks_given):
            said += f" <span class='soft'>OKS {oks_given:.2f} on the annotated box</span>"
    return said


def chip(text: str, colour: str) -> str:
    """A label on its colour ``#rrggbb``, as HTML."""
    red, green, blue = ink_on(_rgb(colour))
    style = f"background:{colour};color:rgb({red},{green},{blue})"
    return f"<span class='kptk-chip' style='{style}'>{html.escape(text)}</span>"


def plain(text: str) -> str:
    """HTML as plain text."""
    return html.unescape(re.sub("<[^>]+>", " ", text)).strip()
