"""Data sets and run directories to train on, a worker that trains nothing, and a real one driven.

- ``make_data``: a few small noise images with two people each; ``make_layout``: the same in
  PaddleX's layout, N_TRAIN and N_VAL images.
- ``make_run``: a run directory for ``WORKER``, which behaves as its file ``behaviour`` says.
- ``make_real_run``: a run directory by a committed recipe, on ``make_data``, for the real worker;
  ``start``, ``run_until``, ``events`` and ``losses`` drive and read that.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from kptk.files import environment
from kptk.training.settings import DataSettings, TrainSettings, write_settings

RECIPES = Path(__file__).parents[2] / "configs" / "train"
N_TRAIN, N_VAL = 4, 2  # images, with two people each
PATIENCE = 600  # seconds, for a machine that is busy with other things

# nothing random, so that shares of a batch are changed as the whole batch is
SAME = [
    {"TopDownAffine": {"trainsize": [96, 128], "use_udp": False}},
    {"ToHeatmapsTopDown_DARK": {"hmsize": [24, 32], "sigma": 1}},
]

WORKER = """
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
asked = (folder / "behaviour").read_text()
def write(event, **fields):
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({"event": event, "time": time.time(), **fields}) + "\\n")
if asked == "die early":
    os.kill(os.getpid(), signal.SIGKILL)
told = []
if asked != "deaf":
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
saved = folder / "saved"
step = int(saved.read_text()) if saved.exists() else 0
write("start", step=step, steps=4, samples=8)
if asked == "early":
    write("eval", step=0, AP=0.5)
    write("step", step=1, loss=1.0, lr=0.1, seconds=0.0)
    write("eval", step=1, AP=0.25)
    (folder / "model").mkdir()
    write("end", step=1, AP=0.5, reason="no better AP in 1 evaluations")
    sys.exit(0)
while step < 4:
    step += 1
    write("step", step=step, loss=1 / step, lr=0.1, seconds=0.0)
    if step == 2:
        write("eval", step=step, AP=0.25, AP50=None)
        saved.write_text(str(step))
        write("checkpoint", step=step)
    if step == 3 and asked == "fail":
        write("error", message="The loss became nan at step 3.")
        sys.exit(1)
    if step == 3 and asked == "crash":
        raise RuntimeError("no such kernel")
    if step == 3 and asked == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    while step == 3 and asked in ("hang", "deaf") and not told:
        time.sleep(0.01)
    if told:
        saved.write_text(str(step))
        write("checkpoint", step=step)
        write("stopped", step=step)
        sys.exit(0)
write("eval", step=4, AP=0.2, AP50=0.5)
(folder / "model").mkdir()
write("end", step=4, AP=0.25)
"""


def make_data(folder: Path, n_images: int = 4) -> None:
    """Write ``images/`` and ``annotations.json``: two people an image, all keypoints visible."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    images, people = [], []
    for i in range(n_images):
        pixels = rng.integers(0, 255, (120, 160, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        images.append({"id": i + 1, "file_name": f"{i}.png", "height": 120, "width": 160})
        for k in range(2):
            points = np.column_stack([rng.uniform([10, 10], [70, 110], (17, 2)), np.full(17, 2)])
            people.append(
                {
                    "id": 2 * i + k + 1,
                    "image_id": i + 1,
                    "category_id": 1,
                    "bbox": [5, 5, 70, 110],
                    "area": 7700,
                    "iscrowd": 0,
                    "num_keypoints": 17,
                    "keypoints": points.round(1).ravel().tolist(),
                }
            )
    category = {"id": 1, "name": "person", "keypoints": [], "skeleton": []}
    content = {"images": images, "annotations": people, "categories": [category]}
    (folder / "annotations.json").write_text(json.dumps(content))


def make_layout(folder: Path) -> Path:
    """``images/`` and ``annotations/instance_{train,val}.json``."""
    make_data(folder, N_TRAIN + N_VAL)
    content = json.loads((folder / "annotations.json").read_text())
    (folder / "annotations.json").unlink()
    (folder / "annotations").mkdir()
    for split, images in (
        ("train", content["images"][:N_TRAIN]),
        ("val", content["images"][N_TRAIN:]),
    ):
        ids = {image["id"] for image in images}
        people = [item for item in content["annotations"] if item["image_id"] in ids]
        file = folder / "annotations" / f"instance_{split}.json"
        file.write_text(json.dumps({**content, "images": images, "annotations": people}))
    return folder


def tiny_settings(images: Path, annotations: Path, **changes: Any) -> TrainSettings:
    """Settings of a short run without transforms, on the same data for training and validation."""
    data = DataSettings(images=images, annotations=annotations)
    settings: dict[str, Any] = {
        "model": "PP-TinyPose_128x96",
        "train": data,
        "val": data,
        "steps": 4,
        "batch_size": 2,
        "learning_rate": 0.1,
        "sample_transforms": [],
        "batch_transforms": [],
    }
    return TrainSettings(**settings | changes)


def make_run(folder: Path, behaviour: str = "finish") -> Path:
    """A run directory that the fake worker understands."""
    folder.mkdir(parents=True)
    write_settings(tiny_settings(folder, folder / "a.json"), folder / "settings.yml")
    (folder / "behaviour").write_text(behaviour)
    return folder


def make_real_run(folder: Path, recipe: str, **changes: object) -> Path:
    """Write a run directory with the settings of a committed recipe, on data made here."""
    make_data(folder / "data")
    data = {
        "images": str(folder / "data" / "images"),
        "annotations": str(folder / "data" / "annotations.json"),
    }
    yaml = YAML(typ="safe", pure=True)
    settings = yaml.load((RECIPES / f"{recipe}.yml").read_text(encoding="utf-8"))
    settings |= {"train": data, "val": data, "batch_size": 2, "warmup_steps": 0, **changes}
    run = folder / "run"
    run.mkdir()
    with (run / "settings.yml").open("w", encoding="utf-8") as file:
        yaml.dump(settings, file)
    return run


def worker_environment() -> dict[str, str]:
    """That of the real worker in tests: one thread, so that sums come in one order."""
    return {**environment(), "FLAGS_use_stride_kernel": "0", "OMP_NUM_THREADS": "1"}


def start(run: Path) -> subprocess.Popen[bytes]:
    """Start the real worker."""
    return subprocess.Popen(
        [sys.executable, "-m", "kptk.training.trainer", str(run)],
        env=worker_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


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


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    """The events of a kind that a run has logged."""
    file = run / "events.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [item for item in map(json.loads, lines) if item["event"] == kind]


def losses(run: Path) -> dict[int, float]:
    """Step to loss; of a step that was trained again the last."""
    return {item["step"]: item["loss"] for item in events(run, "step")}
