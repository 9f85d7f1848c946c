"""Clouds of points: OKS on two kinds of boxes, and where joints fall round their true place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.palette import GREY, JOINT_COLOURS, PERSON_COLOURS, bare, light, make_axes
from kptk.skeleton import COCO17, Skeleton

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Float = NDArray[np.float64]

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
