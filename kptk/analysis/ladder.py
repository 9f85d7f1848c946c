"""The oracle ladder: the steps from what the pipeline does to both modules perfect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kptk.analysis.palette import MODULE_COLOURS, light, make_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
