"""The vectorised evaluator against pycocotools, statistic by statistic."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kptk.errors import DataError, InputError
from kptk.evaluation import accumulate, coco_stats, match
from kptk.skeleton import COCO17, CROWDPOSE14
from tests.coco_cases import exploded, make_case

# ANALYSIS.md: pycocotools (xtcocotools for CrowdPose) on public fixtures.
GOLDEN = {
    "coco4": (
        "keypoints", COCO17.sigmas,
        (0.860890, 0.993145, 0.910891, 0.775578, 0.937252, 0.875, 1, 0.916667, 0.78, 0.942857),
    ),
    "crowdpose4": (
        "keypoints", CROWDPOSE14.sigmas,
        (0.787722, 0.988119, 0.731436, 0.3, 0.880418, 0.822222, 1, 0.777778, 0.3, 0.8875),
    ),
    "bbox100": (
        "bbox", None,
        (0.504581, 0.696973, 0.572982, 0.585626, 0.5194, 0.501398,
         0.386813, 0.59368, 0.595353, 0.639811, 0.566421, 0.564291),
    ),
}  # fmt: skip


def equal(one: dict[str, float], other: dict[str, float]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if math.isnan(value):
            assert math.isnan(other[name]), name
        else:
            assert other[name] == pytest.approx(value, abs=1e-12, rel=0), name


def load(reference_dir: Path, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folder = reference_dir / "eval"
    truth = json.loads((folder / f"{name}_gt.json").read_text())
    found = "results" if name == "bbox100" else "predictions"
    for annotation in truth["annotations"]:  # CrowdPose's files have none
        annotation.setdefault("area", 0.53 * annotation["bbox"][2] * annotation["bbox"][3])
    return truth, json.loads((folder / f"{name}_{found}.json").read_text())


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_numbers(reference_dir: Path, name: str) -> None:
    kind, sigmas, expected = GOLDEN[name]
    truth, results = load(reference_dir, name)
    by_pycocotools = coco_stats(truth, results, kind, sigmas)
    assert [round(value, 6) for value in by_pycocotools.values()] == list(expected)
    equal(by_pycocotools, accumulate(match(truth, results, kind, sigmas)))


@pytest.mark.parametrize("kind", ["bbox", "keypoints"])
@pytest.mark.parametrize("seed", range(12))
def test_equals_pycocotools(kind: Any, seed: int) -> None:
    content, results = make_case(seed)
    equal(coco_stats(content, results, kind), accumulate(match(content, results, kind)))


CASES = {
    "one image": {"n_images": 1},
    "few joints": {"n_joints": 5},
    "CrowdPose's joints": {"n_joints": 14},
    "many joints": {"n_joints": 27},
    "categories": {"n_categories": 4, "n_images": 20},
    "more than 20 detections": {"max_extra": 40, "n_images": 4},
    "more than 100 detections": {"max_extra": 250, "n_images": 3},
    "crowded": {"max_people": 40, "n_images": 4},
    "no people": {"max_people": 1, "n_images": 4},
    "no detections beside people": {"max_extra": 1},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["bbox", "keypoints"])
def test_equals_pycocotools_on(kind: Any, case: str) -> None:
    options = CASES[case]
    sigmas = np.linspace(0.03, 0.1, options.get("n_joints", 17))
    for seed in (100, 101):
        content, results = make_case(seed, **options)
        expected = coco_stats(content, results, kind, sigmas)
        equal(expected, accumulate(match(content, results, kind, sigmas)))


@pytest.mark.parametrize("kind", ["bbox", "keypoints"])
def test_nothing_found_and_nothing_there(kind: Any) -> None:
    content, results = make_case(5)
    nobody = {**content, "annotations": []}
    for truth, found in [(content, []), (nobody, results), (nobody, [])]:
        equal(coco_stats(truth, found, kind), accumulate(match(truth, found, kind)))
    assert accumulate(match(content, [], kind))["AP"] == 0
    assert math.isnan(accumulate(match(nobody, results, kind))["AP"])


@pytest.mark.parametrize("kind", ["bbox", "keypoints"])
@pytest.mark.parametrize("seed", range(6))
def test_weights_equal_pycocotools_on_the_exploded_data(kind: Any, seed: int) -> None:
    content, results = make_case(seed, n_categories=1 + seed % 2)
    matches = match(content, results, kind)
    rng = np.random.default_rng(seed)
    n_images = len(matches.image_ids)
    weights = rng.multinomial(n_images, np.full(n_images, 1 / n_images))
    counts = dict(zip(matches.image_ids.tolist(), weights.tolist(), strict=True))
    expected = coco_stats(*exploded(content, results, counts), kind)
    equal(expected, accumulate(matches, weights))


@pytest.mark.parametrize("kind", ["bbox", "keypoints"])
def test_single_statistics(kind: Any) -> None:
    matches = match(*make_case(8), kind)
    for name, value in accumulate(matches).items():
        equal(accumulate(matches, names=[name]), {name: value})
    with pytest.raises(InputError, match="names must be among AP, AP50"):
        accumulate(matches, names=["mAP"])


def test_weights_scale() -> None:
    content, results = make_case(3)
    matches = match(content, results, "keypoints")
    halves = np.full(len(matches.image_ids), 0.5)
    plain, scaled = accumulate(matches), accumulate(matches, halves)
    assert all(scaled[name] == pytest.approx(plain[name], abs=1e-12) for name in plain)


def test_weight_zero_leaves_an_image_out() -> None:
    content, results = make_case(4)
    matches = match(content, results, "keypoints")
    out = int(matches.image_ids[2])
    weights = (matches.image_ids != out).astype(int)
    rest = {**content, "images": [i for i in content["images"] if i["id"] != out]}
    rest["annotations"] = [a for a in content["annotations"] if a["image_id"] != out]
    found = [r for r in results if r["image_id"] != out]
    equal(coco_stats(rest, found, "keypoints"), accumulate(matches, weights))


def test_matches_point_to_records() -> None:
    content, results = make_case(7)
    matches = match(content, results, "keypoints")
    _, threshold, d = np.nonzero(matches.truth >= 0)
    assert len(d)
    for place, truth in zip(matches.result[d], matches.truth[matches.truth >= 0], strict=True):
        assert results[place]["image_id"] == content["annotations"][truth]["image_id"]
    assert threshold.max() == 9


def test_a_missing_joint_matches_nothing() -> None:
    """By hand: one of two joints exact, the other missing: OKS 1/2."""
    content = {
        "images": [{"id": 1}],
        "categories": [{"id": 1}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 2000.0,
             "bbox": [0, 0, 40, 50], "num_keypoints": 2, "keypoints": [5, 5, 2, 30, 40, 2]}
        ],
    }  # fmt: skip
    joints = [5, 5, 1, math.nan, math.nan, 0]
    results = [{"image_id": 1, "category_id": 1, "score": 0.9, "keypoints": joints}]
    found = accumulate(match(content, results, "keypoints", [0.05, 0.05]))
    assert found["AP50"] == pytest.approx(1)
    assert found["AP"] == pytest.approx(0.1)
    equal(coco_stats(content, results, "keypoints", [0.05, 0.05]), found)


def test_a_missing_joint_does_not_change_a_size() -> None:
    """By hand: a false alarm of 40 x 40 pixels is of medium size, missing joints or not."""
    content, _ = make_case(0, n_images=1)
    content["annotations"] = [
        {"id": 1, "image_id": content["images"][0]["id"], "category_id": 1, "iscrowd": 0,
         "area": 2000.0, "bbox": [0, 0, 40, 50], "num_keypoints": 3,
         "keypoints": [5, 5, 2, 30, 40, 2, 8, 8, 2]}
    ]  # fmt: skip
    base = {"image_id": content["images"][0]["id"], "category_id": 1}
    right = {**base, "score": 0.5, "keypoints": [5, 5, 1, 30, 40, 1, 8, 8, 1]}
    joints = [200, 200, 1, 240, 240, 1, math.nan, math.nan, 0]
    alarm = {**base, "score": 0.9, "keypoints": joints}
    sigmas = [0.05] * 3
    found = accumulate(match(content, [right, alarm], "keypoints", sigmas))
    assert found["APm"] == pytest.approx(0.5)
    equal(coco_stats(content, [right, alarm], "keypoints", sigmas), found)


@pytest.mark.parametrize("weights", [[1.0], [-1.0] * 12, [math.nan] * 12, [[1.0] * 12]])
def test_wrong_weights(weights: Any) -> None:
    matches = match(*make_case(0), "bbox")
    with pytest.raises(InputError, match="weights must be one number from 0 up for each of 12"):
        accumulate(matches, weights)


@pytest.mark.parametrize("function", [match, coco_stats])
def test_wrong_number_of_sigmas(function: Any) -> None:
    with pytest.raises(DataError, match=r"14 .*sigmas"):
        function(*make_case(0), "keypoints", CROWDPOSE14.sigmas)


@pytest.mark.parametrize("function", [match, coco_stats])
def test_wrong_kind(function: Any) -> None:
    with pytest.raises(DataError, match="'bbox' or 'keypoints'"):
        function(*make_case(0), "segm")


def test_no_area() -> None:
    content, results = make_case(0)
    del content["annotations"][0]["area"]
    with pytest.raises(DataError, match="must have an area"):
        match(content, results, "bbox")
