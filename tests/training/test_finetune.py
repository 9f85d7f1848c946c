"""The front door: what it writes and refuses, and one short real run from the demo model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fakes import make_layout, make_run
from typer.testing import CliRunner

from kptk.cli import app
from kptk.errors import DataError, KptkError, TrainingError
from kptk.training import finetune as front
from kptk.training.finetune import finetune
from kptk.training.run import Run
from kptk.training.settings import read_settings

pytest.importorskip("ppdet")


@pytest.fixture
def start(tmp_path: Path) -> Path:
    run = make_run(tmp_path / "start")
    (run / "best.npz").write_bytes(b"weights")
    return run


@pytest.fixture
def not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def resume(self: Run, *, wait: bool = True, progress: bool = True) -> Run:
        return self

    monkeypatch.setattr(front.Run, "resume", resume)


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
    done = CliRunner().invoke(app, [*command, "--run-dir", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["steps"], told["best_AP"], told["path"]) == (3, None, str(tmp_path / "run"))
    wrong = CliRunner().invoke(app, [*command[:3], str(tmp_path / "none"), "-o", "x"])
    assert wrong.exit_code == 1 and "does not exist" in wrong.output


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "find_spec", lambda name: None)
    with pytest.raises(KptkError, match=r"pip install 'kptk\[finetune\]'"):
        finetune("demo-kpt", tmp_path)


@pytest.mark.slow
def test_a_real_run_from_the_demo_model(tmp_path: Path) -> None:
    from kptk.modeldir import ModelDir

    data = make_layout(tmp_path / "data")
    run = finetune("demo-kpt", data, steps=2, run_dir=tmp_path / "run", progress=False)
    assert run.status == "finished", run.error
    assert list(run.history.index) == [1, 2]
    assert np.isfinite(run.history["loss"]).all() and np.isfinite(run.best_ap)
    assert ModelDir.open(run.model_dir).name == "PP-TinyPose_128x96"
    with pytest.raises(DataError):
        finetune(run, data, data / "annotations" / "instance_train.json")
