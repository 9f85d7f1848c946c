"""A progress bar for the one part that takes long."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kptk.analysis.bundle import (
    Bundle,
    Float,
    Index,
    bundle_of_evaluation,
    bundle_of_predictions,
    bundle_of_results,
)
from kptk.analysis.matching import Assignment, assign
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.tables import DETECTED, GROUND_TRUTH
from kptk.analysis.verdict import Baseline
from kptk.errors import DataError, InputError
from kptk.evaluation import Evaluation, Predictions
from kptk.evaluation.ground_truth import read_truth
from kptk.files import write_json
from kptk.skeleton import COCO17
from kptk.stored import is_run_folder, read_predictions

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from PIL import Image

    from kptk.analysis.labels import Found, JointLabels, PersonLabels, Rate
    from kptk.analysis.oracle import Draws, Game
    from kptk.analysis.verdict import Baseline, Verdict
    from kptk.analysis.whatif import WhatIf
    from kptk.coco import KeypointData
    from kptk.evaluation import Matches


@contextmanager
def counting(total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    """A bar of so many draws; gives what to call with each number done.

    Args:
        total: of draws.
        wanted: whether to show it (``KPTK_PROGRESS=0`` hides it too).
    """
    from tqdm.auto import tqdm

    from kptk.files import show_progress

    hidden = not (wanted and show_progress())
    with tqdm(total=total, unit=" draws", desc="intervals", disable=hidden, leave=False) as bar:

        def count(done: int) -> None:
            bar.update(done)

        yield count


# ---- figures: The pictures of an analysis, as methods: what ErrorAnalysis inherits.
#
# Each method takes the axes to draw on, or makes a figure, and returns what it drew. None shows it or
# changes matplotlib's settings: text and lines have the colours of the style that is in force.


class Figures:
    """Figures and the report of an :class:`kptk.ErrorAnalysis`."""

    @property
    def _it(self) -> ErrorAnalysis:
        return cast("ErrorAnalysis", self)

    def plot_flow(self, ax: Axes | None = None) -> Axes:
        """Draw how many people end in which label, and whose error that is."""
        from kptk.analysis.plots import plot_flow

        return plot_flow(self._it.persons, ax)

    def plot_ladder(self, ax: Axes | None = None, *, metric: str = "AP") -> Axes:
        """Draw the four values of the oracle game as steps, at both levels.

        Args:
            ax: where to draw; None: a new figure.
            metric: ``"AP"``, ``"AP50"`` or ``"AP75"``.

        Raises:
            InputError: there is no game: boxes, or poses on ground-truth boxes, are missing.
        """
        from kptk.analysis.plots import plot_ladder
        from kptk.errors import InputError

        game = self._it.game
        if game is None:
            raise InputError(f"There is no oracle game to draw. {self._it.without_verdict}")
        levels = {
            level: {who: values[metric] for who, values in members.items()}
            for level, members in game.values.items()
        }
        return plot_ladder(levels, ax, metric=metric)

    def plot_what_ifs(
        self,
        ax: Axes | None = None,
        *,
        metric: str = "AP",
        groups: Sequence[str] | None = None,
    ) -> Axes:
        """Draw what each change alone would gain.

        Args:
            ax: where to draw; None: a new figure.
            metric: ``"AP"``, ``"AP50"`` or ``"AP75"``.
            groups: of the table ``what_if``; None: all but single joints.
        """
        from kptk.analysis.plots import plot_what_ifs

        return plot_what_ifs(self._it.what_if, ax, metric=metric, groups=groups)

    def plot_stacked_curve(self, ax: Axes | None = None, *, threshold: float = 0.5) -> Axes:
        """Draw precision against recall as errors are taken away one kind after another.

        Args:
            ax: where to draw; None: a new figure.
            threshold: of OKS, one of .5, .55, ... .95.
        """
        from kptk.analysis.plots import plot_stacked_curve
        from kptk.analysis.tables import stacked_curves

        curves = stacked_curves(self._it.bundle, self._it.options, threshold)
        return plot_stacked_curve(curves, ax, threshold=threshold)

    def plot_manikin(self, ax: Axes | None = None, *, on: str = "ground truth") -> Axes:
        """Draw the shares of the joint labels as pies on a figure.

        Args:
            ax: where to draw; None: a new figure.
            on: poses on ``"ground truth"`` boxes, or on ``"detected"`` ones.
        """
        from kptk.analysis.plots import mean_places, plot_manikin

        bundle = self._it.bundle
        ready = bundle.skeleton.names == COCO17.names
        places = None if ready else mean_places(bundle.people.points, bundle.skeleton)
        return plot_manikin(self._it.joints, bundle.skeleton, on=on, places=places, ax=ax)

    def plot_transitions(self, ax: Axes | None = None) -> Axes:
        """Draw joint labels on the ground-truth box against those on the detected box."""
        from kptk.analysis.plots import plot_transitions

        return plot_transitions(self._it.transitions, ax)

    def plot_oks(self, ax: Axes | None = None) -> Axes:
        """Draw every person's OKS on the detected box against that on the ground-truth box."""
        from kptk.analysis.plots import plot_oks

        return plot_oks(self._it.persons, ax, threshold=self._it.options.oks_threshold)

    def plot_sweep(self, ax: Axes | None = None) -> Axes:
        """Draw what another detection threshold would do."""
        from kptk.analysis.plots import plot_sweep

        return plot_sweep(self._it.sweep, ax, threshold=self._it.bundle.threshold)

    def plot_heat_map(self, ax: Axes | None = None) -> Axes:
        """Draw the share of people in error by how hidden and how crowded they are."""
        from kptk.analysis.plots import plot_heat_map

        return plot_heat_map(self._it.persons, ax, min_cell=self._it.options.min_cell)

    def plot_reliability(self, ax: Axes | None = None) -> Axes:
        """Draw how often detections of each score are right."""
        from kptk.analysis.plots import plot_reliability

        return plot_reliability(self._it.detections, ax, min_cell=self._it.options.min_cell)

    def plot_error_vectors(self, ax: Axes | None = None, *, on: str = "ground truth") -> Axes:
        """Draw where each joint was put, seen from its true place.

        Args:
            ax: where to draw; None: a new figure.
            on: poses on ``"ground truth"`` boxes, or on ``"detected"`` ones.
        """
        from kptk.analysis.plots import plot_error_vectors

        it = self._it
        return plot_error_vectors(it.joints, it.persons, it.bundle.skeleton, on=on, ax=ax)

    def draw_worst(
        self, images: str | os.PathLike[str], *, count: int = 1, label: str | None = None
    ) -> Image.Image:
        """Draw the people that show a label best: annotated on the left, found on the right.

        Args:
            images: the folder of the images.
            count: so many of each label.
            label: only this one; None: every label but ``ok``.

        Returns:
            One picture of all of them; empty if there is nobody.
        """
        from kptk.analysis.plots import draw_people, people_sheet, worst_people

        persons = self._it.persons
        chosen = persons if label is None else persons[persons["label"] == label]
        rows = worst_people(chosen, count)
        return people_sheet(draw_people(self._it.bundle, rows, Path(images).expanduser()))

    def to_html(
        self, path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None
    ) -> Path:
        """Write the report: one HTML file that needs nothing else, and no network.

        Args:
            path: the file.
            images: the folder of the images, for pictures of the worst people; None: without.

        Returns:
            The file.

        Raises:
            InputError: it cannot be written.
        """
        from kptk.analysis.report import write_html

        return write_html(self._it, path, images)

    def _repr_html_(self) -> str:
        from kptk.analysis.report import verdict_card

        return verdict_card(self._it)


# ---- labelled: What can be said of any pipeline, with a game or without: labels and tables.


SLICES = (
    "size", "n_keypoints", "n_visible", "occlusion", "crowding", "n_overlaps", "truncation",
    "box_iou", "box_score",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Labelled:
    """Labels of people, detections and joints, and the tables of them.

    Attributes:
        bundle: candidates, poses and people as arrays.
        options: the thresholds.
    """

    bundle: Bundle
    options: AnalysisOptions

    @cached_property
    def assignment(self) -> Assignment:
        """Which detection's box is whose, by IoU."""
        return assign(self.bundle, min_iou=self.options.match_iou)

    @cached_property
    def found(self) -> Found:
        """What the labels of people and of detections share."""
        from kptk.analysis.labels import find

        return find(self.bundle, self.options)

    @cached_property
    def person_labels(self) -> PersonLabels:
        """The one label of every person."""
        from kptk.analysis.labels import label_people

        return label_people(self.bundle, self.options, self.found)

    @cached_property
    def detection_types(self) -> Index:
        """(D,) index into ``labels.DETECTION_TYPES``; -1 for candidates below the threshold."""
        from kptk.analysis.labels import type_detections

        return type_detections(self.bundle, self.options, self.found)

    @cached_property
    def rates(self) -> Mapping[str, Rate]:
        """Error rates of the detector and of the keypoint model, with intervals."""
        from kptk.analysis.labels import error_rates

        return error_rates(self.person_labels, self.options.confidence)

    @cached_property
    def joint_labels(self) -> JointLabels:
        """Joints of the detections: pairs of a pose and a person by OKS, as coco-analyze pairs."""
        from kptk.analysis.labels import oks_pairs

        options = self.options
        candidate, person = oks_pairs(self.bundle, options.pair_oks, min_area=options.min_area)
        return self._label(person, self.bundle.candidates.points[candidate], candidate)

    @cached_property
    def joint_labels_given(self) -> JointLabels:
        """Joints of the poses on the ground-truth boxes of people that must be found."""
        people = self.bundle.people
        chosen = self.bundle.evaluated & people.has_given & (people.area >= self.options.min_area)
        person = np.flatnonzero(chosen)
        return self._label(person, people.given[person], np.full(len(person), -1, np.intp))

    def _label(self, person: Index, points: Float, candidate: Index) -> JointLabels:
        from kptk.analysis.labels import label_joints

        limits = self.options.good_similarity, self.options.miss_similarity
        return label_joints(self.bundle, person, points, candidate, *limits)

    @cached_property
    def persons(self) -> pd.DataFrame:
        """One row for each person that must be found: ids, label, box, OKS, slices, tags."""
        from kptk.analysis.tables import person_columns, person_table

        return person_table(self.bundle, self.person_labels, person_columns(self.bundle))

    @cached_property
    def unlabelled(self) -> pd.DataFrame:
        """One row for each single person without a labelled joint: detected or missed."""
        from kptk.analysis.tables import unlabelled_table

        return unlabelled_table(self.bundle, self.assignment.candidate)

    @cached_property
    def detections(self) -> pd.DataFrame:
        """One row for each candidate at or above the threshold: box, scores, type, whose."""
        from kptk.analysis.labels import DETECTION_TYPES
        from kptk.analysis.tables import detection_table

        return detection_table(
            self.bundle, self.detection_types, DETECTION_TYPES, self.assignment.person
        )

    @cached_property
    def joints(self) -> pd.DataFrame:
        """One row for each labelled joint of each pose, on detected and ground-truth boxes."""
        import pandas as pd

        from kptk.analysis.labels import JOINT_LABELS
        from kptk.analysis.tables import joint_table

        bundle, found, given = self.bundle, self.joint_labels, self.joint_labels_given
        tables = [
            joint_table(
                bundle, found, bundle.candidates.points[found.candidate], JOINT_LABELS, DETECTED
            ),
            joint_table(
                bundle, given, bundle.people.given[given.person], JOINT_LABELS, GROUND_TRUTH
            ),
        ]
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def transitions(self) -> pd.DataFrame:
        """How many joints went from which label on the ground-truth box to which on the detected.

        Rows: on the ground-truth box; columns: on the detected box; the same people in both.
        """
        import pandas as pd

        from kptk.analysis.labels import JOINT_LABELS, transition_matrix

        counts = transition_matrix(self.joint_labels_given, self.joint_labels)
        names = list(JOINT_LABELS)
        return pd.DataFrame(
            counts,
            index=pd.Index(names, name="on ground-truth box"),
            columns=pd.Index(names, name="on detected box"),
        )

    @cached_property
    def sweep(self) -> pd.DataFrame:
        """One row a detection threshold: AP, precision, recall, people without a box."""
        from kptk.analysis.tables import sweep_thresholds

        return sweep_thresholds(self.bundle, self.options)

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
        from kptk.analysis.tables import slice_table

        limits = self.options.min_cell, self.options.confidence
        if by in ("joint", "side"):
            joints = self.joints[self.joints["on"] == DETECTED]
            return slice_table(
                joints, [str(by)], right="good", min_cell=limits[0], confidence=limits[1]
            )
        columns = [by] if isinstance(by, str) else list(by)
        return slice_table(self.persons, columns, min_cell=limits[0], confidence=limits[1])


# ---- compare: Two pipelines on the same people: who was fixed, who was broken, what AP gained.


FIXED, BROKEN, STILL_WRONG, STILL_RIGHT = "fixed", "broken", "still wrong", "still right"


CHANGES = (FIXED, BROKEN, STILL_WRONG, STILL_RIGHT)


OK = "ok"


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Two analyses of the same data.

    Attributes:
        before: the first.
        after: the second.
    """

    before: ErrorAnalysis
    after: ErrorAnalysis

    @cached_property
    def persons(self) -> pd.DataFrame:
        """One row for each person that must be found.

        Columns ``image_id, annotation_id, file_name``, ``before`` and ``after`` (labels),
        ``oks_before`` and ``oks_after``, and ``change``: fixed, broken, still wrong, still right.
        """
        import pandas as pd

        first, second = self.before.persons, self.after.persons
        was, now = first["label"] == OK, second["label"] == OK
        change = np.select([~was & now, was & ~now, ~was & ~now], CHANGES[:3], CHANGES[3])
        return pd.DataFrame(
            {
                **{key: first[key] for key in ("image_id", "annotation_id", "file_name")},
                "before": first["label"],
                "after": second["label"],
                "oks_before": first["oks"],
                "oks_after": second["oks"],
                "change": change,
            }
        )

    @property
    def fixed(self) -> pd.DataFrame:
        """The people who are right now and were not."""
        return self.persons[self.persons["change"] == FIXED]

    @property
    def broken(self) -> pd.DataFrame:
        """The people who were right and are not any more."""
        return self.persons[self.persons["change"] == BROKEN]

    @cached_property
    def labels(self) -> pd.DataFrame:
        """How many people went from which label (rows) to which (columns)."""
        import pandas as pd

        return pd.crosstab(self.persons["before"], self.persons["after"])

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row a metric: before, after, delta, and the interval of delta, AP from 0 to 1.

        The interval is of a paired bootstrap over the images: both pipelines on the same draws.
        """
        import pandas as pd

        first, second = self.before.end_to_end, self.after.end_to_end
        draws = self.after.end_to_end_draws - self.before.end_to_end_draws
        low, high = _interval(draws, self.after.options.confidence)
        rows = [
            {
                "metric": name,
                "before": first[name],
                "after": second[name],
                "delta": second[name] - first[name],
                "low": low[k],
                "high": high[k],
            }
            for k, name in enumerate(first)
        ]
        return pd.DataFrame(rows)

    @property
    def json(self) -> dict[str, Any]:
        """Counts and metrics as plain values."""
        counts = self.persons["change"].value_counts()
        return {
            "data": self.before.bundle.name,
            "persons": {name: int(counts.get(name, 0)) for name in CHANGES},
            "metrics": self.metrics.set_index("metric").to_dict("index"),
        }

    @property
    def text(self) -> str:
        """Two sentences."""
        row = self.metrics.iloc[0]
        return (
            f"{len(self.fixed)} people fixed, {len(self.broken)} broken, of {len(self.persons)}. "
            f"{row['metric']} {100 * row['before']:.1f} to {100 * row['after']:.1f}: "
            f"{100 * row['delta']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})."
        )

    def __repr__(self) -> str:
        return f"<Comparison {self.before.bundle.name}: {self.text}>"

    def _repr_html_(self) -> str:
        table = self.labels.to_html()
        note = "People by label, before (rows) and after (columns)"
        return f"<p>{html.escape(self.text)}</p><p>{note}</p>{table}"


def compare(before: ErrorAnalysis, after: ErrorAnalysis) -> Comparison:
    """Compare two analyses of the same data.

    Raises:
        DataError: they are of different people, or were made with different thresholds or draws.
    """
    first, second = before.bundle, after.bundle
    same = np.array_equal(first.image_ids, second.image_ids) and np.array_equal(
        first.people.annotation_id, second.people.annotation_id
    )
    if not same or not np.array_equal(first.evaluated, second.evaluated):
        raise DataError(
            "Both analyses must be of the same people on the same images. "
            f"Got {first.name} ({len(first.image_ids)} images, {int(first.evaluated.sum())} "
            f"people) and {second.name} ({len(second.image_ids)} images, "
            f"{int(second.evaluated.sum())} people)."
        )
    if before.options != after.options:
        other = [k for k, v in before.options.json.items() if after.options.json[k] != v]
        raise DataError(
            f"Both analyses must be made with the same options. They differ in {', '.join(other)}."
        )
    return Comparison(before, after)


def _interval(draws: Any, confidence: float) -> tuple[Any, Any]:
    """Low and high of each column; NaN without draws."""
    if not len(draws):
        nothing = np.full(draws.shape[1], np.nan)
        return nothing, nothing
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(draws, [tail, 100 - tail], axis=0)
    return low, high


# ---- result: ErrorAnalysis: everything that can be said about one pipeline on one data set.


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
        from kptk.analysis.oracle import play

        return play(self.bundle, self.options) if self.playable else None

    @cached_property
    def draws(self) -> Draws | None:
        """Bootstrap draws of the four values; None where there is no game."""
        from kptk.analysis.oracle import bootstrap

        if self.game is None:
            return None
        with counting(6 * self.options.n_bootstrap, self.progress) as count:
            return bootstrap(self.game, self.options.n_bootstrap, self.options.seed, count)

    @property
    def as_baseline(self) -> Baseline | None:
        """This analysis as what another one is compared with; None where there is no game."""
        from kptk.analysis.verdict import Baseline, Normal
        from kptk.analysis.whatif import FREE, METRIC

        if self.game is None or self.draws is None:
            return None
        gains = {c.name: c.delta[METRIC] for c in self.changes if c.name in FREE}
        return Baseline(self.bundle.name, Normal(self.game, self.draws, gains))

    @cached_property
    def matches(self) -> Matches:
        """Detections matched to people, end to end: poses ranked as ``ppdet`` does."""
        from kptk.analysis.matching import match_poses, rank_candidates

        if self.game is not None:
            return self.game.matches["attainable"][""]
        kept = rank_candidates(self.bundle, self.options).kept(self.bundle.threshold)
        return match_poses(self.bundle, kept, self.options)

    @cached_property
    def end_to_end(self) -> dict[str, float]:
        """AP, AP50, AP75 of the detections, 0 to 1: boxes from the threshold up."""
        from kptk.analysis.matching import statistics

        return dict(statistics(self.matches))

    @cached_property
    def end_to_end_draws(self) -> Float:
        """(B, 3) bootstrap draws of these; paired between analyses of the same images."""
        from kptk.analysis.oracle import draw_metrics

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
        from kptk.analysis.report import text

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
        from kptk.analysis.report import save

        return save(self, Path(folder).expanduser())

    def compare(self, other: ErrorAnalysis) -> Comparison:
        """From this pipeline to another one on the same people: who was fixed, who was broken.

        Raises:
            DataError: the other is of other people, or made with other options.
        """

        return compare(self, other)

    def __repr__(self) -> str:
        bundle = self.bundle
        size = f"{len(bundle.image_ids)} images, {int(bundle.evaluated.sum())} people"
        said = self.without_verdict if self.verdict is None else self.verdict.sentence
        return f"<ErrorAnalysis {bundle.name}: {size}; {said}>"


# ---- api: `kptk.analyze`: which module is at fault, from an evaluation or from files.


Path_ = str | os.PathLike[str]


Results = Path_ | Sequence[Mapping[str, Any]] | Predictions


def analyze(
    evaluation: Evaluation | None = None,
    *,
    baseline: ErrorAnalysis | Evaluation | Path_ | None = None,
    predictions: Results | None = None,
    annotations: Path_ | Mapping[str, Any] | KeypointData | None = None,
    poses_on_truth: Path_ | Sequence[Mapping[str, Any]] | None = None,
    det_threshold: float | None = None,
    input_size: tuple[int, int] | None = None,
    sigmas: Sequence[float] | None = None,
    flip_pairs: Sequence[tuple[int, int]] | None = None,
    options: AnalysisOptions | None = None,
    n_bootstrap: int | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> ErrorAnalysis:
    """Find out which module to improve: the detector or the keypoint model.

    Give an evaluation, ``analyze(kptk.evaluate(pipe, data))``, or files,
    ``analyze(predictions=..., annotations=...)``. No model is run.

    What can be said depends on what there is. With boxes and with poses on ground-truth boxes (any
    evaluation of a pipeline has both): everything. With boxes alone: labels, what-ifs, slices, but
    no verdict. With COCO keypoint results without boxes: the errors of joints and what they cost.

    Args:
        evaluation: of a pipeline with a detector and a keypoint model, or of COCO results.
        baseline: the same pipeline on data where it is known to do well, or the stock models: an
            analysis, an evaluation, or a folder of ``ErrorAnalysis.save``. The verdict is then on
            the difference, since every good pair has errors of both kinds.
        predictions: a folder of ``Evaluation.save`` or ``predict_dataset``,
            ``Evaluation.predictions``, or a file or list of COCO keypoint results. If every record
            has a ``bbox`` (x, y, width, height), they are boxes with a pose on each, and ``score``
            is the box's.
        annotations: a COCO annotation file, its content, or loaded data.
        poses_on_truth: with results that have boxes: the same model's poses on ground-truth boxes,
            a file or list of records with ``annotation_id`` and ``keypoints``.
        det_threshold: lowest score of a detection; None: the pipeline's own; of results without
            one, all are detections.
        input_size: (height, width) of the pose model's input, with results that have boxes; it
            sets the shape of the crop. None: 3 wide to 4 high.
        sigmas: OKS sigma of each joint, with ``annotations``; None: by the joints' names.
        flip_pairs: pairs (left, right) of 0-based joint indices; None: by the joints' names.
        options: all other thresholds.
        n_bootstrap: bootstrap draws over the images; None: as in ``options``, 1000.
        seed: of the bootstrap; None: as in ``options``, 0.
        progress: show a progress bar while the intervals are computed.

    Returns:
        The analysis. In a notebook it shows the verdict.

    Raises:
        InputError: an argument is wrong, or the evaluation lacks a stage.
        DataError: predictions and annotations do not fit, or nobody has to be found.
    """
    chosen = _options(options, n_bootstrap, seed)
    if evaluation is not None:
        _alone(predictions, annotations, poses_on_truth, input_size, sigmas)
        bundle = bundle_of_evaluation(_check(evaluation), det_threshold)
    else:
        bundle = _bundle_of_files(
            predictions, annotations, poses_on_truth, det_threshold, input_size, sigmas
        )
    if flip_pairs is not None:
        pairs = tuple((int(a), int(b)) for a, b in flip_pairs)
        bundle = replace(bundle, skeleton=replace(bundle.skeleton, mirrored=pairs))
    return ErrorAnalysis(bundle, chosen, _baseline(baseline, chosen, progress), progress)


def _options(
    options: AnalysisOptions | None, n_bootstrap: int | None, seed: int | None
) -> AnalysisOptions:
    chosen = AnalysisOptions() if options is None else options
    if not isinstance(chosen, AnalysisOptions):
        raise InputError(
            "options must be kptk.analysis.options.AnalysisOptions(...). "
            f"Got {type(options).__name__}."
        )
    given = {"n_bootstrap": n_bootstrap, "seed": seed}
    return replace(chosen, **{name: value for name, value in given.items() if value is not None})


def _alone(*others: object) -> None:
    if any(other is not None for other in others):
        raise InputError(
            "analyze takes an evaluation, or predictions= and annotations= (with sigmas=, "
            "poses_on_truth=, input_size=), not both."
        )


def _check(evaluation: object) -> Evaluation:
    if isinstance(evaluation, Evaluation):
        return evaluation
    if isinstance(evaluation, str | os.PathLike):
        raise InputError(
            "analyze(...) takes an evaluation: analyze(kptk.evaluate(pipe, data)). For saved "
            "predictions write analyze(predictions=folder, annotations=file)."
        )
    raise InputError(
        "analyze(...) takes an evaluation: analyze(kptk.evaluate(pipe, data)). "
        f"Got {type(evaluation).__name__}."
    )


def _bundle_of_files(
    predictions: Results | None,
    annotations: Path_ | Mapping[str, Any] | KeypointData | None,
    poses_on_truth: Any,
    det_threshold: float | None,
    input_size: tuple[int, int] | None,
    sigmas: Sequence[float] | None,
) -> Bundle:
    if predictions is None or annotations is None:
        raise InputError(
            "analyze needs an evaluation, analyze(kptk.evaluate(pipe, data)), or results and "
            "ground truth, analyze(predictions=..., annotations=...)."
        )
    truth = read_truth(annotations, "keypoints", sigmas)
    stored: Any = predictions
    if is_run_folder(stored):
        run = read_predictions(stored)
        stored = run.to_coco(annotations)
        input_size = input_size or (run.input_size if stored else None)
        det_threshold = run.det_threshold if det_threshold is None else det_threshold
    if isinstance(stored, str | os.PathLike) and Path(stored).expanduser().is_dir():
        stored = Predictions.load(stored)
    if not isinstance(stored, Predictions):
        return bundle_of_results(
            stored, truth, det_threshold=det_threshold, poses_on_truth=poses_on_truth,
            input_size=input_size,
        )  # fmt: skip
    if poses_on_truth is not None or input_size is not None:
        raise InputError("poses_on_truth and input_size are for COCO results; here both are saved.")
    return bundle_of_predictions(stored, truth, det_threshold)


def _baseline(source: object, options: AnalysisOptions, progress: bool) -> Baseline | None:
    """What the verdict is compared with.

    Raises:
        InputError: it is nothing of the kind, or has no oracle game.
        DataError: the folder does not hold an analysis.
    """
    if source is None:
        return None
    if isinstance(source, str | os.PathLike):
        return Baseline.load(Path(source).expanduser())
    if isinstance(source, Evaluation):
        source = ErrorAnalysis(bundle_of_evaluation(source), options, progress=progress)
    if not isinstance(source, ErrorAnalysis):
        raise InputError(
            "baseline must be an analysis, an evaluation, or a folder of ErrorAnalysis.save. "
            f"Got {type(source).__name__}."
        )
    found = source.as_baseline
    if found is None:
        raise InputError(f"The baseline cannot be compared with. {source.without_verdict}")
    return found
