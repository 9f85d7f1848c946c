"""Every threshold of the analysis, in one place."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kptk.errors import InputError
from kptk.evaluation.scores import MIN_SCORE, OKS_NMS

SMALL_AREA = 32.0**2
_ORDERED = (("near_iou", "match_iou"), ("miss_similarity", "good_similarity"))
_WHOLE = {
    "n_bootstrap": 0, "seed": 0, "max_poses": 1, "min_images": 1, "min_people": 1, "min_cell": 1
}  # fmt: skip
_FREE = ("min_area", "tiny_area")  # square pixels; everything else is a share, 0 to 1
_ABOVE_ZERO = (
    "match_iou", "near_iou", "oks_threshold", "good_similarity", "miss_similarity", "pair_oks",
    "certainty", "confidence",
)  # fmt: skip


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
        truncated_share: share of a person's box border on the image's edge, from which they are
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
        for name, value in asdict(self).items():
            number = value.item() if isinstance(value, np.generic) else value
            top = math.inf if name in _FREE else 1.0
            wanted = ""
            if name in _WHOLE:
                if type(number) is not int or number < _WHOLE[name]:
                    wanted = f"a whole number of at least {_WHOLE[name]}"
            elif type(number) not in (int, float) or not 0 <= number <= top or number == math.inf:
                wanted = "a number from 0 up" if name in _FREE else "a number from 0 to 1"
            elif name in _ABOVE_ZERO and number == 0:
                wanted = "above 0"
            if wanted:
                raise InputError(f"{name} must be {wanted}. Got {value!r}.")
        for low, high in _ORDERED:
            if getattr(self, low) > getattr(self, high):
                raise InputError(
                    f"{low} must not be above {high}. Got {getattr(self, low)!r} and "
                    f"{getattr(self, high)!r}."
                )

    @property
    def json(self) -> dict[str, Any]:
        """The options as plain values."""
        return asdict(self)
