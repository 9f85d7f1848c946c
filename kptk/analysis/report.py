"""The report of an analysis: one JSON document, and by ``report.j2`` plain text, a card, a page."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from kptk.analysis.labels import DETECTION_TYPES
from kptk.analysis.numbers import Numbers
from kptk.analysis.plots import MODULE_COLOURS, Plots, draw_people, worst_people
from kptk.analysis.verdict import LEVEL
from kptk.errors import InputError
from kptk.evaluation.scores import percent
from kptk.files import writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEMA = "kptk.analysis/1"

_MODULES = {"detector": "detector", "keypoints": "keypoint model"}
_PER_LABEL = 4  # people
_MOST_ROWS = 24
_INK = "#7a7b7d"  # stands for the page's colour of text until the plot is in the page
_STYLE: dict[Any, Any] = {
    "text.color": _INK, "axes.edgecolor": _INK, "axes.labelcolor": _INK, "xtick.color": _INK,
    "ytick.color": _INK, "grid.color": _INK, "axes.facecolor": "none", "figure.facecolor": "none",
    "savefig.facecolor": "none", "svg.fonttype": "path", "svg.hashsalt": "kptk",
    "font.family": "DejaVu Sans", "figure.dpi": 110,
}  # fmt: skip


def document(a: Numbers) -> dict[str, Any]:
    """All of it as plain values; numbers that are not defined are None.

    ``joints``, ``persons`` and ``detections`` count labels; ``what_if`` holds signed gains, AP from
    0 to 1. ``config_hash`` is the same for the same data, models or results, and options.
    """
    missed = ~a.unlabelled["detected"]
    content = {
        "schema": SCHEMA,
        "config_hash": config_hash(a),
        "data": counts(a),
        "verdict": None if a.verdict is None else asdict(a.verdict),
        "without_verdict": a.without_verdict,
        "end_to_end": a.end_to_end,
        "game": None if a.game_table is None else a.game_table.to_dict("records"),
        "what_if": {row.pop("name"): row for row in a.what_if.to_dict("records")},
        "joints": a.joint_labels.counts,
        "joints_on_ground_truth": a.joint_labels_given.counts,
        "transitions": a.transitions.to_numpy().tolist(),
        "persons": a.person_counts,
        "unlabelled": {"detected": int((~missed).sum()), "missed": int(missed.sum())},
        "detections": {n: int((a.detections["type"] == n).sum()) for n in DETECTION_TYPES},
        "rates": {name: rate._asdict() for name, rate in a.rates.items()},
        "options": a.options.json,
        "provenance": a.bundle.provenance,
        "notes": a.bundle.notes,
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def _plain(value: Any) -> Any:
    """The same as JSON knows it: lists, and None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def config_hash(a: Numbers) -> str:
    """SHA-256 (hex) of what the numbers follow from, versions left out."""
    source = {k: v for k, v in a.bundle.provenance.items() if k not in ("versions", "notes")}
    content = {
        "options": a.options.json,
        "source": source,
        "threshold": a.bundle.threshold,
        "flips": a.bundle.skeleton.flip_pairs,
        "sigmas": a.bundle.skeleton.sigmas,
        "schema": SCHEMA,
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def counts(a: Numbers) -> dict[str, Any]:
    """Name and size of the data, and of what was found on it."""
    bundle = a.bundle
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


def text(a: Numbers) -> str:
    """The verdict and what it rests on, as plain text."""
    return str(_template().text(a, counts(a), _game(a))).strip("\n")


def card(a: Numbers) -> str:
    """The verdict card as an HTML fragment: one sentence, what it rests on, nothing to be loaded.

    Every number is rounded to what is shown.
    """
    game, inputs = _game(a), {} if a.verdict is None else a.verdict.inputs
    bars = [
        {
            "name": name,
            "colour": MODULE_COLOURS[module],
            "above": 100 * inputs.get(f"cost_{module}", math.nan),  # above the baseline
            "normal": 100 * inputs.get(f"baseline_phi_{module}", math.nan),
            **{end: 100 * getattr(game["AP", module], end) for end in ("value", "low", "high")},
        }
        for module, name in _MODULES.items()
        if game is not None
    ]
    ends = [0, *(bar[end] for bar in bars for end in ("value", "low", "high", "normal"))]
    low, room = np.nanmin(ends), max(np.ptp(np.array(ends)[np.isfinite(ends)]), 1.0)
    return str(_template().card(a, counts(a), game, bars, low, room))


def _game(a: Numbers) -> dict[tuple[str, str], Any] | None:
    """Rows of the game's table at the headline level, by metric and quantity; None without."""
    if a.game_table is None:
        return None
    rows = a.game_table[a.game_table["level"] == LEVEL].itertuples()
    return {(str(row.metric), str(row.quantity)): row for row in rows}


def page(a: Plots, images: Path | None = None) -> str:
    """The report: one HTML file that needs nothing else; see :func:`write_html`."""
    people = None
    if images is not None:
        drawn = draw_people(a.bundle, worst_people(a.persons, _PER_LABEL), images)
        people = [(label, list(group)) for label, group in groupby(drawn, lambda one: one.label)]
    slices = a.slices()
    return str(
        _template().page(
            a,
            title=f"Error analysis: {a.bundle.name}",
            card=Markup(card(a)),
            people=people,
            slices=slices[slices["lift"] > 0].head(_MOST_ROWS),
            types=a.detections["type"].value_counts().rename_axis("type").reset_index(name="n"),
            config_hash=config_hash(a),
        )
    )


def write_html(
    a: Plots, path: str | os.PathLike[str], images: str | os.PathLike[str] | None
) -> Path:
    """Write the report.

    Args:
        a: what is reported.
        path: the file.
        images: the folder of the images, for images of the worst people; None: without.

    Returns:
        The file.

    Raises:
        InputError: it cannot be written, or there is no such folder.
    """
    target = Path(path).expanduser()
    folder = None if images is None else Path(images).expanduser()
    if folder is not None and not folder.is_dir():
        raise InputError(f"images must be the folder of the images. There is none: {folder}.")
    content = page(a, folder)
    with writing(target) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return target


@cache
def _template() -> Any:
    """The macros of ``report.j2``."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(percent=percent, points="{:+.1f}".format, shown=shown, jpeg=_jpeg)
    environment.tests["finite"] = math.isfinite
    environment.globals.update(partial=partial, svg=svg)
    return environment.get_template("report.j2").module


def shown(value: object) -> str:
    """A value as text: fractions with three decimals, pairs as an interval, nothing as a dash."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {shown(part)}" for name, part in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return " to ".join(shown(part) for part in value)
    if isinstance(value, float | np.floating):
        return "-" if not np.isfinite(value) else f"{value:.3f}".rstrip("0").rstrip(".")
    return "-" if value is None else str(value)


def svg(draw: Callable[[], Axes], title: str) -> Markup:
    """A plot as SVG to stand in a page, in the page's own colour of text."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    with mpl.rc_context(_STYLE), io.StringIO() as stream:
        figure = draw().get_figure(root=True)
        assert figure is not None
        figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
        text = stream.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1))


def _jpeg(image: Image.Image) -> str:
    with io.BytesIO() as stream:
        image.save(stream, "JPEG", quality=82)
        return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
