"""ErrorAnalysis: everything that can be said about one pipeline on one data set."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kptk.analysis.bundle import Float
from kptk.analysis.figures import Figures
from kptk.analysis.labelled import Labelled
from kptk.analysis.progress import counting
from kptk.evaluation.collecting import write_json

if TYPE_CHECKING:
    import pandas as pd

    from kptk.analysis.baseline import Baseline
    from kptk.analysis.bootstrap import Draws
    from kptk.analysis.compare import Comparison
    from kptk.analysis.oracles import Game
    from kptk.analysis.verdict import Verdict
    from kptk.analysis.whatif import WhatIf
    from kptk.evaluation import Matches


@dataclass(frozen=True, eq=False, repr=False)
class ErrorAnalysis(Labelled, Figures):
    """What a pipeline gets wrong, and which of its modules is at fault.

    In a notebook it shows the verdict. Everything is computed when it is first asked for, and kept.

    Attributes:
        bundle: candidates, poses and people as arrays.
        options: the thresholds.
        baseline: what is normal; None: nothing to compare with.
        progress: show a progress bar while the intervals are computed.
    """

    baseline: Baseline | None = None
    progress: bool = True

    @property
    def playable(self) -> bool:
        """Whether there are boxes, and poses on ground-truth boxes: the game needs both."""
        return self.bundle.two_stage and bool(self.bundle.people.has_given.any())

    @cached_property
    def game(self) -> Game | None:
        """The four values at both levels; None where they cannot be had."""
        from kptk.analysis.oracles import play

        return play(self.bundle, self.options) if self.playable else None

    @cached_property
    def draws(self) -> Draws | None:
        """Bootstrap draws of the four values; None where there is no game."""
        from kptk.analysis.bootstrap import bootstrap

        if self.game is None:
            return None
        with counting(6 * self.options.n_bootstrap, self.progress) as count:
            return bootstrap(self.game, self.options.n_bootstrap, self.options.seed, count)

    @property
    def as_baseline(self) -> Baseline | None:
        """This analysis as what another one is compared with; None where there is no game."""
        from kptk.analysis.baseline import Baseline
        from kptk.analysis.verdict import Normal
        from kptk.analysis.whatif import FREE, METRIC

        if self.game is None or self.draws is None:
            return None
        gains = {c.name: c.delta[METRIC] for c in self.changes if c.name in FREE}
        return Baseline(self.bundle.name, Normal(self.game, self.draws, gains))

    @cached_property
    def matches(self) -> Matches:
        """Detections matched to people, end to end: poses ranked as ``ppdet`` does."""
        from kptk.analysis.poses import match_poses, rank_candidates

        if self.game is not None:
            return self.game.matches["attainable"][""]
        kept = rank_candidates(self.bundle, self.options).kept(self.bundle.threshold)
        return match_poses(self.bundle, kept, self.options)

    @cached_property
    def end_to_end(self) -> dict[str, float]:
        """AP, AP50, AP75 of the detections, 0 to 1: boxes from the threshold up."""
        from kptk.analysis.poses import statistics

        return dict(statistics(self.matches))

    @cached_property
    def end_to_end_draws(self) -> Float:
        """(B, 3) bootstrap draws of these; paired between analyses of the same images."""
        from kptk.analysis.bootstrap import draw_metrics

        if self.draws is not None:
            return self.draws.values["attainable"][:, 0]
        return draw_metrics(self.matches, self.options.n_bootstrap, self.options.seed)

    @cached_property
    def changes(self) -> list[WhatIf]:
        """The isolated changes behind :attr:`what_if`."""
        from kptk.analysis.whatif import what_ifs

        return what_ifs(self.bundle, self.options, self.detection_types, self.joint_labels)

    @cached_property
    def what_if(self) -> pd.DataFrame:
        """One row an isolated change: AP with it, and the signed gain. Gains do not add up."""
        from kptk.analysis.tables import what_if_table

        return what_if_table(self.changes)

    @cached_property
    def verdict(self) -> Verdict | None:
        """Which module to improve; None where that cannot be told (:attr:`without_verdict`)."""
        from kptk.analysis.labels import PERSON_LABELS
        from kptk.analysis.report import named_counts
        from kptk.analysis.verdict import Evidence, decide

        if self.game is None or self.draws is None:
            return None
        sweep = list(zip(self.sweep["threshold"].tolist(), self.sweep["AP"].tolist(), strict=True))
        evidence = Evidence(
            self.game, self.draws, len(self.bundle.image_ids), int(self.bundle.evaluated.sum()),
            self.changes, named_counts(self.persons["label"], PERSON_LABELS),
            self.bundle.threshold, sweep,
        )  # fmt: skip
        normal = self.baseline.normal if self.baseline is not None else None
        return decide(evidence, self.options, normal)

    @property
    def without_verdict(self) -> str:
        """Why there is no verdict; empty if there is one."""
        if self.playable:
            return ""
        if not self.bundle.two_stage:
            return (
                "No verdict: these results have no boxes, so errors of boxes and of poses cannot "
                "be told apart. Analyze an evaluation of a pipeline, or results with boxes."
            )
        return (
            "No verdict: there are no poses on ground-truth boxes. Pass poses_on_truth=, or "
            "analyze an evaluation of a pipeline."
        )

    @cached_property
    def game_table(self) -> pd.DataFrame | None:
        """Values and costs of both levels and all metrics with intervals; None without a game.

        Columns ``level, metric, quantity, value, low, high``; AP from 0 to 1.
        """
        from kptk.analysis.tables import game_table

        if self.game is None:
            return None
        return game_table(self.game, self.draws, self.options.confidence)

    @cached_property
    def json(self) -> dict[str, Any]:
        """The whole report as plain values; undefined numbers are None."""
        from kptk.analysis.report import report

        return report(self)

    @property
    def text(self) -> str:
        """The verdict and what it rests on, as plain text."""
        from kptk.analysis.text import text

        return text(self)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """:attr:`json` as text; written to ``path`` too, if given.

        Raises:
            InputError: it cannot be written.
        """
        if path is not None:
            write_json(Path(path).expanduser(), self.json)
        return json.dumps(self.json, indent=2, allow_nan=False)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the report, the tables, and what a later analysis needs to take it as baseline.

        ``analysis.json``; ``persons.csv``, ``unlabelled.csv``, ``detections.csv``, ``joints.csv``;
        ``draws.npz`` of a pipeline.

        Returns:
            The folder.

        Raises:
            InputError: it cannot be written.
        """
        from kptk.analysis.files import save

        return save(self, Path(folder).expanduser())

    def compare(self, other: ErrorAnalysis) -> Comparison:
        """From this pipeline to another one on the same people: who was fixed, who was broken.

        Raises:
            DataError: the other is of other people, or made with other options.
        """
        from kptk.analysis.compare import compare

        return compare(self, other)

    def __repr__(self) -> str:
        bundle = self.bundle
        size = f"{len(bundle.image_ids)} images, {int(bundle.evaluated.sum())} people"
        said = self.without_verdict if self.verdict is None else self.verdict.sentence
        return f"<ErrorAnalysis {bundle.name}: {size}; {said}>"
