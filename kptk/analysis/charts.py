"""Bars and lines: isolated changes, the threshold, and how far scores can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.flow import spread
from kptk.analysis.palette import (
    BLUE,
    GREEN,
    GREY,
    JOINT_COLOURS,
    MODULE_COLOURS,
    PERSON_COLOURS,
    PURPLE,
    SKY,
    VERMILLION,
    light,
    make_axes,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Float = NDArray[np.float64]

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
