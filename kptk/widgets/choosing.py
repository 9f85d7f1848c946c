"""What the figures of an error analysis count, and which people a choice in them means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kptk.analysis.labels import JOINT_LABELS, JointLabels
from kptk.analysis.numbers import Numbers
from kptk.analysis.plots import OWNERS, PERSON_COLOURS, light, plot_oks, plot_transitions
from kptk.coco import KeypointData
from kptk.geometry import Bool, Float, Index
from kptk.widgets.theme import css

NO_BOX = -0.07  # where the scatter puts people without a box, below an OKS of 0

Point = tuple[float, float]


@dataclass(frozen=True)
class Choice:
    """What was chosen: in one of the figures, or nothing.

    Attributes:
        labels: bars of people, by label; together they mean everyone with one of them.
        cell: of the joints: the label on the ground-truth box and that on the detected box.
        outline: corners (OKS on the ground-truth box, OKS on the detected box) of a closed line
            in the scatter; people without a box are at ``NO_BOX``.
    """

    labels: tuple[str, ...] = ()
    cell: tuple[str, str] | None = None
    outline: tuple[Point, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.labels or self.cell or self.outline)

    def with_bar(self, label: str, add: bool) -> Choice:
        """After a click on a bar: it alone or, with ``add``, it too; a second click frees it."""
        if not add:
            return Choice() if self.labels == (label,) else Choice((label,))
        kept = tuple(name for name in self.labels if name != label)
        return Choice(kept if label in self.labels else (*kept, label))

    def with_cell(self, cell: tuple[str, str]) -> Choice:
        """After a click on a cell; a second click frees it."""
        return Choice() if self.cell == cell else Choice(cell=cell)

    @property
    def words(self) -> str:
        """What was chosen, in words."""
        if self.labels:
            return " or ".join(self.labels)
        if self.cell:
            return f"a joint that is {self.cell[0]} on the true box, {self.cell[1]} on the found"
        return "inside the outline" if self.outline else "everyone"


@dataclass(frozen=True, eq=False)
class Findings:
    """The labels of n people that must be found, and of their joints, at one pair of thresholds.

    Attributes:
        image_id: (n,) ids of their images.
        annotation_id: (n,) their own.
        label: (n,) one of ``analysis.labels.PERSON_LABELS``.
        oks: (n,) of the pose on the detected box; NaN without one.
        oks_given: (n,) of the pose on the ground-truth box; NaN without one.
        owner: (m,) whose each of m joints is that is labelled on both boxes: annotation ids.
        before: (m,) index into ``JOINT_LABELS`` on the ground-truth box.
        after: (m,) the same on the detected box.
    """

    image_id: NDArray[np.int64]
    annotation_id: NDArray[np.int64]
    label: NDArray[np.object_]
    oks: Float
    oks_given: Float
    owner: NDArray[np.int64]
    before: Index
    after: Index

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many people have each label, in the order of the figures: grouped by module."""
        return {name: int((self.label == name).sum()) for name in PERSON_COLOURS}

    @cached_property
    def joints(self) -> Index:
        """(5, 5) counts of joints: label on the ground-truth box by label on the detected box."""
        n = len(JOINT_LABELS)
        return np.bincount(self.before * n + self.after, minlength=n * n).reshape(n, n)

    @cached_property
    def heights(self) -> Float:
        """(n,) ``oks`` as the scatter has it: ``NO_BOX`` where there is no box."""
        return np.where(np.isfinite(self.oks), self.oks, NO_BOX)

    def mask(self, choice: Choice) -> Bool:
        """(n,) who is meant by a choice; everyone, if nothing was chosen."""
        if choice.labels:
            return np.isin(self.label.astype(str), choice.labels)
        if choice.cell is not None:
            before, after = (JOINT_LABELS.index(name) for name in choice.cell)
            owners = self.owner[(self.before == before) & (self.after == after)]
            return np.isin(self.annotation_id, owners)
        if choice.outline:
            return inside(choice.outline, self.oks_given, self.heights)
        return np.ones(len(self.annotation_id), np.bool_)

    def people(self, choice: Choice) -> list[int]:
        """Annotation ids of those whom a choice means, by image."""
        return [int(i) for i in self.annotation_id[self.mask(choice)]]

    def images(self, choice: Choice) -> list[int]:
        """Ids of their images, ascending."""
        return [int(i) for i in np.unique(self.image_id[self.mask(choice)])]

    @cached_property
    def table(self) -> pd.DataFrame:
        """``image_id, annotation_id, label, oks``: what a browser needs to know of people."""
        names = ("image_id", "annotation_id", "label", "oks")
        return pd.DataFrame({name: getattr(self, name) for name in names})


def findings_of(labelled: Numbers, given: JointLabels) -> Findings:
    """Read the labels off; neither models nor bootstrap are run.

    Args:
        labelled: the analysis at the thresholds that are wanted.
        given: its joints on ground-truth boxes, which no threshold of these changes.
    """
    bundle, labels, found = labelled.bundle, labelled.person_labels, labelled.joint_labels
    rows, people = np.flatnonzero(bundle.evaluated), bundle.people
    whose, one, other = np.intersect1d(given.person, found.person, return_indices=True)
    before, after = given.label[one].astype(np.intp), found.label[other].astype(np.intp)
    both = (before >= 0) & (after >= 0)
    return Findings(
        image_id=bundle.image_ids[people.image[rows]],
        annotation_id=people.ids[rows],
        label=labels.label[rows],
        oks=labels.oks[rows],
        oks_given=labels.oks_given[rows],
        owner=people.ids[whose[np.nonzero(both)[0]]],
        before=before[both],
        after=after[both],
    )


def inside(outline: Sequence[Point], x: Float, y: Float) -> Bool:
    """(n,) which points lie inside a closed line, by the even-odd rule; NaN lies outside."""
    within = np.zeros(len(x), np.bool_)
    corners = np.asarray(outline, np.float64).reshape(-1, 2)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        crosses = (y1 > y) != (y2 > y)
        within ^= crosses & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return within & np.isfinite(x) & np.isfinite(y)


def selection_document(
    data: KeypointData, findings: Findings, choice: Choice, provenance: dict[str, Any]
) -> dict[str, Any]:
    """A COCO document of the images of the chosen people, with everybody on them.

    Whole images, since a detector is trained, and labels are checked, on whole images. Under
    ``kptk_selection`` it says who was chosen and why.

    Args:
        data: the data.
        findings: at the thresholds of now.
        choice: what was chosen.
        provenance: further facts to be kept.
    """
    who = {"annotation_ids": findings.people(choice), "chosen": choice.words, **provenance}
    return {**data.subset(findings.images(choice)).content, "kptk_selection": who}


class ChooserView(anywidget.AnyWidget):
    """Shows the three figures, and sends what is clicked or drawn round.

    Messages from the page: ``{"bar": label, "add": bool}``, ``{"cell": [before, after]}``,
    ``{"outline": [[x, y], ...]}``, ``{"clear": true}``.

    Attributes:
        bars: of people: ``label, owner, colour, count``.
        names: of the joints' labels.
        joints: counts of joints: rows on the ground-truth box, columns on the detected box.
        points: float32 (n, 3) as bytes: OKS on the ground-truth box, on the detected box, and the
            index of the label in ``bars``.
        picked: uint8 (n,) as bytes: who is chosen.
        chosen: ``labels``, ``cell`` and ``outline`` of the choice.
        threshold: OKS from which a person counts as found.
        no_box: height of people without a box.
    """

    _esm = Path(__file__).with_name("chooser.js")
    _css = css("chooser")

    bars: Any = traitlets.List().tag(sync=True)
    names: Any = traitlets.List(list(JOINT_LABELS)).tag(sync=True)
    joints: Any = traitlets.List().tag(sync=True)
    points = traitlets.Bytes().tag(sync=True)
    picked = traitlets.Bytes().tag(sync=True)
    chosen: Any = traitlets.Dict().tag(sync=True)
    threshold = traitlets.Float(0.5).tag(sync=True)
    no_box = traitlets.Float(NO_BOX).tag(sync=True)

    def show(self, findings: Findings, choice: Choice, threshold: float) -> None:
        """Show these counts, and who is chosen."""
        labels = list(PERSON_COLOURS)
        index = [labels.index(name) for name in findings.label]
        points = np.stack([findings.oks_given, findings.heights, index], axis=1)
        with self.hold_sync():
            self.bars = [
                {"label": name, "owner": OWNERS[name], "colour": colour, "count": count}
                for (name, colour), count in zip(
                    PERSON_COLOURS.items(), findings.counts.values(), strict=True
                )
            ]
            self.joints = findings.joints.tolist()
            self.points = points.astype("<f4").tobytes()
            self.picked = findings.mask(choice).astype(np.uint8).tobytes()
            self.threshold = threshold
            self.chosen = {
                "labels": list(choice.labels),
                "cell": list(choice.cell or ()),
                "outline": [list(corner) for corner in choice.outline],
            }


def figures_image(labelled: Numbers, findings: Findings) -> NDArray[np.uint8]:
    """The three figures as RGB uint8 (H, W, 3), for a saved notebook."""
    figure = Figure(figsize=(13, 4.2), dpi=75, layout="constrained")
    bars, matrix, cloud = figure.subplots(1, 3)
    names, counts = zip(*reversed(findings.counts.items()), strict=True)
    drawn = bars.barh(names, counts, color=[PERSON_COLOURS[name] for name in names])
    bars.bar_label(drawn, padding=3)
    bars.set_title("People")
    light(bars)
    plot_transitions(labelled.transitions, matrix)
    plot_oks(labelled.persons, cloud, threshold=labelled.options.oks_threshold, n_named=0)
    cloud.get_legend().remove()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
