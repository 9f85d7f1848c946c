"""COCO average precision of the detector, of the pose model, and of the two together.

Three numbers that answer three questions, all of them pycocotools'; beside it an evaluator in
numpy, `match` and `accumulate`, that equals it and carries bootstraps and sliders.
"""

from __future__ import annotations

from kptk.evaluation.evaluator import evaluate
from kptk.evaluation.matching import Curves, Matches, accumulate, average, match
from kptk.evaluation.predictions import Predictions
from kptk.evaluation.result import Evaluation
from kptk.evaluation.scores import Scores, coco_stats

__all__ = [
    "Curves", "Evaluation", "Matches", "Predictions", "Scores", "accumulate", "average",
    "coco_stats", "evaluate", "match",
]  # fmt: skip
