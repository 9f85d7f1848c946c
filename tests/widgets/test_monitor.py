"""The training monitor: curves by hand, written logs, and a live worker that trains nothing."""

from __future__ import annotations

import io
import json
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kptk.errors import TrainingError
from kptk.training import run as run_module
from kptk.training.run import load_run
from kptk.widgets.monitor import (
    Progress,
    TrainingMonitor,
    curves,
    curves_png,
    curves_svg,
    duration,
    log_tail,
    look_at,
    thinned,
)
from tests.training.runs import WORKER, make_run

EVENTS = [
    {"event": "start", "step": 0, "steps": 4, "samples": 8},
    {"event": "step", "step": 1, "loss": 0.5, "lr": 0.1, "seconds": 30},
    {"event": "eval", "step": 1, "AP": 0.25, "AP50": None},
    {"event": "step", "step": 2, "loss": 0.25, "lr": 0.1, "seconds": 50},
    {"event": "eval", "step": 2, "AP": 0.2},
    {"event": "checkpoint", "step": 2},
]


def write_events(folder: Path, *more: dict[str, object]) -> None:
    lines = [json.dumps({"time": 0, **event}) for event in (*EVENTS, *more)]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory whose worker is the fake one."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "fake_worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    monkeypatch.setattr(run_module, "WORKER", "fake_worker")
    return make_run(tmp_path / "night", "hang")


def until(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def watchers() -> int:
    return sum(thread.name == "kptk-monitor" for thread in threading.enumerate())


def test_the_numbers_of_a_log(folder: Path) -> None:
    write_events(folder)
    now = look_at(load_run(folder))
    assert (now.name, now.status, now.step, now.steps) == ("night", "interrupted", 2, 4)
    assert now.history["loss"].to_dict() == {1: 0.5, 2: 0.25}
    assert now.history["AP"].to_dict() == {1: 0.25, 2: 0.2} and now.best == (1, 0.25)
    assert now.seconds_left == 80  # two steps at the mean of 30 and 50 s
    assert now.error is not None and "checkpoint of step 2 is kept" in now.error


def test_a_log_shown(folder: Path) -> None:
    write_events(folder, {"event": "error", "message": "The loss became <nan>."})
    (folder / "worker.log").write_text("reading\nloss nan\n")
    monitor = TrainingMonitor(folder)
    assert repr(monitor) == "TrainingMonitor(night: failed, step 2 of 4)"
    assert "failed" in monitor.header.value and "width:50.0%" in monitor.header.value
    assert "best checkpoint: AP 25.0, step 1" in monitor.header.value
    assert "left" not in monitor.header.value  # of a run that has ended
    assert "The loss became &lt;nan&gt;." in monitor.error.value
    assert "<details open>" in monitor.log_tail.value and "loss nan" in monitor.log_tail.value
    assert monitor.stop_button.disabled and not monitor.resume_button.disabled
    ElementTree.fromstring(monitor.curves.value)
    assert watchers() == 0


def test_a_run_that_ended_early_says_why(folder: Path) -> None:
    write_events(folder, {"event": "end", "step": 2, "AP": 0.25, "reason": "AP < .3 for long"})
    monitor = TrainingMonitor(folder)
    assert monitor.progress.status == "finished"
    assert "early: AP &lt; .3 for long" in monitor.header.value


def test_a_live_run_is_followed_stopped_and_resumed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots: list[str] = []  # what the notebook keeps: with a PNG, the text

    class Output:
        def update(self, bundle: dict[str, Any], raw: bool) -> None:
            assert raw and bundle["image/png"].startswith(b"\x89PNG")
            snapshots.append(bundle["text/plain"])

    monitor = TrainingMonitor(load_run(folder), interval=0.02)
    assert monitor.progress.status == "interrupted" and watchers() == 0
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: Output())
    monitor._ipython_display_()
    monitor.resume_button.click()
    until(lambda: monitor.progress.step == 3)
    assert "running" in monitor.header.value and watchers() == 1
    assert not monitor.stop_button.disabled and monitor.resume_button.disabled
    other = TrainingMonitor(folder, interval=0.02)  # as after a restart of the kernel
    assert other.progress.status == "running"
    monitor.stop_button.click()
    assert "stopping" in monitor.header.value and monitor.stop_button.disabled
    until(lambda: other.progress.status == monitor.progress.status == "stopped")
    until(lambda: snapshots[-1:] == ["TrainingMonitor(night: stopped, step 3 of 4)"])
    until(lambda: watchers() == 0)  # they end with the run
    (folder / "behaviour").write_text("finish")
    monitor.resume()
    until(lambda: monitor.progress.status == "finished")
    assert "best 25.0" in monitor.curves.value
    assert monitor.stop_button.disabled and monitor.resume_button.disabled
    until(lambda: watchers() == 0)


def test_a_closed_monitor_leaves_the_run_alone(folder: Path) -> None:
    run = load_run(folder)
    run.resume(wait=False)
    monitor = TrainingMonitor(run, interval=0.02)
    assert watchers() == 1
    monitor.close()
    until(lambda: watchers() == 0)
    assert run.status == "running"
    run.stop()


def test_what_goes_wrong_is_said(folder: Path) -> None:
    run = load_run(folder)
    run.resume(wait=False)
    monitor = TrainingMonitor(run, interval=60)
    monitor.resume()
    until(lambda: "training in" in monitor.error.value)  # a worker is at work there already
    monitor.close()
    run.stop()
    with pytest.raises(TrainingError, match=r"must hold settings\.yml"):
        TrainingMonitor(folder.parent)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"),
     (7500, "2 h 05 min"), (273_600, "3 d 4 h")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"one\n\ntwo\n", "one\ntwo"),
        (b"10 %\r50 %\r100 %\ndone\r\n", "100 %\ndone"),  # as a terminal ends up
        (b"\x1b[31mred\x1b[0m\n", "red"),
        (b"caf\xc3\xa9 \xff\n", "caf\u00e9 \ufffd"),
        (b"".join(b"%d\n" % i for i in range(9000)), "8997\n8998\n8999"),
    ],
)
def test_the_end_of_a_log(tmp_path: Path, written: bytes, shown: str) -> None:
    (tmp_path / "worker.log").write_bytes(written)
    assert log_tail(tmp_path / "worker.log", 3) == shown
    assert log_tail(tmp_path / "none.log") == ""


def test_nothing_trained_yet() -> None:
    now = Progress("a", "m", "running", 0, 9, history({}), None, None, "")
    assert now.best is None and math.isnan(now.seconds_left)


def history(losses: dict[int, float], aps: dict[int, float] | None = None) -> pd.DataFrame:
    columns = {"loss": losses, "AP": aps or {}, "seconds": dict.fromkeys(losses, 1.0)}
    return pd.DataFrame({name: pd.Series(c, dtype=float) for name, c in columns.items()})


def test_curves_by_hand() -> None:
    losses, aps = {1: 4.0, 2: 2.0, 4: 0.0}, {2: 0.25, 4: 0.2}
    left, right = curves(history(losses, aps), 8).axes
    raw, _ = left.lines
    assert raw.get_xydata().tolist() == [[1, 4], [2, 2], [4, 0]]
    assert left.get_xlim() == (0, 8) and left.get_ylim() == (0, 4)
    points, best = right.lines
    assert points.get_xydata().tolist() == [[2, 25], [4, 20]]
    assert best.get_xydata().tolist() == [[2, 25]]
    assert right.get_title("right") == "best 25.0 at step 2"
    _, right = curves(history({}, {2: 0.25, 4: 0.25}), 8).axes
    assert right.get_title("right") == "best 25.0 at step 4"  # of equal ones the last


def test_a_spike_does_not_flatten_the_curve() -> None:
    left, _ = curves(history({i: 2.0 + i % 2 for i in range(99)} | {99: 900.0}), 100).axes
    assert left.get_ylim() == (2, 3)


def test_the_smooth_curve_by_hand() -> None:
    values = [6.0, 2.0, 4.0, 0.0] * 10  # 40 steps: the mean of two
    left, _ = curves(history(dict(enumerate(values))), 40).axes
    assert left.lines[1].get_ydata()[:5].tolist() == [6, 4, 3, 2, 3]


def test_thinning_keeps_peaks_and_order() -> None:
    series = pd.Series(np.zeros(10_000))
    series[1234] = 9.0
    steps, values = thinned(series, 300)
    assert len(steps) <= 302 and steps.tolist() == sorted(steps)
    assert dict(zip(steps, values, strict=True))[1234] == 9
    assert thinned(series[:300], 300)[0].tolist() == list(range(300))


def test_an_svg_in_the_colours_of_the_page() -> None:
    numbers = history({1: 4.0, 2: 2.0}, {2: 0.25, 4: 0.2})
    text = curves_svg(numbers, 8)
    root = ElementTree.fromstring(text)
    said = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "best 25.0 at step 2" in said
    assert root.get("fill") == "currentColor" and "#000000" not in text
    assert "var(--jp-brand-color1, #1976d2)" in text
    assert "<style" not in text  # it would be one of the whole page
    assert text == curves_svg(numbers, 8)
    assert "not evaluated yet" in curves_svg(history({}), 100)


def test_the_curves_as_a_png() -> None:
    image = Image.open(io.BytesIO(curves_png(history({1: 4.0, 2: 2.0}, {2: 0.25}), 8)))
    assert image.size == (720, 225)
    assert curves_png(history({}), 8) == curves_png(history({}), 8)


# -- the training monitor in a real JupyterLab: the curve grows, Stop stops, Resume goes on.


# A worker that trains nothing, ten steps a second, and evaluates every tenth.
SLOW_WORKER = """
import json, math, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
saved = folder / "saved"
step = int(saved.read_text()) if saved.exists() else 0
def write(event, **fields):
    line = json.dumps({"event": event, "time": time.time(), "step": step, **fields})
    with (folder / "events.jsonl").open("a") as file:
        file.write(line + "\\n")
write("start", steps=400, samples=8)
print("reading images")
while step < 400 and not told:
    step += 1
    write("step", loss=3 * math.exp(-step / 90) + math.sin(step) / 5 + 1, lr=.1, seconds=.1)
    if step % 10 == 0:
        write("eval", AP=.3 * (1 - math.exp(-step / 60)))
    time.sleep(.1)
saved.write_text(str(step))
write("checkpoint")
write("stopped")
"""

SETUP = """\
import sys
import kptk
from kptk.training import run as run_module
run_module.WORKER = "slow_worker"
run = kptk.load_run("night")
monitor = kptk.TrainingMonitor(run, interval=.3)
monitor"""


def shot(notebook: Any, name: str) -> None:
    folder = os.environ.get("KPTK_SHOTS")
    if folder:
        notebook.shot(Path(folder) / f"monitor-{name}.png")


@pytest.mark.browser
@pytest.mark.slow
def test_the_curve_grows_and_the_buttons_work(open_notebook: Any, lab: Any, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "night")
    settings = folder / "settings.yml"
    settings.write_text(settings.read_text().replace("steps: 4\n", "steps: 400\n"))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "slow_worker.py").write_text(SLOW_WORKER)
    path = f"import os; os.environ['PYTHONPATH'] = {str(tmp_path / 'code')!r}"
    notebook = open_notebook([path, SETUP])
    shown = notebook.output(1).locator(".kptk-monitor")
    path = "e => e.querySelector('#curve0 path')?.getAttribute('d') ?? ''"

    def points() -> int:
        """Of the curve of the loss: one where the line starts, one where each stretch ends."""
        return len(shown.locator("svg").evaluate(path).split("L")) - 1

    assert points() == 0 and shown.get_by_role("button", name="Stop").is_disabled()
    shown.get_by_role("button", name="Resume").click()
    shown.locator(".badge.running").wait_for(timeout=120_000)
    until(lambda: points() > 5)
    few = points()
    until(lambda: points() > few + 20)
    shot(notebook, "light")
    assert "left" in shown.locator(".head").inner_text()
    assert notebook.value("1 + 1") == 2  # the kernel is free all the while
    shown.get_by_role("button", name="Stop").click()
    shown.locator(".badge.stopped").wait_for(timeout=120_000)
    assert notebook.value("run.status") == "stopped"
    trained = notebook.value("run.step")
    until(lambda: f": stopped, step {trained} of 400" in json.dumps(notebook.save()))
    assert f"step {trained} of 400" in shown.locator(".head").inner_text()

    lab.do("await panel.sessionContext.restartKernel()")
    notebook.run()  # a new kernel finds the run as it was left
    assert f"step {trained} of 400" in shown.locator(".head").inner_text()
    shown.get_by_role("button", name="Resume").click()
    until(lambda: notebook.value("run.step") > trained + 5)
    lab.theme("dark")
    shot(notebook, "dark")
    notebook.python("run.stop()")
    shown.locator(".badge.stopped").wait_for(timeout=120_000)
    assert lab.foreign == []


@pytest.mark.browser
@pytest.mark.slow
def test_an_error_is_shown_as_text(open_notebook: Any, lab: Any, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "night")
    (folder / "events.jsonl").write_text(
        '{"event": "start", "time": 0, "step": 0}\n'
        '{"event": "error", "time": 0, "message": "The loss became <nan> at step 3."}\n'
    )
    (folder / "worker.log").write_text("reading images\n")
    notebook = open_notebook(['import kptk\nkptk.TrainingMonitor("night")'])
    shown = notebook.output(0).locator(".kptk-monitor")
    shown.get_by_role("alert", name="").wait_for()
    assert "The loss became <nan> at step 3." in shown.inner_text()
    assert "reading images" in shown.inner_text()
    lab.theme("dark")
    shot(notebook, "failed")
    saved = notebook.save()["cells"][0]["outputs"]
    assert "image/png" in saved[1]["data"]
    assert not notebook.output(0).locator(".jp-RenderedImage").is_visible()
    notebook.reload_without_kernel()
    assert notebook.output(0).locator(".jp-RenderedImage").is_visible()
