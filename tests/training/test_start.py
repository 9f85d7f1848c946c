"""Where a run starts, and the data it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kptk.coco import load_coco
from kptk.errors import DataError, ModelError
from kptk.training.run import check_data, find_split, find_start, save_split
from tests.training.fakes import N_TRAIN, N_VAL, make_layout, make_run

POSE, DETECTOR = "PP-TinyPose_128x96", "PP-YOLOE-S_human"


def test_a_former_run_starts_from_its_best_weights(tmp_path: Path) -> None:
    run = make_run(tmp_path / "night")
    with pytest.raises(ModelError, match="not been evaluated yet"):
        find_start(run)
    (run / "best.npz").write_bytes(b"weights")
    (run / "model").mkdir()
    for place in (run, run / "model", str(run)):
        start = find_start(place)
        assert (start.model, start.weights, start.input_size) == (POSE, run / "best.npz", (128, 96))
    assert find_start("PP-TinyPose_256x192", run).weights == run / "best.npz"


def test_wrong_starts(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "w.pdparams").write_bytes(b"")
    for model, message in [
        ("PP-TinyPose_128x97", "Did you mean 'PP-TinyPose_128x96'"),
        (tmp_path / "x", "must be a .pdparams file"),
        (tmp_path / "w.pdparams", "not a Paddle weight file"),
    ]:
        with pytest.raises(ModelError, match=message):
            find_start(model)
    with pytest.raises(ModelError, match="With weights="):
        find_start("mine", tmp_path / "w.pdparams")


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
    shutil.copy(train.image_path(1), val.image_path(5))  # the same picture by another name
    with pytest.raises(DataError, match=r"1 of 2 .*0\.png and .*4\.png"):
        check_data(train, val, POSE)


def test_data_without_people_or_with_other_joints_is_refused(tmp_path: Path) -> None:
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
    with pytest.raises(DataError, match="places 17 joints; train has 5"):
        check_data(five, val, POSE)
    assert check_data(five, val, DETECTOR) == N_TRAIN  # boxes are enough for a detector
    assert len(train) == N_TRAIN
