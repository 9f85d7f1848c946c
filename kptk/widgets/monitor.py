"""TrainingMonitor: a run's curves while it trains, and the buttons to stop it and go on."""

from __future__ import annotations

import html
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as widgets

from kptk.errors import KptkError
from kptk.training.run import Run, load_run
from kptk.widgets import saved
from kptk.widgets.curves import curves_png, curves_svg
from kptk.widgets.progress import Progress, duration, look_at
from kptk.widgets.theme import CSS, ROOT_CLASS

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

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
