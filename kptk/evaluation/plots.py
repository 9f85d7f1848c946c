"""Pictures of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kptk.evaluation.matching import RECALLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kptk.evaluation.scores import Scores

# Okabe and Ito's palette: told apart by colour-blind people too.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
_STYLES = ("-", "--", ":")


def plot_curves(
    scores: Sequence[Scores],
    ax: Axes | None,
    thresholds: Sequence[float],
    colours: Sequence[str] | None = None,
) -> Axes:
    """Draw precision against recall of several sets of scores.

    Args:
        scores: one colour each.
        ax: where to draw; None: a new figure.
        thresholds: one style of line each.
        colours: None: a colour-blind-safe palette.

    Returns:
        The axes.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(5.5, 4), layout="constrained")
    for i, part in enumerate(scores):
        colour = (colours or COLOURS)[i % len(colours or COLOURS)]
        measure = "IoU" if part.kind == "bbox" else "OKS"
        for k, threshold in enumerate(thresholds):
            ax.plot(
                RECALLS,
                part.precision(threshold),
                _STYLES[k % len(_STYLES)],
                color=colour,
                label=f"{part.title}, {measure} {threshold:g}",
            )
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    ax.legend(fontsize="small")
    return ax
