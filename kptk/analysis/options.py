"""Every threshold of the analysis, in one place."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from kptk.errors import InputError
from kptk.evaluation.scores import MIN_SCORE, OKS_NMS

SMALL_AREA = 32.0**2


_WHOLE = {"n_bootstrap": 0, "seed": 0, "max_poses": 1, "min_images": 1, "min_people": 1,
          "min_cell": 1}  # fmt: skip


_FREE = ("min_area", "tiny_area")  # square pixels; everything else is a share, 0 to 1


_ABOVE_ZERO = ("match_iou", "near_iou", "oks_threshold", "good_similarity", "miss_similarity",
               "pair_oks", "certainty", "confidence")  # fmt: skip


@dataclass(frozen=True)
class AnalysisOptions:
    """The thresholds; the defaults are those of the specification.

    Attributes:
        match_iou: IoU from which a box belongs to a person.
        near_iou: IoU from which a box below ``match_iou`` is a badly placed one and no background.
        oks_threshold: OKS from which a person counts as found.
        good_similarity: joint similarity above which a joint is good; joints below it are moved to
            it by the attainable oracle.
        miss_similarity: joint similarity below which a joint is missed.
        pair_oks: OKS from which a pose and a person are a pair whose joints are labelled.
        min_area: smallest person, square pixels as annotated, whose joints are labelled in the
            counts of joint errors and moved by their what-ifs.
        low_score: lowest score of a candidate that counts as "below the threshold".
        nms_iou: overlap from which the detector's own suppression may have removed a second box.
        max_poses: poses of an image that COCO counts.
        oks_nms: OKS above which the lower-ranked of two poses goes.
        tiny_area: square pixels below which a person is tagged tiny.
        truncated_share: share of a person's box border on the image's edge, from which he is
            tagged truncated.
        occluded_share: share of the labelled joints that are not visible, from which a person is
            tagged occluded.
        crowded_iou: overlap with a neighbour from which a person is tagged crowded.
        min_effect: what a module must cost to be named, in AP from 0 to 1.
        certainty: probability that one module costs more than the other, from which it is named.
        confidence: of all intervals.
        free_share: share of the larger part that a free change (threshold, scores) must gain to be
            named first.
        min_images: fewer are too little data for a verdict.
        min_people: fewer people that must be found are too little data.
        max_width: a wider interval of the difference of the parts is too little data, AP 0 to 1.
        min_cell: slices with fewer people are grey.
        n_bootstrap: bootstrap draws; 0: no intervals.
        seed: of the bootstrap.
    """

    match_iou: float = 0.5
    near_iou: float = 0.1
    oks_threshold: float = 0.5
    good_similarity: float = 0.85
    miss_similarity: float = 0.5
    pair_oks: float = 0.1
    min_area: float = 0.0
    low_score: float = MIN_SCORE
    nms_iou: float = 0.5
    max_poses: int = 20
    oks_nms: float = OKS_NMS
    tiny_area: float = SMALL_AREA
    truncated_share: float = 0.05
    occluded_share: float = 0.5
    crowded_iou: float = 0.3
    min_effect: float = 0.01
    certainty: float = 0.95
    confidence: float = 0.95
    free_share: float = 0.5
    min_images: int = 50
    min_people: int = 100
    max_width: float = 0.10
    min_cell: int = 30
    n_bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name))
        _check_order("near_iou", self.near_iou, "match_iou", self.match_iou)
        _check_order(
            "miss_similarity", self.miss_similarity, "good_similarity", self.good_similarity
        )

    @property
    def json(self) -> dict[str, Any]:
        """The options as plain values."""
        return asdict(self)


def _check(name: str, value: object) -> None:
    """Refuse what cannot be such a threshold.

    Raises:
        InputError: the value is of another kind, or out of its range.
    """
    number = value.item() if isinstance(value, np.generic) else value
    if name in _WHOLE:
        if isinstance(number, bool) or not isinstance(number, int) or number < _WHOLE[name]:
            raise InputError(
                f"{name} must be a whole number of at least {_WHOLE[name]}. Got {value!r}."
            )
        return
    top = math.inf if name in _FREE else 1.0
    real = isinstance(number, int | float) and not isinstance(number, bool)
    if not real or not 0 <= number <= top or number == math.inf:  # type: ignore[operator]
        wanted = "from 0 up" if name in _FREE else "from 0 to 1"
        raise InputError(f"{name} must be a number {wanted}. Got {value!r}.")
    if name in _ABOVE_ZERO and number == 0:
        raise InputError(f"{name} must be above 0. Got {value!r}.")


def _check_order(low: str, lower: float, high: str, higher: float) -> None:
    if lower > higher:
        raise InputError(f"{low} must not be above {high}. Got {lower!r} and {higher!r}.")
