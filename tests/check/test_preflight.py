"""A model directory looked over: what is found when one thing is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kptk
from kptk.check import ModelReport, check_model
from kptk.cli import app
from tests.tiny_models import detector_config, keypoint_config, write_config, write_onnx


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A keypoint model as tiny as can be, whole but for Paddle's files."""
    write_onnx(tmp_path / "kpt" / "inference.onnx")
    write_config(tmp_path / "kpt" / "inference.yml", keypoint_config())
    return tmp_path / "kpt"


def found(report: ModelReport, severity: str) -> list[str]:
    return [item.message for item in report.findings if item.severity == severity]


def test_a_model_that_is_well_but_not_for_paddlex(folder: Path) -> None:
    report = check_model(folder)
    assert report.ok and report.path == folder
    assert report.checks and all(check.ok for check in report.checks)
    (warning,) = found(report, "warning")
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
    assert any(message in text for text in found(report, severity)), report
    assert report.ok == (severity != "error" and not found(report, "error"))


def test_a_name_of_the_other_kind_is_an_error(folder: Path) -> None:
    write_config(folder / "inference.yml", keypoint_config("PP-YOLOE-S_human"))
    errors = found(check_model(folder), "error")
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
    assert "cannot be loaded" in found(report, "error")[0]


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
