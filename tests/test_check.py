"""Versions, and checks that tell good models from bad ones."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kptk
from kptk import check
from kptk.check import ModelReport, check_model
from kptk.cli import app
from kptk.models import zoo
from kptk.models.modeldir import ModelDir
from tests.tiny_models import (
    detector_config,
    keypoint_config,
    keypoint_dir,
    write_config,
    write_detector,
    write_onnx,
)

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
    checks = check.try_model(keypoint_dir(tmp_path / "kpt"), IMAGE, size=(128, 96))
    assert all(one.ok for one in checks), checks
    assert "heatmaps (1, 17, 32, 24)" in checks[0].detail
    assert checks[0].ms is not None
    if "openvino" in check.installed_engines():
        assert "openvino against onnxruntime" in checks[-1].name


def test_a_good_detector_passes(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    found = check.try_model(write_detector(tmp_path / "det"), IMAGE)[0]
    assert found.ok, found
    assert found.detail == "1 boxes"


def test_what_is_wrong_becomes_a_failed_check(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    folder = keypoint_dir(tmp_path / "kpt")
    (found,) = check.try_model(folder, IMAGE, size=(256, 192))
    assert not found.ok
    assert "(256, 192)" in found.detail
    (folder / "inference.onnx").write_bytes(b"damaged")
    assert not any(one.ok for one in check.try_model(folder, IMAGE))
    (found,) = check.try_model(tmp_path / "nowhere", IMAGE)
    assert not found.ok


def test_wrong_heatmap_shapes_are_seen(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    model = ModelDir.open(keypoint_dir(tmp_path / "kpt"))
    good = np.zeros((1, 17, 32, 24), np.float32)
    assert check._wrong_shape(model, good) == ""
    assert "must be (1, 17, 32, 24)" in check._wrong_shape(model, good[:, :16])
    assert "NaN" in check._wrong_shape(model, good * np.nan)


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
def test_box_distances(one: np.ndarray, other: np.ndarray, distance: float) -> None:
    assert check.box_distances(one, other).max(initial=0) == distance


@pytest.mark.parametrize(("difference", "good"), [(9e-4, True), (2e-3, False)])
def test_engines_that_disagree_on_heatmaps_fail(
    tmp_path: Path, difference: float, good: bool
) -> None:
    pytest.importorskip("onnx")
    model = ModelDir.open(keypoint_dir(tmp_path / "kpt"))
    first = np.zeros((1, 17, 32, 24), np.float32)
    second = first.copy()
    second[0, 3, 4, 5] = difference
    (found,) = check._compare(model, {"a": first, "b": second})
    assert found.ok is good
    assert found.name.endswith("b against a")


@pytest.mark.parametrize(("shift", "good"), [(0.4, True), (0.6, False)])
def test_engines_that_disagree_on_boxes_fail(tmp_path: Path, shift: float, good: bool) -> None:
    pytest.importorskip("onnx")
    model = ModelDir.open(write_detector(tmp_path / "det"))
    one, other = boxes((0, 0, 9, 9, 0.9)), boxes((0, 0, 9, 9 + shift, 0.9))
    (found,) = check._compare(model, {"a": one, "b": other})
    assert found.ok is good


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
    found = check.diagnose()
    assert tiny_zoo == ["demo-det", "demo-kpt"]
    assert "CPUExecutionProvider" in found.engines["onnxruntime"]
    text = repr(found)
    assert "Engines" in text
    assert found.devices["cpu"].startswith("onnxruntime") and "Devices\ncpu  onnxruntime" in text
    assert "Checks" in text
    json.dumps(found.json)


def test_diagnose_official_tries_all_and_reports_what_does_not_fit(tiny_zoo: list[str]) -> None:
    found = check.diagnose(official=True)
    assert set(tiny_zoo) == set(zoo.MODELS)
    # The stand-in has PP-TinyPose_128x96's input; it must not pass for the larger one.
    wrong = [one for one in found.checks if not one.ok]
    assert any(one.name == "PP-TinyPose_256x192" for one in wrong)
    assert not any(one.name.startswith("PP-TinyPose_128x96") for one in wrong)
    assert not found.ok


def test_devices_are_named_as_kptk_names_them() -> None:
    engines = {
        "onnxruntime": "CUDAExecutionProvider, CPUExecutionProvider",
        "openvino": "CPU, GPU.0, GPU.1",
        "paddle": "cpu, npu x 0, xpu x 2",
    }
    assert check.devices_by_kind(engines) == {
        "cpu": "onnxruntime, openvino, paddle",
        "gpu": "onnxruntime, openvino",
        "npu": "none here; needs paddle-custom-npu beside paddlepaddle",
        "xpu": "paddle",
        "mlu": "none here; needs paddle-custom-mlu beside paddlepaddle",
    }
    assert check.devices_by_kind({"paddle": "broken: no gpu driver"})["gpu"].startswith("none")


def test_a_broken_engine_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    def explode() -> str:
        raise OSError("libsomething.so: cannot open shared object file")

    monkeypatch.setattr(onnxruntime, "get_available_providers", explode)
    assert check._devices("onnxruntime").startswith("broken: libsomething.so")


@pytest.mark.network
def test_the_official_models() -> None:
    """Fetches every official archive; run it where the network reaches them."""
    found = check.diagnose(official=True)
    assert found.ok, repr(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A keypoint model as tiny as can be, whole but for Paddle's files."""
    write_onnx(tmp_path / "kpt" / "inference.onnx")
    write_config(tmp_path / "kpt" / "inference.yml", keypoint_config())
    return tmp_path / "kpt"


def messages(report: ModelReport, severity: str) -> list[str]:
    return [item.message for item in report.findings if item.severity == severity]


def test_a_model_that_is_well_but_not_for_paddlex(folder: Path) -> None:
    report = check_model(folder)
    assert report.ok and report.path == folder
    assert report.checks and all(check.ok for check in report.checks)
    (warning,) = messages(report, "warning")
    assert "ONNX only" in warning
    assert repr(report).splitlines()[0].startswith("warn  ")
    assert report.json["input_size"] == [128, 96]
    json.dumps(report.json)


def set_name(config: dict[str, Any]) -> None:
    config["Global"]["model_name"] = "PP-TinyPose_128x69"


def remove_labels(config: dict[str, Any]) -> None:
    del config["label_list"]


def swap_sides(config: dict[str, Any]) -> None:
    config["Preprocess"][0]["trainsize"] = [128, 96]  # [width, height]


def other_size(config: dict[str, Any]) -> None:
    config["Preprocess"][0]["trainsize"] = [192, 256]


def other_mean(config: dict[str, Any]) -> None:
    config["Preprocess"][1]["mean"] = [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("change", "severity", "message"),
    [
        (set_name, "warning", "Did you mean 'PP-TinyPose_128x96'"),
        (remove_labels, "warning", "label_list is missing"),
        (swap_sides, "error", "takes images of 128 x 96; the preprocessing makes 96 x 128"),
        (other_size, "error", "takes images of 128 x 96; the preprocessing makes 256 x 192"),
        (other_size, "warning", "is published for inputs of 128 x 96"),
        (other_mean, "warning", "normalised in another way"),
    ],
)
def test_what_is_wrong_in_the_configuration(
    folder: Path, change: Callable[[dict[str, Any]], None], severity: str, message: str
) -> None:
    config = keypoint_config()
    change(config)
    write_config(folder / "inference.yml", config)
    report = check_model(folder)
    assert any(message in text for text in messages(report, severity)), report
    assert report.ok == (severity != "error" and not messages(report, "error"))


def test_a_name_of_the_other_kind_is_an_error(folder: Path) -> None:
    write_config(folder / "inference.yml", keypoint_config("PP-YOLOE-S_human"))
    errors = messages(check_model(folder), "error")
    assert any("says PP-YOLOE-S_human" in text for text in errors)


def test_a_keypoint_graph_with_the_configuration_of_a_detector(folder: Path) -> None:
    write_config(folder / "inference.yml", detector_config())
    report = check_model(folder)
    assert not report.ok and not any(check.ok for check in report.checks)


@pytest.mark.parametrize(
    ("name", "message"),
    [("inference.yml", "must hold inference.yml"), ("inference.onnx", "must hold inference.onnx")],
)
def test_missing_files(folder: Path, name: str, message: str) -> None:
    (folder / name).unlink()
    report = check_model(folder)
    assert not report.ok and report.model is None and report.path is None
    assert message in report.findings[0].message and report.findings[0].advice


def test_a_damaged_graph(folder: Path) -> None:
    (folder / "inference.onnx").write_bytes(b"not a graph")
    report = check_model(folder)
    assert not report.ok
    assert "cannot be loaded" in messages(report, "error")[0]


def test_the_demo_pair_is_well() -> None:
    for name in ("demo-det", "demo-kpt"):
        report = kptk.check_model(name)
        assert report.ok, report


def test_command(folder: Path) -> None:
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, ["check-model", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["ok"] and {item["severity"] for item in told["findings"]} <= {"warning", "note"}
    (folder / "inference.onnx").unlink()
    wrong = CliRunner().invoke(app, ["check-model", str(folder)])
    assert wrong.exit_code == 1 and wrong.stdout.startswith("FAIL")
