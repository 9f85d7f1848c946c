"""A figure with a pie at each joint: how often it is good, and how it fails otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.palette import GREY, JOINT_COLOURS, bare, make_axes
from kptk.errors import InputError
from kptk.skeleton import COCO17, CROWDPOSE14, Skeleton, split_side

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Float = NDArray[np.float64]

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
