"""The analysis as a few lines of plain text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from kptk.analysis.labels import PERSON_LABELS
from kptk.analysis.report import counts, named_counts
from kptk.evaluation.scores import percent

if TYPE_CHECKING:
    import pandas as pd

    from kptk.analysis.result import ErrorAnalysis

_VALUES = {
    "v()": "as it is",
    "v(D)": "on ground-truth boxes",
    "v(P)": "with attainable joints",
    "v(DP)": "with both",
}
_COSTS = {"detector": "the detector costs", "keypoints": "the keypoint model costs"}


def text(analysis: ErrorAnalysis) -> str:
    """The verdict and what it rests on."""
    size = counts(analysis)
    lines = [
        f"{size['name']}: {size['images']} images, {size['evaluated']} people to be found, "
        f"{size['detections']} detections from {size['threshold']:g} up",
        *_verdict(analysis),
        "",
        *_numbers(analysis),
        _counted("people", named_counts(analysis.persons["label"], PERSON_LABELS)),
        _counted("joints", analysis.joint_labels.counts),
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in analysis.bundle.notes)])


def _verdict(analysis: ErrorAnalysis) -> list[str]:
    verdict = analysis.verdict
    if verdict is None:
        return [analysis.without_verdict]
    compared = "no baseline"
    if analysis.baseline is not None:
        compared = f"compared with {analysis.baseline.name}"
    return [f"{verdict.sentence} ({compared})", *([verdict.reason] if verdict.reason else [])]


def _numbers(analysis: ErrorAnalysis) -> list[str]:
    """AP in percent, with intervals where there is a game."""
    if analysis.bundle.two_stage:
        title = "AP in percent (boxes: detector, scores: ppdet)"
    else:
        title = "AP in percent (boxes: none, scores: as in the results)"
    table = analysis.game_table
    if table is None:
        values = analysis.end_to_end.items()
        return [title, "  " + ", ".join(f"{name} {percent(value)}" for name, value in values)]
    shown = table[(table["level"] == "attainable") & (table["metric"] == "AP")]
    rows = shown.set_index("quantity")
    return [
        title,
        *(f"  {name:26}{_valued(rows, key)}" for key, name in _VALUES.items()),
        *(f"  {name:26}{_valued(rows, key)}" for key, name in _COSTS.items()),
    ]


def _valued(rows: pd.DataFrame, key: str) -> str:
    value, low, high = (float(rows[column][key]) for column in ("value", "low", "high"))
    between = "" if np.isnan(low) else f" ({percent(low)} to {percent(high)})"
    return f"{percent(value):>5}{between}"


def _counted(title: str, numbers: Mapping[str, int]) -> str:
    there = [f"{name} {count}" for name, count in numbers.items() if count]
    return f"{title}: {', '.join(there) or '-'}"
