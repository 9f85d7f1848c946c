"""Skeletons: joint names, limbs, left/right pairs, OKS sigmas. Their only home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError


@dataclass(frozen=True)
class Skeleton:
    """What is known about a set of joints.

    Attributes:
        names: joint names, in the order of the keypoint array.
        edges: limbs, as pairs of 0-based joint indices.
        sigmas: per-joint OKS constants (COCO's sigma; OKS uses 2 * sigma).
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.sigmas) != len(self.names):
            raise InputError(
                f"A skeleton needs one sigma per joint: {len(self.names)} joints, "
                f"{len(self.sigmas)} sigmas. Give one number for each name."
            )
        if any(not 0 <= i < len(self.names) for edge in self.edges for i in edge):
            raise InputError(
                f"Edges must use joint indices 0 to {len(self.names) - 1}. Got {self.edges}."
            )

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def flip_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs (left, right) of indices, found by the names ``left_x`` and ``right_x``."""
        index = {name: i for i, name in enumerate(self.names)}
        return tuple(
            (i, index["right_" + name[len("left_") :]])
            for name, i in index.items()
            if name.startswith("left_") and "right_" + name[len("left_") :] in index
        )

    @cached_property
    def flip_order(self) -> NDArray[np.intp]:
        """Index array [K]: ``keypoints[flip_order]`` swaps left and right."""
        order = np.arange(len(self.names))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return order

    def side(self, joint: int) -> str:
        """``"left"``, ``"right"`` or ``"centre"``, by the joint's name."""
        head = self.names[joint].partition("_")[0]
        return head if head in ("left", "right") else "centre"


def _edges(pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((a - 1, b - 1) for a, b in pairs)


# Names, limbs (1-based there) and sigmas: COCO 2017 keypoint annotations and cocoapi's Params.
COCO17 = Skeleton(
    names=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
        "left_wrist", "right_wrist", "left_hip", "right_hip",
        "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    edges=_edges([
        (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8),
        (7, 9), (8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
    ]),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072,
        0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
    ),
)  # fmt: skip
