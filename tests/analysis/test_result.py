"""kptk.analyze and ``kptk analyze`` on pipelines whose mistakes are known, and two compared.

Golden numbers are of the original coco-analyze.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import kptk
from kptk.analysis import AnalysisOptions
from kptk.cli import app
from kptk.coco import KeypointData
from kptk.errors import DataError, InputError
from tests.fake_pair import document, fake_pipeline, person, write_data
from tests.tiny_models import write_pipeline

A, B, C, D = (10, 10, 50, 90), (60, 10, 100, 90), (110, 10, 150, 90), (20, 20, 60, 95)
EMPTY = {"keypoints": [0] * 51, "num_keypoints": 0}
PEOPLE = [
    person(1, 1, A), person(2, 1, B), person(3, 2, C), person(4, 2, D),
    person(5, 3, A, **EMPTY), person(6, 3, B, **EMPTY), person(7, 3, C, iscrowd=1),
]  # fmt: skip
# B is below the threshold, of D there is nothing; 5 has a box, 6 has none; one box is nobody's
FOUND = {1: [(*A, 0.9), (*B, 0.3)], 2: [(*C, 0.8), (160, 50, 190, 95, 0.7)], 3: [(*A, 0.6)]}
PERSONS = [
    "image_id", "annotation_id", "file_name", "label", "detail", "detection", "box_score",
    "box_iou", "oks", "oks_given", "flipped", "area", "size", "n_keypoints", "n_visible",
    "crowding", "n_overlaps", "truncation", "occlusion", "tiny", "truncated", "occluded", "crowded",
]  # fmt: skip
DETECTIONS = ["image_id", "detection", "x1", "y1", "x2", "y2", "score", "pose_score", "type",
              "annotation_id", "iou", "oks"]  # fmt: skip
JOINTS = ["image_id", "annotation_id", "detection", "on", "joint", "side", "visibility", "label",
          "similarity", "best", "whose", "x", "y", "dx", "dy", "score"]  # fmt: skip


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPTK_PROGRESS", "0")


@pytest.fixture
def data(tmp_path: Path) -> KeypointData:
    return kptk.load_coco(write_data(tmp_path / "set", document(PEOPLE, 3)), split="val")


def analysed(data: KeypointData, found: Any = FOUND, **options: Any) -> kptk.ErrorAnalysis:
    return kptk.analyze(kptk.evaluate(fake_pipeline(found), data), **{"n_bootstrap": 10, **options})


def test_tables(data: KeypointData) -> None:
    found = analysed(data)
    persons = found.persons
    assert list(persons.columns) == PERSONS
    assert persons["label"].tolist() == ["ok", "below-threshold", "ok", "never-detected"]
    assert persons["annotation_id"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(persons["oks"], [1, 1, 1, np.nan], atol=1e-6)
    np.testing.assert_allclose(persons["box_score"][:3], [0.9, 0.3, 0.8], rtol=1e-6)
    assert list(found.detections.columns) == DETECTIONS
    assert found.detections["type"].tolist() == [
        "true positive", "true positive", "background", "ignored"
    ]  # fmt: skip
    assert found.detections["annotation_id"].tolist() == [1, 3, -1, 5]
    assert found.unlabelled["detected"].tolist() == [True, False]
    assert list(found.joints.columns) == JOINTS
    assert found.joints.groupby("on").size().to_dict() == {"detected": 34, "ground truth": 68}
    assert set(found.joints["label"]) == {"good"}
    np.testing.assert_allclose(found.joints[["dx", "dy"]], 0, atol=1e-4)
    assert found.transitions.to_numpy().tolist() == np.diag([34, 0, 0, 0, 0]).tolist()


def test_values_by_hand(data: KeypointData) -> None:
    """Half of the people without a mistake before them: 51 of 101 recalls; poses are perfect."""
    found = analysed(data)
    assert found.end_to_end == pytest.approx({"AP": 51 / 101, "AP50": 51 / 101, "AP75": 51 / 101})
    game = found.game
    assert game is not None
    assert found.game_table is not None
    detector, keypoints, _ = game.phi()
    assert detector == pytest.approx(50 / 101)
    assert keypoints == pytest.approx(0)
    values = found.game_table.set_index(["level", "metric", "quantity"])["value"]
    for level in ("attainable", "perfect"):
        parts = values[level, "AP", "detector"] + values[level, "AP", "keypoints"]
        gap = values[level, "AP", "v(DP)"] - values[level, "AP", "v()"]
        assert parts == pytest.approx(gap, abs=1e-12)


def test_labels_add_up(data: KeypointData) -> None:
    report = analysed(data).json
    assert sum(report["persons"].values()) == report["data"]["evaluated"] == 4
    assert sum(report["detections"].values()) == report["data"]["detections"] == 4
    assert report["unlabelled"] == {"detected": 1, "missed": 1}
    assert report["rates"]["detector"]["k"] == 2


def test_report_is_plain(data: KeypointData, tmp_path: Path) -> None:
    found = analysed(data)
    written = found.save(tmp_path / "saved")
    assert json.loads((written / "analysis.json").read_text()) == found.json
    assert json.loads(found.to_json(tmp_path / "again.json")) == found.json
    assert (written / "persons.csv").read_text().startswith(",".join(PERSONS))
    assert analysed(data).json == found.json
    other = analysed(data, options=AnalysisOptions(oks_threshold=0.75)).json
    assert other["config_hash"] != found.json["config_hash"]


def test_one_line_and_a_card(data: KeypointData) -> None:
    found = analysed(data)
    assert repr(found) == (
        "<ErrorAnalysis set val: 3 images, 4 people; There is too little data for a verdict.>"
    )
    assert "no baseline" in found.text
    assert "There are 3 images; 50 are needed." in found.text
    assert "There is too little data for a verdict." in found._repr_html_()


def test_one_person_and_nothing_found(tmp_path: Path) -> None:
    """No division by nothing anywhere; every table is there."""
    one = write_data(tmp_path / "set", document([person(1, 1, A)], 1))
    data = kptk.load_coco(one, split="val")
    for found in ({}, {1: [(*A, 0.2)]}, {1: [(*A, 0.9)]}):
        analysis = analysed(data, found)
        assert analysis.verdict is not None
        assert analysis.verdict.name == "too-little-data"
        assert len(analysis.persons) == 1
        assert json.loads(analysis.to_json())["schema"] == "kptk.analysis/1"
        assert len(analysis.slices()) > 0
        assert analysis.text
    empty = kptk.analyze(predictions=[], annotations=document([person(1, 1, A)], 1))
    assert empty.json["persons"]["never-detected"] == 1
    assert empty.verdict is None


def test_slices(data: KeypointData) -> None:
    found = analysed(data)
    assert set(found.slices("size")["n"]) == {4}
    assert set(found.slices("joint")["slice"]) == {"joint"}
    assert found.slices([("size", "truncated")])["slice"].tolist() == ["size · truncated"]
    with pytest.raises(InputError, match="Did you mean 'crowding'"):
        found.slices("crowdin")


def test_no_game_without_poses_on_boxes(data: KeypointData) -> None:
    records = [
        {"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": 0.9,
         "keypoints": a["keypoints"]}
        for a in PEOPLE[:2]
    ]  # fmt: skip
    found = kptk.analyze(predictions=records, annotations=document(PEOPLE, 3), n_bootstrap=5)
    assert found.game is None
    assert found.draws is None
    assert found.verdict is None
    assert "poses_on_truth" in found.without_verdict
    assert found.persons["label"].tolist() == ["ok", "ok", "never-detected", "never-detected"]
    assert found.end_to_end_draws.shape == (5, 3)


def test_compare(data: KeypointData) -> None:
    """Person 2 is found now, person 3 is lost; by hand 2 of 4, then again 2 of 4."""
    before = analysed(data)
    after = analysed(data, {1: [(*A, 0.9), (*B, 0.8)], 2: [(*C, 0.1)]})
    change = before.compare(after)
    assert change.fixed["annotation_id"].tolist() == [2]
    assert change.broken["annotation_id"].tolist() == [3]
    assert change.json["persons"] == {
        "fixed": 1, "broken": 1, "still wrong": 1, "still right": 1
    }  # fmt: skip
    assert change.labels.loc["below-threshold", "ok"] == 1
    assert change.metrics["delta"].tolist() == pytest.approx([0, 0, 0])
    assert repr(change).startswith(
        "<Comparison set val: 1 people fixed, 1 broken, of 4. AP 50.5 to 50.5: +0.0 ("
    )
    assert "below-threshold" in change._repr_html_()


def test_compare_is_paired(data: KeypointData) -> None:
    """The same pipeline twice: no difference in any draw, though AP itself varies."""
    before, after = analysed(data, n_bootstrap=50), analysed(data, n_bootstrap=50)
    metrics = before.compare(after).metrics
    assert metrics[["delta", "low", "high"]].to_numpy().tolist() == [[0, 0, 0]] * 3
    assert np.nanstd(before.end_to_end_draws[:, 0]) > 0


def test_compare_refuses_other_people(data: KeypointData, tmp_path: Path) -> None:
    other = kptk.load_coco(write_data(tmp_path / "b", document(PEOPLE[:3], 3)), split="val")
    with pytest.raises(DataError, match="of the same people"):
        analysed(data).compare(analysed(other))
    with pytest.raises(DataError, match="They differ in seed"):
        analysed(data).compare(analysed(data, seed=3))


BOX = (2, 3, 30, 40)  # what the pipeline of fixed_pair finds on every image


def kptk_analyze(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["analyze", *map(str, arguments)])


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def fixed_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
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


def test_pipeline_as_json(pipeline: Path, fixed_data: Path, tmp_path: Path) -> None:
    saved, page = tmp_path / "saved", tmp_path / "report.html"
    result = kptk_analyze(
        "-p", pipeline, "--data", fixed_data, "--split", "val", "--bootstrap", 20, "-o", saved,
        "--html", page, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["schema"] == "kptk.analysis/1"
    assert found["verdict"]["name"] == "too-little-data"
    assert found == json.loads((saved / "analysis.json").read_text())
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    expected = kptk.analyze(
        kptk.evaluate(pipeline, kptk.load_coco(fixed_data, split="val")), n_bootstrap=20
    )
    assert found["config_hash"] == expected.json["config_hash"]


def test_saved_predictions_and_baseline(pipeline: Path, fixed_data: Path, tmp_path: Path) -> None:
    file = fixed_data / "annotations" / "instance_val.json"
    evaluation = kptk.evaluate(pipeline, kptk.load_coco(fixed_data, split="val"))
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


def test_predictions_of_other_images(fixed_data: Path, tmp_path: Path) -> None:
    record = {"image_id": 9, "category_id": 1, "keypoints": [1.0] * 51, "score": 1.0}
    (tmp_path / "other.json").write_text(json.dumps([record]))
    file = fixed_data / "annotations" / "instance_val.json"
    result = kptk_analyze("--predictions", tmp_path / "other.json", "--annotations", file)
    assert result.exit_code == 1
    assert result.stderr.startswith("kptk: 1 results are on images that are not in the annotations")
