"""Instances: COCO records in, the same records out. Expected values are by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from kptk.instances import Instances


def annotation(**changes: Any) -> dict[str, Any]:
    person = {
        "id": 7,
        "image_id": 3,
        "category_id": 1,
        "bbox": [10, 20, 30, 40],
        "area": 600.0,
        "iscrowd": 0,
        "keypoints": [11, 21, 2, 0, 0, 0],
    }
    return person | changes


def test_annotations() -> None:
    crowd = annotation(id=8, iscrowd=1)
    people = Instances.from_annotations([annotation(), crowd, annotation(keypoints=[])], 2)
    assert people.boxes[0].tolist() == [10, 20, 40, 60]
    assert people.ids.tolist() == [7, 8, 7] and people.image_ids.tolist() == [3, 3, 3]
    assert people.crowd.tolist() == [False, True, False]
    assert people.labelled.tolist() == [True, True, False]
    assert np.isnan(people.keypoints[0, 1, :2]).all() and people.keypoints[0, 1, 2] == 0
    assert people.areas[0] == 600 and people.scores.tolist() == [1, 1, 1]


def test_results_come_back_as_they_were() -> None:
    record = {
        "image_id": 3,
        "category_id": 5,
        "score": 0.25,
        "bbox": [1.0, 2.0, 3.0, 4.0],
        "keypoints": [1.5, 2.5, 0.75, 0.0, 0.0, 0.0],
        "crop_area": 12.0,
        "annotation_id": 9,
    }
    bare = {"image_id": 4, "category_id": 5, "score": 0.5, "bbox": [0.0, 0.0, 1.0, 1.0]}
    people = Instances.from_results([record, bare], 2)
    assert np.isnan(people.keypoints[0, 1]).all()  # score 0 at (0, 0): missing
    assert people.ids.tolist() == [9, -1]
    assert people.to_results(5) == [record, bare | {"keypoints": [0.0] * 6}]
    chosen = people.to_results(5, ("bbox",))
    assert [sorted(r) for r in chosen] == [["bbox", "category_id", "image_id", "score"]] * 2


def test_selecting_and_joining() -> None:
    people = Instances.from_results(
        [{"image_id": i, "score": i / 10, "keypoints": [i, i, 1]} for i in range(5)], 1
    )
    some = people[people.scores > 0.2]
    assert some.image_ids.tolist() == [3, 4] and some.keypoints.shape == (2, 1, 3)
    assert people.of_image(2).scores.tolist() == [0.2]
    joined = Instances.concatenate([some, people[:1]], 1)
    assert joined.image_ids.tolist() == [3, 4, 0]
    nobody = Instances.concatenate([], 17)
    assert len(nobody) == 0 and nobody.keypoints.shape == (0, 17, 3)
    table = some.to_pandas(["nose"])
    assert list(table.columns[-3:]) == ["nose_x", "nose_y", "nose_score"]
    assert table["score"].tolist() == [0.3, 0.4] and np.isnan(table["x1"]).all()
