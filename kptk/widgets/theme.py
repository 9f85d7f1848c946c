"""The looks that all widgets share: JupyterLab's own colours, so that dark themes work too.

Outside JupyterLab, where its variables are missing, the fallbacks hold: dark text on white.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets as w
import traitlets

if TYPE_CHECKING:
    from IPython.display import DisplayHandle


# Okabe and Ito's palette, told apart under every common colour-vision deficiency.
PALETTE = {
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#999999",
}


# Put on the outermost element of a widget; everything below uses the --kptk-* variables.
ROOT_CLASS = "kptk"


CSS = """
.kptk {
  --kptk-bg: var(--jp-layout-color1, #fff);
  --kptk-bg-soft: var(--jp-layout-color2, #f3f3f3);
  --kptk-line: var(--jp-border-color2, #dcdcdc);
  --kptk-text: var(--jp-ui-font-color1, rgba(0, 0, 0, .87));
  --kptk-text-soft: var(--jp-ui-font-color2, rgba(0, 0, 0, .6));
  --kptk-accent: var(--jp-brand-color1, #1976d2);
  --kptk-good: #009E73;
  --kptk-bad: #D55E00;
  --kptk-font: var(--jp-ui-font-family, system-ui, sans-serif);
  --kptk-code: var(--jp-code-font-family, ui-monospace, monospace);
  color: var(--kptk-text);
  font-family: var(--kptk-font);
  font-size: var(--jp-ui-font-size1, 13px);
}
.kptk :focus-visible { outline: 2px solid var(--kptk-accent); outline-offset: 1px; }
.kptk .kptk-note, .kptk.kptk-note { color: var(--kptk-text-soft); }
.kptk .kptk-title { font-weight: 600; }
.kptk .kptk-card {
  background: var(--kptk-bg-soft);
  border: 1px solid var(--kptk-line);
  border-radius: 4px;
  padding: 6px 8px;
}
"""


# ---- saved: A picture beside the widget, for readers of the saved notebook: there the widget is
# dead.


# While the widget is alive, its picture below it is hidden.
ALIVE = "kptk-alive"


CSS_saved = f"""
.jp-OutputArea-child:has(.{ALIVE}) + .jp-OutputArea-child:has(> .jp-RenderedImage) {{
  display: none;
}}
"""


def show(widget: w.Widget, bundle: dict[str, Any], picture: bytes) -> DisplayHandle | None:
    """Show a widget and, as an output of its own, a PNG.

    Of one bundle JupyterLab takes the widget, and without a kernel says only that it is loading.
    GitHub, GitLab, nbconvert and JupyterLab without a kernel all show the second output.

    Args:
        widget: its outermost element; it gets the class that hides the picture.
        bundle: its mime bundle.
        picture: a PNG.

    Returns:
        The second output, for :func:`renew`; None outside a notebook.
    """
    from IPython.display import display

    widget.add_class(ALIVE)
    display(bundle, raw=True)  # type: ignore[no-untyped-call]
    still = {"text/plain": repr(widget), "image/png": picture}
    handle: DisplayHandle | None = display(still, raw=True, display_id=True)  # type: ignore[no-untyped-call]
    return handle


def renew(handle: DisplayHandle | None, widget: w.Widget, picture: bytes) -> None:
    """Put another PNG where :func:`show` put the first."""
    if handle is not None:
        handle.update({"text/plain": repr(widget), "image/png": picture}, raw=True)  # type: ignore[no-untyped-call]


def to_png(pixels: Any) -> bytes:
    """RGB uint8 (H, W, 3) as a PNG of 256 colours: a third of the size, since it is committed."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


# ---- view: PictureView: the picture in the page, with zoom, pan, hover and keys.


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
    _css = CSS + CSS + (Path(__file__).with_name("view.css")).read_text(encoding="utf-8")

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
