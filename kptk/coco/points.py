"""Labels that are well-formed but may be wrong: points and boxes out of place, balance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kptk.coco.report import ERROR, WARNING, Finding

if TYPE_CHECKING:
    from kptk.coco.data import KeypointData

EDGE = 1.0
"""Pixels a point or box may reach over the image's edge: files count pixels in both ways."""
BOX_MARGIN = 0.1
"""Share of the box's longer side that a visible point may lie outside it. Hidden points may lie
anywhere, since boxes are drawn round what is seen of a person."""
ONE_SIDED = 2.0
"""Left labelled this many times as often as right, or the reverse, is worth a look ..."""
ONE_SIDED_COUNT = 50
"""... from this many labels of the pair on."""


@dataclass(frozen=True, eq=False)
class People:
    """All single people of a data set as arrays, by image and annotation id.

    Attributes:
        ids: (N,) annotation ids.
        points: (N, K, 3) x, y in pixels, v.
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
        areas: (N,) square pixels.
        sizes: (N, 2) height and width of the image, NaN where the file does not say.
    """

    ids: NDArray[np.int64]
    points: NDArray[np.float64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    sizes: NDArray[np.float64]


def gather(data: KeypointData) -> People:
    """The single people of a data set as arrays."""
    joints = len(data.skeleton)
    rows = [(image, person) for image in data.images for person in data.people(image["id"])]
    boxes = np.array([person["bbox"] for _, person in rows], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    points = [person["keypoints"] if joints else [] for _, person in rows]
    sizes = [[image.get(key) or np.nan for key in ("height", "width")] for image, _ in rows]
    return People(
        np.array([person["id"] for _, person in rows], np.int64),
        np.array(points, float).reshape(len(rows), joints, 3),
        boxes,
        np.array([person["area"] for _, person in rows], float),
        np.array(sizes, float).reshape(-1, 2),
    )


def point_findings(data: KeypointData) -> list[Finding]:
    """What is odd about boxes and points."""
    from kptk.coco.sides import side_findings

    people = gather(data)
    findings = _box_findings(people) + _flag_findings(data)
    if len(data.skeleton) and len(people.ids):
        findings += _place_findings(people)
        findings += side_findings(people, data.skeleton)
        findings += _balance_findings(people, data)
    return [finding for finding in findings if finding.count]


def _box_findings(people: People) -> list[Finding]:
    x1, y1, x2, y2 = people.boxes.T
    height, width = people.sizes.T
    outside = (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)
    over = np.max([-x1, -y1, x2 - width, y2 - height], axis=0)
    over = np.where(outside, 0, over)
    too_large = people.areas / ((x2 - x1) * (y2 - y1))
    as_corners = _fit_as_corners(people)
    hint = " They would fit as (x1, y1, x2, y2): convert them." if as_corners else ""
    return [
        Finding(
            "box-outside-image", ERROR, "annotation", tuple(people.ids[outside].tolist()),
            "Boxes lie wholly outside the image, so nobody can find the person.",
            "Correct or remove them.",
        ),
        Finding(
            "box-over-edge", WARNING, "annotation", _worst(people.ids, over, EDGE),
            f"Boxes reach more than {EDGE:g} px over the image's edge.",
            f"Clip them, if the part outside was not meant.{hint}",
        ),
        Finding(
            "area-above-box", WARNING, "annotation", _worst(people.ids, too_large, 1.05),
            "The area is larger than the box's.",
            "The area is the mask's, in square pixels; OKS and the size classes depend on it.",
        ),
    ]  # fmt: skip


def _fit_as_corners(people: People) -> bool:
    """Whether most boxes fit their images only if width and height are read as a corner."""
    corners = np.concatenate([people.boxes[:, :2], people.boxes[:, 2:] - people.boxes[:, :2]], 1)
    limits = people.sizes[:, ::-1] + EDGE
    fits = (corners[:, 2:] > corners[:, :2]).all(1) & (corners[:, 2:] <= limits).all(1)
    return bool((fits & (people.boxes[:, 2:] > limits).any(1)).sum() * 2 > len(people.ids))


def _flag_findings(data: KeypointData) -> list[Finding]:
    people = [person for image_id in data.image_ids for person in data.people(image_id)]
    ignored = tuple(person["id"] for person in people if person.get("ignore"))
    bare = [p["id"] for p in people if len(data.skeleton) and not p["num_keypoints"]]
    return [
        Finding(
            "ignore-flag", WARNING, "annotation", ignored,
            "Persons carry 'ignore', which pycocotools discards: they count like all others.",
            "Set iscrowd to 1 if they must not count.",
        ),
        Finding(
            "person-without-keypoints", WARNING, "annotation", tuple(bare),
            "Persons have a box and no labelled point. They count for the detector; keypoint AP "
            "ignores them.", "Label them, or leave them so if they are too small or hidden.",
        ),
    ]  # fmt: skip


def _place_findings(people: People) -> list[Finding]:
    labelled = people.points[..., 2] > 0
    x, y = people.points[..., 0], people.points[..., 1]
    height, width = people.sizes[:, :1], people.sizes[:, 1:]
    off_image = np.max([-x, -y, x - width, y - height], axis=0)
    off_image = np.where(labelled, np.nan_to_num(off_image), 0).max(axis=1)
    x1, y1, x2, y2 = (people.boxes[:, i : i + 1] for i in range(4))
    off_box = np.max([x1 - x, y1 - y, x - x2, y - y2], axis=0) / np.maximum(x2 - x1, y2 - y1)
    seen = people.points[..., 2] == max(people.points[..., 2].max(), 1)  # some files know no 2
    off_box = np.where(seen, off_box, 0).max(axis=1)
    origin = (labelled & (x == 0) & (y == 0)).sum(axis=1)
    off_box = np.where((off_image > EDGE) | (origin > 0), 0, off_box)
    return [
        Finding(
            "keypoints-at-origin", WARNING, "annotation", _worst(people.ids, origin, 0),
            "Points are labelled (v > 0) at exactly (0, 0), where missing points are often put.",
            "Set v to 0 if they are missing.",
        ),
        Finding(
            "keypoints-outside-image", WARNING, "annotation",
            _worst(people.ids, off_image, EDGE),
            f"Labelled points lie more than {EDGE:g} px outside the image.",
            "Set v to 0 for what the image does not show.",
        ),
        Finding(
            "keypoints-outside-box", WARNING, "annotation",
            _worst(people.ids, off_box, BOX_MARGIN),
            f"Visible points lie outside the box by more than {BOX_MARGIN:.0%} of its longer "
            "side.",
            "Look whether box and points are of the same person.",
        ),
    ]  # fmt: skip


def _balance_findings(people: People, data: KeypointData) -> list[Finding]:
    counts = (people.points[..., 2] > 0).sum(axis=0)
    names = data.skeleton.names
    never = [name for name, count in zip(names, counts, strict=True) if not count]
    uneven = [
        (names[left], names[right])
        for left, right in data.skeleton.flip_pairs
        if counts[left] + counts[right] >= ONE_SIDED_COUNT
        and max(counts[left], counts[right]) > ONE_SIDED * min(counts[left], counts[right])
    ]
    return [
        Finding(
            "joint-never-labelled", WARNING, "joint", tuple(never if counts.any() else ()),
            "Joints have not one label; training cannot learn them, and their AP is undefined.",
        ),
        Finding(
            "labels-one-sided", WARNING, "joint", tuple(uneven),
            f"One side is labelled more than {ONE_SIDED:g} times as often as the other.",
            "Look whether left and right were understood alike by everyone who labelled.",
        ),
    ]  # fmt: skip


def _worst(ids: NDArray[np.int64], badness: NDArray[Any], limit: float) -> tuple[Any, ...]:
    """The ids whose badness is above the limit, the worst first."""
    order: Sequence[int] = np.argsort(-np.nan_to_num(badness), kind="stable").tolist()
    return tuple(int(ids[i]) for i in order if badness[i] > limit)
