"""DatasetReport: what the check of a data set found, with the images behind each finding."""

from __future__ import annotations

import html
import io
import os
from pathlib import Path
from typing import Any

import ipywidgets as w
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kptk.coco import KeypointData
from kptk.coco.load import check_coco
from kptk.coco.rules import Finding, title_of
from kptk.coco.sheets import Records, pictures_of, sheet_of
from kptk.errors import InputError
from kptk.widgets.browser import button, classed
from kptk.widgets.theme import Snapshot, css, to_png

_TILES = 6
_SIDE = 300  # pixels


class DatasetReport(Snapshot, w.VBox):
    """The findings of a data check, and a gallery of the images or people of each.

    Images are drawn from the annotation file as it stands there, also where what was loaded has
    it repaired. They are made when a finding is chosen.

    Args:
        source: loaded data, whose ``report`` is shown, or a folder or annotation file, all of
            whose splits are checked first, every image included.

    Attributes:
        findings: (split, finding), as listed.
        buttons: one a finding.
        text: what was found, and what to do about it.
        gallery: the images; ``previous`` and ``next`` turn to others.

    Raises:
        InputError: it is something else.
        DataError: there is no data.
    """

    def __init__(self, source: KeypointData | str | os.PathLike[str]) -> None:
        self.findings: list[tuple[str, Finding]]
        if isinstance(source, KeypointData):
            split = source.split or "data"
            self.title, self.summary = title_of(source.path, source.split), source.report.summary
            self.findings = [(split, finding) for finding in source.report.findings]
            self._records = {split: Records(source)}
        elif isinstance(source, str | os.PathLike):
            report = check_coco(source)
            self.title, self.findings = Path(source).name, report.findings
            verdict = "no errors" if report.ok else "with errors"
            splits = ", ".join(report.reports)
            self.summary = f"{len(report.findings)} findings, {verdict}, in {splits}"
            self._records = {split: Records(data) for split, data in report.files.items()}
        else:
            raise InputError(
                "DatasetReport takes loaded data or the path of a data set. "
                f"Got {type(source).__name__}."
            )
        self._finding = self._first = 0
        self.buttons = [self._button(i) for i in range(len(self.findings))]
        self.text = classed(w.HTML(), "kptk-text")
        self.gallery = classed(w.HBox(), "kptk-gallery")
        self.previous, self.next = button("◀", "Previous images"), button("▶", "Further images")
        self.position = w.HTML()
        self.previous.on_click(lambda button: self._turn(-_TILES))
        self.next.on_click(lambda button: self._turn(_TILES))
        self._turning = classed(w.HBox([self.previous, self.position, self.next]), "kptk-turn")
        shown = [classed(w.VBox([self.text, self._turning, self.gallery]), "kptk-what")]
        if self.findings:
            shown.insert(0, classed(w.VBox(self.buttons), "kptk-findings"))
        said = f"<b>{html.escape(self.title)}</b>: {html.escape(self.summary)}"
        head = w.HTML(f"<style>{css('dataset')}</style>{said}")
        super().__init__([head, w.HBox(shown, layout={"grid_gap": "14px"})])
        classed(self, "kptk", "kptk-report")
        self.choose(0)

    def choose(self, index: int) -> None:
        """Show one of :attr:`findings`."""
        self._finding, self._first = index, 0
        for i, each in enumerate(self.buttons):
            (each.add_class if i == index else each.remove_class)("kptk-chosen")
        self._show()

    @property
    def pictures(self) -> list[tuple[bytes, str]]:
        """JPEGs and captions of the gallery as it stands."""
        if not self.findings:
            return []
        split, finding = self.findings[self._finding]
        splits = [self._records[name] for name in split.split("/") if name in self._records]
        return [
            (render(pixels), said)
            for number in finding.ids[self._first : self._first + _TILES]
            for pixels, said in pictures_of(finding, number, splits)
        ]

    def snapshot(self) -> bytes:
        """A PNG of the first finding that has something to show."""
        sheets = (sheet_of(found, split, self._records, _TILES) for split, found in self.findings)
        sheet = next((sheet for sheet in sheets if sheet is not None), None)
        return to_png(np.full((24, 240, 3), 255, np.uint8) if sheet is None else np.asarray(sheet))

    def __repr__(self) -> str:
        return f"<DatasetReport {self.title}: {self.summary}>"

    def _button(self, index: int) -> Any:
        split, finding = self.findings[index]
        where = f" · {split}" if len(self._records) > 1 else ""
        found = button(
            f"{finding.code} ({finding.count}){where}", f"{finding.severity}: {finding.sentence}"
        )
        found.on_click(lambda _: self.choose(index))
        return classed(found, f"kptk-{finding.severity}")

    def _turn(self, steps: int) -> None:
        self._first += steps
        self._show()

    def _show(self) -> None:
        if not self.findings:
            self.text.value = "Nothing to complain about."
            self._turning.layout.display = "none"
            return
        split, finding = self.findings[self._finding]
        what = f"{finding.count} {finding.of}{'s' * (finding.count != 1)}"
        self.text.value = (
            f"<span class='severity {finding.severity}'>{finding.severity}</span> "
            f"<b>{html.escape(finding.code)}</b> <span class='soft'>{what} in {split}</span>"
            f"<br>{html.escape(finding.sentence)}"
            + (f"<br>{html.escape(finding.advice)}" if finding.advice else "")
        )
        last = min(self._first + _TILES, finding.count)
        self.position.value = f"{self._first + 1} to {last} of {finding.count}"
        self.previous.disabled = self._first == 0
        self.next.disabled = last >= finding.count
        self._turning.layout.display = "flex" if finding.count > _TILES else "none"
        self.gallery.children = [
            classed(
                w.VBox([w.Image(value=jpeg, format="jpeg"), w.HTML(html.escape(said))]), "kptk-tile"
            )
            for jpeg, said in self.pictures
        ]


def render(pixels: NDArray[np.uint8], side: int = _SIDE) -> bytes:
    """A JPEG of an image RGB uint8 (H, W, 3), at most ``side`` pixels wide and high."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
