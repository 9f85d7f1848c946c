"""kptk analyze, end to end; golden numbers of the original coco-analyze."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import kptk
from kptk.cli import app
from tests.fake_pair import document, person, write_data
from tests.fixed_pair import write_pipeline

BOX = (2, 3, 30, 40)  # what the pipeline of fixed_pair finds on every picture


def kptk_analyze(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["analyze", *map(str, arguments)])


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    people = [person(1, 1, BOX), person(2, 2, BOX), person(3, 2, (100, 10, 140, 90))]
    return write_data(tmp_path_factory.mktemp("data") / "set", document(people, 2))


def golden(reference_dir: Path, *arguments: object) -> dict[str, Any]:
    folder = reference_dir / "eval"
    result = kptk_analyze(
        "--predictions", folder / "coco4_predictions.json",
        "--annotations", folder / "coco4_gt.json", "--json", *arguments,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_golden_joint_labels(reference_dir: Path) -> None:
    """Of the original coco-analyze on its 12 pairs (FACTS: golden numbers of the specification)."""
    found = golden(reference_dir)
    assert found["joints"] == {"good": 160, "jitter": 8, "inversion": 3, "swap": 0, "miss": 10}
    assert sum(found["persons"].values()) == found["data"]["evaluated"] == 12
    assert round(found["end_to_end"]["AP"], 6) == 0.860890


def test_golden_gains(reference_dir: Path) -> None:
    """coco-analyze with its sigma error corrected, people of at least 32^2 pixels."""
    found = golden(reference_dir)["what_if"]
    gains = [found[f"fix {name}"]["dAP"] for name in ("miss", "swap", "inversion", "jitter")]
    assert gains == pytest.approx([0.031614, 0, 0.000685, 0.000685], abs=5e-7)


def test_results_without_boxes_have_no_verdict(reference_dir: Path) -> None:
    found = golden(reference_dir)
    assert found["verdict"] is None
    assert "boxes" in found["without_verdict"]
    assert found["game"] is None


def test_pipeline_as_json(pipeline: Path, data: Path, tmp_path: Path) -> None:
    saved, page = tmp_path / "saved", tmp_path / "report.html"
    result = kptk_analyze(
        "-p", pipeline, "--data", data, "--split", "val", "--bootstrap", 20, "-o", saved,
        "--html", page, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["schema"] == "kptk.analysis/1"
    assert found["verdict"]["name"] == "too-little-data"
    assert found == json.loads((saved / "analysis.json").read_text())
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    expected = kptk.analyze(
        kptk.evaluate(pipeline, kptk.load_coco(data, split="val")), n_bootstrap=20
    )
    assert found["config_hash"] == expected.json["config_hash"]


def test_saved_predictions_and_baseline(pipeline: Path, data: Path, tmp_path: Path) -> None:
    file = data / "annotations" / "instance_val.json"
    evaluation = kptk.evaluate(pipeline, kptk.load_coco(data, split="val"))
    evaluation.save(tmp_path / "ev")
    arguments = ("--predictions", tmp_path / "ev", "--annotations", file, "--bootstrap", 20)
    first = kptk_analyze(*arguments, "-o", tmp_path / "first")
    assert first.exit_code == 0, first.stderr
    assert "no baseline" in first.stdout
    second = kptk_analyze(*arguments, "--baseline", tmp_path / "first")
    assert second.exit_code == 0, second.stderr
    assert "no baseline" not in second.stdout
    wrong = kptk_analyze(*arguments, "--baseline", tmp_path / "ev")
    assert wrong.exit_code == 1
    assert "ErrorAnalysis.save" in wrong.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["--predictions", "a.json"], ["--data", ".", "--predictions", "a", "--annotations", "b"]],
)
def test_incomplete(arguments: list[str]) -> None:
    result = kptk_analyze(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("kptk: Pass --data")


def test_predictions_of_other_images(data: Path, tmp_path: Path) -> None:
    record = {"image_id": 9, "category_id": 1, "keypoints": [1.0] * 51, "score": 1.0}
    (tmp_path / "other.json").write_text(json.dumps([record]))
    file = data / "annotations" / "instance_val.json"
    result = kptk_analyze("--predictions", tmp_path / "other.json", "--annotations", file)
    assert result.exit_code == 1
    assert result.stderr.startswith("kptk: 1 results are on images that are not in the annotations")
