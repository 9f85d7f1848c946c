"""Labels while they are corrected: every edit can be taken back, and the data is never touched.

Nothing in here knows of a browser. Coordinates are pixels of the image; COCO's (x, y, width,
height) stays in here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kptk.coco import KeypointData
from kptk.coco.checks import has_size
from kptk.coco.rules import area_of, labelled
from kptk.errors import InputError
from kptk.evaluation import Evaluation
from kptk.evaluation.predictions import Predictions
from kptk.geometry import Float, iou
from kptk.instances import Instances

Record = dict[str, Any]
Box = tuple[float, float, float, float]

DECIMALS = 2  # of coordinates, as in COCO's files
# A detection that overlaps a labelled person more than this is that person (COCO's AP50).
SAME_IOU = 0.5
# Joints of a lower score come without a label, as they are drawn hollow elsewhere.
MIN_POINT_SCORE = 0.2


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


@dataclass(frozen=True)
class Edit:
    """One change of one person's COCO annotation.

    Attributes:
        before: as it was; None: the person is new.
        after: as it is now; None: the person is gone.
        what: was done, in words.
        person: who it is about, after it or, if they are gone, before.
    """

    before: Record | None
    after: Record | None
    what: str
    person: Person


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
        ids = (record["id"] for record in data.content["annotations"])
        self._first_new = max(ids, default=0) + 1
        self._edited: dict[int, Record | None] = {}  # None: removed
        self._done: list[Edit] = []
        self._undone: list[Edit] = []
        self._saved: Edit | None = None

    def people(self, image_id: int) -> list[Person]:
        """The single people on an image as they are now, by id."""
        old = (self._edited.get(r["id"], r) for r in self._source.people(image_id))
        new = (record for record in self._new() if record["image_id"] == image_id)
        return [self._read(record) for record in (*old, *new) if record is not None]

    def person(self, person_id: int) -> Person:
        """One person as they are now.

        Raises:
            InputError: there is none of that id.
        """
        return self._read(self._record(person_id))

    def _record(self, person_id: int) -> Record:
        record = self._edited.get(person_id, self._records.get(person_id))
        if record is None:
            raise InputError(f"There is no person {person_id!r}; it may have been removed.")
        return record

    def _read(self, record: Record) -> Person:
        values = record.get("keypoints") or [0] * (3 * self._n_joints)
        triples = zip(values[0::3], values[1::3], values[2::3], strict=True)
        points = tuple(Point(x, y, int(v)) if v else NOT_LABELLED for x, y, v in triples)
        x, y, width, height = record["bbox"]
        return Person(record["id"], record["image_id"], (x, y, x + width, y + height), points)

    def _new(self) -> list[Record]:
        """The people who were added, by id."""
        return [r for i, r in sorted(self._edited.items()) if i >= self._first_new and r]

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
        old = self.person(person_id).points[self._joint(joint)]
        shown = (old.v or 2) if v is None else _visibility(v)
        if shown == 0:
            return self.set_visibility(person_id, joint, 0)
        height, width = self.size(self._record(person_id)["image_id"])
        new = Point(_within(x, width), _within(y, height), shown)
        return self._point(person_id, joint, new, "moved")

    def set_visibility(self, person_id: int, joint: int, v: int) -> Edit:
        """Say whether a joint is 0 not labelled, 1 hidden, 2 visible.

        Raises:
            InputError: it is another number, or the joint has no position yet.
        """
        old, v = self.person(person_id).points[self._joint(joint)], _visibility(v)
        if v and not old.v:
            name = self._source.skeleton.names[joint]
            raise InputError(f"{name} has no place yet. Put it somewhere first: move_point.")
        new = old._replace(v=v) if v else NOT_LABELLED
        return self._point(person_id, joint, new, ("not labelled", "hidden", "visible")[v])

    def set_box(self, person_id: int, box: Sequence[float]) -> Edit:
        """Give a person another box (x1, y1, x2, y2), cut at the image's edge.

        A new box gets a new area: that of the mask if there is one; else the area in the file
        grows as the box does, which keeps the file's own rule.

        Raises:
            InputError: there is no such person, or the box cannot be used.
        """
        record = self._record(person_id)
        new = {**record, "bbox": self._xywh(box, record["image_id"])}
        if not area_of({**record, "bbox": [0, 0, 0, 0]}):  # no mask
            source = self._records.get(person_id)
            area = area_of(new)
            if source is not None:
                area = source["area"] * np.prod(new["bbox"][2:]) / np.prod(source["bbox"][2:])
            new["area"] = round(float(area), DECIMALS)
        return self._apply(record, new, "box changed")

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
        inside = [
            (_within(x, width), _within(y, height), v) if v else (0, 0, 0) for x, y, v in joints
        ]
        record: Record = {
            "id": max([self._first_new - 1, *self._edited]) + 1,
            "image_id": image_id,
            "category_id": self._source.category_id,
            "iscrowd": 0,
            "bbox": self._xywh(box, image_id),
            "segmentation": [],
            "keypoints": [value for point in inside for value in point],
            "num_keypoints": sum(v > 0 for _, _, v in inside),
        }
        record["area"] = round(area_of(record), DECIMALS)
        return self._apply(None, record, "person added")

    def remove(self, person_id: int) -> Edit:
        """Remove a person.

        Raises:
            InputError: there is none of that id.
        """
        return self._apply(self._record(person_id), None, "person removed")

    def undo(self) -> Edit | None:
        """Take the last edit back and return it; None if there is none."""
        if not self._done:
            return None
        self._undone.append(edit := self._done.pop())
        return self._set(edit, edit.before)

    def redo(self) -> Edit | None:
        """Do again what was taken back last, and return it; None if there is nothing."""
        if not self._undone:
            return None
        self._done.append(edit := self._undone.pop())
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
        kept = (self._edited.get(r["id"], r) for r in self._source.content["annotations"])
        records = [record for record in (*kept, *self._new()) if record is not None]
        content = {**self._source.content, "annotations": records}
        return replace(self._source, content=content, annotations_path=self._path)

    def _apply(self, before: Record | None, after: Record | None, what: str) -> Edit:
        now, then = (None if r is None else self._read(r) for r in (after, before))
        person = now or then
        assert person is not None
        edit = Edit(before, after, what, person)
        if now == then:
            return edit
        self._done.append(edit)
        self._undone.clear()
        return self._set(edit, after)

    def _set(self, edit: Edit, record: Record | None) -> Edit:
        self._edited[edit.person.id] = record
        if self._changed is not None:
            self._changed(edit)
        return edit

    def _point(self, person_id: int, joint: int, point: Point, what: str) -> Edit:
        """Write one joint; the others stay as they were written, and are counted again."""
        record = self._record(person_id)
        values = list(record.get("keypoints") or [0] * (3 * self._n_joints))
        values[3 * joint : 3 * joint + 3] = point if point.v else (0, 0, 0)
        new = {**record, "keypoints": values}
        new["num_keypoints"] = labelled(new)
        return self._apply(record, new, f"{self._source.skeleton.names[joint]} {what}")

    def _joint(self, joint: int) -> int:
        if not 0 <= joint < self._n_joints:
            raise InputError(f"joint must be 0 to {self._n_joints - 1}. Got {joint!r}.")
        return joint

    def _xywh(self, box: Sequence[float], image_id: int) -> list[float]:
        height, width = self.size(image_id)
        if len(box) != 4:
            raise InputError(f"A box is x1, y1, x2, y2. Got {list(box)}.")
        x1, x2 = sorted(_within(value, width) for value in box[::2])
        y1, y2 = sorted(_within(value, height) for value in box[1::2])
        if x2 - x1 < 1 or y2 - y1 < 1:
            raise InputError(
                f"A box must hold at least one pixel of the {width}x{height} image. "
                f"Got {[round(float(value), 1) for value in box]}."
            )
        return [round(value, DECIMALS) for value in (x1, y1, x2 - x1, y2 - y1)]


def _visibility(v: int) -> int:
    if v not in (0, 1, 2):
        raise InputError(f"v must be 0 (not labelled), 1 (hidden) or 2 (visible). Got {v!r}.")
    return int(v)


def _within(value: float, size: int) -> float:
    if not math.isfinite(value):
        raise InputError(f"Coordinates must be finite numbers. Got {value!r}.")
    return round(min(max(float(value), 0.0), float(size)), DECIMALS)


# -- people who were detected and not labelled: an editor offers to add them -------------------


def detections_of(
    predictions: Evaluation | Predictions | Sequence[Mapping[str, Any]] | None, n_joints: int
) -> Instances:
    """Detections, highest score first.

    Args:
        predictions: an evaluation of a pipeline, its ``predictions``, or COCO results with
            ``bbox`` and, if they are poses, ``keypoints``.
        n_joints: how many joints a person has; keypoints of another number are left out.

    Raises:
        InputError: it is nothing of the kind, or holds no boxes.
    """
    inner = getattr(predictions, "predictions", predictions)  # an Evaluation holds Predictions
    found = getattr(inner, "candidates", inner)
    if isinstance(found, Sequence) and all(isinstance(record, Mapping) for record in found):
        if any("bbox" not in record for record in found):
            raise InputError(
                "Detections need a bbox. Results with keypoints only say nothing about boxes; "
                "PoseResult.to_coco(with_boxes=True) writes both."
            )
        fit = [len(record.get("keypoints") or ()) == 3 * n_joints for record in found]
        records = [
            {"score": 1.0, **record, "keypoints": record["keypoints"] if fits else None}
            for record, fits in zip(found, fit, strict=True)
        ]
        found = Instances.from_results(records, n_joints)
    elif found is None:
        found = Instances.from_results([], n_joints)
    if not isinstance(found, Instances):
        raise InputError(
            "predictions must be an evaluation, its predictions, or a list of COCO results. "
            f"Got {type(predictions).__name__}."
        )
    if found.keypoints.shape[1] != n_joints:
        found = replace(found, keypoints=np.full((len(found), n_joints, 3), np.nan))
    return found[np.argsort(-found.scores, kind="stable")]


def missed(found: Instances, labelled: Sequence[Box], min_score: float) -> Instances:
    """Detections of an image from ``min_score`` up that are none of the labelled people."""
    boxes = np.array(labelled, np.float64).reshape(-1, 4)
    n, people = len(found), len(boxes)
    overlap = iou(np.repeat(found.boxes, people, axis=0), np.tile(boxes, (n, 1)))
    same = (overlap.reshape(n, people) > SAME_IOU).any(axis=1)
    return found[(found.scores >= min_score) & ~same]


def points_of(keypoints: Float) -> tuple[Point, ...]:
    """Keypoints (K, 3) x, y, score as labels: visible, if the score is high enough."""
    return tuple(
        Point(x, y, 2) if score >= MIN_POINT_SCORE else NOT_LABELLED
        for x, y, score in keypoints.tolist()
    )
