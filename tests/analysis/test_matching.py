"""Ranking, suppression and matching of a bundle's poses, against the evaluation and pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kptk.analysis.bundle import Bundle
from kptk.analysis.matching import (
    METRICS,
    found_people,
    match_poses,
    rank_candidates,
    rank_given,
    statistics,
)
from kptk.analysis.options import AnalysisOptions
from kptk.evaluation import coco_stats
from kptk.evaluation.scores import Scoring, score_poses
from kptk.geometry import box_area
from kptk.instances import Instances
from tests.analysis.bundles import bundle as make
from tests.analysis.bundles import found, person, random_bundle

OPTIONS = AnalysisOptions()


def content_of(bundle: Bundle) -> dict[str, Any]:
    """The bundle's people as a COCO document."""
    people = bundle.people
    annotations = []
    for g in range(len(people)):
        x1, y1, x2, y2 = people.boxes[g].tolist()
        annotations.append({
            "id": g + 1, "image_id": int(bundle.image_ids[people.image[g]]), "category_id": 1,
            "iscrowd": int(people.crowd[g]), "area": float(people.areas[g]),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "keypoints": np.nan_to_num(people.keypoints[g]).ravel().tolist(),
            "num_keypoints": 0 if people.ignored[g] else int(people.labelled_keypoints[g].sum()),
        })  # fmt: skip
    return {"images": [{"id": int(i)} for i in bundle.image_ids], "annotations": annotations,
            "categories": [{"id": 1}]}  # fmt: skip


def records_of(bundle: Bundle, image: Any, points: Any, score: Any, crop: Any) -> list[Any]:
    """Poses as the evaluation takes them."""
    return [
        {"image_id": int(bundle.image_ids[i]), "category_id": 1, "score": float(s),
         "keypoints": p.ravel().tolist(), "crop_area": float(a)}
        for i, p, s, a in zip(image, points, score, box_area(crop), strict=True)
    ]  # fmt: skip


def ranked(records: list[dict[str, Any]], scoring: Scoring, bundle: Bundle) -> list[dict[str, Any]]:
    people = Instances.from_results(records, len(bundle.skeleton))
    return score_poses(people, scoring, bundle.skeleton.sigmas).to_results()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.01, 0.5])
def test_end_to_end_equals_the_evaluation(seed: int, threshold: float) -> None:
    bundle = random_bundle(seed)
    rows = bundle.candidates
    records = records_of(bundle, rows.image, rows.keypoints, rows.scores, rows.crops)
    scored = ranked(records, Scoring("ppdet", 0.9, threshold), bundle)
    poses = rank_candidates(bundle, OPTIONS).kept(threshold)
    assert sorted(poses.scores) == pytest.approx(sorted(record["score"] for record in scored))
    expected = coco_stats(content_of(bundle), scored, "keypoints", bundle.skeleton.sigmas)
    actual = statistics(match_poses(bundle, poses, OPTIONS))
    assert actual == pytest.approx({name: expected[name] for name in METRICS}, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_given_equals_the_evaluation(seed: int) -> None:
    bundle = random_bundle(seed)
    people = bundle.people
    rows = np.flatnonzero(people.labelled & ~people.crowd)
    ones = np.ones(len(rows))
    records = records_of(
        bundle, people.image[rows], people.given[rows], ones, bundle.given_crops[rows]
    )
    scored = ranked(records, Scoring(), bundle)
    expected = coco_stats(content_of(bundle), scored, "keypoints", bundle.skeleton.sigmas)
    actual = statistics(match_poses(bundle, rank_given(bundle, OPTIONS).kept(), OPTIONS))
    assert actual == pytest.approx({name: expected[name] for name in METRICS}, abs=1e-12)


BOX = (100, 100, 200, 300)


def test_a_suppressed_pose_suppresses_nothing() -> None:
    # each resembles the next one, the first does not resemble the third: 1 and 3 stay
    boxes = [(100 + step, 100, 200 + step, 300) for step in (0, 6, 12)]
    bundle = make([person(BOX)], [found(b, s) for b, s in zip(boxes, (0.9, 0.8, 0.7), strict=True)])
    options = AnalysisOptions(oks_nms=0.95)
    assert rank_candidates(bundle, options).kept().candidate.tolist() == [0, 2]


def test_a_candidate_below_the_threshold_suppresses_nothing() -> None:
    better = found(BOX, 0.4)
    better["points"][:, 2] = 1.0
    bundle = make([person(BOX)], [found(BOX, 0.5), better])
    bundle.candidates.keypoints[0, :, 2] = 0.3
    ranking = rank_candidates(bundle, OPTIONS)
    assert ranking.kept(0.5).candidate.tolist() == [0]
    assert ranking.kept(0.01).candidate.tolist() == [1]


def test_a_file_of_poses_is_taken_as_it_is() -> None:
    bundle = make([person(BOX)], [found(BOX, 0.9), found(BOX, 0.8)], two_stage=False)
    poses = rank_candidates(bundle, OPTIONS).kept()
    assert poses.scores.tolist() == [0.9, 0.8]


def test_candidates_without_a_pose_are_left_out() -> None:
    bundle = make([person(BOX)], [found(BOX), found(BOX, points=np.full((17, 3), np.nan))])
    assert rank_candidates(bundle, OPTIONS).kept().candidate.tolist() == [0]


def test_small_people_need_not_be_found_above_a_least_area() -> None:
    small = (300, 300, 310, 320)
    bundle = make([person(BOX), person(small)], [found(BOX), found(small)])
    poses = rank_candidates(bundle, OPTIONS).kept()
    matches = match_poses(bundle, poses, OPTIONS, min_area=1024)
    assert matches.gt_ignored.tolist() == [[False, True]]
    assert found_people(matches, 2).tolist() == [True, True]
    assert matches.ignored[0, 0].tolist() == [False, True]
