"""Reading back: both formats, the Parquet schema, tables, COCO records, AP and error analysis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import kptk
from kptk.errors import BulkError, DataError
from kptk.stored import match_images
from tests.bulk.fakes import SIZE, make_fake, write_pictures
from tests.fake_pair import document, fake_pipeline, person, write_data

FORMATS = ("parquet", "jsonl")
# Pictures 1 to 4: two right boxes, one shifted, one missed person, one false, and weak doubles.
TRUTH = {1: [(10, 10, 60, 90)], 2: [(20, 5, 70, 95), (100, 5, 150, 95)], 3: [(5, 5, 50, 80)], 4: []}
FOUND = {
    1: [(10, 10, 60, 90, 0.9), (12, 11, 62, 91, 0.3)],
    2: [(24, 9, 74, 99, 0.6), (101, 6, 151, 96, 0.95)],
    4: [(30, 30, 80, 90, 0.8), (90, 10, 130, 80, 0.02)],
}


def make_pair() -> Any:
    return fake_pipeline(FOUND)


def run(source: Any, out: Path, make: Any = make_fake, **options: Any) -> kptk.StoredPredictions:
    return kptk.predict_dataset(source, make, out, partition_size=3, progress=False, **options)


@pytest.fixture
def data(tmp_path: Path) -> kptk.KeypointData:
    pairs = [(image, box) for image, boxes in TRUTH.items() for box in boxes]
    labels = [person(i + 1, image, box) for i, (image, box) in enumerate(pairs)]
    return kptk.load_coco(write_data(tmp_path / "data", document(labels, 4)), split="val")


@pytest.mark.parametrize("form", FORMATS)
def test_everything_comes_back(tmp_path: Path, form: Any) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    paths = write_pictures(tmp_path / "in", {1: "bad", 2: "0", 4: "3"}, 7)
    stored = run(paths, tmp_path / "out", format=form)
    pipe = make_fake()
    expected = list(pipe.predict(list(map(str, paths)), det_threshold=None, channel_order=None))
    rows = list(stored.rows())
    assert [record["image"] for record, _ in rows] == list(range(7))
    assert [record["path"] for record, _ in rows] == list(map(str, paths))
    for (record, result), wanted in zip(rows, expected, strict=True):
        assert record["error"] == (None if wanted.error is None else str(wanted.error))
        assert (record["height"], record["width"]) == ((None, None) if wanted.error else SIZE)
        for name in ("boxes", "scores", "keypoints"):
            found = getattr(result, name)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, getattr(wanted, name))
    assert np.isnan(rows[0][1].keypoints[0, 3]).all()
    assert repr(stored) == "StoredPredictions(out: 7 images, 7 people, 1 failed)"


@pytest.mark.parametrize("form", FORMATS)
def test_tables(tmp_path: Path, form: Any) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    paths = write_pictures(tmp_path / "in", {0: "0", 1: "bad", 3: "2"}, 4)
    stored = run(tmp_path / "in", tmp_path / "out", format=form)
    assert stored.images["path"].tolist() == [path.name for path in paths]
    assert stored.images["people"].tolist() == [0, 0, 1, 2]
    assert stored.images["width"].tolist() == [SIZE[1], pd.NA, SIZE[1], SIZE[1]]
    assert stored.people["path"].tolist() == ["2.jpg", "3.jpg", "3.jpg"]
    assert stored.people["person"].tolist() == [0, 0, 1]
    assert stored.people["image"].tolist() == [2, 3, 3]
    third = list(stored.results())[3]
    np.testing.assert_array_equal(stored.people["nose.x"][1:], third.keypoints[:, 0, 0])
    nobody = run(paths[:1], tmp_path / "nobody", format=form)
    assert len(nobody.people) == 0
    assert list(nobody.people.columns) == list(stored.people.columns)


def test_the_parquet_schema_is_the_documented_one(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    write_pictures(tmp_path / "in", {0: "2", 4: "bad"}, 5)
    stored = run(tmp_path / "in", tmp_path / "out")
    page = (Path(__file__).parents[2] / "docs" / "many_machines.md").read_text("utf-8")
    for kind in ("people", "images"):
        schema = pq.read_schema(tmp_path / "out" / kind / "part-000000.parquet")
        said = [(f.name, str(f.type).replace("element", "item")) for f in schema]
        for name, dtype in said:
            assert f"| `{name}` | `{short(dtype)}` |" in page
        marks = {b"kptk.schema": b"1", b"kptk.settings_hash": stored.manifest["settings_hash"]}
        assert schema.metadata[b"kptk.schema"] == marks[b"kptk.schema"]
        assert schema.metadata[b"kptk.settings_hash"].decode() == marks[b"kptk.settings_hash"]
    whole = pd.read_parquet(tmp_path / "out" / "people")  # as any other tool reads it
    assert len(whole) == 5
    assert np.stack(whole["keypoints"]).shape == (5, 51)


def short(dtype: str) -> str:
    """``fixed_size_list<item: float>[4]`` as the page writes it."""
    return dtype.replace("fixed_size_list<item: float>", "float").replace("double", "float64")


@pytest.mark.parametrize("by_name", [False, True])
def test_ap_is_that_of_the_pipeline_itself(
    data: kptk.KeypointData, tmp_path: Path, by_name: bool
) -> None:
    source = data.images_dir if by_name else data
    run(source, tmp_path / "out", make_pair, det_threshold=0.01, format="jsonl")
    pipe = make_pair()
    for mode in ("ppdet", "deploy"):
        wanted = kptk.evaluate(pipe, data, score_mode=mode, progress=False).end_to_end
        threshold = 0.5 if mode == "deploy" else None
        found = kptk.evaluate(
            predictions=tmp_path / "out", annotations=data.annotations_path, score_mode=mode,
            det_threshold=threshold,
        ).keypoints  # fmt: skip
        assert wanted is not None and found is not None
        assert dict(found) == pytest.approx(dict(wanted), nan_ok=True)
        assert 0 < wanted["AP"] < 1


def test_the_json_file_has_the_same_ap_and_can_be_analyzed(
    data: kptk.KeypointData, tmp_path: Path
) -> None:
    stored = run(data.images_dir, tmp_path / "out", make_pair, det_threshold=0.5, format="jsonl")
    file = stored.save_coco(tmp_path / "predictions.json", data.annotations_path)
    assert json.loads(file.read_text()) == stored.to_coco(data)
    wanted = kptk.evaluate(make_pair(), data, score_mode="deploy", progress=False).end_to_end
    found = kptk.evaluate(predictions=file, annotations=data.annotations_path).keypoints
    assert wanted is not None and found is not None
    assert found["AP"] == pytest.approx(wanted["AP"])
    options: dict[str, Any] = {"annotations": data.annotations_path, "n_bootstrap": 10}
    by_file = kptk.analyze(predictions=file, progress=False, **options)
    by_folder = kptk.analyze(predictions=tmp_path / "out", progress=False, **options)
    assert by_folder.json["joints"] == by_file.json["joints"]
    assert by_folder.json["persons"] == by_file.json["persons"]


def test_without_ids_annotations_are_needed_and_with_them_not(
    data: kptk.KeypointData, tmp_path: Path
) -> None:
    by_path = run(data.images_dir, tmp_path / "a", make_pair, format="jsonl")
    with pytest.raises(DataError, match="have no COCO ids"):
        by_path.to_coco()
    by_id = run(data, tmp_path / "b", make_pair, format="jsonl")
    assert by_id.to_coco() == by_path.to_coco(data)


def test_a_run_that_is_not_finished_is_not_evaluated(
    data: kptk.KeypointData, tmp_path: Path
) -> None:
    run(data, tmp_path / "out", make_pair, format="jsonl")
    (tmp_path / "out" / "done" / "part-000001.json").unlink()
    with pytest.raises(BulkError, match=r"1 images not done yet.*is not finished"):
        kptk.evaluate(predictions=tmp_path / "out", annotations=data)


def images(*names: str) -> list[dict[str, Any]]:
    return [{"id": i + 1, "file_name": name} for i, name in enumerate(names)]


@pytest.mark.parametrize(
    ("paths", "names", "expected"),
    [
        (["/data/val/1.jpg", "/data/val/2.jpg"], ["2.jpg"], {"/data/val/2.jpg": 1}),
        (["1.jpg"], ["val2017/1.jpg"], {"1.jpg": 1}),
        (["a/1.jpg", "b/1.jpg"], ["b/1.jpg", "a/1.jpg"], {"b/1.jpg": 1, "a/1.jpg": 2}),
        (["1.jpg", "sub/1.jpg"], ["1.jpg"], {"1.jpg": 1}),  # the same before the end of
        (["11.jpg", "1.jpg"], ["1.jpg"], {"1.jpg": 1}),
    ],
)
def test_images_are_matched_by_name(
    paths: list[str], names: list[str], expected: dict[str, int]
) -> None:
    assert match_images(paths, images(*names), "gt.json") == expected


@pytest.mark.parametrize(
    ("paths", "names", "message"),
    [
        (["x/1.jpg", "y/1.jpg"], ["1.jpg"], "any of 2 stored images: x/1.jpg, y/1.jpg"),
        (["1.jpg"], ["1.jpg", "2.jpg"], r"1 of the 2 images of gt.json are not among.*\(ids 2\)"),
        (["/d/1.jpg"], ["1.jpg", "d/1.jpg"], "Images 1 and 2 of gt.json are both /d/1.jpg"),
    ],
)
def test_names_that_do_not_fit_are_an_error(
    paths: list[str], names: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        match_images(paths, images(*names), "gt.json")
