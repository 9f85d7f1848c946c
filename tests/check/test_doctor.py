"""kptk.check and kptk.check: versions, and checks that tell good models from bad ones."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kptk
from kptk import check as doctor
from kptk import check as trial
from kptk.models import zoo
from kptk.models.modeldir import ModelDir
from tests.fixed_pair import write_detector
from tests.tiny_models import keypoint_dir

IMAGE = np.zeros((60, 50, 3), np.uint8)


def test_show_versions_is_a_mapping_with_a_readable_repr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    versions = kptk.show_versions()
    assert versions["kptk"] == kptk.__version__
    assert versions["numpy"] == importlib.metadata.version("numpy")
    lines = repr(versions).splitlines()
    assert len(lines) == len(versions)
    assert lines[0].split() == ["kptk", kptk.__version__]
    assert capsys.readouterr().out == ""


def test_missing_and_renamed_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"onnxruntime-gpu": "9.9"}

    def version(name: str) -> str:
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    versions = kptk.show_versions()
    assert versions["onnxruntime"] == "9.9 (onnxruntime-gpu)"
    assert versions["paddlepaddle"] == "not installed"


def test_a_good_keypoint_model_passes_in_every_engine(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    checks = trial.try_model(keypoint_dir(tmp_path / "kpt"), IMAGE, size=(128, 96))
    assert all(check.ok for check in checks), checks
    assert "heatmaps (1, 17, 32, 24)" in checks[0].detail
    assert checks[0].ms is not None
    if "openvino" in trial.installed_engines():
        assert "openvino against onnxruntime" in checks[-1].name


def test_a_good_detector_passes(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    check = trial.try_model(write_detector(tmp_path / "det"), IMAGE)[0]
    assert check.ok, check
    assert check.detail == "1 boxes"


def test_what_is_wrong_becomes_a_failed_check(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    folder = keypoint_dir(tmp_path / "kpt")
    (check,) = trial.try_model(folder, IMAGE, size=(256, 192))
    assert not check.ok
    assert "(256, 192)" in check.detail
    (folder / "inference.onnx").write_bytes(b"damaged")
    assert not any(check.ok for check in trial.try_model(folder, IMAGE))
    (check,) = trial.try_model(tmp_path / "nowhere", IMAGE)
    assert not check.ok


def test_wrong_heatmap_shapes_are_seen(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    model = ModelDir.open(keypoint_dir(tmp_path / "kpt"))
    good = np.zeros((1, 17, 32, 24), np.float32)
    assert trial._wrong_shape(model, good) == ""
    assert "must be (1, 17, 32, 24)" in trial._wrong_shape(model, good[:, :16])
    assert "NaN" in trial._wrong_shape(model, good * np.nan)


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 5)


# By hand: the largest, over the boxes of both, of the distance to the nearest one in the other.
@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        (boxes(), boxes(), 0),
        (boxes((0, 0, 9, 9, 0.9)), boxes((0, 0, 9, 9.25, 0.9)), 0.25),
        (boxes((0, 0, 9, 9, 0.9)), boxes(), np.inf),
        (boxes(), boxes((0, 0, 9, 9, 0.9)), np.inf),
        (boxes((0, 0, 9, 9, 0.11)), boxes(), 0),  # too near the threshold to count
        (boxes((0, 0, 9, 9, 0.9), (50, 0, 60, 9, 0.8)), boxes((0, 0, 9, 9, 0.9)), 51),
    ],
)
def test_box_distance(one: np.ndarray, other: np.ndarray, distance: float) -> None:
    assert trial.box_distance(one, other) == distance


@pytest.mark.parametrize(("difference", "good"), [(9e-4, True), (2e-3, False)])
def test_engines_that_disagree_on_heatmaps_fail(
    tmp_path: Path, difference: float, good: bool
) -> None:
    pytest.importorskip("onnx")
    model = ModelDir.open(keypoint_dir(tmp_path / "kpt"))
    first = np.zeros((1, 17, 32, 24), np.float32)
    second = first.copy()
    second[0, 3, 4, 5] = difference
    (check,) = trial._compare(model, {"a": first, "b": second})
    assert check.ok is good
    assert check.name.endswith("b against a")


@pytest.mark.parametrize(("shift", "good"), [(0.4, True), (0.6, False)])
def test_engines_that_disagree_on_boxes_fail(tmp_path: Path, shift: float, good: bool) -> None:
    pytest.importorskip("onnx")
    model = ModelDir.open(write_detector(tmp_path / "det"))
    one, other = boxes((0, 0, 9, 9, 0.9)), boxes((0, 0, 9, 9 + shift, 0.9))
    (check,) = trial._compare(model, {"a": one, "b": other})
    assert check.ok is good


@pytest.fixture
def tiny_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every name stands for a tiny model; the list receives the names that are asked for."""
    pytest.importorskip("onnx")
    asked: list[str] = []
    folders = {
        "detection": write_detector(tmp_path / "d"),
        "keypoint": keypoint_dir(tmp_path / "k"),
    }

    def find(name: Any, **options: Any) -> ModelDir:
        asked.append(name)
        return ModelDir.open(folders[zoo.MODELS[name].kind])

    monkeypatch.setattr(zoo, "find_model", find)
    return asked


def test_diagnose_tries_the_demo_pair_only(tiny_zoo: list[str]) -> None:
    found = doctor.diagnose()
    assert tiny_zoo == ["demo-det", "demo-kpt"]
    assert "CPUExecutionProvider" in found.engines["onnxruntime"]
    text = repr(found)
    assert "Engines" in text
    assert found.devices["cpu"].startswith("onnxruntime") and "Devices\ncpu  onnxruntime" in text
    assert "Checks" in text
    json.dumps(found.json)


def test_diagnose_official_tries_all_and_reports_what_does_not_fit(tiny_zoo: list[str]) -> None:
    found = doctor.diagnose(official=True)
    assert set(tiny_zoo) == set(zoo.MODELS)
    # The stand-in has PP-TinyPose_128x96's input; it must not pass for the larger one.
    wrong = [check for check in found.checks if not check.ok]
    assert any(check.name == "PP-TinyPose_256x192" for check in wrong)
    assert not any(check.name.startswith("PP-TinyPose_128x96") for check in wrong)
    assert not found.ok


def test_devices_are_named_as_kptk_names_them() -> None:
    engines = {
        "onnxruntime": "CUDAExecutionProvider, CPUExecutionProvider",
        "openvino": "CPU, GPU.0, GPU.1",
        "paddle": "cpu, npu x 0, xpu x 2",
    }
    assert doctor.devices_by_kind(engines) == {
        "cpu": "onnxruntime, openvino, paddle",
        "gpu": "onnxruntime, openvino",
        "npu": "none here; needs paddle-custom-npu beside paddlepaddle",
        "xpu": "paddle",
        "mlu": "none here; needs paddle-custom-mlu beside paddlepaddle",
    }
    assert doctor.devices_by_kind({"paddle": "broken: no gpu driver"})["gpu"].startswith("none")


def test_a_broken_engine_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode() -> str:
        raise OSError("libsomething.so: cannot open shared object file")

    monkeypatch.setattr(doctor, "_ort_devices", explode)
    assert doctor._devices("onnxruntime").startswith("broken: libsomething.so")


@pytest.mark.network
def test_the_official_models() -> None:
    """Fetches every official archive; run it where the network reaches them."""
    found = doctor.diagnose(official=True)
    assert found.ok, repr(found)
