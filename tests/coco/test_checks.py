"""Every defect planted in a data set is found, by its own name and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import kptk
from kptk.cli import app
from kptk.coco.checks import NEAR, difference_hash, people_of, probable_swaps
from kptk.coco.load import check_coco
from kptk.coco.sheets import save_sheets
from kptk.errors import DataError
from kptk.skeleton import COCO17
from tests.coco_sets import (
    FACING,
    HEIGHT,
    WIDTH,
    clean_set,
    document,
    person,
    picture,
    write_document,
)

Document = dict[str, Any]
Plant = Callable[[Document, Path], None]


def annotation(content: Document, number: int) -> Document:
    return next(a for a in content["annotations"] if a["id"] == number)


def change(number: int, **values: Any) -> Plant:
    return lambda content, _: annotation(content, number).update(values)


def without(number: int, key: str) -> Plant:
    return lambda content, _: annotation(content, number).pop(key)


def point(number: int, joint: int, *values: Any) -> Plant:
    def plant(content: Document, _: Path) -> None:
        annotation(content, number)["keypoints"][3 * joint : 3 * joint + 3] = values

    return plant


def image(place: int, **values: Any) -> Plant:
    return lambda content, _: content["images"][place].update(values)


def picture_file(name: str, write: Callable[[Path], object]) -> Plant:
    return lambda _, folder: write(folder / name)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def turned(size: tuple[int, int], orientation: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        stored = Image.fromarray(picture(1, size))
        exif = stored.getexif()
        exif[0x0112] = orientation
        stored.save(path, exif=exif)

    return write


def swap_sides(number: int) -> Plant:
    def plant(content: Document, _: Path) -> None:
        points = np.array(annotation(content, number)["keypoints"]).reshape(17, 3)
        annotation(content, number)["keypoints"] = points[COCO17.flip_order].ravel().tolist()

    return plant


def forget(*numbers: int) -> Plant:
    def plant(content: Document, _: Path) -> None:
        content["annotations"] = [a for a in content["annotations"] if a["id"] not in numbers]

    return plant


def append(section: str, **values: Any) -> Plant:
    return lambda content, _: content[section].append(values)


def append_person(number: int, image_id: int, **values: Any) -> Plant:
    return lambda content, _: content["annotations"].append(
        person(number, image_id, **{"y": 9.0, **values})
    )


def brighter(path: Path) -> None:
    pixels = np.clip(picture(1).astype(int) + 12, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).resize((WIDTH, HEIGHT)).save(path)


def no_labels(joint: int) -> Plant:
    def plant(content: Document, _: Path) -> None:
        for record in content["annotations"]:
            record["keypoints"][3 * joint : 3 * joint + 3] = [0, 0, 0]
            record["num_keypoints"] = 16

    return plant


def both(*plants: Plant) -> Plant:
    def plant(content: Document, folder: Path) -> None:
        for one in plants:
            one(content, folder)

    return plant


# Planted in train: images 1 to 4, annotations 11, 12, 21, 22, 31, 32, 41, 42. Expected by hand.
DEFECTS: list[tuple[str, str, tuple[Any, ...], Plant]] = [
    # the image records
    ("image-missing", "error", (2,), picture_file("0002.png", Path.unlink)),
    ("image-unreadable", "error", (2,), picture_file("0002.png", truncate)),
    ("image-unreadable", "error", (2,), picture_file("0002.png", lambda p: p.write_bytes(b""))),
    ("image-size-wrong", "error", (2,), image(1, width=200)),
    ("image-size-missing", "error", (2,), image(1, width=None)),
    ("image-id-duplicate", "error", (3,), both(image(3, id=3), forget(41, 42))),
    ("image-listed-twice", "error", (1,), append(
        "images", id=1, file_name="0001.png", width=WIDTH, height=HEIGHT)),
    ("image-name-missing", "error", (2,), image(1, file_name=None)),
    ("image-id-missing", "error", ("#4",), append("images", file_name="0001.png")),
    # EXIF 6 shows the stored 96 x 72 as 72 x 96.
    ("exif-sideways", "error", (1,), picture_file("0001.png", turned((HEIGHT, WIDTH), 6))),
    ("exif-rotated", "warning", (1,), picture_file("0001.png", turned((WIDTH, HEIGHT), 6))),
    ("exif-rotated", "warning", (1,), picture_file("0001.png", turned((HEIGHT, WIDTH), 3))),
    # ids
    ("id-zero", "error", (0,), change(11, id=0)),
    ("id-duplicate", "error", (21,), change(22, id=21)),
    ("id-missing", "error", ("#3",), without(22, "id")),
    ("image-unknown", "error", (99,), append_person(99, 77)),
    ("category-unknown", "error", (22,), change(22, category_id=0)),
    ("annotation-copied", "error", (99,), append_person(99, 1, x=5.0, y=6.0)),
    # boxes and areas
    ("box-invalid", "error", (22,), change(22, bbox=[1, 2, 3])),
    ("box-invalid", "error", (22,), change(22, bbox=[1, 2, 3, float("nan")])),
    ("box-empty", "error", (22,), change(22, bbox=[45, 7, 0, 60])),
    ("box-negative-size", "error", (22,), change(22, bbox=[65, 67, -20, -60])),
    ("box-outside-image", "error", (99,), append_person(
        99, 1, bbox=[200, 5, 20, 60], keypoints=[0] * 51, num_keypoints=0)),
    ("box-over-edge", "warning", (22, 12), both(
        change(12, bbox=[45, 6, 60, 60]), change(22, bbox=[45, 7, 80, 60]))),
    ("area-missing", "error", (22,), without(22, "area")),
    ("area-zero", "error", (22,), change(22, area=0)),
    ("area-above-box", "warning", (22,), change(22, area=1300)),
    ("iscrowd-missing", "error", (22,), without(22, "iscrowd")),
    ("ignore-flag", "warning", (22,), change(22, ignore=1)),
    # points
    ("keypoints-missing", "error", (99,), append_person(99, 1, keypoints=None, num_keypoints=0)),
    ("keypoints-length", "error", (22,), change(22, keypoints=[1, 2, 2] * 14)),
    ("keypoints-length", "error", (22,), change(22, keypoints=["a"] * 51)),
    ("keypoints-not-finite", "error", (22,), both(
        point(22, 9, float("nan"), 5, 2), change(22, num_keypoints=16))),
    ("visibility-range", "error", (22,), both(
        point(22, 9, 60, 40, 3), change(22, num_keypoints=16))),
    ("visibility-range", "error", (22,), both(
        point(22, 9, 60, 40, -1), change(22, num_keypoints=16))),
    ("num-keypoints-missing", "error", (22,), without(22, "num_keypoints")),
    ("num-keypoints-wrong", "error", (22,), change(22, num_keypoints=16)),
    ("keypoints-outside-image", "warning", (22,), point(22, 9, 98, 40, 2)),
    ("keypoints-outside-box", "warning", (22,), point(22, 9, 80, 40, 2)),
    ("keypoints-at-origin", "warning", (22,), point(22, 9, 0, 0, 2)),
    ("person-without-keypoints", "warning", (22,), change(22, keypoints=[0] * 51, num_keypoints=0)),
    ("sides-swapped", "warning", (22,), swap_sides(22)),
    ("joint-never-labelled", "warning", ("left_ankle",), no_labels(15)),
    # the category
    ("skeleton-edges", "warning", ((0, 3), (17, 18)), lambda c, _: (
        c["categories"][0]["skeleton"].extend([[0, 3], [17, 18]]))),
    ("category-several", "warning", ("person", "dog"), append(
        "categories", id=2, name="dog", keypoints=["nose"])),
    ("category-joints-missing", "error", ("person",), lambda c, _: (
        c["categories"][0].pop("keypoints"))),
    # copies
    ("duplicate-exact", "warning", ((1, 3),), lambda _, f: (
        shutil.copy(f / "0001.png", f / "0003.png"))),
    ("duplicate-near", "warning", ((1, 3),), picture_file("0003.png", brighter)),
    ("leak-exact", "error", ((2, 102),), lambda _, f: shutil.copy(f / "0002.png", f / "0102.png")),
    ("leak-near", "warning", ((1, 102),), picture_file("0102.png", brighter)),
]  # fmt: skip
# These bring their own company: a person without points is one, however it came about.
ALONGSIDE = {
    "keypoints-missing": {"person-without-keypoints"},
    "box-outside-image": {"person-without-keypoints"},
}


@pytest.mark.parametrize(
    ("code", "severity", "ids", "plant"), DEFECTS, ids=[code for code, *_ in DEFECTS]
)
def test_a_planted_defect_is_found_and_nothing_else(
    tmp_path: Path, code: str, severity: str, ids: tuple[Any, ...], plant: Plant
) -> None:
    root = clean_set(tmp_path)
    content = document(1, 4)
    plant(content, root / "images")
    write_document(root, "train", content)
    before = {path: path.read_bytes() for path in root.rglob("*.*")}

    report = check_coco(root, progress=False)

    found = {finding.code: finding for _, finding in report.findings}
    assert set(found) - ALONGSIDE.get(code, set()) == {code}
    assert found[code].severity == severity
    assert found[code].ids == ids
    assert found[code].count == len(ids)
    assert report.ok == (severity != "error")
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before


def test_a_clean_set_has_no_findings(tmp_path: Path) -> None:
    report = check_coco(clean_set(tmp_path), progress=False)
    assert report.findings == []
    assert report.ok
    assert list(report.reports) == ["train", "val"]
    assert "nothing to complain about" in repr(report)


def test_one_sided_labels_are_found(tmp_path: Path) -> None:
    root = clean_set(tmp_path, train=26)  # 52 people: 52 right wrists, 12 left ones
    content = document(1, 26)
    for record in content["annotations"][12:]:
        record["keypoints"][27:30] = [0, 0, 0]
        record["num_keypoints"] = 16
    write_document(root, "train", content)
    report = check_coco(root, pictures=False)
    assert [(f.code, f.ids) for _, f in report.findings] == [
        ("labels-one-sided", (("left_wrist", "right_wrist"),))
    ]


def test_many_defects_at_once_are_all_reported(tmp_path: Path) -> None:
    root = clean_set(tmp_path)
    content = document(1, 4)
    planted = {
        "id-zero": change(11, id=0), "area-zero": change(12, area=0),
        "box-negative-size": change(21, bbox=[25, 67, -20, -60]),
        "num-keypoints-wrong": change(22, num_keypoints=3),
        "keypoints-length": change(31, keypoints=[0] * 42),
        "visibility-range": both(point(32, 9, 60, 40, 3), change(32, num_keypoints=16)),
        "sides-swapped": swap_sides(41),
        "image-unreadable": picture_file("0004.png", truncate),
    }  # fmt: skip
    for plant in planted.values():
        plant(content, root / "images")
    write_document(root, "train", content)
    report = check_coco(root, progress=False)
    assert {finding.code for _, finding in report.findings} == set(planted)


def test_a_file_that_is_no_coco_file_is_a_finding_of_its_split(tmp_path: Path) -> None:
    root = clean_set(tmp_path)
    (root / "annotations" / "instance_val.json").write_text("{broken")
    report = check_coco(root, progress=False)
    assert [(split, f.code) for split, f in report.findings] == [("val", "file-unusable")]
    with pytest.raises(DataError, match="does not exist"):
        check_coco(tmp_path / "nowhere")


def test_boxes_written_as_corners_are_recognised(tmp_path: Path) -> None:
    root = clean_set(tmp_path)
    content = document(1, 4)
    for record in content["annotations"]:
        x, y, w, h = record["bbox"]
        record["bbox"] = [x, y, x + w, y + h]
    write_document(root, "train", content)
    findings = {f.code: f for _, f in check_coco(root, pictures=False).findings}
    assert "convert them" in findings["box-over-edge"].advice
    content = document(1, 4)
    annotation(content, 22)["bbox"] = [45, 7, 80, 60]  # one box too wide is no format
    write_document(root, "train", content)
    findings = {f.code: f for _, f in check_coco(root, pictures=False).findings}
    assert "convert them" not in findings["box-over-edge"].advice


def test_the_same_file_in_two_splits_is_found_without_opening_it(tmp_path: Path) -> None:
    root = clean_set(tmp_path)
    content = document(1, 4)
    content["images"][2]["file_name"] = "0103.png"
    write_document(root, "train", content)
    report = check_coco(root, pictures=False)
    assert [(f.code, f.ids) for _, f in report.findings] == [("leak-exact", ((3, 103),))]
    assert not report.ok


# --- near-duplicates ---------------------------------------------------------------------------


def bits_apart(first: np.ndarray, second: np.ndarray) -> int:
    a, b = difference_hash(first), difference_hash(second)
    assert a is not None and b is not None
    return int(np.bitwise_count(a ^ b).sum())


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=40)
    return np.array(Image.open(file))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: p,
        as_jpeg,
        lambda p: np.array(Image.fromarray(p).resize((240, 180))),
        lambda p: (p * 0.7).astype(np.uint8),
        lambda p: p[1:-1, 1:-1],
    ],
)
def test_changed_copies_are_near_and_strangers_are_far(make: Callable) -> None:
    pictures = [picture(seed, (144, 192)) for seed in range(12)]
    assert max(bits_apart(p, make(p)) for p in pictures) <= NEAR
    strangers = [bits_apart(p, make(q)) for p in pictures for q in pictures if p is not q]
    assert min(strangers) > 3 * NEAR


@pytest.mark.parametrize("name", ["day", "night"])
def test_the_demo_data_is_sound(name: str) -> None:
    report = check_coco(kptk.demo_path(name), pictures=False)
    assert report.ok
    assert {f.code for _, f in report.findings} <= {"person-without-keypoints", "sides-swapped"}


def test_a_picture_of_one_shade_has_no_hash() -> None:
    assert difference_hash(np.full((40, 40, 3), 7, np.uint8)) is None


# --- left and right ----------------------------------------------------------------------------


def posed(points: np.ndarray, visible: int = 2) -> np.ndarray:
    return np.column_stack([points, np.full(len(points), visible)])[None].astype(float)


def rotated(points: np.ndarray, degrees: float) -> np.ndarray:
    turn = np.deg2rad(degrees)
    return points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])


def backwards() -> np.ndarray:
    """The same person seen from behind: mirrored, and no face to be seen."""
    seen = posed(FACING * (-1, 1))
    seen[:, :5] = 0
    return seen


UPPER = [5, 6, 7, 8, 9, 10]  # shoulders, elbows, wrists


def reversed_joints(joints: list[int], points: np.ndarray = FACING) -> np.ndarray:
    found = points.copy()
    found[..., joints, :] = points[..., COCO17.flip_order[joints], :]
    return found


@pytest.mark.parametrize(
    ("points", "swapped"),
    [
        (posed(FACING), False),
        (posed(FACING[COCO17.flip_order]), True),
        # lying on the side, upside down: the rules do not ask where up is
        (posed(rotated(FACING, 90)), False),
        (posed(rotated(FACING, 180)), False),
        (posed(rotated(FACING[COCO17.flip_order], 90)), True),
        (posed(rotated(FACING[COCO17.flip_order], 180)), True),
        # from behind nothing shows a swap of everything
        (backwards(), False),
        # shoulders and arms alone: the spine would be turned half round
        (posed(reversed_joints(UPPER)), True),
        (posed(reversed_joints([*UPPER, 11, 12, 13, 14, 15, 16])), True),
        (reversed_joints(UPPER, backwards()), True),
        # crossed legs or arms are no swap
        (posed(reversed_joints([13, 14, 15, 16])), False),
        (posed(reversed_joints([9, 10])), False),
        # a face whose eyes are hidden proves nothing
        (posed(FACING[COCO17.flip_order], visible=1), False),
        # in profile: eyes nearly in one place, shoulders narrow
        (posed(FACING * (0.05, 1)), False),
        (posed(FACING * 0), False),
    ],
)
def test_swapped_sides(points: np.ndarray, swapped: bool) -> None:
    assert probable_swaps(points, COCO17)[0].tolist() == [swapped]


def test_swapped_sides_of_the_rendered_people() -> None:
    """Their labels are exact: few may be named, and most whose face is seen once swapped."""
    data = kptk.load_coco(kptk.demo_path("day"), split="val")
    points = people_of(data)[0].keypoints
    named, judged = probable_swaps(points, COCO17)
    assert judged.sum() > 300 and named.sum() <= 0.01 * judged.sum()
    faces = (points[:, :3, 2] == 2).all(axis=1)  # nose and both eyes visible
    named, _ = probable_swaps(points[:, COCO17.flip_order], COCO17)
    assert named[faces].mean() > 0.95


def test_swapped_sides_in_photographs(reference_dir: Path) -> None:
    points = people_of(kptk.load_coco(reference_dir / "eval" / "coco4_gt.json"))[0].keypoints
    assert probable_swaps(points, COCO17)[0].sum() == 0
    assert probable_swaps(points[:, COCO17.flip_order], COCO17)[0].sum() == 9


# --- showing it --------------------------------------------------------------------------------


def faulty_set(root: Path) -> Path:
    clean_set(root)
    content = document(1, 4)
    for plant in (change(11, id=0), swap_sides(22), point(31, 9, 140, 40, 2)):
        plant(content, root)
    write_document(root, "train", content)
    shutil.copy(root / "images" / "0001.png", root / "images" / "0102.png")
    return root


def test_sheets_show_the_worst(tmp_path: Path) -> None:
    found = check_coco(faulty_set(tmp_path / "set"), progress=False)
    files = save_sheets(found, tmp_path / "sheets")
    assert sorted(file.name for file in files) == [
        "train-val_leak-exact.jpg", "train_id-zero.jpg", "train_keypoints-outside-image.jpg",
        "train_sides-swapped.jpg",
    ]  # fmt: skip
    sheet = np.array(Image.open(tmp_path / "sheets" / "train_sides-swapped.jpg")).astype(int)
    orange = (sheet[..., 0] > 200) & (sheet[..., 2] < 90)
    blue = (sheet[..., 2] > 200) & (sheet[..., 0] < 110)
    # The person's left (blue) is drawn on the picture's left: that is what is wrong.
    assert np.nonzero(blue)[1].mean() < np.nonzero(orange)[1].mean()


def test_command_line(tmp_path: Path) -> None:
    root = faulty_set(tmp_path / "set")
    done = CliRunner().invoke(
        app, ["check", str(root), "--json", "--pictures", str(tmp_path / "sheets")]
    )
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert {
        f["code"]: (f["severity"], f["ids"]) for f in report["splits"]["train"]["findings"]
    } == {
        "id-zero": ("error", [0]),
        "sides-swapped": ("warning", [22]),
        "keypoints-outside-image": ("warning", [31]),
    }
    assert [(f["code"], f["ids"]) for f in report["between"]] == [("leak-exact", [[1, 102]])]
    assert report["splits"]["val"]["statistics"]["people"] == 6
    assert all(Path(file).is_file() for file in report["pictures"])


def test_command_line_on_a_clean_set(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(clean_set(tmp_path))])
    assert done.exit_code == 0
    assert "train: nothing to complain about" in done.stdout
    assert json.loads(json.dumps(check_coco(tmp_path, progress=False).json))["ok"] is True


def test_full_report_of_loaded_data(tmp_path: Path) -> None:
    data = kptk.load_coco(faulty_set(tmp_path), split="train", check="full", progress=False)
    assert [(f.code, f.severity) for f in data.report.findings] == [
        ("id-zero", "repaired"), ("keypoints-outside-image", "warning"),
        ("sides-swapped", "warning"),
    ]  # fmt: skip
    assert data.report.ok
    assert data.report.to_pandas()["count"].tolist() == [1, 1, 1]
    assert "<table>" in data.report._repr_html_()


def test_the_report_s_former_name_still_works_and_warns() -> None:
    with pytest.warns(DeprecationWarning, match="CheckReport"):
        former = kptk.coco.DatasetReport
    assert former is kptk.coco.CheckReport
    with pytest.raises(AttributeError, match="no attribute 'Report'"):
        _ = kptk.coco.Report
