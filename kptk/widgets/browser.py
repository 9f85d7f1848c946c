"""PoseBrowser, and the base of pages that it and CompareRuns turn: images or people, filtered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any, NamedTuple

import ipywidgets as w
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kptk.analysis.plots import GREY, PERSON_COLOURS
from kptk.coco import KeypointData
from kptk.errors import InputError
from kptk.evaluation import Evaluation
from kptk.geometry import Float, keypoint_similarity, oks
from kptk.inputs import normalize
from kptk.pipeline.pipeline import Pipeline
from kptk.pipeline.pose import PoseModel, crop_boxes, warp_crops
from kptk.pipeline.results import PoseResult
from kptk.widgets import picture
from kptk.widgets.album import Scene, album_of
from kptk.widgets.picture import ANNOTATED, DETECTED, Heat, Look, Region, State
from kptk.widgets.theme import ImageView, Snapshot, to_png

BY_IMAGE, WORST_FIRST, BEST_FIRST = "by image", "worst OKS first", "best OKS first"
# Values of dropdowns that choose nothing: None would show as an empty line.
ANY, NO_JOINT = "", -1

_COLUMNS = ("image_id", "annotation_id", "label")
_ZOOM = 1.4
_SCORES = "Images with a box whose score lies between"
_KEYS = (
    "<kbd>←</kbd> <kbd>→</kbd> page &nbsp; <kbd>+</kbd> <kbd>-</kbd> <kbd>0</kbd> zoom &nbsp; "
    "<kbd>w a s d</kbd> move<br><kbd>p</kbd> poses &nbsp; <kbd>g</kbd> truth &nbsp; "
    "<kbd>b</kbd> boxes &nbsp; <kbd>c</kbd> crops &nbsp; <kbd>r</kbd> rings &nbsp; "
    "<kbd>h</kbd> heat<br>Click the image first. Wheel: zoom; drag: move; click a person: "
    "select; hover: values."
)


class Page(NamedTuple):
    """An image, or one annotated person on it."""

    image_id: int
    annotation_id: int | None = None


# -- controls --------------------------------------------------------------------------------


def classed(widget: Any, *names: str) -> Any:
    """The widget with these CSS classes."""
    for name in names:
        widget.add_class(name)
    return widget


def row(children: Sequence[Any]) -> Any:
    """Controls side by side, in as many lines as they need."""
    return classed(w.HBox(list(children)), "kptk-row")


def button(text: str, tooltip: str) -> w.Button:
    """Something to press."""
    return w.Button(description=text, tooltip=tooltip)


def check(text: str, value: bool, there: bool = True) -> w.Checkbox:
    """A box to tick; greyed if there is nothing that it could show."""
    return w.Checkbox(value, description=text, indent=False, disabled=not there)


def slider(text: str, value: Any, tooltip: str, **options: Any) -> Any:
    """A threshold from 0 to 1, or a range of it."""
    kind = w.FloatRangeSlider if isinstance(value, tuple) else w.FloatSlider
    options = {"min": 0, "max": 1, "step": 0.01, "readout_format": ".2f", **options}
    return kind(value=value, description=text, tooltip=tooltip, **options)


def choice(text: str, options: Iterable[Any], there: bool = True) -> w.Dropdown:
    """A dropdown of values, or of (what is read, value)."""
    return w.Dropdown(options=list(options), description=text, disabled=not there)


class Pager(Snapshot, w.VBox):
    """Pages that buttons and keys turn, in one or several views of the same part of an image.

    A subclass has ``states``, what its views show (empty: there is no page); ``_region_of_page``;
    ``_say``, which writes captions; and fills ``_switches``: key of the page → box to tick.

    Attributes:
        previous, next, position, total: what turns pages.
        views: the images.
        caption: what is said of the page.
    """

    _snapshot_side = 640  # pixels of the image that stays in a saved notebook

    def __init__(self, views: int, height: int, of: str) -> None:
        self.previous = button("◀", f"Previous {of} (←)")
        self.next = button("▶", f"Next {of} (→)")
        self.position = w.BoundedIntText(1, min=1, max=1)
        self.total = w.HTML()
        self.views = [ImageView(height=height) for _ in range(views)]
        self.caption = classed(w.HTML(), "kptk-caption")
        self._switches: dict[str, Any] = {}
        self._n_pages = 0
        self._region: Region | None = None
        self._quiet = False
        super().__init__()
        classed(self, "kptk", "kptk-browser")

    @property
    def states(self) -> list[State]:
        """What each view depends on; empty without a page."""
        raise NotImplementedError

    def go(self, steps: int) -> None:
        """Turn so many pages, backwards if negative; stops at either end."""
        self.position.value += steps

    def snapshot(self, side: int | None = None) -> bytes:
        """The page as a PNG; the longer side of each of its images has so many pixels."""
        side = side or self._snapshot_side
        parts: list[NDArray[np.uint8]] = []
        for state in self.states:
            look = replace(state.look, pixels=picture.fit(state.scene.image.shape, side))
            image = picture.draw(replace(state, look=look))
            parts += [np.full((len(image), 8, 3), 255, np.uint8)] * bool(parts) + [image]
        return to_png(np.concatenate(parts or [np.full((48, side, 3), 200, np.uint8)], axis=1))

    def _listen(self, *reactions: tuple[Callable[[], None], Sequence[Any]]) -> None:
        """Run an action when the value of one of its controls changes, and hear the views."""
        for action, controls in ((self._turn, [self.position]), *reactions):
            for control in controls:
                control.observe(lambda change, action=action: action(), "value")
        self.previous.on_click(lambda button: self.go(-1))
        self.next.on_click(lambda button: self.go(1))
        for view in self.views:
            view.observe(self._look_at, "wanted")
            view.observe(lambda change: self._refresh(), "room")
            view.on_msg(self._hear)

    def _set_pages(self, count: int, index: int = 0) -> None:
        """Have so many pages, and show one of them."""
        self._n_pages = count
        self._quiet = True  # it is drawn once
        self.position.max = max(1, count)
        self.position.value = index + 1
        self._quiet = False
        self.total.value = f"of {count}"
        self._turn()

    def _turn(self) -> None:
        if not self._quiet:
            self._region = self._region_of_page()
            for view in self.views:
                view.jump += 1
            self._refresh()

    def _refresh(self) -> None:
        self.previous.disabled = self.position.value <= 1
        self.next.disabled = self.position.value >= self._n_pages
        states = self.states
        for i, view in enumerate(self.views):
            with view.hold_sync():
                if not states:
                    view.marks, view.areas, view.picture = [], [], b""
                    continue
                height, width = states[i].scene.image.shape[:2]
                view.region, view.image_size = list(states[i].region), [width, height]
                view.marks = picture.joint_marks(states[i])
                view.areas = picture.box_areas(states[i])
                view.picture = picture.render(states[i])
        self._say(states)

    def _region_of_page(self) -> Region | None:
        """The part of the image that a page shows at first; None: all of it."""
        raise NotImplementedError

    def _say(self, states: Sequence[State]) -> None:
        raise NotImplementedError

    def _look(self, view: int, scene: Scene, **shown: Any) -> Look:
        pixels = picture.fit(scene.image.shape, *self.views[view].room)
        return Look(region=self._region, pixels=pixels, **shown)

    def _look_at(self, change: Mapping[str, Any]) -> None:
        """A view was zoomed or moved; the others follow."""
        region: Any = tuple(float(value) for value in change["new"])
        if len(region) == 4 and region != self._region:
            self._region = region
            for view in self.views:
                view.jump += view is not change["owner"]
            self._refresh()

    def _hear(self, view: object, content: Mapping[str, Any], buffers: object) -> None:
        """A key was pressed in a view."""
        key, every = content.get("key"), self._n_pages
        turns = {"previous": -1, "next": 1, "first": -every, "last": every}
        if key in turns:
            self.go(turns[key])
        elif key in self._switches and not self._switches[key].disabled:
            self._switches[key].value = not self._switches[key].value


class PoseBrowser(Pager):
    """Browse images with results and ground truth.

    Nothing is run: thresholds act on what was predicted. Images are drawn when they are looked
    at. With the image in focus, keys turn pages and switch what is drawn; they are listed beside
    it. A saved notebook keeps a snapshot of the page that was shown first.

    Args:
        source: an evaluation of a pipeline (with ``data``), a list of results, or a data set alone.
        data: the data set that was evaluated, or a part of it.
        persons: labels of people, such as the ``persons`` of ``kptk.analyze``: a DataFrame with
            ``image_id, annotation_id, label``, and perhaps ``oks``.
        pipeline: for heatmaps; its pose model runs on one crop at a time.
        subsets: named subsets of images: name → image ids.
        box_threshold: to begin with; None: the pipeline's own.
        kpt_threshold: to begin with.
        height: the image's largest, in pixels.

    Attributes:
        view: the image; ``view.picture`` are its bytes.
        controls: every control by name: ``previous, next, position, total`` turn pages;
            ``images, label, missed, scores, order`` filter, ``whole`` shows images whole on pages
            of a person; ``box_threshold, kpt_threshold, boxes`` say which poses, ``poses, truth,
            crops, rings, heat`` what is drawn; ``zoom_in, zoom_out, zoom_whole`` act on the view.
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
        self._label_people(persons)
        self._pose = None if pipeline is None else pipeline.pose
        everything = {f"all {len(self.album.image_ids)}": None}
        self._subsets: dict[str, Sequence[int] | None] = {**everything, **(subsets or {})}
        self._only: tuple[int, ...] | None = None
        self._selected: int | None = None
        self._heat: tuple[Any, Heat] | None = None
        self.pages: list[Page] = []
        super().__init__(1, height, "page")
        (self.view,) = self.views
        box = self.album.threshold if box_threshold is None else box_threshold
        self._make_controls(box, kpt_threshold)
        self._filter()

    def _make_controls(self, box_threshold: float, kpt_threshold: float) -> None:
        album = self.album
        truth, given = album.data is not None, album.given is not None
        labels = [] if self._persons is None else sorted(set(self._persons["label"]))
        joints = [(name, k) for k, name in enumerate(album.skeleton.names)]
        boxes = [DETECTED, ANNOTATED] if given else [DETECTED]
        both = ["Poses on detected boxes", "Poses on annotated boxes"]
        self.controls = c = SimpleNamespace(
            previous=self.previous,
            next=self.next,
            position=self.position,
            total=self.total,
            zoom_in=button("+", "Zoom in (+)"),
            zoom_out=button("-", "Zoom out (-)"),
            zoom_whole=button("Whole image", "Show all of it (0)"),
            images=choice("Images", self._subsets, len(self._subsets) > 1),
            label=choice("Label", [("any", ANY), *((t, t) for t in labels)], bool(labels)),
            missed=choice("Missed joint", [("any", NO_JOINT), *joints], given),
            order=choice("Order", (BY_IMAGE, WORST_FIRST, BEST_FIRST), given),
            scores=slider("Score", (0.0, 1.0), _SCORES, continuous_update=False),
            box_threshold=slider("Box", box_threshold, "Lowest score of a box"),
            kpt_threshold=slider("Joint", kpt_threshold, "Joints below it are hollow"),
            boxes=w.ToggleButtons(options=boxes, tooltips=both),
            poses=check("poses", True),
            truth=check("ground truth", truth, truth),
            crops=check("crops: what the model sees", False),
            rings=check("rings: similarity .85 and .5", False, truth),
            heat=choice("Heatmap", [("off", NO_JOINT), *joints], self._pose is not None),
            whole=check("whole image on people's pages", False, given),
        )
        self._switches = {"poses": c.poses, "truth": c.truth, "crops": c.crops, "rings": c.rings}

        def usable(*controls: Any) -> list[Any]:
            return [control for control in controls if not control.disabled]

        head = [classed(w.HTML(t), "kptk-head") for t in ("Thresholds", "Poses on boxes", "Show")]
        turning = [c.previous, c.position, c.total, c.next, c.zoom_out, c.zoom_in, c.zoom_whole]
        side = [head[0], c.box_threshold, c.kpt_threshold]
        side += [head[1], c.boxes] if given else []
        side += [head[2], *usable(c.poses, c.truth, c.crops, c.rings, c.whole, c.heat)]
        stage = classed(w.VBox([row(turning), self.view, self.caption]), "kptk-stage")
        column = classed(w.VBox([*side, classed(w.HTML(_KEYS), "kptk-keys")]), "kptk-side")
        filters = [*usable(c.images, c.label, c.missed, c.order), c.scores]
        self.children = [row(filters), classed(w.HBox([stage, column]), "kptk-body")]
        self._listen(
            (self._filter, (c.images, c.label, c.missed, c.order, c.scores)),
            (self._turn, [c.whole]),
            (self._refresh, (c.box_threshold, c.kpt_threshold, *self._switches.values(), c.heat)),
            (lambda: self._select(None), [c.boxes]),
        )
        for control, zoom in ((c.zoom_in, 1 / _ZOOM), (c.zoom_out, _ZOOM), (c.zoom_whole, 0)):
            control.on_click(lambda button, zoom=zoom: self.view.send({"zoom": zoom}))

    # -- what users call ---------------------------------------------------------------------

    @property
    def page(self) -> Page | None:
        """The page that is shown; None if no page passes the filters."""
        return self.pages[self.position.value - 1] if self.pages else None

    @property
    def state(self) -> State | None:
        """All that the drawing depends on; None without a page."""
        return next(iter(self.states), None)

    @property
    def states(self) -> list[State]:
        """The state, if there is one."""
        page, c = self.page, self.controls
        if page is None:
            return []
        scene = self.album.scene(page.image_id)
        thresholds = {name: getattr(c, name).value for name in ("box_threshold", "kpt_threshold")}
        layers = {name: switch.value for name, switch in self._switches.items()}
        people = {"selected": self._selected, "focus": page.annotation_id, "on": c.boxes.value}
        state = State(scene, self._look(0, scene, **thresholds, **layers, **people), self._labels)
        return [replace(state, heat=self._heat_of(state))]

    def show_people(
        self, annotation_ids: Iterable[int] | None, persons: pd.DataFrame | None = None
    ) -> None:
        """Show these people only, in this order, a page each; None: everything again.

        ``persons`` has other labels of people, such as those of another threshold.
        """
        if persons is not None:
            self._label_people(persons)
        self._only = None if annotation_ids is None else tuple(map(int, annotation_ids))
        self._filter()

    def __repr__(self) -> str:
        images = len(self.album.image_ids)
        pages = "" if len(self.pages) == images else f", {len(self.pages)} pages"
        return f"<PoseBrowser: {images} images{pages}>"

    # -- pages -------------------------------------------------------------------------------

    def _label_people(self, persons: pd.DataFrame | None) -> None:
        """Take other labels, in the colours of the analysis's figures."""
        if persons is not None and not isinstance(persons, pd.DataFrame):
            raise InputError(
                "persons must be a DataFrame such as the persons of kptk.analyze. "
                f"Got {type(persons).__name__}."
            )
        missing = [name for name in _COLUMNS if persons is not None and name not in persons]
        if missing:
            raise InputError(
                f"persons must have the columns {', '.join(_COLUMNS)}. "
                f"{', '.join(missing)} not there."
            )
        self._persons = persons
        self._labels: dict[int, tuple[str, str]] = {}
        if persons is not None:
            named = zip(persons["annotation_id"], persons["label"].astype(str), strict=True)
            self._labels = {int(i): (text, PERSON_COLOURS.get(text, GREY)) for i, text in named}

    def _filter(self) -> None:
        before = self.page
        self.pages = self._find_pages()
        self._set_pages(len(self.pages), self.pages.index(before) if before in self.pages else 0)

    def _find_pages(self) -> list[Page]:
        """The pages that pass the filters, in order."""
        c, album, persons, only = self.controls, self.album, self._persons, self._only
        subset = self._subsets[c.images.value]
        images = pd.Index(album.image_ids)
        if subset is not None:
            images = images[images.isin(list(subset))]
        low, high = c.scores.value
        if (low, high) != (0.0, 1.0):  # with a detected box whose score lies between
            scores = album.detected.scores
            between = album.detected.image_ids[(low <= scores) & (scores <= high)]
            images = images[images.isin(between)]
        label, joint, order = c.label.value, c.missed.value, c.order.value
        if (label, joint, order, only) == (ANY, NO_JOINT, BY_IMAGE, None):
            return [Page(int(i)) for i in images]
        if label != ANY and persons is not None:
            people = persons.loc[persons["label"] == label, ["image_id", "annotation_id"]]
        else:
            every = album.people
            people = pd.DataFrame({"image_id": every.image_ids, "annotation_id": every.ids})
        people = people[people["image_id"].isin(images)]
        if joint != NO_JOINT:  # missed on the annotated box
            near = self._similarity[joint]
            people = people[people["annotation_id"].isin(near.index[near < picture.MISSED])]
        if only is not None:
            asked = people.set_index("annotation_id", drop=False)
            people = asked.loc[[number for number in only if number in asked.index]]
        if order != BY_IMAGE:  # the analysis's OKS, of what was detected, else on annotated boxes
            if persons is not None and "oks" in persons:
                known = persons.drop_duplicates("annotation_id").set_index("annotation_id")
            else:
                known = self._similarity
            people = people.assign(oks=people["annotation_id"].map(known["oks"].astype(float)))
            people = people.reset_index(drop=True).dropna(subset=["oks"])
            rising = [order == WORST_FIRST, True]
            people = people.sort_values(["oks", "annotation_id"], ascending=rising)
        elif only is None:
            people = people.assign(position=images.get_indexer(people["image_id"]))
            people = people.sort_values(["position", "annotation_id"])
        pairs = zip(people["image_id"], people["annotation_id"], strict=True)
        return [Page(int(image_id), int(number)) for image_id, number in pairs]

    @cached_property
    def _similarity(self) -> pd.DataFrame:
        """How well the pose model does on annotated boxes: a row a person, by annotation id.

        Columns: ``oks``, NaN for people without labelled joints, and by number each joint's
        similarity, NaN where it is not labelled.
        """
        truth, given = self.album.people, self.album.given
        if given is None:
            given = truth[:0]
        row_of = {number: i for i, number in enumerate(truth.ids.tolist())}
        given = given[np.isin(given.ids, truth.ids)]
        truth = truth[[row_of[number] for number in given.ids.tolist()]]
        sigmas = np.asarray(self.album.skeleton.sigmas, np.float64)
        poses = (given.keypoints, truth.keypoints, truth.areas, sigmas)
        return pd.DataFrame(keypoint_similarity(*poses), index=given.ids).assign(oks=oks(*poses))

    # -- reacting ----------------------------------------------------------------------------

    def _turn(self) -> None:
        self._selected = None
        super()._turn()

    def _region_of_page(self) -> Region | None:
        page = self.page
        if page is None or page.annotation_id is None or self.controls.whole.value:
            return None
        return picture.region_of(self.album.scene(page.image_id), page.annotation_id)

    def _say(self, states: Sequence[State]) -> None:
        if not states:
            self.caption.value = "No page passes these filters."
            return
        number, given = states[0].look.focus, self.album.given is not None
        oks_given = self._similarity["oks"].get(number) if number is not None and given else None
        self.caption.value = picture.caption_of(states[0], oks_given)
        self.view.label = picture.plain(self.caption.value)

    def _hear(self, view: object, content: Mapping[str, Any], buffers: object) -> None:
        """What the page says: a key, or who was clicked."""
        c, key = self.controls, content.get("key")
        if "select" in content:
            self._select(content["select"])
        if key == "boxes" and len(c.boxes.options) > 1:
            c.boxes.value = DETECTED if c.boxes.value == ANNOTATED else ANNOTATED
        elif key == "heat" and not c.heat.disabled:
            c.heat.value = 0 if c.heat.value == NO_JOINT else NO_JOINT
        else:
            super()._hear(view, content, buffers)

    def _select(self, index: int | None) -> None:
        self._selected = index
        self._refresh()

    def _heat_of(self, state: State) -> Heat | None:
        """The heatmap asked for: of the selected person, else the page's, else the surest."""
        joint, chosen = self.controls.heat.value, state.chosen
        if joint == NO_JOINT or self._pose is None or not len(chosen):
            return None
        index = int(chosen[state.poses.scores[chosen].argmax()])
        key = (state.scene.image_id, state.look.on, index, joint)
        if self._heat is None or self._heat[0] != key:
            name = self.album.skeleton.names[joint]
            box = state.poses.boxes[index]
            self._heat = (key, heatmap_of(self._pose, state.scene.image, box, joint, name))
        return self._heat[1]


def heatmap_of(
    pose: PoseModel, image: NDArray[np.uint8], box: Float, joint: int, name: str
) -> Heat:
    """Run the pose model on one crop and keep one joint's heatmap.

    Args:
        pose: the model.
        image: RGB uint8 (H, W, 3).
        box: (4,) x1, y1, x2, y2 in pixels.
        joint: its index in the skeleton.
        name: of the joint.

    Raises:
        InputError: the model has no such joint.
    """
    model = pose.model
    centers, sizes = crop_boxes(box[None].astype(np.float32), model.input_size)
    first = np.zeros(1, np.intp)
    crops = warp_crops([image], first, centers, sizes, model.input_size, udp=pose.udp)
    maps = pose.heatmaps(normalize(crops, model.mean, model.std, model.is_scale))[0]
    if joint >= len(maps):
        raise InputError(f"The model has {len(maps)} joints. Joint {joint} is not among them.")
    values = maps[joint]
    # kptk.pipeline.pose.to_image: x = (cell - cells / 2) * scale + centre, one scale for both
    cell = float(sizes[0, 0] / values.shape[1])
    corner = centers[0] - np.array(values.shape[::-1]) / 2 * cell
    return Heat(values, (float(corner[0]), float(corner[1])), cell, name)
