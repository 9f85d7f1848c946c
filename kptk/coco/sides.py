"""Persons whose left and right are probably labelled the wrong way round.

Three rules, each of which anatomy nearly rules out by chance, and none of which depends on how the
person is turned in the picture.

Measured on the 3,895 rendered people of ``data/demo``, whose labels are exact: 2,373 can be judged,
4 of them are named wrongly (0.2 %). With left and right of everyone swapped, 99 % of those with a
visible face are found (65 % of all that can be judged: a back view does not tell). With shoulders
and arms alone swapped, 93 % are found. On four COCO photographs 11 people can be judged: none is
named, and 9 are when their sides are swapped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kptk.coco.report import WARNING, Finding
from kptk.skeleton import Skeleton, split_side

if TYPE_CHECKING:
    from kptk.coco.points import People

Array = NDArray[np.float64]

FACE_HEIGHT = 0.2
"""How far the nose must lie off the line of the eyes, in distances of the eyes."""
OPPOSED = -0.8
"""Cosine below which two left-to-right directions are called opposed (over 143 degrees apart)."""
FACE_WIDTH = 0.04
"""Least distance of the eyes, in lengths of the trunk, for a face to be seen from the front."""
TRUNK_WIDTH = 0.35
"""Least width of shoulders and hips, in lengths of the trunk, for them to be seen broadside."""


def side_findings(people: People, skeleton: Skeleton) -> list[Finding]:
    """Persons whose sides are probably swapped, as at most one finding."""
    swapped, judged = probable_swaps(people.points, skeleton)
    ids = tuple(people.ids[swapped].tolist())
    share = f"{len(ids)} of the {int(judged.sum())} persons that can be judged"
    most = len(ids) > 0.5 * judged.sum()
    return [
        Finding(
            "sides-swapped", WARNING, "annotation", ids,
            f"Left and right are probably swapped for {share}: eyes and nose are those of a "
            "mirrored face, or shoulders point against the eyes or the hips.",
            "Most are: look whether the joint names' left is the person's own left, as it must be."
            if most else "Look at them; swap the labels if so.",
        )
    ]  # fmt: skip


def probable_swaps(
    points: Array, skeleton: Skeleton
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Judge whose left and right are swapped.

    1. *Mirrored face*: eyes and nose are visible (v = 2), and going from the right eye to the left
       one and on to the nose turns the wrong way, with the nose at least ``FACE_HEIGHT`` eye
       distances off the line of the eyes. A face is never seen from behind, and this turn stays
       the same however head or camera are rolled.
    2. *Shoulders against eyes*: the same three points are visible and not mirrored, the shoulders
       are at least ``TRUNK_WIDTH`` of the trunk's length apart, and point against the eyes. No
       one can turn the head so far that both eyes are seen above a back.
    3. *Shoulders against hips*: both at least ``TRUNK_WIDTH`` wide and opposed: the spine does not
       turn half round.

    Args:
        points: (N, K, 3) x, y, v.
        skeleton: its joint names say which joints those are; rules whose joints it lacks are
            left out.

    Returns:
        (N,) whether a rule says swapped, and (N,) whether any rule could judge.
    """
    none = np.zeros(len(points), bool)
    swapped, judged = none.copy(), none.copy()
    joints = _Joints(points, skeleton)
    eyes, shoulders, hips = joints.across("eye"), joints.across("shoulder"), joints.across("hip")
    trunk = _length(joints.middle("shoulder") - joints.middle("hip"))
    broad = (_length(shoulders) > TRUNK_WIDTH * trunk) & (trunk > 0)
    height = _cross(eyes, joints.at("nose") - joints.middle("eye")) / _length(eyes) ** 2
    face = joints.seen("left_eye", "right_eye", "nose") & (np.abs(height) > FACE_HEIGHT)
    mirrored = face & (height < 0)
    front = face & ~mirrored & broad & (_length(eyes) > FACE_WIDTH * trunk)
    wide = broad & (_length(hips) > TRUNK_WIDTH * trunk)
    for able, wrong in (
        (face, mirrored),
        (front, front & (_cosine(eyes, shoulders) < OPPOSED)),
        (wide, wide & (_cosine(shoulders, hips) < OPPOSED)),
    ):
        judged |= able
        swapped |= wrong
    return swapped, judged


class _Joints:
    """Joints by name; unlabelled and absent ones are NaN, which every comparison refuses."""

    def __init__(self, points: Array, skeleton: Skeleton) -> None:
        sides = [split_side(name) for name in skeleton.names]
        names = [rest if side == "centre" else f"{side}_{rest}" for side, rest in sides]
        self.index = {name: i for i, name in enumerate(names)}
        self.visibility = points[..., 2]
        self.xy = np.where(points[..., 2:] > 0, points[..., :2], np.nan)

    def at(self, name: str) -> Array:
        """(N, 2) places of a joint."""
        if name not in self.index:
            return np.full((len(self.xy), 2), np.nan)
        return self.xy[:, self.index[name]]

    def across(self, part: str) -> Array:
        """(N, 2) from the right one to the left one."""
        return self.at(f"left_{part}") - self.at(f"right_{part}")

    def middle(self, part: str) -> Array:
        """(N, 2) between left and right."""
        return (self.at(f"left_{part}") + self.at(f"right_{part}")) / 2

    def seen(self, *names: str) -> NDArray[np.bool_]:
        """(N,) whether all of them are labelled as visible."""
        if not set(names) <= set(self.index):
            return np.zeros(len(self.xy), bool)
        found: NDArray[np.bool_] = np.all(
            [self.visibility[:, self.index[name]] == 2 for name in names], axis=0
        )
        return found


def _length(vectors: Array) -> Array:
    lengths: Array = np.hypot(vectors[:, 0], vectors[:, 1])
    return np.where(lengths > 0, lengths, np.nan)


def _cross(a: Array, b: Array) -> Array:
    """Positive where b points clockwise of a on the screen (y is down)."""
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _cosine(a: Array, b: Array) -> Array:
    dots: Array = (a * b).sum(axis=1)
    return dots / (_length(a) * _length(b))
