"""Writing sets: determinism, resuming, COCO validity by pycocotools, night against day."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from kptk.errors import InputError
from tools.render import make
from tools.render.annotate import SMALL_AREA


def load(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_the_same_numbers_give_the_same_sample(small_set: Path) -> None:
    jpeg, record, people = make.render_sample("day", 7, 1)
    assert jpeg == (small_set / "day" / "images" / "day_7_000001.jpg").read_bytes()
    other, _, _ = make.render_sample("day", 8, 1)
    assert jpeg != other
    document = json.loads((small_set / "day" / "annotations" / "instance_val.json").read_text())
    stored = [a for a in document["annotations"] if a["image_id"] == 2]
    assert len(stored) == len(people)
    assert {k: document["images"][1][k] for k in record} == record


def test_pycocotools_reads_the_set(small_set: Path) -> None:
    coco = COCO(str(small_set / "day" / "annotations" / "instance_val.json"))
    assert len(coco.imgs) == 3
    for image in coco.imgs.values():
        pixels = load(small_set / "day" / "images" / image["file_name"])
        assert pixels.shape == (image["height"], image["width"], 3)
    for person in coco.anns.values():
        mask = coco.annToMask(person)
        points = np.array(person["keypoints"]).reshape(17, 3)
        assert person["num_keypoints"] == (points[:, 2] > 0).sum()
        assert set(points[:, 2]) <= {0, 1, 2}
        assert (points[points[:, 2] == 0] == 0).all()
        if person["area"] >= SMALL_AREA:
            assert mask.sum() == pytest.approx(person["area"], rel=0.2)
        else:
            assert person["num_keypoints"] == 0
        if person["iscrowd"]:
            assert isinstance(person["segmentation"], dict)


def test_night_is_darker_than_day(small_set: Path) -> None:
    day = np.mean([load(p).mean() for p in sorted((small_set / "day" / "images").iterdir())])
    night = np.mean([load(p).mean() for p in sorted((small_set / "night" / "images").iterdir())])
    assert night < 0.7 * day


def test_a_stopped_run_goes_on(small_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = small_set / "day" / "annotations" / "instance_val.json"
    before = target.read_bytes()
    target.unlink()

    def fail(*_: object) -> None:
        raise AssertionError("a finished sample was rendered again")

    monkeypatch.setattr(make, "render_sample", fail)
    make.make_split(small_set / "day", "day", "val", 3, 7)
    assert target.read_bytes() == before


def test_train_and_val_never_share_samples() -> None:
    assert not set(make.split_indices("val", 99_999)) & set(make.split_indices("train", 99_999))


@pytest.mark.parametrize(
    ("domain", "seed", "index"), [("dusk", 1, 0), ("day", -1, 0), ("day", 1, -2)]
)
def test_wrong_numbers_are_named(domain: str, seed: int, index: int) -> None:
    with pytest.raises(InputError, match=r"domain|0 or more"):
        make.render_image(domain, seed, index)


def test_compare_image_tells_equal_from_different(tmp_path: Path) -> None:
    grey = np.full((32, 32, 3), 100, np.uint8)
    brighter = grey + np.uint8(9)
    files = []
    for pixels in (grey, brighter):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=90)
        files.append(out.getvalue())
    stored = tmp_path / "a.jpg"
    stored.write_bytes(files[0])
    assert make.compare_image(stored, files[0]) == 0
    assert make.compare_image(stored, files[1]) == pytest.approx(9, abs=1)


def test_command_line_writes_paddlex_layout(tmp_path: Path) -> None:
    assert make.main(["--out", str(tmp_path), "--domain", "day", "--val", "1", "--seed", "7"]) == 0
    assert (tmp_path / "images" / "day_7_000000.jpg").exists()
    assert (tmp_path / "annotations" / "instance_val.json").exists()
