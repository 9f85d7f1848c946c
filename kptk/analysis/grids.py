"""Tables as pictures: joint labels on two kinds of boxes, and errors by occlusion and crowding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.palette import BLUE, GREEN, GREY, VERMILLION, make_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Text stays legible on a fill that lets more than a third of the background through.
_STRONGEST = 0.6
_OCCLUSION = ((0.0, "none"), (0.25, "to 1/4"), (0.5, "to 1/2"), (1.0, "over 1/2"))
_CROWDING = ((0.0, "alone"), (0.1, "to .1"), (0.3, "to .3"), (1.0, "over .3"))


def plot_transitions(transitions: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw what becomes of each joint when the ground-truth box gives way to the detected one.

    A row adds up to 100 %. To the right of the diagonal, the box made it worse.

    Args:
        transitions: counts; rows: label on the ground-truth box, columns: on the detected box.
        ax: where to draw; None: a new figure.

    Returns:
        The axes.
    """
    counts = transitions.to_numpy(np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    ax = make_axes(ax, 5.6, 4.8)
    for (row, column), count in np.ndenumerate(counts):
        colour = GREEN if row == column else VERMILLION if row == 0 else BLUE
        text = f"{count}\n{_percent(shares[row, column])}" if count else "0"
        _cell(ax, column, row, colour, shares[row, column], text, dim=not count)
    _frame(ax, list(transitions.columns), list(transitions.index))
    ax.set(xlabel="on the detected box", ylabel="on the ground-truth box")
    spoiled, wrong = int(counts[0, 1:].sum()), int(counts[:, 1:].sum())
    if wrong:
        ax.set_title(
            f"{spoiled} of {wrong} wrong joints ({100 * spoiled / wrong:.0f} %) are good "
            "on the ground-truth box",
            fontsize="medium",
        )
    return ax


def _percent(share: float) -> str:
    return "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def plot_heat_map(persons: pd.DataFrame, ax: Axes | None = None, *, min_cell: int = 30) -> Axes:
    """Draw the share of people in error by how hidden and how crowded they are.

    Args:
        persons: one row for each person that must be found; columns ``label``, ``n_keypoints``,
            ``n_visible``, ``crowding``.
        ax: where to draw; None: a new figure.
        min_cell: cells with fewer people are grey.

    Returns:
        The axes.
    """
    hidden = 1 - persons["n_visible"] / persons["n_keypoints"].clip(lower=1)
    row = _bins(hidden.to_numpy(np.float64), _OCCLUSION)
    column = _bins(persons["crowding"].to_numpy(np.float64), _CROWDING)
    wrong = (persons["label"] != "ok").to_numpy()
    ax = make_axes(ax, 5.6, 4.2)
    for i in range(len(_OCCLUSION)):
        for j in range(len(_CROWDING)):
            inside = (row == i) & (column == j)
            _people_cell(ax, j, i, int(wrong[inside].sum()), int(inside.sum()), min_cell)
    _frame(ax, [name for _, name in _CROWDING], [name for _, name in _OCCLUSION])
    ax.set(xlabel="largest overlap with a neighbour (IoU)", ylabel="share of joints hidden")
    ax.set_title(f"people in error; fewer than {min_cell} people: grey", fontsize="medium")
    return ax


def _bins(values: NDArray[np.float64], bins: tuple[tuple[float, str], ...]) -> NDArray[np.intp]:
    """Index of the first bin whose upper end is not below the value; -1: not a number."""
    place = np.searchsorted([end for end, _ in bins], values - 1e-9, side="left")
    return np.where(np.isfinite(values), np.minimum(place, len(bins) - 1), -1)


def _people_cell(ax: Axes, x: int, y: int, wrong: int, count: int, min_cell: int) -> None:
    if not count:
        _cell(ax, x, y, GREY, 0, "", dim=True)
        return
    few = count < min_cell
    text = f"{100 * wrong / count:.0f} %\nn = {count}"
    _cell(ax, x, y, GREY if few else VERMILLION, 0.5 if few else wrong / count, text, dim=few)


def _cell(ax: Axes, x: int, y: int, colour: str, strength: float, text: str, dim: bool) -> None:
    from matplotlib.patches import Rectangle

    alpha = 0.06 + (_STRONGEST - 0.06) * float(strength)
    ax.add_patch(
        Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, facecolor=colour, alpha=alpha, linewidth=0)
    )
    ax.text(x, y, text, ha="center", va="center", fontsize="small", alpha=0.6 if dim else 1)


def _frame(ax: Axes, columns: list[str], rows: list[str]) -> None:
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
