"""The flow from all people to the one label that each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kptk.analysis.palette import (
    GREY,
    OWNER_COLOURS,
    OWNERS,
    PERSON_COLOURS,
    bare,
    make_axes,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_WIDTH = 0.045  # of a bar, where the three columns are 1 apart
_GAP = 0.035  # between bars of a column, where all people are 1 high
_LINE = 0.058  # height of a line of text
_OWNER_TEXTS = {"found": "found", "keypoints": "keypoint errors", "detector": "detector errors"}


@dataclass(frozen=True)
class _Bar:
    name: str
    count: int
    top: float
    bottom: float

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


def plot_flow(persons: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw how many people end in which label, and whose error that is.

    Args:
        persons: one row for each person that must be found; columns ``label`` and ``detail``.
        ax: where to draw; None: a new figure.

    Returns:
        The axes.
    """
    ax = make_axes(ax, 8.4, 4.4)
    counts = persons["label"].value_counts()
    labels = [(name, int(counts[name])) for name in PERSON_COLOURS if counts.get(name, 0)]
    owners = [
        (owner, sum(n for name, n in labels if OWNERS[name] == owner)) for owner in OWNER_COLOURS
    ]
    everyone = _stack([("people", len(persons))], len(persons))
    middle = _stack([(name, n) for name, n in owners if n], len(persons))
    right = _stack(labels, len(persons))
    _ribbons(ax, 0, everyone * len(middle), middle, OWNER_COLOURS)
    _ribbons(ax, 1, [_named(middle, OWNERS[bar.name]) for bar in right], right, PERSON_COLOURS)
    _bars(ax, 0, everyone, {"people": GREY})
    _bars(ax, 1, middle, OWNER_COLOURS)
    _bars(ax, 2, right, PERSON_COLOURS)
    ax.text(-0.03, 0.5, f"{len(persons)}\npeople", ha="right", va="center")
    _write(ax, 1, middle, [f"{_OWNER_TEXTS[b.name]}  {b.count}" for b in middle])
    _write(ax, 2, right, [_caption(bar, persons) for bar in right])
    last = right or everyone
    ax.set(xlim=(-0.3, 3.15), ylim=(last[-1].bottom - 0.03, last[0].top + 0.03))
    bare(ax)
    return ax


def _stack(parts: Sequence[tuple[str, int]], total: int) -> list[_Bar]:
    """Bars from the top down, in the middle of the column."""
    top = 0.5 + sum(n for _, n in parts) / max(total, 1) / 2 + _GAP * (len(parts) - 1) / 2
    bars = []
    for name, count in parts:
        height = count / max(total, 1)
        bars.append(_Bar(name, count, top, top - height))
        top -= height + _GAP
    return bars


def _named(bars: Sequence[_Bar], name: str) -> _Bar:
    return next(bar for bar in bars if bar.name == name)


def _bars(ax: Axes, x: float, bars: Sequence[_Bar], colours: dict[str, str]) -> None:
    for bar in bars:
        ax.bar(x + _WIDTH / 2, bar.top - bar.bottom, _WIDTH, bar.bottom, color=colours[bar.name])


def _ribbons(
    ax: Axes, x: float, starts: Sequence[_Bar], ends: Sequence[_Bar], colours: dict[str, str]
) -> None:
    """One ribbon into each end; those that leave the same bar lie below each other."""
    used: dict[str, float] = {}
    for start, end in zip(starts, ends, strict=True):
        top = start.top - used.get(start.name, 0.0)
        height = end.top - end.bottom
        used[start.name] = used.get(start.name, 0.0) + height
        _ribbon(ax, (x + _WIDTH, top), (x + 1, end.top), height, colours[end.name])


def _ribbon(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], height: float, colour: str
) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    (x1, y1), (x2, y2) = start, end
    half = (x1 + x2) / 2
    corners = [
        (x1, y1), (half, y1), (half, y2), (x2, y2),
        (x2, y2 - height), (half, y2 - height), (half, y1 - height), (x1, y1 - height), (x1, y1),
    ]  # fmt: skip
    curve = [Path.CURVE4] * 3
    codes = [Path.MOVETO, *curve, Path.LINETO, *curve, Path.CLOSEPOLY]
    ax.add_patch(PathPatch(Path(corners, codes), facecolor=colour, alpha=0.4, linewidth=0))


def _caption(bar: _Bar, persons: pd.DataFrame) -> str:
    """Label and number, and the two commonest details of it."""
    details = persons.loc[persons["label"] == bar.name, "detail"]
    known = details[details.fillna("").astype(str) != ""].value_counts().head(2)
    more = ", ".join(f"{name} {n}" for name, n in known.items())
    share = 100 * bar.count / len(persons)
    return f"{bar.name}  {bar.count} ({share:.0f} %)" + (f":  {more}" if more else "")


def _write(ax: Axes, x: float, bars: Sequence[_Bar], texts: Sequence[str]) -> None:
    places = spread([bar.middle for bar in bars], _LINE)
    for bar, text, y in zip(bars, texts, places, strict=True):
        if abs(y - bar.middle) > _LINE / 4:
            ax.plot([x + _WIDTH + 0.005, x + _WIDTH + 0.05], [bar.middle, y], color=GREY, lw=0.7)
        ax.text(x + _WIDTH + 0.06, y, text, va="center", fontsize="small")


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Descending places moved as little as keeps them ``gap`` apart, their middle kept.

    Clusters that would overlap are laid out round their common middle, until none do.
    """
    groups = [[place] for place in places]
    while True:
        middles = [sum(group) / len(group) for group in groups]
        for i in range(len(groups) - 1):
            room = gap * (len(groups[i]) + len(groups[i + 1])) / 2
            if middles[i] - middles[i + 1] < room - 1e-12:
                groups[i : i + 2] = [groups[i] + groups[i + 1]]
                break
        else:
            break
    return [
        middle + gap * ((len(group) - 1) / 2 - i)
        for group, middle in zip(groups, middles, strict=True)
        for i in range(len(group))
    ]
