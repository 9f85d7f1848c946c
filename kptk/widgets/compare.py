"""CompareRuns: two pipelines on the same people side by side, fixed and broken people first."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import numpy as np

from kptk.analysis.labels import BELOW_THRESHOLD, NEVER_DETECTED, NMS_SUPPRESSED, OVER_CAP
from kptk.analysis.plots import GREY, PERSON_COLOURS
from kptk.analysis.result import CHANGES, Comparison
from kptk.errors import InputError
from kptk.widgets import theme as saved
from kptk.widgets.album import Scene, album_of_evaluation
from kptk.widgets.browser import box_areas, check, choice, joint_marks, row, slider
from kptk.widgets.picture import Look, Region, State, chip, draw, fit, region_around, render
from kptk.widgets.theme import PictureView

if TYPE_CHECKING:
    import pandas as pd

    from kptk.coco import KeypointData
    from kptk.evaluation import Evaluation


MOST, GAINS, LOSSES = "largest change first", "largest gain first", "largest loss first"


EVERYONE = "everyone"


# Labels of people whom no pose that is emitted belongs to, though a candidate may have one.
_NOT_EMITTED = (BELOW_THRESHOLD, NMS_SUPPRESSED, OVER_CAP, NEVER_DETECTED)


_STILL_SIDE = 480  # pixels of each picture that stays in a saved notebook


class CompareRuns(w.VBox):
    """Look at people before and after, those first whose OKS changed most.

    Both pictures show the same part of the same image; zooming and moving one moves the other.
    A person is right, fixed or broken by the labels of ``kptk.analyze``.

    Args:
        before: an evaluation of a pipeline.
        after: an evaluation of another pipeline on the same data.
        data: the data.
        det_threshold: lowest box score of a detection in both; None: each pipeline's own.
        names: what the two are called.
        height: the pictures' largest, in pixels.

    Attributes:
        comparison: the analyses behind it: ``persons``, ``fixed``, ``broken``.
        persons: one row a person: ``image_id, annotation_id, before, after, oks_before,
            oks_after, change, gain``, in the order shown; ``gain`` is the OKS gained, 0 being that
            of a person who is not emitted.
        views: the two pictures.
        show, order, position, kpt_threshold, truth, rings, whole, previous, next: controls.

    Raises:
        InputError: an evaluation has no predictions or lacks a stage.
        DataError: the evaluations are not of the same people.
    """

    def __init__(
        self,
        before: Evaluation,
        after: Evaluation,
        data: KeypointData,
        *,
        det_threshold: float | None = None,
        names: tuple[str, str] = ("before", "after"),
        height: int = 460,
    ) -> None:
        from kptk.analysis.result import analyze

        runs = [analyze(run, det_threshold=det_threshold) for run in _check(before, after)]
        self.comparison: Comparison = runs[0].compare(runs[1])
        self._albums = [album_of_evaluation(run, data) for run in (before, after)]
        self._thresholds = [run.bundle.threshold for run in runs]
        self._all = _with_gain(self.comparison.persons)
        self._names = names
        self._region: Region | None = None
        self._quiet = False
        self.persons = self._all
        self.views = [PictureView(height=height), PictureView(height=height)]
        self.captions = [w.HTML(), w.HTML()]
        self.caption = w.HTML()
        self._make_controls()
        super().__init__(self._arranged())
        for name in ("kptk", "kptk-browser"):
            self.add_class(name)
        self._listen()
        self._filter()

    def _make_controls(self) -> None:
        counts = self._all["change"].value_counts()
        options = [(f"{EVERYONE} ({len(self._all)})", EVERYONE)]
        options += [(f"{name} ({int(counts.get(name, 0))})", name) for name in CHANGES]
        self.show = choice("People", options)
        self.order = choice("Order", [(name, name) for name in (MOST, GAINS, LOSSES)])
        self.previous = w.Button(description="◀", tooltip="Previous person (←)")
        self.next = w.Button(description="▶", tooltip="Next person (→)")
        self.position = w.BoundedIntText(value=1, min=1, max=1, layout={"width": "72px"})
        self.total = w.HTML()
        self.kpt_threshold = slider("Joint", 0.2, "Joints below it are hollow")
        self.truth = check("ground truth", True)
        self.rings = check("rings: similarity .85 and .5", False)
        self.whole = check("whole image", False)

    def _arranged(self) -> list[w.Widget]:
        stages = []
        for view, caption in zip(self.views, self.captions, strict=True):
            caption.add_class("kptk-line")
            stages.append(w.VBox([caption, view]))
            stages[-1].add_class("kptk-stage")
        body = w.HBox(stages)
        body.add_class("kptk-body")
        self.caption.add_class("kptk-caption")
        turning = [self.previous, self.position, self.total, self.next]
        return [
            row([self.show, self.order, *turning]),
            body,
            row([self.truth, self.rings, self.whole, self.kpt_threshold]),
            self.caption,
        ]

    def _listen(self) -> None:
        for part in (self.show, self.order):
            part.observe(lambda change: self._filter(), "value")
        for part in (self.position, self.whole):
            part.observe(lambda change: self._turn(), "value")
        for part in (self.kpt_threshold, self.truth, self.rings):
            part.observe(lambda change: self._refresh(), "value")
        self.previous.on_click(lambda button: self.go(-1))
        self.next.on_click(lambda button: self.go(1))
        for view in self.views:
            view.observe(self._look_at, "wanted")
            view.observe(lambda change: self._refresh(), "room")
            view.on_msg(self._hear)

    @property
    def person(self) -> Mapping[str, Any] | None:
        """The row of the person who is shown; None if nobody passes."""
        if not len(self.persons):
            return None
        found: dict[str, Any] = self.persons.iloc[self.position.value - 1].to_dict()
        return found

    @property
    def states(self) -> list[State]:
        """What the two pictures depend on; empty if nobody passes."""
        person = self.person
        return [] if person is None else [self._state(run, person) for run in (0, 1)]

    def go(self, steps: int) -> None:
        """Turn so many people; stops at either end."""
        self.position.value += steps

    def still(self) -> bytes:
        """Both pictures side by side as a PNG."""
        pictures = [self._drawn(state) for state in self.states]
        if not pictures:
            return saved.to_png(np.full((24, 240, 3), 255, np.uint8))
        gap = np.full((pictures[0].shape[0], 8, 3), 255, np.uint8)
        return saved.to_png(np.concatenate([pictures[0], gap, pictures[1]], axis=1))

    def _drawn(self, state: State) -> Any:
        from dataclasses import replace

        size = fit(state.scene.image.shape, _STILL_SIDE)
        return draw(replace(state, look=replace(state.look, pixels=size)))

    def __repr__(self) -> str:
        counts = self._all["change"].value_counts()
        parts = ", ".join(f"{int(counts.get(name, 0))} {name}" for name in CHANGES)
        return f"<CompareRuns {' and '.join(self._names)}: {len(self._all)} people, {parts}>"

    def _ipython_display_(self) -> None:
        """The widget, and a picture for where no widget can be."""
        saved.show(self, self._repr_mimebundle_(), self.still())

    # -- reacting ----------------------------------------------------------------------------

    def _filter(self) -> None:
        chosen = self._all
        if self.show.value != EVERYONE:
            chosen = chosen[chosen["change"] == self.show.value]
        keys = {MOST: -chosen["gain"].abs(), GAINS: -chosen["gain"], LOSSES: chosen["gain"]}
        self.persons = chosen.iloc[np.argsort(keys[self.order.value].to_numpy(), kind="stable")]
        self._quiet = True
        self.position.max = max(1, len(self.persons))
        self.position.value = 1
        self._quiet = False
        self.total.value = f"of {len(self.persons)}"
        self._turn()

    def _turn(self) -> None:
        if self._quiet:
            return
        person = self.person
        self._region = None
        if person is not None and not self.whole.value:
            self._region = _around(self._scene(0, person), int(person["annotation_id"]))
        for view in self.views:
            view.jump += 1
        self._refresh()

    def _refresh(self) -> None:
        person = self.person
        self.previous.disabled = self.position.value <= 1
        self.next.disabled = self.position.value >= len(self.persons)
        if person is None:
            self.caption.value = "Nobody passes this filter."
            return
        for run, state in enumerate(self.states):
            view, (height, width) = self.views[run], state.scene.image.shape[:2]
            self.captions[run].value = _said(self._names[run], person, ("before", "after")[run])
            with view.hold_sync():
                view.region, view.image_size = list(state.region), [width, height]
                view.marks, view.areas = joint_marks(state), box_areas(state)
                view.label = f"{self._names[run]}, person {person['annotation_id']}"
                view.picture = render(state)
        self.caption.value = (
            f"<b>{html.escape(str(person['file_name']))}</b> person {person['annotation_id']}: "
            f"{person['change']} <span class='soft'>OKS {person['gain']:+.2f}</span>"
        )

    def _look_at(self, change: Mapping[str, Any]) -> None:
        """One picture was zoomed or moved: the other follows."""
        region = tuple(float(value) for value in change["new"])
        if len(region) == 4 and region != self._region:
            self._region = (region[0], region[1], region[2], region[3])
            for view in self.views:
                view.jump += view is not change["owner"]
            self._refresh()

    def _hear(self, view: object, content: Mapping[str, Any], buffers: object) -> None:
        turns = {"previous": -1, "next": 1, "first": -len(self.persons), "last": len(self.persons)}
        key = content.get("key")
        if key in turns:
            self.go(turns[key])
        elif key in ("truth", "rings"):
            layer = self.truth if key == "truth" else self.rings
            layer.value = not layer.value

    # -- the state ---------------------------------------------------------------------------

    def _scene(self, run: int, person: Mapping[str, Any]) -> Scene:
        return self._albums[run].scene(int(person["image_id"]))

    def _state(self, run: int, person: Mapping[str, Any]) -> State:
        scene, view, number = (
            self._scene(run, person),
            self.views[run],
            int(person["annotation_id"]),
        )
        height, width = scene.image.shape[:2]
        scale = min(view.room[0] / width, view.room[1] / height)
        look = Look(
            box_threshold=self._thresholds[run], kpt_threshold=self.kpt_threshold.value,
            truth=self.truth.value, rings=self.rings.value, focus=number, region=self._region,
            pixels=(max(1, round(width * scale)), max(1, round(height * scale))),
        )  # fmt: skip
        label = str(person[("before", "after")[run]])
        return State(scene, look, {number: (label, PERSON_COLOURS.get(label, GREY))})


def _check(before: object, after: object) -> Sequence[Any]:
    from kptk.evaluation import Evaluation

    for what, run in (("before", before), ("after", after)):
        if not isinstance(run, Evaluation):
            raise InputError(f"{what} must be an evaluation. Got {type(run).__name__}.")
    return before, after


def _with_gain(persons: pd.DataFrame) -> pd.DataFrame:
    """With the OKS gained; a person whom the pipeline does not emit counts as 0."""
    oks = {
        side: persons[f"oks_{side}"].fillna(0.0).where(~persons[side].isin(_NOT_EMITTED), 0.0)
        for side in ("before", "after")
    }
    return persons.assign(gain=oks["after"] - oks["before"])


def _around(scene: Scene, annotation_id: int) -> Region | None:
    if scene.truth is None or annotation_id not in scene.truth.ids:
        return None
    place = int(np.flatnonzero(scene.truth.ids == annotation_id)[0])
    return region_around(scene.truth.boxes[place], scene.image.shape, 2.2)


def _said(name: str, person: Mapping[str, Any], side: str) -> str:
    label, oks = str(person[side]), float(person[f"oks_{side}"])
    emitted = label not in _NOT_EMITTED and np.isfinite(oks)
    likeness = f"OKS {oks:.2f}" if emitted else "not emitted"
    return (
        f"<b>{html.escape(name)}</b> {chip(label, PERSON_COLOURS.get(label, GREY))} "
        f"<span class='soft'>{likeness}</span>"
    )
