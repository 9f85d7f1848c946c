"""The training process: its parts, its errors in words, and exact resumption after a kill."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kptk
from kptk.engines.load import load_engine
from kptk.errors import DataError, ModelError, TrainingError
from kptk.files import run_module
from kptk.models.modeldir import ModelDir
from kptk.models.weights import read_weights
from kptk.models.zoo import find_model
from kptk.training import trainer as module
from kptk.training.trainer import Frozen, Group, check_loss, check_weights, explain
from tests.training.runs import (
    PATIENCE,
    SAME,
    events,
    losses,
    make_layout,
    make_real_run,
    make_run,
    run_until,
    start,
    tiny_settings,
    worker_environment,
)

paddle = pytest.importorskip("paddle")
pytest.importorskip("ppdet")

STEPS = 4
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

    monkeypatch.setattr(module, "Trainer", fail)
    if not writable:
        monkeypatch.setattr(module, "add_event", fail)
    assert module.main(folder) == 1
    file = folder / "events.jsonl"
    assert file.exists() == writable
    if writable:
        assert "no room left" in json.loads(file.read_text())["message"]


def tiny() -> object:
    """A network with a backbone and a head, each a convolution and a batch norm."""

    class Net(paddle.nn.Layer):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.backbone = self._part()
            self.head = self._part()

        def _part(self) -> object:
            return paddle.nn.Sequential(paddle.nn.Conv2D(2, 2, 1), paddle.nn.BatchNorm2D(2))

        def forward(self, x: object) -> object:
            return self.head(self.backbone(x))

    paddle.seed(0)
    return Net()


@pytest.mark.parametrize(
    ("backbone", "norm", "moving"),
    [
        (False, False, {"backbone.0", "backbone.1", "head.0", "head.1"}),
        (True, False, {"head.0", "head.1"}),
        (False, True, {"backbone.0", "backbone.1", "head.0", "head.1"}),
        (True, True, {"head.0", "head.1"}),
    ],
)
def test_frozen_arrays_are_the_same_bit_by_bit(
    backbone: bool, norm: bool, moving: set[str]
) -> None:
    net = tiny()
    frozen = Frozen(net, backbone=backbone, norm=norm)
    learning = [p for p in net.parameters() if not p.stop_gradient]  # type: ignore[attr-defined]
    optimizer = paddle.optimizer.AdamW(0.1, parameters=learning, weight_decay=0.1)
    before = {name: value.numpy() for name, value in net.state_dict().items()}  # type: ignore[attr-defined]
    frozen.train()
    x = paddle.to_tensor(np.random.default_rng(0).normal(3, 2, (4, 2, 3, 3)).astype("float32"))
    (net(x) ** 3).mean().backward()  # type: ignore[operator]
    optimizer.step()
    after = {name: value.numpy() for name, value in net.state_dict().items()}  # type: ignore[attr-defined]
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {name.rpartition(".")[0] for name in changed} == moving
    assert not changed & frozen.names
    statistics = {name for name in changed if name.endswith(("_mean", "_variance"))}
    assert bool(statistics) == (not norm)
    assert set(before) - changed <= frozen.names  # what is not called frozen did move
    held = {name.partition(".b")[0] for name in optimizer.state_dict()}
    assert not any(p.name in held for p in net.backbone.parameters()) or not backbone  # type: ignore[attr-defined]


class _Engine:
    """The demo model's own engine where the network in training would be."""

    def __new__(cls, network: str, kind: str) -> object:
        return load_engine(find_model(network), engine="onnxruntime", threads=1)


@pytest.mark.parametrize(
    ("name", "model", "size", "section"),
    [
        ("demo-kpt", "PP-TinyPose_128x96", (128, 96), "pose"),
        ("demo-det", "PP-YOLOE-S_human", (320, 320), "detector"),
    ],
)
def test_the_same_numbers_as_evaluate(
    name: str,
    model: str,
    size: tuple[int, int],
    section: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "NetworkEngine", _Engine)
    day = kptk.demo_path("day")
    data = kptk.load_coco(day, split="val")
    changes = {"model": model, "input_size": size, "eval_images": 6}
    settings = tiny_settings(day / "images", data.annotations_path, **changes)
    stats = module.validate(name, settings)
    expected = kptk.evaluate(
        kptk.create_model(name, engine="onnxruntime"), data, max_images=6, progress=False
    )
    assert stats["AP"] > 0.02
    for key, value in getattr(expected, section).items():
        assert stats[key] == pytest.approx(value, abs=1e-9, nan_ok=True), key


def test_images_without_labelled_people_give_no_ap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NetworkEngine", _Engine)
    folder = make_layout(tmp_path / "data")
    file = folder / "annotations" / "instance_val.json"
    content = json.loads(file.read_text())
    content["annotations"] = [p for p in content["annotations"] if p["image_id"] == 6]
    file.write_text(json.dumps(content))
    settings = tiny_settings(folder / "images", file, eval_images=1)
    assert math.isnan(module.validate("demo-kpt", settings)["AP"])


def test_a_process_alone_is_its_own_leader() -> None:
    group = Group()
    assert group.leads and group.mean(3.5) == 3.5 and group.agree(2) == 2
    assert not Group(1, 2).leads


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "number"), [("demo-kpt", signal.SIGKILL), ("demo-det", signal.SIGTERM)]
)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(
    tmp_path: Path, recipe: str, number: int
) -> None:
    changes = {"steps": STEPS, "eval_every": 100, "checkpoint_every": 2}
    (tmp_path / "a").mkdir()
    whole = make_real_run(tmp_path / "a", recipe, **changes)
    run_until(whole, STEPS, signal.SIGKILL)  # before the export, which takes long
    (tmp_path / "b").mkdir()
    broken = make_real_run(tmp_path / "b", recipe, **changes)
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
    run = make_real_run(
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
    run = make_real_run(tmp_path, "demo-kpt", steps=STEPS)
    for image in (tmp_path / "data" / "images").iterdir():
        image.write_bytes(b"not an image")
    process = start(run)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    said = stderr.decode()
    assert ".png" in said and "Put a whole copy" in said and "Traceback" not in said
    assert "Put a whole copy" in events(run, "error")[0]["message"]


@pytest.mark.slow
def test_a_whole_run_ends_with_a_model_that_every_engine_runs(tmp_path: Path) -> None:
    run = make_real_run(tmp_path, "demo-kpt", steps=1)
    process = start(run)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr.decode()[-2000:]
    assert events(run, "end")
    packed = tmp_path / "packed"
    arguments = [run / "best.npz", "PP-TinyPose_128x96", packed, "128", "96"]
    run_module("tools.pack", *arguments, task="Packing")
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


@pytest.mark.slow
def test_a_checkpoint_that_finds_no_room_leaves_the_last_one(tmp_path: Path) -> None:
    run = make_real_run(tmp_path, "demo-kpt", steps=4, eval_every=100, checkpoint_every=2)
    run_until(run, 2, 9)
    before = (run / "checkpoint.npz").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "kptk.training.trainer", str(run)],
        env=worker_environment(),
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


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    changes = {
        "steps": 3, "batch_size": 4, "eval_every": 100, "checkpoint_every": 2,
        "freeze_norm": True, "sample_transforms": SAME,
    }  # fmt: skip
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    alone = make_real_run(tmp_path / "one", "demo-kpt", **changes)
    run_until(alone, 2, signal.SIGKILL)
    both = make_real_run(tmp_path / "two", "demo-kpt", **changes)
    _launch_two(both, tmp_path / "log")
    expected, found = losses(alone), losses(both)
    for step in (1, 2):
        assert found[step] == pytest.approx(expected[step], rel=1e-3)
    assert len(events(both, "start")) == len(events(both, "checkpoint")) == 1  # one alone writes
    with np.load(alone / "checkpoint.npz") as one, np.load(both / "checkpoint.npz") as two:
        assert set(one.files) == set(two.files)
        for name in one.files:
            if name.startswith("net/"):
                np.testing.assert_allclose(two[name], one[name], atol=1e-3, err_msg=name)


def _launch_two(run: Path, logs: Path) -> None:
    """Train by Paddle's launcher until the checkpoint of step 2 is there."""
    launcher = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
    worker = [sys.executable, "-m", "kptk.training.trainer", str(run)]
    process = subprocess.Popen(
        [*launcher, "--log_dir", str(logs), *worker],
        env=worker_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE
    try:
        while not events(run, "checkpoint"):
            assert process.poll() is None and time.monotonic() < deadline, _last(logs)
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last(logs: Path) -> str:
    return "".join(file.read_text()[-1500:] for file in sorted(logs.glob("workerlog.*")))
