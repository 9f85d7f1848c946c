"""The verdict: one plain sentence on which module to improve, with what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from kptk.analysis.bootstrap import Draws, bootstrap, interval
from kptk.analysis.bundle import Bundle, Float
from kptk.analysis.labels import PersonLabels, label_people
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracles import Game, play
from kptk.analysis.reasons import detector_reason, free_reason, keypoint_reason, points
from kptk.analysis.whatif import FREE, METRIC, WhatIf
from kptk.analysis.whatif import what_ifs as what_ifs_of

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
