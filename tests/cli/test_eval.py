"""kptk eval."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import kptk
from kptk.cli import app
from tests.fake_pair import document, person, write_data
from tests.tiny_models import write_pipeline

BOX_NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl",
             "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]  # fmt: skip
KEYPOINT_NAMES = ["AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds one person, at 2, 3, 30, 40 with score .75, on every picture."""
    return write_pipeline(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    people = [person(1, 1, (2, 3, 30, 40)), person(2, 2, (2, 3, 30, 40))]
    return write_data(tmp_path / "set", document(people, 2))


def kptk_eval(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def test_pipeline_as_json(pipeline: Path, data: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    result = kptk_eval(
        "-p", pipeline, "--data", data, "--split", "val", "--flip", "-o", saved, "--json"
    )
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert list(found) == ["detector", "pose", "end_to_end", "provenance"]
    assert [list(found[key]) for key in ("detector", "pose", "end_to_end")] == [
        BOX_NAMES, KEYPOINT_NAMES, KEYPOINT_NAMES
    ]  # fmt: skip
    assert found["detector"]["AP"] == pytest.approx(1)
    assert found["provenance"]["models"]["pose"]["flip"] is True
    assert found == json.loads((saved / "evaluation.json").read_text())
    expected = kptk.evaluate(pipeline, kptk.load_coco(data, split="val"), flip=True)
    assert found == expected.json


def test_pipeline_as_text(pipeline: Path, data: Path) -> None:
    result = kptk_eval("-p", pipeline, "--data", data, "--score-mode", "deploy")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "set val, AP in percent"
    assert lines[2].split()[:2] == ["detector", "detector"]


def test_results_as_json(reference_dir: Path) -> None:
    folder = reference_dir / "eval"
    result = kptk_eval(
        "--predictions", folder / "coco4_predictions.json",
        "--annotations", folder / "coco4_gt.json", "--json",
    )  # fmt: skip
    found = json.loads(result.stdout)
    assert list(found) == ["keypoints"]
    assert list(found["keypoints"]) == KEYPOINT_NAMES
    assert round(found["keypoints"]["AP"], 6) == 0.860890


def test_undefined_is_null(data: Path) -> None:
    file = data / "annotations" / "instance_val.json"
    (data / "dt.json").write_text("[]")
    result = kptk_eval("--predictions", data / "dt.json", "--annotations", file, "--json")
    found = json.loads(result.stdout)["keypoints"]
    assert (found["AP"], found["APl"]) == (0.0, None)


@pytest.mark.parametrize("arguments", [[], ["--predictions", "a.json"]])
def test_incomplete(arguments: list[str]) -> None:
    result = kptk_eval(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("kptk: ")
    assert "--data" in result.stderr
