"""The training monitor in a real JupyterLab: the curve grows, Stop stops, Resume goes on.

Screenshots go to the folder that KPTK_SHOTS names, if it is set.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import make_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# A worker that trains nothing, ten steps a second, and evaluates every tenth.
WORKER = """
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


def until(found: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 120
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def shot(notebook: Any, name: str) -> None:
    folder = os.environ.get("KPTK_SHOTS")
    if folder:
        notebook.shot(Path(folder) / f"monitor-{name}.png")


def test_the_curve_grows_and_the_buttons_work(open_notebook: Any, lab: Any, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "night")
    settings = folder / "settings.yml"
    settings.write_text(settings.read_text().replace("steps: 4\n", "steps: 400\n"))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "slow_worker.py").write_text(WORKER)
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
