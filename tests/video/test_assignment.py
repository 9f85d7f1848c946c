"""kptk.video against every permutation, and against SciPy's where it is installed."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from kptk.video import best_pairs


def best_total(similarity: np.ndarray, least: float) -> float:
    """The greatest sum, by trying every pairing."""
    weight = np.where(similarity >= least, similarity, 0.0)
    if len(weight) > weight.shape[1]:
        weight = weight.T
    columns = range(weight.shape[1])
    return max(
        sum(weight[row, column] for row, column in enumerate(chosen))
        for chosen in permutations(columns, len(weight))
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 3), (4, 6), (6, 4), (5, 5)])
@pytest.mark.parametrize("least", [0.0, 0.4, 0.8])
def test_the_sum_is_the_greatest_there_is(shape: tuple[int, int], least: float) -> None:
    rng = np.random.default_rng(shape[0] * 10 + shape[1])
    for _ in range(20):
        similarity = rng.random(shape)
        rows, columns = best_pairs(similarity, least)
        assert len(set(rows)) == len(rows) == len(set(columns))
        assert (similarity[rows, columns] >= least).all()
        assert (np.diff(rows) > 0).all()
        total = similarity[rows, columns].sum()
        assert total == pytest.approx(best_total(similarity, least))


def test_as_scipy_on_many_people() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(1)
    for shape in ((30, 30), (40, 25), (25, 40)):
        similarity = rng.random(shape)
        similarity[rng.random(shape) < 0.7] = 0.0
        rows, columns = best_pairs(similarity, 0.1)
        weight = np.where(similarity >= 0.1, similarity, 0.0)
        expected = weight[optimize.linear_sum_assignment(-weight)].sum()
        assert similarity[rows, columns].sum() == pytest.approx(expected)


def test_the_nearest_first_would_be_wrong() -> None:
    # .9 first leaves 0 for the other: by hand, .8 + .7 is more
    rows, columns = best_pairs(np.array([[0.9, 0.8], [0.7, 0.0]]), 0.1)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 2)])
def test_nothing_to_pair(shape: tuple[int, int]) -> None:
    rows, columns = best_pairs(np.zeros(shape), 0.2)
    assert len(rows) == len(columns) == 0
