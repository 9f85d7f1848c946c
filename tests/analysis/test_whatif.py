"""Isolated changes: coco-analyze's golden numbers, and scenes of one or two people by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kptk.analysis.bundle import Bundle, bundle_of_results
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.whatif import (
    GROUPS,
    JOINT_FIXES,
    LOWER_THRESHOLD,
    PERFECT_RANKING,
    WhatIf,
    what_ifs,
)
from kptk.evaluation.ground_truth import read_truth
from kptk.skeleton import COCO17
from tests.analysis.bundles import bundle as make
from tests.analysis.bundles import found, person, pose, random_bundle

OPTIONS = AnalysisOptions()
ONE, TWO = (100, 100, 200, 300), (300, 100, 400, 300)
NOWHERE = (500, 300, 560, 420)
HALF = 51 / 101  # AP50 with one of two people found: 51 of COCO's 101 recalls are reached


def changes(bundle: Bundle, options: AnalysisOptions = OPTIONS) -> dict[str, WhatIf]:
    return {change.name: change for change in what_ifs(bundle, options)}


def off(box: tuple[int, ...], similarity: float) -> np.ndarray:
    """A pose whose every joint has that similarity, too high up."""
    points = pose(box, 0.9)
    points[:, 1] -= np.sqrt(-2 * np.log(similarity) * 20_000) * 2 * np.array(COCO17.sigmas)
    return points


# ANALYSIS.md: the original coco-analyze with its error of the distance put right, area from 32^2.
GOLDEN = {"fix miss": 0.031614, "fix swap": 0.0, "fix inversion": 0.000685, "fix jitter": 0.000685}


def test_golden_numbers(reference_dir: Path) -> None:
    folder = reference_dir / "eval"
    truth = read_truth(folder / "coco4_gt.json", "keypoints", None)
    bundle = bundle_of_results(folder / "coco4_predictions.json", truth)
    found = changes(bundle, AnalysisOptions(min_area=32.0**2))
    assert {name: round(found[name].delta["AP"], 6) for name in GOLDEN} == GOLDEN
    counts = {name: found[name].changed for name in GOLDEN}
    assert counts == {"fix miss": 10, "fix swap": 0, "fix inversion": 3, "fix jitter": 8}


def test_missed_people() -> None:
    change = changes(make([person(ONE), person(TWO)], [found(ONE)]))["add missed people"]
    assert change.changed == 1
    assert change.delta["AP50"] == pytest.approx(1 - HALF)


def test_people_found_by_a_pose_on_a_bad_box_are_not_missed() -> None:
    bundle = make([person(ONE)], [found((600, 400, 630, 470), points=pose(ONE, 0.9))])
    assert changes(bundle)["add missed people"].changed == 0


def test_people_with_a_bad_pose_on_their_box_are_not_missed() -> None:
    bundle = make([person(ONE)], [found(ONE, points=pose(NOWHERE, 0.9))])
    assert changes(bundle)["add missed people"].changed == 0


def test_boxes() -> None:
    # IoU .25: near, but too little; the pose on it is nobody's, the one on the true box is good
    bad = found((150, 100, 250, 180), points=pose(NOWHERE, 0.9))
    change = changes(make([person(ONE)], [bad]))["fix boxes"]
    assert change.changed == 1
    assert change.delta["AP"] == pytest.approx(1)


def test_background_and_duplicates() -> None:
    wrong, second = found(NOWHERE, 0.95), found((105, 100, 205, 300), 0.93, points=pose(TWO))
    second["points"][:, 2] = 0.9
    bundle = make([person(ONE)], [found(ONE, 0.9), wrong])
    assert changes(bundle)["drop background"].delta["AP50"] == pytest.approx(0.5)
    bundle = make([person(ONE)], [found(ONE, 0.96), second, found(NOWHERE, 0.5)])
    assert changes(bundle)["drop duplicates"].changed == 1


def test_threshold() -> None:
    bundle = make([person(ONE), person(TWO)], [found(ONE), found(TWO, 0.3)])
    change = changes(bundle)[LOWER_THRESHOLD]
    assert (change.changed, change.delta["AP50"]) == (1, pytest.approx(1 - HALF))


def test_ranking() -> None:
    bundle = make([person(ONE)], [found(NOWHERE, 0.95), found(ONE, 0.6)])
    change = changes(bundle)[PERFECT_RANKING]
    assert change.values["AP"] == pytest.approx(1)
    assert change.delta["AP"] == pytest.approx(0.5)


def test_a_second_pose_of_a_person_is_ranked_last() -> None:
    # similarities .7 and .6 throughout: the second pose of the first person must not come second
    bundle = make(
        [person(ONE), person(TWO)],
        [found(ONE, 0.6), found(ONE, 0.9, points=off(ONE, 0.7)),
         found(TWO, 0.7, points=off(TWO, 0.6))],
    )  # fmt: skip
    change = changes(bundle)[PERFECT_RANKING]
    assert change.values["AP50"] == pytest.approx(1)


def mirrored(box: tuple[int, ...]) -> np.ndarray:
    return pose(box, 0.9)[COCO17.flip_order]


def test_whole_people_flipped() -> None:
    found_changes = changes(make([person(ONE)], [found(ONE, points=mirrored(ONE))]))
    assert found_changes["flip whole people"].changed == 1
    assert found_changes["flip whole people"].values["AP"] == pytest.approx(1)


def test_a_missed_joint_becomes_a_jitter_and_a_jitter_good() -> None:
    # all 17 joints of one person at similarity s: OKS is s, so AP says which thresholds it reaches
    def at(similarity: float) -> Bundle:
        return make([person(ONE)], [found(ONE, points=off(ONE, similarity))])

    options = AnalysisOptions(good_similarity=0.87, miss_similarity=0.52)  # not on a threshold
    jitter = changes(at(0.62), options)["fix jitter"]  # .62 reaches 3 of COCO's 10, .87 reaches 8
    assert jitter.delta["AP"] == pytest.approx(0.8 - 0.3)
    miss = changes(at(0.3), options)["fix miss"]
    assert miss.changed == 17
    assert miss.values["AP"] == pytest.approx(0.1)


def test_single_joints() -> None:
    points = pose(ONE, 0.9)
    points[9, 0] += 80  # the left wrist
    found_changes = changes(make([person(ONE)], [found(ONE, points=points)]))
    assert found_changes["left_wrist"].changed == 1
    assert found_changes["left_wrist"].delta["AP"] == pytest.approx(0.1)  # 16/17 misses .95 alone
    assert found_changes["right_wrist"].changed == 0
    assert found_changes["right_wrist"].delta["AP"] == 0


def test_nothing_leaves_the_crop() -> None:
    # labelled is the right ankle alone, at y = 260; the crop ends at 235.8, where its similarity is
    # exp(-24.17^2 / (2 * 20000 * .178^2)) = .63: 3 of COCO's 10 thresholds, not the 8 of .87
    someone = person(ONE)
    someone["points"][:16, 2] = 0
    bundle = make([someone], [found((*ONE[:3], 205), points=pose(ONE, 0.9))])
    bundle.candidates.keypoints[0, 16, 1] = 225
    options = AnalysisOptions(good_similarity=0.87)
    assert changes(bundle, options)["right_ankle"].values["AP"] == pytest.approx(0.3)
    bundle.candidates.crops[0, 3] = 400
    assert changes(bundle, options)["right_ankle"].values["AP"] == pytest.approx(0.8)


def test_without_boxes_boxes_cannot_be_mended() -> None:
    names = changes(random_bundle(1, two_stage=False)).keys()
    assert names.isdisjoint({"add missed people", "fix boxes"})
    assert names >= {LOWER_THRESHOLD, PERFECT_RANKING, "drop background", *JOINT_FIXES.values()}


def test_groups() -> None:
    bundle = random_bundle(2)
    everything = what_ifs(bundle, OPTIONS)
    assert [change.group for change in everything] == sorted(
        (change.group for change in everything), key=GROUPS.index
    )
    for group in GROUPS:
        assert what_ifs(bundle, OPTIONS, groups=[group]) == [
            change for change in everything if change.group == group
        ]


def test_nobody_found() -> None:
    for change in what_ifs(make([person(ONE)], n_images=2), OPTIONS):
        if change.name != "add missed people":
            assert change.delta["AP"] == 0
