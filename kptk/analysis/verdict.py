"""The verdict: one plain sentence on which module to improve, with what it rests on.

And the baseline it is compared with: another analysis's game and draws, kept in a file or at hand.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kptk.analysis.matching import METRICS
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracle import LEVELS, MEMBERS, Draws, Game, interval
from kptk.analysis.whatif import FREE, LOWER_THRESHOLD, METRIC, WhatIf
from kptk.errors import DataError, InputError
from kptk.files import writing

Name = Literal[
    "detector", "keypoints", "both", "threshold-or-scores", "too-little-data", "nothing-stands-out"
]
LEVEL = "attainable"  # the headline
FILE = "draws.npz"
_SENTENCES: dict[Name, str] = {
    "detector": "Improve the detector first.",
    "keypoints": "Improve the keypoint model first.",
    "both": "Improve both: detector and keypoint model cost about as much.",
    "threshold-or-scores": "Set the threshold and scores right before training anything.",
    "too-little-data": "There is too little data for a verdict.",
    "nothing-stands-out": "Nothing stands out: neither module costs clearly more.",
}
_THRESHOLDS = (
    "certainty", "confidence", "min_effect", "free_share", "min_images", "min_people", "max_width"
)  # fmt: skip
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
JOINT_ERRORS = {
    "fix jitter": "jitters",
    "fix inversion": "inversions",
    "fix swap": "swaps",
    "fix miss": "misses",
}
_ENOUGH = 0.9  # of what the best threshold gains, for a higher one to be named


@dataclass(frozen=True, eq=False)
class Normal:
    """What is normal, to be subtracted: the same pipeline where it does well, or stock models.

    Attributes:
        game: the oracle game there.
        draws: its bootstrap draws.
        gains: what free changes gain there, in AP, by name; what is missing counts as 0.
    """

    game: Game
    draws: Draws
    gains: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a verdict is passed on.

    Attributes:
        game: the oracle game.
        draws: its bootstrap draws.
        n_images: how many images there are.
        n_people: how many people must be found.
        what_ifs: isolated changes.
        labels: how many people have each label of ``labels.PERSON_LABELS``.
        threshold: the pipeline's.
        sweep: pairs of a threshold and the AP it gives.
    """

    game: Game
    draws: Draws
    n_images: int
    n_people: int
    what_ifs: Sequence[WhatIf]
    labels: Mapping[str, int]
    threshold: float
    sweep: Sequence[tuple[float, float]] = ()

    @property
    def gains(self) -> dict[str, float]:
        """What each free change gains, in AP."""
        return {w.name: w.delta[METRIC] for w in self.what_ifs if w.name in FREE}


@dataclass(frozen=True)
class Verdict:
    """Which module to improve.

    Attributes:
        name: ``"detector"``, ``"keypoints"``, ``"both"``, ``"threshold-or-scores"``,
            ``"too-little-data"`` or ``"nothing-stands-out"``.
        sentence: the verdict in plain words.
        reason: the second-level reason, a sentence or two.
        inputs: the numbers it rests on.
        thresholds: the thresholds they were held against.
        baseline: whether it is on the difference to a baseline.
    """

    name: Name
    sentence: str
    reason: str
    inputs: Mapping[str, Any]
    thresholds: Mapping[str, Any]
    baseline: bool


def decide(evidence: Evidence, options: AnalysisOptions, baseline: Normal | None = None) -> Verdict:
    """Pass the verdict, on AP with the attainable oracle.

    In this order: too little data; a free change (threshold, scores) gains at least ``free_share``
    of what the costlier module costs, and ``min_effect``; the detector, if it costs more with
    ``certainty`` and surely more than ``min_effect``; the keypoint model likewise; both, if both
    surely cost more than that; else nothing stands out.

    Args:
        evidence: of one analysis.
        options: the thresholds.
        baseline: costs and gains are those above its own.
    """
    # what each module costs, in AP, with the bootstrap's draws of it: here, and above the normal
    phi = evidence.game.phi(LEVEL, METRIC)
    detector, keypoints = phi[:2]
    on_detector, on_keypoints = evidence.draws.phi(LEVEL, METRIC)[:2]
    ends = [interval(part, options.confidence) for part in (on_detector, on_keypoints)]
    gains = evidence.gains
    inputs: dict[str, Any] = {"level": LEVEL, "metric": METRIC}
    names = {"": "v_nobody", "D": "v_detector", "P": "v_keypoints", "DP": "v_both"}
    inputs |= {name: evidence.game.values[LEVEL][who][METRIC] for who, name in names.items()}
    inputs |= {
        "phi_detector": detector,
        "phi_detector_interval": ends[0],
        "phi_keypoints": keypoints,
        "phi_keypoints_interval": ends[1],
        "interaction": phi[2],
    }
    if baseline is not None:
        normal = baseline.game.phi(LEVEL, METRIC)
        inputs["baseline_phi_detector"], inputs["baseline_phi_keypoints"] = normal[:2]
        detector, keypoints = detector - normal[0], keypoints - normal[1]
        drawn = baseline.draws.phi(LEVEL, METRIC)
        n = min(len(on_detector), len(drawn[0]))  # of unequal numbers the first ones
        on_detector, on_keypoints = on_detector[:n] - drawn[0][:n], on_keypoints[:n] - drawn[1][:n]
        gains = {name: gain - baseline.gains.get(name, 0.0) for name, gain in gains.items()}
    difference = on_detector - on_keypoints
    ranges = [interval(d, options.confidence) for d in (on_detector, on_keypoints, difference)]
    known = np.isfinite(difference)
    certainty = float((difference > 0)[known].mean()) if known.any() else float("nan")
    free = max(gains, key=lambda name: gains[name], default="")
    inputs |= {
        "cost_detector": detector,
        "cost_detector_interval": ranges[0],
        "cost_keypoints": keypoints,
        "cost_keypoints_interval": ranges[1],
        "difference_interval": ranges[2],
        "certainty_detector": certainty,
        "best_free_change": free or None,
        "free_gain": gains.get(free, 0.0),
        "n_images": evidence.n_images,
        "n_people": evidence.n_people,
    }

    least = max(options.free_share * max(detector, keypoints), options.min_effect)
    by_detector, by_keypoints = (low > options.min_effect for low, _ in ranges[:2])
    lacking = _too_little(evidence, ranges[2][1] - ranges[2][0], options)
    name: Name = "nothing-stands-out"
    if lacking:
        name, reason = "too-little-data", lacking
    elif gains.get(free, 0.0) >= least:
        name, reason = "threshold-or-scores", _free_reason(evidence, free)
    else:
        reasons = [_detector_reason(evidence), _keypoint_reason(evidence)]
        if by_detector and certainty >= options.certainty:
            name, reasons = "detector", reasons[:1]
        elif by_keypoints and certainty <= 1 - options.certainty:
            name, reasons = "keypoints", reasons[1:]
        elif by_detector and by_keypoints:
            name = "both"
        reason = " ".join(filter(None, reasons))
    thresholds = {key: asdict(options)[key] for key in _THRESHOLDS}
    return Verdict(name, _SENTENCES[name], reason, inputs, thresholds, baseline is not None)


def _too_little(evidence: Evidence, width: float, options: AnalysisOptions) -> str:
    """Why the data does not suffice; empty if it does."""
    if evidence.n_images < options.min_images:
        return f"There are {evidence.n_images} images; {options.min_images} are needed."
    if evidence.n_people < options.min_people:
        return (
            f"There are {evidence.n_people} people who must be found; {options.min_people} are "
            "needed."
        )
    if not width <= options.max_width:
        shown = "not known" if np.isnan(width) else f"{_points(width)} points of AP wide"
        return (
            f"The interval of the difference between the two costs is {shown}; it must not be "
            f"wider than {_points(options.max_width)}."
        )
    return ""


def _detector_reason(evidence: Evidence) -> str:
    """What most people whom the detector fails have in common, and the threshold if it is that."""
    label, sentence = _commonest(evidence.labels, DETECTOR_LABELS, "whom the detector fails")
    hint = _threshold_hint(evidence)
    if label != "below-threshold" or not hint:
        hint = _costliest(evidence.what_ifs, DETECTOR_ERRORS, "the detector's errors")
    return " ".join(filter(None, (sentence, hint)))


def _keypoint_reason(evidence: Evidence) -> str:
    """What most people with a bad pose have in common, and the joint error that costs most."""
    _, sentence = _commonest(evidence.labels, KEYPOINT_LABELS, "whom the keypoint model fails")
    error = _costliest(evidence.what_ifs, JOINT_ERRORS, "the joint errors")
    return " ".join(filter(None, (sentence, error)))


def _free_reason(evidence: Evidence, change: str) -> str:
    """What the best free change gains."""
    gain = _points(evidence.gains.get(change, 0.0))
    if change == LOWER_THRESHOLD:
        label, sentence = _commonest(evidence.labels, DETECTOR_LABELS, "whom the detector fails")
        start = f"{sentence} " if label == "below-threshold" else ""
        return start + (_threshold_hint(evidence) or f"Letting all boxes in gains {gain} AP.")
    return (
        f"Ranking the same poses perfectly would gain up to {gain} AP: scores do not tell "
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


def _threshold_hint(evidence: Evidence) -> str:
    """Which lower threshold to take and what it gains; empty if none gains.

    The highest one that has nine tenths of what the best one gains.
    """
    now = [ap for value, ap in evidence.sweep if value == evidence.threshold]
    lower = [(value, ap) for value, ap in evidence.sweep if value < evidence.threshold]
    gain = max(ap for _, ap in lower) - now[0] if now and lower else 0.0
    if not gain > 0:
        return ""
    value, ap = max((v, a) for v, a in lower if a - now[0] >= _ENOUGH * gain)
    return (
        f"Lower the threshold from {evidence.threshold:g} to {value:g} first: "
        f"{100 * (ap - now[0]):+.1f} AP."
    )


def _costliest(changes: Sequence[WhatIf], errors: Mapping[str, str], among: str) -> str:
    """Which error gains most if put right alone; empty if none gains."""
    gains = {c.name: c.delta[METRIC] for c in changes if c.name in errors}
    worst = max(gains, key=lambda name: gains[name], default="")
    if not worst or not gains[worst] > 0:
        return ""
    return f"Of {among} {errors[worst]} cost most: {_points(gains[worst])} AP if put right alone."


def _points(value: float) -> str:
    """AP 0 to 1 as points with one decimal and no sign."""
    return f"{100 * value:.1f}"


@dataclass(frozen=True, eq=False)
class Baseline:
    """The oracle game of a pipeline on data where it is known to do well.

    Attributes:
        name: of its data.
        normal: its four values and their draws, and what free changes gain; read from a file the
            game has no matches.
    """

    name: str
    normal: Normal

    def save(self, folder: Path) -> Path:
        """Write it to ``draws.npz`` in a folder that exists.

        Raises:
            InputError: it cannot be written.
        """
        game, draws, gains = self.normal.game, self.normal.draws, self.normal.gains
        arrays: dict[str, Any] = {
            "name": np.array(self.name),
            "paired_with": np.array(draws.paired_with),
            "free": np.array(list(gains), np.str_),
            "gains": np.array(list(gains.values()), np.float64),
        }
        for level in LEVELS:
            values = game.values[level]
            arrays[f"{level}_values"] = np.array([[values[w][m] for m in METRICS] for w in MEMBERS])
            arrays[f"{level}_draws"] = draws.values[level]
        with writing(folder / FILE, InputError) as temporary:
            np.savez_compressed(temporary, **arrays)
        return folder / FILE

    @classmethod
    def load(cls, folder: Path) -> Baseline:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: it is not there or damaged.
        """
        if not (folder / FILE).is_file():
            raise DataError(
                f"The baseline {str(folder)!r} must be a folder written by ErrorAnalysis.save "
                f"(kptk analyze --save-path) of a pipeline: {FILE} is not there."
            )
        try:
            with np.load(folder / FILE, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            values, draws = {}, {}
            for level in LEVELS:
                table = arrays[f"{level}_values"].reshape(len(MEMBERS), len(METRICS)).tolist()
                values[level] = {
                    who: dict(zip(METRICS, row, strict=True))
                    for who, row in zip(MEMBERS, table, strict=True)
                }
                draws[level] = arrays[f"{level}_draws"]
                if draws[level].shape[1:] != (len(MEMBERS), len(METRICS)):
                    raise ValueError(draws[level].shape)
            gains = dict(zip(arrays["free"].tolist(), arrays["gains"].tolist(), strict=True))
            name, paired = str(arrays["name"]), int(arrays["paired_with"])
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{folder / FILE} is damaged. Make the baseline again: ErrorAnalysis.save."
            ) from error
        game = Game(values, {level: {} for level in LEVELS})
        return cls(name, Normal(game, Draws(draws, paired), gains))
