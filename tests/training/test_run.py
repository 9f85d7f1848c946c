"""Runs, with a worker that trains nothing: states, histories, stop, resume, two at once."""

from __future__ import annotations

import _thread
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import kptk
from kptk.errors import InputError, TrainingError
from kptk.files import environment
from kptk.training import run as run_module
from kptk.training.events import Events
from kptk.training.run import Run, compare_runs, is_running, load_run
from kptk.training.settings import write_settings
from tests.training.runs import WORKER, make_run


@pytest.fixture(autouse=True)
def fake_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "fake_worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    monkeypatch.setattr(run_module, "WORKER", "fake_worker")


def until(run: Run, step: int) -> None:
    deadline = time.monotonic() + 30
    while run.step < step:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_to_its_end(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "night"))
    assert run.status == "interrupted" and np.isnan(run.best_ap)
    with pytest.raises(TrainingError, match="no model yet"):
        _ = run.model_dir
    assert run.resume(progress=False) is run
    assert run.status == "finished" and run.error is None
    assert run.model_dir == tmp_path / "night" / "model"
    assert run.best_ap == 0.25 and np.isnan(run.start_ap)
    assert run.stopped_early is None
    history = run.history
    assert list(history.index) == [1, 2, 3, 4] and history.index.name == "step"
    assert list(history.columns) == ["loss", "lr", "seconds", "AP", "AP50"]
    np.testing.assert_allclose(history["loss"], [1, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_allclose(history["AP"], [np.nan, 0.25, np.nan, 0.2])
    assert repr(run) == (
        f"Run({str(tmp_path / 'night')!r}: finished, step 4 of 4, best AP 25.0 (step 2))"
    )
    assert "<td>finished</td>" in run._repr_html_()
    with pytest.raises(TrainingError, match="is finished"):
        run.resume()


def test_stop_resume_and_a_second_kernel(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "night", "hang"))
    run.resume(wait=False)
    until(run, 3)
    other = load_run(tmp_path / "night")  # as another kernel sees it
    assert run.status == other.status == "running"
    for again in (run, other):
        with pytest.raises(TrainingError, match=r"training in .* already"):
            again.resume()
    other.stop()
    assert run.status == other.status == "stopped"
    (tmp_path / "night" / "behaviour").write_text("die early")
    with pytest.raises(TrainingError, match="checkpoint of step 3 is kept"):
        run.resume(progress=False)
    assert run.status == "interrupted"  # no longer what the first worker said last
    (tmp_path / "night" / "behaviour").write_text("finish")
    other.resume(progress=False)
    assert run.status == "finished"
    assert list(run.history.index) == [1, 2, 3, 4]  # no step twice
    assert run.stop() is run  # nothing to do


def test_the_worker_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "night", "hang")
    code = (
        "import pathlib, sys, kptk.training.run as launch\n"
        "launch.WORKER = 'fake_worker'; launch.start_worker(pathlib.Path(sys.argv[1]))"
    )
    environ = {**environment(), "PYTHONPATH": environment()["PYTHONPATH"]}
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=environ)
    run = load_run(folder)
    until(run, 3)
    assert run.status == "running"
    assert run.stop().status == "stopped"


@pytest.mark.parametrize(
    ("behaviour", "status", "message"),
    [
        ("fail", "failed", "The loss became nan at step 3"),
        ("crash", "failed", "RuntimeError: no such kernel.*checkpoint of step 2 is kept"),
        ("die", "interrupted", "killed.*memory.*checkpoint of step 2 is kept: go on with run.res"),
    ],
)
def test_a_run_that_went_wrong_says_so_and_goes_on(
    tmp_path: Path, behaviour: str, status: str, message: str
) -> None:
    run = load_run(make_run(tmp_path / "night", behaviour))
    with pytest.raises(TrainingError, match=message):
        run.resume(progress=False)
    assert run.status == status
    assert run.error and run.error in run._summary()["error"]
    assert load_run(run.path).status == status
    (run.path / "behaviour").write_text("finish")
    assert run.resume(progress=False).status == "finished"
    assert list(run.history.index) == [1, 2, 3, 4]


def test_a_run_that_ended_early_says_why(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "night", "early")).resume(progress=False)
    assert run.status == "finished"
    assert run.stopped_early == "no better AP in 1 evaluations"
    assert (run.start_ap, run.best_ap) == (0.5, 0.5)
    assert list(run.history.index) == [0, 1]
    assert "finished early (no better AP in 1 evaluations), step 1 of 4" in repr(run)
    assert run.to_json()["stopped_early"] and run.to_json()["start_AP"] == 0.5
    with pytest.raises(TrainingError, match=r"early, at step 1: no better AP.*finetune\("):
        run.resume()


def test_a_worker_that_cannot_listen_yet_is_stopped_all_the_same(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "night", "deaf"))  # as while Paddle is being imported
    run.resume(wait=False)
    until(run, 3)
    assert run.stop().status == "stopped"
    assert run.error is None


def test_an_interrupt_stops_the_run_with_a_checkpoint(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "night", "hang"))

    run.resume(wait=False)
    until(run, 3)
    threading.Timer(0.5, _thread.interrupt_main).start()
    assert run.wait(progress=False) is run
    assert run.status == "stopped"
    assert (run.path / "saved").read_text() == "3"


def test_the_lock_is_free_when_the_worker_was_killed(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "night", "hang"))
    run.resume(wait=False)
    until(run, 3)
    os.kill(json.loads((run.path / "worker.json").read_text())["pid"], signal.SIGKILL)
    with pytest.raises(TrainingError, match="killed"):
        run.wait(progress=False)
    assert not is_running(run.path)


def test_events_that_are_cut_off_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    events = Events(tmp_path).update()
    assert events.step == 0 and events.table().empty
    file.write_text('{"event": "step", "step": 1, "loss": 2.0}\n{"event": "st')
    assert events.update().step == 1
    with file.open("a") as stream:  # the line was only not whole yet
        stream.write('ep", "step": 2, "loss": 1.0}\n{"event": "ste\n[1]\n')
        stream.write('{"event": "eval", "step": 2, "AP": null}\n')
    assert events.update().step == 2
    assert list(events.table()["loss"]) == [2.0, 1.0]
    assert np.isnan(events.best[0])


def test_steps_after_the_checkpoint_of_a_resume_are_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    steps = [{"event": "step", "step": step, "loss": 1.0} for step in (1, 2, 3)]
    events = [*steps, {"event": "eval", "step": 3, "AP": 0.9}, {"event": "start", "step": 1}]
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    found = Events(tmp_path).update()
    assert found.step == 1 and list(found.table().index) == [1]
    assert np.isnan(found.best[0])


def test_a_run_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    make_run(tmp_path / "night")
    with pytest.raises(TrainingError, match="Did you mean 'night'"):
        load_run(tmp_path / "nihgt")


def test_public_names() -> None:
    assert kptk.load_run is load_run and kptk.Run is Run
    assert callable(kptk.finetune)


def test_a_run_that_could_not_even_say_so_looks_at_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(make_run(tmp_path / "night"))
    full = SimpleNamespace(disk_usage=lambda path: shutil._ntuple_diskusage(10, 10, 0))
    monkeypatch.setattr(run_module, "shutil", full)
    assert run.status == "interrupted"
    assert run.error is not None and "the disk is full" in run.error


def recorded(folder: Path, aps: dict[int, float], rate: float) -> Path:
    """A run that ended, with these AP, ten seconds a step."""
    make_run(folder)
    settings = Run(folder).settings
    write_settings(settings.model_copy(update={"learning_rate": rate}), folder / "settings.yml")
    events = [{"event": "start", "step": 0, "steps": 4, "samples": 8}]
    events += [{"event": "eval", "step": 0, "AP": aps[0]}] if 0 in aps else []
    events += [{"event": "step", "step": s, "loss": 1.0, "lr": 0.1, "seconds": 10} for s in (1, 2)]
    events += [{"event": "eval", "step": step, "AP": ap} for step, ap in aps.items() if step]
    events += [{"event": "stopped", "step": 2}]
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    return folder


def test_one_row_a_run_the_best_first_with_the_settings_that_differ(tmp_path: Path) -> None:
    worse = recorded(tmp_path / "worse", {0: 0.10, 1: 0.20, 2: 0.15}, rate=0.1)
    better = recorded(tmp_path / "better", {2: 0.30}, rate=0.2)
    for runs in ([worse, Run(better)], tmp_path):
        table = compare_runs(runs)
        assert list(table["run"]) == ["better", "worse"]
        assert list(table["best_AP"]) == [0.30, 0.20]
        assert list(table["best_step"]) == [2, 1]
        assert math.isnan(table["start_AP"][0]) and table["start_AP"][1] == 0.10
        assert list(table["minutes"].round(6)) == [round(20 / 60, 6)] * 2
        assert list(table["learning_rate"]) == [0.2, 0.1]
        assert "batch_size" not in table and "seed" not in table


def test_a_single_run_is_a_table_too(tmp_path: Path) -> None:
    table = compare_runs(recorded(tmp_path / "alone", {2: 0.30}, rate=0.1))
    assert len(table) == 1 and table["status"][0] == "stopped"


def test_a_folder_without_runs_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folder that holds some \(settings.yml"):
        compare_runs(tmp_path)
