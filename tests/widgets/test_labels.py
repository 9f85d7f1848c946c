"""Edits of labels, and the file they make. Expected values are by hand; sums are pycocotools'."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO

import kptk
from kptk.coco import KeypointData
from kptk.errors import DataError, InputError
from kptk.widgets.labels import NOT_LABELLED, Edit, Labels, Point
from tests import coco_sets

NOSE, LEFT_EYE = 0, 1


@pytest.fixture
def data(tmp_path: Path) -> KeypointData:
    """Two images of 96x72 with two people each: 11 and 12 on image 1, 21 and 22 on image 2."""
    content = coco_sets.document(1, 2)
    content["info"] = {"year": 2026}
    content["categories"].append({"id": 7, "name": "dog"})
    people = content["annotations"]
    people[0] |= {"segmentation": [[5, 5, 25, 5, 25, 65, 5, 65]], "area": 1200.0, "note": "kept"}
    people[1]["keypoints"][3:6] = [0, 0, 0]  # the left eye of 12 has no label
    people[1]["num_keypoints"] = 16
    dog = {"id": 90, "image_id": 1, "category_id": 7, "bbox": [0, 0, 5, 5], "area": 25.0}
    crowd = coco_sets.person(91, 1, iscrowd=1, keypoints=[0] * 51, num_keypoints=0)
    people += [{**dog, "iscrowd": 0}, crowd]
    root = coco_sets.write_set(tmp_path / "set", {"val": content})
    return kptk.load_coco(root, split="val", check=False)


def record(data: KeypointData, number: int) -> dict[str, Any]:
    return next(a for a in data.content["annotations"] if a["id"] == number)


def test_what_is_read(data: KeypointData) -> None:
    people = Labels(data).people(1)
    assert [person.id for person in people] == [11, 12]  # neither the crowd nor the dog
    assert people[0].box == (5, 6, 25, 66)
    assert people[0].points[NOSE] == Point(15, 14, 2)  # FACING's (10, 8) from the corner (5, 6)
    assert people[1].points[LEFT_EYE] is NOT_LABELLED
    assert math.isnan(NOT_LABELLED.x)
    assert (people[0].n_labelled, people[1].n_labelled) == (17, 16)


EDITS: list[tuple[Callable[[Labels], Edit], dict[str, Any]]] = [
    # a joint is moved; coordinates keep two decimals
    (lambda e: e.move_point(11, NOSE, 20.123, 30), {"keypoints": [20.12, 30, 2]}),
    # outside the image: its edge
    (lambda e: e.move_point(11, NOSE, -4, 500), {"keypoints": [0, 72, 2]}),
    # moved and hidden at once
    (lambda e: e.move_point(11, NOSE, 1, 2, 1), {"keypoints": [1, 2, 1]}),
    # hidden; where it is does not change
    (lambda e: e.set_visibility(11, NOSE, 1), {"keypoints": [15, 14, 1]}),
    # not labelled any more: zeros, and one fewer
    (lambda e: e.set_visibility(11, NOSE, 0), {"keypoints": [0, 0, 0], "num_keypoints": 16}),
    # a box; with a mask the area stays
    (lambda e: e.set_box(11, (1, 2, 31, 42)), {"bbox": [1, 2, 30, 40], "area": 1200}),
    # corners crossed, and one outside the image of 96x72
    (lambda e: e.set_box(11, (40, 80, 10, 12)), {"bbox": [10, 12, 30, 60], "area": 1200}),
]


@pytest.mark.parametrize(("edit", "expected"), EDITS)
def test_an_edit_changes_this_and_nothing_else(
    data: KeypointData, edit: Callable[[Labels], Edit], expected: dict[str, Any]
) -> None:
    before = copy.deepcopy(data.content)
    labels = Labels(data)
    edit(labels)
    wanted = copy.deepcopy(before)
    changed = next(a for a in wanted["annotations"] if a["id"] == 11)
    changed["keypoints"][:3] = expected.pop("keypoints", changed["keypoints"][:3])
    changed |= expected
    assert labels.data.content == wanted
    assert data.content == before  # what was handed in is not touched
    labels.undo()
    assert labels.data.content == before
    labels.redo()
    assert labels.data.content == wanted


def test_without_a_mask_the_area_grows_with_the_box(data: KeypointData) -> None:
    labels = Labels(data)
    labels.set_box(12, (45, 6, 55, 66))  # half as wide
    assert record(labels.data, 12)["area"] == 320  # of 640
    assert record(labels.data, 12)["bbox"] == [45, 6, 10, 60]


def test_joints_that_were_not_edited_stay_as_they_were_written(data: KeypointData) -> None:
    points = record(data, 22)["keypoints"]
    points[3:6], points[6:9] = [7, 8, 0], [1.23456, 2, 2]  # no label, but a place; many decimals
    labels = Labels(data)
    labels.move_point(22, NOSE, 50, 20)
    assert record(labels.data, 22)["keypoints"] == [50, 20, 2, 7, 8, 0, 1.23456, 2, 2, *points[9:]]
    assert record(labels.data, 22)["num_keypoints"] == 16


def test_a_joint_without_a_label_gets_one_where_it_is_put(data: KeypointData) -> None:
    labels = Labels(data)
    with pytest.raises(InputError, match="left_eye has no place yet"):
        labels.set_visibility(12, LEFT_EYE, 2)
    labels.move_point(12, LEFT_EYE, 50, 20)
    assert record(labels.data, 12)["keypoints"][3:6] == [50, 20, 2]
    assert record(labels.data, 12)["num_keypoints"] == 17


def test_a_new_person(data: KeypointData) -> None:
    labels = Labels(data)
    points = [Point(200, 10, 2), *[NOT_LABELLED] * 16]
    assert labels.add(2, (60, 10, 200, 60), points).person.id == 92  # above every id there is
    assert [person.id for person in labels.people(2)] == [21, 22, 92]
    assert labels.data.content["annotations"][-1] == {
        "id": 92, "image_id": 2, "category_id": 1, "iscrowd": 0, "segmentation": [],
        "bbox": [60, 10, 36, 50],  # cut at the image's edge, 96
        "area": 954.0,  # .53 * 36 * 50
        "keypoints": [96, 10, 2] + [0] * 48, "num_keypoints": 1,
    }  # fmt: skip
    labels.undo()
    assert [person.id for person in labels.people(2)] == [21, 22]
    assert labels.data.content == data.content


def test_a_person_removed(data: KeypointData) -> None:
    labels = Labels(data)
    labels.remove(11)
    assert [a["id"] for a in labels.data.content["annotations"]] == [12, 21, 22, 90, 91]
    with pytest.raises(InputError, match="no person 11"):
        labels.move_point(11, NOSE, 1, 1)
    labels.undo()
    assert labels.data.content == data.content


def test_a_new_edit_ends_what_could_be_done_again(data: KeypointData) -> None:
    labels = Labels(data)
    labels.move_point(11, NOSE, 1, 1)
    labels.move_point(11, NOSE, 2, 2)
    labels.undo()
    assert (labels.n_done, labels.n_undone) == (1, 1)
    labels.move_point(11, NOSE, 3, 3)
    assert (labels.n_done, labels.n_undone) == (2, 0) and labels.redo() is None
    labels.move_point(11, NOSE, 3, 3)  # where it is already: no edit
    assert labels.n_done == 2
    labels.undo(), labels.undo()
    assert labels.undo() is None and labels.person(11).points[NOSE] == Point(15, 14, 2)


def test_unsaved_is_a_matter_of_the_labels(data: KeypointData) -> None:
    labels = Labels(data)
    assert not labels.unsaved
    labels.move_point(11, NOSE, 1, 1)
    assert labels.unsaved
    labels.mark_saved(Path("new.json"))
    assert not labels.unsaved and labels.data.annotations_path == Path("new.json")
    labels.undo()
    assert labels.unsaved
    labels.redo()
    assert not labels.unsaved


WRONG: list[tuple[Callable[[Labels], object], type[Exception], str]] = [
    (lambda e: e.move_point(99, NOSE, 1, 1), InputError, "no person 99"),
    (lambda e: e.move_point(91, NOSE, 1, 1), InputError, "no person 91"),  # the crowd
    (lambda e: e.move_point(11, 17, 1, 1), InputError, "joint must be 0 to 16. Got 17"),
    (lambda e: e.move_point(11, -1, 1, 1), InputError, "joint must be 0 to 16. Got -1"),
    (lambda e: e.move_point(11, NOSE, math.nan, 1), InputError, "finite"),
    (lambda e: e.set_visibility(11, NOSE, 3), InputError, r"v must be 0 .* Got 3"),
    (lambda e: e.set_box(11, (5, 5, 5.5, 30)), InputError, "at least one pixel of the 96x72"),
    (lambda e: e.set_box(11, (100, 5, 120, 30)), InputError, "at least one pixel"),  # outside
    (lambda e: e.set_box(11, (1, 2, 3)), InputError, "x1, y1, x2, y2"),
    (lambda e: e.add(1, (1, 1, 9, 9), [NOT_LABELLED]), InputError, "needs 17 points. Got 1"),
    (lambda e: e.add(5, (1, 1, 9, 9)), DataError, "no image 5"),
]


@pytest.mark.parametrize(("edit", "error", "message"), WRONG)
def test_what_cannot_be_done_says_so_and_changes_nothing(
    data: KeypointData, edit: Callable[[Labels], object], error: type[Exception], message: str
) -> None:
    labels = Labels(data)
    with pytest.raises(error, match=message):
        edit(labels)
    assert labels.n_done == 0 and labels.data.content == data.content


def test_pycocotools_reads_what_was_edited(data: KeypointData, tmp_path: Path) -> None:
    labels = Labels(data)
    labels.move_point(12, LEFT_EYE, 50, 20)
    labels.set_box(12, (45, 6, 55, 66))
    labels.remove(21)
    labels.add(2, (10, 10, 50, 70))
    file = kptk.coco.write_coco(labels.data.content, tmp_path / "new.json")
    coco = COCO(str(file))
    assert coco.getAnnIds(imgIds=[2], catIds=[1]) == [22, 92]
    assert coco.getAnnIds(areaRng=[319, 321]) == [12]
    assert len(coco.loadRes([{**a, "score": 1} for a in coco.loadAnns([12, 92])]).anns) == 2
    again = kptk.load_coco(data.path, annotations=file, repair=False)  # nothing is to be mended
    assert again.report.ok and again.n_people == 4
    assert json.loads(file.read_text())["info"] == {"year": 2026}


def test_edited_data_is_scored_as_it_is(data: KeypointData) -> None:
    """Results equal to the labels have AP 1; a nose moved far away by an edit costs some."""
    results = [
        {**{k: a[k] for k in ("image_id", "category_id", "keypoints")}, "score": 1.0}
        for a in data.content["annotations"]
        if a["id"] < 90
    ]
    labels = Labels(data)
    for number in (11, 12, 21, 22):
        for joint in (NOSE, 5, 6, 7):
            labels.move_point(number, joint, 0, 0)
    before, after = (
        kptk.evaluate(predictions=results, annotations=found).keypoints.AP
        for found in (data, labels.data)
    )
    assert before == 1 and after < 0.9
