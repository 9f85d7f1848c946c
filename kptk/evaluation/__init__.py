"""COCO average precision of the detector, of the pose model, and of the two together.

Three numbers that answer three questions, all of them pycocotools'; beside it an evaluator in
numpy, `match` and `accumulate`, that equals it and carries bootstraps and sliders.
"""

from __future__ import annotations

from kptk.evaluation.averaging import Curves, accumulate, average
from kptk.evaluation.collecting import Predictions
from kptk.evaluation.matching import Matches, match
from kptk.evaluation.measure import evaluate
from kptk.evaluation.pycoco import coco_stats
from kptk.evaluation.result import Evaluation
from kptk.evaluation.scores import Scores

__all__ = [
    "Curves", "Evaluation", "Matches", "Predictions", "Scores", "accumulate", "average",
    "coco_stats", "evaluate", "match",
]  # fmt: skip
