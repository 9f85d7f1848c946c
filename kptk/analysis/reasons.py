"""The second level of a verdict: what within a module it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kptk.analysis.whatif import LOWER_THRESHOLD, METRIC, WhatIf

if TYPE_CHECKING:
    from kptk.analysis.verdict import Evidence

# What is said of the people with a label that is charged to a module.
DETECTOR_LABELS = {
    "below-threshold": "have a box whose score is below the threshold",
    "never-detected": "have no box at all",
    "badly-localised": "have only a badly placed box",
    "box-limited": "have a box that cuts off their joints",
    "nms-suppressed": "lost their box to the suppression of overlapping boxes",
    "over-cap": "lost their box to the limit on boxes",
}
KEYPOINT_LABELS = {
    "pose": "get a bad pose on the true box too",
    "box-sensitive": "get a good pose on the true box, but not on a box that is a little off",
    "wrong-person": "get the pose of somebody else",
}
# Errors by the change that puts them right.
DETECTOR_ERRORS = {
    "add missed people": "missed people",
    "fix boxes": "badly placed boxes",
    "drop background": "boxes on nobody",
    "drop duplicates": "second boxes",
}
JOINT_ERRORS = {"fix jitter": "jitters", "fix inversion": "inversions", "fix swap": "swaps",
                "fix miss": "misses"}  # fmt: skip
_ENOUGH = 0.9  # of what the best threshold gains, for a higher one to be named


def points(value: float) -> str:
    """AP 0 to 1 as points with one decimal and no sign."""
    return f"{100 * value:.1f}"


def detector_reason(evidence: Evidence) -> str:
    """What most people whom the detector fails have in common, and the threshold if it is that."""
    label, sentence = _commonest(evidence.labels, DETECTOR_LABELS, "whom the detector fails")
    hint = threshold_hint(evidence.sweep, evidence.threshold)
    if label != "below-threshold" or not hint:
        hint = _costliest(evidence.what_ifs, DETECTOR_ERRORS, "the detector's errors")
    return " ".join(part for part in (sentence, hint) if part)


def keypoint_reason(evidence: Evidence) -> str:
    """What most people with a bad pose have in common, and the joint error that costs most."""
    _, sentence = _commonest(evidence.labels, KEYPOINT_LABELS, "whom the keypoint model fails")
    error = _costliest(evidence.what_ifs, JOINT_ERRORS, "the joint errors")
    return " ".join(part for part in (sentence, error) if part)


def free_reason(evidence: Evidence, change: str) -> str:
    """What the best free change gains."""
    gain = evidence.gains.get(change, 0.0)
    hint = threshold_hint(evidence.sweep, evidence.threshold)
    if change == LOWER_THRESHOLD:
        label, sentence = _commonest(evidence.labels, DETECTOR_LABELS, "whom the detector fails")
        start = f"{sentence} " if label == "below-threshold" else ""
        return start + (hint or f"Letting all boxes in gains {points(gain)} AP.")
    return (
        f"Ranking the same poses perfectly would gain up to {points(gain)} AP: scores do not tell "
        "good poses from bad ones."
    )


def _commonest(labels: Mapping[str, int], charged: Mapping[str, str], who: str) -> tuple[str, str]:
    """The commonest of some labels, and a sentence about its share; empty if nobody has any."""
    total = sum(labels.get(name, 0) for name in charged)
    if not total:
        return "", ""
    label = max(charged, key=lambda name: labels.get(name, 0))
    share = labels.get(label, 0) / total
    return label, f"Of the {total} people {who}, {100 * share:.0f} % {charged[label]}."


def threshold_hint(sweep: Sequence[tuple[float, float]], threshold: float) -> str:
    """Which lower threshold to take and what it gains; empty if none gains.

    The highest one that has nine tenths of what the best one gains.
    """
    now = [ap for value, ap in sweep if value == threshold]
    lower = [(value, ap) for value, ap in sweep if value < threshold]
    if not now or not lower:
        return ""
    gain = max(ap for _, ap in lower) - now[0]
    if not gain > 0:
        return ""
    value, ap = max((v, a) for v, a in lower if a - now[0] >= _ENOUGH * gain)
    return (
        f"Lower the threshold from {threshold:g} to {value:g} first: {100 * (ap - now[0]):+.1f} AP."
    )


def _costliest(changes: Sequence[WhatIf], errors: Mapping[str, str], among: str) -> str:
    """Which error gains most if put right alone; empty if none gains."""
    gains = {c.name: c.delta[METRIC] for c in changes if c.name in errors}
    worst = max(gains, key=lambda name: gains[name], default="")
    if not worst or not gains[worst] > 0:
        return ""
    return f"Of {among} {errors[worst]} cost most: {points(gains[worst])} AP if put right alone."
