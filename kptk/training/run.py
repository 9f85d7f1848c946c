"""A training run as a user sees it: watch it, stop it, go on, take the model, compare it.

At most one worker process trains in a run directory, told by a lock that it holds while it lives.
The lock belongs to an open file that the worker inherits. The operating system frees it when the
worker ends, however it ends, so there is no stale file to doubt and no process number to mistake.
"""

from __future__ import annotations

import html
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kptk.errors import InputError, TrainingError, nearest
from kptk.files import environment, show_progress
from kptk.training.events import Events, add_event
from kptk.training.export import StrPath, export_checked
from kptk.training.settings import TrainSettings, read_settings

if TYPE_CHECKING:
    import pandas as pd

WORKER = "kptk.training.trainer"  # the module; it gets the run directory as its only argument
LOG = "worker.log"
_LOCK, _PID = "worker.lock", "worker.json"


def start_worker(folder: Path) -> subprocess.Popen[bytes]:
    """Start training in a run directory, in a session of its own.

    The worker outlives this process. What it prints goes to ``worker.log``.

    Args:
        folder: the run directory, with its ``settings.yml``.

    Raises:
        TrainingError: a worker is at work there already, or none can be started.
    """
    if sys.platform == "win32":
        raise TrainingError("Training needs Linux or macOS; on Windows, use WSL.")
    import fcntl

    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        for _ in range(20):  # is_running holds the lock for an instant
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
        else:
            raise TrainingError(
                f"A worker is training in {folder} already. Follow it with kptk.load_run, or stop "
                "it first."
            )
        add_event(folder, "launch")  # what an earlier worker said last is over
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", WORKER, str(folder.resolve())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
                start_new_session=True,  # an interrupt of the notebook or terminal stays here
                pass_fds=(descriptor,),
            )
        started = {"pid": process.pid, "time": round(time.time(), 3)}
        (folder / _PID).write_text(json.dumps(started), encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"The worker of {folder} cannot be started: {error}.") from error
    finally:
        os.close(descriptor)
    return process


def is_running(folder: Path) -> bool:
    """Whether a worker is alive in a run directory."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        with (folder / _LOCK).open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


Status = Literal["running", "finished", "stopped", "failed", "interrupted"]
_ENDINGS: dict[str, Status] = {"end": "finished", "stopped": "stopped", "error": "failed"}

_POLL = 0.3  # seconds between looks at the events
_NO_ROOM = 100_000  # bytes


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

    def __fspath__(self) -> str:
        """The run directory: a run may stand where its path may."""
        return str(self.path)

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
        code = (self._process.returncode if self._process else None) or 0
        manner = "it may have been killed, by a restart or for lack of memory"
        if shutil.disk_usage(self.path).free < _NO_ROOM:
            manner = "the disk is full (free some space)"
        elif code == -signal.SIGKILL:
            manner = (
                "it was killed, as systems do that run out of memory (a smaller batch_size helps)"
            )
        elif code < 0:
            manner = f"it was ended by signal {-code}"
        said = self._log().strip().splitlines()
        last = f" It said last: {said[-1][:300]}." if status == "failed" else ""
        return (
            f"The worker ended at step {self._events.step} without saying why; {manner}.{last} "
            f"The checkpoint of step {self._events.saved} is kept: go on with run.resume(). "
            f"All it said is in {self.path / LOG}."
        )

    def _log(self) -> str:
        try:
            return (self.path / LOG).read_text(encoding="utf-8", errors="replace")[-20000:]
        except FileNotFoundError:
            return ""

    def wait(self, progress: bool = True) -> Run:
        """Follow the run until it ends. An interrupt stops it with a checkpoint.

        Args:
            progress: show a progress bar (``KPTK_PROGRESS=0`` hides it too).

        Returns:
            The run itself, finished or stopped.

        Raises:
            TrainingError: it failed; the message is ``error``.
        """
        from tqdm.auto import tqdm

        hidden = not (progress and show_progress())
        try:
            with tqdm(total=self.settings.steps, unit=" steps", disable=hidden) as bar:
                running = True
                while running:
                    running = self.status == "running"
                    bar.update(self.step - bar.n)
                    loss, (ap, _) = self._events.loss, self._events.best
                    shown = {} if loss is None else {"loss": f"{loss:.4g}"}
                    shown |= {} if math.isnan(ap) else {"best AP": f"{100 * ap:.1f}"}
                    bar.set_postfix(shown, refresh=False)
                    time.sleep(_POLL if running else 0)
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
        pid = int(json.loads((self.path / _PID).read_text(encoding="utf-8"))["pid"])
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while is_running(self.path):
            if time.monotonic() > deadline:
                raise TrainingError(
                    f"The worker of {self.path} (process {pid}) has not stopped within "
                    f"{timeout:.0f} s. It may be in a long step, an evaluation or the export: "
                    "wait, or kill it; the last checkpoint stays."
                )
            time.sleep(0.05)
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
        best = self.path / "best.npz"
        if not best.is_file():
            raise TrainingError(f"The run {self.path} has no weights yet: it was not evaluated.")
        settings = self.settings
        return export_checked(best, settings.model, self.path / "model", settings.size)

    def to_json(self) -> dict[str, Any]:
        """The state as JSON-ready values; AP is None before an evaluation."""
        status, events = self.status, self._events.update()
        ap, best_step = events.best
        return {
            "path": str(self.path),
            "status": status,
            "model": self.settings.model,
            "step": events.step,
            "steps": self.settings.steps,
            "best_AP": None if math.isnan(ap) else ap,
            "best_step": best_step,
            "start_AP": None if math.isnan(events.start_ap) else events.start_ap,
            "stopped_early": self.stopped_early,
            "model_dir": str(self.path / "model") if status == "finished" else None,
            "error": self.error,
        }

    def _summary(self) -> dict[str, str]:
        """The state in words; what is not there yet is empty."""
        state, loss = self.to_json(), self._events.loss
        early, ap = state["stopped_early"], state["best_AP"]
        return {
            "status": state["status"] + (f" early ({early})" if early else ""),
            "model": state["model"],
            "step": f"{state['step']} of {state['steps']}",
            "loss": "" if loss is None else f"{loss:.4g}",
            "best AP": "" if ap is None else f"{100 * ap:.1f} (step {state['best_step']})",
            "error": state["error"] or "",
        }

    def __repr__(self) -> str:
        rows = self._summary()
        ap = f", best AP {rows['best AP']}" if rows["best AP"] else ""
        return f"Run({str(self.path)!r}: {rows['status']}, step {rows['step']}{ap})"

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>"
            for name, value in self._summary().items()
            if value
        )
        return f"<table><caption>{html.escape(str(self.path))}</caption>{body}</table>"


def load_run(path: StrPath) -> Run:
    """Attach to a run, at work or not, from any kernel.

    Args:
        path: the run directory.

    Raises:
        TrainingError: it is none.
    """
    return Run(path)


def compare_runs(runs: StrPath | Iterable[StrPath]) -> pd.DataFrame:
    """Put runs side by side: how far they came, how good they are, and where their settings differ.

    Args:
        runs: runs or run directories, or one folder that holds some.

    Returns:
        One row a run, best AP first. Columns ``run`` (the directory's name), ``model``,
        ``status``, ``step``, ``steps``, ``minutes`` of training, ``start_AP`` (before the first
        step; NaN if it was not measured), ``best_AP``, ``best_step``, then every setting that is
        not the same in all of them. AP is 0 to 1 on each run's own validation data.

    Raises:
        InputError: there are no runs.
        TrainingError: a directory is no run.
    """
    import pandas as pd

    if isinstance(runs, str | os.PathLike):
        folder = Path(runs).expanduser()
        one = (folder / "settings.yml").is_file()
        paths = [folder] if one else sorted(f.parent for f in folder.glob("*/settings.yml"))
    else:
        paths = [Path(run) for run in runs]
    found = [Run(path) for path in paths]
    if not found:
        raise InputError(
            "runs must be runs, run directories, or a folder that holds some (settings.yml is in "
            f"each). Got {runs!r}, which has none."
        )
    rows = []
    for run in found:
        state, history = run.to_json(), run.history
        row: dict[str, Any] = {"run": run.path.name}
        row |= {name: state[name] for name in ("model", "status", "step", "steps")}
        row["minutes"] = history["seconds"].sum() / 60
        row |= {"start_AP": run.start_ap, "best_AP": run.best_ap, "best_step": state["best_step"]}
        rows.append(row)
    # nested settings as dotted names; lists of transforms stay whole
    settings = pd.json_normalize([run.settings.model_dump(mode="json") for run in found])
    same = [name for name in settings if settings[name].map(repr).nunique() == 1]
    differing = settings.drop(columns=[*same, "model", "steps"], errors="ignore")
    table = pd.concat([pd.DataFrame(rows), differing], axis=1)
    return table.sort_values("best_AP", ascending=False, ignore_index=True)
