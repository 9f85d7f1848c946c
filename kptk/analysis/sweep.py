"""What another detection threshold would give, from the candidates that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kptk.analysis.assign import assign
from kptk.analysis.bundle import Bundle, Float
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.poses import match_poses, rank_candidates, statistics
from kptk.evaluation import Matches
from kptk.evaluation.matching import THRESHOLDS

if TYPE_CHECKING:
    import pandas as pd

_STEPS = 19


def sweep_thresholds(bundle: Bundle, options: AnalysisOptions) -> pd.DataFrame:
    """One row a threshold: what the pipeline would be worth with it.

    Columns ``threshold``; ``AP``, ``AP50``, ``AP75`` end to end, 0 to 1; ``precision`` and
    ``recall`` at the OKS threshold (the nearest of COCO's); ``missed``, the people without a box
    of their own; ``chosen``, whether it is the threshold of the analysis.
    """
    import pandas as pd

    ranking = rank_candidates(bundle, options)
    lowest_box = _needed(bundle, options)
    rows = []
    for threshold in _thresholds(bundle):
        matches = match_poses(bundle, ranking.kept(threshold), options)
        precision, recall = _rates(matches, options.oks_threshold)
        rows.append(
            {
                "threshold": threshold,
                **statistics(matches),
                "precision": precision,
                "recall": recall,
                "missed": int((lowest_box < threshold).sum()),
                "chosen": threshold == bundle.threshold,
            }
        )
    return pd.DataFrame(rows)


def _thresholds(bundle: Bundle) -> list[float]:
    """From the lowest candidate up to .95, or through the scores of a file of poses."""
    score = bundle.candidates.score
    if bundle.two_stage:
        low = round(float(score.min(initial=0.5)), 2)
        grid = [low, *(k / 20 for k in range(1, _STEPS + 1) if k / 20 > low)]
    else:
        grid = np.quantile(score, np.linspace(0, 0.95, _STEPS)).tolist() if len(score) else [0.0]
    return sorted({float(value) for value in (*grid, bundle.threshold)})


def _needed(bundle: Bundle, options: AnalysisOptions) -> Float:
    """(n,) of the people to be found: the score of their box; -inf without any.

    Boxes are assigned by score, so what a threshold leaves out changes nothing above it.
    """
    kept = np.ones(len(bundle.candidates), np.bool_)
    candidate = assign(bundle, kept, options.match_iou).candidate[bundle.evaluated]
    there = candidate >= 0
    score = np.full(len(candidate), -np.inf)
    score[there] = bundle.candidates.score[candidate[there]]
    return score


def _rates(matches: Matches, oks: float) -> tuple[float, float]:
    """Precision (NaN without detections) and recall at a threshold of OKS."""
    row = int(np.abs(THRESHOLDS - oks).argmin())
    counted = ~matches.ignored[0, row]
    hits = int((counted & (matches.truth[0, row] >= 0)).sum())
    found = int(counted.sum())
    people = int((~matches.gt_ignored[0]).sum())
    return hits / found if found else float("nan"), hits / people if people else float("nan")
