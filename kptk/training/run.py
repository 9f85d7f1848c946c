"""A training run as a user sees it: watch it, stop it, go on, take the model."""

from __future__ import annotations

import html
import math
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kptk.errors import TrainingError, nearest
from kptk.training.events import Events, add_event
from kptk.training.launch import LOG, is_running, start_worker, stop_worker
from kptk.training.settings import TrainSettings, read_settings
from kptk.training.start import StrPath

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["running", "finished", "stopped", "failed", "interrupted"]

_POLL = 0.3  # seconds between looks at the events
_NO_ROOM = 100_000  # bytes
_ENDINGS: dict[str, Status] = {"end": "finished", "stopped": "stopped", "error": "failed"}


class Run:
    """A run directory and the worker that trains in it, if one is at work.

    Every look is a fresh one: a run that another kernel started is followed just as well.

    Args:
        path: the run directory.

    Raises:
        TrainingError: it is none.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path).expanduser()
        if not (self.path / "settings.yml").is_file():
            siblings = (p.parent.name for p in self.path.parent.glob("*/settings.yml"))
            raise TrainingError(
                f"A run directory must hold settings.yml. {str(self.path)!r} does not."
                f"{nearest(self.path.name, siblings)}"
            )
        self.settings: TrainSettings = read_settings(self.path / "settings.yml")
        self._events = Events(self.path)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def status(self) -> Status:
        """What the run is doing.

        ``"running"``; ``"finished"``: the model is there (``stopped_early`` says whether before
        the last step); ``"stopped"``: it was told to;
        ``"failed"``: ``error`` says why; ``"interrupted"``: the worker vanished (was killed).
        """
        if self._process is not None:
            self._process.poll()  # lets the system forget a worker that has ended
        if is_running(self.path):
            return "running"
        turn = str(self._events.update().turn.get("event"))
        if turn in _ENDINGS:
            return _ENDINGS[turn]
        return "failed" if "Traceback" in self._log() else "interrupted"

    @property
    def stopped_early(self) -> str | None:
        """Why the run ended before its last step, by ``patience``; None if it did not."""
        turn = self._events.update().turn
        return str(turn["reason"]) if turn.get("event") == "end" and "reason" in turn else None

    @property
    def step(self) -> int:
        """Steps trained so far."""
        return self._events.update().step

    @property
    def history(self) -> pd.DataFrame:
        """What was measured, one row a step.

        Columns: ``loss``, ``lr``, ``seconds`` (of the step), ``AP`` and COCO's other statistics
        (0 to 1; NaN where the step was not evaluated). The index is the step, from 1; row 0 is the
        AP of the start. Steps that were trained again after a resume appear once, as they were
        the last time.
        """
        return self._events.update().table()

    @property
    def best_ap(self) -> float:
        """The best AP on the validation data so far, 0 to 1; NaN before the first evaluation."""
        return self._events.update().best[0]

    @property
    def start_ap(self) -> float:
        """The AP of the start, before the first step, 0 to 1; NaN if it was not measured.

        A run from random weights does not measure it.
        """
        return self._events.update().start_ap

    @property
    def model_dir(self) -> Path:
        """The exported model directory, with the weights of the best AP.

        Raises:
            TrainingError: there is none yet.
        """
        folder = self.path / "model"
        if folder.is_dir():
            return folder
        advice = (
            "Wait for it: run.wait()."
            if self.status == "running"
            else "Go on with run.resume(), or take the best so far with run.export()."
        )
        raise TrainingError(f"The run {self.path} has no model yet: it is {self.status}. {advice}")

    @property
    def error(self) -> str | None:
        """What went wrong and what to do; None if nothing did."""
        status = self.status
        if status not in ("failed", "interrupted"):
            return None
        turn = self._events.turn
        if turn.get("event") == "error":
            return str(turn["message"])
        said = self._log().strip().splitlines()
        last = f" It said last: {said[-1][:300]}." if status == "failed" else ""
        return (
            f"The worker ended at step {self._events.step} without saying why; {self._manner()}."
            f"{last} The checkpoint of step {self._events.saved} is kept: go on with run.resume(). "
            f"All it said is in {self.path / LOG}."
        )

    def wait(self, progress: bool = True) -> Run:
        """Follow the run until it ends. An interrupt stops it with a checkpoint.

        Args:
            progress: show a progress bar (``KPTK_PROGRESS=0`` hides it too).

        Returns:
            The run itself, finished or stopped.

        Raises:
            TrainingError: it failed; the message is ``error``.
        """
        try:
            self._follow(progress)
        except KeyboardInterrupt:
            self.stop()
        problem = self.error
        if problem:
            raise TrainingError(problem)
        return self

    def stop(self, timeout: float = 600) -> Run:
        """Stop after the current step, with a checkpoint to go on from.

        Args:
            timeout: seconds to wait for it.

        Raises:
            TrainingError: it does not stop in time.
        """
        if not is_running(self.path):
            return self
        stop_worker(self.path, timeout)
        if self.status == "interrupted":  # it had not come as far as to listen; nothing is lost
            add_event(self.path, "stopped", step=self._events.saved)
        return self

    def resume(self, *, wait: bool = True, progress: bool = True) -> Run:
        """Go on from the last checkpoint with the steps that would have followed.

        Args:
            wait: follow it to the end; False returns at once.
            progress: show a progress bar while waiting.

        Raises:
            TrainingError: it is running or finished.
        """
        if self.status == "finished":
            early = f" early, at step {self.step}: {self.stopped_early}" * bool(self.stopped_early)
            raise TrainingError(
                f"The run {self.path} is finished{early}. Train on from its best weights with "
                f"kptk.finetune({str(self.path)!r}, ...)."
            )
        self._process = start_worker(self.path)
        return self.wait(progress) if wait else self

    def export(self) -> Path:
        """Make the model directory from the best weights so far, for a run that was stopped.

        Raises:
            TrainingError: the run has not been evaluated yet.
        """
        from kptk.training.export import export_weights

        best = self.path / "best.npz"
        if not best.is_file():
            raise TrainingError(f"The run {self.path} has no weights yet: it was not evaluated.")
        model = self.settings.model
        target = self.path / "model"
        return export_weights(best, model, target, input_size=self.settings.size, check=True)

    def _follow(self, progress: bool) -> None:
        from tqdm.auto import tqdm

        from kptk.download import show_progress

        hidden = not (progress and show_progress())
        with tqdm(total=self.settings.steps, unit=" steps", disable=hidden) as bar:
            running = True
            while running:
                running = self.status == "running"
                events = self._events.update()
                bar.update(events.step - bar.n)
                bar.set_postfix(_postfix(events), refresh=False)
                time.sleep(_POLL if running else 0)

    def _log(self) -> str:
        try:
            return (self.path / LOG).read_text(encoding="utf-8", errors="replace")[-20000:]
        except FileNotFoundError:
            return ""

    def _manner(self) -> str:
        code = self._process.returncode if self._process else None
        if shutil.disk_usage(self.path).free < _NO_ROOM:
            return "the disk is full (free some space)"
        if code == -9:
            return (
                "it was killed, as systems do that run out of memory (a smaller batch_size helps)"
            )
        if code is not None and code < 0:
            return f"it was ended by signal {-code}"
        return "it may have been killed, by a restart or for lack of memory"

    def _summary(self) -> dict[str, str]:
        status = self.status
        ap, at = self._events.best
        loss = self._events.latest.get("loss")
        early = f" early ({self.stopped_early})" if self.stopped_early else ""
        rows = {
            "status": status + early,
            "model": self.settings.model,
            "step": f"{self._events.step} of {self.settings.steps}",
            "loss": "" if loss is None else f"{loss:.4g}",
            "best AP": "" if math.isnan(ap) else f"{100 * ap:.1f} (step {at})",
            "error": self.error or "",
        }
        return {name: value for name, value in rows.items() if value}

    def __repr__(self) -> str:
        rows = self._summary()
        ap = f", best AP {rows['best AP']}" if "best AP" in rows else ""
        return f"Run({str(self.path)!r}: {rows['status']}, step {rows['step']}{ap})"

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>"
            for name, value in self._summary().items()
        )
        return f"<table><caption>{html.escape(str(self.path))}</caption>{body}</table>"

    def to_json(self) -> dict[str, Any]:
        """The state as JSON-ready values; AP is None before an evaluation."""
        status = self.status
        ap, at = self._events.best
        return {
            "path": str(self.path),
            "status": status,
            "model": self.settings.model,
            "step": self._events.step,
            "steps": self.settings.steps,
            "best_AP": None if math.isnan(ap) else ap,
            "best_step": at,
            "start_AP": None if math.isnan(self.start_ap) else self.start_ap,
            "stopped_early": self.stopped_early,
            "model_dir": str(self.model_dir) if status == "finished" else None,
            "error": self.error,
        }


def _postfix(events: Events) -> dict[str, str]:
    loss, (ap, _) = events.latest.get("loss"), events.best
    shown = {} if loss is None else {"loss": f"{loss:.4g}"}
    return shown if math.isnan(ap) else {**shown, "best AP": f"{100 * ap:.1f}"}


def load_run(path: StrPath) -> Run:
    """Attach to a run, at work or not, from any kernel.

    Args:
        path: the run directory.

    Raises:
        TrainingError: it is none.
    """
    return Run(path)
