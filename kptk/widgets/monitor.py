"""Training curves as SVG: loss and AP over steps, in the colours of the page they stand in.

A pure function of numbers: the same numbers give the same text, on every machine.
"""

from __future__ import annotations

import html
import math
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as widgets

from kptk.errors import KptkError
from kptk.training.run import LOG, Run, load_run
from kptk.widgets import theme as saved
from kptk.widgets.theme import CSS, ROOT_CLASS

if TYPE_CHECKING:
    from IPython.display import DisplayHandle


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


# ---- progress: What a training run looks like at one moment: numbers only, taken from its
# directory.


_RECENT = 50  # steps that the time left is estimated from


_TAIL = 12  # lines of the log


_TAIL_BYTES = 8000


_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # of terminals


@dataclass(frozen=True)
class Progress:
    """A run at one moment.

    Attributes:
        name: of the run directory.
        model: the architecture.
        status: as ``Run.status``.
        step: steps trained.
        steps: steps in all.
        losses: (step, loss), by step.
        aps: (step, AP from 0 to 1), by step.
        step_seconds: mean of the last steps; NaN before the first.
        early: why it ended before its last step, or None.
        error: what went wrong, or None.
        log: the last lines that the worker printed.
    """

    name: str
    model: str
    status: str
    step: int
    steps: int
    losses: tuple[tuple[int, float], ...]
    aps: tuple[tuple[int, float], ...]
    step_seconds: float
    early: str | None
    error: str | None
    log: str

    @property
    def seconds_left(self) -> float:
        """How long the remaining steps take at the recent pace, evaluations not counted."""
        return self.step_seconds * (self.steps - self.step)

    @property
    def best(self) -> tuple[int, float] | None:
        """(step, AP) of the best evaluation, of equal ones the last; None before any."""
        return max(self.aps, key=lambda item: (item[1], item[0]), default=None)


def look_at(run: Run) -> Progress:
    """A run as it is now."""
    status = run.status
    table = run.history
    losses, aps = table["loss"].dropna(), table["AP"].dropna()
    recent = table["seconds"].dropna().tail(_RECENT)
    return Progress(
        name=run.path.name,
        model=run.settings.model,
        status=status,
        step=run.step,
        steps=run.settings.steps,
        losses=tuple(zip(losses.index.tolist(), losses.tolist(), strict=True)),
        aps=tuple(zip(aps.index.tolist(), aps.tolist(), strict=True)),
        step_seconds=float(recent.mean()) if len(recent) else math.nan,
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
    plain = _COLOURS.sub("", text).replace("\r\n", "\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in plain.split("\n")]
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


# ---- monitor: TrainingMonitor: a run's curves while it trains, and the buttons to stop it and go
# on.


_SIGNS = {"running": "▶", "finished": "✓", "stopped": "■", "failed": "✕", "interrupted": "✕"}


_BAD = ("failed", "interrupted")


_OWN_CSS = """
.kptk-monitor { border: 1px solid var(--kptk-line); border-radius: 4px; padding: 8px 12px;
  background: var(--kptk-bg); max-width: 920px; }
.kptk-monitor .widget-html-content { color: var(--kptk-text); line-height: 1.4; }
.kptk-monitor .head { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline; }
.kptk-monitor .badge { border: 1px solid currentColor; border-radius: 10px; padding: 0 8px;
  font-weight: 600; }
.kptk-monitor .badge.running { color: var(--kptk-accent); }
.kptk-monitor .badge.finished { color: var(--kptk-good); }
.kptk-monitor .badge.failed, .kptk-monitor .badge.interrupted { color: var(--kptk-bad); }
.kptk-monitor .track { background: var(--kptk-bg-soft); border-radius: 4px; height: 8px;
  margin: 6px 0 10px; overflow: hidden; }
.kptk-monitor .done { background: var(--kptk-accent); border-radius: 4px; height: 100%; }
.kptk-monitor svg { display: block; }
.kptk-monitor .error { border-left: 4px solid var(--kptk-bad); padding: 4px 8px; }
.kptk-monitor pre { color: var(--kptk-text-soft); font-family: var(--kptk-code); font-size: 11px;
  line-height: 1.4; margin: 4px 0 0; max-height: 180px; overflow: auto; white-space: pre-wrap; }
.kptk-monitor summary { cursor: pointer; }
"""


class TrainingMonitor(widgets.VBox):
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
        self._still: DisplayHandle | None = None
        self._make_parts()
        parts = [self.header, self.error, self.curves, self._buttons, self.log_tail]
        super().__init__([self._style, *parts])
        self.add_class(ROOT_CLASS)
        self.add_class("kptk-monitor")
        self.refresh()

    def _make_parts(self) -> None:
        self._style = widgets.HTML(
            f"<style>{CSS}{saved.CSS}{_OWN_CSS}</style>", layout={"display": "none"}
        )
        self.header, self.curves, self.error, self.log_tail = (widgets.HTML() for _ in range(4))
        self.stop_button = widgets.Button(
            description="Stop", icon="stop", tooltip="Stop after this step, with a checkpoint"
        )
        self.resume_button = widgets.Button(
            description="Resume", icon="play", tooltip="Go on from the last checkpoint"
        )
        self.stop_button.on_click(lambda _: self.stop())
        self.resume_button.on_click(lambda _: self.resume())
        self._buttons = widgets.HBox([self.stop_button, self.resume_button])

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
        return curves_png(self.progress.losses, self.progress.aps, self.progress.steps)

    def __repr__(self) -> str:
        now = self.progress
        return f"TrainingMonitor({now.name}: {now.status}, step {now.step} of {now.steps})"

    def _ipython_display_(self) -> None:
        """The live monitor and, for whoever opens the notebook without a kernel, its curves."""
        self._still = saved.show(self, self._repr_mimebundle_(), self.render())

    def _look(self) -> None:
        with self._looking:
            self._seen = _fingerprint(self._own)
            self.progress = look_at(self._own)
            self._show()

    def _follow(self) -> None:
        while not self._closing.wait(self._interval):
            if _fingerprint(self._own) != self._seen:
                self._look()
            if self.progress.status != "running" and self._ended():
                return

    def _ended(self) -> bool:
        """Keep how the run ended in the notebook; False if it goes on again meanwhile."""
        saved.renew(self._still, self, self.render())
        with self._looking:
            if self._own.status == "running":
                return False
            self._thread = None
            return True

    def _in_background(self, doing: str, action: Callable[[], object]) -> None:
        self._doing = doing
        self._show()
        threading.Thread(target=self._try, args=(action,), daemon=True).start()

    def _try(self, action: Callable[[], object]) -> None:
        problem = None
        try:
            action()
        except KptkError as error:
            problem = str(error)
        self._doing = ""
        self.refresh()
        if problem:
            self.error.value = _error(problem)

    def _show(self) -> None:
        now = self.progress
        self.header.value = _header(now, self._doing)
        self.curves.value = curves_svg(now.losses, now.aps, now.steps)
        self.error.value = _error(now.error)
        self.log_tail.value = _log(now)
        self.stop_button.disabled = bool(self._doing) or now.status != "running"
        ended = now.status in ("running", "finished")
        self.resume_button.disabled = bool(self._doing) or ended


def _fingerprint(run: Run) -> object:
    """What differs whenever there is something new to show."""
    sizes = [_size(run.path / name) for name in ("events.jsonl", "worker.log")]
    return (run.status, *sizes)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


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


def _error(text: str | None) -> str:
    return f'<div class="error" role="alert">{html.escape(text)}</div>' if text else ""


def _log(now: Progress) -> str:
    if not now.log:
        return ""
    shown = " open" if now.status in _BAD else ""
    said = f"<summary>what the worker said last</summary><pre>{html.escape(now.log)}</pre>"
    return f"<details{shown}>{said}</details>"
