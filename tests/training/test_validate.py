"""AP while training is what ``kptk.evaluate`` says of the same network and data."""

from __future__ import annotations

from pathlib import Path

import pytest

import kptk
from kptk.engines.load import load_engine
from kptk.models.zoo import find_model
from kptk.training import trainer as module
from kptk.training.settings import DataSettings, TrainSettings
from tests.training.fakes import make_layout


class _Engine:
    """The demo model's own engine where the network in training would be."""

    def __new__(cls, network: str, kind: str) -> object:
        return load_engine(find_model(network), engine="onnxruntime", threads=1)


@pytest.mark.parametrize(
    ("name", "model", "size", "section"),
    [
        ("demo-kpt", "PP-TinyPose_128x96", (128, 96), "pose"),
        ("demo-det", "PP-YOLOE-S_human", (320, 320), "detector"),
    ],
)
def test_the_same_numbers_as_evaluate(
    name: str,
    model: str,
    size: tuple[int, int],
    section: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "NetworkEngine", _Engine)
    day = kptk.demo_path("day")
    data = kptk.load_coco(day, split="val")
    settings = TrainSettings(
        model=model,
        train=DataSettings(images=day / "images", annotations=data.annotations_path),
        val=DataSettings(images=day / "images", annotations=data.annotations_path),
        input_size=size,
        eval_images=6,
        steps=1,
        batch_size=1,
        learning_rate=0.1,
        sample_transforms=[],
        batch_transforms=[],
    )
    stats = module.validate(name, settings)
    expected = kptk.evaluate(
        kptk.create_model(name, engine="onnxruntime"), data, max_images=6, progress=False
    )
    assert stats["AP"] > 0.02
    for key, value in getattr(expected, section).items():
        assert stats[key] == pytest.approx(value, abs=1e-9, nan_ok=True), key


def test_images_without_labelled_people_give_no_ap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json
    import math

    monkeypatch.setattr(module, "NetworkEngine", _Engine)
    folder = make_layout(tmp_path / "data")
    file = folder / "annotations" / "instance_val.json"
    content = json.loads(file.read_text())
    content["annotations"] = [p for p in content["annotations"] if p["image_id"] == 6]
    file.write_text(json.dumps(content))
    data = DataSettings(images=folder / "images", annotations=file)
    settings = TrainSettings(
        model="PP-TinyPose_128x96",
        train=data,
        val=data,
        eval_images=1,
        steps=1,
        batch_size=1,
        learning_rate=0.1,
        sample_transforms=[],
        batch_transforms=[],
    )
    assert math.isnan(module.validate("demo-kpt", settings)["AP"])
