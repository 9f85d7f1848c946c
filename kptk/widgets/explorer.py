"""AnalysisExplorer: the figures of an error analysis as the index of the people behind them."""

from __future__ import annotations

import html
import io
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as w
import numpy as np
from PIL import Image

from kptk.analysis.labels import JOINT_LABELS
from kptk.analysis.numbers import Numbers
from kptk.analysis.plots import PERSON_COLOURS
from kptk.analysis.result import ErrorAnalysis
from kptk.coco import KeypointData
from kptk.coco.dataset import write_coco
from kptk.errors import InputError, KptkError
from kptk.evaluation import Evaluation
from kptk.pipeline.pipeline import Pipeline
from kptk.widgets import choosing
from kptk.widgets.browser import PoseBrowser, button, classed, row, slider
from kptk.widgets.choosing import Choice, ChooserView
from kptk.widgets.theme import Snapshot, to_png

_SNAPSHOT_SIDE = 420  # pixels of the page that stays in a saved notebook, below the figures


class AnalysisExplorer(Snapshot, w.VBox):
    """From a number of the analysis to the people it counts.

    Click a bar, a cell of the matrix, or draw round points of the scatter: the browser below shows
    exactly those people. The cell of the matrix counts joints; it shows the people who have one.
    Escape, or a click beside the points, frees the choice. The two thresholds label everybody
    anew, without inference and without intervals; the choice stays what it means.

    Args:
        analysis: of ``kptk.analyze(evaluation)``.
        evaluation: the pipeline's, with its predictions.
        data: the data that was evaluated.
        pipeline: for heatmaps in the browser.
        height: the image's largest, in pixels.

    Attributes:
        figures: the bars, the matrix and the scatter.
        browser: the :class:`PoseBrowser` below them.
        det_threshold, oks_threshold: the sliders; to begin with, the analysis's own.
        clear, path, export_button, said: the row between the figures and the browser.
        labelled: the analysis at the thresholds of the sliders.
        findings: what its figures count.
        choice: what is chosen.

    Raises:
        InputError: an argument is of the wrong kind, or they are not of the same images.
    """

    def __init__(
        self,
        analysis: ErrorAnalysis,
        evaluation: Evaluation,
        data: KeypointData,
        *,
        pipeline: Pipeline | None = None,
        height: int = 480,
    ) -> None:
        given = (analysis, evaluation, data)
        kinds = {"analysis": ErrorAnalysis, "evaluation": Evaluation, "data": KeypointData}
        for value, (name, kind) in zip(given, kinds.items(), strict=True):
            if not isinstance(value, kind):
                raise InputError(
                    "AnalysisExplorer takes (analysis, evaluation, data): kptk.analyze(evaluation),"
                    f" kptk.evaluate(pipe, data), and the data. The {name} is a "
                    f"{type(value).__name__}."
                )
        self._analysis, self._data = analysis, data
        self.labelled: Numbers = analysis
        self.findings = choosing.findings_of(analysis, analysis.joint_labels_given)
        self.choice = Choice()
        options: Any = {"box_threshold": analysis.bundle.threshold, "pipeline": pipeline}
        persons = self.findings.table
        self.browser = PoseBrowser(evaluation, data, persons=persons, height=height, **options)
        missing = set(self.findings.image_id.tolist()) - set(self.browser.album.image_ids)
        if missing:
            raise InputError(
                "The analysis, the evaluation and the data must be of the same images. "
                f"{len(missing)} images of the analysis are not in the others, such as "
                f"{min(missing)}."
            )
        self.browser.controls.label.layout.display = "none"  # the bars choose labels here
        self.figures = ChooserView()
        late: Any = {"continuous_update": False}
        low, found = "Lowest score of a detection", "OKS from which a person counts as found"
        det, oks = analysis.bundle.threshold, analysis.options.oks_threshold
        self.det_threshold = slider("Box threshold", det, low, **late)
        self.oks_threshold = slider("OKS threshold", oks, found, min=0.01, **late)
        self.reset = button("Reset", "Back to the analysis's thresholds")
        self.caption, self.said = classed(w.HTML(), "kptk-chosen"), classed(w.HTML(), "kptk-said")
        self.clear = button("Clear", "Choose nobody in particular (Escape)")
        self.path = w.Text(f"{data.annotations_path.stem}_selection.json", description="File")
        self.export_button = button(
            "Export selection",
            "Write a COCO file of the chosen people's images, with everybody on them",
        )
        selection = [self.caption, self.clear, self.path, self.export_button, self.said]
        thresholds = [self.det_threshold, self.oks_threshold, self.reset]
        super().__init__([row(thresholds), self.figures, row(selection), self.browser])
        classed(self, "kptk", "kptk-explorer")
        for threshold in (self.det_threshold, self.oks_threshold):
            threshold.observe(lambda change: self._relabel(), "value")
        self.figures.on_msg(self._hear)
        self.reset.on_click(lambda button: self._reset())
        self.clear.on_click(lambda button: self.choose(Choice()))
        self.export_button.on_click(lambda button: self._export())
        self._show()

    # -- what users call ---------------------------------------------------------------------

    @property
    def people(self) -> list[int]:
        """Annotation ids of the people who are chosen; everyone, if nothing is."""
        return self.findings.people(self.choice)

    def choose(self, choice: Choice) -> None:
        """Show the people that a choice means; ``Choice()`` shows all images again."""
        self.choice = choice
        self.said.value = ""
        self._show()

    def export(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write the images of the chosen people, with everybody on them, as a COCO file.

        It serves for correcting labels (``LabelEditor``) and for fine-tuning. Images are not
        copied: load it with ``kptk.load_coco(folder, annotations=file)``.

        Args:
            path: the file; None: that in the text field.

        Returns:
            The file.

        Raises:
            InputError: nobody is chosen.
            DataError: the file exists already, or cannot be written.
        """
        if not self.choice or not self.people:
            raise InputError("Nobody is chosen. Click a bar or a cell, or draw round points first.")
        thresholds = {
            "det_threshold": self.labelled.bundle.threshold,
            "oks_threshold": self.labelled.options.oks_threshold,
        }
        content = choosing.selection_document(self._data, self.findings, self.choice, thresholds)
        return write_coco(content, self.path.value if path is None else path)

    def snapshot(self) -> bytes:
        """The figures and the browser's page as a PNG."""
        page = Image.open(io.BytesIO(self.browser.snapshot(_SNAPSHOT_SIDE))).convert("RGB")
        top = Image.fromarray(choosing.figures_image(self.labelled, self.findings))
        size = (max(top.width, page.width), top.height + page.height)
        both = Image.new("RGB", size, "white")
        both.paste(top)
        both.paste(page, (0, top.height))
        return to_png(np.asarray(both))

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {label}" for label, n in self.findings.counts.items() if n)
        return f"<AnalysisExplorer: {len(self.findings.label)} people: {counts}>"

    # -- reacting ----------------------------------------------------------------------------

    def _hear(self, view: object, content: Mapping[str, Any], buffers: object) -> None:
        """What the page says: a bar, a cell, an outline, or nothing any more."""
        if content.get("bar") in PERSON_COLOURS:
            self.choose(self.choice.with_bar(content["bar"], bool(content.get("add"))))
        elif len(cell := tuple(content.get("cell", ()))) == 2 and set(cell) <= set(JOINT_LABELS):
            self.choose(self.choice.with_cell((cell[0], cell[1])))
        elif content.get("outline"):
            corners = tuple((float(x), float(y)) for x, y in content["outline"])
            self.choose(Choice(outline=corners))
        elif content.get("clear") and self.choice:
            self.choose(Choice())

    def _relabel(self) -> None:
        bundle, options = self._analysis.bundle, self._analysis.options
        self.labelled = Numbers(
            replace(bundle, threshold=self.det_threshold.value),
            replace(options, oks_threshold=self.oks_threshold.value),
        )
        self.findings = choosing.findings_of(self.labelled, self._analysis.joint_labels_given)
        self.browser.controls.box_threshold.value = self.det_threshold.value
        self.choose(self.choice)

    def _reset(self) -> None:
        self.det_threshold.value = self._analysis.bundle.threshold
        self.oks_threshold.value = self._analysis.options.oks_threshold

    def _show(self) -> None:
        people, images = self.people, self.findings.images(self.choice)
        self.caption.value = (
            f"<b>{_count_of(len(people), 'person', 'people')}</b> on "
            f"{_count_of(len(images), 'image', 'images')}: {html.escape(self.choice.words)}"
        )
        self.clear.disabled = not self.choice
        self.export_button.disabled = not (self.choice and people)
        self.figures.show(self.findings, self.choice, self.oks_threshold.value)
        self.browser.show_people(people if self.choice else None, self.findings.table)

    def _export(self) -> None:
        try:
            path = self.export()
        except KptkError as error:
            self.said.add_class("bad")
            self.said.value = html.escape(str(error))
        else:
            self.said.remove_class("bad")
            images = len(self.findings.images(self.choice))
            self.said.value = (
                f"Wrote {html.escape(str(path))}: {_count_of(images, 'image', 'images')}."
            )


def _count_of(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
