"""PoseBrowser: go through images, or people, with what was found and what is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import numpy as np

from kptk.widgets.album import Scene, album_of
from kptk.widgets.captions import caption_of, plain
from kptk.widgets.controls import ANY, NO_JOINT, Controls, Offer
from kptk.widgets.marks import box_areas, joint_marks
from kptk.widgets.overlay import Heat
from kptk.widgets.pages import (
    BY_IMAGE,
    Filters,
    Likeness,
    Page,
    check_persons,
    find_pages,
    likeness,
)
from kptk.widgets.picture import (
    ANNOTATED,
    DETECTED,
    Look,
    Region,
    State,
    draw,
    fit,
    region_around,
    render,
)
from kptk.widgets.saved import show, to_png
from kptk.widgets.view import PictureView

if TYPE_CHECKING:
    import pandas as pd

    from kptk.coco import KeypointData
    from kptk.evaluation import Evaluation
    from kptk.results import PoseResult
    from kptk.runner import Pipeline

_STILL_SIDE = 640  # pixels of the picture that stays in a saved notebook
_ZOOM = 1.4


class PoseBrowser(w.VBox):
    """Browse images with results and ground truth.

    Nothing is run: thresholds act on what was predicted. Pictures are made when they are looked
    at. With the picture in focus, keys turn pages and switch what is drawn; they are listed beside
    it. A saved notebook keeps a picture of the page that was shown first.

    Args:
        source: an evaluation of a pipeline (with ``data``), a list of results, or a data set alone.
        data: the data set that was evaluated, or a part of it.
        persons: labels of people, such as the ``persons`` of ``kptk.analyze``: a DataFrame with
            ``image_id, annotation_id, label``, and perhaps ``oks``.
        pipeline: for heatmaps; its pose model runs on one crop at a time.
        subsets: named subsets of images: name → image ids.
        box_threshold: to begin with; None: the pipeline's own.
        kpt_threshold: to begin with.
        height: the picture's largest, in pixels.

    Attributes:
        view: the picture; ``view.picture`` are its bytes.
        controls: every control by name; see :class:`kptk.widgets.controls.Controls`.
        caption: what is said of the page.
        pages: the pages that pass the filters, in order.

    Raises:
        InputError: an argument is of the wrong kind, or the data is not what was evaluated.
    """

    def __init__(
        self,
        source: Evaluation | Sequence[PoseResult] | KeypointData,
        data: KeypointData | None = None,
        *,
        persons: pd.DataFrame | None = None,
        pipeline: Pipeline | None = None,
        subsets: Mapping[str, Sequence[int]] | None = None,
        box_threshold: float | None = None,
        kpt_threshold: float = 0.2,
        height: int = 560,
    ) -> None:
        self.album = album_of(source, data)
        self._persons = check_persons(persons)
        self._pose = None if pipeline is None else pipeline.pose
        self._labels = _coloured(self._persons)
        everything = {f"all {len(self.album.image_ids)}": None}
        self._subsets: dict[str, Sequence[int] | None] = {**everything, **(subsets or {})}
        self._only: tuple[int, ...] | None = None
        self._region: Region | None = None
        self._selected: int | None = None
        self._heats: dict[tuple[int, str, int, int], Heat] = {}
        self._quiet = False
        self.pages: list[Page] = []
        self.controls = Controls(self._offer(box_threshold, kpt_threshold))
        self.view = PictureView(height=height)
        self.caption = w.HTML()
        self.caption.add_class("kptk-caption")
        super().__init__(self._arranged())
        for name in ("kptk", "kptk-browser"):
            self.add_class(name)
        self._listen()
        self._filter()

    def _offer(self, box_threshold: float | None, kpt_threshold: float) -> Offer:
        album = self.album
        threshold = album.threshold if box_threshold is None else box_threshold
        labels = [] if self._persons is None else sorted(set(self._persons["label"]))
        return Offer(
            list(self._subsets), labels, album.skeleton.names,
            album.has_truth, album.has_given, self._pose is not None, threshold, kpt_threshold,
        )  # fmt: skip

    def _arranged(self) -> list[w.Widget]:
        stage = w.VBox([self.controls.turning, self.view, self.caption])
        stage.add_class("kptk-stage")
        body = w.HBox([stage, self.controls.side])
        body.add_class("kptk-body")
        return [self.controls.filters, body]

    def _listen(self) -> None:
        c = self.controls
        for part in (c.images, c.label, c.missed, c.order, c.scores):
            part.observe(lambda change: self._filter(), "value")
        for part in (c.position, c.whole):
            part.observe(lambda change: self._turn(), "value")
        drawn = (c.box_threshold, c.kpt_threshold, c.poses, c.truth, c.crops, c.rings, c.heat)
        for part in drawn:
            part.observe(lambda change: self._refresh(), "value")
        c.boxes.observe(lambda change: self._select(None), "value")
        c.previous.on_click(lambda button: self.go(-1))
        c.next.on_click(lambda button: self.go(1))
        c.zoom_in.on_click(lambda button: self.view.send({"zoom": 1 / _ZOOM}))
        c.zoom_out.on_click(lambda button: self.view.send({"zoom": _ZOOM}))
        c.zoom_whole.on_click(lambda button: self.view.send({"zoom": 0}))
        self.view.observe(self._look_at, "wanted")
        self.view.observe(lambda change: self._refresh(), "room")
        self.view.on_msg(self._hear)

    # -- what users call ---------------------------------------------------------------------

    @property
    def page(self) -> Page | None:
        """The page that is shown; None if no page passes the filters."""
        return self.pages[self.controls.position.value - 1] if self.pages else None

    @property
    def state(self) -> State | None:
        """All that the picture depends on; None without a page."""
        page = self.page
        if page is None:
            return None
        state = State(self._scene(page), self._look(page), self._labels)
        return replace(state, heat=self._heat(state))

    def go(self, steps: int) -> None:
        """Turn so many pages, backwards if negative; stops at either end."""
        self.controls.position.value += steps

    def show_people(
        self, annotation_ids: Iterable[int] | None, persons: pd.DataFrame | None = None
    ) -> None:
        """Show these people only, in this order, a page each; None: everything again.

        ``persons`` has other labels of people, such as those of another threshold.
        """
        if persons is not None:
            self._persons = check_persons(persons)
            self._labels = _coloured(self._persons)
        self._only = None if annotation_ids is None else tuple(map(int, annotation_ids))
        self._filter()

    def still(self, side: int = _STILL_SIDE) -> bytes:
        """The page as a PNG whose longer side has so many pixels."""
        state = self.state
        if state is None:
            return to_png(np.full((48, side, 3), 200, np.uint8))
        size = fit(state.scene.image.shape, side)
        return to_png(draw(replace(state, look=replace(state.look, pixels=size))))

    def __repr__(self) -> str:
        images = len(self.album.image_ids)
        pages = "" if len(self.pages) == images else f", {len(self.pages)} pages"
        return f"<PoseBrowser: {images} images{pages}>"

    def _ipython_display_(self) -> None:
        """The widget, and a picture for where no widget can be."""
        show(self, self._repr_mimebundle_(), self.still())

    # -- reacting ----------------------------------------------------------------------------

    def _filter(self) -> None:
        c, before = self.controls, self.page
        images = self._subsets[c.images.value]
        filters = Filters(
            images=None if images is None else frozenset(images),
            scores=tuple(c.scores.value),
            label=None if c.label.value == ANY else c.label.value,
            joint=None if c.missed.value == NO_JOINT else c.missed.value,
            only=self._only,
            order=c.order.value,
        )
        needs = filters.joint is not None or filters.order != BY_IMAGE
        known = self._likeness if needs else None
        self.pages = find_pages(self.album, filters, self._persons, known)
        place = self.pages.index(before) if before in self.pages else 0
        self._quiet = True
        c.position.max = max(1, len(self.pages))
        c.position.value = place + 1
        self._quiet = False
        c.total.value = f"of {len(self.pages)}"
        self._turn()

    def _turn(self) -> None:
        if self._quiet:
            return
        page = self.page
        self._selected, self._region = None, None
        if page is not None and page.annotation_id is not None and not self.controls.whole.value:
            self._region = self._around(page)
        self.view.jump += 1
        self._refresh()

    def _around(self, page: Page) -> Region | None:
        scene = self._scene(page)
        if scene.truth is None or page.annotation_id not in scene.truth.ids:
            return None
        box = scene.truth.boxes[int(np.flatnonzero(scene.truth.ids == page.annotation_id)[0])]
        return region_around(box, scene.image.shape)

    def _refresh(self) -> None:
        state = self.state
        c = self.controls
        c.previous.disabled = c.position.value <= 1
        c.next.disabled = c.position.value >= len(self.pages)
        if state is None:
            self.caption.value = "No page passes these filters."
            with self.view.hold_sync():
                self.view.marks, self.view.areas, self.view.picture = [], [], b""
            return
        height, width = state.scene.image.shape[:2]
        with self.view.hold_sync():
            self.view.region = list(state.region)
            self.view.image_size = [width, height]
            self.view.marks = joint_marks(state)
            self.view.areas = box_areas(state)
            self.view.picture = render(state)
            self.caption.value = caption_of(state, self._oks_given(state.look.focus))
            self.view.label = plain(self.caption.value)

    def _look_at(self, change: Mapping[str, Any]) -> None:
        region = tuple(float(value) for value in change["new"])
        if len(region) == 4 and region != self._region:
            self._region = (region[0], region[1], region[2], region[3])
            self._refresh()

    def _hear(self, view: object, content: Mapping[str, Any], buffers: object) -> None:
        """What the page says: a key, or who was clicked."""
        c = self.controls
        if "select" in content:
            self._select(content["select"])
        key = content.get("key")
        turns = {"previous": -1, "next": 1, "first": -len(self.pages), "last": len(self.pages)}
        layers = {"poses": c.poses, "truth": c.truth, "crops": c.crops, "rings": c.rings}
        if key in turns:
            self.go(turns[key])
        elif key in layers and not layers[key].disabled:
            layers[key].value = not layers[key].value
        elif key == "boxes" and len(c.boxes.options) > 1:
            c.boxes.value = DETECTED if c.boxes.value == ANNOTATED else ANNOTATED
        elif key == "heat" and not c.heat.disabled:
            c.heat.value = 0 if c.heat.value == NO_JOINT else NO_JOINT

    def _select(self, place: int | None) -> None:
        self._selected = place
        self._refresh()

    # -- the state ---------------------------------------------------------------------------

    @cached_property
    def _likeness(self) -> Likeness:
        return likeness(self.album)

    def _scene(self, page: Page) -> Scene:
        return self.album.scene(page.image_id)

    def _look(self, page: Page) -> Look:
        c, scene = self.controls, self._scene(page)
        height, width = scene.image.shape[:2]
        scale = min(self.view.room[0] / width, self.view.room[1] / height)
        return Look(
            box_threshold=c.box_threshold.value, kpt_threshold=c.kpt_threshold.value,
            on=c.boxes.value, poses=c.poses.value, truth=c.truth.value, crops=c.crops.value,
            rings=c.rings.value, selected=self._selected, focus=page.annotation_id,
            region=self._region,
            pixels=(max(1, round(width * scale)), max(1, round(height * scale))),
        )  # fmt: skip

    def _oks_given(self, annotation_id: int | None) -> float | None:
        """OKS of a person's pose on the annotated box; None where there is none."""
        if annotation_id is None or not self.album.has_given:
            return None
        return self._likeness.oks.get(annotation_id)

    def _heat(self, state: State) -> Heat | None:
        """The heatmap asked for: of the selected person, else the page's, else the surest."""
        from kptk.widgets.heat import heatmap_of, subject

        joint = self.controls.heat.value
        place = subject(state)
        if joint == NO_JOINT or self._pose is None or place is None:
            return None
        key = (state.scene.image_id, state.look.on, place, joint)
        if key not in self._heats:
            self._heats.clear()
            self._heats[key] = heatmap_of(
                self._pose, state.scene.image, state.poses.boxes[place], joint,
                self.album.skeleton.names[joint],
            )  # fmt: skip
        return self._heats[key]


def _coloured(persons: pd.DataFrame | None) -> dict[int, tuple[str, str]]:
    """Annotation id → label and its colour, the same as in the analysis's figures."""
    if persons is None:
        return {}
    from kptk.analysis.palette import GREY, PERSON_COLOURS

    pairs_ = zip(persons["annotation_id"], persons["label"], strict=True)
    return {int(i): (str(text), PERSON_COLOURS.get(str(text), GREY)) for i, text in pairs_}
