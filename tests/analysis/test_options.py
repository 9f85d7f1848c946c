"""The thresholds of the analysis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kptk.analysis import AnalysisOptions
from kptk.errors import InputError


def test_defaults_are_the_specification() -> None:
    """Values of the specification: kappa, OKS, IoU, verdict."""
    options = AnalysisOptions()
    assert (options.good_similarity, options.miss_similarity) == (0.85, 0.5)
    assert (options.match_iou, options.near_iou, options.pair_oks) == (0.5, 0.1, 0.1)
    assert (options.certainty, options.min_effect, options.max_width) == (0.95, 0.01, 0.10)
    assert (options.min_images, options.min_people, options.min_cell) == (50, 100, 30)
    assert options.n_bootstrap == 1000


def test_json_makes_the_same_options() -> None:
    options = AnalysisOptions(oks_threshold=0.75, n_bootstrap=0, min_area=np.float64(1024))
    assert AnalysisOptions(**options.json) == options


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"oks_threshold": 1.5}, "oks_threshold must be a number from 0 to 1. Got 1.5."),
        ({"oks_threshold": 0}, "oks_threshold must be above 0. Got 0."),
        ({"certainty": float("nan")}, "certainty must be a number from 0 to 1. Got nan."),
        ({"match_iou": "0.5"}, "match_iou must be a number from 0 to 1. Got '0.5'."),
        ({"match_iou": True}, "match_iou must be a number from 0 to 1. Got True."),
        ({"min_area": -1}, "min_area must be a number from 0 up. Got -1."),
        ({"min_area": float("inf")}, "min_area must be a number from 0 up. Got inf."),
        ({"n_bootstrap": -1}, "n_bootstrap must be a whole number of at least 0. Got -1."),
        ({"n_bootstrap": 10.0}, "n_bootstrap must be a whole number of at least 0. Got 10.0."),
        ({"min_images": 0}, "min_images must be a whole number of at least 1. Got 0."),
        ({"near_iou": 0.6}, "near_iou must not be above match_iou. Got 0.6 and 0.5."),
        (
            {"miss_similarity": 0.9},
            "miss_similarity must not be above good_similarity. Got 0.9 and 0.85.",
        ),
    ],
)
def test_wrong(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        AnalysisOptions(**changes)
    assert str(caught.value) == sentence
