"""Models tried out: do they load, run, agree between engines, and what will users stumble over?

`check_model` looks one model directory over, `diagnose` this installation; both rest on
`try_model`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kptk.demo import demo_images
from kptk.engines.base import ACCELERATORS, PACKAGES, Engine
from kptk.engines.load import ENGINES, load_engine
from kptk.engines.onnx import session_options
from kptk.engines.paddle import import_paddle, paddle_devices
from kptk.errors import KptkError, ModelError, nearest
from kptk.files import packaged_yaml
from kptk.io.images import read_image
from kptk.models import zoo
from kptk.models.catalog import ARCHITECTURES, MODELS
from kptk.models.modeldir import ModelDir
from kptk.models.onnx import is_quantized, onnx_file
from kptk.pipeline.detector import Detector
from kptk.pipeline.pose import PoseModel

_log = logging.getLogger(__name__)

BOX_THRESHOLD = 0.1  # lowest score of the boxes that are compared
BOX_TOLERANCE = 0.5  # pixels between engines
HEATMAP_TOLERANCE = 1e-3  # between engines, for heatmaps whose peaks are near 1
# Engines round int8 at different points, so some values differ much: the typical one counts.
INT8_BOX_TOLERANCE = 5.0
INT8_HEATMAP_TOLERANCE = 0.02

Severity = Literal["error", "warning", "note"]
_MARKS = {"error": "FAIL", "warning": "warn", "note": "note"}
_PADDLEX_FILES = ("inference.json", "inference.pdmodel")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # PP-YOLOE is published without too

_REQUIRED = (
    "numpy", "pandas", "pillow", "opencv", "onnxruntime", "pydantic", "ruamel.yaml", "pycocotools",
    "matplotlib", "ipywidgets",
)  # fmt: skip
_OPTIONAL = (
    "paddlepaddle", "paddle2onnx", "paddledet", "openvino", "numba", "scikit-image", "jupyterlab",
)  # fmt: skip
# the distributions that provide what has not one of its own name
_PROVIDERS = {
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "paddlepaddle": ("paddlepaddle", "paddlepaddle-gpu"),
}
_MISSING = "not installed"


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
    return [name for name in ENGINES if importlib.util.find_spec(name)]


def usable_engines(model: ModelDir) -> list[str]:
    """The installed engines that have a file to run: Paddle none for a model that is ONNX only."""
    files = {
        "onnxruntime": model.onnx or model.paddle,
        "openvino": model.openvino or model.onnx or model.paddle,
        "paddle": model.paddle,
    }
    return [name for name in installed_engines() if files[name] is not None]


def sample_image() -> NDArray[np.uint8]:
    """The first of the demo images that come with kptk; without them, seeded noise."""
    images = demo_images()
    if images:
        return read_image(images[0])
    noise = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    return np.kron(noise, np.ones((32, 32, 1), np.uint8))


def try_model(
    model: str | Path,
    image: NDArray[np.uint8] | None = None,
    *,
    size: tuple[int, int] | None = None,
) -> list[Check]:
    """Find, load and run one model by every installed engine that can, and compare them.

    Args:
        model: a name or a model directory.
        image: RGB uint8 (H, W, 3), preferably with people in it; None: a demo image.
        size: the (height, width) the model's input must have.
    """
    try:
        found = zoo.find_model(model)
        if size is not None and found.input_size != size:
            raise ModelError(f"Its input must be {size}. It is {found.input_size}.")
    except KptkError as error:
        return [Check(f"{model}", False, _one_line(error))]
    image = sample_image() if image is None else image
    checks, answers = [], {}
    for name in usable_engines(found):
        title = f"{found.name} by {name}"
        try:
            run = _trial(found, load_engine(found, engine=name, device="cpu"), image)
            answer = run()
            wrong = _wrong_shape(found, answer)
        except KptkError as error:
            wrong = _one_line(error)
        except Exception as error:  # an engine may raise anything: that is the diagnosis
            wrong = f"{type(error).__name__}: {_one_line(error)}"
        if wrong:
            checks.append(Check(title, False, wrong))
            continue
        answers[name] = answer
        what = f"{len(answer)} boxes" if found.kind == "detection" else f"heatmaps {answer.shape}"
        checks.append(Check(title, True, what, _median_ms(run)))
    if not checks:
        detail = "no installed engine can run it; pip install 'kptk[paddle]'"
        return [Check(found.name, False, detail)]
    return checks + list(_compare(found, answers))


def _trial(
    model: ModelDir, engine: Engine, image: NDArray[np.uint8]
) -> Callable[[], NDArray[np.float32]]:
    """A run to make: boxes (N, 5) x1, y1, x2, y2, score of people; or heatmaps (1, K, h, w)."""
    if model.kind == "keypoint":
        pose = PoseModel(model, engine)
        noise = np.random.default_rng(0).standard_normal((1, 3, *model.input_size))
        return lambda: pose.heatmaps(noise.astype(np.float32))
    detector = Detector(model, engine)

    def detect() -> NDArray[np.float32]:
        (people,) = detector.predict([image], threshold=BOX_THRESHOLD)
        return np.column_stack([people.boxes, people.scores])

    return detect


def _median_ms(run: Callable[[], object], repeats: int = 5) -> float:
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
    int8 = model.onnx is not None and is_quantized(model.onnx)
    first = next(iter(answers), "")
    for name, answer in list(answers.items())[1:]:
        expected = answers[first]
        if model.kind == "keypoint":
            found = abs(answer - expected)
            what, form, unit, average = "heatmaps differ by", ".1e", "", "on average"
            limit = INT8_HEATMAP_TOLERANCE if int8 else HEATMAP_TOLERANCE
        else:
            found = box_distances(expected, answer)
            what, form = f"{len(expected)} and {len(answer)} boxes,", ".2f"
            unit, average = " px apart", "in the median"
            limit = INT8_BOX_TOLERANCE if int8 else BOX_TOLERANCE
        if not int8:
            value = float(found.max(initial=0))
            detail = f"{what} at most {value:{form}}{unit}"
        else:
            # a box that one engine alone finds is infinitely far away; most heatmap cells are zero
            typical = np.median if unit else np.mean
            value = float(typical(found)) if found.size else 0.0
            detail = f"{what} {value:{form}}{unit} {average} (int8)"
        yield Check(f"{model.name}: {name} against {first}", value <= limit, detail)


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


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def measure_models(report: Callable[[str], object] = lambda name: None) -> dict[str, float]:
    """Time every named model that is already on this machine, with the default engine.

    Args:
        report: called with each name before it is timed.

    Returns:
        Name → median milliseconds an image (keypoint models: a person); NaN for models that
        are not here or do not run.
    """
    image, times = sample_image(), {}
    for name, spec in MODELS.items():
        times[name] = float("nan")
        if zoo.where_is(spec) in ("to download", "missing"):
            continue
        report(name)
        try:
            model = zoo.find_model(name)
            run = _trial(model, load_engine(model), image)
            run()
            times[name] = round(_median_ms(run), 2)
        except KptkError as error:
            _log.warning("%s cannot be timed: %s", name, error)
    return times


@dataclass(frozen=True)
class ModelFinding:
    """Something about a model directory that its user should know.

    Attributes:
        severity: ``"error"``: it cannot be used; ``"warning"``: PaddleX refuses it, or its
            answers may be wrong; ``"note"``: nothing to do.
        message: what it is.
        advice: what to do.
    """

    severity: Severity
    message: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{_MARKS[self.severity]}  {self.message} {self.advice}".rstrip()


@dataclass(frozen=True)
class ModelReport:
    """What `check_model` found. ``repr`` is the report; ``ok`` is whether there is no error.

    Attributes:
        path: the directory; None if there is none.
        model: what it says about itself; None if it cannot be read.
        findings: the errors first.
        checks: what was tried: loading and running by every engine, and comparing them.
    """

    path: Path | None
    model: ModelDir | None
    findings: tuple[ModelFinding, ...]
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether the model can be used: no finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "ok": self.ok,
            "path": self.path and str(self.path),
            "name": self.model and self.model.name,
            "kind": self.model and self.model.kind,
            "input_size": self.model and list(self.model.input_size),
            "findings": [vars(finding) for finding in self.findings],
            "checks": [vars(check) for check in self.checks],
        }

    def __repr__(self) -> str:
        good = [str(check) for check in self.checks if check.ok]
        return "\n".join([*map(str, self.findings), *good])


def check_model(
    model: str | os.PathLike[str], image: NDArray[np.uint8] | None = None
) -> ModelReport:
    """Look a model directory over before it goes into a pipeline or to PaddleX.

    Its files, its ``inference.yml``, the name, the input size and the labels are read; then every
    installed engine that can loads it and runs it, and the answers are compared. Nothing is
    raised for what is wrong: it becomes a finding.

    Args:
        model: a model directory; a ``.pdparams`` file or a name, as in `kptk.list_models`.
        image: RGB uint8 (H, W, 3) for the trial of a detector; None: a demo image.
    """
    try:
        found = zoo.find_model(model)
    except KptkError as error:
        advice = "Look at the folder, or export the model again (kptk export)."
        return ModelReport(None, None, (ModelFinding("error", _one_line(error), advice),), ())
    checks = tuple(try_model(found.path, image))
    findings = [*_trial_findings(checks), *_model_findings(found)]
    findings.sort(key=lambda finding: list(_MARKS).index(finding.severity))
    return ModelReport(found.path, found, tuple(findings), checks)


def _trial_findings(checks: tuple[Check, ...]) -> Iterator[ModelFinding]:
    """What the engines said, and which of them were not asked."""
    for check in (check for check in checks if not check.ok):
        advice = "Fetch or export the model again, or use another engine."
        if "against" in check.name:
            advice = "The files may be of two different exports: export the model again "
            advice += "(kptk export)."
        yield ModelFinding("error", f"{check.name}: {check.detail}.", advice)
    tried = {check.name.rpartition(" by ")[2] for check in checks}
    untried = [name for name in installed_engines() if name not in tried]
    if untried and tried:
        yield ModelFinding("note", f"Not tried, for lack of its files: {', '.join(untried)}.")


def _model_findings(model: ModelDir) -> Iterator[ModelFinding]:
    """What PaddleX would refuse, and what does not fit the network's input."""
    spec, graph = MODELS.get(model.name), _graph_size(model)
    size = spec.input_size if spec and spec.kind == "keypoint" else None
    official = model.name in ARCHITECTURES
    has_names = (model.path / "inference.yml").is_file()
    program = model.paddle[0].name if model.paddle else None
    pose = model.kind == "keypoint"
    known = [(_MEAN, _STD)] if pose else [(_MEAN, _STD), ((0,) * 3, (1,) * 3)]
    normal = any(np.allclose((model.mean, model.std), pair, atol=1e-3) for pair in known)
    found = {
        "PaddleDetection names": not has_names,
        "no Paddle files": has_names and program is None,
        "program name": has_names and program not in (None, *_PADDLEX_FILES),
        "unofficial name": not official,
        "other kind": official and spec is not None and spec.kind != model.kind,
        "no labels": not model.labels,
        "unpublished size": pose and size is not None and size != model.input_size,
        "other graph size": graph not in (None, model.input_size),
        "other normalisation": not (model.is_scale and normal),
    }
    values = {
        "model": model,
        "spec": spec,
        "graph": graph,
        "program": program,
        "format": "ONNX" if model.onnx else "OpenVINO",
        "programs": " or ".join(_PADDLEX_FILES),
        "hint": nearest(model.name, ARCHITECTURES),
        "fitting": ", ".join(name for name in ARCHITECTURES if MODELS[name].kind == model.kind),
        "needed": "" if pose else ": PaddleX's detection needs it",
        "not_scaled": "" if model.is_scale else "not ",
    }
    texts = packaged_yaml("check", "findings")
    for name in (name for name, holds in found.items() if holds):
        severity, message, advice = (text.format(**values) for text in texts[name].values())
        yield ModelFinding(severity, message, advice)


def _graph_size(model: ModelDir) -> tuple[int, int] | None:
    """The (height, width) that the ONNX graph is fixed to; None if it is not, or is not known."""
    import onnxruntime

    options = session_options()
    options.log_severity_level = 4  # what is wrong with the graph is said by the trial
    try:
        session = onnxruntime.InferenceSession(
            str(onnx_file(model)), options, providers=["CPUExecutionProvider"]
        )
    except Exception:  # the trial has said why already
        return None
    shapes = [entry.shape[2:] for entry in session.get_inputs() if len(entry.shape) == 4]
    if len(shapes) != 1 or not all(isinstance(side, int) for side in shapes[0]):
        return None
    return int(shapes[0][0]), int(shapes[0][1])


class Versions(dict[str, str]):
    """Name → version, as a dict; its ``repr`` is a readable list."""

    def __repr__(self) -> str:
        width = max(map(len, self))
        return "\n".join(f"{name:<{width}}  {version}" for name, version in self.items())


def show_versions() -> Versions:
    """Return the versions to put into a bug report.

    Returns:
        A dict of kptk, Python, the system and the packages kptk uses, the optional ones last;
        what is missing is "not installed". Shown as a list, one name a line. Nothing is imported
        for it.
    """
    from kptk import __version__

    own = {"kptk": __version__, "python": platform.python_version(), "system": platform.platform()}
    return Versions(own | {name: _version(name) for name in _REQUIRED} | optional_parts())


def optional_parts() -> Versions:
    """Return the versions of the optional packages only."""
    return Versions({name: _version(name) for name in _OPTIONAL})


def _version(name: str) -> str:
    first, *others = _PROVIDERS.get(name, (name,))
    for provider in (first, *others):
        try:
            version = importlib.metadata.version(provider)
        except importlib.metadata.PackageNotFoundError:
            continue
        return version if provider == first else f"{version} ({provider})"
    return _MISSING


@dataclass
class Diagnosis:
    """What `diagnose` found. ``repr`` is the report; ``ok`` is whether every check went well.

    Attributes:
        versions: see `show_versions`.
        engines: engine name → the devices it can use, or why it cannot be used.
        devices: kind of device as kptk names it → the engines that find one, or what brings it.
        checks: what was tried, in order.
    """

    versions: Versions
    engines: dict[str, str]
    devices: dict[str, str] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every check went well."""
        return all(check.ok for check in self.checks)

    @property
    def json(self) -> dict[str, Any]:
        """The report as plain values."""
        checks = [vars(check) for check in self.checks]
        return {"ok": self.ok, **vars(self), "versions": dict(self.versions), "checks": checks}

    def __repr__(self) -> str:
        engines, devices = Versions(self.engines), Versions(self.devices)
        checks = "\n".join(map(str, self.checks))
        return (
            f"{self.versions!r}\n\nEngines\n{engines!r}\n\nDevices\n{devices!r}\n\nChecks\n{checks}"
        )


def diagnose(official: bool = False) -> Diagnosis:
    """Look at this installation and try it out.

    The demo pair is loaded and run by every engine that is installed, and the engines' answers
    are compared. Nothing is raised for what fails: it becomes a failed check.

    Args:
        official: fetch each official archive too (some 230 MB, kept in the cache), then check
            its kind and input size against what is published, load it and run it by every
            engine, and compare shapes and answers. This needs the network and, for the
            conversion, ``kptk[paddle]``.
    """
    engines = {name: _devices(name) for name in ENGINES}
    found = Diagnosis(show_versions(), engines, devices_by_kind(engines))
    for spec in MODELS.values():
        if spec.url is None or official:
            found.checks += try_model(spec.name, size=spec.input_size)
    return found


def devices_by_kind(engines: dict[str, str]) -> dict[str, str]:
    """Say for each kind of device which engines find one here.

    Args:
        engines: what each engine says it can use, see `Diagnosis`.

    Returns:
        Kind as in ``device="gpu:0"`` → names of engines; for a kind that is missing, the packages
        to install for it.
    """
    own = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "gpu"}
    found: dict[str, list[str]] = {kind: [] for kind in ("cpu", *ACCELERATORS)}
    for engine, text in engines.items():
        for entry in text.split(", "):  # an engine's own list, in its own words
            name, _, count = entry.partition(" x ")
            kind = own.get(name, name.partition(".")[0].lower())
            if kind in found and count != "0" and engine not in found[kind]:
                found[kind].append(engine)
    return {
        kind: ", ".join(names) or f"none here; needs {PACKAGES.get(kind, 'onnxruntime')}"
        for kind, names in found.items()
    }


def _devices(engine: str) -> str:
    """The devices that an engine finds, in its own words, or why it cannot be used."""
    if engine not in installed_engines():
        return _MISSING
    try:
        if engine == "onnxruntime":
            import onnxruntime

            return ", ".join(onnxruntime.get_available_providers())
        if engine == "openvino":
            import openvino

            return ", ".join(openvino.Core().available_devices)
        counts = paddle_devices(import_paddle())
        return ", ".join(["cpu", *(f"{kind} x {count}" for kind, count in counts.items())])
    except Exception as error:  # a broken build may raise anything: that is the diagnosis
        return f"broken: {_one_line(error)}"
