"""The second level of a verdict: what within a module it is."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kptk.analysis.bundle import Bundle, Float
from kptk.analysis.labels import PersonLabels, label_people
from kptk.analysis.matching import METRICS
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracle import LEVELS, MEMBERS, Draws, Game, bootstrap, interval, play
from kptk.analysis.whatif import FREE, LOWER_THRESHOLD, METRIC, WhatIf
from kptk.analysis.whatif import what_ifs as what_ifs_of
from kptk.errors import DataError, InputError
from kptk.files import replacing

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


# ---- verdict: The verdict: one plain sentence on which module to improve, with what it rests on.


Name = Literal[
    "detector", "keypoints", "both", "threshold-or-scores", "too-little-data",
    "nothing-stands-out",
]  # fmt: skip


LEVEL = "attainable"  # the headline


_SENTENCES = {
    "detector": "Improve the detector first.",
    "keypoints": "Improve the keypoint model first.",
    "both": "Improve both: detector and keypoint model cost about as much.",
    "threshold-or-scores": "Set the threshold and scores right before training anything.",
    "too-little-data": "There is too little data for a verdict.",
    "nothing-stands-out": "Nothing stands out: neither module costs clearly more.",
}


_THRESHOLDS = ("certainty", "confidence", "min_effect", "free_share", "min_images", "min_people",
               "max_width")  # fmt: skip


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


@dataclass(frozen=True)
class _Costs:
    """Costs of both modules in AP: as they are, or above the baseline's.

    Attributes:
        detector: of the detector.
        keypoints: of the pose model.
        detector_low: the lower end of its interval.
        keypoints_low: likewise.
        certainty: share of the draws in which the detector costs more.
        width: of the interval of the difference.
        free: the largest gain of a free change.
        free_name: that change.
    """

    detector: float
    keypoints: float
    detector_low: float
    keypoints_low: float
    certainty: float
    width: float
    free: float
    free_name: str


def gather(
    bundle: Bundle,
    options: AnalysisOptions,
    *,
    game: Game | None = None,
    draws: Draws | None = None,
    what_ifs: Sequence[WhatIf] | None = None,
    labels: PersonLabels | None = None,
    sweep: Sequence[tuple[float, float]] = (),
) -> Evidence:
    """Put together what a verdict is passed on; what is None is worked out here."""
    game = play(bundle, options) if game is None else game
    draws = bootstrap(game, options.n_bootstrap, options.seed) if draws is None else draws
    what_ifs = what_ifs_of(bundle, options) if what_ifs is None else what_ifs
    labels = label_people(bundle, options) if labels is None else labels
    names, counts = np.unique(labels.label[bundle.evaluated].astype(str), return_counts=True)
    return Evidence(
        game, draws, len(bundle.image_ids), int(bundle.evaluated.sum()), what_ifs,
        dict(zip(names.tolist(), counts.tolist(), strict=True)), bundle.threshold, sweep,
    )  # fmt: skip


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
    costs, inputs = _weigh(evidence, options, baseline)
    name = _name(evidence, costs, options)
    return Verdict(
        name, _SENTENCES[name], _reason(name, evidence, costs, options),
        inputs, {key: asdict(options)[key] for key in _THRESHOLDS}, baseline is not None,
    )  # fmt: skip


def _name(evidence: Evidence, costs: _Costs, options: AnalysisOptions) -> Name:
    if too_little(evidence, costs.width, options):
        return "too-little-data"
    largest = max(costs.detector, costs.keypoints)
    if costs.free >= max(options.free_share * largest, options.min_effect):
        return "threshold-or-scores"
    detector = costs.detector_low > options.min_effect
    keypoints = costs.keypoints_low > options.min_effect
    if detector and costs.certainty >= options.certainty:
        return "detector"
    if keypoints and costs.certainty <= 1 - options.certainty:
        return "keypoints"
    return "both" if detector and keypoints else "nothing-stands-out"


def _reason(name: Name, evidence: Evidence, costs: _Costs, options: AnalysisOptions) -> str:
    """The second level of the verdict."""
    if name == "too-little-data":
        return too_little(evidence, costs.width, options)
    if name == "threshold-or-scores":
        return free_reason(evidence, costs.free_name)
    parts = {
        "detector": [detector_reason],
        "keypoints": [keypoint_reason],
    }.get(name, [detector_reason, keypoint_reason])
    return " ".join(sentence for part in parts if (sentence := part(evidence)))


def too_little(evidence: Evidence, width: float, options: AnalysisOptions) -> str:
    """Why the data does not suffice; empty if it does."""
    if evidence.n_images < options.min_images:
        return f"There are {evidence.n_images} images; {options.min_images} are needed."
    if evidence.n_people < options.min_people:
        return (
            f"There are {evidence.n_people} people who must be found; {options.min_people} are "
            "needed."
        )
    if not width <= options.max_width:
        shown = "not known" if np.isnan(width) else f"{points(width)} points of AP wide"
        return (
            f"The interval of the difference between the two costs is {shown}; it must not be "
            f"wider than {points(options.max_width)}."
        )
    return ""


def _weigh(
    evidence: Evidence, options: AnalysisOptions, baseline: Normal | None
) -> tuple[_Costs, dict[str, Any]]:
    cost = evidence.game.phi(LEVEL, METRIC)[:2]
    drawn = evidence.draws.phi(LEVEL, METRIC)[:2]
    gains = evidence.gains
    inputs = _inputs(evidence, options)
    if baseline is not None:
        normal = baseline.game.phi(LEVEL, METRIC)[:2]
        inputs["baseline_phi_detector"], inputs["baseline_phi_keypoints"] = normal
        cost = (cost[0] - normal[0], cost[1] - normal[1])
        drawn = _less(drawn, baseline.draws.phi(LEVEL, METRIC)[:2])
        gains = {name: gain - baseline.gains.get(name, 0.0) for name, gain in gains.items()}
    ranges = [interval(part, options.confidence) for part in (*drawn, drawn[0] - drawn[1])]
    known = np.isfinite(drawn[0] - drawn[1])
    certainty = float((drawn[0] > drawn[1])[known].mean()) if known.any() else float("nan")
    free = max(gains, key=lambda name: gains[name], default="")
    inputs |= {
        "cost_detector": cost[0], "cost_detector_interval": ranges[0],
        "cost_keypoints": cost[1], "cost_keypoints_interval": ranges[1],
        "difference_interval": ranges[2], "certainty_detector": certainty,
        "best_free_change": free or None, "free_gain": gains.get(free, 0.0),
        "n_images": evidence.n_images, "n_people": evidence.n_people,
    }  # fmt: skip
    return _Costs(
        *cost, ranges[0][0], ranges[1][0], certainty, ranges[2][1] - ranges[2][0],
        gains.get(free, 0.0), free,
    ), inputs  # fmt: skip


def _less(drawn: tuple[Float, Float], normal: tuple[Float, Float]) -> tuple[Float, Float]:
    """Draws less a baseline's; of unequal numbers the first ones."""
    n = min(len(drawn[0]), len(normal[0]))
    return drawn[0][:n] - normal[0][:n], drawn[1][:n] - normal[1][:n]


def _inputs(evidence: Evidence, options: AnalysisOptions) -> dict[str, Any]:
    values = evidence.game.values[LEVEL]
    names = {"": "v_nobody", "D": "v_detector", "P": "v_keypoints", "DP": "v_both"}
    phi = evidence.game.phi(LEVEL, METRIC)
    shown: dict[str, Any] = {"level": LEVEL, "metric": METRIC}
    shown |= {name: values[who][METRIC] for who, name in names.items()}
    ends = [interval(part, options.confidence) for part in evidence.draws.phi(LEVEL, METRIC)[:2]]
    return shown | {
        "phi_detector": phi[0], "phi_detector_interval": ends[0],
        "phi_keypoints": phi[1], "phi_keypoints_interval": ends[1],
        "interaction": phi[2],
    }  # fmt: skip


# ---- baseline: What is normal: another analysis's game and draws, kept in a file or at hand.


FILE = "draws.npz"


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
        try:
            with replacing(folder / FILE) as temporary:
                np.savez_compressed(temporary, **arrays)
        except OSError as error:
            raise InputError(
                f"{folder / FILE} cannot be written: {error.strerror or error}."
            ) from error
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
            values = {level: _named(arrays[f"{level}_values"]) for level in LEVELS}
            draws = {level: _shaped(arrays[f"{level}_draws"]) for level in LEVELS}
            gains = dict(zip(arrays["free"].tolist(), arrays["gains"].tolist(), strict=True))
            name, paired = str(arrays["name"]), int(arrays["paired_with"])
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{folder / FILE} is damaged. Make the baseline again: ErrorAnalysis.save."
            ) from error
        game = Game(values, {level: {} for level in LEVELS})
        return cls(name, Normal(game, Draws(draws, paired), gains))


def _named(values: Any) -> dict[str, dict[str, float]]:
    if values.shape != (len(MEMBERS), len(METRICS)):
        raise ValueError(values.shape)
    rows = zip(MEMBERS, values.tolist(), strict=True)
    return {who: dict(zip(METRICS, row, strict=True)) for who, row in rows}


def _shaped(draws: Any) -> Any:
    if draws.ndim != 3 or draws.shape[1:] != (len(MEMBERS), len(METRICS)):
        raise ValueError(draws.shape)
    return draws
