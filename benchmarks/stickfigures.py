"""Made-up people for simulations: stick figures of COCO's 17 joints in COCO-like images.

No pixels: only what an annotation file would say of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kptk.analysis.bundle import People
from kptk.geometry import Bool, Float, Index

WIDTH, HEIGHT = 640, 480

# Lengths as shares of a standing person's height.
_TORSO, _NECK, _UPPER_ARM, _FOREARM, _THIGH, _CALF = 0.29, 0.12, 0.17, 0.15, 0.24, 0.24
_SHOULDERS, _HIPS, _EYES, _EARS = 0.11, 0.08, 0.018, 0.042  # half widths, seen from the front
_MARGIN = 0.05  # of the height, between the outermost joints and the edge of the body
_FILLED = 0.53  # the share of a box that a person covers: CrowdPose's rule
_SMALL = 32.0**2  # COCO labels no joints of smaller people
_SIZES = (3.0, 900.0)  # pixels: shortest and tallest figure


@dataclass(frozen=True, eq=False)
class World:
    """People on images.

    Attributes:
        people: the annotations; ``given`` is NaN throughout.
        whole: (G, 17, 2) where every joint really is, hidden and outside ones included.
        n_images: how many images there are, those without people included.
    """

    people: People
    whole: Float
    n_images: int


def draw_world(n_images: int, rng: np.random.Generator) -> World:
    """Draw the people of some images: 0 to 12 on each, alone or in groups, of all sizes."""
    count = np.minimum(rng.geometric(0.33, n_images) - (rng.random(n_images) < 0.12), 12)
    image = np.repeat(np.arange(n_images), count)
    n = len(image)
    height = np.clip(np.exp(rng.normal(4.7, 0.8, n)), *_SIZES)
    shape = _figures(n, rng) * height[:, None, None]
    whole = shape + _places(image, height, rng)[:, None]
    box = _boxes(whole, height)
    nearer = _hidden(whole, box, image, height)
    points = _labels(whole, nearer, rng)
    area = _FILLED * (box[:, 2:] - box[:, :2]).prod(axis=1)
    points[area < _SMALL] = (np.nan, np.nan, 0)
    points[points[..., 2] == 0, :2] = np.nan
    seen = (area > 24) & (box[:, 2:] > box[:, :2] + 2).all(axis=1)
    return _world(image[seen], box[seen], area[seen], points[seen], whole[seen], n_images)


def _world(
    image: Index, box: Float, area: Float, points: Float, whole: Float, n_images: int
) -> World:
    n = len(image)
    people = People(
        image_ids=image + 1,
        boxes=box,
        scores=np.ones(n),
        keypoints=points,
        areas=area,
        ids=np.arange(1, n + 1),
        crowd=np.zeros(n, np.bool_),
        image=image,
        ignored=~(points[..., 2] > 0).any(axis=1),
        given=np.full((n, 17, 3), np.nan),
    )
    return World(people, whole, n_images)


def _along(angle: Float, length: float) -> Float:
    """(n, 2) a limb that hangs straight down at angle 0, radians."""
    return length * np.stack([np.sin(angle), np.cos(angle)], axis=1)


def _figures(n: int, rng: np.random.Generator) -> Float:
    """(n, 17, 2) joints of figures 1 high, the hips at the origin, y downwards."""
    facing = np.cos(rng.uniform(0, 2 * np.pi, n))  # 1: left shoulder on the picture's right
    across = np.stack([np.where(abs(facing) < 0.2, 0.2, facing), np.zeros(n)], axis=1)
    lean = rng.normal(0, 0.25, n) + (rng.random(n) < 0.05) * 1.4
    sits = rng.random(n) < 0.25
    up = -_along(-lean, _TORSO)
    neck = up * (1 + _NECK / _TORSO)
    joints = np.zeros((n, 17, 2))
    joints[:, 0] = neck + 0.02 * (1 - abs(facing))[:, None] * np.array([1.0, 0.0])
    for side, sign in ((0, 1.0), (1, -1.0)):
        joints[:, 1 + side] = neck + sign * _EYES * across + up * 0.06
        joints[:, 3 + side] = neck + sign * _EARS * across + up * 0.03
        shoulder, hip = up + sign * _SHOULDERS * across, sign * _HIPS * across
        arm = lean + rng.normal(0, 0.6, n) + sign * 0.2
        elbow = shoulder + _along(arm, _UPPER_ARM)
        thigh = rng.normal(0, 0.3, n) + sits * rng.choice([-1.2, 1.2], n)
        knee = hip + _along(thigh, _THIGH)
        joints[:, 5 + side], joints[:, 7 + side] = shoulder, elbow
        joints[:, 9 + side] = elbow + _along(arm + rng.normal(0, 0.9, n), _FOREARM)
        joints[:, 11 + side], joints[:, 13 + side] = hip, knee
        joints[:, 15 + side] = knee + _along(rng.normal(0, 0.3, n), _CALF)
    return joints


def _places(image: Index, height: Float, rng: np.random.Generator) -> Float:
    """(n, 2) where the hips are; two in five people stand beside the one before them."""
    n = len(image)
    spot = rng.uniform((0, 0.2 * HEIGHT), (WIDTH, 0.8 * HEIGHT), (n, 2))
    beside = np.zeros(n, np.bool_)
    beside[1:] = (image[1:] == image[:-1]) & (rng.random(max(n - 1, 0)) < 0.4)
    away = rng.normal(0, 1, (n, 2)) * (0.35, 0.08)
    for i in np.flatnonzero(beside).tolist():
        height[i] = height[i - 1] * np.exp(rng.normal(0, 0.15))
        spot[i] = spot[i - 1] + away[i] * height[i]
    return spot


def _boxes(whole: Float, height: Float) -> Float:
    """(n, 4) round the joints and a little more, inside the image."""
    margin = _MARGIN * height[:, None]
    box = np.concatenate([whole.min(axis=1) - margin, whole.max(axis=1) + margin], axis=1)
    inside: Float = np.clip(box, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    return inside


def _hidden(whole: Float, box: Float, image: Index, height: Float) -> Bool:
    """(n, 17) joints that lie in the middle of the box of somebody larger on the image."""
    hidden = np.zeros(whole.shape[:2], np.bool_)
    middle = (box[:, :2] + box[:, 2:]) / 2
    half = (box[:, 2:] - box[:, :2]) * 0.3
    for step in range(1, 12):  # everybody against those `step` rows further on
        a, b = np.arange(len(image) - step), np.arange(step, len(image))
        same = image[a] == image[b]
        a, b = a[same], b[same]
        front = np.where(height[a] > height[b], a, b)
        behind = np.where(height[a] > height[b], b, a)
        inside = (abs(whole[behind] - middle[front, None]) < half[front, None]).all(axis=2)
        np.logical_or.at(hidden, behind, inside)
    return hidden


def _labels(whole: Float, hidden: Bool, rng: np.random.Generator) -> Float:
    """(n, 17, 3) x, y, v: outside 0; of those hidden half 1, half 0; the rest 2."""
    outside = ((whole < 0) | (whole >= (WIDTH, HEIGHT))).any(axis=2)
    skipped = rng.random(hidden.shape) < 0.5
    hidden = hidden | (rng.random(hidden.shape) < 0.06)
    seen = np.where(hidden, np.where(skipped, 0, 1), 2)
    seen[outside] = 0
    return np.concatenate([whole, seen[..., None]], axis=2)
