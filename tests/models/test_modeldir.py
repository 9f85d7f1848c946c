"""ModelDir reads both spellings of a model directory. Values: the files written here, by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from kptk.errors import ModelError
from kptk.models.modeldir import ModelDir
from tests.tiny_models import (
    IMAGENET,
    detector_config,
    detector_dir,
    keypoint_config,
    keypoint_dir,
    write_config,
)


def test_a_keypoint_model_lists_width_first(tmp_path: Path) -> None:
    model = ModelDir.open(keypoint_dir(tmp_path / "m"))
    assert (model.kind, model.name, model.input_size) == (
        "keypoint",
        "PP-TinyPose_128x96",
        (128, 96),
    )
    assert model.mean == tuple(IMAGENET["mean"]) and model.std == tuple(IMAGENET["std"])
    assert model.is_scale and model.labels == ("keypoint",)
    assert model.onnx == tmp_path / "m" / "inference.onnx" and model.paddle is None


def test_a_detector_lists_height_first(tmp_path: Path) -> None:
    model = ModelDir.open(str(detector_dir(tmp_path / "m")))
    assert (model.kind, model.input_size, model.threshold) == ("detection", (640, 512), 0.4)
    assert (model.interp, model.keep_ratio, model.labels) == (2, False, ("pedestrian",))
    # norm_type none: PaddleDetection scales and does not subtract
    assert model.mean == (0, 0, 0) and model.std == (1, 1, 1) and model.is_scale
    assert model.onnx is None
    folder = tmp_path / "m"
    assert model.paddle == (folder / "inference.json", folder / "inference.pdiparams")


@pytest.mark.parametrize(
    ("config", "program", "params"),
    [
        ("inference.yml", "inference.json", "inference.pdiparams"),  # PaddleX 3
        ("inference.yml", "inference.pdmodel", "inference.pdiparams"),  # PaddleX 3 beta
        ("infer_cfg.yml", "model.pdmodel", "model.pdiparams"),  # PaddleDetection
    ],
)
def test_every_spelling(tmp_path: Path, config: str, program: str, params: str) -> None:
    write_config(tmp_path / config, keypoint_config(name=None))
    (tmp_path / program).touch()
    (tmp_path / params).touch()
    model = ModelDir.open(tmp_path)
    assert model.paddle == (tmp_path / program, tmp_path / params)
    assert model.name == tmp_path.name


def test_defaults(tmp_path: Path) -> None:
    config = detector_config()
    del config["draw_threshold"], config["label_list"]
    config["Preprocess"] = [{"type": "Resize", "target_size": 320}]
    detector_dir(tmp_path)
    write_config(tmp_path / "inference.yml", config)
    model = ModelDir.open(tmp_path)
    assert (model.input_size, model.threshold, model.labels) == ((320, 320), 0.5, ())
    assert not model.is_scale and model.mean == (0, 0, 0)


def _step(config: dict[str, Any], index: int, **changes: Any) -> dict[str, Any]:
    config["Preprocess"][index] |= changes
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "'Preprocess'"),
        ({"Preprocess": "Resize"}, "'Preprocess'"),
        ({"Preprocess": [{"size": 3}]}, "'Preprocess'"),
        ({"Preprocess": [{"type": "PadStride"}]}, "step 'PadStride'"),
        ({"Preprocess": [{"type": "Permute"}]}, "It holds Permute"),
        (_step(keypoint_config(), 0, trainsize=[96]), r"Got \[96\]"),
        (_step(keypoint_config(), 0, trainsize=[96, 0]), "two positive integers"),
        (_step(keypoint_config(), 1, mean=[1, 2]), "three numbers"),
        (_step(keypoint_config(), 1, mean="x"), "three numbers"),
        (_step(keypoint_config(), 1, std=[1, 0, 1]), "must be positive"),
        (keypoint_config() | {"draw_threshold": 50}, "in 0..1. Got 50"),
    ],
)
def test_a_configuration_that_cannot_be_carried_out(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    keypoint_dir(tmp_path)
    write_config(tmp_path / "inference.yml", config)
    with pytest.raises(ModelError, match=message):
        ModelDir.open(tmp_path)


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", "!!python/object/apply:os.getcwd []"])
def test_a_configuration_that_is_no_plain_mapping(tmp_path: Path, text: str) -> None:
    keypoint_dir(tmp_path)
    (tmp_path / "inference.yml").write_text(text)
    with pytest.raises(ModelError, match=r"inference\.yml"):
        ModelDir.open(tmp_path)


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        ModelDir.open(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="is a file"):
        ModelDir.open(tmp_path / "file")
    with pytest.raises(ModelError, match="holds file"):
        ModelDir.open(tmp_path)
    folder = tmp_path / "run" / "inference"
    write_config(folder / "inference.yml", keypoint_config())
    with pytest.raises(ModelError, match=r"Did you mean '.*inference'"):
        ModelDir.open(tmp_path / "run")
    with pytest.raises(ModelError, match=r"inference\.onnx"):
        ModelDir.open(folder)
    (folder / "inference.pdmodel").touch()
    with pytest.raises(ModelError, match=r"not inference\.pdiparams"):
        ModelDir.open(folder)


def test_the_weights_are_all_the_files_of_one_format(tmp_path: Path) -> None:
    def names() -> list[str]:
        return [path.name for path in ModelDir.open(tmp_path).weights]

    write_config(tmp_path / "inference.yml", keypoint_config())
    for name in ("inference.xml", "inference.bin"):
        (tmp_path / name).write_bytes(name.encode())
    assert names() == ["inference.xml", "inference.bin"]
    for name in ("inference.json", "inference.pdiparams"):
        (tmp_path / name).touch()
    assert names() == ["inference.json", "inference.pdiparams"]
    (tmp_path / "inference.onnx").touch()
    assert names() == ["inference.onnx"]


def test_other_weights_of_openvino_are_another_model(tmp_path: Path) -> None:
    from kptk.bulk import model_identity

    def made(weights: bytes) -> str:
        folder = tmp_path / weights.decode()
        write_config(folder / "inference.yml", keypoint_config())
        (folder / "inference.xml").write_bytes(b"<net/>")
        (folder / "inference.bin").write_bytes(weights)
        model = ModelDir.open(folder)
        return str(model_identity(model)["sha256"])

    assert made(b"one") == hashlib.sha256(b"<net/>one").hexdigest()
    assert made(b"two") != made(b"one")
