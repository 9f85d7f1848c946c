"""The plots of an analysis, from its tables, and images of the people it is about.

Each draws on the axes given, or on a new figure, and returns what it drew. None shows it or changes
matplotlib's settings: text and lines have the colours of the style that is in force.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kptk.analysis.bundle import Bundle, Float
from kptk.analysis.labels import DETECTOR_ERRORS, KEYPOINT_ERRORS
from kptk.analysis.numbers import Numbers
from kptk.analysis.tables import stacked_curves
from kptk.coco.sheets import contact_sheet, draw_region
from kptk.errors import InputError
from kptk.io.images import read_image
from kptk.skeleton import COCO17, CROWDPOSE14, Skeleton, split_side

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# One colour a label, the same in every plot, card and widget. All are from Okabe and Ito's palette,
# told apart under every common colour-vision deficiency, and shades of it where there are more
# labels than colours. They are seen on white as well as on black.
GREEN, VERMILLION, ORANGE, YELLOW = "#009E73", "#D55E00", "#E69F00", "#F0E442"
BLUE, SKY, PURPLE, GREY = "#0072B2", "#56B4E9", "#CC79A7", "#8C8C8C"
# Warm: the keypoint model's; cool: the detector's.
MODULE_COLOURS = {"detector": BLUE, "keypoints": VERMILLION}
OWNER_COLOURS = {"found": GREEN, "keypoints": VERMILLION, "detector": BLUE}
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
# Whose errors the labels of people are.
OWNERS = {
    "ok": "found",
    **dict.fromkeys(KEYPOINT_ERRORS, "keypoints"),
    **dict.fromkeys(DETECTOR_ERRORS, "detector"),
}


def make_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes to draw on: those given, or those of a new figure of so many inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def light(ax: Axes, grid: str | None = None) -> None:
    """No frame at the top and right; faint lines across, if asked for, along ``x`` or ``y``."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, alpha=0.25, linewidth=0.6)  # type: ignore[arg-type]


def _write(ax: Axes, x: float, y: float, text: str, **style: Any) -> None:
    ax.text(x, y, text, **{"va": "center", "fontsize": "small", **style})


def _legend(ax: Axes, colours: Mapping[str, str], marker: str = "s", **style: Any) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker=marker, ms=8, ls="", color=colours[n], label=n) for n in colours
    ]
    ax.legend(handles=handles, frameon=False, fontsize="small", handletextpad=0.3, **style)


def _note(ax: Axes, at: tuple[float, float], text: str, shift: float, **style: Any) -> None:
    """Text so many points beside a position."""
    style = {"va": "center", "fontsize": "small", **style}
    ax.annotate(text, at, xytext=(shift, 0), textcoords="offset points", **style)


_WIDTH = 0.045  # of a bar, where the three columns are 1 apart
_GAP = 0.035  # between bars of a column, where all people are 1 high
_LINE = 0.058  # height of a line of text
_OWNER_TEXTS = {"found": "found", "keypoints": "keypoint errors", "detector": "detector errors"}


def plot_flow(persons: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw how many people end in which label, and whose error that is.

    Args:
        persons: one row for each person that must be found; columns ``label`` and ``detail``.
        ax: where to draw; None: a new figure.

    Returns:
        The axes.
    """
    ax = make_axes(ax, 8.4, 4.4)
    total, counts = len(persons), persons["label"].value_counts()
    labels = {name: int(counts[name]) for name in PERSON_COLOURS if counts.get(name, 0)}
    owners = dict.fromkeys(OWNER_COLOURS, 0)
    for name, count in labels.items():
        owners[OWNERS[name]] += count
    owners = {owner: count for owner, count in owners.items() if count}
    details = persons["detail"].fillna("").astype(str)
    texts = {"people": "", **{name: f"{_OWNER_TEXTS[name]}  {n}" for name, n in owners.items()}}
    for name, count in labels.items():
        known = details[(persons["label"] == name) & (details != "")].value_counts().head(2)
        more = ", ".join(f"{detail} {n}" for detail, n in known.items())
        texts[name] = f"{name}  {count} ({100 * count / total:.0f} %)" + (more and f":  {more}")

    parents = {**dict.fromkeys(owners, "people"), **OWNERS}
    colours = {"people": GREY, **OWNER_COLOURS, **PERSON_COLOURS}
    free: dict[str, float] = {}  # of the bars before: down from where no ribbon has left yet
    for x, column in enumerate(({"people": total}, owners, labels)):
        heights = np.array([*column.values()]) / max(total, 1)
        space = (len(column) - 1) * _GAP
        tops = (1 + heights.sum() + space) / 2 - np.cumsum(heights + _GAP) + heights + _GAP
        for name, top, height in zip(column, tops, heights, strict=True):
            ax.bar(x + _WIDTH / 2, height, _WIDTH, top - height, color=colours[name])
            if x:
                start = free[parents[name]]
                _ribbon(ax, (x - 1 + _WIDTH, start), (x, top), height, colours[name])
                free[parents[name]] = start - height
        middles = tops - heights / 2
        for name, middle, y in zip(column, middles, spread(middles, _LINE), strict=True):
            if abs(y - middle) > _LINE / 4:
                ends = [x + _WIDTH + 0.005, x + _WIDTH + 0.05]
                ax.plot(ends, [middle, y], color=GREY, lw=0.7)
            _write(ax, x + _WIDTH + 0.06, y, texts[name])
        free = dict(zip(column, tops, strict=True))
        if column:
            ax.set_ylim(tops[-1] - heights[-1] - 0.03, tops[0] + 0.03)
    ax.text(-0.03, 0.5, f"{total}\npeople", ha="right", va="center")
    ax.set_xlim(-0.3, 3.15)
    ax.set_axis_off()
    return ax


def _ribbon(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], height: float, colour: str
) -> None:
    """A band between two upper corners that leaves and arrives level."""
    t = np.linspace(0, 1, 50)
    x = start[0] + (end[0] - start[0]) * t * (1.5 - 1.5 * t + t**2)
    top = start[1] + (end[1] - start[1]) * t**2 * (3 - 2 * t)
    ax.fill_between(x, top - height, top, color=colour, alpha=0.4, lw=0)


def spread(positions: Sequence[float] | Float, gap: float) -> list[float]:
    """Descending positions moved as little as keeps them ``gap`` apart, their middle kept.

    Clusters that would overlap are laid out round their common middle, until none do.
    """
    groups = [[float(position)] for position in positions]
    i = 0
    while i < len(groups) - 1:
        one, two = groups[i], groups[i + 1]
        room = gap * (len(one) + len(two)) / 2
        if sum(one) / len(one) - sum(two) / len(two) < room - 1e-12:
            groups[i : i + 2] = [one + two]
            i = max(i - 1, 0)  # the cluster may reach into the one above it now
        else:
            i += 1
    return [
        sum(group) / len(group) + gap * ((len(group) - 1) / 2 - k)
        for group in groups
        for k in range(len(group))
    ]


_NO_BOX = -0.07  # height at which people without a box are shown
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
    ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, zorder=1)
    for draw in (ax.axhline, ax.axvline):
        draw(threshold, color=GREY, lw=0.8, ls="--", zorder=1)
    colours = [PERSON_COLOURS[label] for label in known["label"]]
    dots = ax.scatter(x, np.where(np.isnan(y), _NO_BOX, y), s=16, c=colours, alpha=0.75, zorder=2)
    dots.set(linewidths=0, rasterized=len(known) > _MANY)
    # the ids of those whom the box cost most, where there is room for them
    drop = np.where(np.isnan(y), -1, x - y)
    ids, named = known["annotation_id"].to_numpy(), list[int]()
    for i in np.argsort(-drop, kind="stable"):
        if len(named) == n_named or drop[i] < 0.1:
            break
        if not any(abs(x[i] - x[j]) < 0.16 and abs(y[i] - y[j]) < 0.05 for j in named):
            named.append(i)
            side, shift = ("right", -5) if x[i] > 0.85 else ("left", 5)
            _note(ax, (x[i], y[i]), str(ids[i]), shift, fontsize="x-small", ha=side)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.13, 1.02))
    ax.set(xlabel="OKS on the ground-truth box", ylabel="OKS on the detected box")
    ax.set_yticks([_NO_BOX, 0, 0.25, 0.5, 0.75, 1], ["no box", "0", "0.25", "0.5", "0.75", "1"])
    light(ax)
    there = {name: colour for name, colour in PERSON_COLOURS.items() if name in set(known["label"])}
    _legend(ax, there, "o", loc="upper left", bbox_to_anchor=(1, 1))
    return ax


_GROUP_COLOURS = (PURPLE, GREEN, SKY, GREY)
_ROW = 0.30  # inches


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
    wanted = what_if["group"] != "joints" if groups is None else what_if["group"].isin(groups)
    known = what_if[what_if[f"d{metric}"].notna() & wanted]
    gains = 100 * known[f"d{metric}"].to_numpy(np.float64)
    there = list(dict.fromkeys(known["group"]))
    heights = np.arange(len(known)) + 0.7 * np.array([there.index(g) for g in known["group"]])
    colours = {group: _GROUP_COLOURS[i % len(_GROUP_COLOURS)] for i, group in enumerate(there)}
    for part, colour in (("joint", VERMILLION), *reversed(MODULE_COLOURS.items())):
        colours |= {group: colour for group in there if part in group}  # a module has its own
    ax = make_axes(ax, 6.8, 0.9 + _ROW * (len(known) + 0.7 * len(there)))
    ax.barh(heights, gains, height=0.72, color=[colours[group] for group in known["group"]])
    ax.axvline(0, color=GREY, lw=0.8)
    reach = max(np.abs(gains).max(initial=0), 0.1)
    for y, gain in zip(heights, gains, strict=True):
        _write(ax, max(gain, 0) + 0.015 * reach, y, f"{gain:+.1f}")
    for group, colour in colours.items():
        middle = float(heights[known["group"] == group].mean())
        name = group.replace(" ", "\n", 1)
        _write(ax, 1.18 * reach, middle, name, color=colour, fontweight="bold")
    ax.set_yticks(heights, list(known["name"]))
    ax.set(xlim=(min(0, 1.1 * gains.min(initial=0)), 1.15 * reach))
    ax.set_xlabel(f"change of {metric}, points; each alone, not additive")
    ax.invert_yaxis()
    light(ax, "x")
    ax.tick_params(axis="y", length=0)
    return ax


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
    ax = make_axes(ax, 7.2, 0.9 + 1.74 * len(levels))
    ticks: dict[float, str] = {}
    for i, (level, values) in enumerate(levels.items()):
        now, boxes, poses, both = (100 * values[who] for who in ("", "D", "P", "DP"))
        y, transform = 3.75 * i, ax.get_yaxis_transform()
        _write(ax, 0, y + 0.03, f"{level} modules", fontweight="bold", transform=transform)
        detector_first = (("detector", -0.19), ("keypoints", 0.19))
        poses_first = (("keypoints", -0.19), ("detector", 0.19))
        for k, (name, steps, middle) in enumerate(
            (
                ("boxes first", detector_first, boxes),
                ("poses first", poses_first, poses),
                ("charged (mean)", detector_first, now + (boxes - now + both - poses) / 2),
            )
        ):
            ticks[y + k + 0.75] = name
            for (module, shift), start, end in zip(
                steps, (now, middle), (middle, both), strict=True
            ):
                at, gain, colour = y + k + 0.75 + shift, end - start, MODULE_COLOURS[module]
                (bar,) = ax.barh(at, gain, 0.36, left=start, color=colour, linewidth=0)
                if gain < 0:
                    bar.set(hatch="////", edgecolor="white")
                _note(ax, (max(start, end), at), f"{gain:+.1f}", 4)
    ends = [100 * value for values in levels.values() for value in values.values()]
    room = max(max(ends) - min(ends), 1)
    ax.set(xlim=(min(ends) - 0.06 * room, max(ends) + 0.12 * room), xlabel=f"{metric}, percent")
    ax.set_ylim(max(ticks) + 0.6, -0.35)
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.tick_params(axis="y", length=0)
    light(ax, "x")
    _legend(ax, MODULE_COLOURS, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    return ax


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
    colours = {
        "as it is": GREEN,
        **{f"{name} fixed": colour for name, colour in JOINT_COLOURS.items()},
        "boxes fixed": BLUE,
        "false alarms dropped": PERSON_COLOURS["nms-suppressed"],
        "missed people added": PERSON_COLOURS["never-detected"],
    }
    recall = curves.index.to_numpy(np.float64)
    below = np.zeros(len(recall))
    for name in curves.columns:
        height = np.maximum(curves[name].to_numpy(np.float64), below)
        label, colour = f"{name}  {100 * curves[name].mean():.1f}", colours.get(name, GREY)
        ax.fill_between(recall, below, height, color=colour, alpha=0.85, lw=0, label=label)
        below = height
    ax.plot(recall, curves.iloc[:, 0], color=GREY, lw=1.2)
    ax.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall", ylabel=f"precision at OKS {threshold:g}")
    light(ax)
    ax.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize="small", reverse=True,
        title="AP after each step", title_fontsize="small", alignment="left",
    )  # fmt: skip
    return ax


_STEPS = 10  # score bins


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
    x = sweep["threshold"].to_numpy(np.float64)
    ends: dict[str, tuple[float, str]] = {}
    for name, colour in {"recall": BLUE, "precision": VERMILLION, "AP": GREEN}.items():
        ax.plot(x, sweep[name], color=colour, lw=1.8)
        if len(known := sweep[name].dropna()):
            ends[name] = float(known.iloc[-1]), colour
    order = sorted(ends, key=lambda name: -ends[name][0])
    for name, y in zip(order, spread([ends[name][0] for name in order], 0.06), strict=True):
        style = {"color": ends[name][1], "fontweight": "bold", "fontsize": None}
        _note(ax, (x.max(), y), name, 6, annotation_clip=False, **style)
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
    top = max(1.0, counted["pose_score"].max()) if len(counted) else 1.0
    ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
    for title, column, similarity, colour, marker in (
        ("box score: IoU of at least .5", "score", "iou", BLUE, "o"),
        ("pose score: OKS of at least .5", "pose_score", "oks", VERMILLION, "s"),
    ):
        if column == "score" and len(counted) and counted["score"].equals(counted["pose_score"]):
            continue
        known = counted[np.isfinite(counted[column])]
        tenth = (known[column] / top * _STEPS).astype(int).clip(0, _STEPS - 1)
        right = (known[similarity] >= 0.5).groupby(tenth).agg(["mean", "size"])
        x, y, few = known[column].groupby(tenth).mean(), right["mean"], right["size"] < min_cell
        ax.plot(x, y, color=colour, lw=1.5)
        for some, fill, label in ((few, "none", None), (~few, colour, title)):
            ax.plot(
                x[some], y[some], marker, ms=6, mec=colour, mfc=fill, label=label, clip_on=False,
                zorder=3,
            )  # fmt: skip
    ax.set(xlim=(0, top), ylim=(0, 1.02), xlabel="score", ylabel="share that is right")
    ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    light(ax, "y")
    return ax


_HIDDEN = {0.0: "none", 0.25: "to 1/4", 0.5: "to 1/2", np.inf: "over 1/2"}
_CROWDING = {0.0: "alone", 0.1: "to .1", 0.3: "to .3", np.inf: "over .3"}


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
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax = make_axes(ax, 5.6, 4.8)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        colour = GREEN if row == column else VERMILLION if row == 0 else BLUE
        percent = "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"
        text = f"{count}\n{percent}" if count else "0"
        _cell(ax, column, row, colour, share, text, dim=not count)
    _frame(ax, transitions.columns, transitions.index)
    ax.set(xlabel="on the detected box", ylabel="on the ground-truth box")
    spoiled, wrong = int(counts[0, 1:].sum()), int(counts[:, 1:].sum())
    if wrong:
        share = f"{spoiled} of {wrong} wrong joints ({100 * spoiled / wrong:.0f} %)"
        ax.set_title(f"{share} are good on the ground-truth box", fontsize="medium")
    return ax


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
    # index of the first bin whose upper end is not below the value; NaN is past the last
    row, column = (
        np.searchsorted(list(ends), values.to_numpy(np.float64) - 1e-9)
        for values, ends in ((hidden, _HIDDEN), (persons["crowding"], _CROWDING))
    )
    wrong = (persons["label"] != "ok").to_numpy()
    ax = make_axes(ax, 5.6, 4.2)
    for y, x in np.ndindex(len(_HIDDEN), len(_CROWDING)):
        inside = (row == y) & (column == x)
        count, few = int(inside.sum()), bool(inside.sum() < min_cell)
        share = wrong[inside].mean() if count else 0
        text = f"{100 * share:.0f} %\nn = {count}" if count else ""
        strength = share if not few else 0.5 if count else 0
        _cell(ax, x, y, GREY if few else VERMILLION, strength, text, dim=few)
    _frame(ax, _CROWDING.values(), _HIDDEN.values())
    ax.set(xlabel="largest overlap with a neighbour (IoU)", ylabel="share of joints hidden")
    ax.set_title(f"people in error; fewer than {min_cell} people: grey", fontsize="medium")
    return ax


def _cell(ax: Axes, x: int, y: int, colour: str, strength: float, text: str, dim: bool) -> None:
    # text stays legible on a fill that lets more than a third of the background through
    alpha = 0.06 + 0.54 * float(strength)
    ax.bar(x, 0.94, 0.96, y - 0.47, color=colour, alpha=alpha, lw=0)
    _write(ax, x, y, text, ha="center", alpha=0.6 if dim else 1)


def _frame(ax: Axes, columns: Iterable[str], rows: Iterable[str]) -> None:
    names, others = list(columns), list(rows)
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(others)), others)
    ax.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(others) - 0.5, -0.5))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


_RADIUS = 0.27  # of a pie
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
    positions: Float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the shares of the joint labels as pies on a figure that faces the reader.

    The person's left is on the reader's right. The number at a joint is the share that is not good.

    Args:
        joints: one row a joint; columns ``on``, ``joint``, ``label``.
        skeleton: names and limbs.
        on: which poses: those on ``"ground truth"`` boxes, or on ``"detected"`` ones.
        positions: (K, 2) where the joints are drawn, x to the right, y down, as by
            :func:`mean_positions`; None: the figure for COCO's 17 joints.
        ax: where to draw; None: a new figure.

    Returns:
        The axes.

    Raises:
        InputError: another skeleton, and no positions.
    """
    import pandas as pd
    from matplotlib.patches import Circle

    ax = make_axes(ax, 5.2, 6.6)
    parts = [split_side(name) for name in skeleton.names]
    # CrowdPose's files carry COCO's limbs, which do not fit their joints
    edges = (CROWDPOSE14 if skeleton.names == CROWDPOSE14.names else skeleton).edges
    neck: list[Float] = []
    if positions is None:
        if skeleton.names != COCO17.names:
            raise InputError(
                "There is a ready figure for COCO's 17 joints only. For other skeletons give "
                "positions, (K, 2), as mean_positions makes them from the poses of the people."
            )
        sign = {"left": 1, "right": -1, "centre": 0}
        positions = np.array([np.multiply(_FRONT[part], (sign[side], 1)) for side, part in parts])
        # this figure has a head, and needs no lines to its parts
        edges = tuple(e for e in edges if not {parts[k][1] for k in e} & {"nose", "eye", "ear"})
        ax.add_patch(Circle(_HEAD, _HEAD_SIZE, color=GREY, alpha=0.25, lw=0, zorder=1))
        neck = [np.array([(0, _HEAD[1] + _HEAD_SIZE), (0, _FRONT["shoulder"][1])])]
    for line in [positions[[a, b]] for a, b in edges] + neck:
        ax.plot(*line.T, color=GREY, alpha=0.35, lw=8, solid_capstyle="round", zorder=1)

    chosen = joints[joints["on"] == on]
    table = pd.crosstab(chosen["joint"], chosen["label"])
    table = table.reindex(index=skeleton.names, columns=list(JOINT_COLOURS), fill_value=0)
    for k, counts in enumerate(table.to_numpy(np.int64)):
        x, y = map(float, positions[k])
        if not counts.any():
            ring = Circle((x, y), _RADIUS, fill=False, edgecolor=GREY, linestyle=":", zorder=3)
            ax.add_patch(ring)
            continue
        there = {colour: n for colour, n in zip(JOINT_COLOURS.values(), counts, strict=True) if n}
        # clockwise from the top; y goes down, so angles run that way by themselves
        ax.pie(
            list(there.values()), colors=list(there), startangle=-90, radius=_RADIUS, center=(x, y),
            frame=True, wedgeprops={"lw": 0, "zorder": 3},
        )  # fmt: skip
        dx, dy = _free_side(k, positions, skeleton, edges)
        _write(
            ax, x + dx * (_RADIUS + 0.1), y + dy * (_RADIUS + 0.1),
            f"{100 * (1 - counts[0] / counts.sum()):.0f} %",
            ha=("right", "center", "left")[dx + 1], va=("bottom", "center", "top")[dy + 1],
        )  # fmt: skip

    low, high = positions.min(axis=0), positions.max(axis=0)
    reach = max(-low[0], high[0]) + 1.1
    ax.set(xlim=(-reach, reach), ylim=(high[1] + 0.75, low[1] - 0.9), aspect="equal")
    for x, side, name in ((-reach, "left", "right side"), (reach, "right", "left side")):
        _write(ax, x, low[1] - 0.7, name, ha=side, va="baseline", alpha=0.7)
    _legend(
        ax, JOINT_COLOURS, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=5,
        columnspacing=1.2,
    )  # fmt: skip
    titles = {"ground truth": "poses on ground-truth boxes", "detected": "poses of the detections"}
    ax.set_title(titles.get(on, on), fontsize="medium")
    ax.set_axis_off()
    return ax


def _free_side(
    k: int, positions: Float, skeleton: Skeleton, edges: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """Where the text of a joint goes: outwards, or upwards if another joint is there.

    For joints in the middle it is the one of four sides which is furthest from every limb.
    """
    away = positions - positions[k]
    if skeleton.side(k) != "centre":
        outward = 1 if positions[k, 0] >= 0 else -1
        along = outward * away[:, 0]
        taken = (along > 0) & (along < 0.8) & (np.abs(away[:, 1]) < 0.5)
        return (0, -1) if taken.any() else (outward, 0)
    sides = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    limbs = away[[b if a == k else a for a, b in edges if k in (a, b)]]
    limbs = limbs / np.maximum(np.hypot(*limbs.T), 1e-9)[:, None]
    return sides[int((limbs @ np.array(sides).T).max(axis=0, initial=-1).argmin())]


def mean_positions(keypoints: Float, skeleton: Skeleton) -> Float:
    """Lay a skeleton out from the poses of people, for :func:`plot_manikin`.

    Each pose is scaled to height 1, turned to the front if the left side is on the left, and
    averaged. Then left and right are made alike, and joints that would overlap are moved apart.

    Args:
        keypoints: (N, K, 3) x, y in pixels, v; those with v 0 are not used.
        skeleton: of K joints.

    Returns:
        (K, 2) x to the right, y down.
    """
    # joints about which nothing is known are on a circle
    angle = 2 * np.pi * np.arange(len(skeleton)) / max(len(skeleton), 1)
    positions = np.stack([np.sin(angle), -np.cos(angle)], axis=1) * _HEIGHT / 2
    known = np.where(keypoints[..., 2:] > 0, keypoints[..., :2], np.nan)
    known = known[np.isfinite(known[..., 0]).sum(axis=1) >= 3]
    if not len(known):
        return positions
    low, high = np.nanmin(known, axis=1), np.nanmax(known, axis=1)
    height = np.maximum(high[:, 1] - low[:, 1], 1)
    centred = (known - ((low + high) / 2)[:, None]) / height[:, None, None]
    if skeleton.flip_pairs:
        left, right = np.array(skeleton.flip_pairs).T
        across = np.nansum(centred[:, left, 0] - centred[:, right, 0], axis=1)
        centred[across < 0, :, 0] *= -1  # people who face the camera have their left on the right
    there = np.isfinite(centred[..., 0]).any(axis=0)
    positions[there] = np.nanmedian(centred[:, there], axis=0) * _HEIGHT

    def alike(positions: Float) -> Float:
        return (positions + positions[skeleton.flip_order] * (-1, 1)) / 2

    positions = alike(positions)
    for _ in range(300):  # push joints from each other until the pies do not overlap
        away = positions[:, None] - positions[None]
        distance = np.hypot(away[..., 0], away[..., 1])
        np.fill_diagonal(distance, np.inf)
        lack = np.maximum(_APART - distance, 0)
        if not lack.any():
            break
        same = distance < 1e-6
        away[same] = (0, 1)
        away[same & np.tri(len(away), dtype=bool)] = (0, -1)
        push = away / np.where(same, 1, distance)[..., None] * lack[..., None]
        positions = alike(positions + 0.3 * push.sum(axis=1))
    return positions


_REACH = 3.0  # of an error vector, in units of 2 sigma sqrt(area)
_POINTS = 400  # at most so many joints a panel


def plot_error_vectors(
    joints: pd.DataFrame,
    persons: pd.DataFrame,
    skeleton: Skeleton = COCO17,
    *,
    on: str = "ground truth",
    ax: Axes | None = None,
) -> Axes:
    """Draw where each joint was put, seen from its true position, one panel a joint.

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
    from matplotlib.patches import Circle

    chosen = joints[(joints["on"] == on) & joints["dx"].notna()]
    area = chosen["annotation_id"].map(persons.set_index("annotation_id")["area"])
    sigma = chosen["joint"].map(dict(zip(skeleton.names, skeleton.sigmas, strict=True)))
    unit = 2 * sigma.to_numpy(np.float64) * np.sqrt(area.to_numpy(np.float64))
    vectors = chosen[["dx", "dy"]].to_numpy(np.float64) / unit[:, None]
    placed = np.isfinite(vectors).all(axis=1)

    # right and left of a pair beside each other: pairs begin in an even column
    pairs = [k for left, right in skeleton.flip_pairs for k in (right, left)]
    alone = [k for k in range(len(skeleton)) if k not in pairs]
    columns = 6 if len(skeleton) > 10 else min(4, len(skeleton))
    order = [*alone, *[-1] * (len(alone) % 2 if pairs else 0), *pairs]
    rows = -(-len(order) // columns)
    ax = make_axes(ax, 1.35 * columns + 0.2, 1.55 * rows + 0.4)
    circles = [(float(np.sqrt(-2 * np.log(similar))), 0.8, 1) for similar in (0.85, 0.5)]
    for i, k in enumerate(order):
        if k < 0:
            continue
        name, x, y = skeleton.names[k], 7.0 * (i % columns), 8.0 * (i // columns)
        for radius, width, alpha in (*circles, (_REACH, 0.5, 0.6)):
            ax.add_patch(Circle((x, y), radius, fill=False, ec=GREY, lw=width, alpha=alpha))
        title = name.replace("_", " ")
        _write(ax, x, y - _REACH - 0.35, title, ha="center", va="baseline")
        mine = np.flatnonzero(placed & (chosen["joint"] == name))
        if not len(mine):
            continue
        some = mine[:: -(-len(mine) // _POINTS)]
        length = np.hypot(*vectors[some].T)
        ends = (x, y) + vectors[some] * np.minimum(1, _REACH / np.maximum(length, 1e-9))[:, None]
        colours = [JOINT_COLOURS.get(label, GREY) for label in chosen["label"].iloc[some]]
        dots = ax.scatter(ends[:, 0], ends[:, 1], s=5, c=colours, alpha=0.7, zorder=3)
        dots.set(linewidths=0, rasterized=True)
        at = np.median(vectors[mine], axis=0) + np.array([x, y])
        for width, colour in ((2.6, "black"), (1.2, "white")):
            ax.plot(at[:1], at[1:], marker="+", ms=6, mew=width, color=colour, zorder=4)
    ax.set(xlim=(-3.6, 7 * columns - 3.4), ylim=(8 * rows - 4.3, -5), aspect="equal")
    ax.set_axis_off()
    return ax


_SIDE = 190  # pixels of the longer side of a half
_VISIBLE = 0.5  # drawn hollow below it: occluded joints of the truth, unsure ones of the pose


@dataclass(frozen=True, eq=False)
class PersonImage:
    """A person, twice: as annotated on the left, what was found on the right.

    Attributes:
        label: the person's.
        caption: ids, and what goes with the label.
        image: both halves.
    """

    label: str
    caption: str
    image: Image.Image


def worst_people(persons: pd.DataFrame, count: int) -> pd.DataFrame:
    """Rows of the people that show each label best, ``count`` of each but ``ok``.

    Of those with a pose, the lowest OKS comes first; of those without one, the largest person.
    """
    import pandas as pd

    wrong = persons[persons["label"] != "ok"]
    label = pd.Categorical(wrong["label"], categories=list(PERSON_COLOURS))
    rows = wrong.assign(order=label.codes).sort_values(
        ["order", "oks", "area"], ascending=[True, True, False], kind="stable"
    )
    return rows.groupby("order").head(count).drop(columns="order")


def draw_people(bundle: Bundle, rows: pd.DataFrame, images: Path) -> Iterator[PersonImage]:
    """Draw people, each on the left as annotated and on the right as found.

    On the right is the detection that the label is about; without one, all detections near by.
    People whose image cannot be read are left out.

    Args:
        bundle: candidates and people.
        rows: of the table ``persons``.
        images: the folder of the images.
    """
    index = {int(number): i for i, number in enumerate(bundle.people.ids)}
    for row in rows.to_dict("records"):
        try:
            pixels = read_image(images / str(row["file_name"]))
        except InputError:
            continue
        numbers = {"score": row["box_score"], "IoU": row["box_iou"], "OKS": row["oks"]}
        caption = [f"person {row['annotation_id']}, image {row['image_id']}", row["detail"]]
        caption += [f"{name} {x:.2f}" for name, x in numbers.items() if np.isfinite(x)]
        image = _draw_person(bundle, pixels, index[row["annotation_id"]], row["detection"])
        yield PersonImage(row["label"], ", ".join(filter(None, caption)), image)


def _draw_person(
    bundle: Bundle, pixels: NDArray[np.uint8], person: int, detection: int
) -> Image.Image:
    people, found = bundle.people, bundle.candidates
    box, truth = people.boxes[person], people.keypoints[person].copy()
    truth[:, 2] = np.where(truth[:, 2] == 1, _VISIBLE / 2, 1)
    region = [box.reshape(2, 2), truth[:, :2]]
    if detection >= 0:
        chosen = np.array([detection])
        region.append(found.boxes[detection].reshape(2, 2))
    else:
        low, high = found.boxes[:, :2], found.boxes[:, 2:]
        near = ((low < box[2:]) & (high > box[:2])).all(axis=1)
        near &= bundle.detected & (found.image == people.image[person])
        chosen = np.flatnonzero(near)
    draw = partial(draw_region, pixels, np.vstack(region), skeleton=bundle.skeleton, side=_SIDE)
    left = draw(box[None], np.full(1, np.nan), truth[None], kpt_threshold=_VISIBLE)
    shown = found.boxes[chosen], found.scores[chosen], found.keypoints[chosen]
    right = draw(*shown, kpt_threshold=0.2)
    between = np.full((len(left), 4, 3), 128, np.uint8)
    return Image.fromarray(np.hstack([left, between, right]))


def people_sheet(people: Iterable[PersonImage]) -> Image.Image:
    """A contact sheet of people, each with their label above."""
    made = [(one.image, f"{one.label}: {one.caption.split(',')[0]}") for one in people]
    width, height = (max((image.size[k] for image, _ in made), default=0) + 4 for k in (0, 1))
    return contact_sheet(made, (width, height))


class Plots(Numbers):
    """The numbers of an analysis, drawn."""

    def plot_flow(self, ax: Axes | None = None) -> Axes:
        """Draw how many people end in which label, and whose error that is."""
        return plot_flow(self.persons, ax)

    def plot_ladder(self, ax: Axes | None = None, *, metric: str = "AP") -> Axes:
        """Draw the four values of the oracle game as steps, at both levels.

        Args:
            ax: where to draw; None: a new figure.
            metric: ``"AP"``, ``"AP50"`` or ``"AP75"``.

        Raises:
            InputError: there is no game: boxes, or poses on ground-truth boxes, are missing.
        """
        if self.game is None:
            raise InputError(f"There is no oracle game to draw. {self.without_verdict}")
        levels = {
            level: {who: values[metric] for who, values in members.items()}
            for level, members in self.game.values.items()
        }
        return plot_ladder(levels, ax, metric=metric)

    def plot_what_ifs(
        self, ax: Axes | None = None, *, metric: str = "AP", groups: Sequence[str] | None = None
    ) -> Axes:
        """Draw what each change alone would gain.

        Args:
            ax: where to draw; None: a new figure.
            metric: ``"AP"``, ``"AP50"`` or ``"AP75"``.
            groups: of the table ``what_if``; None: all but single joints.
        """
        return plot_what_ifs(self.what_if, ax, metric=metric, groups=groups)

    def plot_stacked_curve(self, ax: Axes | None = None, *, threshold: float = 0.5) -> Axes:
        """Draw precision against recall as errors are taken away one kind after another.

        Args:
            ax: where to draw; None: a new figure.
            threshold: of OKS, one of .5, .55, ... .95.
        """
        curves = stacked_curves(self.bundle, self.options, threshold)
        return plot_stacked_curve(curves, ax, threshold=threshold)

    def plot_manikin(self, ax: Axes | None = None, *, on: str = "ground truth") -> Axes:
        """Draw the shares of the joint labels as pies on a figure, the keypoint error figure.

        Args:
            ax: where to draw; None: a new figure.
            on: poses on ``"ground truth"`` boxes, or on ``"detected"`` ones.
        """
        skeleton, positions = self.bundle.skeleton, None
        if skeleton.names != COCO17.names:
            positions = mean_positions(self.bundle.people.keypoints, skeleton)
        return plot_manikin(self.joints, skeleton, on=on, positions=positions, ax=ax)

    def plot_transitions(self, ax: Axes | None = None) -> Axes:
        """Draw joint labels on the ground-truth box against those on the detected box."""
        return plot_transitions(self.transitions, ax)

    def plot_oks(self, ax: Axes | None = None) -> Axes:
        """Draw every person's OKS on the detected box against that on the ground-truth box."""
        return plot_oks(self.persons, ax, threshold=self.options.oks_threshold)

    def plot_sweep(self, ax: Axes | None = None) -> Axes:
        """Draw what another detection threshold would do."""
        return plot_sweep(self.sweep, ax, threshold=self.bundle.threshold)

    def plot_heat_map(self, ax: Axes | None = None) -> Axes:
        """Draw the share of people in error by how hidden and how crowded they are."""
        return plot_heat_map(self.persons, ax, min_cell=self.options.min_cell)

    def plot_reliability(self, ax: Axes | None = None) -> Axes:
        """Draw how often detections of each score are right."""
        return plot_reliability(self.detections, ax, min_cell=self.options.min_cell)

    def plot_error_vectors(self, ax: Axes | None = None, *, on: str = "ground truth") -> Axes:
        """Draw where each joint was put, seen from its true position.

        Args:
            ax: where to draw; None: a new figure.
            on: poses on ``"ground truth"`` boxes, or on ``"detected"`` ones.
        """
        return plot_error_vectors(self.joints, self.persons, self.bundle.skeleton, on=on, ax=ax)

    def draw_worst(
        self, images: str | os.PathLike[str], *, count: int = 1, label: str | None = None
    ) -> Image.Image:
        """Draw the people that show a label best: annotated on the left, found on the right.

        Args:
            images: the folder of the images.
            count: so many of each label.
            label: only this one; None: every label but ``ok``.

        Returns:
            One image of all of them; empty if there is nobody.
        """
        persons = self.persons if label is None else self.persons[self.persons["label"] == label]
        rows = worst_people(persons, count)
        return people_sheet(draw_people(self.bundle, rows, Path(images).expanduser()))
