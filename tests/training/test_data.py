"""The data of a run: what is refused, what is saved, and the order and content of batches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kptk.coco import load_coco
from kptk.errors import ConfigError, DataError
from kptk.training.data import (
    Batches,
    check_data,
    detection_samples,
    find_split,
    sample_order,
    save_split,
)
from kptk.training.settings import DataSettings, read_settings
from tests.training.runs import (
    N_TRAIN,
    N_VAL,
    SAME,
    make_data,
    make_layout,
    make_real_run,
    make_run,
)

POSE, DETECTOR = "PP-TinyPose_128x96", "PP-YOLOE-S_human"


def test_data_in_every_form(tmp_path: Path) -> None:
    folder = make_layout(tmp_path / "data")
    file = folder / "annotations" / "instance_val.json"
    loaded = load_coco(folder, split="val")
    for form in (folder, str(folder), file, (folder / "images", file), loaded):
        assert len(find_split(form, "val")) == N_VAL
    with pytest.raises(DataError, match="val must be a data set's folder"):
        find_split(3, "val")


def test_the_worker_reads_what_was_checked(tmp_path: Path) -> None:
    data = load_coco(make_layout(tmp_path / "data"), split="train").subset([1, 3])
    save_split(data, tmp_path / "train.json")
    content = json.loads((tmp_path / "train.json").read_text())
    assert [image["id"] for image in content["images"]] == [1, 3]
    assert {person["image_id"] for person in content["annotations"]} == {1, 3}
    assert {person["category_id"] for person in content["annotations"]} == {1}


def test_the_number_of_samples(tmp_path: Path) -> None:
    folder = make_layout(tmp_path / "data")
    train, val = find_split(folder, "train"), find_split(folder, "val")
    assert check_data(train, val, POSE) == 2 * N_TRAIN  # people
    assert check_data(train, val, DETECTOR) == N_TRAIN  # images


def test_validation_images_among_the_training_images_are_refused(tmp_path: Path) -> None:
    folder = make_layout(tmp_path / "data")
    train, val = find_split(folder, "train"), find_split(folder, "val")
    with pytest.raises(DataError, match="2 of 2 validation images are training images"):
        check_data(val, val, DETECTOR)
    shutil.copy(train.image_path(1), val.image_path(5))  # the same image by another name
    with pytest.raises(DataError, match=r"1 of 2 .*0\.png and .*4\.png"):
        check_data(train, val, POSE)


def test_data_without_people_or_with_other_keypoints_is_refused(tmp_path: Path) -> None:
    folder = make_layout(tmp_path / "data")
    train, val = find_split(folder, "train"), find_split(folder, "val")
    file = folder / "annotations" / "instance_train.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "annotations": []}))
    with pytest.raises(DataError, match=r"train .* holds no people with boxes"):
        check_data(find_split(folder, "train"), val, DETECTOR)
    for person in content["annotations"]:
        person["keypoints"] = person["keypoints"][:15]
        person["num_keypoints"] = 5
    file.write_text(json.dumps(content))
    five = find_split(folder, "train")
    with pytest.raises(DataError, match="places 17 keypoints; train has 5"):
        check_data(five, val, POSE)
    assert check_data(five, val, DETECTOR) == N_TRAIN  # boxes are enough for a detector
    assert len(train) == N_TRAIN


def test_every_sample_once_an_epoch_and_no_gap_between_epochs() -> None:
    steps = [sample_order(10, 4, step, seed=3) for step in range(5)]  # two epochs of ten
    flat = [index for step in steps for index in step]
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10] != flat[10:]


def test_the_order_depends_on_the_seed_and_on_nothing_else() -> None:
    assert sample_order(50, 8, 3, seed=1) == sample_order(50, 8, 3, seed=1)
    assert sample_order(50, 8, 3, seed=1) != sample_order(50, 8, 3, seed=2)


def test_a_data_set_smaller_than_a_batch_is_repeated() -> None:
    assert sorted(sample_order(2, 6, 0, seed=0)) == [0, 0, 0, 1, 1, 1]


def test_boxes_become_corners_and_crowds_are_left_out(tmp_path: Path) -> None:
    make_data(tmp_path, 2)
    file = tmp_path / "annotations.json"
    content = json.loads(file.read_text())
    people = content["annotations"]  # two on each image
    people[0] |= {"bbox": [1, 2, 3, 4]}
    people[1] |= {"iscrowd": 1}
    file.write_text(json.dumps({**content, "annotations": people[:2]}))
    samples = detection_samples(DataSettings(images=tmp_path / "images", annotations=file))
    for sample, expected in zip(samples, ([[1, 2, 4, 6]], np.zeros((0, 4))), strict=True):
        np.testing.assert_array_equal(sample["gt_bbox"], expected)
        assert len(sample["gt_class"]) == len(sample["gt_bbox"])


def test_the_shares_of_a_batch_are_the_batch(tmp_path: Path) -> None:
    run = make_real_run(tmp_path, "demo-kpt", batch_size=4, sample_transforms=SAME)
    settings = read_settings(run / "settings.yml")
    whole = Batches(settings).batch(3)["image"]
    shares = [Batches(settings, rank, 2).batch(3)["image"] for rank in range(2)]
    np.testing.assert_array_equal(np.stack(shares, 1).reshape(whole.shape), whole)


def test_more_processes_than_samples_in_a_batch_are_refused(tmp_path: Path) -> None:
    settings = read_settings(make_run(tmp_path / "run") / "settings.yml")
    with pytest.raises(ConfigError, match=r"at least the number of processes, 3. Got 2"):
        Batches(settings, 0, 3)
