"""The verdict card: one sentence, what it rests on, and nothing that has to be loaded.

The styles stand at the elements, and colours are the surroundings' own, so that the card looks
right in light and dark notebooks as well as in the report.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kptk.analysis.labels import DETECTION_TYPES, PERSON_LABELS
from kptk.analysis.plots import GREY, MODULE_COLOURS
from kptk.analysis.verdict import FILE
from kptk.errors import InputError
from kptk.evaluation.scores import percent
from kptk.files import replacing, write_json

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

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
    from kptk.analysis.oracle import interval

    return interval(draws, confidence)


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"


def _safe(text: str) -> str:
    return html.escape(str(text))


# ---- report: The analysis as one JSON document.


SCHEMA = "kptk.analysis/1"


def report(analysis: ErrorAnalysis) -> dict[str, Any]:
    """The document, of plain values; numbers that are not defined are None.

    ``joints``, ``persons`` and ``detections`` count labels; ``what_if`` holds signed gains, AP from
    0 to 1. ``config_hash`` is the same for the same data, models or results, and options.
    """
    bundle = analysis.bundle
    document = {
        "schema": SCHEMA,
        "config_hash": config_hash(analysis),
        "data": counts(analysis),
        "verdict": None if analysis.verdict is None else asdict(analysis.verdict),
        "without_verdict": analysis.without_verdict,
        "end_to_end": analysis.end_to_end,
        "game": _records(analysis.game_table),
        "what_if": what_if_json(analysis),
        "joints": analysis.joint_labels.counts,
        "joints_on_ground_truth": analysis.joint_labels_given.counts,
        "transitions": analysis.transitions.to_numpy().tolist(),
        "persons": named_counts(analysis.persons["label"], PERSON_LABELS),
        "unlabelled": {
            "detected": int(analysis.unlabelled["detected"].sum()),
            "missed": int((~analysis.unlabelled["detected"]).sum()),
        },
        "detections": named_counts(analysis.detections["type"], DETECTION_TYPES),
        "rates": {name: rate._asdict() for name, rate in analysis.rates.items()},
        "options": analysis.options.json,
        "provenance": dict(bundle.provenance),
        "notes": list(bundle.notes),
    }
    plain: dict[str, Any] = _plain(document)
    return plain


def _records(table: pd.DataFrame | None) -> list[dict[Any, Any]] | None:
    return None if table is None else table.to_dict("records")


def _plain(value: Any) -> Any:
    """The same as JSON knows it: lists, and None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def config_hash(analysis: ErrorAnalysis) -> str:
    """SHA-256 (hex) of what the numbers follow from, versions left out."""
    bundle = analysis.bundle
    source = {k: v for k, v in bundle.provenance.items() if k not in ("versions", "notes")}
    content = {
        "options": analysis.options.json,
        "source": source,
        "threshold": bundle.threshold,
        "flips": bundle.skeleton.flip_pairs,
        "sigmas": bundle.skeleton.sigmas,
        "schema": SCHEMA,
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def counts(analysis: ErrorAnalysis) -> dict[str, Any]:
    """Name and size of the data, and of what was found on it."""
    bundle = analysis.bundle
    return {
        "name": bundle.name,
        "images": len(bundle.image_ids),
        "people": int((~bundle.people.crowd).sum()),
        "evaluated": int(bundle.evaluated.sum()),
        "crowds": int(bundle.people.crowd.sum()),
        "candidates": len(bundle.candidates),
        "detections": int(bundle.detected.sum()),
        "threshold": bundle.threshold,
        "box_source": "detector" if bundle.two_stage else "results",
        "score_mode": "ppdet" if bundle.two_stage else "as in the results",
    }


def named_counts(values: Iterable[str], names: Sequence[str]) -> dict[str, int]:
    """How often each name occurs; 0 too."""
    every = list(values)
    return {name: every.count(name) for name in names}


def what_if_json(analysis: ErrorAnalysis) -> dict[str, Any]:
    """The isolated what-ifs by name."""
    table = analysis.what_if
    return {row.pop("name"): row for row in table.to_dict("records")}


# ---- text: The analysis as a few lines of plain text.


_VALUES_text = {
    "v()": "as it is",
    "v(D)": "on ground-truth boxes",
    "v(P)": "with attainable joints",
    "v(DP)": "with both",
}


_COSTS = {"detector": "the detector costs", "keypoints": "the keypoint model costs"}


def text(analysis: ErrorAnalysis) -> str:
    """The verdict and what it rests on."""
    size = counts(analysis)
    lines = [
        f"{size['name']}: {size['images']} images, {size['evaluated']} people to be found, "
        f"{size['detections']} detections from {size['threshold']:g} up",
        *_verdict(analysis),
        "",
        *_numbers(analysis),
        _counted("people", named_counts(analysis.persons["label"], PERSON_LABELS)),
        _counted("joints", analysis.joint_labels.counts),
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in analysis.bundle.notes)])


def _verdict(analysis: ErrorAnalysis) -> list[str]:
    verdict = analysis.verdict
    if verdict is None:
        return [analysis.without_verdict]
    compared = "no baseline"
    if analysis.baseline is not None:
        compared = f"compared with {analysis.baseline.name}"
    return [f"{verdict.sentence} ({compared})", *([verdict.reason] if verdict.reason else [])]


def _numbers(analysis: ErrorAnalysis) -> list[str]:
    """AP in percent, with intervals where there is a game."""
    if analysis.bundle.two_stage:
        title = "AP in percent (boxes: detector, scores: ppdet)"
    else:
        title = "AP in percent (boxes: none, scores: as in the results)"
    table = analysis.game_table
    if table is None:
        values = analysis.end_to_end.items()
        return [title, "  " + ", ".join(f"{name} {percent(value)}" for name, value in values)]
    shown = table[(table["level"] == "attainable") & (table["metric"] == "AP")]
    rows = shown.set_index("quantity")
    return [
        title,
        *(f"  {name:26}{_valued(rows, key)}" for key, name in _VALUES_text.items()),
        *(f"  {name:26}{_valued(rows, key)}" for key, name in _COSTS.items()),
    ]


def _valued(rows: pd.DataFrame, key: str) -> str:
    value, low, high = (float(rows[column][key]) for column in ("value", "low", "high"))
    between = "" if np.isnan(low) else f" ({percent(low)} to {percent(high)})"
    return f"{percent(value):>5}{between}"


def _counted(title: str, numbers: Mapping[str, int]) -> str:
    there = [f"{name} {count}" for name, count in numbers.items() if count]
    return f"{title}: {', '.join(there) or '-'}"


# ---- html: The report: one HTML file with everything in it, for light and dark, without scripts.


_INK = "#7a7b7d"  # stands for the page's colour of text until the figure is in the page


_STYLE: dict[Any, Any] = {
    "text.color": _INK, "axes.edgecolor": _INK, "axes.labelcolor": _INK, "xtick.color": _INK,
    "ytick.color": _INK, "grid.color": _INK, "axes.facecolor": "none", "figure.facecolor": "none",
    "savefig.facecolor": "none", "svg.fonttype": "path", "svg.hashsalt": "kptk",
    "font.family": "DejaVu Sans", "figure.dpi": 110,
}  # fmt: skip


_PER_LABEL = 4


_MOST_ROWS = 24


_CSS = """
:root { color-scheme: light dark; --bg: #fff; --ink: #1c1e21; --line: #d9dce0; --soft: #5b626b; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #15181c; --ink: #e4e7eb; --line: #363c44; --soft: #a3abb5; }
}
body { margin: 2rem auto; max-width: 1120px; padding: 0 1.2rem; background: var(--bg);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 1rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .2rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; } p { margin: .3rem 0 .8rem; max-width: 46rem; }
.soft, figcaption { color: var(--soft); font-size: .86rem; }
.row { display: flex; flex-wrap: wrap; gap: 1.4rem; align-items: flex-start; }
figure { margin: 0; } .pair figure { flex: 1 1 420px; min-width: 0; }
.people figure { width: min-content; min-width: 230px; }
svg { max-width: 100%; height: auto; } img { display: block; border-radius: 4px; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td.number, th.number { text-align: right; } tr.grey { opacity: .5; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem; }
"""


def write_html(
    analysis: ErrorAnalysis, path: str | os.PathLike[str], images: str | os.PathLike[str] | None
) -> Path:
    """Write the report.

    Args:
        analysis: what is reported.
        path: the file.
        images: the folder of the images, for pictures of the worst people; None: without.

    Returns:
        The file.

    Raises:
        InputError: it cannot be written, or there is no such folder.
    """
    target = Path(path).expanduser()
    folder = None if images is None else Path(images).expanduser()
    if folder is not None and not folder.is_dir():
        raise InputError(f"images must be the folder of the images. There is none: {folder}.")
    content = report_html(analysis, folder)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"The report cannot be written to {target}: {error}.") from error
    return target


def report_html(analysis: ErrorAnalysis, images: Path | None = None) -> str:
    """The report as text; see :func:`write_html`."""
    title = f"Error analysis: {analysis.bundle.name}"
    body = [
        f"<h1>{html.escape(title)}</h1>",
        verdict_card(analysis),
        *_figures(analysis),
        *(_people(analysis, images) if images is not None else ()),
        _slices(analysis),
        _what_if(analysis),
        _counts(analysis),
        _provenance(analysis),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_CSS}</style></head>\n"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _figures(analysis: ErrorAnalysis) -> Iterator[str]:
    given = bool(analysis.bundle.people.has_given.any())
    yield _section(
        "Where people end",
        "Every person that must be found has one label; the width is how many have it.",
        analysis.plot_flow,
    )
    if analysis.game is not None:
        yield _section(
            "What perfect modules would bring",
            "Each step makes one module attainable, or perfect; the order matters, so each module "
            "is charged the mean of both orders.",
            analysis.plot_ladder,
        )
    yield _section(
        "What each change alone would bring",
        "One thing is mended and everything else left as it is; gains overlap and do not add up.",
        analysis.plot_what_ifs,
        lambda: analysis.plot_what_ifs(groups=["joints"]),
    )
    yield _section(
        "Errors taken away one after another",
        "An area is what one kind of error costs once those below it are gone.",
        analysis.plot_stacked_curve,
    )
    yield from _joint_figures(analysis, given)
    yield _section(
        "Threshold and scores",
        "First: what another threshold would do. Second: a score is a probability where its line "
        "is on the diagonal.",
        analysis.plot_sweep,
        analysis.plot_reliability,
    )
    yield _section(
        "Hidden and crowded people",
        "The share of people in error by how much of them is hidden and how near the next one is.",
        analysis.plot_heat_map,
    )


def _joint_figures(analysis: ErrorAnalysis, given: bool) -> Iterator[str]:
    boxes = ("ground truth", "detected") if given else ("detected",)
    yield _section(
        "Joint by joint",
        "The number is the share of joints that are not good.",
        *[_manikin(analysis, on) for on in boxes],
    )
    if given:
        yield _section(
            "What the box does to joints and people",
            "First: the upper row has joints that only the detected box spoils. Second: people "
            "below the diagonal are worse on the detected box; numbers are annotation ids.",
            analysis.plot_transitions,
            analysis.plot_oks,
        )
    yield _section(
        "Where joints fall",
        "Each dot is a joint seen from its true place; a cross away from the middle is a bias. "
        "Circles: similarity .85 and .5.",
        lambda: analysis.plot_error_vectors(on=boxes[0]),
    )


def _manikin(analysis: ErrorAnalysis, on: str) -> Callable[[], Axes]:
    return lambda: analysis.plot_manikin(on=on)


def _section(title: str, sentence: str, *draw: Callable[[], Axes]) -> str:
    pictures = "".join(f"<figure>{svg(one, title)}</figure>" for one in draw)
    kind = "row pair" if len(draw) > 1 else "row"
    return _titled(title, sentence, f'<div class="{kind}">{pictures}</div>')


def svg(draw: Callable[[], Axes], title: str) -> str:
    """A figure as SVG to stand in a page, in the page's own colour of text."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    with mpl.rc_context(_STYLE), io.BytesIO() as stream:
        figure = draw().get_figure(root=True)
        assert figure is not None
        figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
        text = stream.getvalue().decode()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)


def _people(analysis: ErrorAnalysis, images: Path) -> Iterator[str]:
    from kptk.analysis.plots import draw_people, worst_people

    rows = worst_people(analysis.persons, _PER_LABEL)
    yield (
        "<h2>The worst of each label</h2><p>Left: as annotated. Right: what was found. Hidden or "
        "unsure joints are hollow.</p>"
    )
    pictures = draw_people(analysis.bundle, rows, images)
    for label, group in groupby(pictures, key=lambda one: one.label):
        figures = "".join(
            f'<figure><img alt="{html.escape(one.caption)}" src="{_jpeg(one.picture)}">'
            f"<figcaption>{html.escape(one.caption)}</figcaption></figure>"
            for one in group
        )
        yield f'<h3>{html.escape(label)}</h3><div class="row people">{figures}</div>'


def _jpeg(picture: Any) -> str:
    with io.BytesIO() as stream:
        picture.save(stream, "JPEG", quality=82)
        return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _slices(analysis: ErrorAnalysis) -> str:
    table = analysis.slices()
    table = table[table["lift"] > 0].head(_MOST_ROWS)
    text = "Groups in which errors are commoner than elsewhere, the worst first; grey: few people."
    grey = table["grey"].to_numpy(np.bool_)
    return _titled("Slices", text, _table_html(table.drop(columns="grey"), grey))


def _what_if(analysis: ErrorAnalysis) -> str:
    text = "The same as in the figure above, AP from 0 to 1. Gains do not add up."
    return _titled("What if", text, _table_html(analysis.what_if))


def _counts(analysis: ErrorAnalysis) -> str:
    types = analysis.detections["type"].value_counts().rename_axis("type").reset_index(name="n")
    missed = int((~analysis.unlabelled["detected"]).sum()) if len(analysis.unlabelled) else 0
    text = (
        f"What the boxes from the threshold up are. Besides, {len(analysis.unlabelled)} people "
        f"carry no labelled joint; {missed} of them have no box."
    )
    return _titled("Detections", text, _table_html(types))


def _provenance(analysis: ErrorAnalysis) -> str:

    notes = "".join(f"<li>{html.escape(note)}</li>" for note in analysis.bundle.notes)
    text = f"Config hash {config_hash(analysis)}."
    options = _pairs(analysis.options.json)
    source = _pairs(dict(analysis.bundle.provenance))
    parts = (f"<ul>{notes}</ul>" if notes else "") + "".join(
        f"<details><summary>{name}</summary>{table}</details>"
        for name, table in (("Where the numbers come from", source), ("All thresholds", options))
    )
    return _titled("Provenance", text, parts)


def _pairs(values: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(shown(value))}</td></tr>"
        for name, value in values.items()
    )
    return f'<div class="table"><table>{rows}</table></div>'


def _titled(title: str, sentence: str, content: str) -> str:
    return f"<h2>{html.escape(title)}</h2><p>{html.escape(sentence)}</p>{content}"


def _table_html(frame: pd.DataFrame, grey: Iterable[bool] | None = None) -> str:
    """A table; numbers to the right, rows that are grey marked."""
    numeric = [frame[name].dtype.kind in "if" for name in frame]
    faint = list(grey) if grey is not None else [False] * len(frame)
    rows = [_row(frame.columns, numeric, "th")]
    for values, one in zip(frame.itertuples(index=False), faint, strict=True):
        rows.append(_row([_cell(value) for value in values], numeric, "td", one))
    return f'<div class="table"><table>{"".join(rows)}</table></div>'


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "-" if not np.isfinite(value) else f"{value:.3f}"
    return str(value)


def _row(values: Iterable[Any], numeric: Sequence[bool], tag: str, grey: bool = False) -> str:
    kinds = [' class="number"' if number else "" for number in numeric]
    cells = "".join(
        f"<{tag}{kind}>{html.escape(str(value))}</{tag}>"
        for value, kind in zip(values, kinds, strict=True)
    )
    start = '<tr class="grey">' if grey else "<tr>"
    return f"{start}{cells}</tr>"


# ---- files: An analysis as a folder of files.


TABLES = ("persons", "unlabelled", "detections", "joints", "what_if", "sweep")


def save(analysis: ErrorAnalysis, folder: Path) -> Path:
    """Write report, tables and draws; see ``ErrorAnalysis.save``.

    Raises:
        InputError: it cannot be written.
    """
    write_json(folder / "analysis.json", analysis.json)
    for name in TABLES:
        _write_table(getattr(analysis, name), folder / f"{name}.csv")
    own = analysis.as_baseline
    if own is not None:
        own.save(folder)
    else:
        (folder / FILE).unlink(missing_ok=True)
    return folder


def _write_table(table: pd.DataFrame, path: Path) -> None:
    try:
        with replacing(path) as temporary:
            table.to_csv(temporary, index=False)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
