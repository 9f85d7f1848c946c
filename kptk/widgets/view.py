"""PictureView: the picture in the page, with zoom, pan, hover and keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from kptk.widgets import saved
from kptk.widgets.theme import CSS


class PictureView(anywidget.AnyWidget):
    """Shows a picture of a part of an image, and says which part is wanted next.

    Attributes:
        picture: bytes of a JPEG.
        region: the part of the image that it shows: x1, y1, x2, y2 in pixels.
        image_size: width and height of the image.
        marks: what the pointer is told: ``[x, y, text]``.
        areas: likewise for boxes: ``[x1, y1, x2, y2, text, place]``; -1 cannot be selected.
        label: what the picture shows, for those who cannot see it.
        height: the largest, in the page's pixels.
        jump: counted up when the page is to show ``region``, rather than to stay where it is.
        wanted: the part that the page asks for.
        room: width and height, in the screen's pixels, that the picture may take.
    """

    _esm = Path(__file__).with_name("view.js")
    _css = CSS + saved.CSS + (Path(__file__).with_name("view.css")).read_text(encoding="utf-8")

    picture = traitlets.Bytes().tag(sync=True)
    region: Any = traitlets.List([0.0, 0.0, 1.0, 1.0]).tag(sync=True)
    image_size: Any = traitlets.List([1, 1]).tag(sync=True)
    marks: Any = traitlets.List().tag(sync=True)
    areas: Any = traitlets.List().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(560).tag(sync=True)
    jump = traitlets.Int(0).tag(sync=True)
    wanted: Any = traitlets.List().tag(sync=True)
    room: Any = traitlets.List([960, 560]).tag(sync=True)
