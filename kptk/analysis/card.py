"""The verdict card: one sentence, what it rests on, and nothing that has to be loaded.

The styles stand at the elements, and colours are the surroundings' own, so that the card looks
right in light and dark notebooks as well as in the report.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kptk.analysis.palette import GREY, MODULE_COLOURS

if TYPE_CHECKING:
    from kptk.analysis.result import ErrorAnalysis

LEVEL = "attainable"  # the headline
_VALUES = {
    "": "as it is",
    "D": "right boxes",
    "P": "attainable joints",
    "DP": "both",
}
_MODULES = {"detector": "detector", "keypoints": "keypoint model"}
_BOX = "border:1px solid rgba(128,128,128,.45);border-radius:8px;padding:14px 18px;max-width:760px"
_TILE = "flex:1 1 130px;padding:8px 10px;border-radius:6px;background:rgba(128,128,128,.12)"
_NUMBERS = "flex:0 0 190px;white-space:nowrap;font-variant-numeric:tabular-nums"
_SOFT = "opacity:.72;font-size:.86em"


def verdict_card(analysis: ErrorAnalysis) -> str:
    """The card as an HTML fragment; every number is rounded to what is shown."""
    parts = [_heading(analysis)]
    if analysis.game is not None:
        parts += [_values(analysis), _bars(analysis)]
    if analysis.verdict is not None:
        parts.append(_basis(analysis.verdict.inputs, analysis.verdict.thresholds))
    return f'<div style="{_BOX}">{"".join(parts)}</div>'


def _heading(analysis: ErrorAnalysis) -> str:
    bundle, verdict = analysis.bundle, analysis.verdict
    size = f"{len(bundle.image_ids)} images, {int(bundle.evaluated.sum())} people to be found"
    top = f'<div style="{_SOFT}">{_safe(bundle.name)}: {size}</div>'
    if verdict is None:
        return f"{top}<p>{_safe(analysis.without_verdict)}</p>"
    style = "font-size:1.25em;margin:.35em 0 .3em"
    sentence = f'<p style="{style}"><b>{_safe(verdict.sentence)}</b></p>'
    reason = f'<p style="margin:.3em 0 .6em">{_safe(verdict.reason)}</p>' if verdict.reason else ""
    text = _above(verdict.inputs) if verdict.baseline else "No baseline."
    return top + sentence + reason + f'<p style="margin:.2em 0;{_SOFT}">{text}</p>'


def _above(inputs: Mapping[str, Any]) -> str:
    """What each module costs more than in the baseline."""
    costs = ", ".join(
        f"{name} {100 * inputs[f'cost_{module}']:+.1f}" for module, name in _MODULES.items()
    )
    return (
        "The verdict is on the costs above the baseline's (the upright lines on the bars), in "
        f"points of AP: {costs}."
    )


def _values(analysis: ErrorAnalysis) -> str:
    """The four values of the headline level, side by side."""
    assert analysis.game is not None
    values = analysis.game.values[LEVEL]
    tiles = []
    for who, name in _VALUES.items():
        low_high = _interval(analysis, who)
        rest = ", ".join(f"{m} {_percent(values[who][m])}" for m in ("AP50", "AP75"))
        tiles.append(
            f'<div style="{_TILE}"><div style="{_SOFT}">{name}</div>'
            f'<div style="font-size:1.5em">{_percent(values[who]["AP"])}</div>'
            f'<div style="{_SOFT}">{low_high}{rest}</div></div>'
        )
    row = f'<div style="display:flex;flex-wrap:wrap;gap:8px;margin:.7em 0">{"".join(tiles)}</div>'
    return f'<div style="{_SOFT}">AP in percent</div>{row}'


def _interval(analysis: ErrorAnalysis, who: str) -> str:
    if analysis.draws is None or not len(analysis.draws):
        return ""
    low, high = _quantiles(analysis.draws.value(who, LEVEL), analysis.options.confidence)
    return f"{_percent(low)} to {_percent(high)}<br>"


def _bars(analysis: ErrorAnalysis) -> str:
    """What each module costs, as a bar with its interval."""
    assert analysis.game is not None
    costs = 100 * np.array(analysis.game.phi(LEVEL)[:2])
    ranges = np.stack([costs, costs], axis=1)
    if analysis.draws is not None and len(analysis.draws):
        draws = analysis.draws.phi(LEVEL)[:2]
        confidence = analysis.options.confidence
        ranges = 100 * np.array([_quantiles(part, confidence) for part in draws])
    known = [value for value in _normal(analysis).values() if value is not None]
    ends = np.array([0, *costs, *np.nan_to_num(ranges).ravel(), *known])
    low, room = float(ends.min()), max(float(np.ptp(ends)), 1.0)
    scale = _Scale(low, room)
    normal = _normal(analysis)
    rows = [
        _bar(module, scale, float(cost), (float(a), float(b)), normal[module])
        for module, cost, (a, b) in zip(_MODULES, costs, ranges, strict=True)
    ]
    title = "What each module costs, in points of AP"
    return f'<div style="{_SOFT}">{title}</div>{"".join(rows)}'


def _normal(analysis: ErrorAnalysis) -> dict[str, float | None]:
    """What each module costs in the baseline, in points; None without one."""
    inputs = {} if analysis.verdict is None else analysis.verdict.inputs
    found = {module: inputs.get(f"baseline_phi_{module}") for module in _MODULES}
    return {module: None if cost is None else 100 * cost for module, cost in found.items()}


@dataclass(frozen=True)
class _Scale:
    """Where points of AP lie on a bar."""

    low: float
    room: float

    def span(self, start: float, end: float) -> str:
        """The style of a stretch between two values, in percent of the bar."""
        left, right = sorted(100 * (value - self.low) / self.room for value in (start, end))
        return f"position:absolute;left:{left:.1f}%;width:{right - left:.1f}%"


def _bar(
    module: str, scale: _Scale, cost: float, ends: tuple[float, float], normal: float | None
) -> str:
    low, high = ends
    text = f"{cost:+.1f}" + (f" ({low:+.1f} to {high:+.1f})" if low != high else "")
    marks = [
        f"{scale.span(0, cost)};top:3px;height:14px;background:{MODULE_COLOURS[module]}",
        f"{scale.span(low, high)};top:9px;height:2px;background:currentColor",
    ]
    if normal is not None:
        marks.append(f"{scale.span(normal, normal)};top:0;height:18px;border:1px solid")
    inner = "".join(f'<div style="{mark}"></div>' for mark in marks)
    return (
        '<div style="display:flex;align-items:center;gap:10px;margin:3px 0">'
        f'<div style="flex:0 0 120px">{_MODULES[module]}</div>'
        '<div style="flex:1;position:relative;height:20px;background:rgba(128,128,128,.10)">'
        f"{inner}</div>"
        f'<div style="{_NUMBERS}">{text}</div></div>'
    )


def _basis(inputs: Mapping[str, Any], thresholds: Mapping[str, Any]) -> str:
    """Inputs and thresholds of the verdict, folded away."""
    tables = [
        f'<div style="flex:1 1 240px"><div style="{_SOFT}">{title}</div>{_table(values)}</div>'
        for title, values in (("measured", inputs), ("thresholds", thresholds))
    ]
    return (
        f'<details style="margin-top:.7em"><summary style="cursor:pointer;{_SOFT}">'
        "What the verdict rests on</summary>"
        f'<div style="display:flex;flex-wrap:wrap;gap:16px;margin-top:.4em">{"".join(tables)}'
        "</div></details>"
    )


def _table(values: Mapping[str, Any]) -> str:
    cell = f'style="padding:1px 12px 1px 0;border-bottom:1px solid {GREY}55;text-align:left"'
    texts = [(name.replace("_", " "), shown(value)) for name, value in values.items()]
    rows = "".join(
        f"<tr><td {cell}>{_safe(name)}</td><td {cell}>{_safe(value)}</td></tr>"
        for name, value in texts
    )
    return f'<table style="border-collapse:collapse;font-size:.86em">{rows}</table>'


def shown(value: object) -> str:
    """A value as text: fractions with three decimals, pairs as an interval, nothing as a dash."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {shown(part)}" for name, part in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return " to ".join(shown(part) for part in value)
    if isinstance(value, float | np.floating):
        return "-" if not np.isfinite(value) else f"{value:.3f}".rstrip("0").rstrip(".")
    return "-" if value is None else str(value)


def _quantiles(draws: Any, confidence: float) -> tuple[float, float]:
    from kptk.analysis.bootstrap import interval

    return interval(draws, confidence)


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"


def _safe(text: str) -> str:
    return html.escape(str(text))
