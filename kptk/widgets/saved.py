"""A picture beside the widget, for readers of the saved notebook: there the widget is dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as w

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

# While the widget is alive, its picture below it is hidden.
ALIVE = "kptk-alive"
CSS = f"""
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
