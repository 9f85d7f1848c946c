"""``kptk predict`` with partitions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from kptk.cli import app
from tests.fixed_pair import BOX, write_pipeline


@pytest.fixture
def call(tmp_path: Path) -> list[str]:
    """The command on three pictures and one file that is none."""
    pytest.importorskip("onnx")
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 48)).save(tmp_path / "in" / f"{number}.png")
    config = write_pipeline(tmp_path / "pair")
    return ["predict", str(tmp_path / "in"), "-p", str(config), "-o", str(tmp_path / "out")]


def test_json_lines_with_the_counts_on_stdout_and_coco_results(
    call: list[str], tmp_path: Path
) -> None:
    truth = {
        "images": [{"id": 7, "file_name": "1.png", "width": 64, "height": 48}],
        "annotations": [],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    options = ["--format", "jsonl", "--partition-size", "2", "--json", "--coco-results"]
    found = CliRunner().invoke(app, [*call, *options, str(tmp_path / "gt.json")])
    assert found.exit_code == 0, found.stderr
    said = json.loads(found.stdout)
    assert (said["images"], said["people"], said["partitions"], said["errors"]) == (3, 3, 2, [])
    lines = (tmp_path / "out" / "results" / "part-000000.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert first["input_path"] == "0.png"  # PaddleX's keys
    assert set(first["boxes"][0]) == {"coordinate", "det_score", "keypoints", "kpt_score"}
    assert (first["width"], first["height"]) == (64, 48)
    [record] = json.loads((tmp_path / "out" / "predictions.json").read_text())
    x1, y1, x2, y2 = BOX
    assert record["image_id"] == 7
    assert record["bbox"] == [x1, y1, x2 - x1, y2 - y1]


def test_failures_are_listed_and_the_exit_code_is_1(call: list[str], tmp_path: Path) -> None:
    (tmp_path / "in" / "bad.png").write_text("no picture")
    found = CliRunner().invoke(app, [*call, "--format", "jsonl"])
    assert found.exit_code == 1
    assert "4 images, 3 people, 1 failed" in found.stdout
    assert "1 of the inputs failed" in found.stderr
    assert "bad.png must be an image" in found.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--partition-size", "3"], "--partition-size is for --format parquet or jsonl"),
        (["--coco-results", "gt.json"], "--coco-results is for --format parquet or jsonl"),
        (["--dask", "tcp://127.0.0.1:9", "--format", "json"], "--dask writes --format parquet"),
        (["--format", "xml"], "format must be"),
        (["--format", "jsonl", "--kpt-threshold", "0.3"], "--kpt-threshold is for drawing"),
    ],
)
def test_options_that_do_not_fit(call: list[str], options: list[str], message: str) -> None:
    found = CliRunner().invoke(app, [*call, *options])
    assert found.exit_code == 1
    assert message in found.stderr
