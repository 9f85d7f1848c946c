"""The report: one HTML file with everything in it, for light and dark, without scripts."""

from __future__ import annotations

import base64
import html
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kptk.analysis.card import shown, verdict_card
from kptk.cache import replacing
from kptk.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from kptk.analysis.result import ErrorAnalysis

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
    from kptk.analysis.pictures import draw_people, worst_people

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
    return _titled("Slices", text, _table(table.drop(columns="grey"), grey))


def _what_if(analysis: ErrorAnalysis) -> str:
    text = "The same as in the figure above, AP from 0 to 1. Gains do not add up."
    return _titled("What if", text, _table(analysis.what_if))


def _counts(analysis: ErrorAnalysis) -> str:
    types = analysis.detections["type"].value_counts().rename_axis("type").reset_index(name="n")
    missed = int((~analysis.unlabelled["detected"]).sum()) if len(analysis.unlabelled) else 0
    text = (
        f"What the boxes from the threshold up are. Besides, {len(analysis.unlabelled)} people "
        f"carry no labelled joint; {missed} of them have no box."
    )
    return _titled("Detections", text, _table(types))


def _provenance(analysis: ErrorAnalysis) -> str:
    from kptk.analysis.report import config_hash

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


def _table(frame: pd.DataFrame, grey: Iterable[bool] | None = None) -> str:
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
