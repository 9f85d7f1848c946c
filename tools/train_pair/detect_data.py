"""Batches for the detector: windows and mosaics of images, recoloured, with their boxes."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from tools.train_pair.data import GROUPS, ImageSet, recolour
from tools.train_pair.detect_loss import Batch

MAX_BOXES = 40
FILL = 114  # grey outside of images
# Share of each group among the images drawn.
SHARES = {"coco": 0.5, "lsp": 0.04, "negative": 0.04, "rendered": 0.42}
MOSAIC = 0.5  # share of images that are mosaics of four


class Drawer:
    """Draws augmented batches.

    Args:
        image_set: the images.
    """

    rng: np.random.Generator

    def __init__(self, image_set: ImageSet) -> None:
        self.image_set = image_set
        group = np.array(image_set.group)
        self.members = {n: np.flatnonzero(group == GROUPS.index(n)) for n in SHARES}
        there = [n for n in SHARES if len(self.members[n])]
        self.names = there
        share = np.array([SHARES[n] for n in there])
        self.share = share / share.sum()

    def number(self) -> int:
        """A random image."""
        name = self.names[self.rng.choice(len(self.names), p=self.share)]
        return int(self.rng.choice(self.members[name]))

    def batch(self, rng: np.random.Generator, n: int, side: int, strength: float) -> Batch:
        """Draw ``n`` images of ``side`` pixels squared.

        Args:
            rng: random numbers.
            n: how many.
            side: pixels.
            strength: of the augmentation: 1 in full, 0 none but mirroring.
        """
        self.rng = rng
        images = np.empty((n, side, side, 3), np.uint8)
        boxes = np.zeros((n, MAX_BOXES, 4), np.float32)
        people = np.zeros((n, MAX_BOXES), bool)
        ignored = np.zeros((n, MAX_BOXES), bool)
        for k in range(n):
            image, found, certain = self.one(side, strength)
            images[k] = image
            if len(found) > MAX_BOXES:  # people first, large ones first
                size = (found[:, 2:] - found[:, :2]).prod(1) + 1e9 * certain
                order = np.argsort(-size)[:MAX_BOXES]
                found, certain = found[order], certain[order]
            boxes[k, : len(found)] = found
            people[k, : len(found)] = certain
            ignored[k, : len(found)] = ~certain
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        return Batch(x, *(torch.from_numpy(a) for a in (boxes, people, ignored)))

    def one(self, side: int, strength: float) -> tuple[NDArray[np.uint8], ...]:
        """An image, its boxes (M, 4), and which of them are people for certain (M,)."""
        rng = self.rng
        canvas = np.full((side, side, 3), FILL, np.uint8)
        if rng.random() < MOSAIC * (2 * strength - 1):  # none at the end
            cx, cy = (rng.uniform(0.25, 0.75, 2) * side).round().astype(int)
            cells = [(0, 0, cx, cy), (cx, 0, side, cy), (0, cy, cx, side), (cx, cy, side, side)]
            zoom = (0.35, 1.1)
        else:
            cells, zoom = [(0, 0, side, side)], (0.6, 1.9)
            if rng.random() > 0.75 * strength:
                zoom = (1.0, 1.0)
        parts = [self.place(canvas, cell, zoom, strength) for cell in cells]
        boxes = np.concatenate([p[0] for p in parts])
        certain = np.concatenate([p[1] for p in parts])
        if rng.random() < 0.5:
            canvas = np.ascontiguousarray(canvas[:, ::-1])
            boxes = np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], 1)
        return recolour(canvas, rng, strength), boxes, certain

    def place(
        self,
        canvas: NDArray[np.uint8],
        cell: tuple[int, int, int, int],
        zoom: tuple[float, float],
        strength: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Put a random image into a cell of the canvas, at a scale that ``zoom`` bounds.

        At scale 1 the image is stretched to the whole canvas, as at inference. People of whom less
        than a third stays in the cell become regions to ignore.
        """
        rng, side = self.rng, len(canvas)
        number = self.number()
        image, boxes = self.image_set.pixels[number], self.image_set.boxes[number]
        height, width = image.shape[:2]
        left, top, right, bottom = cell
        if zoom[0] == zoom[1]:
            scale = np.ones(2)
        else:
            skew = np.exp(rng.uniform(-0.25, 0.25) * strength)
            scale = np.exp(rng.uniform(*np.log(zoom))) * np.array([skew, 1 / skew])
        sx, sy = scale * side / np.array([width, height])
        # Any shift that fills the cell if the image is larger, or keeps it inside if smaller.
        free = np.array([right - left, bottom - top]) - scale * side
        shift = np.array([left, top]) + free * rng.random(2)
        matrix = np.array(
            [[sx, 0, shift[0] - left + sx / 2 - 0.5], [0, sy, shift[1] - top + sy / 2 - 0.5]]
        )
        shape = (int(right - left), int(bottom - top))
        # As at inference, cubic and without smoothing; sometimes linear or smoothed.
        how = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR
        if max(sx, sy) < 0.45 and rng.random() < 0.5:
            half = (max(1, width // 2), max(1, height // 2))
            image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
            matrix[:, :2] *= [[width / half[0], height / half[1]]]
        canvas[top:bottom, left:right] = cv2.warpAffine(
            image,
            matrix,
            shape,
            flags=how,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(FILL, FILL, FILL),
        )
        moved = boxes * np.array([sx, sy, sx, sy]) + np.tile(shift, 2)
        clipped = np.clip(moved, [left, top, left, top], [right, bottom, right, bottom])
        sides = clipped[:, 2:] - clipped[:, :2]
        full = (moved[:, 2:] - moved[:, :2]).prod(1).clip(1e-6)
        rest = sides.clip(0).prod(1) / full
        there = (sides > 1).all(1)
        certain = ~self.image_set.crowd[number] & (rest > 0.35) & (sides > 2.5).all(1)
        return clipped[there].astype(np.float32), certain[there]
