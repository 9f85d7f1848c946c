"""The published table's plumbing, on a tiny imitation of the data sets' layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import published
from benchmarks.published import RECIPES, run_benchmark
from kptk.errors import DataError, InputError
from tests.fake_pair import document, fake_pipeline, person

A, B = (10, 10, 50, 90), (110, 10, 150, 90)
FOUND = {1: [(*A, 0.9)], 2: [(*B, 0.05)]}


def imitate(folder: Path, images: str, annotations: str, **changes: Any) -> Path:
    content = document([person(1, 1, A), person(2, 2, B, **changes)], 2)
    (folder / images).mkdir(parents=True)
    (folder / "annotations").mkdir()
    (folder / "annotations" / annotations).write_text(json.dumps(content))
    for i in (1, 2):
        Image.new("RGB", (200, 100), (i, i, i)).save(folder / images / f"{i}.png")
    return folder


def test_keypoints_by_the_published_recipe(tmp_path: Path) -> None:
    data = imitate(tmp_path / "coco", "val2017", "person_keypoints_val2017.json")
    asked: list[tuple[str, dict[str, Any]]] = []

    def create(model: str, **options: Any) -> Any:
        asked.append((model, options))
        return fake_pipeline(None)

    found = run_benchmark("coco-val2017", data, create=create, progress=False)
    assert [model for model, _ in asked] == ["PP-TinyPose_128x96", "PP-TinyPose_256x192"]
    assert all(options["flip"] and options["udp"] for _, options in asked)
    # The tutorial's table.
    assert [(r.model, r.statistic, r.expected) for r in found.rows] == [
        ("PP-TinyPose_128x96", "AP", 0.584),
        ("PP-TinyPose_256x192", "AP", 0.683),
    ]
    # ppdet's boxes are a pixel short, so the imitation's joints are a little off.
    assert 0.9 < found.rows[0].measured <= 1
    source = found.evaluations["PP-TinyPose_128x96"].pose.provenance
    assert (source["score_mode"], source["oks_nms"]) == ("ppdet", 0.9)
    made_by = found.evaluations["PP-TinyPose_128x96"].provenance
    assert made_by["ground_truth_boxes"] == "as PaddleDetection cuts them"
    boxes = found.evaluations["PP-TinyPose_128x96"].predictions.people
    assert boxes.boxes[0].tolist() == [10, 10, 49, 89]


def test_boxes_by_the_published_recipe(tmp_path: Path) -> None:
    data = imitate(tmp_path / "crowd", "images", "val.json", ignore=1)

    def create(model: str, **options: Any) -> Any:
        pipe = fake_pipeline(FOUND)
        return type(pipe)(pipe.detector, None)

    found = run_benchmark("crowdhuman", data, create=create, progress=False)
    assert [(r.model, r.statistic, r.expected) for r in found.rows] == [
        ("PP-YOLOE-S_human", "AP", 0.425),
        ("PP-YOLOE-S_human", "AP50", 0.779),
        ("PP-YOLOE-L_human", "AP", 0.48),
        ("PP-YOLOE-L_human", "AP50", 0.819),
    ]
    assert [r.measured for r in found.rows] == pytest.approx([1] * 4)
    scores = found.evaluations["PP-YOLOE-S_human"].detector
    assert scores.provenance["counts"]["evaluated"] == 2  # ignore: 1 is discarded, as by ppdet


def test_printed_with_its_recipe(tmp_path: Path) -> None:
    data = imitate(tmp_path / "coco", "val2017", "person_keypoints_val2017.json")
    found = run_benchmark(
        "coco-val2017", data, models=["PP-TinyPose_128x96"], progress=False,
        create=lambda *_, **__: fake_pipeline(None), max_images=1,
    )  # fmt: skip
    text = repr(found)
    for word in ("flip test on", "UDP on", "score mode ppdet", "OKS-NMS 0.9", "58.4"):
        assert word in text
    document = found.json
    assert document["rows"][0]["expected"] == 0.584
    assert document["recipe"] == str(RECIPES["coco-val2017"])
    json.dumps(document, allow_nan=False)
    assert "expected" in found._repr_html_()


def test_wrong_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Did you mean 'coco-val2017'\?"):
        run_benchmark("coco-val", tmp_path)
    with pytest.raises(InputError, match="publishes PP-TinyPose_128x96"):
        run_benchmark("coco-val2017", tmp_path, models=["demo-kpt"])
    with pytest.raises(DataError, match="annotation"):
        run_benchmark("coco-val2017", tmp_path)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = imitate(tmp_path / "coco", "val2017", "person_keypoints_val2017.json")
    monkeypatch.setattr("kptk.pipeline.pipeline.create_model", lambda *_, **__: fake_pipeline(None))
    call = ["coco-val2017", "--data", str(data)]
    assert published.main([*call, "--model", "PP-TinyPose_256x192", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["model"], row["expected"]) == ("PP-TinyPose_256x192", 0.683)
    assert published.main(call) == 0
    assert "58.4" in capsys.readouterr().out
    assert published.main(["coco", "--data", str(data)]) == 1
    assert "Did you mean 'coco-val2017'?" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        published.main(["coco-val2017"])
