"""The oracle game, with values worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from kptk.analysis.bundle import Bundle, Poses
from kptk.analysis.matching import METRICS, match_poses, rank_candidates
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracle import (
    LEVELS,
    MEMBERS,
    bootstrap,
    draw_metrics,
    draw_weights,
    interval,
    oracle_joints,
    play,
    weighted_metrics,
)
from kptk.errors import InputError
from kptk.evaluation import accumulate, coco_stats
from kptk.geometry import clip_to, keypoint_similarity
from tests.analysis.bundles import bundle as make
from tests.analysis.bundles import found, person, pose, random_bundle
from tests.analysis.test_matching import content_of
from tests.coco_cases import exploded

OPTIONS = AnalysisOptions()
ONE, TWO = (100, 100, 200, 300), (300, 100, 400, 300)


def shifted(box: tuple[int, ...], by: float) -> np.ndarray:
    points = pose(box, 0.9)
    points[:, 0] += by
    return points


def values(bundle, level: str = "attainable", metric: str = "AP50") -> list[float]:
    game = play(bundle, OPTIONS)
    return [game.values[level][who][metric] for who in MEMBERS]


# COCO reads precision at 101 recalls: with one of two people found, 51 of them are reached.
HALF = 51 / 101


def test_a_missed_person_is_the_detectors() -> None:
    bundle = make([person(ONE), person(TWO)], [found(ONE)])
    assert values(bundle) == pytest.approx([HALF, 1, HALF, 1])
    assert play(bundle, OPTIONS).phi(metric="AP50") == pytest.approx((1 - HALF, 0, 0))


def test_a_bad_pose_is_the_pose_models() -> None:
    wrong = shifted(TWO, 90)
    bundle = make([person(ONE), person(TWO, given=wrong)], [found(ONE), found(TWO, points=wrong)])
    assert values(bundle) == pytest.approx([HALF, HALF, 1, 1])
    assert play(bundle, OPTIONS).phi(metric="AP50") == pytest.approx((0, 1 - HALF, 0))


def test_what_the_box_cuts_off_stays_the_detectors() -> None:
    # labelled are the ankles, at y = 220 and 260; the crop ends at 235.8: within it the second one
    # gets no nearer than exp(-24.17^2 / (2 * 20000 * .178^2)) = .63, so OKS is .815
    someone = person(ONE)
    someone["points"][:15, 2] = 0
    bundle = make([someone], [found((*ONE[:3], 205), points=pose(ONE, 0.9))])
    assert bundle.candidates.crops[0, 3] == pytest.approx(235.833, abs=0.001)
    bundle.candidates.keypoints[:] = clip_to(bundle.candidates.keypoints, bundle.candidates.crops)
    for level in LEVELS:
        as_it_is, d, p, both = values(bundle, level, "AP")
        assert as_it_is == p == pytest.approx(0.7)
        assert d == both == pytest.approx(1)


def test_a_box_below_iou_one_half_gets_no_oracle() -> None:
    half = (100, 100, 200, 190)
    bundle = make([person(ONE)], [found(half, points=shifted(ONE, 90))])
    assert values(bundle)[2] == 0


def test_a_duplicate_keeps_its_own_joints() -> None:
    second = found((102, 100, 202, 300), 0.8, points=shifted(ONE, 90))
    bundle = make([person(ONE)], [found(ONE), second])
    game = play(bundle, OPTIONS)
    matches = game.matches["perfect"]["P"]
    assert (matches.truth[0] >= 0).sum(axis=1).tolist() == [1] * 10


def test_boxes_of_the_truth_are_ranked_by_keypoint_score() -> None:
    # the good pose is the surer one: AP50 is reached in full up to recall 1/2, whatever the order
    # of the file; were both tied at 1, the bad pose would come first
    wrong = shifted(ONE, 90)
    wrong[:, 2] = 0.5
    bundle = make([person(ONE, given=wrong), person(TWO)], [found(ONE), found(TWO)])
    assert values(bundle)[1] == pytest.approx(HALF)


def test_costs_can_be_negative() -> None:
    # the pose on the detected box is good, the one on the true box is not
    bundle = make([person(ONE, given=shifted(ONE, 90))], [found(ONE)])
    detector, keypoints, _ = play(bundle, OPTIONS).phi(metric="AP50")
    assert detector == pytest.approx(-0.5)
    assert keypoints == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(8))
def test_parts_add_up_to_the_gap(seed: int) -> None:
    game = play(random_bundle(seed), OPTIONS)
    for level in LEVELS:
        for metric in METRICS:
            nobody, d, p, both = (game.values[level][who][metric] for who in MEMBERS)
            detector, keypoints, interaction = game.phi(level, metric)
            assert detector + keypoints == pytest.approx(both - nobody, abs=1e-15)
            assert interaction == pytest.approx(both - d - p + nobody, abs=1e-15)


def test_the_attainable_oracle_moves_bad_joints_to_085_and_leaves_good_ones() -> None:
    bundle = make([person(ONE)], [found(ONE)])
    points = shifted(ONE, 6.0)[None]
    crop = np.array([[0.0, 0.0, 640.0, 480.0]])
    person_of = np.zeros(1, np.intp)
    moved = oracle_joints(bundle, points, person_of, crop, 0.85)
    truth, area, sigmas = bundle.people.keypoints[:1], bundle.people.areas[:1], bundle.sigmas
    before = keypoint_similarity(points, truth, area, sigmas)
    after = keypoint_similarity(moved, truth, area, sigmas)
    assert (before < 0.85).any() and (before > 0.85).any()
    assert after == pytest.approx(np.maximum(before, 0.85), abs=1e-9)
    # by hand: sqrt(-2 ln .85 area) 2 sigma to the right of the nose
    reach = np.sqrt(-2 * np.log(0.85) * 20_000) * 2 * 0.026
    assert moved[0, 0, :2] == pytest.approx(truth[0, 0, :2] + (reach, 0))
    perfect = oracle_joints(bundle, points, person_of, crop, 1.0)
    assert perfect[..., :2] == pytest.approx(truth[..., :2])


def test_unlabelled_joints_stay() -> None:
    someone = person(ONE)
    someone["points"][3, 2] = 0
    bundle = make([someone], [found(ONE)])
    points = shifted(ONE, 50)[None]
    crop = np.array([[0.0, 0.0, 150.0, 480.0]])  # a regression may place joints outside
    moved = oracle_joints(bundle, points, np.zeros(1, np.intp), crop, 1.0)
    assert moved[0, 3] == pytest.approx(points[0, 3])


def test_without_boxes_there_is_no_game() -> None:
    with pytest.raises(InputError, match="needs the detector's boxes"):
        play(make([person(ONE)], [found(ONE)], two_stage=False), OPTIONS)


# The bootstrap against pycocotools on the exploded data, and against the plain accumulation.


BOX = (100, 100, 200, 300)


def poses_of(bundle: Bundle, tied: bool) -> Poses:
    poses = rank_candidates(bundle, OPTIONS).kept()
    return replace(poses, scores=np.round(poses.scores * 3) / 3) if tied else poses


@pytest.mark.parametrize("tied", [False, True], ids=["distinct scores", "tied scores"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_on_the_exploded_data(seed: int, tied: bool) -> None:
    bundle = random_bundle(seed)
    poses = poses_of(bundle, tied)
    weights = draw_weights(bundle.image_ids, 4, seed)
    drawn = weighted_metrics(match_poses(bundle, poses, OPTIONS), weights)
    results = [
        {"image_id": int(bundle.image_ids[i]), "category_id": 1, "score": float(s),
         "keypoints": p.ravel().tolist()}
        for i, p, s in zip(poses.image, poses.keypoints, poses.scores, strict=True)
    ]  # fmt: skip
    for row, counts in zip(drawn, weights, strict=True):
        often = dict(zip(bundle.image_ids.tolist(), counts.tolist(), strict=True))
        everything = exploded(content_of(bundle), results, often)
        expected = coco_stats(*everything, "keypoints", bundle.skeleton.sigmas)
        assert row == pytest.approx([expected[m] for m in METRICS], abs=1e-12, rel=0)


@pytest.mark.parametrize("tied", [False, True], ids=["distinct scores", "tied scores"])
def test_equals_the_plain_accumulation(tied: bool) -> None:
    bundle = random_bundle(11, n_images=40)
    matches = match_poses(bundle, poses_of(bundle, tied), OPTIONS)
    weights = draw_weights(bundle.image_ids, 50, 0)
    expected = [list(accumulate(matches, row, METRICS).values()) for row in weights]
    assert weighted_metrics(matches, weights) == pytest.approx(np.array(expected), abs=1e-12)


def test_all_ones_is_the_value_itself() -> None:
    game = play(random_bundle(3), OPTIONS)
    for level in LEVELS:
        for who in MEMBERS:
            matches = game.matches[level][who]
            ones = np.ones((1, len(matches.image_ids)), np.int64)
            values = list(game.values[level][who].values())
            assert weighted_metrics(matches, ones)[0] == pytest.approx(values, abs=1e-12)


def test_draws_are_paired_and_add_up() -> None:
    game = play(random_bundle(4), OPTIONS)
    draws = bootstrap(game, 20, seed=5)
    assert len(draws) == 20
    detector, keypoints, _ = draws.phi("perfect", "AP50")
    gap = draws.value("DP", "perfect", "AP50") - draws.value("", "perfect", "AP50")
    assert detector + keypoints == pytest.approx(gap, abs=1e-12)
    assert (draws.values["perfect"][:, :2] == draws.values["attainable"][:, :2]).all()
    again = draw_metrics(game.matches["attainable"]["D"], 20, seed=5)
    assert (again == draws.values["attainable"][:, 1]).all()


def test_other_images_are_drawn_otherwise() -> None:
    one = draw_weights(np.arange(1, 31), 5, 0)
    assert (one == draw_weights(np.arange(1, 31), 5, 0)).all()
    assert (one != draw_weights(np.arange(2, 32), 5, 0)).any()
    assert (one != draw_weights(np.arange(1, 31), 5, 1)).any()
    assert one.sum(axis=1).tolist() == [30] * 5


def test_draws_without_people_are_left_out_of_the_interval() -> None:
    bundle = make([person(BOX, 0)], [found(BOX, image=0)], n_images=3)
    drawn = draw_metrics(match_poses(bundle, poses_of(bundle, False), OPTIONS), 60)
    assert np.isnan(drawn[:, 0]).any()
    assert interval(drawn[:, 0], 0.95) == pytest.approx((1, 1), abs=1e-12)


def test_no_draws() -> None:
    draws = bootstrap(play(random_bundle(2), OPTIONS), 0)
    assert len(draws) == 0
    assert all(math.isnan(end) for end in interval(draws.phi()[0], 0.95))


def test_progress_counts_all_draws() -> None:
    done: list[int] = []
    bootstrap(play(random_bundle(2), OPTIONS), 7, progress=done.append)
    assert sum(done) == 6 * 7


def test_interval_by_hand() -> None:
    assert interval(np.arange(101.0), 0.9) == pytest.approx((5, 95))
