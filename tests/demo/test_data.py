"""The committed sets and the pictures of the package: counts, hashes, sizes, reproducibility."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kptk.demo
from kptk.demo import DEMO_SETS, demo_images, demo_path
from kptk.errors import DataError

ROOT = Path(kptk.demo.__file__).resolve().parents[2] / "data" / "demo"


@pytest.mark.parametrize("name", DEMO_SETS)
def test_val_holds_enough_people(name: str) -> None:
    document = json.loads((demo_path(name) / "annotations" / "instance_val.json").read_text())
    people = [a for a in document["annotations"] if not a["iscrowd"]]
    assert len(document["images"]) >= 150
    assert len(people) >= 400
    assert sum(a["num_keypoints"] > 0 for a in people) >= 400
    assert any(a["iscrowd"] for a in document["annotations"])


def test_hashes_hold_and_the_sets_stay_small() -> None:
    lines = (ROOT / "SHA256SUMS").read_text().splitlines()
    files = {path: digest for digest, path in (line.split("  ") for line in lines)}
    assert len(files) > 700
    for path, digest in files.items():
        assert hashlib.sha256((ROOT / path).read_bytes()).hexdigest() == digest, path
    assert sum((ROOT / path).stat().st_size for path in files) < 40e6


@pytest.mark.parametrize("name", DEMO_SETS)
def test_a_committed_image_can_be_made_again(name: str) -> None:
    pytest.importorskip("numba")
    from tools.render.make import DEMO_SEED, TOLERANCE, compare_image, file_name, render_sample

    jpeg, _, _ = render_sample(name, DEMO_SEED, 2)
    path = demo_path(name) / "images" / file_name(name, DEMO_SEED, 2)
    assert compare_image(path, jpeg) <= TOLERANCE


def test_demo_path_names_the_nearest_set() -> None:
    with pytest.raises(DataError, match="Did you mean 'night'"):
        demo_path("nigth")


def test_demo_path_without_a_checkout_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kptk.demo, "__file__", str(tmp_path / "a" / "b" / "__init__.py"))
    with pytest.raises(DataError, match=r"tools\.render\.make --demo"):
        demo_path("day")


def test_demo_images_come_with_the_package() -> None:
    images = demo_images()
    assert len(images) == 6
    assert sum(p.stat().st_size for p in images) < 400_000
    for path in images:
        with Image.open(path) as image:
            assert image.mode == "RGB"
            assert np.asarray(image).std() > 20
