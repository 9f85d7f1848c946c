"""What ended a run, in words: each kind of failure says what happened and what to do."""

from __future__ import annotations

import errno
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kptk.errors import DataError, ModelError, TrainingError
from kptk.files import environment
from kptk.training import run as run_module
from kptk.training import trainer as worker
from kptk.training.run import Run
from kptk.training.trainer import check_loss, check_weights, explain
from tests.training.fakes import make_run
from tests.training.test_worker import PATIENCE, events, run_until
from tests.training.tiny_data import make_run as make_real_run

FULL = OSError(errno.ENOSPC, "No space left on device", "checkpoint.npz")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FULL, ["no room left", "checkpoint.npz", "Free some space", "takes 2 MB"]),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), ["no room left"]),
        (PermissionError(errno.EACCES, "Permission denied", "a.npz"), ["Permission denied"]),
        (MemoryError(), ["Memory ran out at step 4", "smaller batch_size"]),
        (RuntimeError("ResourceExhaustedError: Out of memory error on GPU 0"), ["Memory ran out"]),
        (SystemError("(External) std::bad_alloc"), ["Memory ran out"]),
        (DataError("a.png cannot be read."), ["a.png cannot be read"]),
    ],
)
def test_every_message_says_that_the_checkpoint_is_kept(
    tmp_path: Path, error: Exception, expected: list[str]
) -> None:
    assert "no checkpoint yet" in str(explain(error, tmp_path, 3))
    (tmp_path / "checkpoint.npz").write_bytes(bytes(2_000_000))
    message = explain(error, tmp_path, 3)
    assert message is not None
    for words in [*expected, "checkpoint is kept", "run.resume()"]:
        assert words in message


def test_other_errors_are_told_as_they_are_or_by_their_traceback(tmp_path: Path) -> None:
    assert explain(ModelError("does not fit"), tmp_path, 3) == "does not fit"
    assert explain(ZeroDivisionError("division by zero"), tmp_path, 3) is None


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_a_lower_rate(loss: float) -> None:
    with pytest.raises(TrainingError, match=rf"became {loss} at step 3.*a third: 0\.001"):
        check_loss(loss, 3, 0.003)
    check_loss(1.0, 3, 0.003)


def test_weights_that_are_no_numbers_are_not_kept() -> None:
    arrays = {"a": np.ones(2), "b": np.array([1, np.inf])}
    with pytest.raises(TrainingError, match=r"weights b became NaN by step 7.*is kept"):
        check_weights(arrays, 7, 0.1)
    check_weights({"a": np.ones(2)}, 7, 0.1)


@pytest.mark.parametrize("writable", [True, False])
def test_the_worker_survives_the_full_disk_that_it_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    folder = make_run(tmp_path / "night")

    def fail(*_: object, **__: object) -> None:
        raise FULL

    monkeypatch.setattr(worker, "Trainer", fail)
    if not writable:
        monkeypatch.setattr(worker, "add_event", fail)
    assert worker.main(folder) == 1
    file = folder / "events.jsonl"
    assert file.exists() == writable
    if writable:
        assert "no room left" in json.loads(file.read_text())["message"]


def test_a_run_that_could_not_even_say_so_looks_at_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(make_run(tmp_path / "night"))
    full = SimpleNamespace(disk_usage=lambda path: shutil._ntuple_diskusage(10, 10, 0))
    monkeypatch.setattr(run_module, "shutil", full)
    assert run.status == "interrupted"
    assert run.error is not None and "the disk is full" in run.error


@pytest.mark.slow
def test_a_checkpoint_that_finds_no_room_leaves_the_last_one(tmp_path: Path) -> None:
    pytest.importorskip("ppdet")
    run = make_real_run(tmp_path, "demo-kpt", steps=4, eval_every=100, checkpoint_every=2)
    run_until(run, 2, 9)
    before = (run / "checkpoint.npz").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "kptk.training.trainer", str(run)],
        env={**environment(), "FLAGS_use_stride_kernel": "0", "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000,) * 2),
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    (told,) = events(run, "error")
    assert "no room left" in told["message"] and "checkpoint is kept" in told["message"]
    assert (run / "checkpoint.npz").read_bytes() == before
    assert [path.name for path in run.glob("*.npz")] == ["checkpoint.npz"]
    assert not list(run.glob(".*"))  # a part of a file would take the room that is missing
