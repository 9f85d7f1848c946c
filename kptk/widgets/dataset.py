"""DatasetReport: what the check of a data set found, with the pictures behind each finding."""

from __future__ import annotations

import html
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kptk.coco.load import DataFiles, check_coco
from kptk.coco.rules import Finding, title_of
from kptk.coco.sheets import Records, pictures_of, sheet_of
from kptk.errors import InputError
from kptk.widgets import theme as saved
from kptk.widgets.theme import CSS

if TYPE_CHECKING:
    from kptk.coco import KeypointData


_TILES = 6


_SIDE = 300  # pixels


_COLOURS = {"error": "#D55E00", "repaired": "#56B4E9", "warning": "#E69F00"}


_STYLE = (
    CSS
    + saved.CSS
    + """
.kptk-report { gap: 8px; padding: 4px 2px; }
.kptk-report .kptk-findings { flex: 0 0 260px; gap: 3px; }
.kptk-report .kptk-findings .widget-button {
  width: auto; text-align: left; border-left: 5px solid var(--kptk-line); border-radius: 3px;
  background: var(--kptk-bg-soft); color: var(--kptk-text); flex: 0 0 auto;
}
.kptk-report .kptk-findings .widget-button.kptk-chosen {
  box-shadow: inset 0 0 0 2px var(--kptk-accent);
}
"""
    + "".join(
        f".kptk-report .kptk-findings .widget-button.kptk-{name} {{ border-left-color: {colour}; }}"
        for name, colour in _COLOURS.items()
    )
    + """
.kptk-report .kptk-what { flex: 1 1 320px; gap: 6px; overflow: visible; }
.kptk-report .kptk-text .widget-html-content { line-height: 1.5; }
.kptk-report .kptk-text { height: auto; }
.kptk-report .soft { color: var(--kptk-text-soft); }
.kptk-report .kptk-gallery { flex-flow: row wrap; gap: 8px; align-items: flex-start; }
.kptk-report .kptk-tile { border: 1px solid var(--kptk-line); border-radius: 4px; padding: 4px;
  background: var(--kptk-bg-soft); align-items: center; }
.kptk-report .kptk-tile img { border-radius: 3px; }
.kptk-report .kptk-tile .widget-html-content { line-height: 1.4; font-size: 12px; }
.kptk-report .kptk-turn { align-items: center; gap: 8px; }
.kptk-report .kptk-turn .widget-button { width: auto; border-radius: 4px; }
"""
)


class DatasetReport(w.VBox):
    """The findings of a data check, and a gallery of the images or people of each.

    Pictures are drawn from the annotation file as it stands there, also where what was loaded has
    it mended. They are made when a finding is chosen.

    Args:
        source: loaded data, whose ``report`` is shown, or a folder or annotation file, all of
            whose splits are checked first, every picture included.

    Attributes:
        findings: (split, finding), as listed.
        buttons: one a finding.
        text: what was found, and what to do about it.
        gallery: the pictures; ``previous`` and ``next`` turn to others.

    Raises:
        InputError: it is something else.
        DataError: there is no data.
    """

    def __init__(self, source: KeypointData | str | os.PathLike[str]) -> None:
        self.title, self.summary, self.findings, self._records = _found(source)
        self._finding = self._first = 0
        self.buttons = [self._button(i) for i in range(len(self.findings))]
        self.text = _classed(w.HTML(), "kptk-text")
        self.gallery = _classed(w.HBox(), "kptk-gallery")
        self.previous, self.next = w.Button(description="◀"), w.Button(description="▶")
        self.place = w.HTML()
        self.previous.on_click(lambda button: self._turn(-_TILES))
        self.next.on_click(lambda button: self._turn(_TILES))
        self._turning = _classed(w.HBox([self.previous, self.place, self.next]), "kptk-turn")
        what = _classed(w.VBox([self.text, self._turning, self.gallery]), "kptk-what")
        listed = _classed(w.VBox(self.buttons), "kptk-findings")
        body = w.HBox([listed, what] if self.findings else [what], layout={"grid_gap": "14px"})
        said = f"<b>{html.escape(self.title)}</b>: {html.escape(self.summary)}"
        super().__init__([w.HTML(f"<style>{_STYLE}</style>{said}"), body])
        for name in ("kptk", "kptk-report"):
            self.add_class(name)
        self.choose(0)

    def choose(self, place: int) -> None:
        """Show the finding at a place of :attr:`findings`."""
        self._finding, self._first = place, 0
        for i, button in enumerate(self.buttons):
            (button.add_class if i == place else button.remove_class)("kptk-chosen")
        self._show()

    @property
    def pictures(self) -> list[tuple[bytes, str]]:
        """JPEGs and captions of the gallery as it stands."""
        if not self.findings:
            return []
        split, finding = self.findings[self._finding]
        ids = finding.ids[self._first : self._first + _TILES]
        return [picture for number in ids for picture in self._pictures(split, finding, number)]

    def still(self) -> bytes:
        """A PNG of the first finding that has something to show."""
        for split, finding in self.findings:
            sheet = sheet_of(finding, split, self._records, _TILES)
            if sheet is not None:
                return saved.to_png(np.asarray(sheet))
        return saved.to_png(np.full((24, 240, 3), 255, np.uint8))

    def __repr__(self) -> str:
        return f"<DatasetReport {self.title}: {self.summary}>"

    def _ipython_display_(self) -> None:
        """The widget, and a picture for where no widget can be."""
        saved.show(self, self._repr_mimebundle_(), self.still())

    def _button(self, place: int) -> w.Button:
        split, finding = self.findings[place]
        where = f" · {split}" if len(self._records) > 1 else ""
        button = w.Button(
            description=f"{finding.code} ({finding.count}){where}",
            tooltip=f"{finding.severity}: {finding.sentence}",
        )
        button.add_class(f"kptk-{finding.severity}")
        button.on_click(lambda _: self.choose(place))
        return button

    def _turn(self, steps: int) -> None:
        self._first += steps
        self._show()

    def _show(self) -> None:
        if not self.findings:
            self.text.value = "Nothing to complain about."
            self._turning.layout.display = "none"
            return
        split, finding = self.findings[self._finding]
        self.text.value = _text(split, finding)
        last = min(self._first + _TILES, finding.count)
        self.place.value = f"{self._first + 1} to {last} of {finding.count}"
        self.previous.disabled = self._first == 0
        self.next.disabled = last >= finding.count
        self._turning.layout.display = "flex" if finding.count > _TILES else "none"
        self.gallery.children = [_card(*picture) for picture in self.pictures]

    def _pictures(self, split: str, finding: Finding, number: Any) -> list[tuple[bytes, str]]:
        splits = [self._records[name] for name in split.split("/") if name in self._records]
        return [(render(pixels), said) for pixels, said in pictures_of(finding, number, splits)]


def render(pixels: NDArray[np.uint8], side: int = _SIDE) -> bytes:
    """A JPEG of an image RGB uint8 (H, W, 3), at most ``side`` pixels wide and high."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _found(
    source: KeypointData | str | os.PathLike[str],
) -> tuple[str, str, list[tuple[str, Finding]], dict[str, Records]]:
    """Title, summary, findings by split, and the splits' records."""
    from kptk.coco import KeypointData

    if isinstance(source, KeypointData):
        split = source.split or "data"
        files = DataFiles(
            source.path, source.split, source.annotations_path, source.images_dir, {}, True
        )
        findings = [(split, finding) for finding in source.report.findings]
        title = title_of(source.path, source.split)
        return title, source.report.summary, findings, {split: Records(files)}
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            "DatasetReport takes loaded data or the path of a data set. "
            f"Got {type(source).__name__}."
        )
    report = check_coco(source)
    records = {split: Records(files) for split, files in report.files.items()}
    count = len(report.findings)
    verdict = "no errors" if report.ok else "with errors"
    summary = f"{count} findings, {verdict}, in {', '.join(report.reports)}"
    return Path(source).name, summary, report.findings, records


def _text(split: str, finding: Finding) -> str:
    colour = _COLOURS[finding.severity]
    ink = "#fff" if finding.severity == "error" else "#000"
    chip = (
        f"<span style='background:{colour};color:{ink};padding:1px 7px;border-radius:9px'>"
        f"{finding.severity}</span>"
    )
    what = f"{finding.count} {finding.of}{'s' * (finding.count != 1)}"
    said = f"{chip} <b>{html.escape(finding.code)}</b> <span class='soft'>{what} in {split}</span>"
    advice = f"<br>{html.escape(finding.advice)}" if finding.advice else ""
    return f"{said}<br>{html.escape(finding.sentence)}{advice}"


def _card(picture: bytes, caption: str) -> w.VBox:
    image = w.Image(value=picture, format="jpeg")
    return _classed(w.VBox([image, w.HTML(html.escape(caption))]), "kptk-tile")


def _classed(widget: Any, name: str) -> Any:
    widget.add_class(name)
    return widget
