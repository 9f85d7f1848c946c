"""The threshold sweep: each row is what kptk.evaluate says with that threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kptk
from tests.fake_pair import document, fake_pipeline, person, write_data

A, B, C, D = (10, 10, 50, 90), (60, 10, 100, 90), (110, 10, 150, 90), (20, 20, 60, 95)
# on image 2: background at .6, one person at .3, the same again at .2; nobody finds D on image 3
FOUND = {
    1: [(*A, 0.75), (*B, 0.8)],
    2: [(150, 50, 190, 90, 0.6), (*C, 0.3), (112, 12, 152, 92, 0.2)],
}


@pytest.fixture
def evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[kptk.Evaluation, kptk.KeypointData]:
    monkeypatch.setenv("KPTK_PROGRESS", "0")
    people = [person(1, 1, A), person(2, 1, B), person(3, 2, C), person(4, 3, D)]
    data = kptk.load_coco(write_data(tmp_path / "set", document(people, 3)), split="val")
    return kptk.evaluate(fake_pipeline(FOUND), data), data


def test_equals_evaluation(evaluated: tuple[kptk.Evaluation, kptk.KeypointData]) -> None:
    """AP by pycocotools on the same saved predictions."""
    ev, data = evaluated
    sweep = kptk.analyze(ev).sweep.set_index("threshold")
    for threshold in (0.2, 0.25, 0.5, 0.65, 0.75):
        expected = kptk.evaluate(
            predictions=ev.predictions, annotations=data, det_threshold=threshold
        )
        assert expected.end_to_end is not None
        for name in ("AP", "AP50", "AP75"):
            assert sweep[name][threshold] == pytest.approx(expected.end_to_end[name], abs=1e-12)


def test_rates_by_hand(evaluated: tuple[kptk.Evaluation, kptk.KeypointData]) -> None:
    sweep = kptk.analyze(evaluated[0]).sweep.set_index("threshold")
    thresholds = [0.2, 0.5, 0.75, 0.8, 0.95]
    assert sweep["missed"][thresholds].tolist() == [1, 2, 2, 3, 4]
    assert sweep["recall"][thresholds].tolist() == [0.75, 0.5, 0.5, 0.25, 0]
    assert sweep["precision"][0.25] == pytest.approx(3 / 4)
    assert sweep["precision"][0.5] == pytest.approx(2 / 3)
    assert np.isnan(sweep["precision"][0.95])
    assert sweep.index[sweep["chosen"]].tolist() == [0.5]
