"""LabelMe point labels → COCO."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from kptk.coco.layout import is_inside, read_json
from kptk.coco.rules import AREA_OF_BOX, polygon_area
from kptk.coco.write import document
from kptk.errors import DataError, InputError, nearest
from kptk.skeleton import COCO17, CROWDPOSE14, Skeleton, skeleton_of, split_side

GROWTH = 0.1
"""A person without a box gets that of its points, larger by this share of it on each side."""
_HIDDEN = frozenset(("hidden", "occluded", "invisible"))


def labelme_to_coco(
    folder: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    joints: Sequence[str] | None = None,
) -> tuple[dict[str, Any], Path]:
    """Read a folder of LabelMe files.

    Points carry a joint's name as label; points and the rectangle or polygon of a person share a
    ``group_id``. Without one, a point belongs to the only shape it lies in, or, on an image
    without shapes, to the only person. A point is hidden (v = 1) if it has a true flag or a
    description ``hidden`` or ``occluded``, or is marked difficult; otherwise it is visible (v = 2).
    Joints without a point are not labelled. The area is the polygon's, else 0.53 of the box's.

    Args:
        folder: of ``*.json`` files, read with its subfolders.
        images: the folder that file names shall be relative to; by default the same one.
        joints: names of all joints, in order. By default COCO's 17 or CrowdPose's 14, if every
            label is one of theirs.

    Returns:
        The COCO document and the image folder. Ids count from 1, by file name.

    Raises:
        DataError: a file is none of LabelMe's, a label is no joint, a person has one twice, or a
            point could belong to several.
    """
    root = Path(folder).expanduser()
    files = sorted(root.rglob("*.json"))
    if not files:
        raise DataError(f"{str(root)!r} must hold LabelMe's .json files. Found none.")
    pages = [_read_page(file) for file in files]
    skeleton = _skeleton(pages, joints)
    place = root if images is None else Path(images).expanduser()
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for page in sorted(pages, key=lambda page: page.image_name(place)):
        number = len(records) + 1
        records.append({
            "id": number, "file_name": page.image_name(place),
            "width": page.width, "height": page.height,
        })  # fmt: skip
        for person in _people(page):
            record = _annotation(person, page, skeleton)
            annotations.append({"id": len(annotations) + 1, "image_id": number, **record})
    return document(records, annotations, skeleton, "Converted from LabelMe by kptk"), place


@dataclass(frozen=True)
class _Page:
    file: Path
    shapes: list[dict[str, Any]]
    image_path: str
    width: int
    height: int

    def image_name(self, place: Path) -> str:
        """Its image's path relative to ``place``; Windows' separators are understood."""
        relative = PureWindowsPath(self.image_path).as_posix()
        for candidate in (self.file.parent / relative, place / Path(relative).name):
            name = os.path.relpath(candidate, place)
            if candidate.is_file() and is_inside(place, name):
                return Path(name).as_posix()
        raise DataError(
            f"{self.file}: the image {self.image_path!r} is neither beside it nor in {place}. "
            "Pass images=, the folder it lies in."
        )


@dataclass
class _Person:
    points: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    outline: list[list[float]] | None = None
    is_polygon: bool = False


def _read_page(file: Path) -> _Page:
    content = read_json(file)
    try:
        shapes = [dict(shape) for shape in content["shapes"]]
        for shape in shapes:
            shape["points"] = [[float(x), float(y)] for x, y in shape["points"]]
            shape["label"] = str(shape["label"])
        size = int(content["imageWidth"]), int(content["imageHeight"])
        return _Page(file, shapes, str(content["imagePath"]), *size)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{file} must be a LabelMe file with imagePath, imageWidth, imageHeight and shapes "
            f"(label, points). Trouble with {error}."
        ) from error


def _is_point(shape: Mapping[str, Any]) -> bool:
    return bool(shape.get("shape_type") == "point")


def _skeleton(pages: Sequence[_Page], joints: Sequence[str] | None) -> Skeleton:
    labels = {s["label"]: page.file for page in pages for s in page.shapes if _is_point(s)}
    if not labels:
        raise DataError(
            f"{pages[0].file.parent} must hold LabelMe files with points (shape_type 'point'). "
            "Found none."
        )
    if joints is None:
        for skeleton in (COCO17, CROWDPOSE14):
            if {split_side(label) for label in labels} <= set(map(split_side, skeleton.names)):
                return skeleton
    known = list(joints or COCO17.names)
    strange = [x for x in labels if split_side(x) not in set(map(split_side, known))]
    if strange:
        raise DataError(
            f"{labels[strange[0]]}: the label {strange[0]!r} is no joint."
            f"{nearest(strange[0], known)} Pass joints=, the names of all joints in order."
        )
    try:
        return skeleton_of({"keypoints": known})
    except InputError as error:
        raise DataError(str(error)) from error


def _people(page: _Page) -> list[_Person]:
    """Join shapes to people: by group id, else by lying inside, else one person an image."""
    people: dict[Any, _Person] = {}
    for place, shape in enumerate(page.shapes):
        if _is_point(shape):
            continue
        group = shape.get("group_id")
        key = ("alone", place) if group is None else ("group", group)
        if people.setdefault(key, _Person()).outline is not None:
            raise DataError(f"{page.file}: the group {group} has two boxes; a person has one.")
        people[key].outline = shape["points"]
        people[key].is_polygon = shape.get("shape_type", "polygon") == "polygon"
    for shape in filter(_is_point, page.shapes):
        person = people.setdefault(_owner(shape, people, page), _Person())
        _add_point(person, shape, page)
    return list(people.values())


def _owner(shape: Mapping[str, Any], people: Mapping[Any, _Person], page: _Page) -> Any:
    if shape.get("group_id") is not None:
        return ("group", shape["group_id"])
    x, y = shape["points"][0]
    outlines = {key: person.outline for key, person in people.items() if person.outline}
    if not outlines:
        return ("alone", "the only one")
    inside = [key for key, outline in outlines.items() if _contains(outline, x, y)]
    if len(inside) == 1:
        return inside[0]
    if not inside and len(outlines) == 1:
        return next(iter(outlines))
    raise DataError(
        f"{page.file}: the point {shape['label']!r} at ({x:g}, {y:g}) has no group_id and lies in "
        f"{len(inside)} boxes. Give a person's points and box one group_id."
    )


def _contains(outline: Sequence[Sequence[float]], x: float, y: float) -> bool:
    x1, y1, x2, y2 = _corners(outline)
    return x1 <= x <= x2 and y1 <= y <= y2


def _corners(points: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return min(xs), min(ys), max(xs), max(ys)


def _add_point(person: _Person, shape: Mapping[str, Any], page: _Page) -> None:
    label = shape["label"]
    if label in person.points:
        raise DataError(
            f"{page.file}: a person has {label!r} twice. Give each person a group_id of its own."
        )
    flags = {str(name).lower() for name, value in (shape.get("flags") or {}).items() if value}
    words = {str(shape.get("description") or "").strip().lower()} | flags
    hidden = bool(words & _HIDDEN) or bool(shape.get("difficult"))
    x, y = shape["points"][0]
    person.points[label] = (x, y, 1 if hidden else 2)


def _annotation(person: _Person, page: _Page, skeleton: Skeleton) -> dict[str, Any]:
    by_joint = {split_side(label): point for label, point in person.points.items()}
    points = [by_joint.get(split_side(name), (0, 0, 0)) for name in skeleton.names]
    x1, y1, x2, y2 = _corners(person.outline) if person.outline else _box_of_points(person, page)
    record: dict[str, Any] = {
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": [value for point in points for value in point],
        "num_keypoints": len(person.points),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": AREA_OF_BOX * (x2 - x1) * (y2 - y1),
    }
    if person.is_polygon and person.outline and len(person.outline) > 2:
        record["segmentation"] = [[value for point in person.outline for value in point]]
        record["area"] = polygon_area(record["segmentation"][0])
    return record


def _box_of_points(person: _Person, page: _Page) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = _corners([point[:2] for point in person.points.values()])
    dx, dy = max(GROWTH * (x2 - x1), 1), max(GROWTH * (y2 - y1), 1)
    return max(x1 - dx, 0), max(y1 - dy, 0), min(x2 + dx, page.width), min(y2 + dy, page.height)
