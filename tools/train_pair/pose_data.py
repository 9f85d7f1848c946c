"""Batches for the pose model: crops of people, recoloured, with their heatmaps."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kptk.skeleton import COCO17
from tools.train_pair.data import GROUPS, ImageSet, recolour
from tools.train_pair.tinypose import STRIDE

HEIGHT, WIDTH = 128, 96
SIGMA = 1.0  # of the targets, cells
PADDING = 1.25  # as at inference
# Share of each group among the people drawn; "unlabelled" are people of photographs without points.
SHARES = {"coco": 0.48, "lsp": 0.06, "rendered": 0.43, "unlabelled": 0.03}
_UPPER = np.arange(17) < 11  # keypoints 0 to 10 are the upper body
_MIDDLE = np.array([WIDTH / 2, HEIGHT / 2])
Float = NDArray[np.float64]


class Crops(NamedTuple):
    """A batch.

    Attributes:
        images: (N, 3, HEIGHT, WIDTH), 0 to 255, what the model sees.
        clean: the same for a teacher: nothing cut out, no noise, no blur.
        maps: (N, 17, 32, 24) heatmaps of the labels.
        labelled: (N, 17), 1 where there is a label.
        taught: (N,), 1 where a teacher knows more than nothing: photographs.
    """

    images: Tensor
    clean: Tensor
    maps: Tensor
    labelled: Tensor
    taught: Tensor


def region(box: NDArray[Any]) -> tuple[Float, float]:
    """Centre (2,) and width of the region that kptk cuts out for a box (4,)."""
    width, height = box[2:] - box[:2]
    return (box[:2] + box[2:]) / 2, float(max(width, height * WIDTH / HEIGHT)) * PADDING


def targets(points: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Heatmaps as ppdet's ToHeatmapsTopDown_DARK makes them.

    Args:
        points: (N, 17, 2) pixels of the crop.
        seen: (N, 17) whether the keypoint is labelled.

    Returns:
        (N, 17, 32, 24) Gaussians around the exact places, and weights (N, 17).
    """
    h, w = HEIGHT // STRIDE, WIDTH // STRIDE
    mu = points / STRIDE
    reach = 3 * SIGMA
    limit = torch.tensor((w, h))
    near = ((mu - reach < limit) & (mu + reach + 1 > -1)).all(-1)
    xs, ys = (torch.arange(side, dtype=torch.float32) for side in (w, h))
    gap_x = (xs - mu[..., :1]) ** 2 / (2 * SIGMA**2)
    gap_y = (ys - mu[..., 1:]) ** 2 / (2 * SIGMA**2)
    maps = (-gap_y).exp()[..., :, None] * (-gap_x).exp()[..., None, :]
    weight = (seen & near).float()
    return maps * weight[..., None, None], weight


class Drawer:
    """Draws augmented batches.

    Args:
        image_set: the images.
    """

    rng: np.random.Generator

    def __init__(self, image_set: ImageSet) -> None:
        self.image_set = image_set
        self.people = [
            (owner, box, keypoints)
            for owner, box, keypoints in zip(
                image_set.owner, image_set.person_box, image_set.keypoints, strict=True
            )
        ]
        names = [GROUPS[image_set.group[owner]] for owner in image_set.owner]
        known = {(owner, tuple(box)) for owner, box, _ in self.people}
        for number, (boxes, crowd) in enumerate(zip(image_set.boxes, image_set.crowd, strict=True)):
            for box in boxes[~crowd]:
                tall = box[3] - box[1] >= 56
                coco = GROUPS[image_set.group[number]] == "coco"
                if tall and coco and (number, tuple(box)) not in known:
                    self.people.append((number, box, np.zeros((17, 3), np.float32)))
                    names.append("unlabelled")
        self.names = np.array(names)
        self.members = {n: np.flatnonzero(self.names == n) for n in SHARES}
        self.order = list(SHARES)
        share = np.array([SHARES[n] if len(self.members[n]) else 0 for n in self.order])
        self.share = share / share.sum()

    def batch(self, rng: np.random.Generator, n: int, strength: float) -> Crops:
        """Draw ``n`` people; ``strength`` of the augmentation: 1 in full, 0 only mirroring."""
        self.rng = rng
        seen = np.empty((n, HEIGHT, WIDTH, 3), np.uint8)
        clean = np.empty_like(seen)
        points, labelled = np.empty((n, 17, 2), np.float32), np.empty((n, 17), bool)
        taught = np.empty(n, np.float32)
        for k in range(n):
            name = self.order[rng.choice(len(self.order), p=self.share)]
            owner, box, keypoints = self.people[rng.choice(self.members[name])]
            matrix, mirrored = self.view(box, keypoints, strength)
            if mirrored:
                keypoints = keypoints[COCO17.flip_order]
            image = self.image_set.pixels[owner]
            crop = cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
            points[k] = keypoints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
            labelled[k] = keypoints[:, 2] > 0
            taught[k] = name != "rendered"
            clean[k] = crop
            black = (crop == 0).all(-1)
            crop = recolour(crop, rng, strength)
            crop[black] = 0
            seen[k] = self.cut_out(crop, points[k], labelled[k], strength)
        maps, weight = targets(torch.from_numpy(points), torch.from_numpy(labelled))
        x, y = (torch.from_numpy(a).permute(0, 3, 1, 2).float() for a in (seen, clean))
        return Crops(x, y, maps, weight, torch.from_numpy(taught))

    def view(
        self, box: NDArray[np.float32], keypoints: NDArray[np.float32], strength: float
    ) -> tuple[Float, bool]:
        """The (2, 3) matrix from image to crop, and whether it mirrors.

        Regions are as a detector with its faults would give them, and beyond.
        """
        rng = self.rng

        def normal(*shape: int) -> Float:
            return rng.normal(size=shape).clip(-2, 2)

        box = box.astype(np.float64)
        side = np.tile(box[2:] - box[:2], 2)
        if rng.random() < 0.6 * strength:
            box = box + normal(4) * 0.05 * side
        center, span = region(box)
        there = keypoints[:, 2] > 0
        if rng.random() < 0.2 * strength and there.sum() > 8:
            half = there & (_UPPER if rng.random() < 0.65 else ~_UPPER)
            if half.sum() > 2:
                low, high = keypoints[half, :2].min(0), keypoints[half, :2].max(0)
                center = keypoints[half, :2].mean(0).astype(np.float64)
                span = max(high[0] - low[0], (high[1] - low[1]) * WIDTH / HEIGHT, 6.0) * 1.5
        span = max(4.0, span * (1 + 0.15 * strength * float(normal())))
        angle = math.radians(25) * strength * float(normal()) * (rng.random() < 0.6)
        mirror = -1.0 if rng.random() < 0.5 else 1.0
        cos, sin = math.cos(angle), math.sin(angle)
        turn = np.array([[mirror * cos, mirror * sin], [-sin, cos]]) * WIDTH / span
        return np.hstack([turn, (_MIDDLE - turn @ center)[:, None]]), mirror < 0

    def cut_out(
        self,
        crop: NDArray[np.uint8],
        points: NDArray[np.float32],
        labelled: NDArray[np.bool_],
        strength: float,
    ) -> NDArray[np.uint8]:
        """A disc of noise or black over a labelled keypoint of some crops."""
        rng = self.rng
        if rng.random() < 0.3 * strength and labelled.any():
            x, y = points[rng.choice(np.flatnonzero(labelled))] + rng.normal(size=2) * 5
            radius = int(rng.uniform(0.08, 0.18) * WIDTH)
            colour = (0, 0, 0) if rng.random() < 0.5 else rng.integers(0, 256, 3).tolist()
            if abs(x) < 1000 and abs(y) < 1000:
                cv2.circle(crop, (round(float(x)), round(float(y))), radius, colour, -1)
        return crop
