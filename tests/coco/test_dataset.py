"""Splits: the same every time, groups kept together, shares met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import kptk
from kptk.cli import app
from kptk.coco import KeypointData
from kptk.coco.dataset import parse_shares, split_coco
from kptk.errors import DataError
from tests.coco_sets import document, write_set

HALVES = {"train": 0.5, "val": 0.5}


def data_of(root: Path, count: int, **fields: Any) -> KeypointData:
    content = document(1, count)
    for place, image in enumerate(content["images"]):
        image |= {key: value(place) for key, value in fields.items()}
    for image in content["images"]:
        (root / "images" / image["file_name"]).parent.mkdir(parents=True, exist_ok=True)
    return kptk.load_coco(write_set(root, {"all": content}))


def ids(parts: dict[str, KeypointData]) -> dict[str, list[int]]:
    return {name: part.image_ids for name, part in parts.items()}


def test_by_image(tmp_path: Path) -> None:
    data = data_of(tmp_path, 20)
    parts = split_coco(data, {"train": 0.7, "val": 0.2, "test": 0.1})
    assert [len(part) for part in parts.values()] == [14, 4, 2]
    assert sorted(i for part in ids(parts).values() for i in part) == data.image_ids
    assert parts["val"].n_people == 8
    assert ids(parts) == ids(split_coco(data, {"train": 0.7, "val": 0.2, "test": 0.1}))
    assert ids(parts) != ids(split_coco(data, {"train": 0.7, "val": 0.2, "test": 0.1}, seed=1))


def test_the_order_in_the_file_does_not_matter(tmp_path: Path) -> None:
    data = data_of(tmp_path, 12)
    parts = ids(split_coco(data, HALVES, seed=3))
    data.content["images"].reverse()
    assert ids(split_coco(kptk.load_coco(tmp_path), HALVES, seed=3)) == parts


def test_every_seed_moves_an_image_about_as_often_as_its_share(tmp_path: Path) -> None:
    data = data_of(tmp_path, 10)
    in_val = [1 in ids(split_coco(data, {"train": 0.8, "val": 0.2}, seed=s))["val"]
              for s in range(200)]  # fmt: skip
    # Binomial, n = 200, p = .2: 40 with a standard deviation of 5.7.
    assert 20 < sum(in_val) < 60


GROUPED: list[tuple[Any, dict[str, Any]]] = [
    ("video", {"video": lambda i: i // 4}),
    ("folder", {"file_name": lambda i: f"clip{i // 4}/{i}.png"}),
    (r"clip(\d+)_", {"file_name": lambda i: f"clip{i // 4}_{i}.png"}),
    (lambda image: (image["id"] - 1) // 4, {}),
]


@pytest.mark.parametrize(("group_by", "fields"), GROUPED)
def test_groups_stay_together(tmp_path: Path, group_by: Any, fields: dict[str, Any]) -> None:
    data = data_of(tmp_path, 20, **fields)
    parts = ids(split_coco(data, {"train": 0.6, "val": 0.4}, group_by=group_by))
    groups = {name: {(i - 1) // 4 for i in part} for name, part in parts.items()}
    assert [len(part) for part in parts.values()] == [12, 8]
    assert not groups["train"] & groups["val"]


def test_no_part_is_empty(tmp_path: Path) -> None:
    data = data_of(tmp_path, 10, video=lambda i: int(i == 9))  # groups of 9 and of 1
    parts = split_coco(data, {"train": 0.95, "val": 0.05}, group_by="video")
    assert [len(part) for part in parts.values()] == [9, 1]


@pytest.mark.parametrize("seed", range(8))
def test_a_large_group_does_not_spoil_the_shares(tmp_path: Path, seed: int) -> None:
    data = data_of(tmp_path, 12, video=lambda i: i if i < 6 else 99)  # six of 1 and one of 6
    parts = split_coco(data, HALVES, group_by="video", seed=seed)
    assert [len(part) for part in parts.values()] == [6, 6]


def test_written_parts_load_again(tmp_path: Path) -> None:
    data = data_of(tmp_path / "a", 6)
    parts = split_coco(data, HALVES, out=tmp_path / "b", copy=True)
    for name, part in parts.items():
        again = kptk.load_coco(tmp_path / "b", split=name, check="full", progress=False)
        assert again.image_ids == part.image_ids
        assert again.report.ok
        assert again.sha256 == part.sha256
        assert again.images_dir == part.images_dir == tmp_path / "b" / "images"
    with pytest.raises(DataError, match="exists already"):
        split_coco(data, HALVES, out=tmp_path / "b")


@pytest.mark.parametrize(
    ("shares", "options", "message"),
    [
        ({"train": 0.5, "val": 0.4}, {}, "add up to 1"),
        ({"train": 1.5, "val": -0.5}, {}, "add up to 1"),
        ({"train": 1.0}, {}, "add up to 1"),
        ({"../x": 0.5, "val": 0.5}, {}, "file names"),
        (HALVES, {"group_by": "folder"}, "at least as many groups"),
        (HALVES, {"group_by": "(clip"}, "regular expression"),
        (HALVES, {"group_by": "clip"}, "does not match '0001.png'"),
    ],
)
def test_what_cannot_be_split(
    tmp_path: Path, shares: dict[str, float], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        split_coco(data_of(tmp_path, 3), shares, **options)


def test_shares_of_the_command_line() -> None:
    assert parse_shares("train=0.8, val=.2") == {"train": 0.8, "val": 0.2}
    for text in ("train", "train=a", "train=0.5=1"):
        with pytest.raises(DataError, match=r"train=0\.8,val=0\.2"):
            parse_shares(text)


def test_command_line(tmp_path: Path) -> None:
    data_of(tmp_path / "a", 10)
    arguments = ["split", str(tmp_path / "a"), str(tmp_path / "b"), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    parts = json.loads(done.stdout)["parts"]
    assert [(part["split"], part["images"], part["people"]) for part in parts] == [
        ("train", 8, 16), ("val", 2, 4),
    ]  # fmt: skip
    assert CliRunner().invoke(app, ["check", str(tmp_path / "b")]).exit_code == 0
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "exists already" in again.stderr
