"""What a training run looks like at one moment: numbers only, taken from its directory."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from kptk.training.launch import LOG
from kptk.training.run import Run

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
