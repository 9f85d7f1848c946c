"""The training process: exact resumption after a kill and after a stop, and its errors."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kptk.files import environment
from tests.training.tiny_data import make_run

pytest.importorskip("ppdet")
STEPS = 4
PATIENCE = 600  # seconds, for a machine that is busy with other things


def start(run: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "kptk.training.trainer", str(run)],
        env={**environment(), "FLAGS_use_stride_kernel": "0", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    file = run / "events.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [item for item in map(json.loads, lines) if item["event"] == kind]


def run_until(run: Path, step: int, number: int) -> None:
    """Run the worker until the checkpoint of a step is written, then send it a signal."""
    process = start(run)
    deadline = time.monotonic() + PATIENCE
    try:
        while not any(item["step"] == step for item in events(run, "checkpoint")):
            assert process.poll() is None, process.stderr.read().decode()[-2000:]  # type: ignore[union-attr]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
    finally:
        process.kill()


def losses(run: Path) -> dict[int, float]:
    return {item["step"]: item["loss"] for item in events(run, "step")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "number"), [("demo-kpt", signal.SIGKILL), ("demo-det", signal.SIGTERM)]
)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(
    tmp_path: Path, recipe: str, number: int
) -> None:
    changes = {"steps": STEPS, "eval_every": 100, "checkpoint_every": 2}
    (tmp_path / "a").mkdir()
    whole = make_run(tmp_path / "a", recipe, **changes)
    run_until(whole, STEPS, signal.SIGKILL)  # before the export, which takes long
    (tmp_path / "b").mkdir()
    broken = make_run(tmp_path / "b", recipe, **changes)
    run_until(broken, 2, number)
    before = losses(broken)
    run_until(broken, STEPS, signal.SIGKILL)
    expected = losses(whole)
    assert len(expected) == STEPS and all(math.isfinite(loss) for loss in expected.values())
    assert len(set(expected.values())) == STEPS  # a loss that never moves would prove nothing
    resumed = {step: loss for step, loss in losses(broken).items() if step not in before}
    assert set(resumed) >= {STEPS}
    for step, loss in {**before, **resumed}.items():
        assert loss == pytest.approx(expected[step], rel=1e-3), step


@pytest.mark.slow
def test_a_nan_loss_ends_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    run = make_run(
        tmp_path, "demo-kpt", steps=6, checkpoint_every=1, learning_rate=1e30, clip_norm=1e30
    )
    process = start(run)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert b"learning_rate" in stderr
    assert "checkpoint is kept" in events(run, "error")[0]["message"]
    with np.load(run / "checkpoint.npz") as checkpoint:
        assert int(checkpoint["step"]) >= 1


@pytest.mark.slow
def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, "demo-kpt", steps=STEPS)
    for image in (tmp_path / "data" / "images").iterdir():
        image.write_bytes(b"not a picture")
    process = start(run)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    said = stderr.decode()
    assert ".png" in said and "Put a whole copy" in said and "Traceback" not in said
    assert "Put a whole copy" in events(run, "error")[0]["message"]


@pytest.mark.slow
def test_a_whole_run_ends_with_a_model_that_every_engine_runs(tmp_path: Path) -> None:
    from kptk.engines.load import load_engine
    from kptk.models.modeldir import ModelDir
    from kptk.models.weights import read_weights
    from tools.pack import pack_model

    run = make_run(tmp_path, "demo-kpt", steps=1)
    process = start(run)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr.decode()[-2000:]
    assert events(run, "end")
    packed = pack_model(run / "best.npz", "PP-TinyPose_128x96", tmp_path / "packed", (128, 96))
    image = np.random.default_rng(0).standard_normal((1, 3, 128, 96)).astype(np.float32)
    exported = ModelDir.open(run / "model")
    names = ["onnxruntime", "paddle"]
    outputs = [load_engine(exported, engine=n).run({"image": image})[0] for n in names]
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-5)
    half = load_engine(ModelDir.open(packed), engine="onnxruntime").run({"image": image})[0]
    np.testing.assert_allclose(half, outputs[0], atol=2e-3 * max(1, np.abs(outputs[0]).max()))
    best, stored = read_weights(run / "best.npz"), read_weights(packed)
    assert set(best) == set(stored)
    for name, array in best.items():
        np.testing.assert_allclose(stored[name], array, rtol=1e-3, atol=1e-6, err_msg=name)
    assert os.path.getsize(packed / "inference.onnx") < 4e6
