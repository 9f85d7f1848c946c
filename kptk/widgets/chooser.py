"""ChooserView: bars of people, a matrix of joints and a scatter of OKS, to choose people in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from kptk.analysis.joints import JOINT_LABELS
from kptk.analysis.labelled import Labelled
from kptk.analysis.palette import PERSON_COLOURS
from kptk.widgets.choosing import NO_BOX, Choice, Findings, bars_of
from kptk.widgets.theme import CSS


class ChooserView(anywidget.AnyWidget):
    """Shows the three figures, and sends what is clicked or drawn round.

    Messages from the page: ``{"bar": label, "add": bool}``, ``{"cell": [before, after]}``,
    ``{"outline": [[x, y], ...]}``, ``{"clear": true}``.

    Attributes:
        bars: of people: ``label, owner, colour, count``.
        names: of the joints' labels.
        joints: counts of joints: rows on the ground-truth box, columns on the detected box.
        points: float32 (n, 3) as bytes: OKS on the ground-truth box, on the detected box, and the
            place of the label in ``bars``.
        picked: uint8 (n,) as bytes: who is chosen.
        chosen: ``labels``, ``cell`` and ``outline`` of the choice.
        threshold: OKS from which a person counts as found.
        no_box: height of people without a box.
    """

    _esm = Path(__file__).with_name("chooser.js")
    _css = CSS + Path(__file__).with_name("chooser.css").read_text(encoding="utf-8")

    bars: Any = traitlets.List().tag(sync=True)
    names: Any = traitlets.List(list(JOINT_LABELS)).tag(sync=True)
    joints: Any = traitlets.List().tag(sync=True)
    points = traitlets.Bytes().tag(sync=True)
    picked = traitlets.Bytes().tag(sync=True)
    chosen: Any = traitlets.Dict().tag(sync=True)
    threshold = traitlets.Float(0.5).tag(sync=True)
    no_box = traitlets.Float(NO_BOX).tag(sync=True)

    def show(self, findings: Findings, choice: Choice, threshold: float) -> None:
        """Show these counts, and who is chosen."""
        places = {label: place for place, label in enumerate(PERSON_COLOURS)}
        label = [places[name] for name in findings.label]
        points = np.stack([findings.oks_given, findings.heights, label], axis=1)
        with self.hold_sync():
            self.bars = bars_of(findings)
            self.joints = findings.joints.tolist()
            self.points = points.astype("<f4").tobytes()
            self.picked = findings.mask(choice).astype(np.uint8).tobytes()
            self.threshold = threshold
            self.chosen = {
                "labels": list(choice.labels),
                "cell": list(choice.cell or ()),
                "outline": [list(corner) for corner in choice.outline],
            }


def figures_picture(labelled: Labelled, findings: Findings) -> Any:
    """The three figures as RGB uint8 (H, W, 3), for a saved notebook."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from kptk.analysis.grids import plot_transitions
    from kptk.analysis.palette import light
    from kptk.analysis.scatters import plot_oks

    figure = Figure(figsize=(13, 4.2), dpi=75, layout="constrained")
    bars, matrix, cloud = figure.subplots(1, 3)
    names, counts = zip(*reversed(findings.counts.items()), strict=True)
    drawn = bars.barh(names, counts, color=[PERSON_COLOURS[name] for name in names])
    bars.bar_label(drawn, padding=3)
    bars.set_title("People")
    light(bars)
    plot_transitions(labelled.transitions, matrix)
    plot_oks(labelled.persons, cloud, threshold=labelled.options.oks_threshold, n_named=0)
    cloud.get_legend().remove()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
