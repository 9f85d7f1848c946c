"""A data set in PaddleX's layout, a run directory, and a worker that trains nothing."""

from __future__ import annotations

import json
from pathlib import Path

from kptk.training.settings import DataSettings, TrainSettings, write_settings
from tests.training.tiny_data import make_data

N_TRAIN, N_VAL = 4, 2  # images, with two people each

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


def make_run(folder: Path, behaviour: str = "finish") -> Path:
    """A run directory that the fake worker understands."""
    folder.mkdir(parents=True)
    data = DataSettings(images=folder, annotations=folder / "a.json")
    settings = TrainSettings(
        model="PP-TinyPose_128x96",
        train=data,
        val=data,
        steps=4,
        batch_size=2,
        learning_rate=0.1,
        sample_transforms=[],
        batch_transforms=[],
    )
    write_settings(settings, folder / "settings.yml")
    (folder / "behaviour").write_text(behaviour)
    return folder
