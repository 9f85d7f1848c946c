"""The front door: what it writes and refuses, and one short real run from the demo model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import kptk
from kptk.cli import app
from kptk.errors import DataError, KptkError, TrainingError
from kptk.models.weights import read_weights
from kptk.models.zoo import find_model
from kptk.training import finetune as front
from kptk.training.finetune import finetune
from kptk.training.run import Run
from kptk.training.settings import read_settings
from tests.training.runs import make_layout, make_run

pytest.importorskip("ppdet")


@pytest.fixture
def start(tmp_path: Path) -> Path:
    run = make_run(tmp_path / "start")
    (run / "best.npz").write_bytes(b"weights")
    return run


@pytest.fixture
def not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "resume", lambda self, *, wait=True, progress=True: self)


@pytest.mark.usefixtures("not_started")
def test_a_run_directory_holds_everything_the_worker_needs(tmp_path: Path, start: Path) -> None:
    data = make_layout(tmp_path / "data")
    run = finetune(Run(start), data, epochs=3, batch_size=4, run_dir=tmp_path / "run")
    settings = read_settings(tmp_path / "run" / "settings.yml")
    assert run.settings == settings
    assert (settings.weights, settings.steps) == (start / "best.npz", 6)
    for side, split in ((settings.train, "train"), (settings.val, "val")):
        assert side.images == data / "images"
        assert side.annotations == tmp_path / "run" / f"{split}.json"
        assert json.loads(side.annotations.read_text())["images"]


@pytest.mark.usefixtures("not_started")
def test_nothing_is_written_when_something_is_wrong(tmp_path: Path, start: Path) -> None:
    data, folder = make_layout(tmp_path / "data"), tmp_path / "run"
    val = data / "annotations" / "instance_val.json"
    for arguments, message in [
        ({"val": data, "steps": -1}, "steps must be"),
        ({"train": val, "val": val}, "training images too"),
        ({"train": val}, "val is needed"),
        ({"train": tmp_path / "dta"}, "does not exist"),
        ({"device": "cuda:0"}, "gpu:0"),
    ]:
        with pytest.raises(KptkError, match=message):
            finetune(start, **{"train": data, "run_dir": folder, **arguments})  # type: ignore[arg-type]
    assert not folder.exists()
    finetune(start, data, steps=1, run_dir=folder)
    with pytest.raises(TrainingError, match=r"holds a run.*load_run\("):
        finetune(start, data, steps=1, run_dir=folder)
    with pytest.raises(TrainingError, match="is not empty"):
        finetune(start, data, steps=1, run_dir=data)


@pytest.mark.usefixtures("not_started")
def test_command(tmp_path: Path, start: Path) -> None:
    data = make_layout(tmp_path / "data")
    command = ["finetune", str(start), "--train", str(data), "--steps", "3", "--json"]
    more = ["--patience", "2", "--freeze-backbone", "--no-freeze-norm", "--augment", "light"]
    folder = tmp_path / "run"
    done = CliRunner().invoke(
        app, [*command, *more, "--warmup-steps", "1", "--run-dir", str(folder)]
    )
    assert done.exit_code == 0, done.output
    settings = read_settings(folder / "settings.yml")
    assert (settings.patience, settings.warmup_steps) == (2, 1)
    assert (settings.freeze_backbone, settings.freeze_norm) == (True, False)
    told = json.loads(done.stdout)
    assert (told["steps"], told["best_AP"], told["path"]) == (3, None, str(tmp_path / "run"))
    wrong = CliRunner().invoke(app, [*command[:3], str(tmp_path / "none"), "-o", "x"])
    assert wrong.exit_code == 1 and "does not exist" in wrong.output


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "find_spec", lambda name: None)
    with pytest.raises(KptkError, match=r"pip install 'kptk\[finetune\]'"):
        finetune("demo-kpt", tmp_path)


@pytest.mark.slow
def test_a_real_run_from_the_demo_model_that_ends_early(tmp_path: Path) -> None:
    data = make_layout(tmp_path / "data")  # noise: AP cannot rise
    run = finetune(
        "demo-kpt",
        data,
        steps=9,
        eval_every=1,
        patience=2,
        freeze_backbone=True,
        run_dir=tmp_path / "run",
        progress=False,
    )
    assert run.status == "finished", run.error
    assert run.stopped_early and 2 <= run.step < 9
    assert list(run.history.index) == list(range(run.step + 1))  # 0: the start
    assert np.isfinite(run.history["loss"][1:]).all() and np.isfinite(run.start_ap)
    _check_what_moved(run)
    _check_export(run)
    with pytest.raises(DataError):
        finetune(run, data, data / "annotations" / "instance_train.json")


def _check_what_moved(run: Run) -> None:
    """The backbone is the start's, bit by bit, in the checkpoint and in the best weights."""
    start = read_weights(find_model("demo-kpt").path)
    with np.load(run.path / "checkpoint.npz") as checkpoint:
        last = {name: checkpoint[f"net/{name}"] for name in start}
        held = [name for name in checkpoint.files if name.startswith("optimizer/")]
    moved = {name for name in start if not np.array_equal(start[name], last[name])}
    assert moved and all(not name.startswith("backbone.") for name in moved)
    assert 0 < len(held) < 20  # of hundreds of parameters
    best = read_weights(run.path / "best.npz")
    for name in start:
        if name.startswith("backbone."):
            np.testing.assert_array_equal(best[name], start[name], err_msg=name)


def _check_export(run: Run) -> None:
    report = kptk.check_model(run.model_dir)
    assert report.ok and report.model is not None and not report.findings, report
    assert report.model.name == "PP-TinyPose_128x96"
    card = (run.model_dir / "README.md").read_text()
    assert "demo-kpt, SHA-256" in card and "path" not in card.split("## How")[0]
