"""All numbers of one analysis: labels, tables, the oracle game and its verdict.

Everything is computed when it is first asked for, and kept. What can be said of any pipeline comes
first; what needs boxes and poses on ground-truth boxes, the game, comes after it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from kptk.analysis import labels, oracle, tables, whatif
from kptk.analysis.bundle import Bundle, Float, Index
from kptk.analysis.labels import DETECTION_TYPES, JOINT_LABELS, PERSON_LABELS
from kptk.analysis.matching import (
    Assignment,
    assign,
    match_poses,
    rank_candidates,
    statistics,
)
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.tables import DETECTED, GROUND_TRUTH
from kptk.analysis.verdict import Baseline, Evidence, Normal, Verdict, decide
from kptk.files import show_progress

if TYPE_CHECKING:
    import pandas as pd

    from kptk.evaluation import Matches

SLICES = (
    "size", "n_keypoints", "n_visible", "occlusion", "crowding", "n_overlaps", "truncation",
    "box_iou", "box_score",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Numbers:
    """Labels of people, detections and joints, their tables, and which module is at fault.

    Attributes:
        bundle: candidates, poses and people as arrays.
        options: the thresholds.
        baseline: what is normal; None: nothing to compare with.
        progress: show a progress bar while the intervals are computed.
    """

    bundle: Bundle
    options: AnalysisOptions
    baseline: Baseline | None = None
    progress: bool = True

    @cached_property
    def assignment(self) -> Assignment:
        """Which detection's box is whose, by IoU."""
        return assign(self.bundle, min_iou=self.options.match_iou)

    @cached_property
    def pairing(self) -> labels.Pairing:
        """What the labels of people and of detections share."""
        return labels.pair(self.bundle, self.options)

    @property
    def found(self) -> labels.Pairing:
        """The former name of :attr:`pairing`."""
        warnings.warn("found is now called pairing.", DeprecationWarning, stacklevel=2)
        return self.pairing

    @cached_property
    def person_labels(self) -> labels.PersonLabels:
        """The one label of every person."""
        return labels.label_people(self.bundle, self.options, self.pairing)

    @cached_property
    def detection_types(self) -> Index:
        """(D,) index into ``labels.DETECTION_TYPES``; -1 for candidates below the threshold."""
        return labels.type_detections(self.bundle, self.options, self.pairing)

    @cached_property
    def rates(self) -> Mapping[str, labels.Rate]:
        """Error rates of the detector and of the keypoint model, with intervals."""
        return labels.error_rates(self.person_labels, self.options.confidence)

    @cached_property
    def joint_labels(self) -> labels.JointLabels:
        """Joints of the detections: pairs of a pose and a person by OKS, as coco-analyze pairs."""
        candidate, person = labels.oks_pairs(
            self.bundle, self.options.pair_oks, min_area=self.options.min_area
        )
        return self._label_joints(person, self.bundle.candidates.keypoints[candidate], candidate)

    @cached_property
    def joint_labels_given(self) -> labels.JointLabels:
        """Joints of the poses on the ground-truth boxes of people that must be found."""
        people = self.bundle.people
        chosen = self.bundle.evaluated & people.has_given & (people.areas >= self.options.min_area)
        person = np.flatnonzero(chosen)
        return self._label_joints(person, people.given[person], np.full(len(person), -1, np.intp))

    def _label_joints(self, person: Index, points: Float, candidate: Index) -> labels.JointLabels:
        limits = self.options.good_similarity, self.options.miss_similarity
        return labels.label_joints(self.bundle, person, points, candidate, *limits)

    @cached_property
    def persons(self) -> pd.DataFrame:
        """One row for each person that must be found: ids, label, box, OKS, slices, tags."""
        columns = tables.person_columns(self.bundle)
        return tables.person_table(self.bundle, self.person_labels, columns)

    @cached_property
    def unlabelled(self) -> pd.DataFrame:
        """One row for each single person without a labelled joint: detected or missed."""
        return tables.unlabelled_table(self.bundle, self.assignment.candidate)

    @cached_property
    def detections(self) -> pd.DataFrame:
        """One row for each candidate at or above the threshold: box, scores, type, whose."""
        return tables.detection_table(
            self.bundle, self.detection_types, DETECTION_TYPES, self.assignment.person
        )

    @cached_property
    def joints(self) -> pd.DataFrame:
        """One row for each labelled joint of each pose, on detected and ground-truth boxes."""
        import pandas as pd

        bundle, found, given = self.bundle, self.joint_labels, self.joint_labels_given
        parts = (
            (found, bundle.candidates.keypoints[found.candidate], DETECTED),
            (given, bundle.people.given[given.person], GROUND_TRUTH),
        )
        rows = [tables.joint_table(bundle, of, at, JOINT_LABELS, on) for of, at, on in parts]
        return pd.concat(rows, ignore_index=True)

    @cached_property
    def transitions(self) -> pd.DataFrame:
        """How many joints went from which label on the ground-truth box to which on the detected.

        Rows: on the ground-truth box; columns: on the detected box; the same people in both.
        """
        import pandas as pd

        names = list(JOINT_LABELS)
        return pd.DataFrame(
            labels.transition_matrix(self.joint_labels_given, self.joint_labels),
            index=pd.Index(names, name="on ground-truth box"),
            columns=pd.Index(names, name="on detected box"),
        )

    @cached_property
    def sweep(self) -> pd.DataFrame:
        """One row a detection threshold: AP, precision, recall, people without a box."""
        return tables.sweep_thresholds(self.bundle, self.options)

    def slices(self, by: str | Sequence[str | Sequence[str]] = SLICES) -> pd.DataFrame:
        """Error rates of groups of people.

        Args:
            by: columns of :attr:`persons`, one or several, each for itself; columns together as a
                tuple. ``"joint"`` and ``"side"``: of the joints of detections instead.

        Returns:
            Columns ``slice, value, n, errors, rate, low, high, lift, grey``, by lift times n.

        Raises:
            InputError: there is no such column.
        """
        table, right = self.persons, "ok"
        if by in ("joint", "side"):
            table, right = self.joints[self.joints["on"] == DETECTED], "good"
        return tables.slice_table(
            table,
            [by] if isinstance(by, str) else list(by),
            right=right,
            min_cell=self.options.min_cell,
            confidence=self.options.confidence,
        )

    @property
    def playable(self) -> bool:
        """Whether there are boxes, and poses on ground-truth boxes: the game needs both."""
        return self.bundle.two_stage and bool(self.bundle.people.has_given.any())

    @cached_property
    def game(self) -> oracle.Game | None:
        """The four values at both levels; None if boxes or poses on ground-truth boxes lack."""
        return oracle.play(self.bundle, self.options) if self.playable else None

    @cached_property
    def draws(self) -> oracle.Draws | None:
        """Bootstrap draws of the four values; None without a game."""
        if self.game is None:
            return None
        from tqdm.auto import tqdm

        n, hidden = self.options.n_bootstrap, not (self.progress and show_progress())
        with tqdm(total=6 * n, unit=" draws", desc="intervals", disable=hidden, leave=False) as bar:
            return oracle.bootstrap(self.game, n, self.options.seed, bar.update)

    @property
    def as_baseline(self) -> Baseline | None:
        """This analysis as what another one is compared with; None without a game."""
        if self.game is None or self.draws is None:
            return None
        gains = {c.name: c.delta[whatif.METRIC] for c in self.changes if c.name in whatif.FREE}
        return Baseline(self.bundle.name, Normal(self.game, self.draws, gains))

    @cached_property
    def matches(self) -> Matches:
        """Detections matched to people, end to end: poses ranked as ``ppdet`` does."""
        if self.game is not None:
            return self.game.matches["attainable"][""]
        kept = rank_candidates(self.bundle, self.options).kept(self.bundle.threshold)
        return match_poses(self.bundle, kept, self.options)

    @cached_property
    def end_to_end(self) -> dict[str, float]:
        """AP, AP50, AP75 of the detections, 0 to 1: boxes from the threshold up."""
        return dict(statistics(self.matches))

    @cached_property
    def end_to_end_draws(self) -> Float:
        """(B, 3) bootstrap draws of these; paired between analyses of the same images."""
        if self.draws is not None:
            return self.draws.values["attainable"][:, 0]
        return oracle.draw_metrics(self.matches, self.options.n_bootstrap, self.options.seed)

    @cached_property
    def changes(self) -> list[whatif.WhatIf]:
        """The isolated changes behind :attr:`what_if`."""
        return whatif.what_ifs(self.bundle, self.options, self.detection_types, self.joint_labels)

    @cached_property
    def what_if(self) -> pd.DataFrame:
        """One row an isolated change: AP with it, and the signed gain. Gains do not add up."""
        return tables.what_if_table(self.changes)

    @cached_property
    def person_counts(self) -> dict[str, int]:
        """How many people have each label; 0 too."""
        return {name: int((self.persons["label"] == name).sum()) for name in PERSON_LABELS}

    @cached_property
    def verdict(self) -> Verdict | None:
        """Which module to improve; None where that cannot be told (:attr:`without_verdict`)."""
        if self.game is None or self.draws is None:
            return None
        evidence = Evidence(
            game=self.game,
            draws=self.draws,
            n_images=len(self.bundle.image_ids),
            n_people=int(self.bundle.evaluated.sum()),
            what_ifs=self.changes,
            labels=self.person_counts,
            threshold=self.bundle.threshold,
            sweep=list(zip(self.sweep["threshold"], self.sweep["AP"], strict=True)),
        )
        normal = None if self.baseline is None else self.baseline.normal
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
        if self.game is None:
            return None
        return tables.game_table(self.game, self.draws, self.options.confidence)
