"""The One-Euro filter, for the joints of many people at once."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError

Float = NDArray[np.float64]


class _State(NamedTuple):
    """What is remembered of T people: NaN where a joint was never seen."""

    ids: NDArray[np.int64]  # (T,), ascending
    places: Float  # (T, K, 2) smoothed
    speeds: Float  # (T, K, 2) smoothed, a second
    times: Float  # (T, K) when each joint was last seen


class OneEuro:
    """Smooths points: strongly while they rest, where jitter shows, hardly while they move fast.

    Casiez, Roussel and Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
    Interactive Systems", CHI 2012, Algorithm 1, on x and y apart. Each joint has its own clock, so
    frames may come at any times and joints may be missing for a while.

    Args:
        min_cutoff: Hz; lower: smoother at rest, more lag in slow movement.
        beta: Hz for each unit of speed; higher: less lag in fast movement. The unit is
            the person's size a second where :meth:`__call__` gets sizes, else pixels a second.
        d_cutoff: Hz; of the speed's own smoothing.
        forget: seconds after which somebody who is not seen is forgotten.

    Raises:
        InputError: a frequency or time is not above 0, or ``beta`` is below 0.
    """

    def __init__(
        self,
        min_cutoff: float = 1.0,
        beta: float = 1.0,
        d_cutoff: float = 1.0,
        forget: float = 1.0,
    ) -> None:
        values = {"min_cutoff": min_cutoff, "d_cutoff": d_cutoff, "forget": forget}
        for name, value in values.items():
            if not 0 < value < math.inf:
                raise InputError(f"{name} must be a number above 0. Got {value!r}.")
        if not 0 <= beta < math.inf:
            raise InputError(f"beta must be a number of at least 0. Got {beta!r}.")
        self.min_cutoff = min_cutoff
        self.beta = beta
        self.d_cutoff = d_cutoff
        self.forget = forget
        self.reset()

    def reset(self) -> None:
        """Forget everybody."""
        self._state: _State | None = None

    def __call__(
        self,
        ids: NDArray[np.int64],
        points: NDArray[np.floating],
        time: float,
        *,
        trust: NDArray[np.floating] | None = None,
        sizes: NDArray[np.floating] | None = None,
    ) -> Float:
        """Smooth one frame.

        Args:
            ids: (N,) who each person is, no two alike.
            points: (N, K, 2); NaN is missing: it stays so, and disturbs nothing.
            time: seconds; not before that of the last call.
            trust: (N, K) from 0 to 1: the weight of a point against what is remembered. None: 1.
            sizes: (N,) pixels, the unit of speeds. None: 1.

        Returns:
            (N, K, 2) smoothed points.
        """
        state = self._with(ids, points.shape[1], time)
        rows = np.searchsorted(state.ids, ids)
        unit = np.ones(len(ids)) if sizes is None else np.maximum(sizes, 1e-9)
        weight = np.ones(points.shape[:2]) if trust is None else np.clip(trust, 0, 1)
        found = np.asarray(points, np.float64)
        seen = np.asarray(np.isfinite(found).all(axis=2))
        first = seen & np.isnan(state.times[rows])
        passed = np.where(first, np.inf, time - state.times[rows])
        place, speed = self._step(
            found, state.places[rows], state.speeds[rows], passed, weight, unit
        )
        place, speed = (
            np.where(first[..., None], start, value)
            for start, value in ((found, place), (0.0, speed))
        )
        state.places[rows] = np.where(seen[..., None], place, state.places[rows])
        state.speeds[rows] = np.where(seen[..., None], speed, state.speeds[rows])
        state.times[rows] = np.where(seen, time, state.times[rows])
        return np.where(seen[..., None], place, np.nan)

    def _step(
        self, found: Float, place: Float, speed: Float, passed: Float, weight: Float, unit: Float
    ) -> tuple[Float, Float]:
        """Algorithm 1 for all joints; those of the same moment as before keep their speed."""
        dt = passed[..., None]
        share = weight[..., None]
        with np.errstate(invalid="ignore", divide="ignore"):
            measured = np.where(dt > 0, (found - place) / dt, speed)
            speed = speed + share * _alpha(dt, self.d_cutoff) * (measured - speed)
            cutoff = self.min_cutoff + self.beta * np.abs(speed) / unit[:, None, None]
            place = place + share * _alpha(dt, cutoff) * (found - place)
        return place, speed

    def _with(self, ids: NDArray[np.int64], joints: int, time: float) -> _State:
        """The state with rows for all of these people, and without those long gone."""
        state = self._state
        if state is None:
            state = _empty(np.zeros(0, np.int64), joints)
        with np.errstate(invalid="ignore"):
            gone = (time - np.nan_to_num(state.times, nan=-np.inf).max(axis=1)) > self.forget
        kept = ~gone | np.isin(state.ids, ids)
        fresh = _empty(np.setdiff1d(ids, state.ids), joints)
        joined = [np.concatenate([old[kept], new]) for old, new in zip(state, fresh, strict=True)]
        order = np.argsort(joined[0])
        self._state = _State(*(part[order] for part in joined))
        return self._state


def _alpha(dt: Float, cutoff: Float | float) -> Float:
    """Smoothing factor: 1 / (1 + tau / Te) with tau = 1 / (2 pi fc); 1 after an endless time."""
    ratio = 2 * math.pi * cutoff * dt
    return np.where(np.isinf(ratio), 1.0, ratio / (1 + ratio))


def _empty(ids: NDArray[np.int64], joints: int) -> _State:
    return _State(
        ids,
        np.full((len(ids), joints, 2), np.nan),
        np.zeros((len(ids), joints, 2)),
        np.full((len(ids), joints), np.nan),
    )
