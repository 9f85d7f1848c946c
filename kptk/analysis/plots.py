"""The colours of the analysis: one a label, the same in every figure, card and widget.

All are from Okabe and Ito's palette, told apart under every common colour-vision deficiency, and
shades of it where there are more labels than colours. They are seen on white as well as on black.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kptk.analysis.bundle import Bool, Bundle, Float, Index
from kptk.analysis.labels import DETECTOR_ERRORS, KEYPOINT_ERRORS
from kptk.coco.sheets import cut_out
from kptk.errors import InputError
from kptk.io.images import read_image
from kptk.skeleton import COCO17, CROWDPOSE14, Skeleton, split_side

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


GREEN, VERMILLION, ORANGE, YELLOW = "#009E73", "#D55E00", "#E69F00", "#F0E442"


BLUE, SKY, PURPLE, GREY = "#0072B2", "#56B4E9", "#CC79A7", "#8C8C8C"


# Warm: the keypoint model's; cool: the detector's.
MODULE_COLOURS = {"detector": BLUE, "keypoints": VERMILLION}


JOINT_COLOURS = {
    "good": GREEN, "jitter": YELLOW, "inversion": PURPLE, "swap": SKY, "miss": VERMILLION,
}  # fmt: skip


PERSON_COLOURS = {
    "ok": GREEN,
    "wrong-person": YELLOW,
    "box-sensitive": ORANGE,
    "pose": VERMILLION,
    "box-limited": SKY,
    "badly-localised": BLUE,
    "below-threshold": PURPLE,
    "nms-suppressed": "#8F5A8A",
    "over-cap": GREY,
    "never-detected": "#5F7183",
}


DETECTION_COLOURS = {
    "true positive": GREEN,
    "ignored": GREY,
    "duplicate": SKY,
    "bad pose": VERMILLION,
    "badly localised": BLUE,
    "background": PURPLE,
}


# Whose errors the labels of people are.
OWNERS = {
    "ok": "found",
    **dict.fromkeys(KEYPOINT_ERRORS, "keypoints"),
    **dict.fromkeys(DETECTOR_ERRORS, "detector"),
}


OWNER_COLOURS = {"found": GREEN, "keypoints": VERMILLION, "detector": BLUE}


def make_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes to draw on: those given, or those of a new figure of so many inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def bare(ax: Axes) -> None:
    """Take away everything but what is drawn by hand."""
    ax.set_axis_off()


def light(ax: Axes, grid: str | None = None) -> None:
    """No frame at the top and right; faint lines across, if asked for, along ``x`` or ``y``."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    if grid == "x":
        ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    elif grid == "y":
        ax.grid(axis="y", alpha=0.25, linewidth=0.6)


# ---- charts: Bars and lines: isolated changes, the threshold, and how far scores can be believed.


_GROUP_COLOURS = (PURPLE, GREEN, SKY, GREY)


_ROW = 0.30  # inches


_STEPS = 10  # score bins


def plot_what_ifs(
    what_if: pd.DataFrame,
    ax: Axes | None = None,
    *,
    metric: str = "AP",
    groups: Sequence[str] | None = None,
) -> Axes:
    """Draw what each change alone would gain. The bars do not add up.

    Args:
        what_if: one row a change; columns ``name``, ``group`` and the signed gain ``dAP`` (or
            ``dAP50``, ``dAP75``), 0 to 1.
        ax: where to draw; None: a new figure.
        metric: ``"AP"``, ``"AP50"`` or ``"AP75"``.
        groups: which to draw; None: all but single joints.

    Returns:
        The axes.
    """
    there = list(dict.fromkeys(what_if["group"]))
    groups = [name for name in there if name != "joints"] if groups is None else list(groups)
    known = what_if[what_if[f"d{metric}"].notna() & what_if["group"].isin(groups)]
    gains = 100 * known[f"d{metric}"].to_numpy(np.float64)
    groups = [name for name in there if name in set(known["group"])]
    places = np.arange(len(known)) + 0.7 * np.array([groups.index(g) for g in known["group"]])
    ax = make_axes(ax, 6.8, 0.9 + _ROW * (len(known) + 0.7 * len(groups)))
    colours = [_group_colour(group, groups) for group in known["group"]]
    ax.barh(places, gains, height=0.72, color=colours)
    ax.axvline(0, color=GREY, lw=0.8)
    reach = max(np.abs(gains).max(initial=0), 0.1)
    for y, gain in zip(places, gains, strict=True):
        ax.text(
            max(gain, 0) + 0.015 * reach, y, f"{gain:+.1f}", va="center", fontsize="small"
        )  # fmt: skip
    for group in groups:
        middle = float(places[(known["group"] == group).to_numpy()].mean())
        ax.text(
            1.18 * reach, middle, group.replace(" ", "\n", 1), va="center", fontsize="small",
            color=_group_colour(group, groups), fontweight="bold",
        )  # fmt: skip
    ax.set_yticks(places, list(known["name"]))
    ax.set(xlim=(min(0, 1.1 * gains.min(initial=0)), 1.15 * reach))
    ax.set_xlabel(f"change of {metric}, points; each alone, not additive")
    ax.invert_yaxis()
    light(ax, "x")
    ax.tick_params(axis="y", length=0)
    return ax


def _group_colour(group: str, groups: Sequence[str]) -> str:
    """A module's own colour where the group names it."""
    for part, colour in (*MODULE_COLOURS.items(), ("joint", VERMILLION)):
        if part in group:
            return colour
    return _GROUP_COLOURS[groups.index(group) % len(_GROUP_COLOURS)]


def plot_sweep(
    sweep: pd.DataFrame, ax: Axes | None = None, *, threshold: float | None = None
) -> Axes:
    """Draw what another threshold on the boxes' score would do.

    Args:
        sweep: columns ``threshold``, ``AP``, ``precision``, ``recall``, 0 to 1.
        ax: where to draw; None: a new figure.
        threshold: the pipeline's own, marked by a line.

    Returns:
        The axes.
    """
    ax = make_axes(ax, 6.4, 3.8)
    lines = {"recall": BLUE, "precision": VERMILLION, "AP": GREEN}
    x = sweep["threshold"].to_numpy(np.float64)
    for name, colour in lines.items():
        ax.plot(x, sweep[name], color=colour, lw=1.8)
    last = {name: sweep[name].dropna() for name in lines}
    ends = {name: float(values.iloc[-1]) for name, values in last.items() if len(values)}
    order = sorted(ends, key=lambda name: -ends[name])
    for name, y in zip(order, spread([ends[name] for name in order], 0.06), strict=True):
        ax.annotate(name, (x.max(), y), xytext=(6, 0), textcoords="offset points", va="center",
                    color=lines[name], fontweight="bold", annotation_clip=False)  # fmt: skip
    if threshold is not None:
        ax.axvline(threshold, color=GREY, ls="--", lw=1)
        ax.text(threshold, 1.03, f"now: {threshold:g}", ha="center", fontsize="small")
    ax.set(xlabel="lowest score of a detection", xlim=(x.min(), x.max()), ylim=(0, 1.02))
    light(ax, "y")
    return ax


def plot_reliability(
    detections: pd.DataFrame, ax: Axes | None = None, *, min_cell: int = 30
) -> Axes:
    """Draw how often detections of each score are right.

    On the diagonal a score is a probability. Hollow: fewer than ``min_cell`` detections.

    Args:
        detections: columns ``score`` (the box's), ``pose_score``, ``iou``, ``oks``, ``type``. If
            both scores are the same, as without boxes, only the pose's is drawn.
        ax: where to draw; None: a new figure.
        min_cell: see above.

    Returns:
        The axes.
    """
    ax = make_axes(ax, 5.2, 4.4)
    counted = detections[detections["type"] != "ignored"]
    top = max(1.0, float(counted["pose_score"].max())) if len(counted) else 1.0
    ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
    parts = [
        ("box score: IoU of at least .5", "score", counted["iou"] >= 0.5, BLUE, "o"),
        ("pose score: OKS of at least .5", "pose_score", counted["oks"] >= 0.5, VERMILLION, "s"),
    ]
    if len(counted) and (counted["score"] == counted["pose_score"]).all():
        parts = parts[1:]
    for name, column, right, colour, marker in parts:
        x, y, n = _binned(counted[column].to_numpy(np.float64), right.to_numpy(np.bool_), top)
        ax.plot(x, y, color=colour, lw=1.5)
        for some, fill, title in ((n < min_cell, "none", None), (n >= min_cell, colour, name)):
            ax.plot(
                x[some],
                y[some],
                ls="",
                marker=marker,
                ms=6,
                mec=colour,
                mfc=fill,
                label=title,
                clip_on=False,
                zorder=3,
            )
    ax.set(xlim=(0, top), ylim=(0, 1.02), xlabel="score", ylabel="share that is right")
    ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    light(ax, "y")
    return ax


def _binned(score: Float, right: NDArray[np.bool_], top: float) -> tuple[Float, Float, Float]:
    """Mean score, share that is right, and number, of each tenth up to ``top`` that has any."""
    known = np.isfinite(score)
    place = np.clip((score[known] / top * _STEPS).astype(np.intp), 0, _STEPS - 1)
    n = np.bincount(place, minlength=_STEPS).astype(np.float64)
    there = n > 0
    x = np.bincount(place, score[known], _STEPS)[there] / n[there]
    return x, np.bincount(place, right[known], _STEPS)[there] / n[there], n[there]


def plot_stacked_curve(
    curves: pd.DataFrame, ax: Axes | None = None, *, threshold: float = 0.5
) -> Axes:
    """Draw precision against recall as errors are taken away one kind after another.

    An area is what its kind of error costs, once those before it are gone. The legend has the AP
    at this OKS after each step.

    Args:
        curves: index: recall 0, .01, ... 1; one column of precision for each step, the first as it
            is, in order.
        ax: where to draw; None: a new figure.
        threshold: of OKS, for the axis.

    Returns:
        The axes.
    """
    ax = make_axes(ax, 7.2, 4.2)
    recall = curves.index.to_numpy(np.float64)
    below = np.zeros(len(recall))
    for name in curves.columns:
        height = np.maximum(curves[name].to_numpy(np.float64), below)
        label = f"{name}  {100 * curves[name].mean():.1f}"
        colour = _STEP_COLOURS.get(name, GREY)
        ax.fill_between(recall, below, height, color=colour, alpha=0.85, lw=0, label=label)
        below = height
    ax.plot(recall, curves.iloc[:, 0], color=GREY, lw=1.2)
    ax.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall", ylabel=f"precision at OKS {threshold:g}")
    light(ax)
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1),
              reverse=True, title="AP after each step", title_fontsize="small",
              alignment="left")  # fmt: skip
    return ax


_STEP_COLOURS = {
    "as it is": GREEN,
    **{f"{name} fixed": colour for name, colour in JOINT_COLOURS.items()},
    "boxes fixed": BLUE,
    "false alarms dropped": PERSON_COLOURS["nms-suppressed"],
    "missed people added": PERSON_COLOURS["never-detected"],
}


# ---- flow: The flow from all people to the one label that each of them has.


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


# ---- grids: Tables as pictures: joint labels on two kinds of boxes, and errors by occlusion and
# crowding.


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


# ---- ladder: The oracle ladder: the steps from what the pipeline does to both modules perfect.


def plot_ladder(
    levels: Mapping[str, Mapping[str, float]], ax: Axes | None = None, *, metric: str = "AP"
) -> Axes:
    """Draw the way from what the pipeline does to what it would do with both modules perfect.

    Each level of perfection has three rows: better boxes first, better poses first, and the mean
    of the two, which is what each module is charged.

    Args:
        levels: the four values of each level, 0 to 1, by who is perfect: ``""``, ``"D"`` (the
            detector), ``"P"`` (the keypoint model), ``"DP"``.
        ax: where to draw; None: a new figure.
        metric: its name.

    Returns:
        The axes.
    """
    rows = [
        (level, name, steps)
        for level, values in levels.items()
        for name, steps in _ladders({key: 100 * value for key, value in values.items()}).items()
    ]
    ax = make_axes(ax, 7.2, 0.9 + 0.48 * len(rows) + 0.3 * len(levels))
    places: list[float] = []
    for i, (level, _, (start, first, second)) in enumerate(rows):
        y = i + 0.75 * (list(levels).index(level) + 1)
        places.append(y)
        _step(ax, y - 0.19, start, first)
        _step(ax, y + 0.19, start + first[1], second)
        if i % 3 == 0:
            ax.text(0, y - 0.72, f"{level} modules", transform=ax.get_yaxis_transform(),
                    va="center", fontsize="small", fontweight="bold")  # fmt: skip
    ends = [100 * value for values in levels.values() for value in values.values()]
    room = max(max(ends) - min(ends), 1)
    ax.set(xlim=(min(ends) - 0.06 * room, max(ends) + 0.12 * room), xlabel=f"{metric}, percent")
    ax.set_ylim(places[-1] + 0.6, -0.35)
    ax.set_yticks(places, [name for _, name, _ in rows])
    ax.tick_params(axis="y", length=0)
    light(ax, "x")
    _module_legend(ax)
    return ax


_Step = tuple[str, float]


def _ladders(v: Mapping[str, float]) -> dict[str, tuple[float, _Step, _Step]]:
    """For each row: where it starts, and its two steps: whose, and how far."""
    boxes, poses = v["D"] - v[""], v["P"] - v[""]
    rest_poses, rest_boxes = v["DP"] - v["D"], v["DP"] - v["P"]
    return {
        "boxes first": (v[""], ("detector", boxes), ("keypoints", rest_poses)),
        "poses first": (v[""], ("keypoints", poses), ("detector", rest_boxes)),
        "charged (mean)": (
            v[""],
            ("detector", (boxes + rest_boxes) / 2),
            ("keypoints", (poses + rest_poses) / 2),
        ),
    }


def _step(ax: Axes, y: float, start: float, step: _Step) -> None:
    module, gain = step
    bar = ax.barh(y, gain, 0.36, left=start, color=MODULE_COLOURS[module], linewidth=0)
    if gain < 0:
        bar[0].set(hatch="////", edgecolor="white")
    ax.annotate(f"{gain:+.1f}", (max(start, start + gain), y), xytext=(4, 0), va="center",
                textcoords="offset points", fontsize="small")  # fmt: skip


def _module_legend(ax: Axes) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=name) for name, colour in MODULE_COLOURS.items()]
    ax.legend(handles=handles, frameon=False, fontsize="small", ncols=2, loc="lower right",
              bbox_to_anchor=(1, 1), borderaxespad=0.1)  # fmt: skip


# ---- manikin: A figure with a pie at each joint: how often it is good, and how it fails otherwise.


_RADIUS = 0.27


_APART = 0.8  # least distance of two joints in figures that are laid out


_HEIGHT = 7.6


_HEAD, _HEAD_SIZE = (0.0, 0.45), 1.0


# Where a joint is on the figure, seen from the front: sideways from the middle, and down.
_FRONT = {
    "nose": (0, 0.62), "eye": (0.42, 0.08), "ear": (1.02, 0.42), "shoulder": (1.15, 1.95),
    "elbow": (1.75, 2.95), "wrist": (2.05, 4.1), "hip": (0.7, 4.15), "knee": (0.8, 5.7),
    "ankle": (0.85, 7.2),
}  # fmt: skip


def plot_manikin(
    joints: pd.DataFrame,
    skeleton: Skeleton = COCO17,
    *,
    on: str = "ground truth",
    places: Float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the shares of the joint labels as pies on a figure that faces the reader.

    The person's left is on the reader's right. The number at a joint is the share that is not good.

    Args:
        joints: one row a joint; columns ``on``, ``joint``, ``label``.
        skeleton: names and limbs.
        on: which poses: those on ``"ground truth"`` boxes, or on ``"detected"`` ones.
        places: (K, 2) where the joints are drawn, x to the right, y down, as by
            :func:`mean_places`; None: the figure for COCO's 17 joints.
        ax: where to draw; None: a new figure.

    Returns:
        The axes.

    Raises:
        InputError: another skeleton, and no places.
    """
    ready = places is None
    places = _places(skeleton) if places is None else np.asarray(places, np.float64)
    edges = _limbs(skeleton, ready)
    chosen = joints[(joints["on"] == on) & joints["label"].isin(list(JOINT_COLOURS))]
    counts = chosen.groupby(["joint", "label"], observed=True).size().unstack(fill_value=0)
    counts = counts.reindex(index=skeleton.names, columns=list(JOINT_COLOURS), fill_value=0)
    ax = make_axes(ax, 5.2, 6.6)
    _draw_body(ax, places, edges, ready)
    away = _free_sides(places, skeleton, edges)
    for k, place in enumerate(places):
        _pie(ax, place, counts.iloc[k].to_numpy())
        _share(ax, place, counts.iloc[k].to_numpy(), away[k])
    _finish(ax, places, on)
    return ax


def _places(skeleton: Skeleton) -> Float:
    if skeleton.names != COCO17.names:
        raise InputError(
            "There is a ready figure for COCO's 17 joints only. For other skeletons give places, "
            "(K, 2), as mean_places makes them from the poses of the people."
        )
    signs = {"left": 1, "right": -1, "centre": 0}
    sides = [split_side(name) for name in skeleton.names]
    return np.array([(signs[side] * _FRONT[part][0], _FRONT[part][1]) for side, part in sides])


def mean_places(points: Float, skeleton: Skeleton) -> Float:
    """Lay a skeleton out from the poses of people, for :func:`plot_manikin`.

    Each pose is scaled to height 1, turned to the front if the left side is on the left, and
    averaged. Then left and right are made alike, and joints that would overlap are moved apart.

    Args:
        points: (N, K, 3) x, y in pixels, v; joints with v 0 are not used.
        skeleton: of K joints.

    Returns:
        (K, 2) x to the right, y down.
    """
    known = np.where(points[..., 2:] > 0, points[..., :2], np.nan)
    known = known[np.isfinite(known[..., 0]).sum(axis=1) >= 3]
    if not len(known):
        return _ring(len(skeleton))
    low, high = np.nanmin(known, axis=1), np.nanmax(known, axis=1)
    height = np.maximum(high[:, 1] - low[:, 1], 1)
    centred = (known - ((low + high) / 2)[:, None]) / height[:, None, None]
    centred[..., 0] *= _facing(centred, skeleton)[:, None]
    places = _ring(len(skeleton))
    for k in range(len(skeleton)):
        there = np.isfinite(centred[:, k, 0])
        if there.any():
            places[k] = np.median(centred[there, k], axis=0) * _HEIGHT
    return _apart(_alike(places, skeleton), skeleton)


def _ring(count: int) -> Float:
    """Joints about which nothing is known, on a circle."""
    angle = 2 * np.pi * np.arange(count) / max(count, 1)
    return np.stack([np.sin(angle), -np.cos(angle)], axis=1) * _HEIGHT / 2


def _facing(points: Float, skeleton: Skeleton) -> Float:
    """(N,) 1 where the left side is on the right, as in people who face the camera; else -1."""
    if not skeleton.flip_pairs:
        return np.ones(len(points))
    left, right = np.array(skeleton.flip_pairs).T
    across = np.nansum(points[:, left, 0] - points[:, right, 0], axis=1)
    return np.where(across < 0, -1.0, 1.0)


def _alike(places: Float, skeleton: Skeleton) -> Float:
    mirrored = places[skeleton.flip_order] * (-1, 1)
    return (places + mirrored) / 2


def _apart(places: Float, skeleton: Skeleton) -> Float:
    """Push joints from each other, evenly on both sides, until the pies do not overlap."""
    moved = places.copy()
    for _ in range(300):
        away = moved[:, None] - moved[None]
        distance = np.hypot(away[..., 0], away[..., 1])
        np.fill_diagonal(distance, np.inf)
        lack = np.maximum(_APART - distance, 0)
        if not lack.any():
            break
        same = distance < 1e-6
        away[same] = (0, 1)
        away[same & np.tri(len(moved), dtype=bool)] = (0, -1)
        push = away / np.where(same, 1, distance)[..., None] * lack[..., None]
        moved = _alike(moved + 0.3 * push.sum(axis=1), skeleton)
    return moved


def _pie(ax: Axes, place: Float, counts: NDArray[np.int64]) -> None:
    from matplotlib.patches import Circle, Wedge

    centre = (float(place[0]), float(place[1]))
    if not counts.sum():
        ax.add_patch(Circle(centre, _RADIUS, fill=False, edgecolor=GREY, linestyle=":", zorder=3))
        return
    # clockwise from the top; y goes down, so angles run that way by themselves
    ends = -90 + 360 * np.cumsum(counts) / counts.sum()
    starts = np.concatenate([[-90], ends[:-1]])
    for start, end, colour in zip(starts, ends, JOINT_COLOURS.values(), strict=True):
        if end > start:
            ax.add_patch(Wedge(centre, _RADIUS, start, end, facecolor=colour, lw=0, zorder=3))


def _share(ax: Axes, place: Float, counts: NDArray[np.int64], away: Float) -> None:
    """The share of joints that are not good, beside the pie where no limb is."""
    if not counts.sum():
        return
    x, y = place + away * (_RADIUS + 0.1)
    ax.text(
        float(x), float(y), f"{100 * (1 - counts[0] / counts.sum()):.0f} %", fontsize="small",
        ha=("right", "center", "left")[int(np.sign(np.round(away[0], 1))) + 1],
        va=("bottom", "center", "top")[int(np.sign(np.round(away[1], 1))) + 1],
    )  # fmt: skip


def _free_sides(places: Float, skeleton: Skeleton, edges: Sequence[tuple[int, int]]) -> Float:
    """(K, 2) where the text of each joint goes: outwards, or upwards if another joint is there.

    For joints in the middle it is the one of four sides which is furthest from every limb.
    """
    sides = np.array([(0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)])
    chosen = np.zeros(places.shape)
    for k, place in enumerate(places):
        if skeleton.side(k) != "centre":
            outward = np.array([1.0 if place[0] >= 0 else -1.0, 0.0])
            away = places - place
            taken = (away @ outward > 0) & (away @ outward < 0.8) & (np.abs(away[:, 1]) < 0.5)
            chosen[k] = (0, -1) if taken.any() else outward
            continue
        limbs = [places[b if a == k else a] - place for a, b in edges if k in (a, b)]
        along = np.array([limb / max(float(np.hypot(*limb)), 1e-9) for limb in limbs])
        nearness = (along.reshape(-1, 2) @ sides.T).max(axis=0, initial=-1)
        chosen[k] = sides[int(nearness.argmin())]
    return chosen


def _limbs(skeleton: Skeleton, ready: bool) -> list[tuple[int, int]]:
    """The limbs that are drawn; the ready figure has a head and needs no lines to the ears.

    CrowdPose's files carry COCO's limbs, which do not fit their joints.
    """
    if skeleton.names == CROWDPOSE14.names:
        return list(CROWDPOSE14.edges)
    if not ready:
        return list(skeleton.edges)
    names = [split_side(name)[1] for name in skeleton.names]
    return [e for e in skeleton.edges if not {names[e[0]], names[e[1]]} & {"nose", "eye", "ear"}]


def _draw_body(ax: Axes, places: Float, edges: Sequence[tuple[int, int]], ready: bool) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Circle

    lines = [places[[a, b]] for a, b in edges]
    if ready:
        ax.add_patch(Circle(_HEAD, _HEAD_SIZE, color=GREY, alpha=0.25, lw=0, zorder=1))
        lines.append(np.array([(0, _HEAD[1] + _HEAD_SIZE), (0, _FRONT["shoulder"][1])]))
    ax.add_collection(
        LineCollection(lines, colors=GREY, alpha=0.35, linewidths=8, capstyle="round", zorder=1)
    )


def _finish(ax: Axes, places: Float, on: str) -> None:
    from matplotlib.patches import Patch

    low, high = places.min(axis=0), places.max(axis=0)
    reach = max(-low[0], high[0]) + 1.1
    ax.set(xlim=(-reach, reach), ylim=(high[1] + 0.75, low[1] - 0.9), aspect="equal")
    ax.text(-reach, low[1] - 0.7, "right side", ha="left", alpha=0.7, fontsize="small")
    ax.text(reach, low[1] - 0.7, "left side", ha="right", alpha=0.7, fontsize="small")
    handles = [Patch(color=colour, label=name) for name, colour in JOINT_COLOURS.items()]
    ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=5, frameon=False,
        fontsize="small", handlelength=1, handleheight=1, columnspacing=1.2,
    )  # fmt: skip
    titles = {"ground truth": "poses on ground-truth boxes", "detected": "poses of the detections"}
    ax.set_title(titles.get(on, on), fontsize="medium")
    bare(ax)


# ---- scatters: Clouds of points: OKS on two kinds of boxes, and where joints fall round their
# true place.


_NO_BOX = -0.07  # height at which people without a box are shown


_REACH = 3.0  # of an error vector, in units of 2 sigma sqrt(area)


_POINTS = 400  # at most so many joints a panel


_MANY = 2000  # more points are drawn as pixels in vector files


def plot_oks(
    persons: pd.DataFrame, ax: Axes | None = None, *, threshold: float = 0.5, n_named: int = 6
) -> Axes:
    """Draw every person's OKS on the detected box against that on the ground-truth box.

    Below the diagonal the box cost something. Those without a box are at the bottom. The ids are
    the annotations' where the box cost most.

    Args:
        persons: one row for each person that must be found; columns ``annotation_id``, ``label``,
            ``oks``, ``oks_given``.
        ax: where to draw; None: a new figure.
        threshold: OKS from which a person counts as found.
        n_named: so many people get their id.

    Returns:
        The axes. Its first collection has the people of ``persons`` in their order, without those
        whose ``oks_given`` is NaN.
    """
    ax = make_axes(ax, 6.4, 5)
    known = persons[persons["oks_given"].notna()]
    x, y = known["oks_given"].to_numpy(np.float64), known["oks"].to_numpy(np.float64)
    colours = [PERSON_COLOURS[label] for label in known["label"]]
    ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, zorder=1)
    for draw in (ax.axhline, ax.axvline):
        draw(threshold, color=GREY, lw=0.8, ls="--", zorder=1)
    ax.scatter(
        x, np.where(np.isnan(y), _NO_BOX, y), s=16, c=colours, alpha=0.75, linewidths=0, zorder=2,
        rasterized=len(known) > _MANY,
    )  # fmt: skip
    _name_worst(ax, x, y, known["annotation_id"].to_numpy(), n_named)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.13, 1.02), xlabel="OKS on the ground-truth box",
           ylabel="OKS on the detected box")  # fmt: skip
    ax.set_yticks([_NO_BOX, 0, 0.25, 0.5, 0.75, 1], ["no box", "0", "0.25", "0.5", "0.75", "1"])
    light(ax)
    _label_legend(ax, set(known["label"]))
    return ax


def _name_worst(ax: Axes, x: Float, y: Float, ids: NDArray[np.int64], count: int) -> None:
    """Write the ids of those whom the box cost most, where there is room for them."""
    drop = np.where(np.isnan(y), -1, x - y)
    placed: list[tuple[float, float]] = []
    for i in np.argsort(-drop, kind="stable"):
        if len(placed) == count or drop[i] < 0.1:
            return
        if any(abs(x[i] - a) < 0.16 and abs(y[i] - b) < 0.05 for a, b in placed):
            continue
        placed.append((x[i], y[i]))
        left = bool(x[i] > 0.85)
        ax.annotate(
            str(ids[i]), (x[i], y[i]), xytext=(-5 if left else 5, 0), textcoords="offset points",
            fontsize="x-small", va="center", ha="right" if left else "left",
        )  # fmt: skip


def _label_legend(ax: Axes, there: set[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker="o", ls="", color=colour, label=name)
        for name, colour in PERSON_COLOURS.items()
        if name in there
    ]
    ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize="small"
    )


def plot_error_vectors(
    joints: pd.DataFrame,
    persons: pd.DataFrame,
    skeleton: Skeleton = COCO17,
    *,
    on: str = "ground truth",
    ax: Axes | None = None,
) -> Axes:
    """Draw where each joint was put, seen from its true place, one panel a joint.

    Distances are in units of ``2 sigma sqrt(area)``, so the circles of similarity .85 and .5 are
    the same for all joints. The cross is the median: away from the middle, the error has a
    direction. What lies further off than the panel reaches is on its edge.

    Args:
        joints: one row a joint; columns ``annotation_id``, ``on``, ``joint``, ``label``, ``dx``,
            ``dy`` in pixels, found minus true.
        persons: columns ``annotation_id`` and ``area``.
        skeleton: names and sigmas.
        on: poses on ``"ground truth"`` boxes, or on ``"detected"`` ones.
        ax: where to draw; None: a new figure.

    Returns:
        The axes.
    """
    chosen = joints[(joints["on"] == on) & joints["dx"].notna()]
    area = persons.set_index("annotation_id")["area"]
    scale = np.sqrt(chosen["annotation_id"].map(area).to_numpy(np.float64))
    offset = chosen[["dx", "dy"]].to_numpy(np.float64) / scale[:, None]
    places = _panels(skeleton)
    columns, rows = places[:, 0].max() + 1, places[:, 1].max() + 1
    ax = make_axes(ax, 1.35 * columns + 0.2, 1.55 * rows + 0.4)
    for k, name in enumerate(skeleton.names):
        mine = (chosen["joint"] == name).to_numpy() & np.isfinite(offset).all(axis=1)
        centre = places[k] * (7.0, 8.0)
        vectors = offset[mine] / (2 * skeleton.sigmas[k])
        _panel(ax, centre, vectors, chosen["label"].to_numpy()[mine], name)
    ax.set(xlim=(-3.6, 7 * columns - 3.4), ylim=(8 * rows - 4.3, -5), aspect="equal")
    bare(ax)
    return ax


def _panels(skeleton: Skeleton) -> NDArray[np.intp]:
    """(K, 2) column and row of each joint: right and left of a pair beside each other."""
    pairs = [(right, left) for left, right in skeleton.flip_pairs]
    paired = {joint for pair in pairs for joint in pair}
    order = [k for k in range(len(skeleton)) if k not in paired] + [k for p in pairs for k in p]
    columns = 6 if len(skeleton) > 10 else min(4, len(skeleton))
    start = (-len(order[: len(order) - 2 * len(pairs)])) % 2  # pairs begin at an even place
    places = np.zeros((len(skeleton), 2), np.intp)
    alone = len(order) - 2 * len(pairs)
    for i, joint in enumerate(order):
        place = i + (start if i >= alone else 0)
        places[joint] = place % columns, place // columns
    return places


def _panel(ax: Axes, centre: Float, vectors: Float, labels: NDArray[np.object_], name: str) -> None:
    from matplotlib.patches import Circle

    x, y = float(centre[0]), float(centre[1])
    for similarity in (0.85, 0.5):
        radius = float(np.sqrt(-2 * np.log(similarity)))
        ax.add_patch(Circle((x, y), radius, fill=False, ec=GREY, lw=0.8, zorder=2))
    ax.add_patch(Circle((x, y), _REACH, fill=False, ec=GREY, lw=0.5, alpha=0.6, zorder=1))
    ax.text(x, y - _REACH - 0.35, name.replace("_", " "), ha="center", fontsize="small")
    if not len(vectors):
        return
    step = max(1, -(-len(vectors) // _POINTS))
    shown, colours = vectors[::step], [JOINT_COLOURS.get(s, GREY) for s in labels[::step]]
    length = np.hypot(*shown.T)
    shown = shown * np.minimum(1, _REACH / np.maximum(length, 1e-9))[:, None] + centre
    ax.scatter(
        shown[:, 0], shown[:, 1], s=5, c=colours, alpha=0.7, linewidths=0, zorder=3, rasterized=True
    )
    median = np.median(vectors, axis=0) + centre
    for width, colour in ((2.6, "black"), (1.2, "white")):
        ax.plot(*median, marker="+", ms=6, mew=width, color=colour, zorder=4)


# ---- pictures: Pictures of people: as annotated, and what was found there.


_SIDE = 190  # pixels of the longer side of a half


_ENLARGED = 4.0


_TEXT = 18  # pixels above a picture in a sheet


_VISIBLE = 0.5  # drawn hollow below it: occluded joints of the truth, unsure ones of the pose


@dataclass(frozen=True, eq=False)
class PersonPicture:
    """A person, twice.

    Attributes:
        label: the person's.
        caption: ids, and what goes with the label.
        picture: the annotation on the left, what was found on the right.
    """

    label: str
    caption: str
    picture: Image.Image


def worst_people(persons: pd.DataFrame, count: int) -> pd.DataFrame:
    """Rows of the people that show each label best, ``count`` of each but ``ok``.

    Of those with a pose, the lowest OKS comes first; of those without one, the largest person.
    """
    import pandas as pd

    parts = []
    for label in PERSON_COLOURS:
        mine = persons[persons["label"] == label]
        if label == "ok" or not len(mine):
            continue
        by = ["oks", "area"] if mine["oks"].notna().any() else ["area"]
        order = mine.sort_values(by, ascending=[name == "oks" for name in by], kind="stable")
        parts.append(order.head(count))
    return pd.concat(parts) if parts else persons.head(0)


def draw_people(bundle: Bundle, rows: pd.DataFrame, images: Path) -> Iterator[PersonPicture]:
    """Draw people, each on the left as annotated and on the right as found.

    On the right is the detection that the label is about; without one, all detections near by.
    People whose image cannot be read are left out.

    Args:
        bundle: candidates and people.
        rows: of the table ``persons``.
        images: the folder of the images.
    """
    place = {int(number): i for i, number in enumerate(bundle.people.annotation_id)}
    for row in rows.to_dict("records"):
        try:
            pixels = read_image(images / str(row["file_name"]))
        except InputError:
            continue
        person, detection = place[int(row["annotation_id"])], int(row["detection"])
        picture = _draw_person(bundle, pixels, person, detection)
        yield PersonPicture(str(row["label"]), _caption_pictures(row), picture)


def people_sheet(pictures: Iterable[PersonPicture], columns: int = 3) -> Image.Image:
    """Pictures of people side by side, each with its label above."""
    made = list(pictures)
    width = max((one.picture.width for one in made), default=1) + 4
    height = max((one.picture.height for one in made), default=1) + _TEXT
    rows = -(-len(made) // columns)
    sheet = Image.new("RGB", (width * min(columns, max(len(made), 1)), height * rows), "white")
    for i, one in enumerate(made):
        x, y = width * (i % columns), height * (i // columns)
        sheet.paste(one.picture, (x + 2, y + _TEXT))
        text = f"{one.label}: {one.caption.split(',')[0]}"
        ImageDraw.Draw(sheet).text((x + 4, y + 3), text, fill="black")
    return sheet


def _caption_pictures(row: Mapping[Hashable, Any]) -> str:
    parts = [f"person {row['annotation_id']}, image {row['image_id']}"]
    parts += [str(row["detail"])] if row["detail"] else []
    for name, column in (("score", "box_score"), ("IoU", "box_iou"), ("OKS", "oks")):
        value = float(row[column])
        parts += [f"{name} {value:.2f}"] if np.isfinite(value) else []
    return ", ".join(parts)


def _draw_person(
    bundle: Bundle, pixels: NDArray[np.uint8], person: int, detection: int
) -> Image.Image:
    people, found = bundle.people, bundle.candidates
    box, truth = people.box[person], people.points[person].copy()
    truth[:, 2] = np.where(truth[:, 2] == 1, _VISIBLE / 2, 1)
    corners = box.reshape(2, 2)
    if detection >= 0:
        chosen = np.array([detection])
        corners = np.vstack([corners, found.box[detection].reshape(2, 2)])
    else:
        chosen = _nearby(bundle, person)
    origin, canvas = cut_out(pixels, np.vstack([corners, truth[:, :2]]).astype(np.float32))
    none = np.full(1, np.nan)
    halves = [
        _half(bundle, canvas, origin, box[None], none, truth[None]),
        _half(bundle, canvas, origin, found.box[chosen], found.score[chosen], found.points[chosen]),
    ]
    pair = Image.new("RGB", (2 * halves[0].width + 4, halves[0].height), (128, 128, 128))
    pair.paste(halves[0], (0, 0))
    pair.paste(halves[1], (halves[0].width + 4, 0))
    return pair


def _nearby(bundle: Bundle, person: int) -> Index:
    """Detections whose box touches the person's."""
    found, box = bundle.candidates, bundle.people.box[person]
    touching: Bool = (found.box[:, :2] < box[2:]).all(axis=1) & (found.box[:, 2:] > box[:2]).all(1)
    same = found.image == bundle.people.image[person]
    return np.flatnonzero(bundle.detected & same & touching)


def _half(
    bundle: Bundle,
    canvas: NDArray[np.uint8],
    origin: NDArray[np.float32],
    boxes: Float,
    scores: Float,
    points: Float,
) -> Image.Image:
    from kptk.pipeline.results import draw_poses

    scale = min(_SIDE / max(canvas.shape[:2]), _ENLARGED)
    size = max(1, round(scale * canvas.shape[1])), max(1, round(scale * canvas.shape[0]))
    moved = points.astype(np.float32)
    moved[..., :2] = (moved[..., :2] - origin) * scale
    drawn = draw_poses(
        np.array(Image.fromarray(canvas).resize(size)),
        ((boxes.reshape(-1, 2, 2) - origin) * scale).reshape(-1, 4).astype(np.float32),
        scores.astype(np.float32),
        moved,
        skeleton=bundle.skeleton,
        kpt_threshold=_VISIBLE if np.isnan(scores).any() else 0.2,
    )
    return Image.fromarray(drawn)
