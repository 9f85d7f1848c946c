"""Training batches: order, repeatability, and what a batch holds."""

from __future__ import annotations

import numpy as np
import pytest

from kptk.training import data


def test_every_sample_once_an_epoch_and_no_gap_between_epochs() -> None:
    steps = [data.sample_order(10, 4, step, seed=3) for step in range(5)]  # two epochs of ten
    flat = [index for step in steps for index in step]
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10] != flat[10:]


def test_the_order_depends_on_the_seed_and_on_nothing_else() -> None:
    assert data.sample_order(50, 8, 3, seed=1) == data.sample_order(50, 8, 3, seed=1)
    assert data.sample_order(50, 8, 3, seed=1) != data.sample_order(50, 8, 3, seed=2)


def test_a_data_set_smaller_than_a_batch_is_repeated() -> None:
    assert sorted(data.sample_order(2, 6, 0, seed=0)) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([], np.zeros((0, 4))),
        ([[1, 2, 3, 4]], [[1, 2, 4, 6]]),
    ],
)
def test_boxes_become_corners(boxes: list[list[float]], expected: object) -> None:
    np.testing.assert_array_equal(data._xyxy(boxes), expected)  # type: ignore[arg-type]
