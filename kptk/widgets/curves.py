"""Training curves as SVG: loss and AP over steps, in the colours of the page they stand in.

A pure function of numbers: the same numbers give the same text, on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Series = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 760, 230
_PLOT_WIDTH, _PLOT_HEIGHT, _TOP, _LEFT = 300, 165, 30, 50
_GAP = 390  # from one plot's left edge to the other's
_MOST = 300  # points of a line: about one a pixel of the plot
_SMOOTH = 0.05  # share of the run that a mean of the loss is taken over
# The accent follows JupyterLab's theme; vermillion is told apart from it by everybody.
_LOSS, _AP = "var(--jp-brand-color1, #1976d2)", "#D55E00"


@dataclass(frozen=True)
class _Plot:
    """A plot's place and ranges; turns numbers into places."""

    left: float
    steps: float
    low: float
    high: float

    def x(self, step: float) -> float:
        return self.left + _PLOT_WIDTH * step / self.steps

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return _TOP + _PLOT_HEIGHT * (1 - min(max(share, 0.0), 1.0))


def curves_svg(losses: Series, aps: Series, steps: int) -> str:
    """Loss and AP of a run.

    Args:
        losses: (step, loss), by step.
        aps: (step, AP from 0 to 1), by step; drawn x100. The best is marked.
        steps: steps of the whole run: the width of the plots.

    Returns:
        An ``<svg>`` element that is also a file of its own: text in ``currentColor``.
    """
    losses = [(step, loss) for step, loss in losses if math.isfinite(loss)]
    percent = [(step, 100 * ap) for step, ap in aps if math.isfinite(ap)]
    label = f"Loss and AP over {steps} steps"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'role="img" aria-label="{label}" font-family="system-ui, sans-serif" font-size="11" '
        f'style="width:100%;max-width:{_WIDTH + 140}px;height:auto">'
        f"{_loss_plot(losses, steps)}{_ap_plot(percent, steps)}</svg>"
    )


def curves_png(losses: Series, aps: Series, steps: int) -> bytes:
    """The same as a picture, for places that show no SVG. Arguments as of :func:`curves_svg`."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.6), dpi=90, layout="constrained")
    left, right = figure.subplots(1, 2)
    smooth = smoothed(losses, max(1, round(_SMOOTH * len(losses))))
    for series, width, alpha in ((losses, 0.8, 0.3), (smooth, 1.8, 1.0)):
        left.plot(*_columns(series), color="#1976d2", linewidth=width, alpha=alpha)
    percent = [(step, 100 * ap) for step, ap in aps]
    right.plot(*_columns(percent), "o-", color=_AP, markersize=4, clip_on=False)
    right.set_ylim(bottom=0)
    for axes, title in ((left, "loss"), (right, f"validation AP: {_best(percent)}")):
        axes.set(title=title, xlabel="step", xlim=(0, steps))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _columns(series: Series) -> tuple[list[float], list[float]]:
    return [step for step, _ in series], [value for _, value in series]


def _loss_plot(losses: Series, steps: int) -> str:
    smooth = smoothed(losses, max(1, round(_SMOOTH * len(losses))))
    shown = sorted(loss for _, loss in losses)
    high = shown[math.ceil(0.98 * (len(shown) - 1))] if shown else 1.0  # a few spikes are cut off
    low = shown[0] if shown else 0.0
    ticks = nice_ticks(low, high)
    plot = _Plot(_LEFT, steps, ticks[0], ticks[-1])
    now = f"{smooth[-1][1]:.3g}" if smooth else ""
    return (
        _frame(plot, "loss", now, _LOSS, ticks)
        + _line(plot, losses, f'stroke="{_LOSS}" stroke-width="1" opacity=".3"')
        + _line(plot, smooth, f'stroke="{_LOSS}" stroke-width="2"')
    )


def _ap_plot(aps: Series, steps: int) -> str:
    ticks = nice_ticks(0, max((ap for _, ap in aps), default=1.0))
    plot = _Plot(_LEFT + _GAP, steps, ticks[0], ticks[-1])
    best = max(aps, key=_by_value, default=None)
    dots = "".join(
        f'<circle cx="{plot.x(step):.1f}" cy="{plot.y(ap):.1f}" r="3" fill="{_AP}">'
        f"<title>step {step:g}: AP {ap:.1f}</title></circle>"
        for step, ap in aps
    )
    ring = ""
    if best is not None:
        place = f'cx="{plot.x(best[0]):.1f}" cy="{plot.y(best[1]):.1f}"'
        ring = f'<circle {place} r="6.5" fill="none" stroke="{_AP}" stroke-width="1.5"/>'
    line = _line(plot, aps, f'stroke="{_AP}" stroke-width="2"')
    return _frame(plot, "validation AP", _best(aps), _AP, ticks) + line + dots + ring


def _by_value(item: tuple[float, float]) -> tuple[float, float]:
    """For sorting by value; of equal ones the last step counts, as it does for training."""
    return item[1], item[0]


def _best(aps: Series) -> str:
    best = max(aps, key=_by_value, default=None)
    return f"best {best[1]:.1f} at step {best[0]:g}" if best else "not evaluated yet"


def _frame(plot: _Plot, title: str, said: str, colour: str, ticks: Sequence[float]) -> str:
    right, bottom = plot.left + _PLOT_WIDTH, _TOP + _PLOT_HEIGHT
    parts = [
        f'<text x="{plot.left}" y="18" font-size="12" font-weight="600" fill="currentColor">'
        f"{title}</text>",
        f'<text x="{right}" y="18" text-anchor="end" font-size="12" font-weight="600" '
        f'fill="{colour}">{said}</text>',
    ]
    for tick in ticks:
        y = plot.y(tick)
        parts.append(_rule(plot.left, y, right, y) + _text(plot.left - 6, y + 4, "end", tick))
    for step in nice_ticks(0, plot.steps):
        if step <= plot.steps:
            parts.append(_text(plot.x(step), bottom + 18, "middle", step))
    return "".join(parts)


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" '
        'opacity=".18"/>'
    )


def _text(x: float, y: float, anchor: str, number: float) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor" '
        f'opacity=".7">{number:g}</text>'
    )


def _line(plot: _Plot, series: Series, style: str) -> str:
    places = [f"{plot.x(step):.1f},{plot.y(value):.1f}" for step, value in thinned(series, _MOST)]
    joined = " ".join(places)
    return f'<polyline points="{joined}" fill="none" stroke-linejoin="round" {style}/>'


def smoothed(series: Series, window: int) -> list[tuple[float, float]]:
    """Each value replaced by the mean of the last ``window`` values up to it."""
    sums = [0.0]
    for _, value in series:
        sums.append(sums[-1] + value)
    return [
        (step, (sums[i + 1] - sums[max(0, i + 1 - window)]) / min(i + 1, window))
        for i, (step, _) in enumerate(series)
    ]


def thinned(series: Series, most: int) -> list[tuple[float, float]]:
    """At most about ``most`` points: of each stretch its lowest and highest value, in order."""
    if len(series) <= most:
        return list(series)
    stretch = math.ceil(2 * len(series) / most)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(series), stretch):
        part = series[start : start + stretch]
        ends = {min(part, key=lambda item: item[1]), max(part, key=lambda item: item[1])}
        kept += sorted(ends)
    return kept


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers that span ``low`` to ``high``, in equal steps."""
    span = high - low if high > low else abs(high) or 1.0
    rough = span / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span) / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]
