"""Trying models out: do they load, run, agree between engines, and how fast are they here?"""

from __future__ import annotations

import importlib.util
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kptk.errors import KptkError, ModelError
from kptk.onnx_export import is_quantized

if TYPE_CHECKING:
    from kptk.engine import Engine
    from kptk.modeldir import ModelDir

_log = logging.getLogger(__name__)

BOX_THRESHOLD = 0.1  # lowest score of the boxes that are compared
BOX_TOLERANCE = 0.5  # pixels between engines
HEATMAP_TOLERANCE = 1e-3  # between engines, for heatmaps whose peaks are near 1
# Engines round int8 at different places, so some values differ much: the typical one counts.
INT8_BOX_TOLERANCE = 5.0
INT8_HEATMAP_TOLERANCE = 0.02


@dataclass(frozen=True)
class Check:
    """One thing that was tried: its name, whether it went well, what came, how long it took."""

    name: str
    ok: bool
    detail: str
    ms: float | None = None

    def __str__(self) -> str:
        took = "" if self.ms is None else f" ({self.ms:.1f} ms)"
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.name}: {self.detail}{took}"


def installed_engines() -> list[str]:
    """Return the names of the engines whose package is installed."""
    from kptk.engine import ENGINES  # each is called like its module

    return [name for name in ENGINES if importlib.util.find_spec(name)]


def picture() -> NDArray[np.uint8]:
    """The first of the demo pictures that come with kptk; without them, seeded noise."""
    from kptk.images import read_image

    pictures = sorted((Path(__file__).parent / "demo" / "images").glob("*.jpg"))
    if pictures:
        return read_image(pictures[0])
    noise = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    return np.kron(noise, np.ones((32, 32, 1), np.uint8))


def check_model(
    model: str | Path, image: NDArray[np.uint8], *, size: tuple[int, int] | None = None
) -> list[Check]:
    """Find, load and run one model by every installed engine that can, and compare them.

    Args:
        model: a name or a model directory.
        image: RGB uint8 (H, W, 3), preferably with people in it.
        size: the (height, width) the model's input must have.
    """
    from kptk.zoo import find_model

    try:
        found = find_model(model)
        if size is not None and found.input_size != size:
            raise ModelError(f"Its input must be {size}. It is {found.input_size}.")
    except KptkError as error:
        return [Check(f"{model}", False, one_line(error))]
    checks, answers = [], {}
    for name in usable_engines(found):
        check, answer = _run_one(found, name, image)
        checks.append(check)
        if answer is not None:
            answers[name] = answer
    if not checks:
        detail = "no installed engine can run it; pip install 'kptk[paddle]'"
        return [Check(found.name, False, detail)]
    return checks + list(_compare(found, answers))


def usable_engines(model: ModelDir) -> list[str]:
    """The installed engines that have a file to run: Paddle none for a model that is ONNX only."""
    files = {
        "onnxruntime": model.onnx or model.paddle,
        "openvino": model.openvino or model.onnx or model.paddle,
        "paddle": model.paddle,
    }
    return [name for name in installed_engines() if files[name] is not None]


def _run_one(
    model: ModelDir, name: str, image: NDArray[np.uint8]
) -> tuple[Check, NDArray[np.float32] | None]:
    from kptk.engine import load_engine

    title = f"{model.name} by {name}"
    try:
        run = trial_run(model, load_engine(model, engine=name, device="cpu"), image)
        answer = run()
    except KptkError as error:
        return Check(title, False, one_line(error)), None
    except Exception as error:  # an engine may raise anything: that is the diagnosis
        return Check(title, False, f"{type(error).__name__}: {one_line(error)}"), None
    wrong = _wrong_shape(model, answer)
    if wrong:
        return Check(title, False, wrong), None
    what = f"{len(answer)} boxes" if model.kind == "detection" else f"heatmaps {answer.shape}"
    return Check(title, True, what, median_ms(run)), answer


def trial_run(
    model: ModelDir, engine: Engine, image: NDArray[np.uint8]
) -> Callable[[], NDArray[np.float32]]:
    """Prepare a run: boxes (N, 5) x1, y1, x2, y2, score of people; or heatmaps (1, K, h, w)."""
    from kptk.detector import Detector
    from kptk.pose import PoseModel

    if model.kind == "keypoint":
        pose = PoseModel(model, engine)
        noise = np.random.default_rng(0).standard_normal((1, 3, *model.input_size))
        return lambda: pose.heatmaps(noise.astype(np.float32))
    detector = Detector(model, engine)

    def detect() -> NDArray[np.float32]:
        (people,) = detector.predict([image], threshold=BOX_THRESHOLD)
        return np.column_stack([people.boxes, people.scores])

    return detect


def median_ms(run: Callable[[], object], repeats: int = 5) -> float:
    """Median milliseconds of a call that has been made once before."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def _wrong_shape(model: ModelDir, answer: NDArray[np.float32]) -> str:
    """What is wrong with an answer, or ""."""
    if not np.isfinite(answer).all():
        return "the answer holds NaN or infinity"
    height, width = model.input_size
    if model.kind == "keypoint" and answer.shape != (1, 17, height // 4, width // 4):
        return f"heatmaps must be (1, 17, {height // 4}, {width // 4}); they are {answer.shape}"
    return ""


def _compare(model: ModelDir, answers: dict[str, NDArray[np.float32]]) -> Iterator[Check]:
    """Compare every engine's answer with the first's."""
    if not answers:
        return
    (first, expected), *others = answers.items()
    int8 = model.onnx is not None and is_quantized(model.onnx)
    for name, answer in others:
        title = f"{model.name}: {name} against {first}"
        if model.kind == "keypoint":
            found, limit = abs(answer - expected), (HEATMAP_TOLERANCE, INT8_HEATMAP_TOLERANCE)
            what, form, unit = "heatmaps differ by", ".1e", ""
        else:
            found, limit = box_distances(expected, answer), (BOX_TOLERANCE, INT8_BOX_TOLERANCE)
            what, form, unit = f"{len(expected)} and {len(answer)} boxes,", ".2f", " px apart"
        if int8:
            # a box that one engine alone finds is infinitely far away; most heatmap cells are zero
            typical = float(np.median(found) if unit else found.mean()) if found.size else 0.0
            detail = f"{what} {typical:{form}}{unit} {'in the median' if unit else 'on average'}"
            yield Check(title, typical <= limit[1], f"{detail} (int8)")
        else:
            most = float(found.max(initial=0))
            yield Check(title, most <= limit[0], f"{what} at most {most:{form}}{unit}")


def box_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The largest of `box_distances`, in pixels."""
    return float(box_distances(one, other).max(initial=0))


def box_distances(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance from each box of either set to the nearest of the other, in pixels.

    Boxes within .02 of BOX_THRESHOLD may be found by one engine only: the other need not have
    them.

    Args:
        one: (N, 5) x1, y1, x2, y2, score.
        other: (M, 5), likewise.
    """
    distances = abs(one[:, None, :4] - other[None, :, :4]).max(axis=2, initial=0)
    nearest = [
        distances.min(axis=axis, initial=np.inf)[boxes[:, 4] > BOX_THRESHOLD + 0.02]
        for axis, boxes in ((1, one), (0, other))
    ]
    return np.concatenate(nearest)


def one_line(error: object) -> str:
    return " ".join(str(error).split())


def measure_models(report: Callable[[str], object] = lambda name: None) -> dict[str, float]:
    """Time every named model that is already on this machine, with the default engine.

    Args:
        report: called with each name before it is timed.

    Returns:
        Name → median milliseconds an image (keypoint models: a person); NaN for models that
        are not here or do not run.
    """
    from kptk.engine import load_engine
    from kptk.zoo import MODELS, find_model, where_is

    image, times = picture(), {}
    for name, spec in MODELS.items():
        times[name] = float("nan")
        if where_is(spec) in ("to download", "missing"):
            continue
        report(name)
        try:
            model = find_model(name)
            run = trial_run(model, load_engine(model), image)
            run()
            times[name] = round(median_ms(run), 2)
        except KptkError as error:
            _log.warning("%s cannot be timed: %s", name, error)
    return times
