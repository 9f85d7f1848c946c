"""CompareRuns: two pipelines on the same people side by side, fixed and broken people first."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as w
import numpy as np

from kptk.analysis.labels import BELOW_THRESHOLD, NEVER_DETECTED, NMS_SUPPRESSED, OVER_CAP
from kptk.analysis.plots import GREY, PERSON_COLOURS
from kptk.analysis.result import CHANGES, Comparison, analyze
from kptk.coco import KeypointData
from kptk.errors import InputError
from kptk.evaluation import Evaluation
from kptk.widgets.album import album_of_evaluation
from kptk.widgets.browser import Pager, check, choice, classed, row, slider
from kptk.widgets.picture import Region, State, chip, region_of

MOST, GAINS, LOSSES = "largest change first", "largest gain first", "largest loss first"
EVERYONE = "everyone"

# Labels of people whom no pose that is emitted belongs to, though a candidate may have one.
_NOT_EMITTED = (BELOW_THRESHOLD, NMS_SUPPRESSED, OVER_CAP, NEVER_DETECTED)
_SIDES = ("before", "after")


class CompareRuns(Pager):
    """Look at people before and after, those first whose OKS changed most.

    Both views show the same part of the same image; zooming and moving one moves the other.
    A person is right, fixed or broken by the labels of ``kptk.analyze``.

    Args:
        before: an evaluation of a pipeline.
        after: an evaluation of another pipeline on the same data.
        data: the data.
        det_threshold: lowest box score of a detection in both; None: each pipeline's own.
        names: what the two are called.
        height: the views' largest, in pixels.

    Attributes:
        comparison: the analyses behind it: ``persons``, ``fixed``, ``broken``.
        persons: one row a person: ``image_id, annotation_id, before, after, oks_before,
            oks_after, change, gain``, in the order shown; ``gain`` is the OKS gained, 0 being that
            of a person who is not emitted.
        views: the two images.
        show, order, position, kpt_threshold, truth, rings, whole, previous, next: controls.

    Raises:
        InputError: an evaluation has no predictions or lacks a stage.
        DataError: the evaluations are not of the same people.
    """

    _snapshot_side = 480

    def __init__(
        self,
        before: Evaluation,
        after: Evaluation,
        data: KeypointData,
        *,
        det_threshold: float | None = None,
        names: tuple[str, str] = _SIDES,
        height: int = 460,
    ) -> None:
        for what, run in zip(_SIDES, (before, after), strict=True):
            if not isinstance(run, Evaluation):
                raise InputError(f"{what} must be an evaluation. Got {type(run).__name__}.")
        analyses = [analyze(run, det_threshold=det_threshold) for run in (before, after)]
        self.comparison: Comparison = analyses[0].compare(analyses[1])
        self._albums = [album_of_evaluation(run, data) for run in (before, after)]
        self._thresholds = [analysis.bundle.threshold for analysis in analyses]
        self._names = names
        persons = self.comparison.persons
        oks = [
            persons[f"oks_{side}"].fillna(0.0).where(~persons[side].isin(_NOT_EMITTED), 0.0)
            for side in _SIDES
        ]
        self.persons = self._all = persons.assign(gain=oks[1] - oks[0])
        counts = self._all["change"].value_counts()
        self._counts = {name: int(counts.get(name, 0)) for name in CHANGES}
        super().__init__(2, height, "person")
        self._make_controls()
        self._filter()

    def _make_controls(self) -> None:
        counts = {EVERYONE: len(self._all), **self._counts}
        self.show = choice("People", [(f"{name} ({n})", name) for name, n in counts.items()])
        self.order = choice("Order", (MOST, GAINS, LOSSES))
        self.kpt_threshold = slider("Joint", 0.2, "Joints below it are hollow")
        self.truth = check("ground truth", True)
        self.rings = check("rings: similarity .85 and .5", False)
        self.whole = check("whole image", False)
        self._switches = {"truth": self.truth, "rings": self.rings}
        self.captions = [classed(w.HTML(), "kptk-line") for _ in _SIDES]
        stages = [
            classed(w.VBox(pair), "kptk-stage")
            for pair in zip(self.captions, self.views, strict=True)
        ]
        turning = [self.previous, self.position, self.total, self.next]
        self.children = [
            row([self.show, self.order, *turning]),
            classed(w.HBox(stages), "kptk-body"),
            row([self.truth, self.rings, self.whole, self.kpt_threshold]),
            self.caption,
        ]
        self._listen(
            (self._filter, (self.show, self.order)),
            (self._turn, [self.whole]),
            (self._refresh, (self.kpt_threshold, self.truth, self.rings)),
        )

    @property
    def person(self) -> Mapping[str, Any] | None:
        """The row of the person who is shown; None if nobody passes."""
        if not len(self.persons):
            return None
        found: dict[str, Any] = self.persons.iloc[self.position.value - 1].to_dict()
        return found

    @property
    def states(self) -> list[State]:
        """What the two views depend on; empty if nobody passes."""
        person = self.person
        if person is None:
            return []
        number, states = int(person["annotation_id"]), []
        for i, side in enumerate(_SIDES):
            scene = self._albums[i].scene(int(person["image_id"]))
            look = self._look(
                i,
                scene,
                box_threshold=self._thresholds[i],
                kpt_threshold=self.kpt_threshold.value,
                truth=self.truth.value,
                rings=self.rings.value,
                focus=number,
            )
            label = str(person[side])
            states.append(State(scene, look, {number: (label, PERSON_COLOURS.get(label, GREY))}))
        return states

    def __repr__(self) -> str:
        parts = ", ".join(f"{count} {name}" for name, count in self._counts.items())
        return f"<CompareRuns {' and '.join(self._names)}: {len(self._all)} people, {parts}>"

    def _filter(self) -> None:
        chosen = self._all
        if self.show.value != EVERYONE:
            chosen = chosen[chosen["change"] == self.show.value]
        keys = {MOST: -chosen["gain"].abs(), GAINS: -chosen["gain"], LOSSES: chosen["gain"]}
        self.persons = chosen.iloc[np.argsort(keys[self.order.value].to_numpy(), kind="stable")]
        self._set_pages(len(self.persons))

    def _region_of_page(self) -> Region | None:
        person = self.person
        if person is None or self.whole.value:
            return None
        scene = self._albums[0].scene(int(person["image_id"]))
        return region_of(scene, int(person["annotation_id"]), 2.2)

    def _say(self, states: Sequence[State]) -> None:
        person = self.person
        if person is None:
            self.caption.value = "Nobody passes this filter."
            return
        for i, (name, side) in enumerate(zip(self._names, _SIDES, strict=True)):
            label, oks = str(person[side]), float(person[f"oks_{side}"])
            emitted = label not in _NOT_EMITTED and np.isfinite(oks)
            self.captions[i].value = (
                f"<b>{html.escape(name)}</b> {chip(label, PERSON_COLOURS.get(label, GREY))} "
                f"<span class='soft'>{f'OKS {oks:.2f}' if emitted else 'not emitted'}</span>"
            )
            self.views[i].label = f"{name}, person {person['annotation_id']}"
        self.caption.value = (
            f"<b>{html.escape(str(person['file_name']))}</b> person {person['annotation_id']}: "
            f"{person['change']} <span class='soft'>OKS {person['gain']:+.2f}</span>"
        )
