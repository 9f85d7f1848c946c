"""The colours of the analysis: one a label, the same in every figure, card and widget.

All are from Okabe and Ito's palette, told apart under every common colour-vision deficiency, and
shades of it where there are more labels than colours. They are seen on white as well as on black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kptk.analysis.rates import DETECTOR_ERRORS, KEYPOINT_ERRORS

if TYPE_CHECKING:
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
