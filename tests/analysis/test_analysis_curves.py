"""Errors taken away one after another: precision against recall after each step."""

from __future__ import annotations

import numpy as np
import pytest

from kptk.analysis.options import AnalysisOptions
from kptk.analysis.tables import stacked_curves
from kptk.errors import InputError
from tests.analysis.bundles import bundle, found, person, pose, random_bundle

OPTIONS = AnalysisOptions()
A, B, FAR = (100, 100, 200, 400), (300, 100, 400, 400), (460, 100, 560, 400)
AREA = 30_000.0


def shifted(box: tuple[int, ...], joints: slice, by: float) -> np.ndarray:
    points = pose(box, 0.9)
    points[joints, 0] += by
    return points


def means(*arguments: object, threshold: float = 0.5) -> dict[str, float]:
    curves = stacked_curves(*arguments, threshold)  # type: ignore[arg-type]
    return {str(name): float(value) for name, value in curves.mean().items()}


def test_perfect_pipeline_has_nothing_to_take_away() -> None:
    after = means(bundle([person(A)], [found(A)]), OPTIONS)
    assert after["as it is"] == pytest.approx(1) and after["missed people added"] == 1


def test_missed_person_is_the_last_area() -> None:
    """Two people, one found: recall ends at .5, so 51 of COCO's 101 recalls have precision 1."""
    after = means(bundle([person(A), person(B)], [found(A)]), OPTIONS)
    assert after["as it is"] == after["false alarms dropped"] == pytest.approx(51 / 101)
    assert after["missed people added"] == 1


def test_false_alarm_is_an_area_of_its_own() -> None:
    """The false alarm has the better score: precision 1/2 throughout, 1 once it is gone."""
    scene = bundle([person(A)], [found(A, 0.6), found(FAR, 0.9)])
    after = means(scene, OPTIONS)
    assert after["as it is"] == after["boxes fixed"] == pytest.approx(0.5)
    assert after["false alarms dropped"] == pytest.approx(1)


def test_missed_joints_are_charged_to_miss() -> None:
    """Ten of 17 joints far off: OKS 7/17 < .5. Fixing jitter changes nothing, fixing miss all."""
    points = shifted(A, slice(0, 10), 300.0)
    after = means(bundle([person(A)], [found(A, points=points)]), OPTIONS)
    assert after["as it is"] == after["swap fixed"] == pytest.approx(0)
    assert after["miss fixed"] == pytest.approx(1)


def test_bad_box_is_charged_to_boxes() -> None:
    """A box on the head alone: its joints stay in its crop, the true box makes all right."""
    head = (100, 100, 200, 180)
    after = means(bundle([person(A)], [found(head, points=pose(head))]), OPTIONS, threshold=0.9)
    assert after["miss fixed"] == pytest.approx(0)
    assert after["boxes fixed"] == pytest.approx(1)


def test_as_it_is_equals_the_evaluation() -> None:
    """The first curve's mean is AP50 of the oracle game's v(nobody)."""
    from kptk.analysis.oracle import play

    for seed in range(3):
        scene = random_bundle(seed)
        expected = play(scene, OPTIONS).values["attainable"][""]
        assert means(scene, OPTIONS)["as it is"] == pytest.approx(expected["AP50"], abs=1e-12)
        after = means(scene, OPTIONS, threshold=0.75)
        assert after["as it is"] == pytest.approx(expected["AP75"], abs=1e-12)


def test_without_boxes_there_is_no_step_for_them() -> None:
    names = list(stacked_curves(random_bundle(1, two_stage=False), OPTIONS).columns)
    assert "boxes fixed" not in names and names[-1] == "missed people added"


def test_other_thresholds_are_refused() -> None:
    with pytest.raises(InputError, match=r"one of \.5, \.55"):
        stacked_curves(bundle([person(A)], [found(A)]), OPTIONS, 0.42)
