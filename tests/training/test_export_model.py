"""Weights to a model directory: what is refused, and one real export against its source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kptk.check import Check
from kptk.cli import app
from kptk.engines.load import load_engine
from kptk.errors import KptkError, ModelError
from kptk.models import export
from kptk.models.modeldir import ModelDir
from kptk.models.zoo import find_model
from kptk.training.export import export_model
from tests.training.fakes import make_run


def test_refusals_before_anything_is_exported(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").write_bytes(b"")
    for source, target, more, message in [
        ("demo-kpt", "full", {}, "exists already"),
        ("demo-kpt", "full", {"overwrite": True}, "no model directory, so it is not replaced"),
        ("demo-ktp", "new", {}, "Did you mean 'demo-kpt'"),
        (run, "new", {}, "has not been evaluated yet"),
        ("demo-kpt", "new", {"input_size": (100, 96)}, "multiples of 32"),
        ("demo-kpt", "new", {"like": "demo-kpt"}, "like is for a .pdparams file"),
        ("a.pdparams", "new", {"like": "tinypose"}, "like must be one of"),
    ]:
        with pytest.raises(KptkError, match=message):
            export_model(source, tmp_path / target, **more)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_an_export_that_fails_its_check_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "run_module", lambda *_, **__: None)
    failed = Check("PP-TinyPose_128x96: paddle against onnxruntime", False, "differ by 3.0")
    monkeypatch.setattr("kptk.check.check_model", lambda *_: [failed])
    with pytest.raises(ModelError, match=r"was not kept.*differ by 3\.0"):
        export.export_weights(
            "demo-kpt", "PP-TinyPose_128x96", tmp_path / "new", onnx=False, check=True
        )
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
