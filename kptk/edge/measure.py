"""What a smaller model costs and saves: bytes, milliseconds, AP."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kptk.config import DET_BATCH_SIZE, KPT_BATCH_SIZE
from kptk.engine import load_engine
from kptk.modeldir import ModelDir
from kptk.trial import usable_engines

if TYPE_CHECKING:
    from kptk.coco import KeypointData

_ROUNDS = 7
_SECTIONS = {"detection": "detector", "keypoint": "pose"}

# before and after
Pair = tuple[float, float]


def megabytes(model: ModelDir) -> float:
    """Size of the files that one engine needs, in units of 10^6 bytes."""
    return sum(file.stat().st_size for file in model.weights) / 1e6


def speeds(
    before: ModelDir, after: ModelDir, *, threads: int | None = None, rounds: int = _ROUNDS
) -> dict[str, Pair]:
    """Milliseconds of the networks alone, in turn, on the CPU.

    Args:
        before: the model that was exported.
        after: what came of it.
        threads: CPU threads; None: all.
        rounds: the medians are of so many.

    Returns:
        Engine → (before, after), an image (detector) or a person of a batch of 16 (pose model),
        for the engines that run both.
    """
    names = [name for name in usable_engines(before) if name in usable_engines(after)]
    batch = DET_BATCH_SIZE if before.kind == "detection" else KPT_BATCH_SIZE
    found = {}
    for name in names:
        runs = [_prepared(model, name, threads, batch) for model in (before, after)]
        taken = [[_milliseconds(run) / batch for run in runs] for _ in range(rounds + 1)]
        first, second = (statistics.median(times) for times in zip(*taken[1:], strict=True))
        found[name] = (first, second)
    return found


def _prepared(
    model: ModelDir, engine: str, threads: int | None, batch: int
) -> Callable[[], object]:
    network = load_engine(model, engine=engine, device="cpu", threads=threads)
    inputs = _noise(model, network.input_names, batch)
    return lambda: network.run(inputs)


def _milliseconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - began)


def _noise(model: ModelDir, names: tuple[str, ...], batch: int) -> Mapping[str, NDArray[Any]]:
    image = np.random.default_rng(0).standard_normal((batch, 3, *model.input_size))
    sizes = {"scale_factor": np.ones((batch, 2)), "im_shape": np.ones((batch, 2))}
    arrays = {name: sizes.get(name, image).astype(np.float32) for name in names}
    return arrays


def accuracies(
    before: ModelDir, after: ModelDir, data: KeypointData, max_images: int | None, progress: bool
) -> Pair:
    """AP from 0 to 1 of both: of the boxes, or of the joints on ground-truth boxes.

    Args:
        before: the model that was exported.
        after: what came of it.
        data: with annotations.
        max_images: only the first images by id.
        progress: show a progress bar.
    """
    from kptk.evaluation import evaluate
    from kptk.pipeline import create_model

    first, second = (
        evaluate(
            create_model(model.path, device="cpu"), data, max_images=max_images, progress=progress
        )
        for model in (before, after)
    )
    section = _SECTIONS[before.kind]
    return float(getattr(first, section)["AP"]), float(getattr(second, section)["AP"])
