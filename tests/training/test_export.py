"""Weights to a model directory: where they come from, what is refused, the card, a real export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import kptk.training.export as module
from kptk.check import Check
from kptk.cli import app
from kptk.engines.load import load_engine
from kptk.errors import KptkError, ModelError
from kptk.files import file_hash
from kptk.models import export as below
from kptk.models.modeldir import ModelDir
from kptk.models.weights import write_npz
from kptk.models.zoo import find_model
from kptk.training.events import add_event
from kptk.training.export import export_checked, export_model, find_start, model_card
from kptk.training.run import Run
from kptk.training.settings import DataSettings, TrainSettings, write_settings
from tests.training.runs import N_TRAIN, N_VAL, make_layout, make_run

MODEL = POSE = "PP-TinyPose_128x96"


def test_a_former_run_starts_from_its_best_weights(tmp_path: Path) -> None:
    run = make_run(tmp_path / "night")
    with pytest.raises(ModelError, match="not been evaluated yet"):
        find_start(run)
    (run / "best.npz").write_bytes(b"weights")
    (run / "model").mkdir()
    for path in (run, run / "model", str(run)):
        start = find_start(path)
        assert (start.model, start.weights, start.input_size) == (POSE, run / "best.npz", (128, 96))
    assert find_start("PP-TinyPose_256x192", run).weights == run / "best.npz"


def test_wrong_starts(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "w.pdparams").write_bytes(b"")
    for model, message in [
        ("PP-TinyPose_128x97", "Did you mean 'PP-TinyPose_128x96'"),
        (tmp_path / "x", "must be a .pdparams file"),
        (tmp_path / "w.pdparams", "not a Paddle weight file"),
    ]:
        with pytest.raises(ModelError, match=message):
            find_start(model)
    with pytest.raises(ModelError, match="With weights="):
        find_start("mine", tmp_path / "w.pdparams")


def make_finished(tmp_path: Path) -> Path:
    data = make_layout(tmp_path / "night")
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "mine.pdparams").write_bytes(b"weights")
    train, val = (
        DataSettings(
            images=data / "images", annotations=data / "annotations" / f"instance_{split}.json"
        )
        for split in ("train", "val")
    )
    settings = TrainSettings(
        model=MODEL,
        weights=tmp_path / "mine.pdparams",
        train=train,
        val=val,
        steps=40,
        batch_size=2,
        learning_rate=0.25,
        sample_transforms=[],
        batch_transforms=[],
    )
    write_settings(settings, run / "settings.yml")
    write_npz(run / "best.npz", {"a": np.ones(2)})
    for step, ap in ((0, 0.1234), (20, 0.5), (40, 0.4)):
        add_event(run, "eval", step=step, AP=ap)
    return run / "best.npz"


def test_the_card_of_a_run(tmp_path: Path) -> None:
    params = make_finished(tmp_path)
    card = model_card(params, MODEL, (128, 96))
    assert card.startswith(f"# {MODEL}, trained on night\n")
    for line in [
        "| input | 128 x 96 (height x width), RGB |",
        f"| start | mine.pdparams, SHA-256 {file_hash(tmp_path / 'mine.pdparams')[:32]} |",
        f"| training | night | {N_TRAIN} | {2 * N_TRAIN} | SHA-256 ",
        f"| validation | night | {N_VAL} | {2 * N_VAL} | SHA-256 ",
        "| 12.3 | 50.0 | 20 of 40 |",
        "learning_rate: 0.25",
        "--kpt-model path/to/this/folder",
        "kptk does not know the terms of the start, mine.pdparams",
        "Apache-2.0",
    ]:
        assert line in card
    assert str(tmp_path) not in card
    assert model_card(params, MODEL, (128, 96)) == card


def test_the_card_of_weights_alone(tmp_path: Path) -> None:
    params = tmp_path / "PP-YOLOE-S_human_pretrained.pdparams"
    params.write_bytes(b"weights")
    card = model_card(params, "PP-YOLOE-S_human", (640, 640))
    assert "| architecture | PP-YOLOE-S_human |" in card
    assert file_hash(params)[:32] in card
    assert "--det-model" in card and "does not know" not in card
    assert "## Data" not in card


def test_refusals_before_anything_is_exported(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").write_bytes(b"")
    for source, target, more, message in [
        ("demo-kpt", "full", {}, "exists already"),
        ("demo-kpt", "full", {"overwrite": True}, "no model directory, so it is not replaced"),
        ("demo-ktp", "new", {}, "Did you mean 'demo-kpt'"),
        (run, "new", {}, "has not been evaluated yet"),
        (Run(run), "new", {}, "has not been evaluated yet"),
        ("demo-kpt", "new", {"input_size": (100, 96)}, "multiples of 32"),
        ("demo-kpt", "new", {"like": "demo-kpt"}, "like is for a .pdparams file"),
        ("a.pdparams", "new", {"like": "tinypose"}, "like must be one of"),
    ]:
        with pytest.raises(KptkError, match=message):
            export_model(source, tmp_path / target, **more)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


class ModelDirs:
    """Opens what nobody has made."""

    @staticmethod
    def open(folder: Path) -> Path:
        return folder


def test_an_export_that_fails_its_check_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("run_module", "onnx_file"):
        monkeypatch.setattr(below, name, lambda *_, **__: None)
    monkeypatch.setattr(below, "ModelDir", ModelDirs)
    failed = Check("PP-TinyPose_128x96: paddle against onnxruntime", False, "differ by 3.0")
    monkeypatch.setattr(module, "try_model", lambda *_: [failed])
    with pytest.raises(ModelError, match=r"was not kept.*differ by 3\.0"):
        export_checked(Path("w.npz"), MODEL, tmp_path / "new", (128, 96))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_export_of_the_demo_model_computes_what_the_demo_model_does(tmp_path: Path) -> None:
    pytest.importorskip("ppdet")
    target = tmp_path / "made"
    done = CliRunner().invoke(app, ["export", "demo-kpt", "-o", str(target)])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == str(target)
    names = {"inference.json", "inference.onnx", "inference.pdiparams", "inference.yml"}
    assert {path.name for path in target.iterdir()} == names | {"README.md"}
    image = np.random.default_rng(0).standard_normal((2, 3, 128, 96)).astype(np.float32)
    source = load_engine(find_model("demo-kpt"), engine="onnxruntime")
    expected = source.run({"image": image})[0]
    for name in ("onnxruntime", "paddle"):
        made = load_engine(ModelDir.open(target), engine=name).run({"image": image})[0]
        np.testing.assert_allclose(made, expected, atol=1e-4)
