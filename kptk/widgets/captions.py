"""What is said of a page, as HTML."""

from __future__ import annotations

import html
import math
import re

from kptk.widgets.picture import State
from kptk.widgets.strokes import ink_on, rgb


def caption_of(state: State, oks_given: float | None) -> str:
    """The caption of a picture: the image, how much is shown, and the person it is about.

    Args:
        state: of the picture.
        oks_given: OKS of the person's pose on the annotated box; None or NaN: not known.
    """
    scene = state.scene
    if scene.error is not None:
        return f"<b>{html.escape(scene.name)}</b>: {html.escape(scene.error)}"
    parts = [f"{len(state.shown)} of {len(state.poses)} poses shown"]
    if scene.truth is not None:
        parts.append(f"{int((~scene.truth.crowd).sum())} annotated")
    if state.heat is not None:
        peak = float(state.heat.values.max())
        parts.append(f"heatmap of {html.escape(state.heat.name)}, peak {peak:.2f}")
    said = f"<b>{html.escape(scene.name)}</b> <span class='soft'>{' · '.join(parts)}</span>"
    return said + _person(state, oks_given)


def _person(state: State, oks_given: float | None) -> str:
    number = state.look.focus
    if number is None:
        return ""
    said = f"<br>person {number}"
    if number in state.labels:
        said += f" {chip(*state.labels[number])}"
    if oks_given is not None and math.isfinite(oks_given):
        said += f" <span class='soft'>OKS {oks_given:.2f} on the annotated box</span>"
    return said


def chip(text: str, colour: str) -> str:
    """A label on its colour ``#rrggbb``."""
    red, green, blue = ink_on(rgb(colour))
    style = f"background:{colour};color:rgb({red},{green},{blue})"
    return f"<span class='kptk-chip' style='{style}'>{html.escape(text)}</span>"


def plain(text: str) -> str:
    """HTML as plain text."""
    return html.unescape(re.sub("<[^>]+>", " ", text)).strip()
