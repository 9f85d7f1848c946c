"""TrainingMonitor: a run's curves while it trains, and the buttons to stop it and go on."""

from __future__ import annotations

import html
import io
import math
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as w
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from kptk.analysis.plots import VERMILLION
from kptk.errors import KptkError
from kptk.training.run import LOG, Run, load_run
from kptk.widgets.browser import classed
from kptk.widgets.theme import Snapshot, css, file_stamp

_RECENT = 50  # steps that the time left is estimated from
_TAIL = 12  # lines of the log
_TAIL_BYTES = 8000
_TERMINAL_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_MOST = 300  # points of a line: about one a pixel of the plot
_SMOOTH = 0.05  # share of the run that a mean of the loss is taken over
_LOSS = "#1976d2"
# What stands for matplotlib's colours in a page: that of its text, and JupyterLab's accent.
# Vermillion, for AP, is told apart from any accent by everybody.
_THEME = {"#000000": "currentColor", _LOSS: f"var(--jp-brand-color1, {_LOSS})"}
_SIGNS = {"running": "▶", "finished": "✓", "stopped": "■", "failed": "✕", "interrupted": "✕"}


# -- curves ----------------------------------------------------------------------------------


def curves(history: pd.DataFrame, steps: int) -> Figure:
    """Loss and AP of a run over its steps.

    Args:
        history: as ``Run.history``: ``loss`` and ``AP`` from 0 to 1, by step, NaN where there is
            none. AP is drawn x100; the best is marked, of equal ones the last, as it counts for
            training.
        steps: steps of the whole run: the width of the plots.
    """
    figure = Figure(figsize=(8, 2.5), dpi=90)  # laid out by hand: each second it is drawn anew
    layout = {"left": 0.06, "right": 0.975, "bottom": 0.1, "top": 0.88, "wspace": 0.16}
    left, right = figure.subplots(1, 2, gridspec_kw=layout)
    loss, ap = history["loss"].dropna().astype(float), history["AP"].dropna().astype(float)
    smooth = loss.rolling(max(1, round(_SMOOTH * len(loss))), min_periods=1).mean()
    for series, style in ((loss, {"lw": 0.8, "alpha": 0.3}), (smooth, {"lw": 1.8})):
        left.plot(*thinned(series), color=_LOSS, gid=f"curve{len(left.lines)}", **style)
    right.plot(ap.index, 100 * ap, "o-", color=VERMILLION, lw=1.8, ms=4, clip_on=False)
    said = "not evaluated yet"
    if len(ap):
        best = ap.index[ap == ap.max()][-1]
        said = f"best {100 * ap[best]:.1f} at step {best:g}"
        right.plot(best, 100 * ap[best], "o", color=VERMILLION, ms=10, mfc="none", clip_on=False)
    most = loss.quantile(0.98, "higher")  # a few spikes are cut off
    now = f"{smooth.iloc[-1]:.3g}" if len(smooth) else ""
    for axes, title, text, colour, low, high in (
        (left, "loss", now, _LOSS, float(loss.min()), float(most)),
        (right, "validation AP", said, VERMILLION, 0.0, float(100 * ap.max()) or 1.0),
    ):
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axes.set_title(text, loc="right", fontsize=10, fontweight="bold", color=colour)
        locator = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
        ticks = locator.tick_values(*((low, high) if math.isfinite(high) else (0.0, 1.0)))
        axes.set(xlim=(0, steps), ylim=(ticks[0], ticks[-1]), yticks=ticks)
        axes.xaxis.set_major_locator(locator)
        axes.tick_params(labelsize=8, length=0)
        axes.grid(axis="y", color="#000000", alpha=0.18)
        axes.spines[:].set_visible(False)
    return figure


def curves_svg(history: pd.DataFrame, steps: int) -> str:
    """The curves as an ``<svg>`` element in the colours of the page that it stands in.

    Arguments as of :func:`curves`. The same numbers give the same text.
    """
    buffer, figure = io.StringIO(), curves(history, steps)
    # Text as text, and the same names every time. Not by rc_context: from this thread it would put
    # back every setting that the user's has changed meanwhile.
    own: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "kptk"}
    former = {name: matplotlib.rcParams[name] for name in own}
    matplotlib.rcParams.update(own)
    try:
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    finally:
        matplotlib.rcParams.update(former)
    text = buffer.getvalue()
    for colour, themed in _THEME.items():
        text = text.replace(colour, themed)
    label = f'role="img" aria-label="Loss and AP over {steps} steps"'
    # A page must not take over the file's declaration, nor its style, which is of all elements.
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    return re.sub("^.*?<svg", f'<svg fill="currentColor" {label}', text, flags=re.DOTALL)


def curves_png(history: pd.DataFrame, steps: int) -> bytes:
    """The curves as a PNG, for where no SVG is shown. Arguments as of :func:`curves`."""
    buffer = io.BytesIO()
    curves(history, steps).savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def thinned(series: pd.Series, most: int = _MOST) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Steps and values, at most about ``most``: of each stretch the lowest and highest value."""
    stretch = max(1, math.ceil(2 * len(series) / most)) if len(series) > most else 1
    groups = series.reset_index(drop=True).groupby(np.arange(len(series)) // stretch)
    kept = np.unique(np.concatenate([groups.idxmin(), groups.idxmax()]).astype(np.intp))
    return series.index.to_numpy()[kept], series.to_numpy()[kept]


# -- a run at one moment ---------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """A run at one moment: numbers only, taken from its directory.

    Attributes:
        name: of the run directory.
        model: the architecture.
        status: as ``Run.status``.
        step: steps trained.
        steps: steps in all.
        history: ``loss``, ``AP`` from 0 to 1 and ``seconds``, by step.
        early: why it ended before its last step, or None.
        error: what went wrong, or None.
        log: the last lines that the worker printed.
    """

    name: str
    model: str
    status: str
    step: int
    steps: int
    history: pd.DataFrame
    early: str | None
    error: str | None
    log: str

    @property
    def seconds_left(self) -> float:
        """How long the remaining steps take at the recent pace, evaluations not counted."""
        pace = self.history["seconds"].dropna().tail(_RECENT).mean()
        return float(pace * (self.steps - self.step))

    @property
    def best(self) -> tuple[int, float] | None:
        """(step, AP) of the best evaluation, of equal ones the last; None before any."""
        aps = self.history["AP"].dropna()
        known = zip(aps.index.tolist(), aps.tolist(), strict=True)
        return max(known, key=lambda item: item[::-1], default=None)


def look_at(run: Run) -> Progress:
    """A run as it is now."""
    status = run.status  # first: what is read later is not older
    return Progress(
        name=run.path.name,
        model=run.settings.model,
        status=status,
        step=run.step,
        steps=run.settings.steps,
        history=run.history,
        early=run.stopped_early,
        error=run.error,
        log=log_tail(run.path / LOG),
    )


def log_tail(path: Path, lines: int = _TAIL) -> str:
    """The last lines of a log as a terminal would show them; empty text without a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    text = _TERMINAL_COLOURS.sub("", text).replace("\r\n", "\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return "\n".join([line for line in shown if line.strip()][-lines:])


def duration(seconds: float) -> str:
    """Seconds as people say them: ``45 s``, ``12 min``, ``2 h 05 min``, ``3 d 4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


# -- the widget ------------------------------------------------------------------------------


class TrainingMonitor(Snapshot, w.VBox):
    """Watch a training run: progress, loss and AP, errors, log; stop it and go on.

    It reads the run directory in a thread of its own, so the kernel stays free and a run that
    another kernel started is followed just as well: ``TrainingMonitor(kptk.load_run(folder))``.
    The thread ends with the run; closing the widget leaves the run alone.

    Args:
        run: the run, or its directory.
        interval: seconds between looks.

    Attributes:
        run: what is watched.
        progress: the numbers that are shown.
        stop_button: stops the run after the current step, with a checkpoint.
        resume_button: goes on from the last checkpoint.
        header, error, curves, log_tail: the parts that show something.

    Raises:
        TrainingError: it is no run directory.
    """

    def __init__(self, run: Run | str | os.PathLike[str], interval: float = 1.0) -> None:
        self._closing = threading.Event()  # first: close() needs it even if there is no such run
        self.run = run if isinstance(run, Run) else load_run(run)
        self._interval = interval
        self._own = load_run(self.run.path)  # for the thread: two must not read with one Run
        self._looking = threading.Lock()
        self._thread: threading.Thread | None = None
        self._doing = ""  # what a button has set off
        self._seen: object = None
        self.header, self.error, self.curves, self.log_tail = (w.HTML() for _ in range(4))
        self.stop_button = w.Button(
            description="Stop", icon="stop", tooltip="Stop after this step, with a checkpoint"
        )
        self.resume_button = w.Button(
            description="Resume", icon="play", tooltip="Go on from the last checkpoint"
        )
        self.stop_button.on_click(lambda _: self.stop())
        self.resume_button.on_click(lambda _: self.resume())
        style = w.HTML(f"<style>{css('monitor')}</style>", layout={"display": "none"})
        buttons = w.HBox([self.stop_button, self.resume_button])
        super().__init__([style, self.header, self.error, self.curves, buttons, self.log_tail])
        classed(self, "kptk", "kptk-monitor")
        self.refresh()

    def refresh(self) -> Progress:
        """Look at the run now, and follow it if it is at work."""
        self._look()
        with self._looking:
            if self._thread is None and self.progress.status == "running":
                follow = threading.Thread(target=self._follow, name="kptk-monitor", daemon=True)
                self._thread = follow
                follow.start()
        return self.progress

    def stop(self) -> None:
        """Stop the run after its current step; returns at once."""
        self._in_background("stopping …", lambda: load_run(self.run.path).stop())

    def resume(self) -> None:
        """Go on from the last checkpoint; returns at once."""
        self._in_background("starting …", lambda: self.run.resume(wait=False))

    def close(self) -> None:
        """Stop watching, and take the widget away. The run goes on."""
        self._closing.set()
        super().close()

    def render(self) -> bytes:
        """The curves as a PNG."""
        return curves_png(self.progress.history, self.progress.steps)

    snapshot = render

    def __repr__(self) -> str:
        now = self.progress
        return f"TrainingMonitor({now.name}: {now.status}, step {now.step} of {now.steps})"

    def _look(self) -> None:
        with self._looking:
            self._seen = self._fingerprint()
            now = look_at(self._own)
            drawn = curves_svg(now.history, now.steps)  # takes longest: nothing waits on it
            self.progress, self.curves.value = now, drawn
            self._show()

    def _fingerprint(self) -> object:
        """What differs whenever there is something new to show."""
        files = [self._own.path / name for name in ("events.jsonl", LOG)]
        return (self._own.status, *map(file_stamp, files))

    def _follow(self) -> None:
        while not self._closing.wait(self._interval):
            if self._fingerprint() != self._seen:
                self._look()
            if self.progress.status == "running":
                continue
            self.renew_snapshot()  # the notebook keeps how the run ended
            with self._looking:
                if self._own.status != "running":  # it does not go on again meanwhile
                    self._thread = None
                    return

    def _in_background(self, doing: str, action: Callable[[], object]) -> None:
        def act() -> None:
            problem = None
            try:
                action()
            except KptkError as error:
                problem = str(error)
            self._doing = ""
            self.refresh()
            if problem:
                self.error.value = _alert(problem)

        self._doing = doing
        self._show()
        threading.Thread(target=act, daemon=True).start()

    def _show(self) -> None:
        now = self.progress
        self.header.value = _header(now, self._doing)
        self.error.value = _alert(now.error)
        self.log_tail.value = ""
        if now.log:
            shown = " open" if now.status in ("failed", "interrupted") else ""
            said = "<summary>what the worker said last</summary>"
            log = f"<pre>{html.escape(now.log)}</pre>"
            self.log_tail.value = f"<details{shown}>{said}{log}</details>"
        self.stop_button.disabled = bool(self._doing) or now.status != "running"
        self.resume_button.disabled = bool(self._doing) or now.status in ("running", "finished")


def _alert(text: str | None) -> str:
    return f'<div class="error" role="alert">{html.escape(text)}</div>' if text else ""


def _header(now: Progress, doing: str) -> str:
    word = doing or f"{_SIGNS[now.status]} {now.status}"
    spans = f"<span>step {now.step} of {now.steps}</span>"
    if now.status == "running" and math.isfinite(now.seconds_left):
        left = f"about {duration(now.seconds_left)} left"
        spans += f'<span title="at the pace of the last steps, without evaluations">{left}</span>'
    if now.early:
        spans += f"<span>early: {html.escape(now.early)}</span>"
    if now.best is not None:
        spans += f"<span>best checkpoint: AP {100 * now.best[1]:.1f}, step {now.best[0]}</span>"
    share = 100 * now.step / now.steps
    return (
        f'<div class="head"><b class="kptk-title">{html.escape(now.name)}</b>'
        f'<span class="kptk-note">{html.escape(now.model)}</span>'
        f'<span class="badge {now.status}">{html.escape(word)}</span>{spans}</div>'
        f'<div class="track" role="progressbar" aria-valuenow="{share:.0f}" aria-valuemin="0" '
        f'aria-valuemax="100"><div class="done" style="width:{share:.1f}%"></div></div>'
    )
