"""Skeletons: joint names, limbs, left/right pairs, OKS sigmas. Their only home."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
        mirrored: pairs (left, right) of joint indices; None finds them by the names.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    mirrored: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        if len(self.sigmas) != len(self.names):
            raise InputError(
                f"A skeleton needs one sigma per joint: {len(self.names)} joints, "
                f"{len(self.sigmas)} sigmas. Give one number for each name."
            )
        for what, pairs in (("Edges", self.edges), ("Flip pairs", self.mirrored or ())):
            if any(not 0 <= i < len(self.names) for pair in pairs for i in pair):
                raise InputError(
                    f"{what} must use joint indices 0 to {len(self.names) - 1}. Got {pairs}."
                )
        paired = [joint for pair in self.mirrored or () for joint in pair]
        if len(paired) != len(set(paired)):
            raise InputError(f"A joint can be in one flip pair only. Got {self.mirrored}.")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def flip_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs (left, right) of indices: as given, else found by names such as ``left_x``."""
        if self.mirrored is not None:
            return self.mirrored
        sides = [split_side(name) for name in self.names]
        right = {rest: i for i, (side, rest) in enumerate(sides) if side == "right"}
        return tuple(
            (i, right[rest])
            for i, (side, rest) in enumerate(sides)
            if side == "left" and rest in right
        )

    @cached_property
    def flip_order(self) -> NDArray[np.intp]:
        """Index array [K]: ``keypoints[flip_order]`` swaps left and right."""
        order = np.arange(len(self.names))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return order

    def side(self, joint: int) -> str:
        """``"left"``, ``"right"`` or ``"centre"``, by the joint's pair or name."""
        for left, right in self.flip_pairs:
            if joint in (left, right):
                return "left" if joint == left else "right"
        return split_side(self.names[joint])[0]


def split_side(name: str) -> tuple[str, str]:
    """Split a joint's name into its side and the rest.

    Args:
        name: ``left_knee``, ``Left Knee``, ``leftKnee``, ``l_knee``, ``lKnee``, ``knee_l``, ...

    Returns:
        (``"left"``, ``"right"`` or ``"centre"``; the rest in lower case with underscores).
    """
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    plain = re.sub(r"[\W_]+", "_", plain).strip("_").lower()
    found = re.fullmatch(r"(?:(left|right)_?|([lr])_)(.+)|(.+)_(left|right|l|r)", plain)
    if found is None:
        return "centre", plain
    side = found[1] or found[2] or found[5]
    return ("left" if side.startswith("l") else "right"), found[3] or found[4]


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

# Names: the CrowdPose annotation files; limbs by anatomy, since those files carry COCO's, which do
# not fit; sigmas: CrowdPose's evaluation, head and neck like the shoulders.
CROWDPOSE14 = Skeleton(
    names=(
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
        "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
        "right_ankle", "head", "neck",
    ),
    edges=(
        (12, 13), (13, 0), (13, 1), (0, 2), (2, 4), (1, 3), (3, 5), (13, 6), (13, 7), (6, 7),
        (6, 8), (8, 10), (7, 9), (9, 11),
    ),
    sigmas=(
        0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
        0.079, 0.079,
    ),
)  # fmt: skip

DEFAULT_SIGMA = float(np.mean(COCO17.sigmas))
"""OKS sigma of a joint about which nothing is known: the mean of COCO's 17, 0.0669."""

_ALIASES = {"head_top": "head", "top_head": "head", "headtop": "head", "top_of_head": "head"}
_KNOWN_SIGMAS = {
    split_side(name): sigma
    for skeleton in (CROWDPOSE14, COCO17)
    for name, sigma in zip(skeleton.names, skeleton.sigmas, strict=True)
}


def known_sigma(name: str) -> float | None:
    """The OKS sigma COCO (or, for head and neck, CrowdPose) gives a joint; None if neither does."""
    side, rest = split_side(name)
    return _KNOWN_SIGMAS.get((side, _ALIASES.get(rest, rest)))


def skeleton_of(
    category: Mapping[str, Any],
    sigmas: Sequence[float] | None = None,
    flip_pairs: Sequence[tuple[int, int]] | None = None,
) -> Skeleton:
    """The skeleton a COCO category describes.

    Args:
        category: a COCO category record: ``keypoints`` (names) and ``skeleton`` (pairs of 1-based
            joint numbers). Pairs that name no joint of it are left out.
        sigmas: OKS sigma of each joint. By default the one COCO or CrowdPose gives a joint of that
            name, and :data:`DEFAULT_SIGMA` for every other; ``known_sigma(name) is None`` says
            which those are.
        flip_pairs: pairs (left, right) of 0-based joint indices; by default found by the names.

    Raises:
        InputError: ``sigmas`` or ``flip_pairs`` do not fit the joints.
    """
    names = tuple(str(name) for name in category.get("keypoints") or ())
    if sigmas is None:
        found = [known_sigma(name) for name in names]
        sigmas = [DEFAULT_SIGMA if sigma is None else sigma for sigma in found]
    wrong = [sigma for sigma in sigmas if not float(sigma) > 0]
    if wrong:
        raise InputError(f"OKS sigmas must be positive. Got {wrong[0]!r}.")
    pairs = None if flip_pairs is None else tuple((int(a), int(b)) for a, b in flip_pairs)
    edges = _edges(good_edges(category.get("skeleton") or (), len(names)))
    return Skeleton(names, edges, tuple(map(float, sigmas)), pairs)


def good_edges(pairs: object, n_joints: int) -> list[tuple[int, int]]:
    """Those of a COCO category's 1-based ``skeleton`` pairs that join two of its joints."""
    if not isinstance(pairs, Sequence) or isinstance(pairs, str):
        return []
    joints = range(1, n_joints + 1)
    return [
        (pair[0], pair[1])
        for pair in pairs
        if isinstance(pair, Sequence) and len(pair) == 2
        and all(isinstance(i, int) and i in joints for i in pair) and pair[0] != pair[1]
    ]  # fmt: skip
