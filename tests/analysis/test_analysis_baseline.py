"""What is normal, kept in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kptk
from kptk.analysis.verdict import Baseline
from kptk.errors import DataError, InputError
from tests.fake_pair import document, fake_pipeline, person, write_data

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
