"""Whether reading and augmenting hold up training: steps on fresh batches against ready ones.

The same steps twice in turn: with batches made while the step before runs, as in a run, and with
batches that lie ready. The aim is 90 % of the samples a second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import harness

os.environ.setdefault("FLAGS_use_stride_kernel", "0")  # as the worker sets it

ROUNDS = 2
RECIPES = {"demo-kpt": 6, "demo-det": 2}  # and how many steps are timed


def settings_of(recipe: str) -> Any:
    """The recipe of a demo model, on the demo images that are there."""
    from kptk.training.settings import DataSettings, read_settings

    day = harness.ROOT / "data" / "demo" / "day"
    data = DataSettings(
        images=day / "images", annotations=day / "annotations" / "instance_train.json"
    )
    settings = read_settings(harness.ROOT / "configs" / "train" / f"{recipe}.yml")
    return settings.model_copy(update={"train": data, "val": data, "weights": None})


def seconds_of(trainer: Any, batches: Iterable[Any]) -> float:
    """Seconds of all steps but the first, whose batch nothing could overlap with."""
    began = 0.0
    for number, batch in enumerate(batches):
        if number == 1:
            began = time.perf_counter()
        trainer.train_step(batch)
    return time.perf_counter() - began


def measure(recipe: str, steps: int) -> dict[str, Any]:
    """Samples a second on ready batches, and the share of it on fresh ones."""
    from kptk.training.data import Batches
    from kptk.training.trainer import Group, Trainer

    settings = settings_of(recipe)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(settings, Path(folder), Group.join("cpu"))
        trainer.net.train()
        batches = Batches(settings)
        ready = [batches.batch(step) for step in range(steps + 1)]
        times = harness.in_turn(
            {
                "ready": lambda: seconds_of(trainer, ready),
                "fresh": lambda: seconds_of(trainer, batches.run(0, steps + 1)),
            },
            ROUNDS,
        )
    rate = settings.batch_size * steps / (times.ms("ready") / 1e3)
    return {"rate": f"{rate:.1f}", "share": times.ratio("ready", "fresh")}


def main() -> None:
    """Measure each recipe in a process of its own (ppdet's settings are global), and print."""
    rows = []
    for recipe in RECIPES:
        command = [sys.executable, __file__, recipe]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append([recipe, found["rate"], found["share"]])
    harness.section(
        "Training's input",
        "Samples a second on batches that lie ready, and which part of that is left when they are "
        "read and augmented on the way; the aim is .9.",
        harness.table(["recipe", "samples/s", "part"], rows),
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], RECIPES[sys.argv[1]])))
    else:
        main()
