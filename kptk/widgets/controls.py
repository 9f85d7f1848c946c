"""The browser's controls: what can be pressed, and how it is arranged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as w

from kptk.widgets.pages import BY_IMAGE, ORDERS
from kptk.widgets.picture import ANNOTATED, DETECTED

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
