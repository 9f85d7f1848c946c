"""A person's labels in a COCO annotation: read, and written back with what was edited.

Coordinates are pixels of the image; the annotation's (x, y, width, height) stays in here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from kptk.coco.rules import area_of, labelled

Record = dict[str, Any]
Box = tuple[float, float, float, float]

DECIMALS = 2  # of coordinates, as in COCO's files


class Point(NamedTuple):
    """A joint: x, y, and v as in COCO: 0 not labelled, 1 hidden, 2 visible."""

    x: float
    y: float
    v: int


NOT_LABELLED = Point(math.nan, math.nan, 0)


@dataclass(frozen=True)
class Person:
    """A person's labels.

    Attributes:
        id: of the annotation.
        image_id: of the image.
        box: x1, y1, x2, y2.
        points: one a joint; those without a label are ``NOT_LABELLED``.
    """

    id: int
    image_id: int
    box: Box
    points: tuple[Point, ...]

    @property
    def n_labelled(self) -> int:
        """The number of points with v > 0."""
        return sum(point.v > 0 for point in self.points)


def read_person(record: Record, n_joints: int) -> Person:
    """A person from its COCO annotation."""
    values = record.get("keypoints") or [0] * (3 * n_joints)
    triples = zip(values[0::3], values[1::3], values[2::3], strict=True)
    points = tuple(Point(x, y, int(v)) if v else NOT_LABELLED for x, y, v in triples)
    x, y, width, height = record["bbox"]
    return Person(record["id"], record["image_id"], (x, y, x + width, y + height), points)


def update_record(record: Record, person: Person) -> Record:
    """A COCO annotation with a person's edits; what was not edited stays as it was written.

    ``num_keypoints`` is counted again. A new box gets a new area: that of the mask if there is
    one; else the former area grows as the box does, which keeps the file's own rule.
    """
    old = read_person(record, len(person.points))
    changed = dict(record)
    if person.points != old.points:
        values = list(record.get("keypoints") or [0] * (3 * len(person.points)))
        for i, (before, after) in enumerate(zip(old.points, person.points, strict=True)):
            if after != before:
                values[3 * i : 3 * i + 3] = _triple(after)
        changed["keypoints"] = values
        changed["num_keypoints"] = labelled(changed)
    if person.box != old.box:
        changed["bbox"] = _xywh(person.box)
        if not area_of({**record, "bbox": [0, 0, 0, 0]}):  # no mask
            growth = _box_area(person.box) / _box_area(old.box)
            changed["area"] = round(record["area"] * growth, DECIMALS)
    return changed


def write_person(person: Person, category_id: int) -> Record:
    """The COCO annotation of a new person; its area is what ``area_of`` takes without a mask."""
    record: Record = {
        "id": person.id,
        "image_id": person.image_id,
        "category_id": category_id,
        "iscrowd": 0,
        "bbox": _xywh(person.box),
        "segmentation": [],
        "keypoints": [value for point in person.points for value in _triple(point)],
        "num_keypoints": person.n_labelled,
    }
    record["area"] = round(area_of(record), DECIMALS)
    return record


def _triple(point: Point) -> list[float]:
    return [point.x, point.y, point.v] if point.v else [0, 0, 0]


def _xywh(box: Box) -> list[float]:
    x1, y1, x2, y2 = box
    return [round(value, DECIMALS) for value in (x1, y1, x2 - x1, y2 - y1)]


def _box_area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
