"""Error rates with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from kptk.analysis.labels import PersonLabels

Float = NDArray[np.float64]

NOT_DETECTED = (
    "badly-localised", "below-threshold", "nms-suppressed", "over-cap", "never-detected",
)  # fmt: skip
DETECTOR_ERRORS = ("box-limited", *NOT_DETECTED)
KEYPOINT_ERRORS = ("wrong-person", "box-sensitive", "pose")


class Rate(NamedTuple):
    """A share of errors.

    Attributes:
        value: k / n, 0 to 1; NaN where n is 0, as are the bounds.
        low: lower bound of the interval.
        high: upper bound.
        k: errors.
        n: of how many.
    """

    value: float
    low: float
    high: float
    k: int
    n: int


def rate(k: int, n: int, confidence: float = 0.95) -> Rate:
    """A share with its Wilson interval."""
    low, high = wilson(k, n, confidence)
    return Rate(k / n if n else float("nan"), float(low), float(high), int(k), int(n))


def wilson(k: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Float, Float]:
    """Bounds of Wilson's score interval of shares k / n; NaN where n is 0.

    ``(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)`` with p = k / n and z
    the normal quantile (Wilson 1927).

    Args:
        k: how many of them.
        n: how many in all.
        confidence: of the interval, below 1.
    """
    hits, total = np.asarray(k, np.float64), np.asarray(n, np.float64)
    total = np.where(total > 0, total, np.nan)
    z = NormalDist().inv_cdf((1 + min(confidence, 1 - 1e-12)) / 2)
    share = hits / total
    middle = share + z**2 / (2 * total)
    reach = z * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    return np.maximum((middle - reach) / scale, 0), np.minimum((middle + reach) / scale, 1)


def error_rates(labels: PersonLabels, confidence: float = 0.95) -> Mapping[str, Rate]:
    """The error rate of each module, over the people that must be found.

    ``detector``: people with one of :data:`DETECTOR_ERRORS`, of all. ``keypoints``: people with one
    of :data:`KEYPOINT_ERRORS`, of those who are detected.
    """
    names = labels.label[labels.label != ""]
    counted = {name: int((names == name).sum()) for name in (*DETECTOR_ERRORS, *KEYPOINT_ERRORS)}
    missed = sum(counted[name] for name in NOT_DETECTED)
    by_detector = sum(counted[name] for name in DETECTOR_ERRORS)
    by_pose = sum(counted[name] for name in KEYPOINT_ERRORS)
    return {
        "detector": rate(by_detector, len(names), confidence),
        "keypoints": rate(by_pose, len(names) - missed, confidence),
    }
