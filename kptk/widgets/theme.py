"""What all widgets share: JupyterLab's own colours, and a snapshot for saved notebooks."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets as w
import traitlets
from PIL import Image

if TYPE_CHECKING:
    from IPython.display import DisplayHandle


def css(*names: str) -> str:
    """The style sheets of these widgets, after what they share."""
    folder = Path(__file__).parent
    return "".join((folder / f"{name}.css").read_text("utf-8") for name in ("theme", *names))


def to_png(pixels: Any) -> bytes:
    """RGB uint8 (H, W, 3) as a PNG of 256 colours: a third of the size, since it is committed."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def file_stamp(path: Path) -> object:
    """What tells whether a file was changed; None without one."""
    with suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size
    return None


class Snapshot(w.DOMWidget):
    """A widget that leaves an image of itself in the saved notebook, as an output of its own.

    Of one bundle JupyterLab takes the widget, and without a kernel says only that it is loading.
    GitHub, GitLab, nbconvert and JupyterLab without a kernel all show the second output.
    """

    _output: DisplayHandle | None = None

    def snapshot(self) -> bytes:
        """The widget as it is now, as a PNG."""
        raise NotImplementedError

    def still(self, *arguments: Any) -> bytes:
        """Old name of :meth:`snapshot`."""
        warnings.warn("still() is now called snapshot().", DeprecationWarning, stacklevel=2)
        return self.snapshot(*arguments)

    def renew_snapshot(self) -> None:
        """Put an image of now where the first was shown; nothing outside a notebook."""
        if self._output is not None:
            self._output.update(self._saved(), raw=True)  # type: ignore[no-untyped-call]

    def _saved(self) -> dict[str, Any]:
        return {"text/plain": repr(self), "image/png": self.snapshot()}

    def _ipython_display_(self) -> None:
        """The widget, and its snapshot for readers without a kernel."""
        from IPython.display import display

        saved, bundle = self._saved(), self._repr_mimebundle_()
        self.add_class("kptk-alive")  # which hides the snapshot
        live = bundle[0] if isinstance(bundle, tuple) else bundle  # anywidget adds metadata
        display(live or {}, raw=True)  # type: ignore[no-untyped-call]
        self._output = display(saved, raw=True, display_id=True)  # type: ignore[no-untyped-call]


class ImageView(anywidget.AnyWidget):
    """Shows a part of an image, with zoom, pan, hover and keys; says which part is wanted next.

    Attributes:
        picture: bytes of a JPEG.
        region: the part of the image that it shows: x1, y1, x2, y2 in pixels.
        image_size: width and height of the image.
        marks: what the pointer is told: ``[x, y, text]``.
        areas: likewise for boxes: ``[x1, y1, x2, y2, text, index]``; -1 cannot be selected.
        label: what the image shows, for those who cannot see it.
        height: the largest, in the page's pixels.
        jump: counted up when the page is to show ``region``, rather than to stay where it is.
        wanted: the part that the page asks for.
        room: width and height, in the screen's pixels, that the image may take.
    """

    _esm = Path(__file__).with_name("view.js")
    _css = css("view")

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
