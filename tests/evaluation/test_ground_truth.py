"""Results against annotations: every pitfall of pycocotools, shown there and met by kptk."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

import kptk
from kptk.errors import DataError, InputError, KptkError
from tests.fake_pair import document, person, pose_in, write_data

A, B = (10, 10, 50, 90), (110, 10, 150, 90)


def result(box: tuple[float, ...], score: float, **changes: Any) -> dict[str, Any]:
    points = [v for x, y in pose_in(box) for v in (float(x), float(y), 0.9)]
    return {"image_id": 1, "category_id": 1, "keypoints": points, "score": score, **changes}


def by_pycocotools(content: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    """pycocotools as its own examples use it."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(content)
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "keypoints")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    names = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
    return dict(zip(names, map(float, evaluator.stats), strict=True))


def two_people(**changes: Any) -> dict[str, Any]:
    """Two people on one image; the changes are to the second. None takes a key away."""
    second = {k: v for k, v in person(2, 1, B, **changes).items() if v is not None}
    return document([person(1, 1, A), second], 1)


BOTH = [result((10.5, 10, 50.5, 90), 0.9), result((110.5, 10, 150.5, 90), 0.8)]


def evaluate(content: Any, results: Any, **options: Any) -> kptk.Evaluation:
    return kptk.evaluate(predictions=results, annotations=content, **options)


def test_plain() -> None:
    ev = evaluate(two_people(), BOTH)
    assert ev.keypoints["AP"] == pytest.approx(1)
    assert ev.provenance["notes"] == []
    assert list(ev.sections) == ["keypoints"]
    assert ev.keypoints.provenance["score_mode"] == "as in the results"


# What is wrong with the second person, and what kptk says. Both are found: the right AP is 1.
MENDED = {
    "id 0": ({"id": 0}, "id 0"),
    "no area": ({"area": None}, "area is missing"),
    "area 0": ({"area": 0}, "area is 0"),
    "no num_keypoints": ({"num_keypoints": None}, "num_keypoints is missing"),
    "no iscrowd": ({"iscrowd": None}, "iscrowd is missing"),
    "an id twice": ({"id": 1}, "share an id"),
}


@pytest.mark.parametrize("case", MENDED)
def test_mended(case: str) -> None:
    change, note = MENDED[case]
    content = two_people(**change)
    before = copy.deepcopy(content)
    try:
        wrong = by_pycocotools(content, BOTH)["AP"]
    except KeyError:
        wrong = math.nan
    assert wrong != pytest.approx(1), "pycocotools does not stumble over this any more"
    ev = evaluate(content, BOTH)
    assert ev.keypoints["AP"] == pytest.approx(1)
    assert ev.keypoints.provenance["counts"]["evaluated"] == 2
    assert any(note in text for text in ev.provenance["notes"])
    assert content == before


def test_missing_area_is_that_of_crowdpose() -> None:
    """.53 of the box, as CrowdPose's evaluation has it (the golden numbers are by it)."""
    content = evaluate(two_people(area=None), BOTH).keypoints.annotations
    assert content["annotations"][1]["area"] == pytest.approx(0.53 * 40 * 80)


def test_labelled_by_count_only() -> None:
    """num_keypoints 17 with no v above 0: pycocotools gives a match away; kptk ignores them."""
    points = [v for x, y in pose_in(B) for v in (float(x), float(y), 0)]
    content = two_people(keypoints=points)
    anywhere = result((105, 5, 155, 95), 0.8)
    assert by_pycocotools(content, [anywhere])["AP"] > 0
    ev = evaluate(content, [anywhere])
    assert ev.keypoints["AP"] == 0
    assert ev.keypoints.provenance["counts"]["ignored"] == 1
    assert "free match" in ev.provenance["notes"][0]


@pytest.mark.parametrize("missing", [math.nan, None])
def test_missing_joints_match_nothing(missing: float | None, tmp_path: Path) -> None:
    nowhere = [result(A, 0.9, keypoints=[missing, missing, 0.9] * 17), result(B, 0.8)]
    if missing is not None:
        alone = document([person(1, 1, A)], 1)
        assert by_pycocotools(alone, nowhere[:1])["AP50"] == pytest.approx(1)
    ev = evaluate(two_people(), nowhere)
    # By hand: a mistake first, then a match: precision 1/2 up to recall .5.
    assert ev.keypoints["AP"] == pytest.approx(0.5 * 51 / 101)
    assert "1 results have joints that are NaN or null" in ev.provenance["notes"][0]
    ev.save(tmp_path)
    again = json.loads((tmp_path / "keypoints_results.json").read_text())
    assert evaluate(two_people(), again).keypoints["AP"] == ev.keypoints["AP"]


def test_no_results(tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        by_pycocotools(two_people(), [])
    file = tmp_path / "dt.json"
    file.write_text("[]")
    for empty in ([], file):
        ev = evaluate(two_people(), empty)
        assert ev.keypoints["AP"] == 0 == ev.keypoints["AR"]
        assert math.isnan(ev.keypoints["APl"])


def test_sigmas() -> None:
    with pytest.raises(KptkError, match=r"17 joints, 14 sigmas"):
        evaluate(two_people(), BOTH, sigmas=[0.1] * 14)
    near = [result((12, 10, 52, 90), 0.9), result((112, 10, 152, 90), 0.8)]
    strict = evaluate(two_people(), near, sigmas=[0.01] * 17).keypoints["AP"]
    loose = evaluate(two_people(), near, sigmas=[0.1] * 17).keypoints["AP"]
    assert strict < loose


def test_boxes_in_results_change_nothing() -> None:
    """A false alarm outside of medium is not held against APm: by its joints, not by its box."""
    small = result((60, 10, 70, 20), 0.95)
    plain = [*BOTH, small]
    boxed = [{**r, "bbox": [0, 0, 60, 60]} for r in plain]
    content = two_people()
    assert by_pycocotools(content, plain)["APm"] != by_pycocotools(content, boxed)["APm"]
    one, other = evaluate(content, plain), evaluate(content, boxed)
    assert dict(one.keypoints) == pytest.approx(dict(other.keypoints), nan_ok=True)
    expected = by_pycocotools(content, plain)
    assert one.keypoints["APm"] == pytest.approx(expected["APm"])
    assert "carry a bbox" in other.provenance["notes"][0]


def test_ignore_is_honoured() -> None:
    content = two_people(ignore=1)
    only_first = [result(A, 0.9)]
    assert by_pycocotools(content, only_first)["AP"] < 1
    for results in (only_first, BOTH):
        ev = evaluate(content, results)
        assert ev.keypoints["AP"] == pytest.approx(1)
        assert ev.keypoints.provenance["counts"]["ignored"] == 1
        assert "ignore: 1" in ev.provenance["notes"][0]
    # Once, unlike a crowd: a second pose on that person is a mistake.
    twice = [result(B, 0.95), result(B, 0.94), result(A, 0.9)]
    assert evaluate(content, twice).keypoints["AP"] == pytest.approx(0.5)


def test_ignore_is_honoured_for_boxes() -> None:
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 80], "score": 0.9}]
    ev = evaluate(two_people(ignore=1), boxes)
    assert ev.bbox["AP"] == pytest.approx(1)
    assert ev.bbox.provenance["counts"]["evaluated"] == 1
    assert evaluate(two_people(), boxes).bbox["AP"] == pytest.approx(51 / 101)


def test_boxes_of_several_categories(reference_dir: Path) -> None:
    """ANALYSIS.md's golden numbers through the front door."""
    folder = reference_dir / "eval"
    ev = evaluate(folder / "bbox100_gt.json", folder / "bbox100_results.json")
    assert [round(v, 6) for v in ev.bbox.values()] == [
        0.504581, 0.696973, 0.572982, 0.585626, 0.5194, 0.501398,
        0.386813, 0.59368, 0.595353, 0.639811, 0.566421, 0.564291,
    ]  # fmt: skip
    assert ev.bbox.provenance["results_sha256"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("coco4", (0.860890, 0.993145, 0.910891, 0.775578, 0.937252,
                   0.875, 1, 0.916667, 0.78, 0.942857)),
        ("crowdpose4", (0.787722, 0.988119, 0.731436, 0.3, 0.880418,
                        0.822222, 1, 0.777778, 0.3, 0.8875)),
    ],
)  # fmt: skip
def test_golden_keypoints(reference_dir: Path, name: str, expected: tuple[float, ...]) -> None:
    """The same; CrowdPose's sigmas are found by the joints' names."""
    folder = reference_dir / "eval"
    ev = evaluate(folder / f"{name}_gt.json", folder / f"{name}_predictions.json")
    assert [round(v, 6) for v in ev.keypoints.values()] == list(expected)


def test_annotations_may_be_loaded_data(tmp_path: Path) -> None:
    data = kptk.load_coco(write_data(tmp_path / "set", two_people()), split="val")
    assert evaluate(data, BOTH).keypoints["AP"] == pytest.approx(1)


WRONG_RESULTS = {
    "another image": ([result(A, 0.9, image_id=7)], "not in the annotations.*image 7"),
    "another category": ([result(A, 0.9, category_id=2)], "No result has a category"),
    "no score": ([{**result(A, 0.9), "score": None}], "Result 0 has no 'score'"),
    "score NaN": ([result(A, math.nan)], "score of result 0 must be a number"),
    "few joints": ([result(A, 0.9, keypoints=[1, 2, 1])], "must be 51 numbers.*Got 3"),
    "joints of text": ([result(A, 0.9, keypoints=["a"] * 51)], "must be numbers"),
    "mixed": ([BOTH[0], {"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}],
              "all have keypoints, or all have bbox"),
    "neither": ([{"image_id": 1, "category_id": 1, "score": 1}],
                "Of 1, 0 have keypoints and 0 have bbox"),
    "annotations": ({"images": []}, "must be a list of COCO results.*annotation file"),
    "box of three": ([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1], "score": 1}],
                     "must be 4 numbers. Got 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_RESULTS)
def test_wrong_results(case: str) -> None:
    results, message = WRONG_RESULTS[case]
    with pytest.raises(DataError, match=message):
        evaluate(two_people(), results)


def test_some_other_categories_are_left_out() -> None:
    ev = evaluate(two_people(), [*BOTH, result(A, 0.99, category_id=5)])
    assert ev.keypoints["AP"] == pytest.approx(1)
    assert "1 results of other categories were left out" in ev.provenance["notes"][0]


def test_what_cannot_be_mended_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="bbox is not four finite numbers"):
        evaluate(two_people(bbox=[1, 2]), BOTH)
    with pytest.raises(DataError, match="must hold predictions saved by"):
        evaluate(two_people(), tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        evaluate(two_people(), tmp_path / "none.json")
    with pytest.raises(InputError, match="evaluate needs"):
        kptk.evaluate(predictions=BOTH)
    with pytest.raises(DataError, match="'categories' is missing"):
        evaluate({"images": [], "annotations": []}, BOTH)


@pytest.mark.parametrize(
    "option", [{"flip": True}, {"engine": "openvino"}, {"max_images": 3}, {"score_mode": "deploy"},
               {"oks_nms": 0.9}, {"det_threshold": 0.5}]
)  # fmt: skip
def test_options_that_would_do_nothing_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(option))} is for"):
        evaluate(two_people(), BOTH, **option)
