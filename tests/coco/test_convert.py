"""Converters: expected values by hand; what was there comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import kptk
from kptk.cli import app
from kptk.coco.convert import (
    aic_to_coco,
    coco_to_yolo,
    convert,
    label_file,
    labelme_to_coco,
    yolo_to_coco,
)
from kptk.errors import DataError
from kptk.skeleton import COCO17, CROWDPOSE14
from tests.coco_sets import HEIGHT, WIDTH, clean_set, document, person, png, write_document

JOINT = {name: i for i, name in enumerate(COCO17.names)}


def triple(annotation: dict[str, Any], joint: str) -> list[float]:
    return annotation["keypoints"][3 * JOINT[joint] : 3 * JOINT[joint] + 3]


# --- LabelMe -------------------------------------------------------------------------------------


def shape(label: str, *points: tuple[float, float], **fields: Any) -> dict[str, Any]:
    kind = "point" if len(points) == 1 else "rectangle" if len(points) == 2 else "polygon"
    return {"label": label, "points": list(map(list, points)), "shape_type": kind, **fields}


def labelme(root: Path, name: str, *shapes: dict[str, Any], **fields: Any) -> Path:
    root.mkdir(exist_ok=True)
    (root / f"{name}.png").write_bytes(png(len(name)))
    page = {
        "version": "5.0", "imagePath": f"{name}.png", "imageData": None, "imageWidth": WIDTH,
        "imageHeight": HEIGHT, "shapes": list(shapes), **fields,
    }  # fmt: skip
    (root / f"{name}.json").write_text(json.dumps(page))
    return root


def test_labelme_groups(tmp_path: Path) -> None:
    labelme(
        tmp_path, "b",
        shape("person", (50, 60), (10, 5), group_id=1),
        shape("nose", (30, 10), group_id=1),
        shape("left_wrist", (40, 30), group_id=1, flags={"occluded": True, "blurred": False}),
        shape("right_ankle", (80, 60), group_id=2, description="hidden"),
        shape("right_knee", (80, 50), group_id=2),
    )  # fmt: skip
    labelme(tmp_path, "a", shape("nose", (3, 4)))
    content, folder = labelme_to_coco(tmp_path)
    assert folder == tmp_path
    assert [(i["id"], i["file_name"]) for i in content["images"]] == [(1, "a.png"), (2, "b.png")]
    assert content["images"][0]["width"] == WIDTH
    first, second, third = content["annotations"]
    assert [a["image_id"] for a in content["annotations"]] == [1, 2, 2]
    assert second["bbox"] == [10, 5, 40, 55]
    assert second["area"] == pytest.approx(0.53 * 40 * 55)
    assert triple(second, "nose") == [30, 10, 2]
    assert triple(second, "left_wrist") == [40, 30, 1]
    assert triple(second, "left_eye") == [0, 0, 0]
    assert second["num_keypoints"] == 2
    # Without a box: the points' own, at least a pixel (here a tenth of 0 and of 10) larger.
    assert third["bbox"] == [79, 49, 2, 12]
    assert triple(third, "right_ankle") == [80, 60, 1]
    assert first["bbox"] == [2, 3, 2, 2]


def test_labelme_points_belong_to_the_box_they_lie_in(tmp_path: Path) -> None:
    labelme(
        tmp_path, "a",
        shape("person", (0, 0), (20, 40)), shape("person", (40, 0), (60, 0), (60, 40)),
        shape("neck", (50, 5)), shape("head", (10, 5)), shape("neck", (10, 9)),
    )  # fmt: skip
    content, _ = labelme_to_coco(tmp_path)
    assert content["categories"][0]["keypoints"] == list(CROWDPOSE14.names)
    first, second = content["annotations"]
    assert (first["num_keypoints"], second["num_keypoints"]) == (2, 1)
    assert second["keypoints"][-3:] == [50, 5, 2]
    assert second["area"] == 400  # the triangle's
    assert second["segmentation"] == [[40, 0, 60, 0, 60, 40]]


def test_labelme_loads_as_data(tmp_path: Path) -> None:
    joints = ["leftPaw", "rightPaw", "tail", "spine", "snout"]
    shapes = [shape(name, (10 + 5 * i, 20 + i)) for i, name in enumerate(joints)]
    labelme(tmp_path / "src", "a", *shapes)
    convert(tmp_path / "src", tmp_path / "out", source_format="labelme", joints=joints)
    data = kptk.load_coco(tmp_path / "out", check="full", progress=False)
    assert data.skeleton.names == tuple(joints)
    assert data.skeleton.flip_pairs == ((0, 1),)
    assert data.read(1).shape == (HEIGHT, WIDTH, 3)
    assert [f.code for f in data.report.findings] == ["sigmas-assumed"]


def test_labelme_finds_images_elsewhere_and_understands_windows(tmp_path: Path) -> None:
    labelme(tmp_path / "src", "a", shape("nose", (3, 4)), imagePath="..\\pictures\\a.png")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "src" / "a.png").rename(tmp_path / "pictures" / "a.png")
    content, folder = labelme_to_coco(tmp_path / "src", images=tmp_path / "pictures")
    assert content["images"][0]["file_name"] == "a.png"
    assert (folder / "a.png").is_file()
    with pytest.raises(DataError, match="neither beside it nor in"):
        labelme_to_coco(tmp_path / "src")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            [shape("nose", (1, 1)), shape("left_wrst", (2, 2))],
            "no joint. Did you mean 'left_wrist'",
        ),
        ([shape("nose", (1, 1)), shape("nose", (2, 2))], "has 'nose' twice"),
        (
            [shape("person", (0, 0), (9, 9)), shape("person", (20, 0), (29, 9)),
             shape("nose", (15, 5))],
            "lies in 0 boxes",
        ),
        (
            [shape("person", (0, 0), (9, 9)), shape("person", (5, 0), (29, 9)),
             shape("nose", (7, 5))],
            "lies in 2 boxes",
        ),
        (
            [shape("person", (0, 0), (9, 9), group_id=1), shape("x", (0, 0), (9, 9), group_id=1),
             shape("nose", (5, 5), group_id=1)],
            "two boxes",
        ),
        ([shape("person", (0, 0), (9, 9))], "with points"),
        ([{"label": "nose"}], "must be a LabelMe file"),
    ],
)  # fmt: skip
def test_labelme_errors(tmp_path: Path, shapes: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        labelme_to_coco(labelme(tmp_path, "a", *shapes))


# --- AI Challenger -------------------------------------------------------------------------------


def aic(root: Path, points: list[float], box: list[float]) -> Path:
    folder = root / "keypoint_train_images_20170902"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "abc.jpg").write_bytes(png(1))
    entry = {
        "image_id": "abc",
        "keypoint_annotations": {"human1": points},
        "human_annotations": {"human1": box},
        "url": "",
    }
    file = root / "keypoint_train_annotations_20170909.json"
    file.write_text(json.dumps([entry]))
    return file


def test_aic(tmp_path: Path) -> None:
    # Joint i at (i, 10 + i); visible but for the left hip (9, hidden) and left ankle (11, missing).
    points = [v for i in range(14) for v in (i, 10 + i, {9: 2, 11: 3}.get(i, 1))]
    content, folder = aic_to_coco(aic(tmp_path, points, [5, 6, 25, 46]))
    (annotation,) = content["annotations"]
    assert annotation["bbox"] == [5, 6, 20, 40]
    assert annotation["area"] == pytest.approx(0.53 * 800)
    # AI Challenger's published order: right shoulder, elbow, wrist, left ..., right hip, ...
    expected = {
        "right_shoulder": 0, "right_elbow": 1, "right_wrist": 2, "left_shoulder": 3,
        "left_elbow": 4, "left_wrist": 5, "right_hip": 6, "right_knee": 7, "right_ankle": 8,
        "left_knee": 10,
    }  # fmt: skip
    for name, i in expected.items():
        assert triple(annotation, name) == [i, 10 + i, 2], name
    assert triple(annotation, "left_hip") == [9, 19, 1]
    for name in ("left_ankle", "nose", "left_eye", "right_ear"):
        assert triple(annotation, name) == [0, 0, 0], name
    assert annotation["num_keypoints"] == 11
    assert content["images"] == [
        {"id": 1, "file_name": "abc.jpg", "width": WIDTH, "height": HEIGHT, "aic_id": "abc"}
    ]
    assert folder.name == "keypoint_train_images_20170902"


def test_aic_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="39 numbers in the keypoints"):
        aic_to_coco(aic(tmp_path, [1] * 39, [0, 0, 5, 5]))
    file = aic(tmp_path, [1] * 42, [0, 0, 5, 5])
    (tmp_path / "keypoint_train_images_20170902" / "abc.jpg").unlink()
    with pytest.raises(DataError, match=r"1 images .* cannot be read.*abc.jpg"):
        aic_to_coco(file)
    file.write_text("{}")
    with pytest.raises(DataError, match="AI Challenger's list"):
        aic_to_coco(file)


# --- YOLO-pose -----------------------------------------------------------------------------------


def yolo(root: Path, line: str, **settings: Any) -> Path:
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        (root / "images" / split / "1.png").write_bytes(png(1))
    (root / "labels" / "train" / "1.txt").write_text(line)
    fields = {"path": "/of/another/machine", "train": "images/train", "val": "images/val"}
    (root / "data.yaml").write_text(json.dumps(fields | settings))  # JSON is YAML
    return root


def test_yolo_by_hand(tmp_path: Path) -> None:
    root = yolo(
        tmp_path, "0 0.5 0.5 0.25 0.5 0.25 0.5 2 0 0 0 0.75 0.25 1\n",
        kpt_shape=[3, 3], flip_idx=[0, 2, 1],
    )  # fmt: skip
    content, folder = yolo_to_coco(root)
    assert [image["file_name"] for image in content["images"]] == ["train/1.png"]
    assert folder == root / "images"
    (annotation,) = content["annotations"]
    # 96 x 72: centre (48, 36), size 24 x 36
    assert annotation["bbox"] == [36, 18, 24, 36]
    assert annotation["keypoints"] == [24, 36, 2, 0, 0, 0, 72, 18, 1]
    assert annotation["num_keypoints"] == 2
    names = content["categories"][0]["keypoints"]
    assert names == ["joint_1", "left_joint_2", "right_joint_2"]
    assert yolo_to_coco(root, split="val")[0]["annotations"] == []
    assert yolo_to_coco(root, joints=["a", "b", "c"])[0]["categories"][0]["keypoints"][0] == "a"


def test_yolo_points_of_two_numbers(tmp_path: Path) -> None:
    root = yolo(tmp_path, "0 0.5 0.5 0.25 0.5 0.25 0.5 0 0\n", kpt_shape=[2, 2])
    assert yolo_to_coco(root)[0]["annotations"][0]["keypoints"] == [24, 36, 2, 0, 0, 0]


def test_yolo_with_coco_joints(tmp_path: Path) -> None:
    root = yolo(tmp_path, "", kpt_shape=[17, 3], flip_idx=COCO17.flip_order.tolist())
    category = yolo_to_coco(root)[0]["categories"][0]
    assert category["keypoints"] == list(COCO17.names)
    assert len(category["skeleton"]) == 19


@pytest.mark.parametrize(
    ("line", "settings", "message"),
    [
        ("0 0.5 0.5 0.2 0.2 1 1 2 x", {"kpt_shape": [1, 3]}, "line 1: expected 8 numbers"),
        ("\n0 0.5 0.5 0.2 0.2 1 1", {"kpt_shape": [1, 3]}, "line 2: expected 8 numbers"),
        ("", {}, r"kpt_shape: \[joints, 2 or 3\]. Got None"),
        ("", {"kpt_shape": [1, 3], "train": ["a", "b"]}, "one image folder"),
        ("", {"kpt_shape": [1, 3], "train": "images/gone"}, "no image folder"),
    ],
)
def test_yolo_errors(tmp_path: Path, line: str, settings: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        yolo_to_coco(yolo(tmp_path, line, **settings))


def test_coco_to_yolo_and_back(tmp_path: Path) -> None:
    root = clean_set(tmp_path / "coco")
    content = document(1, 4)
    del content["annotations"][2:4]  # image 2 shows nobody
    content["annotations"][0]["keypoints"][3:9] = [0, 0, 0, 11.3, 12.7, 1]
    content["annotations"][0]["num_keypoints"] = 16
    content["annotations"].append(person(99, 3, x=30, iscrowd=1))
    write_document(root, "train", content)
    before = kptk.load_coco(root, split="train")
    for split in ("train", "val"):
        coco_to_yolo(kptk.load_coco(root, split=split), tmp_path / "yolo")
    for split in ("train", "val"):
        convert(tmp_path / "yolo", tmp_path / "back", source_format="yolo", split=split)
    after = kptk.load_coco(tmp_path / "back", split="train", check="full", progress=False)
    assert after.report.ok and after.skeleton == before.skeleton
    assert [Path(image["file_name"]).name for image in after.images] == [
        image["file_name"] for image in before.images
    ]
    for image_id in before.image_ids:
        old, new = before.people(image_id), after.people(image_id)
        assert len(old) == len(new)
        for a, b in zip(old, new, strict=True):
            assert b["keypoints"] == pytest.approx(a["keypoints"], abs=1e-4)
            assert b["bbox"] == pytest.approx(a["bbox"], abs=1e-4)
            assert b["num_keypoints"] == a["num_keypoints"]
        assert np.array_equal(before.read(image_id), after.read(image_id))
    assert len(kptk.load_coco(tmp_path / "back", split="val")) == 3


def test_yolo_labels_stay_within_the_image(tmp_path: Path) -> None:
    root = clean_set(tmp_path / "coco")
    content = document(101, 3)
    content["annotations"][0] |= {"bbox": [-10, -20, 200, 60]}
    content["annotations"][0]["keypoints"][:9] = [-3, 5, 2, 96, 72, 2, 97, 5, 2]
    write_document(root, "val", content)
    coco_to_yolo(kptk.load_coco(root, split="val"), tmp_path / "yolo", images=False)
    line = (tmp_path / "yolo" / "labels" / "val" / "0101.txt").read_text().split()
    # The box clipped to 96 x 40 of 96 x 72; of the points only the second is in the image.
    assert [float(word) for word in line[:14]] == pytest.approx(
        [0, 0.5, 20 / 72, 1, 40 / 72, 0, 0, 0, 1, 1, 2, 0, 0, 0]
    )
    assert not (tmp_path / "yolo" / "images").exists()


def test_where_yolo_looks_for_labels() -> None:
    path = Path("images/set/images/train/a.b.jpg")
    assert label_file(path) == Path("images/set/labels/train/a.b.txt")


# --- together ------------------------------------------------------------------------------------


def test_two_splits_never_share_a_file_by_accident(tmp_path: Path) -> None:
    labelme(tmp_path / "one", "a", shape("nose", (3, 4)))
    labelme(tmp_path / "two", "a", shape("nose", (3, 4)))
    (tmp_path / "two" / "a.png").write_bytes(png(77))
    out = tmp_path / "out"
    convert(tmp_path / "one", out, source_format="labelme", split="train")
    with pytest.raises(DataError, match="another image"):
        convert(tmp_path / "two", out, source_format="labelme", split="val")


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("labelm", "coco", "Did you mean 'labelme'"),
        ("labelme", "yolo", "by way of coco"),
        ("coco", "coco", "by way of coco"),
    ],
)
def test_unknown_ways(tmp_path: Path, source: str, target: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        convert(tmp_path, tmp_path, source_format=source, target_format=target)


def test_command_line(tmp_path: Path) -> None:
    labelme(tmp_path / "src", "a", shape("nose", (3, 4)), shape("left_eye", (30, 40)))
    run = CliRunner().invoke
    source, out = str(tmp_path / "src"), str(tmp_path / "coco")
    done = run(app, ["convert", source, out, "--from", "labelme", "--split", "val", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["path"].endswith("annotations/instance_val.json")
    back = str(tmp_path / "yolo")
    done = run(app, ["convert", out, back, "--from", "coco", "--to", "yolo", "--split", "val"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "yolo" / "labels" / "val" / "a.txt").read_text().startswith("0 ")
    done = run(app, ["convert", source, out, "--from", "labelme", "--split", "val"])
    assert done.exit_code == 1 and "exists already" in done.stderr
