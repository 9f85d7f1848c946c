"""Loading COCO keypoint data: where it lies, what is mended, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kptk
from kptk.coco import KeypointData
from kptk.coco.dataset import write_coco
from kptk.coco.rules import area_of, polygon_area
from kptk.errors import DataError, InputError
from kptk.skeleton import COCO17, CROWDPOSE14, DEFAULT_SIGMA
from tests.coco_sets import HEIGHT, WIDTH, clean_set, document, person, picture, write_document


def train_with(root: Path, **changes: Any) -> KeypointData:
    """Load the train split after annotation 22 was changed; a value of ... takes the key away."""
    return kptk.load_coco(planted(root, **changes), split="train")


def planted(root: Path, **changes: Any) -> Path:
    clean_set(root)
    content = document(1, 4)
    record = next(a for a in content["annotations"] if a["id"] == 22)
    for key, value in changes.items():
        if value is ...:
            del record[key]
        else:
            record[key] = value
    write_document(root, "train", content)
    return root


def test_paddlex_layout(tmp_path: Path) -> None:
    root = clean_set(tmp_path / "mine")
    data = kptk.load_coco(root, split="val")
    assert (data.path, data.split, len(data), data.n_people) == (root, "val", 3, 6)
    assert data.images_dir == root / "images"
    assert data.annotations_path == root / "annotations" / "instance_val.json"
    assert data.image_ids == [101, 102, 103]
    assert data.skeleton == COCO17
    assert data.report.ok and not data.report.findings
    assert data.image_path(102) == root / "images" / "0102.png"
    assert np.array_equal(data.read(102), picture(102))
    assert data.sha256 == hashlib.sha256(data.annotations_path.read_bytes()).hexdigest()
    assert repr(data) == (
        "KeypointData(mine val: 3 images, 6 people, 17 joints; "
        "nothing to complain about (looked at files))"
    )
    assert str(tmp_path) not in data._repr_html_()


def test_people_and_crowds_in_order_of_their_ids(tmp_path: Path) -> None:
    content = document(1, 2)
    content["annotations"].append(person(5, 2, x=30, iscrowd=1))
    content["annotations"].append(person(3, 2, x=31, keypoints=[0] * 51, num_keypoints=0))
    content["images"].reverse()
    data = kptk.load_coco(write_set_of(tmp_path, content))
    assert data.image_ids == [1, 2]
    assert [a["id"] for a in data.people(2)] == [3, 21, 22]
    assert [a["id"] for a in data.crowds(2)] == [5]
    assert [a["id"] for a in data.annotations(2)] == [3, 5, 21, 22]
    assert data.n_people == 5
    with pytest.raises(DataError, match="no image 9"):
        data.people(9)
    small = data.subset([2])
    assert (len(small), small.image_ids, small.n_people) == (1, [2], 3)
    assert {a["image_id"] for a in small.content["annotations"]} == {2}
    assert len(data) == 2


def write_set_of(root: Path, content: dict[str, Any]) -> Path:
    clean_set(root)
    (root / "annotations" / "instance_val.json").unlink()
    write_document(root, "train", content)
    return root


def coco_layout(root: Path) -> tuple[Path, str]:
    """annotations/person_keypoints_val2017.json beside val2017/."""
    clean_set(root)
    folder = root / "annotations"
    (folder / "instance_val.json").rename(folder / "person_keypoints_val2017.json")
    shutil.copy(folder / "person_keypoints_val2017.json", folder / "instances_val2017.json")
    (folder / "captions_val2017.json").write_text("{}")
    (root / "images").rename(root / "val2017")
    return root, "val"


def flat_layout(root: Path) -> tuple[Path, str | None]:
    """One annotation file in the folder of its images."""
    clean_set(root)
    shutil.move(root / "annotations" / "instance_val.json", root / "images" / "labels.json")
    return root / "images", None


def single_file(root: Path) -> tuple[Path, str | None]:
    return clean_set(root) / "annotations" / "instance_val.json", None


def split_folders(root: Path) -> tuple[Path, str]:
    """images/val/ and annotations/val.json."""
    clean_set(root)
    folder = root / "annotations"
    (folder / "instance_val.json").rename(folder / "val.json")
    (root / "images").rename(root / "val")
    (root / "images").mkdir()
    (root / "val").rename(root / "images" / "val")
    return root, "val"


@pytest.mark.parametrize("layout", [coco_layout, flat_layout, single_file, split_folders])
def test_other_layouts(tmp_path: Path, layout: Any) -> None:
    path, split = layout(tmp_path)
    data = kptk.load_coco(path, split=split)
    assert data.image_ids == [101, 102, 103]
    assert np.array_equal(data.read(101), picture(101))


def test_annotations_and_images_may_be_named(tmp_path: Path) -> None:
    root = clean_set(tmp_path / "set")
    shutil.move(root / "annotations" / "instance_val.json", tmp_path / "mine.json")
    shutil.move(root / "images", tmp_path / "pictures")
    data = kptk.load_coco(
        root, annotations=tmp_path / "mine.json", images=tmp_path / "pictures", check="full",
        progress=False,
    )  # fmt: skip
    assert data.report.ok and data.read(101).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(DataError, match=r"image folder .* does not exist"):
        kptk.load_coco(tmp_path / "mine.json", images=tmp_path / "elsewhere")


def test_stored_predictions_need_no_images(tmp_path: Path) -> None:
    file = tmp_path / "gt.json"
    file.write_text(json.dumps(document(1, 2)))
    data = kptk.load_coco(file, check="full", progress=False)
    assert [(f.code, f.severity) for f in data.report.findings] == [("images-folder", "warning")]
    shutil.copytree(clean_set(tmp_path / "set") / "annotations", tmp_path / "bare" / "annotations")
    with pytest.raises(DataError, match="None of the images is in"):
        kptk.load_coco(tmp_path / "bare", split="val")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (None, "has the splits train, val. Say which: split='train'"),
        ("test", "There is no split 'test'. Expected one of: train, val"),
        ("vall", "Did you mean 'val'"),
    ],
)
def test_a_split_must_be_there(tmp_path: Path, split: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        kptk.load_coco(clean_set(tmp_path), split=split)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be a JSON file"),
        ("[]", "must be a COCO annotation file"),
        ('[{"image_id": 1}]', "as results are"),
        ('{"images": [], "annotations": []}', "images, annotations and categories. Got: images"),
        ('{"images": [1], "annotations": [], "categories": []}', "must be an object"),
        ('{"images": [], "annotations": [], "categories": []}', "must have a category"),
    ],
)
def test_what_is_no_annotation_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=message):
        kptk.load_coco(tmp_path / "a.json")


def test_nothing_there(tmp_path: Path) -> None:
    clean_set(tmp_path / "night")
    with pytest.raises(DataError, match=r"does not exist. Did you mean 'night'"):
        kptk.load_coco(tmp_path / "nigth")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="must hold annotation files"):
        kptk.load_coco(tmp_path / "empty")
    with pytest.raises(DataError, match="repair must be True, False or 'drop'"):
        kptk.load_coco(tmp_path / "night", split="val", repair="yes")  # type: ignore[arg-type]


# --- repairs: the value expected, by hand --------------------------------------------------------

TRIANGLE = [[0, 0, 10, 0, 0, 10]]  # 50 square pixels
BOX_AREA = 0.53 * 20 * 60


def points(*changed: tuple[int, list[float]]) -> list[float]:
    """The keypoints of annotation 22 with some triples replaced."""
    found = list(document(1, 4)["annotations"][3]["keypoints"])
    for joint, triple in changed:
        found[3 * joint : 3 * joint + 3] = triple
    return found


@pytest.mark.parametrize(
    ("code", "changes", "mended"),
    [
        ("iscrowd-missing", {"iscrowd": ...}, {"iscrowd": 0}),
        ("area-missing", {"area": ...}, {"area": BOX_AREA}),
        ("area-zero", {"area": 0, "segmentation": TRIANGLE}, {"area": 50}),
        ("area-zero", {"area": -3}, {"area": BOX_AREA}),
        ("box-negative-size", {"bbox": [65, 67, -20, -60]}, {"bbox": [45, 7, 20, 60]}),
        ("num-keypoints-wrong", {"num_keypoints": 0}, {"num_keypoints": 17}),
        ("num-keypoints-wrong", {"keypoints": [0] * 51}, {"num_keypoints": 0}),
        ("num-keypoints-missing", {"num_keypoints": ...}, {"num_keypoints": 17}),
        ("category-unknown", {"category_id": 0}, {"category_id": 1}),
        (
            "visibility-range",
            {"keypoints": points((9, [60, 40, 3])), "num_keypoints": 16},
            {"keypoints": points((9, [0, 0, 0])), "num_keypoints": 16},
        ),
        (
            "keypoints-not-finite",
            {"keypoints": points((9, [float("nan"), 40, 2])), "num_keypoints": 16},
            {"keypoints": points((9, [0, 0, 0])), "num_keypoints": 16},
        ),
        ("keypoints-missing", {"keypoints": ..., "num_keypoints": 0}, {"keypoints": [0] * 51}),
        ("crowd-keypoints", {"keypoints": [], "num_keypoints": 0, "iscrowd": 1}, {}),
    ],
)
def test_repairs_are_made_and_said(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    code: str,
    changes: dict[str, Any],
    mended: dict[str, Any],
) -> None:
    root = planted(tmp_path, **changes)
    before = (root / "annotations" / "instance_train.json").read_bytes()
    data = kptk.load_coco(root, split="train")
    assert [(f.code, f.ids) for f in data.report.repairs] == [(code, (22,))]
    assert f"{code} (1)" in caplog.text
    record = next(a for a in data.annotations(2) if a["id"] == 22)
    for key, value in mended.items():
        assert record[key] == pytest.approx(value), key
    assert (root / "annotations" / "instance_train.json").read_bytes() == before
    with pytest.raises(DataError, match=rf"{code}.*annotation 22.*repair=True"):
        kptk.load_coco(root, split="train", repair=False)


def test_ids_are_mended_to_new_ones(tmp_path: Path) -> None:
    content = document(1, 2)
    for record, number in zip(content["annotations"], [0, 7, 7, None], strict=True):
        record["id"] = number
    data = kptk.load_coco(write_set_of(tmp_path, content))
    assert [a["id"] for i in (1, 2) for a in data.people(i)] == [7, 8, 9, 10]
    assert [(f.code, f.ids) for f in data.report.repairs] == [
        ("id-missing", ("#3",)), ("id-zero", (0,)), ("id-duplicate", (7,)),
    ]  # fmt: skip


def test_pycocotools_scores_mended_data_perfectly(tmp_path: Path) -> None:
    """Every pitfall at once; pycocotools' AP of the ground truth itself must be 1."""
    from kptk.evaluation import coco_stats

    content = document(1, 4)
    records = content["annotations"]
    records[0]["id"] = 0
    records[1]["area"] = 0
    del records[2]["area"], records[3]["num_keypoints"], records[4]["iscrowd"]
    records[5]["keypoints"] = points((9, [float("nan"), 40, 2]))
    records[6]["id"] = records[7]["id"]
    data = kptk.load_coco(write_set_of(tmp_path, content))
    results = [
        {"image_id": a["image_id"], "category_id": 1, "keypoints": a["keypoints"], "score": 1.0}
        for i in data.image_ids
        for a in data.people(i)
    ]
    assert coco_stats(data.content, results, "keypoints")["AP"] == 1


UNMENDABLE: list[tuple[str, dict[str, Any]]] = [
    ("keypoints-length", {"keypoints": [1, 2, 2]}),
    ("box-invalid", {"bbox": None}),
    ("box-empty", {"bbox": [1, 2, 0, 4]}),
]


@pytest.mark.parametrize(("code", "changes"), UNMENDABLE)
def test_what_cannot_be_mended_is_refused_or_left_out(
    tmp_path: Path, code: str, changes: dict[str, Any]
) -> None:
    root = planted(tmp_path, **changes)
    with pytest.raises(DataError, match=rf"{code}.*annotation 22.*repair='drop'"):
        kptk.load_coco(root, split="train")
    data = kptk.load_coco(root, split="train", repair="drop")
    assert [a["id"] for a in data.people(2)] == [21]
    assert [(f.code, f.severity) for f in data.report.findings] == [(code, "repaired")]


def test_the_first_few_ids_are_listed(tmp_path: Path) -> None:
    content = document(1, 4)
    for record in content["annotations"]:
        record["bbox"] = [0, 0, 0, 0]
    with pytest.raises(DataError, match=r"annotation 11, 12, 21, 22, 31 and 3 more"):
        kptk.load_coco(write_set_of(tmp_path, content))


def test_missing_images_are_refused_or_left_out(tmp_path: Path) -> None:
    root = clean_set(tmp_path)
    (root / "images" / "0102.png").rename(root / "images" / "0102.PNG")
    with pytest.raises(DataError, match=r"'0102.png'.*Did you mean.*image 102"):
        kptk.load_coco(root, split="val")
    assert len(kptk.load_coco(root, split="val", check=False)) == 3
    data = kptk.load_coco(root, split="val", repair="drop")
    assert data.image_ids == [101, 103]
    assert data.n_people == 4


def test_images_of_one_id_are_refused_or_left_out(tmp_path: Path) -> None:
    content = document(1, 4)
    content["images"][3]["id"] = 3
    root = write_set_of(tmp_path, content)
    with pytest.raises(DataError, match=r"image-id-duplicate.*image 3"):
        kptk.load_coco(root)
    data = kptk.load_coco(root, repair="drop")
    assert data.image_ids == [1, 2]
    assert {a["image_id"] for a in data.content["annotations"]} == {1, 2}


def test_missing_sizes_are_read_from_the_pictures(tmp_path: Path) -> None:
    root = clean_set(tmp_path)
    content = document(101, 3)
    del content["images"][1]["width"], content["images"][1]["height"]
    write_document(root, "val", content)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(102)).save(root / "images" / "0102.png", exif=exif)
    data = kptk.load_coco(root, split="val")
    assert (data.image(102)["height"], data.image(102)["width"]) == (WIDTH, HEIGHT)
    assert data.read(102).shape == (WIDTH, HEIGHT, 3)


def test_areas_of_masks() -> None:
    from pycocotools import mask

    assert polygon_area([0, 0, 4, 0, 4, 3, 0, 3]) == 12
    box = {"bbox": [0, 0, 10, 10]}
    assert area_of({**box, "segmentation": [[0, 0, 4, 0, 4, 3, 0, 3], *TRIANGLE]}) == 62
    # Uncompressed run lengths: 3 off, 4 on, 1 off, 2 on.
    assert area_of({**box, "segmentation": {"size": [5, 2], "counts": [3, 4, 1, 2]}}) == 6
    square = np.zeros((10, 10), np.uint8, order="F")
    square[2:5, 3:7] = 1
    compressed = mask.encode(square)
    compressed["counts"] = compressed["counts"].decode()
    assert area_of({**box, "segmentation": compressed}) == 12
    assert area_of({**box, "segmentation": []}) == pytest.approx(53)


# --- skeletons -----------------------------------------------------------------------------------


def with_joints(root: Path, names: list[str], **fields: Any) -> Path:
    content = document(1, 2)
    content["categories"][0] |= {"keypoints": names, "skeleton": [[1, 2]], **fields}
    for record in content["annotations"]:
        x, y = record["bbox"][:2]
        record["keypoints"] = [v for i in range(len(names)) for v in (x + i % 20, y + i, 2)]
        record["num_keypoints"] = len(names)
    return write_set_of(root, content)


def test_crowdpose_joints(tmp_path: Path) -> None:
    names = list(CROWDPOSE14.names)
    edges = [[16, 14], [14, 12]]  # as in CrowdPose's own file: COCO's, which do not all fit
    data = kptk.load_coco(with_joints(tmp_path, names, skeleton=edges))
    assert data.skeleton.sigmas == CROWDPOSE14.sigmas
    assert data.skeleton.flip_pairs == CROWDPOSE14.flip_pairs
    assert data.skeleton.edges == ((13, 11),)
    assert [(f.code, f.ids) for f in data.report.findings] == [("skeleton-edges", ((16, 14),))]


@pytest.mark.parametrize("count", [5, 27])
def test_unknown_joints_get_the_stated_default(tmp_path: Path, count: int) -> None:
    names = [f"point {i}" for i in range(count)]
    root = with_joints(tmp_path, names)
    data = kptk.load_coco(root)
    assert data.skeleton.sigmas == (DEFAULT_SIGMA,) * count
    assert round(DEFAULT_SIGMA, 6) == 0.066941  # the mean of COCO's 17, by hand
    found = {finding.code: finding for finding in data.report.findings}
    assert set(found) == {"sigmas-assumed", "flip-pairs-none"}
    assert "0.0669" in found["sigmas-assumed"].sentence
    sigmas = [0.1] * count
    data = kptk.load_coco(root, sigmas=sigmas, flip_pairs=[(0, 1), (3, 2)])
    assert data.skeleton.sigmas == tuple(sigmas)
    assert data.skeleton.flip_order.tolist() == [1, 0, 3, 2, *range(4, count)]
    assert not data.report.findings
    with pytest.raises(InputError, match=f"{count} joints, 1 sigmas"):
        kptk.load_coco(root, sigmas=[0.1])


def test_a_category_without_joint_names(tmp_path: Path) -> None:
    content = document(1, 2)
    del content["categories"][0]["keypoints"]
    data = kptk.load_coco(write_set_of(tmp_path, content))
    assert data.skeleton == COCO17
    for record in content["annotations"]:
        del record["keypoints"], record["num_keypoints"]
    write_document(tmp_path, "train", content)
    data = kptk.load_coco(tmp_path)
    assert len(data.skeleton) == 0 and data.report.ok
    assert data.report.statistics["joints"] == {}


def test_other_categories_stay_and_are_no_people(tmp_path: Path) -> None:
    content = document(1, 2)
    content["categories"].insert(0, {"id": 5, "name": "dog"})
    content["annotations"].append({"id": 77, "image_id": 1, "category_id": 5, "bbox": "?"})
    data = kptk.load_coco(write_set_of(tmp_path, content))
    assert data.category_id == 1 and data.n_people == 4
    assert 77 in {a["id"] for a in data.content["annotations"]}


# --- statistics, reference data, writing ---------------------------------------------------------


def test_statistics(tmp_path: Path) -> None:
    content = document(1, 3)
    content["annotations"] = content["annotations"][:4]
    for record, area in zip(content["annotations"], [1023, 1024, 9215, 9216], strict=True):
        record["area"] = area
    content["annotations"][3]["keypoints"][2] = 1  # one hidden nose
    found = kptk.load_coco(write_set_of(tmp_path, content)).report.statistics
    assert (found["images"], found["images_without_people"], found["people"]) == (3, 1, 4)
    assert found["sizes"] == {"small": 1, "medium": 2, "large": 1}
    assert found["box_height"] == {"0%": 60, "5%": 60, "50%": 60, "95%": 60, "100%": 60}
    assert found["joints"]["nose"] == {"labelled": 4, "visible": 3, "hidden": 1}
    json.dumps(found)


def test_reference_photographs(reference_dir: Path) -> None:
    data = kptk.load_coco(
        reference_dir / "coco2" / "annotations.json", check="full", progress=False
    )
    assert (data.image_ids, data.n_people) == ([785, 40083], 4)
    assert data.skeleton == COCO17
    assert [(f.code, f.ids) for f in data.report.findings] == [
        ("person-without-keypoints", (1202706,))
    ]
    crowdpose = kptk.load_coco(reference_dir / "eval" / "crowdpose4_gt.json")
    assert crowdpose.skeleton.sigmas == CROWDPOSE14.sigmas
    first = crowdpose.people(114203)[0]
    assert first["area"] == pytest.approx(0.53 * first["bbox"][2] * first["bbox"][3])


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    file = write_coco(document(1, 1), tmp_path / "new" / "a.json")
    assert json.loads(file.read_text()) == json.loads(json.dumps(document(1, 1)))
    with pytest.raises(DataError, match="exists already"):
        write_coco({}, file)
    before = file.read_bytes()
    with pytest.raises(DataError, match="as JSON"):
        write_coco({"images": [float("nan")]}, file, overwrite=True)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == ["a.json"]
