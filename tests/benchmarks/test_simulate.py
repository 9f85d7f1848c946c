"""Injected faults must come out as injected; cut boxes are never the pose model's fault."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.simulate import NO_FAULTS, Faults, gather, simulate
from benchmarks.stickfigures import HEIGHT, WIDTH, draw_world
from kptk.analysis.bundle import Bundle
from kptk.analysis.labels import label_people
from kptk.analysis.matching import assign, rank_candidates
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracle import idealise, play
from kptk.analysis.verdict import Evidence, Normal, decide

OPTIONS = AnalysisOptions(n_bootstrap=200)
IMAGES = 350


def made(faults: Faults, seed: int, n_images: int = IMAGES) -> Bundle:
    rng = np.random.default_rng(seed)
    return simulate(draw_world(n_images, rng), faults, rng)


@cache
def observed(faults: Faults, seed: int = 1) -> Evidence:
    return gather(made(faults, seed), OPTIONS)


def without_faults() -> Normal:
    normal = observed(NO_FAULTS, seed=2)
    return Normal(normal.game, normal.draws, normal.gains)


# ANALYSIS.md: simulated faults must come out as injected, attainable oracle, AP.
FAULTS = {
    "a quarter of the people missed": (Faults(missed=0.25), "detector", "detector"),
    "a bad pose model": (Faults(noise=2.0), "keypoints", "keypoints"),
    "two boxes in five truncated": (Faults(truncated=0.4), "detector", "detector"),
    "no fault": (NO_FAULTS, "keypoints", "nothing-stands-out"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_come_out_as_injected(fault: str) -> None:
    faults, alone, with_baseline = FAULTS[fault]
    evidence = observed(faults)
    assert decide(evidence, OPTIONS).name == alone
    assert decide(evidence, OPTIONS, without_faults()).name == with_baseline


def test_a_low_score_is_the_thresholds_fault() -> None:
    verdict = decide(observed(Faults(faint=0.3)), OPTIONS, without_faults())
    assert verdict.name == "threshold-or-scores"


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_boxes_cut_at_the_hips_are_box_limited_and_never_pose(share: float) -> None:
    # 13 of 17 joints are an OKS of .76, enough at .5; half of the cut boxes have an IoU below .5
    options = AnalysisOptions(oks_threshold=0.85, match_iou=0.3)
    bundle = made(Faults(hips=share), 3)
    # a flawless pose model: within its crop every joint is as near as can be
    owner = assign(bundle, bundle.candidates.scores > 0, options.match_iou).person
    poses = rank_candidates(bundle, options).poses
    ideal = idealise(bundle, poses, owner[poses.candidate], "perfect", options)
    bundle.candidates.keypoints[poses.candidate] = ideal.keypoints
    labels = label_people(bundle, options).label[bundle.evaluated]
    assert (labels == "box-limited").sum() > 20
    assert not np.isin(labels, ["pose", "box-sensitive", "wrong-person"]).any()


def test_joints_stay_in_their_crops() -> None:
    bundle = made(NO_FAULTS, 4, 40)
    found = bundle.candidates
    low, high = found.crops[:, None, :2], found.crops[:, None, 2:]
    assert (found.keypoints[..., :2] >= low - 1e-9).all()
    assert (found.keypoints[..., :2] <= high + 1e-9).all()
    assert bundle.people.has_given.all()


def test_worlds_look_like_annotations() -> None:
    world = draw_world(300, np.random.default_rng(0))
    people = world.people
    assert (np.diff(people.image) >= 0).all()
    box = people.boxes
    assert (box >= 0).all() and (box[:, ::2] <= WIDTH).all() and (box[:, 1::2] <= HEIGHT).all()
    there = people.keypoints[people.labelled_keypoints]
    assert ((there[:, :2] >= 0) & (there[:, :2] <= (WIDTH, HEIGHT))).all()
    assert np.isnan(people.keypoints[~people.labelled_keypoints][:, :2]).all()
    assert set(np.unique(people.keypoints[..., 2])) == {0, 1, 2}
    assert people.ignored.any() and not people.ignored.all()
    assert (people.areas[~people.ignored] >= 32**2).all()


def test_a_seed_gives_the_same_data() -> None:
    one, other = (play(made(Faults(taken=0.2), 5, 30), OPTIONS).phi() for _ in range(2))
    assert one == other
