"""The bootstrap against pycocotools on the exploded data, and against the plain accumulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from kptk.analysis.bundle import Bundle
from kptk.analysis.matching import METRICS, Poses, match_poses, rank_candidates
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracle import (
    LEVELS,
    MEMBERS,
    bootstrap,
    draw_metrics,
    draw_weights,
    interval,
    play,
    weighted_metrics,
)
from kptk.evaluation import accumulate, coco_stats
from tests.analysis.bundles import bundle as make
from tests.analysis.bundles import found, person, random_bundle
from tests.analysis.test_analysis_poses import content_of
from tests.coco_cases import exploded

OPTIONS = AnalysisOptions()
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
