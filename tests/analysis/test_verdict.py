"""The verdict's rules, one row each, and its words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kptk
from benchmarks.simulate import gather
from kptk.analysis.matching import METRICS
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracle import LEVELS, MEMBERS, Draws, Game
from kptk.analysis.verdict import Baseline, Evidence, Normal, decide
from kptk.analysis.whatif import FREE, GROUPS, LOWER_THRESHOLD, PERFECT_RANKING, WhatIf
from kptk.errors import DataError, InputError
from tests.analysis.bundles import random_bundle
from tests.fake_pair import document, fake_pipeline, person, write_data

OPTIONS = AnalysisOptions()


def game_of(detector: float, keypoints: float) -> Game:
    """A game without interaction in which the two cost so much."""
    top = 0.9
    row = (top - detector - keypoints, top - keypoints, top - detector, top)
    values = {who: dict.fromkeys(METRICS, ap) for who, ap in zip(MEMBERS, row, strict=True)}
    return Game(dict.fromkeys(LEVELS, values), {level: {} for level in LEVELS})


def draws_of(detector: float, keypoints: float, spread: float, seed: int = 0) -> Draws:
    """400 draws round the two costs, standard deviation ``spread`` each."""
    d, p = np.random.default_rng(seed).normal([detector, keypoints], spread, (400, 2)).T
    rows = np.stack([0.9 - d - p, 0.9 - p, 0.9 - d, np.full(400, 0.9)], axis=1)
    return Draws(dict.fromkeys(LEVELS, np.repeat(rows[:, :, None], 3, axis=2)), 0)


def change(name: str, gain: float) -> WhatIf:
    gains = dict.fromkeys(METRICS, gain)
    return WhatIf(name, GROUPS[1] if name in FREE else GROUPS[2], gains, gains, 1, "")


def evidence(
    detector: float, keypoints: float, spread: float = 0.005, *, free: float = 0.0,
    ranking: float = 0.0, labels: Mapping[str, int] | None = None, **changes: Any,
) -> Evidence:  # fmt: skip
    made = Evidence(
        game_of(detector, keypoints), draws_of(detector, keypoints, spread), 200, 800,
        [change(LOWER_THRESHOLD, free), change(PERFECT_RANKING, ranking),
         change("fix miss", 0.04), change("fix swap", 0.02)],
        labels or {}, 0.5,
    )  # fmt: skip
    return replace(made, **changes)


CASES = {
    "the detector costs more": (evidence(0.2, 0.05), "detector"),
    "the keypoint model costs more": (evidence(0.05, 0.2), "keypoints"),
    "both cost alike": (evidence(0.1, 0.1), "both"),
    "neither costs anything": (evidence(0.002, 0.002), "nothing-stands-out"),
    "more, but not surely more than a point": (evidence(0.015, 0.0), "nothing-stands-out"),
    "the threshold alone gains half": (evidence(0.2, 0.05, free=0.101), "threshold-or-scores"),
    "the ranking alone gains half": (evidence(0.05, 0.2, ranking=0.11), "threshold-or-scores"),
    "the threshold gains less than half": (evidence(0.2, 0.05, free=0.09), "detector"),
    "a free gain below a point": (evidence(0.01, 0.0, free=0.009), "nothing-stands-out"),
    "49 images": (evidence(0.2, 0.05, n_images=49), "too-little-data"),
    "99 people": (evidence(0.2, 0.05, n_people=99), "too-little-data"),
    "a wide interval": (evidence(0.2, 0.05, 0.03), "too-little-data"),
}


@pytest.mark.parametrize("case", CASES)
def test_names(case: str) -> None:
    given, name = CASES[case]
    verdict = decide(given, OPTIONS)
    assert verdict.name == name
    assert verdict.sentence and not verdict.baseline


def test_thresholds_are_parameters() -> None:
    given = evidence(0.2, 0.05, n_images=30, n_people=40)
    assert decide(given, AnalysisOptions(min_images=10, min_people=10)).name == "detector"
    assert decide(evidence(0.2, 0.05), AnalysisOptions(min_effect=0.25)).name != "detector"
    wide = evidence(0.2, 0.05, 0.03)
    assert decide(wide, AnalysisOptions(max_width=0.3)).name == "detector"
    free = evidence(0.2, 0.05, free=0.101)
    assert decide(free, AnalysisOptions(free_share=0.6)).name == "detector"


def normal(detector: float, keypoints: float, **gains: float) -> Normal:
    named = {LOWER_THRESHOLD: gains.get("free", 0.0), PERFECT_RANKING: gains.get("ranking", 0.0)}
    draws = draws_of(detector, keypoints, 0.005, seed=1)
    return Normal(game_of(detector, keypoints), draws, named)


@pytest.mark.parametrize(
    ("given", "baseline", "alone", "with_baseline"),
    [
        (evidence(0.15, 0.14), normal(0.08, 0.13), "both", "detector"),
        (evidence(0.08, 0.2), normal(0.08, 0.13), "keypoints", "keypoints"),
        (evidence(0.08, 0.13), normal(0.08, 0.13), "keypoints", "nothing-stands-out"),
        (evidence(0.08, 0.2, ranking=0.1), normal(0.08, 0.13, ranking=0.1),
         "threshold-or-scores", "keypoints"),
        (evidence(0.18, 0.13, free=0.08), normal(0.08, 0.13), "detector", "threshold-or-scores"),
    ],
)  # fmt: skip
def test_baseline(given: Evidence, baseline: Normal, alone: str, with_baseline: str) -> None:
    assert decide(given, OPTIONS).name == alone
    verdict = decide(given, OPTIONS, baseline)
    assert (verdict.name, verdict.baseline) == (with_baseline, True)


def test_inputs_and_thresholds_are_told() -> None:
    verdict = decide(evidence(0.2, 0.05), OPTIONS, normal(0.08, 0.13))
    inputs = verdict.inputs
    assert inputs["phi_detector"] == pytest.approx(0.2)
    assert inputs["baseline_phi_keypoints"] == pytest.approx(0.13)
    assert inputs["cost_detector"] == pytest.approx(0.12)
    assert inputs["cost_keypoints"] == pytest.approx(-0.08)
    assert inputs["v_nobody"] == pytest.approx(0.65)
    low, high = inputs["cost_detector_interval"]
    assert low < 0.12 < high
    assert verdict.thresholds["certainty"] == 0.95
    assert verdict.thresholds["min_images"] == 50


def test_the_detectors_reason_names_a_threshold() -> None:
    labels = {"below-threshold": 61, "never-detected": 39, "ok": 700}
    sweep = [(0.01, 0.682), (0.31, 0.681), (0.4, 0.66), (0.5, 0.65), (0.6, 0.6)]
    reason = decide(evidence(0.2, 0.05, labels=labels, sweep=sweep), OPTIONS).reason
    assert "Of the 100 people whom the detector fails, 61 % have a box whose score is" in reason
    assert "Lower the threshold from 0.5 to 0.31 first: +3.1 AP." in reason


def test_a_threshold_is_only_named_if_it_is_the_reason() -> None:
    labels = {"below-threshold": 10, "box-limited": 39}
    sweep = [(0.3, 0.7), (0.5, 0.65)]
    reason = decide(evidence(0.2, 0.05, labels=labels, sweep=sweep), OPTIONS).reason
    assert "cuts off" in reason and "Lower" not in reason


def test_the_keypoint_models_reason_names_the_joint_error() -> None:
    labels = {"pose": 30, "wrong-person": 10, "never-detected": 100}
    reason = decide(evidence(0.05, 0.2, labels=labels), OPTIONS).reason
    assert reason.startswith("Of the 40 people whom the keypoint model fails, 75 % get a bad pose")
    assert reason.endswith("Of the joint errors misses cost most: 4.0 AP if put right alone.")


def test_too_little_data_says_what_is_missing() -> None:
    assert "49 images; 50 are needed" in decide(evidence(0.2, 0.05, n_images=49), OPTIONS).reason
    assert "wider than 10.0" in decide(evidence(0.2, 0.05, 0.03), OPTIONS).reason
    without = replace(evidence(0.2, 0.05), draws=draws_of(0, 0, 0.1))
    without.draws.values["attainable"][:] = np.nan
    assert "not known" in decide(without, OPTIONS).reason


def test_gathered_evidence() -> None:
    bundle = random_bundle(1)
    options = AnalysisOptions(n_bootstrap=5)
    made = gather(bundle, options)
    assert sum(made.labels.values()) == made.n_people == bundle.evaluated.sum()
    assert set(made.gains) == set(FREE)
    assert decide(made, options).name == "too-little-data"


# What is normal, kept in a file.


A, B, C = (10, 10, 50, 90), (60, 10, 100, 90), (110, 10, 150, 90)
FOUND = {1: [(*A, 0.9), (*B, 0.8)], 2: [(*C, 0.3)]}


@pytest.fixture
def evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> kptk.Evaluation:
    monkeypatch.setenv("KPTK_PROGRESS", "0")
    people = [person(1, 1, A), person(2, 1, B), person(3, 2, C)]
    data = kptk.load_coco(write_data(tmp_path / "set", document(people, 3)), split="val")
    return kptk.evaluate(fake_pipeline(FOUND), data)


def test_file_gives_the_same(evaluation: kptk.Evaluation, tmp_path: Path) -> None:
    own = kptk.analyze(evaluation, n_bootstrap=7).as_baseline
    assert own is not None
    own.save(tmp_path)
    again = Baseline.load(tmp_path)
    assert (again.name, again.normal.draws.paired_with) == ("set val", own.normal.draws.paired_with)
    assert again.normal.game.values == own.normal.game.values
    assert again.normal.gains == own.normal.gains
    for level, draws in own.normal.draws.values.items():
        assert draws.shape == (7, 4, 3)
        np.testing.assert_array_equal(again.normal.draws.values[level], draws)


def test_each_kind_of_baseline(evaluation: kptk.Evaluation, tmp_path: Path) -> None:
    first = kptk.analyze(evaluation, n_bootstrap=5)
    assert first.as_baseline is not None
    first.as_baseline.save(tmp_path)
    for baseline in (first, evaluation, tmp_path, str(tmp_path)):
        found = kptk.analyze(evaluation, baseline=baseline, n_bootstrap=5).baseline
        assert found is not None
        assert found.normal.game.values == first.as_baseline.normal.game.values
        np.testing.assert_array_equal(
            found.normal.draws.phi()[0], first.as_baseline.normal.draws.phi()[0]
        )


def test_no_baseline(evaluation: kptk.Evaluation, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="written by ErrorAnalysis"):
        kptk.analyze(evaluation, baseline=tmp_path)
    (tmp_path / "draws.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="is damaged"):
        kptk.analyze(evaluation, baseline=tmp_path)
    np.savez(tmp_path / "draws.npz", attainable_values=np.zeros((2, 2)))
    with pytest.raises(DataError, match="is damaged"):
        kptk.analyze(evaluation, baseline=tmp_path)
    with pytest.raises(InputError, match="Got int"):
        kptk.analyze(evaluation, baseline=3)  # type: ignore[arg-type]
    content = document([person(1, 1, A)], 1)
    record = {"image_id": 1, "category_id": 1, "score": 1.0}
    poses = [{**record, "keypoints": content["annotations"][0]["keypoints"]}]
    boxless = kptk.analyze(predictions=poses, annotations=content)
    with pytest.raises(InputError, match="these results have no boxes"):
        kptk.analyze(evaluation, baseline=boxless)
