"""The pictures of an analysis, as methods: what ErrorAnalysis inherits.

Each method takes the axes to draw on, or makes a figure, and returns what it drew. None shows it or
changes matplotlib's settings: text and lines have the colours of the style that is in force.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kptk.skeleton import COCO17

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL import Image

    from kptk.analysis.result import ErrorAnalysis


class Figures:
    """Figures and the report of an :class:`kptk.ErrorAnalysis`."""

    @property
    def _it(self) -> ErrorAnalysis:
        return cast("ErrorAnalysis", self)

    def plot_flow(self, ax: Axes | None = None) -> Axes:
        """Draw how many people end in which label, and whose error that is."""
        from kptk.analysis.flow import plot_flow

        return plot_flow(self._it.persons, ax)

    def plot_ladder(self, ax: Axes | None = None, *, metric: str = "AP") -> Axes:
        """Draw the four values of the oracle game as steps, at both levels.

        Args:
            ax: where to draw; None: a new figure.
            metric: ``"AP"``, ``"AP50"`` or ``"AP75"``.

        Raises:
            InputError: there is no game: boxes, or poses on ground-truth boxes, are missing.
        """
        from kptk.analysis.ladder import plot_ladder
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
        from kptk.analysis.charts import plot_what_ifs

        return plot_what_ifs(self._it.what_if, ax, metric=metric, groups=groups)

    def plot_stacked_curve(self, ax: Axes | None = None, *, threshold: float = 0.5) -> Axes:
        """Draw precision against recall as errors are taken away one kind after another.

        Args:
            ax: where to draw; None: a new figure.
            threshold: of OKS, one of .5, .55, ... .95.
        """
        from kptk.analysis.charts import plot_stacked_curve
        from kptk.analysis.curves import stacked_curves

        curves = stacked_curves(self._it.bundle, self._it.options, threshold)
        return plot_stacked_curve(curves, ax, threshold=threshold)

    def plot_manikin(self, ax: Axes | None = None, *, on: str = "ground truth") -> Axes:
        """Draw the shares of the joint labels as pies on a figure.

        Args:
            ax: where to draw; None: a new figure.
            on: poses on ``"ground truth"`` boxes, or on ``"detected"`` ones.
        """
        from kptk.analysis.manikin import mean_places, plot_manikin

        bundle = self._it.bundle
        ready = bundle.skeleton.names == COCO17.names
        places = None if ready else mean_places(bundle.people.points, bundle.skeleton)
        return plot_manikin(self._it.joints, bundle.skeleton, on=on, places=places, ax=ax)

    def plot_transitions(self, ax: Axes | None = None) -> Axes:
        """Draw joint labels on the ground-truth box against those on the detected box."""
        from kptk.analysis.grids import plot_transitions

        return plot_transitions(self._it.transitions, ax)

    def plot_oks(self, ax: Axes | None = None) -> Axes:
        """Draw every person's OKS on the detected box against that on the ground-truth box."""
        from kptk.analysis.scatters import plot_oks

        return plot_oks(self._it.persons, ax, threshold=self._it.options.oks_threshold)

    def plot_sweep(self, ax: Axes | None = None) -> Axes:
        """Draw what another detection threshold would do."""
        from kptk.analysis.charts import plot_sweep

        return plot_sweep(self._it.sweep, ax, threshold=self._it.bundle.threshold)

    def plot_heat_map(self, ax: Axes | None = None) -> Axes:
        """Draw the share of people in error by how hidden and how crowded they are."""
        from kptk.analysis.grids import plot_heat_map

        return plot_heat_map(self._it.persons, ax, min_cell=self._it.options.min_cell)

    def plot_reliability(self, ax: Axes | None = None) -> Axes:
        """Draw how often detections of each score are right."""
        from kptk.analysis.charts import plot_reliability

        return plot_reliability(self._it.detections, ax, min_cell=self._it.options.min_cell)

    def plot_error_vectors(self, ax: Axes | None = None, *, on: str = "ground truth") -> Axes:
        """Draw where each joint was put, seen from its true place.

        Args:
            ax: where to draw; None: a new figure.
            on: poses on ``"ground truth"`` boxes, or on ``"detected"`` ones.
        """
        from kptk.analysis.scatters import plot_error_vectors

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
        from kptk.analysis.pictures import draw_people, people_sheet, worst_people

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
        from kptk.analysis.html import write_html

        return write_html(self._it, path, images)

    def _repr_html_(self) -> str:
        from kptk.analysis.card import verdict_card

        return verdict_card(self._it)
