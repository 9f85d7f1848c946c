"""kptk.video against a plain One-Euro filter, from the paper's Algorithm 1."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kptk.errors import InputError
from kptk.video import OneEuro


class PlainOneEuro:
    """One number; Casiez, Roussel and Vogel, CHI 2012, Algorithm 1 and the appendix."""

    def __init__(self, min_cutoff: float, beta: float, d_cutoff: float) -> None:
        self.min_cutoff, self.beta, self.d_cutoff = min_cutoff, beta, d_cutoff
        self.x_hat = self.dx_hat = self.last = math.nan

    @staticmethod
    def alpha(rate: float, cutoff: float) -> float:
        tau = 1.0 / (2 * math.pi * cutoff)
        te = 1.0 / rate
        return 1.0 / (1.0 + tau / te)

    def filter(self, x: float, time: float) -> float:
        if math.isnan(self.x_hat):
            self.x_hat, self.dx_hat, self.last = x, 0.0, time
            return x
        rate = 1.0 / (time - self.last)
        self.last = time
        dx = (x - self.x_hat) * rate
        a = self.alpha(rate, self.d_cutoff)
        self.dx_hat = a * dx + (1 - a) * self.dx_hat
        cutoff = self.min_cutoff + self.beta * abs(self.dx_hat)
        a = self.alpha(rate, cutoff)
        self.x_hat = a * x + (1 - a) * self.x_hat
        return self.x_hat


def test_many_people_are_filtered_as_each_number_alone() -> None:
    """People come and go, joints are missing now and then, time steps vary."""
    rng = np.random.default_rng(0)
    people, joints, settings = 6, 5, (1.3, 0.02, 0.8)
    fast = OneEuro(*settings, forget=60.0)
    plain = {key: PlainOneEuro(*settings) for key in np.ndindex(people, joints, 2)}
    time = 3.0
    for _ in range(60):
        time += float(rng.choice([0.01, 0.033, 0.04, 0.5]))
        ids = np.flatnonzero(rng.random(people) < 0.7)
        rng.shuffle(ids)
        points = rng.normal(100, 30, (len(ids), joints, 2))
        points[rng.random((len(ids), joints)) < 0.2] = np.nan
        expected = np.full_like(points, np.nan)
        for row, joint, axis in np.ndindex(points.shape):
            if not np.isnan(points[row, joint, axis]):
                one = plain[ids[row], joint, axis]
                expected[row, joint, axis] = one.filter(points[row, joint, axis], time)
        found = fast(ids + 1, points, time)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_sizes_are_the_unit_of_speed() -> None:
    """A person twice as near moves twice as many pixels, and is smoothed alike."""
    rng = np.random.default_rng(1)
    walk = rng.normal(0, 5, (40, 1, 17, 2)).cumsum(axis=0)
    near, far = OneEuro(), OneEuro()
    one = np.array([1])
    for index, points in enumerate(walk):
        a = far(one, points, index / 30, sizes=np.array([100.0]))
        b = near(one, 2 * points, index / 30, sizes=np.array([200.0]))
        np.testing.assert_allclose(2 * a, b)


def test_half_a_point_is_missing_and_stays_so() -> None:
    smoother = OneEuro()
    one = np.array([1])
    smoother(one, np.array([[[1.0, 1.0]]]), 0.0)
    assert np.isnan(smoother(one, np.array([[[5.0, np.nan]]]), 0.1)).all()
    again = smoother(one, np.array([[[1.0, 1.0]]]), 0.2)
    np.testing.assert_allclose(again, [[[1.0, 1.0]]])  # the half point left no trace


def test_points_that_are_not_trusted_move_nothing() -> None:
    smoother = OneEuro()
    one, rest = np.array([1]), np.zeros((1, 1, 2))
    smoother(one, rest, 0.0)
    assert smoother(one, rest + 100, 0.1, trust=np.zeros((1, 1)))[0, 0, 0] == 0.0
    full, half = OneEuro(), OneEuro()
    for filter_ in (full, half):
        filter_(one, rest, 0.0)
    whole = full(one, rest + 100, 0.1, trust=np.array([[1.0]]))[0, 0, 0]
    part = half(one, rest + 100, 0.1, trust=np.array([[0.5]]))[0, 0, 0]
    assert 0 < part < whole


def test_people_long_gone_are_forgotten() -> None:
    smoother = OneEuro(forget=1.0)
    for number in range(50):
        smoother(np.array([number]), np.zeros((1, 17, 2)), number * 0.5)
    state = smoother._state
    assert state is not None
    assert state.ids.tolist() == [47, 48, 49]
    fresh = smoother(np.array([1]), np.full((1, 17, 2), 9.0), 25.0)
    np.testing.assert_allclose(fresh, 9.0)  # as seen for the first time


def smoothed(values: np.ndarray, times: np.ndarray, size: float) -> np.ndarray:
    smoother = OneEuro()
    one = np.array([1])
    sizes = np.array([size])
    return np.array(
        [
            smoother(one, np.array([[[x, 0.0]]]), t, sizes=sizes)[0, 0, 0]
            for x, t in zip(values, times, strict=True)
        ]
    )


def test_jitter_falls_and_lag_stays_bounded() -> None:
    """A person of 200 pixels who stands, then walks at 160 pixels a second (30 frames a second)."""
    rng = np.random.default_rng(2)
    times = np.arange(180) / 30
    walk = 160.0 * np.maximum(times - 3, 0)
    noisy = walk + rng.normal(0, 3, len(times))
    out = smoothed(noisy, times, size=200.0)
    rest = slice(30, 90)
    assert np.diff(out[rest]).std() < 0.4 * np.diff(noisy[rest]).std()
    assert out[rest].std() < 0.6 * noisy[rest].std()
    lag = (walk - out)[120:] / 160.0  # seconds, once the walk is under way
    # By hand: in steady motion at speed v the filter lags by tau v, and measures the speed
    # v (1 + tau / dt). So 2 pi tau (min_cutoff + beta v / size (1 + tau / dt)) = 1, here
    # 2 pi tau (1.8 + 24 tau) = 1: tau = .0522 s.
    assert lag.mean() == pytest.approx(0.0522, abs=0.005)
    assert lag.max() < 0.1


@pytest.mark.parametrize("name", ["min_cutoff", "d_cutoff", "forget"])
def test_wrong_settings(name: str) -> None:
    for value in (0, -1, math.nan, math.inf):
        with pytest.raises(InputError, match=name):
            OneEuro(**{name: value})
    with pytest.raises(InputError, match="beta"):
        OneEuro(beta=-1)
