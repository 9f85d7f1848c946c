"""A person's labels in a COCO annotation: read, and written back with what was edited.

Coordinates are pixels of the image; the annotation's (x, y, width, height) stays in here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kptk.coco import KeypointData
from kptk.coco.checks import has_size
from kptk.coco.rules import area_of, labelled
from kptk.errors import InputError
from kptk.geometry import iou
from kptk.instances import Instances

if TYPE_CHECKING:
    from kptk.evaluation import Evaluation
    from kptk.evaluation.predictions import Predictions


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


# ---- edits: Labels while they are corrected: every edit can be taken back, and the data is never
# touched.
#
# Nothing in here knows of a browser. Coordinates are pixels of the image.


@dataclass(frozen=True)
class Edit:
    """One change of one person; None before: the person is new, None after: it is gone."""

    before: Person | None
    after: Person | None
    what: str

    @property
    def person(self) -> Person:
        """Whom it is about."""
        found = self.after or self.before
        assert found is not None
        return found


class Labels:
    """The people of a data set, and every edit made to them.

    Args:
        data: the labels to start from; they are not changed.
        changed: called after every edit, and after every one taken back or done again.
    """

    def __init__(self, data: KeypointData, changed: Callable[[Edit], None] | None = None) -> None:
        self._changed = changed
        self._source = data
        self._path = data.annotations_path
        self._n_joints = len(data.skeleton)
        self._records = {
            record["id"]: record for image_id in data.image_ids for record in data.people(image_id)
        }
        self._new: dict[int, list[int]] = {}  # by image: ids of the people that were added
        self._people: dict[int, Person | None] = {}  # as edited; None: removed
        ids = (record["id"] for record in data.content["annotations"])
        self._next_id = max(ids, default=0) + 1
        self._done: list[Edit] = []
        self._undone: list[Edit] = []
        self._saved: Edit | None = None

    def people(self, image_id: int) -> list[Person]:
        """The single people on an image as they are now, by id."""
        ids = [record["id"] for record in self._source.people(image_id)]
        found = (self._now(i) for i in [*ids, *self._new.get(image_id, ())])
        return [person for person in found if person is not None]

    def person(self, person_id: int) -> Person:
        """One person as it is now.

        Raises:
            InputError: there is none of that id.
        """
        person = self._now(person_id)
        if person is None:
            raise InputError(f"There is no person {person_id!r}; it may have been removed.")
        return person

    def _now(self, person_id: int) -> Person | None:
        if person_id in self._people:
            return self._people[person_id]
        record = self._records.get(person_id)
        return None if record is None else read_person(record, self._n_joints)

    def size(self, image_id: int) -> tuple[int, int]:
        """(height, width) of an image, read from its file where the annotations do not say it."""
        image = self._source.image(image_id)
        if has_size(image):
            return int(image["height"]), int(image["width"])
        height, width = self._source.read(image_id).shape[:2]
        return height, width

    def move_point(
        self, person_id: int, joint: int, x: float, y: float, v: int | None = None
    ) -> Edit:
        """Put a joint somewhere; outside the image is moved to its edge.

        Args:
            person_id: whose joint.
            joint: its index.
            x: column in pixels.
            y: row in pixels.
            v: 1 hidden or 2 visible; None leaves it, and makes a joint without label visible.

        Raises:
            InputError: there is no such person or joint, or a number cannot be used.
        """
        person = self.person(person_id)
        old = person.points[self._joint(joint)]
        shown = (old.v or 2) if v is None else _visibility(v)
        if shown == 0:
            return self.set_visibility(person_id, joint, 0)
        height, width = self.size(person.image_id)
        new = Point(_within(x, width), _within(y, height), shown)
        return self._apply(person, _with_point(person, joint, new), f"{self._name(joint)} moved")

    def set_visibility(self, person_id: int, joint: int, v: int) -> Edit:
        """Say whether a joint is 0 not labelled, 1 hidden, 2 visible.

        Raises:
            InputError: it is another number, or the joint has no place yet.
        """
        person = self.person(person_id)
        old, v = person.points[self._joint(joint)], _visibility(v)
        if v and not old.v:
            raise InputError(
                f"{self._name(joint)} has no place yet. Put it somewhere first: move_point."
            )
        new = old._replace(v=v) if v else NOT_LABELLED
        word = ("not labelled", "hidden", "visible")[v]
        return self._apply(person, _with_point(person, joint, new), f"{self._name(joint)} {word}")

    def set_box(self, person_id: int, box: Sequence[float]) -> Edit:
        """Give a person another box (x1, y1, x2, y2), cut at the image's edge.

        Raises:
            InputError: there is no such person, or the box cannot be used.
        """
        person = self.person(person_id)
        new = replace(person, box=self._box(box, person.image_id))
        return self._apply(person, new, "box changed")

    def add(
        self, image_id: int, box: Sequence[float], points: Sequence[Point] | None = None
    ) -> Edit:
        """Add a person.

        Args:
            image_id: on which image.
            box: x1, y1, x2, y2, cut at the image's edge.
            points: one a joint; None: none is labelled.

        Raises:
            DataError: there is no such image.
            InputError: the box or the number of joints cannot be used.
        """
        joints = tuple(points or [NOT_LABELLED] * self._n_joints)
        if len(joints) != self._n_joints:
            raise InputError(f"A person needs {self._n_joints} points. Got {len(joints)}.")
        height, width = self.size(image_id)
        inside = tuple(
            Point(_within(p.x, width), _within(p.y, height), p.v) if p.v else NOT_LABELLED
            for p in joints
        )
        person = Person(self._next_id, image_id, self._box(box, image_id), inside)
        self._next_id += 1
        self._new.setdefault(image_id, []).append(person.id)
        return self._apply(None, person, "person added")

    def remove(self, person_id: int) -> Edit:
        """Remove a person.

        Raises:
            InputError: there is none of that id.
        """
        return self._apply(self.person(person_id), None, "person removed")

    def undo(self) -> Edit | None:
        """Take the last edit back and return it; None if there is none."""
        if not self._done:
            return None
        edit = self._done.pop()
        self._undone.append(edit)
        return self._set(edit, edit.before)

    def redo(self) -> Edit | None:
        """Do again what was taken back last, and return it; None if there is nothing."""
        if not self._undone:
            return None
        edit = self._undone.pop()
        self._done.append(edit)
        return self._set(edit, edit.after)

    @property
    def n_done(self) -> int:
        """How many edits can be taken back."""
        return len(self._done)

    @property
    def n_undone(self) -> int:
        """How many edits can be done again."""
        return len(self._undone)

    @property
    def unsaved(self) -> bool:
        """Whether the labels are others than were marked as saved."""
        return (self._done[-1] if self._done else None) is not self._saved

    def mark_saved(self, path: Path) -> None:
        """Take the labels as they are for saved to a file, which ``data`` names from now on."""
        self._saved = self._done[-1] if self._done else None
        self._path = path

    @property
    def data(self) -> KeypointData:
        """The data with the edits; all that was not edited is as it was."""
        kept = (self._edited(record) for record in self._source.content["annotations"])
        added = (self._people.get(i) for ids in self._new.values() for i in ids)
        fresh = (person for person in sorted(filter(None, added), key=lambda p: p.id))
        records = [record for record in kept if record is not None]
        records += [write_person(person, self._source.category_id) for person in fresh]
        content = {**self._source.content, "annotations": records}
        return replace(self._source, content=content, annotations_path=self._path)

    def _edited(self, record: Record) -> Record | None:
        if record["id"] not in self._people:
            return record
        person = self._people[record["id"]]
        return None if person is None else update_record(record, person)

    def _apply(self, before: Person | None, after: Person | None, what: str) -> Edit:
        edit = Edit(before, after, what)
        if before == after:
            return edit
        self._done.append(edit)
        self._undone.clear()
        return self._set(edit, after)

    def _set(self, edit: Edit, person: Person | None) -> Edit:
        self._people[edit.person.id] = person
        if self._changed is not None:
            self._changed(edit)
        return edit

    def _joint(self, joint: int) -> int:
        if not 0 <= joint < self._n_joints:
            raise InputError(f"joint must be 0 to {self._n_joints - 1}. Got {joint!r}.")
        return joint

    def _name(self, joint: int) -> str:
        return self._source.skeleton.names[joint]

    def _box(self, box: Sequence[float], image_id: int) -> Box:
        height, width = self.size(image_id)
        if len(box) != 4:
            raise InputError(f"A box is x1, y1, x2, y2. Got {list(box)}.")
        xs = sorted(_within(value, width) for value in box[::2])
        ys = sorted(_within(value, height) for value in box[1::2])
        if xs[1] - xs[0] < 1 or ys[1] - ys[0] < 1:
            raise InputError(
                f"A box must hold at least one pixel of the {width}x{height} image. "
                f"Got {[round(float(value), 1) for value in box]}."
            )
        return xs[0], ys[0], xs[1], ys[1]


def _visibility(v: int) -> int:
    if v not in (0, 1, 2):
        raise InputError(f"v must be 0 (not labelled), 1 (hidden) or 2 (visible). Got {v!r}.")
    return int(v)


def _within(value: float, size: int) -> float:
    if not math.isfinite(value):
        raise InputError(f"Coordinates must be finite numbers. Got {value!r}.")
    return round(min(max(float(value), 0.0), float(size)), DECIMALS)


def _with_point(person: Person, joint: int, point: Point) -> Person:
    points = (*person.points[:joint], point, *person.points[joint + 1 :])
    return replace(person, points=points)


# ---- missed: People that a pipeline found and nobody labelled: what an editor offers to add.


SAME_IOU = 0.5


"""A detection that overlaps a labelled person more than this is that person (COCO's AP50)."""


MIN_POINT_SCORE = 0.2


"""Joints of a lower score come without a label, as they are drawn hollow elsewhere."""


@dataclass(frozen=True)
class Candidate:
    """A detected person: x1, y1, x2, y2 in pixels, the detector's score, and joints, if any."""

    box: Box
    score: float
    points: tuple[Point, ...] | None


def candidates_by_image(
    predictions: Evaluation | Predictions | Sequence[Mapping[str, Any]] | None, n_joints: int
) -> dict[int, list[Candidate]]:
    """Detections by image id, highest score first.

    Args:
        predictions: an evaluation of a pipeline, its ``predictions``, or COCO results with
            ``bbox`` and, if they are poses, ``keypoints``.
        n_joints: how many joints a person has; keypoints of another number are left out.

    Raises:
        InputError: it is nothing of the kind, or holds no boxes.
    """
    found: dict[int, list[Candidate]] = {}
    for record in _records(predictions):
        if "bbox" not in record:
            raise InputError(
                "Detections need a bbox. Results with keypoints only say nothing about boxes; "
                "PoseResult.to_coco(with_boxes=True) writes both."
            )
        found.setdefault(record["image_id"], []).append(_candidate(record, n_joints))
    return {i: sorted(people, key=lambda c: -c.score) for i, people in found.items()}


def missed(
    candidates: Iterable[Candidate], labelled: Sequence[Box], min_score: float
) -> list[Candidate]:
    """Candidates from ``min_score`` up that are none of the labelled people."""
    boxes = np.array(labelled, np.float64).reshape(-1, 4)
    return [
        candidate
        for candidate in candidates
        if candidate.score >= min_score and not _is_one_of(candidate.box, boxes)
    ]


def _is_one_of(box: Box, boxes: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    same = np.broadcast_to(np.array(box, np.float64), boxes.shape)
    return bool((iou(same, boxes) > SAME_IOU).any())


def _records(
    predictions: Evaluation | Predictions | Sequence[Mapping[str, Any]] | None,
) -> Sequence[Mapping[str, Any]]:
    inner = getattr(predictions, "predictions", predictions)  # an Evaluation holds Predictions
    records = getattr(inner, "candidates", inner)
    if isinstance(records, Instances):
        records = records.to_results()
    if records is None:
        return []
    if isinstance(records, Sequence) and all(isinstance(r, Mapping) for r in records):
        return records
    raise InputError(
        "predictions must be an evaluation, its predictions, or a list of COCO results. "
        f"Got {type(predictions).__name__}."
    )


def _candidate(record: Mapping[str, Any], n_joints: int) -> Candidate:
    x, y, width, height = record["bbox"]
    values = record.get("keypoints") or ()
    points = tuple(map(_point, values[0::3], values[1::3], values[2::3]))
    fits = n_joints and len(points) == n_joints
    box = (float(x), float(y), float(x + width), float(y + height))
    return Candidate(box, float(record.get("score", 1.0)), points if fits else None)


def _point(x: float, y: float, score: float) -> Point:
    return Point(float(x), float(y), 2) if score >= MIN_POINT_SCORE else NOT_LABELLED
