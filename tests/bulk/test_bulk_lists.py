"""What users hand in as a list of images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import kptk
from kptk.bulk import list_images, located
from kptk.errors import InputError


def paths_of(source: object, **options: bool) -> list[str]:
    """Every path of a list as it would be opened, after a check of what it says of itself."""
    found = list_images(source, **options)
    entries = list(found.entries())
    assert len(entries) == found.identity["count"]
    assert list(found.entries()) == entries  # twice the same
    return [located(found.root, path) for path, _ in entries]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", ".hidden.jpg", "notes.md", "sub/c.jpg", ".git/d.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    return tmp_path / "in"


def test_a_folder(folder: Path) -> None:
    assert paths_of(folder) == [str(folder / "a.PNG"), str(folder / "b.jpg")]
    assert paths_of([str(folder)], recursive=True)[2:] == [str(folder / "sub" / "c.jpg")]
    assert list_images([folder]).identity == list_images(folder).identity


def test_a_file_of_paths_starts_at_its_own_folder(folder: Path) -> None:
    lines = folder / "list.txt"
    lines.write_text("b.jpg\n\nsub/c.jpg\n/else/x.jpg\nhttp://host/y.jpg\n")
    expected = [
        str(folder / "b.jpg"),
        str(folder / "sub/c.jpg"),
        "/else/x.jpg",
        "http://host/y.jpg",
    ]
    assert paths_of(lines) == expected
    assert paths_of([lines, folder / "a.PNG"]) == [*expected, str(folder / "a.PNG")]


def test_a_list_of_paths_need_not_exist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert paths_of(["b.jpg", "gone.jpg"]) == [str(folder / "b.jpg"), str(folder / "gone.jpg")]
    assert paths_of(path for path in ("b.jpg",)) == [str(folder / "b.jpg")]


def test_coco_data_brings_its_ids() -> None:
    data = kptk.load_coco(kptk.demo_path("day"), split="val")
    found = list_images(data)
    path, image_id = next(iter(found.entries()))
    assert image_id == data.image_ids[0]
    assert Path(located(found.root, path)) == data.image_path(image_id).absolute()
    assert found.identity["count"] == len(data)


def test_the_hash_is_of_places_names_ids_and_order(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("a.PNG", "b.jpg"):
        (other / name).touch()
    a, b = str(folder / "a.PNG"), str(folder / "b.jpg")
    hashes = [list_images(s).identity["sha256"] for s in (folder, other, [a, b], [b, a], [a, b, b])]
    assert len(set(hashes)) == 5


def test_partitions_cover_everything_once() -> None:
    names = [f"/{i}.jpg" for i in range(7)]
    parts = list(list_images(names).partitions(3))
    assert [(part.number, part.first, len(part.entries)) for part in parts] == [
        (0, 0, 3), (1, 3, 3), (2, 6, 1),
    ]  # fmt: skip
    assert [path for part in parts for path, _ in part.entries] == names


@pytest.mark.skipif(os.name != "posix", reason="names that are no Unicode")
def test_a_name_that_is_no_unicode(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.jpg")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this file system wants Unicode")
    assert paths_of(tmp_path) == [str(tmp_path / name)]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "at least one"),
        (None, "given by path.*NoneType"),
        ([np.zeros((4, 4, 3), np.uint8)], "given by path.*ndarray"),
        (b"bytes", "given by path.*bytes"),
        ("/no/such/folder", "no file or folder /no/such/folder"),
        ("/no/such/list.txt", "list.txt cannot be read"),
    ],
)
def test_what_cannot_be_listed(source: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _ = list_images(source).identity


def test_an_empty_folder_and_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"without any.*recursive=True"):
        list_images(tmp_path)
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(InputError, match="at least one"):
        _ = list_images(tmp_path / "list.txt").identity
