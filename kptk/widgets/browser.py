"""Which pages a browser has: one an image, or one a person, filtered and in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError
from kptk.geometry import keypoint_similarity, oks
from kptk.inputs import normalize
from kptk.pipeline.pose import crop_boxes, warp_crops
from kptk.widgets.album import Album, Float, Scene, album_of, poses_of_records, truth_of_records
from kptk.widgets.picture import (
    ANNOTATED,
    DETECTED,
    MISSED,
    Heat,
    Look,
    Region,
    State,
    caption_of,
    draw,
    fit,
    pairs,
    plain,
    region_around,
    render,
    similarity,
)
from kptk.widgets.theme import PictureView, show, to_png

if TYPE_CHECKING:
    import pandas as pd

    from kptk.coco import KeypointData
    from kptk.evaluation import Evaluation
    from kptk.pipeline.pipeline import Pipeline
    from kptk.pipeline.pose import PoseModel
    from kptk.pipeline.results import PoseResult
    from kptk.widgets.picture import State


BY_IMAGE, WORST_FIRST, BEST_FIRST = "by image", "worst OKS first", "best OKS first"


ORDERS = (BY_IMAGE, WORST_FIRST, BEST_FIRST)


_COLUMNS = ("image_id", "annotation_id", "label")


@dataclass(frozen=True)
class Page:
    """An image, or one annotated person on it."""

    image_id: int
    annotation_id: int | None = None


@dataclass(frozen=True)
class Filters:
    """What pages there are to be.

    Attributes:
        images: ids; None: all.
        scores: images with a detected box whose score lies between; (0, 1): all images.
        label: people with this label of the analysis; None: any.
        joint: people with this joint missed (similarity below .5) on their annotated box.
        only: annotation ids; None: all.
        order: one of :data:`ORDERS`.
    """

    images: frozenset[int] | None = None
    scores: tuple[float, float] = (0.0, 1.0)
    label: str | None = None
    joint: int | None = None
    only: tuple[int, ...] | None = None
    order: str = BY_IMAGE

    @property
    def of_people(self) -> bool:
        """Whether there is a page for each person rather than for each image."""
        asked = (self.label, self.joint, self.only)
        return self.order != BY_IMAGE or any(value is not None for value in asked)


@dataclass(frozen=True, eq=False)
class Likeness:
    """How well the pose model does on annotated boxes, person by person.

    Attributes:
        image_id: annotation id → image id.
        oks: annotation id → OKS; NaN for people without labelled joints.
        joints: annotation id → (K,) keypoint similarity, NaN for joints that are not labelled.
    """

    image_id: Mapping[int, int]
    oks: Mapping[int, float]
    joints: Mapping[int, Float]


def likeness(album: Album) -> Likeness:
    """Compare the poses on annotated boxes with the annotations, all at once."""
    records = list(album.given)
    by_id = {a["id"]: a for image_id in album.image_ids for a in album.people(image_id)}
    records = [record for record in records if record["annotation_id"] in by_id]
    joints = len(album.skeleton)
    poses = poses_of_records(records, joints)
    truth = truth_of_records([by_id[r["annotation_id"]] for r in records], joints)
    sigmas = np.asarray(album.skeleton.sigmas, np.float64)
    near = keypoint_similarity(poses.points, truth.points, truth.area, sigmas)
    whole = oks(poses.points, truth.points, truth.area, sigmas)
    ids = truth.ids.tolist()
    return Likeness(
        {i: by_id[i]["image_id"] for i in ids},
        dict(zip(ids, whole.tolist(), strict=True)),
        dict(zip(ids, near, strict=True)),
    )


def check_persons(persons: object) -> pd.DataFrame | None:
    """Return a table with a row a person.

    Raises:
        InputError: it is something else, or lacks a column.
    """
    import pandas as pd

    if persons is None:
        return None
    if not isinstance(persons, pd.DataFrame):
        raise InputError(
            "persons must be a DataFrame such as the persons of kptk.analyze. "
            f"Got {type(persons).__name__}."
        )
    missing = [name for name in _COLUMNS if name not in persons]
    if missing:
        raise InputError(
            f"persons must have the columns {', '.join(_COLUMNS)}. {', '.join(missing)} not there."
        )
    return persons


def find_pages(
    album: Album, filters: Filters, persons: pd.DataFrame | None, known: Likeness | None
) -> list[Page]:
    """The pages that pass, in order.

    Args:
        album: what there is.
        filters: what is asked for.
        persons: labels: ``image_id, annotation_id, label``; needed for ``label``.
        known: needed for ``joint`` and for orders by OKS, where ``persons`` has no ``oks``.
    """
    images = [i for i in album.image_ids if _passes(album, i, filters)]
    if not filters.of_people:
        return [Page(i) for i in images]
    place = {image_id: n for n, image_id in enumerate(images)}
    found = [
        (annotation_id, image_id)
        for annotation_id, image_id in _people(album, filters, persons, images)
        if image_id in place and _missed(filters, known, annotation_id)
    ]
    if filters.order == BY_IMAGE:
        if filters.only is None:
            found.sort(key=lambda pair: (place[pair[1]], pair[0]))
    else:
        worth = _oks_of(persons, known)
        sign = 1 if filters.order == WORST_FIRST else -1
        found = [pair for pair in found if np.isfinite(worth.get(pair[0], np.nan))]
        found.sort(key=lambda pair: (sign * worth[pair[0]], pair[0]))
    return [Page(image_id, annotation_id) for annotation_id, image_id in found]


def _passes(album: Album, image_id: int, filters: Filters) -> bool:
    if filters.images is not None and image_id not in filters.images:
        return False
    low, high = filters.scores
    if (low, high) == (0.0, 1.0):
        return True
    return any(low <= score <= high for score in album.scores_of(image_id))


def _people(
    album: Album, filters: Filters, persons: pd.DataFrame | None, images: Sequence[int]
) -> list[tuple[int, int]]:
    """(annotation id, image id) of the people asked for."""
    if filters.label is not None and persons is not None:
        rows = persons[persons["label"] == filters.label]
        pairs = list(zip(rows["annotation_id"], rows["image_id"], strict=True))
        found = [(int(a), int(i)) for a, i in pairs]
    else:
        found = [(a["id"], i) for i in images for a in album.people(i) if not a["iscrowd"]]
    if filters.only is None:
        return found
    where = dict(found)
    return [(number, where[number]) for number in filters.only if number in where]


def _missed(filters: Filters, known: Likeness | None, annotation_id: int) -> bool:
    if filters.joint is None:
        return True
    if known is None or annotation_id not in known.joints:
        return False
    return bool(known.joints[annotation_id][filters.joint] < MISSED)


def _oks_of(persons: pd.DataFrame | None, known: Likeness | None) -> Mapping[int, float]:
    """The analysis's OKS, of what was detected, else that on annotated boxes."""
    if persons is not None and "oks" in persons:
        return dict(zip(persons["annotation_id"], persons["oks"].astype(float), strict=True))
    return {} if known is None else known.oks


# ---- controls: The browser's controls: what can be pressed, and how it is arranged.


# Values of dropdowns that choose nothing: None would show as an empty line.
ANY, NO_JOINT = "", -1


_WIDE = {"width": "auto"}


_KEYS = (
    "<kbd>←</kbd> <kbd>→</kbd> page &nbsp; <kbd>+</kbd> <kbd>-</kbd> <kbd>0</kbd> zoom &nbsp; "
    "<kbd>w a s d</kbd> move<br><kbd>p</kbd> poses &nbsp; <kbd>g</kbd> truth &nbsp; "
    "<kbd>b</kbd> boxes &nbsp; <kbd>c</kbd> crops &nbsp; <kbd>r</kbd> rings &nbsp; "
    "<kbd>h</kbd> heat<br>Click the picture first. Wheel: zoom; drag: move; click a person: "
    "select; hover: values."
)


@dataclass(frozen=True)
class Offer:
    """What can be chosen from.

    Attributes:
        subsets: names of subsets of images, all of them first.
        labels: of people; empty without an analysis.
        joints: names.
        truth: whether there are annotations.
        given: whether there are poses on annotated boxes.
        heat: whether there is a pose model.
        box_threshold: to begin with.
        kpt_threshold: to begin with.
    """

    subsets: Sequence[str]
    labels: Sequence[str]
    joints: Sequence[str]
    truth: bool
    given: bool
    heat: bool
    box_threshold: float
    kpt_threshold: float


class Controls:
    """Every control by name, and the rows they stand in.

    Attributes:
        previous, next, position, total: turning pages.
        images, label, missed, scores, order, whole: filters; ``whole`` shows images whole on pages
            of a person.
        box_threshold, kpt_threshold, boxes: which poses.
        poses, truth, crops, rings, heat: what is drawn.
        zoom_in, zoom_out, zoom_whole: the view.
    """

    def __init__(self, offer: Offer) -> None:
        self._turning()
        self._filters(offer)
        self._poses(offer)
        self._layers(offer)

    def _turning(self) -> None:
        self.previous = _button("◀", "Previous page (←)")
        self.next = _button("▶", "Next page (→)")
        self.position = w.BoundedIntText(
            value=1, min=1, max=1, layout={"width": "72px"}, tooltip="Page"
        )
        self.total = w.HTML()
        self.zoom_in = _button("+", "Zoom in (+)")
        self.zoom_out = _button("-", "Zoom out (-)")
        self.zoom_whole = _button("Whole image", "Show all of it (0)")

    def _filters(self, offer: Offer) -> None:
        subsets = [(name, name) for name in offer.subsets]
        self.images = choice("Images", subsets, len(subsets) > 1)
        labels = [("any", ANY), *((name, name) for name in offer.labels)]
        self.label = choice("Label", labels, bool(offer.labels))
        joints = [("any", NO_JOINT), *((name, k) for k, name in enumerate(offer.joints))]
        self.missed = choice("Missed joint", joints, offer.given)
        self.order = choice("Order", [(name, name) for name in ORDERS], offer.given)
        self.order.value = BY_IMAGE
        self.scores = w.FloatRangeSlider(
            value=(0, 1), min=0, max=1, step=0.01, description="Score", readout_format=".2f",
            continuous_update=False, tooltip="Images with a box whose score lies between",
            style={"description_width": "46px"}, layout={"width": "300px"},
        )  # fmt: skip

    def _poses(self, offer: Offer) -> None:
        self.box_threshold = slider("Box", offer.box_threshold, "Lowest score of a box")
        self.kpt_threshold = slider("Joint", offer.kpt_threshold, "Joints below it are hollow")
        options = [DETECTED, ANNOTATED] if offer.given else [DETECTED]
        self.boxes = w.ToggleButtons(
            options=options, tooltips=["Poses on detected boxes", "Poses on annotated boxes"],
            style={"button_width": "104px"},
        )  # fmt: skip

    def _layers(self, offer: Offer) -> None:
        self.poses = check("poses", True)
        self.truth = check("ground truth", offer.truth, offer.truth)
        self.crops = check("crops: what the model sees", False)
        self.rings = check("rings: similarity .85 and .5", False, offer.truth)
        joints = [("off", NO_JOINT), *((name, k) for k, name in enumerate(offer.joints))]
        self.heat = choice("Heatmap", joints, offer.heat)
        self.whole = check("whole image on people's pages", False, offer.given)

    @property
    def turning(self) -> w.HBox:
        """The row above the picture."""
        parts = [self.previous, self.position, self.total, self.next]
        return row([*parts, self.zoom_out, self.zoom_in, self.zoom_whole])

    @property
    def filters(self) -> w.HBox:
        """The row of filters: those that have something to choose from."""
        parts = [self.images, self.label, self.missed, self.order]
        return row([part for part in parts if not part.disabled] + [self.scores])

    @property
    def side(self) -> w.VBox:
        """The column beside the picture."""
        layers = [self.poses, self.truth, self.crops, self.rings, self.whole]
        box = w.VBox(
            [
                _head("Thresholds"), self.box_threshold, self.kpt_threshold,
                *([_head("Poses on boxes"), self.boxes] if len(self.boxes.options) > 1 else []),
                _head("Show"), *(part for part in layers if not part.disabled),
                *([self.heat] if not self.heat.disabled else []), _keys(),
            ]
        )  # fmt: skip
        box.add_class("kptk-side")
        return box


def row(children: Sequence[Any]) -> w.HBox:
    """Controls side by side, in as many lines as they need."""
    box = w.HBox(list(children))
    box.add_class("kptk-row")
    return box


def _head(text: str) -> w.HTML:
    head = w.HTML(text)
    head.add_class("kptk-head")
    return head


def _keys() -> w.HTML:
    keys = w.HTML(_KEYS)
    keys.add_class("kptk-keys")
    return keys


def _button(text: str, tooltip: str) -> w.Button:
    return w.Button(description=text, tooltip=tooltip, layout=_WIDE)


def check(text: str, value: bool, there: bool = True) -> w.Checkbox:
    """A box to tick; greyed if there is nothing that it could show."""
    return w.Checkbox(value=value, description=text, indent=False, disabled=not there, layout=_WIDE)


def slider(text: str, value: float, tooltip: str) -> w.FloatSlider:
    """A threshold from 0 to 1."""
    return w.FloatSlider(
        value=value, min=0, max=1, step=0.01, description=text, readout_format=".2f",
        tooltip=tooltip, style={"description_width": "36px"}, layout={"width": "228px"},
    )  # fmt: skip


def choice(text: str, options: Sequence[tuple[str, Any]], there: bool = True) -> w.Dropdown:
    """A dropdown of (what is read, value)."""
    return w.Dropdown(
        options=list(options), description=text, disabled=not there,
        style={"description_width": "initial"}, layout={"width": "auto", "max_width": "236px"},
    )  # fmt: skip


# ---- marks: What the pointer is told: joints and boxes of the picture, with their numbers as text.


Mark = list[Any]  # x, y, text


Area = list[Any]  # x1, y1, x2, y2, text, place in the poses or -1


_MOST = 40  # people whose joints are told; nobody reads more, and it would be slow to send


def joint_marks(state: State) -> list[Mark]:
    """Joints that are shown: ``[x, y, text]`` in image pixels, from edge to edge."""
    marks: list[Mark] = []
    truth = state.scene.truth if state.look.truth else None
    if truth is not None:
        for person in range(min(len(truth), _MOST)):
            marks += _true_joints(state, person)
    owner = {} if truth is None else dict(pairs(state.poses, truth, state.shown))
    for place in state.shown[:_MOST].tolist():
        marks += _placed_joints(state, place, owner.get(place))
    return marks


def _true_joints(state: State, person: int) -> list[Mark]:
    truth = state.scene.truth
    if truth is None:
        return []
    names, points = state.scene.skeleton.names, truth.points[person]
    said = {1: "hidden", 2: "visible"}
    return [
        [*_edge(points[k]), f"{names[k]}, annotated, {said.get(int(points[k, 2]), '')}"]
        for k in np.flatnonzero(np.isfinite(points[:, 0])).tolist()
    ]


def _placed_joints(state: State, place: int, person: int | None) -> list[Mark]:
    points, skeleton, truth = state.poses.points[place], state.scene.skeleton, state.scene.truth
    near = np.full(len(points), np.nan)
    away = near
    if person is not None and truth is not None:
        near = similarity(points, truth, person, skeleton)
        away = np.hypot(*(points[:, :2] - truth.points[person, :, :2]).T)
    marks = []
    for k in np.flatnonzero(np.isfinite(points[:, 0])).tolist():
        x, y, score = points[k]
        text = f"{skeleton.names[k]}  score {score:.2f}  at {x:.1f}, {y:.1f}"
        if np.isfinite(near[k]):
            text += f"\n{away[k]:.1f} px off, similarity {near[k]:.2f}"
        marks.append([*_edge(points[k]), text])
    return marks


def box_areas(state: State) -> list[Area]:
    """Boxes that are shown: ``[x1, y1, x2, y2, text, place]``, from edge to edge."""
    poses = state.poses
    areas: list[Area] = []
    for place in state.shown.tolist():
        if poses.ids[place] >= 0:
            text = f"pose on annotated box {poses.ids[place]}"
        else:
            text = f"detected, score {poses.scores[place]:.2f}"
        areas.append([*_corners(poses.boxes[place]), text, place])
    truth = state.scene.truth if state.look.truth else None
    if truth is not None:
        for number, box, crowd in zip(truth.ids.tolist(), truth.boxes, truth.crowd, strict=True):
            label = state.labels.get(number, ("", ""))[0]
            what = "crowd" if crowd else "person"
            said = f"annotated {what} {number}" + (f": {label}" if label else "")
            areas.append([*_corners(box), said, -1])
    return areas


def _edge(point: Any) -> tuple[float, float]:
    """Pixel centres at whole numbers → the picture's corner at 0, 0."""
    return round(float(point[0]) + 0.5, 2), round(float(point[1]) + 0.5, 2)


def _corners(box: Any) -> list[float]:
    return [round(float(value), 2) for value in box]


# ---- heat: The heatmap of one joint of one person, computed when somebody asks to see it.


def heatmap_of(
    pose: PoseModel, image: NDArray[np.uint8], box: Float, joint: int, name: str
) -> Heat:
    """Run the pose model on one crop and keep one joint's heatmap.

    Args:
        pose: the model.
        image: RGB uint8 (H, W, 3).
        box: (4,) x1, y1, x2, y2 in pixels.
        joint: its place in the skeleton.
        name: of the joint.

    Raises:
        InputError: the model has no such joint.
    """
    model = pose.model
    centers, sizes = crop_boxes(box[None].astype(np.float32), model.input_size)
    crops = warp_crops(
        [image], np.zeros(1, np.intp), centers, sizes, model.input_size, udp=pose.udp
    )
    maps = pose.heatmaps(normalize(crops, model.mean, model.std, model.is_scale))[0]
    if joint >= len(maps):
        raise InputError(f"The model has {len(maps)} joints. Joint {joint} is not among them.")
    values = maps[joint]
    # kptk.pipeline.pose.to_image: x = (cell - cells / 2) * scale + centre, one scale for both directions
    cell = float(sizes[0, 0] / values.shape[1])
    corner = centers[0] - np.array(values.shape[::-1]) / 2 * cell
    return Heat(values, (float(corner[0]), float(corner[1])), cell, name)


def subject(state: State) -> int | None:
    """Place of the pose that a heatmap is made for: the page's person, else the surest."""
    chosen = state.chosen
    return int(chosen[state.poses.scores[chosen].argmax()]) if len(chosen) else None


# ---- browser: PoseBrowser: go through images, or people, with what was found and what is there.


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
        controls: every control by name; see :class:`kptk.widgets.browser.Controls`.
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
    from kptk.analysis.plots import GREY, PERSON_COLOURS

    pairs_ = zip(persons["annotation_id"], persons["label"], strict=True)
    return {int(i): (str(text), PERSON_COLOURS.get(str(text), GREY)) for i, text in pairs_}
