"""kptk.pipeline.results: PoseResult in all its forms. Expected values are by hand."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kptk.errors import InputError
from kptk.pipeline.results import PoseResult
from kptk.skeleton import COCO17, Skeleton


def make(
    people: int = 2, *, name: str = "photo", suffix: str = ".png", path: str | None = "in/photo.png"
) -> PoseResult:
    """Person i: box 10i..10i+8, scores .9, .8, …, joints at (i, k) with score .5."""
    i = np.arange(people, dtype=np.float32)[:, None]
    keypoints = np.full((people, 17, 3), 0.5, np.float32)
    keypoints[..., 0] = i
    keypoints[..., 1] = np.arange(17)
    return PoseResult(
        image=np.full((30, 40, 3), 200, np.uint8),
        name=name,
        path=path,
        suffix=suffix,
        boxes=np.hstack([10 * i, 10 * i + 1, 10 * i + 8, 10 * i + 9]).astype(np.float32),
        scores=(0.9 - 0.1 * i[:, 0]).astype(np.float32),
        keypoints=keypoints,
    )


def broken() -> PoseResult:
    result = make(0)
    result.image, result.error = None, InputError("in/photo.png must be an image.")
    return result


def test_json_has_paddlex_keys_and_plain_values() -> None:
    record = make().json
    assert list(record) == ["input_path", "boxes"]
    assert record["input_path"] == "in/photo.png"
    person = record["boxes"][1]
    assert list(person) == ["coordinate", "det_score", "keypoints", "kpt_score"]
    assert person["coordinate"] == [10.0, 11.0, 18.0, 19.0]
    assert person["keypoints"][3] == [1.0, 3.0, 0.5]
    assert person["kpt_score"] == 0.5
    assert type(person["det_score"]) is float
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_json_of_missing_points_no_people_and_errors() -> None:
    result = make(1)
    result.keypoints[0, 2] = np.nan
    assert result.json["boxes"][0]["keypoints"][2] == [None, None, None]
    assert result.json["boxes"][0]["kpt_score"] == 0.5  # the mean of the other sixteen
    assert make(0, path=None).json == {"input_path": None, "boxes": []}
    assert broken().json["error"] == "in/photo.png must be an image."


def test_kpt_scores_without_any_point_are_nan() -> None:
    result = make(2)
    result.keypoints[1] = np.nan
    with np.errstate(all="raise"):
        scores = result.kpt_scores
    assert scores.dtype == np.float32
    assert scores[0] == 0.5
    assert math.isnan(scores[1])


@pytest.mark.parametrize(
    ("method", "save_path", "written"),
    [
        ("save_to_json", "out", "out/sub/photo_res.json"),
        ("save_to_json", "out/", "out/sub/photo_res.json"),
        ("save_to_json", "out.v2", "out.v2/sub/photo_res.json"),
        ("save_to_json", "new/there.json", "new/there.json"),
        ("save_to_json", "folder.json", "folder.json/sub/photo_res.json"),
        ("save_to_json", "there.webp", "there.webp/sub/photo_res.json"),
        ("save_to_img", "out", "out/sub/photo_res.png"),
        ("save_to_img", "new/there.webp", "new/there.webp"),
        ("save_to_img", "there.json", "there.json/sub/photo_res.png"),
    ],
)
def test_where_files_go(
    tmp_path: Path, method: str, save_path: str, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.json").mkdir()
    result = make(name="sub/photo")
    assert getattr(result, method)(save_path) == Path(written)
    if method == "save_to_json":
        assert json.loads(Path(written).read_text()) == result.json
    else:
        assert Image.open(written).size == (40, 30)
    assert [path for path in Path().rglob("*") if path.is_file()] == [Path(written)]


@pytest.mark.parametrize(
    ("suffix", "kind", "ending"),
    [
        (".jpg", "JPEG", ".jpg"),
        (".JPG", "JPEG", ".JPG"),
        (".gif", "PNG", ".png"),
        ("", "PNG", ".png"),
    ],
)
def test_pictures_keep_their_format_where_it_can_be_written(
    tmp_path: Path, suffix: str, kind: str, ending: str
) -> None:
    path = make(suffix=suffix).save_to_img(tmp_path)
    assert path.name == f"photo_res{ending}"
    assert Image.open(path).format == kind


def test_json_options_of_the_tutorial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = make(0, path="füße.png")
    path = result.save_to_json(tmp_path / "a.json", indent=1, ensure_ascii=True)
    assert path.read_text() == '{\n "input_path": "f\\u00fc\\u00dfe.png",\n "boxes": []\n}\n'
    result.print()
    assert capsys.readouterr().out == '{\n    "input_path": "füße.png",\n    "boxes": []\n}\n'
    result.print(format_json=False)
    assert capsys.readouterr().out == "{'input_path': 'füße.png', 'boxes': []}\n"


def test_files_that_cannot_be_written_say_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        make().save_to_json(tmp_path / "file" / "a.json")
    with pytest.raises(InputError, match="no image"):
        broken().save_to_img(tmp_path)
    assert os.listdir(tmp_path) == ["file"]


def test_pictures_show_the_people() -> None:
    result = make()
    before = result.image.copy()
    drawn = np.asarray(result.img)
    assert (drawn != before).any()
    assert (result.image == before).all()


def test_to_pandas() -> None:
    table = make().to_pandas()
    assert table.columns[:8].tolist() == [
        "image", "person", "x1", "y1", "x2", "y2", "det_score", "kpt_score",
    ]  # fmt: skip
    assert table.columns[8:11].tolist() == ["nose.x", "nose.y", "nose.score"]
    assert table.columns[-1] == "right_ankle.score"
    assert len(table.columns) == 8 + 3 * 17
    assert table.loc[1, ["image", "person", "x1", "right_ankle.y"]].tolist() == ["photo", 1, 10, 16]
    empty = make(0).to_pandas()
    assert len(empty) == 0
    assert empty.columns.equals(table.columns)


def test_to_coco_scores_and_boxes() -> None:
    result = make(1)
    result.keypoints[0, :, 2] = 0.6
    result.keypoints[0, 0, 2] = 0.1  # does not count for ppdet, counts for deploy
    result.keypoints[0, 1] = np.nan
    (record,) = result.to_coco(7, with_boxes=True)
    assert list(record) == ["image_id", "category_id", "keypoints", "score", "bbox"]
    assert (record["image_id"], record["category_id"]) == (7, 1)
    assert record["keypoints"][:6] == [0.0, 0.0, pytest.approx(0.1), 0.0, 0.0, 0.0]
    assert len(record["keypoints"]) == 51
    assert record["bbox"] == [0.0, 1.0, 8.0, 8.0]
    assert record["score"] == pytest.approx(0.9 * 0.6)
    (record,) = result.to_coco(7, score="deploy")
    assert record["score"] == pytest.approx(0.9)
    (record,) = result.to_coco(7, score="keypoints")
    assert record["score"] == pytest.approx((0.1 + 15 * 0.6) / 16)
    assert "bbox" not in record
    json.dumps(record)
    with pytest.raises(InputError, match="ppdet"):
        result.to_coco(7, score="best")  # type: ignore[arg-type]
    assert make(0).to_coco(7) == []


def test_to_coco_loads_in_pycocotools() -> None:
    from pycocotools.coco import COCO

    truth = COCO()
    truth.dataset = {"images": [{"id": 7}], "annotations": [], "categories": [{"id": 1}]}
    truth.createIndex()
    loaded = truth.loadRes(make().to_coco(7))
    assert [a["keypoints"][0] for a in loaded.loadAnns(loaded.getAnnIds(7))] == [0.0, 1.0]


def test_coco2_with_paddlex_keypoints_gives_the_known_ap(reference_dir: Path) -> None:
    """AP .711881: PaddleX's stored keypoints, score = mean of the point scores, pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    stored = json.loads((reference_dir / "coco2" / "paddlex_keypoints.json").read_text())
    records = []
    for person in stored["results"]:
        result = make(1)
        result.keypoints = np.array([person["keypoints"]], np.float32)
        records += result.to_coco(person["image_id"], score="keypoints")
    truth = COCO(reference_dir / "coco2" / "annotations.json")
    evaluation = COCOeval(truth, truth.loadRes(records), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(0.711881, abs=1e-6)


def test_notebook_bundle() -> None:
    result = make()
    bundle = result._repr_mimebundle_()
    assert bundle["text/plain"] == "<PoseResult photo: 2 people, 40x30 px>"
    assert bundle["text/html"].count("<tr>") == 3
    assert "17 of 17" in bundle["text/html"]
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert result._repr_mimebundle_() == bundle


def test_notebook_bundle_is_small_and_escaped() -> None:
    result = make(30, name="<b>")
    result.image = np.zeros((1000, 3000, 3), np.uint8)
    bundle = result._repr_mimebundle_()
    assert "<b><b>" not in bundle["text/html"]
    assert "and 10 more" in bundle["text/html"]
    import io

    assert Image.open(io.BytesIO(bundle["image/png"])).size == (640, 213)
    bundle = broken()._repr_mimebundle_()
    assert list(bundle) == ["text/plain", "text/html"]
    assert "must be an image" in bundle["text/html"]


def test_a_detector_alone_gives_boxes_in_every_form(tmp_path: Path) -> None:
    result = make()
    result.keypoints = np.zeros((2, 0, 3), np.float32)
    result.skeleton = Skeleton((), (), ())
    assert result.json["boxes"][0]["keypoints"] == []
    assert result.json["boxes"][0]["kpt_score"] is None
    assert len(result.to_pandas().columns) == 8
    assert "points" not in result._repr_mimebundle_()["text/html"]
    assert result.save_to_img(tmp_path).exists()


def test_small_things() -> None:
    assert len(make()) == 2
    assert make(0)  # true, though nobody is in it
    assert repr(make(1)) == "<PoseResult photo: 1 person, 40x30 px>"
    assert "must be an image" in repr(broken())
    assert make() == make()
    assert make() != make(1)
    assert make() != "photo"
    other = make()
    other.keypoints[0, 0] = np.nan
    assert other != make()
    assert other == other
    assert len(COCO17) == 17
