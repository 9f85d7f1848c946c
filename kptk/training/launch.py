"""The worker process of a run directory: at most one, told by a lock it holds while it lives.

The lock belongs to an open file that the worker inherits. The operating system frees it when the
worker ends, however it ends, so there is no stale file to doubt and no process number to mistake.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from kptk.child import environment
from kptk.errors import TrainingError
from kptk.training.events import add_event

WORKER = "kptk.training.worker"
_LOCK = "worker.lock"
_PID = "worker.json"
LOG = "worker.log"


def start_worker(folder: Path, *, module: str = WORKER) -> subprocess.Popen[bytes]:
    """Start training in a run directory, in a session of its own.

    The worker outlives this process. What it prints goes to ``worker.log``.

    Args:
        folder: the run directory, with its ``settings.yml``.
        module: the worker's module; it gets the run directory as its only argument.

    Raises:
        TrainingError: a worker is at work there already, or none can be started.
    """
    if sys.platform == "win32":
        raise TrainingError("Training needs Linux or macOS; on Windows, use WSL.")
    descriptor = _take_lock(folder)
    try:
        add_event(folder, "launch")  # what an earlier worker said last is over
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(folder.resolve())],
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


def _take_lock(folder: Path) -> int:
    import fcntl

    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    for _ in range(20):  # whoever asks is_running holds the lock for an instant
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(0.05)
    os.close(descriptor)
    raise TrainingError(
        f"A worker is training in {folder} already. Follow it with kptk.load_run, or stop it first."
    )


def is_running(folder: Path) -> bool:
    """Whether a worker is alive in a run directory."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def stop_worker(folder: Path, timeout: float) -> None:
    """Ask the worker to write a checkpoint and end, and wait until it has.

    Args:
        folder: the run directory.
        timeout: seconds to wait.

    Raises:
        TrainingError: it is still there then.
    """
    if not is_running(folder):
        return
    pid = int(json.loads((folder / _PID).read_text(encoding="utf-8"))["pid"])
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + timeout
    while is_running(folder):
        if time.monotonic() > deadline:
            raise TrainingError(
                f"The worker of {folder} (process {pid}) has not stopped within {timeout:.0f} s. "
                "It may be in a long step, an evaluation or the export: wait, or kill it; the "
                "last checkpoint stays."
            )
        time.sleep(0.05)
