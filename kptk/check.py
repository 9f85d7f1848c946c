"""Trying models out: do they load, run, agree between engines, and how fast are they here?"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kptk.engines.base import ACCELERATORS, PACKAGES
from kptk.errors import KptkError, ModelError, nearest
from kptk.models.catalog import ARCHITECTURES, MODELS
from kptk.models.modeldir import ModelDir
from kptk.models.onnx import is_quantized

if TYPE_CHECKING:
    from kptk.engines.base import Engine
    from kptk.models.modeldir import ModelDir


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
    from kptk.engines.load import ENGINES

    return [name for name in ENGINES if importlib.util.find_spec(name)]


def picture() -> NDArray[np.uint8]:
    """The first of the demo pictures that come with kptk; without them, seeded noise."""
    from kptk.io.images import read_image

    pictures = sorted((Path(__file__).parent / "demo" / "images").glob("*.jpg"))
    if pictures:
        return read_image(pictures[0])
    noise = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    return np.kron(noise, np.ones((32, 32, 1), np.uint8))


def try_model(
    model: str | Path, image: NDArray[np.uint8], *, size: tuple[int, int] | None = None
) -> list[Check]:
    """Find, load and run one model by every installed engine that can, and compare them.

    Args:
        model: a name or a model directory.
        image: RGB uint8 (H, W, 3), preferably with people in it.
        size: the (height, width) the model's input must have.
    """
    from kptk.models.zoo import find_model

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
    from kptk.engines.load import load_engine

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
    from kptk.pipeline.detector import Detector
    from kptk.pipeline.pose import PoseModel

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
    from kptk.engines.load import load_engine
    from kptk.models.zoo import find_model, where_is

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


# ---- preflight: A model directory looked over before it goes anywhere: ``kptk.try_model``.


Severity = Literal["error", "warning", "note"]


_MARKS = {"error": "FAIL", "warning": "warn", "note": "note"}


_PADDLEX_FILES = ("inference.json", "inference.pdmodel")


_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # PP-YOLOE is published without too


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
    """What `try_model` found. ``repr`` is the report; ``ok`` is whether there is no error.

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
            "path": None if self.path is None else str(self.path),
            "name": None if self.model is None else self.model.name,
            "kind": None if self.model is None else self.model.kind,
            "input_size": None if self.model is None else list(self.model.input_size),
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
        image: RGB uint8 (H, W, 3) for the trial of a detector; None: a demo picture.
    """
    from kptk.models.zoo import find_model

    try:
        found = find_model(model)
    except KptkError as error:
        advice = "Look at the folder, or export the model again (kptk export)."
        return ModelReport(None, None, (ModelFinding("error", one_line(error), advice),), ())
    checks = tuple(try_model(found.path, picture() if image is None else image))
    findings = [
        *(_failed(check) for check in checks if not check.ok),
        *_files(found),
        *_name(found),
        *_sizes(found),
        *_labels(found),
        *_preprocessing(found),
        *_engines(found, checks),
    ]
    order = list(_MARKS)
    findings.sort(key=lambda finding: order.index(finding.severity))
    return ModelReport(found.path, found, tuple(findings), checks)


def _failed(check: Check) -> ModelFinding:
    differ = "against" in check.name
    return ModelFinding(
        "error",
        f"{check.name}: {check.detail}.",
        "The files may be of two different exports: export the model again (kptk export)."
        if differ
        else "Fetch or export the model again, or use another engine.",
    )


def _files(model: ModelDir) -> Iterator[ModelFinding]:
    config = model.path / "inference.yml"
    if not config.is_file():
        yield ModelFinding(
            "warning",
            "The files have PaddleDetection's names (infer_cfg.yml, model.pdmodel): PaddleX does "
            "not find them.",
            "kptk reads them. For PaddleX, export the weights with kptk export.",
        )
    elif model.paddle is None:
        yield ModelFinding(
            "warning",
            f"The folder holds {'ONNX' if model.onnx else 'OpenVINO'} only; PaddleX looks for "
            "inference.json (or .pdmodel) with inference.pdiparams.",
            "kptk reads it. For PaddleX, export the training weights with kptk export.",
        )
    elif model.paddle[0].name not in _PADDLEX_FILES:
        yield ModelFinding(
            "warning",
            f"PaddleX looks for {' or '.join(_PADDLEX_FILES)}; the program is "
            f"{model.paddle[0].name}.",
            "Rename it and its .pdiparams.",
        )


def _name(model: ModelDir) -> Iterator[ModelFinding]:
    if model.name not in ARCHITECTURES:
        fitting = [name for name in ARCHITECTURES if MODELS[name].kind == model.kind]
        yield ModelFinding(
            "warning",
            f"Global.model_name must be an official name for PaddleX. It is {model.name!r}."
            f"{nearest(model.name, ARCHITECTURES)}",
            f"In the configuration file, set it to one of {', '.join(fitting)}.",
        )
    elif MODELS[model.name].kind != model.kind:
        yield ModelFinding(
            "error",
            f"Global.model_name says {model.name}, but the preprocessing is that of a "
            f"{model.kind} model.",
            "Correct the name in the configuration file, or put the right file there.",
        )


def _sizes(model: ModelDir) -> Iterator[ModelFinding]:
    spec = MODELS.get(model.name)
    height, width = model.input_size
    if spec and spec.kind == "keypoint" == model.kind and spec.input_size != model.input_size:
        yield ModelFinding(
            "warning",
            f"{model.name} is published for inputs of {spec.input_size[0]} x "
            f"{spec.input_size[1]}; this one takes {height} x {width} (height x width).",
            "That is right if it was trained so; else correct trainsize, which is [width, height].",
        )
    graph = _graph_size(model)
    if graph is not None and graph != model.input_size:
        yield ModelFinding(
            "error",
            f"The graph takes images of {graph[0]} x {graph[1]}; the preprocessing makes "
            f"{height} x {width} (height x width).",
            "Correct target_size ([height, width]) or trainsize ([width, height]), or export the "
            "model again.",
        )


def _graph_size(model: ModelDir) -> tuple[int, int] | None:
    """The (height, width) that the ONNX graph is fixed to; None if it is not, or not to be had."""
    import onnxruntime

    from kptk.models.onnx import onnx_file

    options = onnxruntime.SessionOptions()
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


def _labels(model: ModelDir) -> Iterator[ModelFinding]:
    if not model.labels:
        yield ModelFinding(
            "warning",
            "label_list is missing: PaddleX's detection needs it."
            if model.kind == "detection"
            else "label_list is missing.",
            "Add label_list: [pedestrian] (a detector) or [keypoint] to the configuration file.",
        )


def _preprocessing(model: ModelDir) -> Iterator[ModelFinding]:
    known = [(_MEAN, _STD)] + [((0,) * 3, (1,) * 3)] * (model.kind == "detection")
    found = (model.mean, model.std)
    if not (model.is_scale and any(np.allclose(found, pair, atol=1e-3) for pair in known)):
        yield ModelFinding(
            "warning",
            "Pixels are normalised in another way than in the published models (mean "
            f"{model.mean}, std {model.std}, {'' if model.is_scale else 'not '}divided by 255).",
            "That is right if the model was trained so.",
        )


def _engines(model: ModelDir, checks: tuple[Check, ...]) -> Iterator[ModelFinding]:
    tried = {check.name.rpartition(" by ")[2] for check in checks}
    untried = [name for name in installed_engines() if name not in tried]
    if untried and tried:
        yield ModelFinding("note", f"Not tried, for lack of its files: {', '.join(untried)}.")


# ---- doctor: What is installed here, what this machine can run, and whether it gives the right
# answers.


# What is asked for → the distributions that provide it.
_REQUIRED: dict[str, tuple[str, ...]] = {
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    "pillow": ("pillow",),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "pydantic": ("pydantic",),
    "ruamel.yaml": ("ruamel.yaml",),
    "pycocotools": ("pycocotools",),
    "matplotlib": ("matplotlib",),
    "ipywidgets": ("ipywidgets",),
}


_OPTIONAL: dict[str, tuple[str, ...]] = {
    "paddlepaddle": ("paddlepaddle", "paddlepaddle-gpu"),
    "paddle2onnx": ("paddle2onnx",),
    "paddledet": ("paddledet",),
    "openvino": ("openvino",),
    "numba": ("numba",),
    "scikit-image": ("scikit-image",),
    "jupyterlab": ("jupyterlab",),
}


_MISSING = "not installed"


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
    import kptk

    versions = Versions(
        kptk=kptk.__version__, python=platform.python_version(), system=platform.platform()
    )
    for name, distributions in (_REQUIRED | _OPTIONAL).items():
        versions[name] = _version(distributions)
    return versions


def optional_parts() -> Versions:
    """Return the versions of the optional packages only."""
    return Versions({name: _version(names) for name, names in _OPTIONAL.items()})


def _version(distributions: tuple[str, ...]) -> str:
    for name in distributions:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return version if name == distributions[0] else f"{version} ({name})"
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
        return {
            "ok": self.ok,
            "versions": dict(self.versions),
            "engines": self.engines,
            "devices": self.devices,
            "checks": [vars(check) for check in self.checks],
        }

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
    from kptk.engines.load import ENGINES

    engines = {name: _devices(name) for name in ENGINES}
    found = Diagnosis(show_versions(), engines, devices_by_kind(engines))
    image = picture()
    for spec in MODELS.values():
        if spec.url is None or official:
            found.checks += try_model(spec.name, image, size=spec.input_size)
    return found


def devices_by_kind(engines: dict[str, str]) -> dict[str, str]:
    """Say for each kind of device which engines find one here.

    Args:
        engines: what each engine says it can use, see `Diagnosis`.

    Returns:
        Kind as in ``device="gpu:0"`` → names of engines; for a kind that is missing, the packages
        to install for it.
    """
    found = {}
    for kind in ("cpu", *ACCELERATORS):
        names = [name for name, text in engines.items() if _finds(text, kind)]
        found[kind] = ", ".join(names) or f"none here; needs {PACKAGES.get(kind, 'onnxruntime')}"
    return found


def _finds(text: str, kind: str) -> bool:
    """Whether an engine's own list names a device of a kind, in its own words for it."""
    own = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "gpu"}
    for entry in text.split(", "):
        name, _, count = entry.partition(" x ")
        if own.get(name, name.partition(".")[0].lower()) == kind and count != "0":
            return True
    return False


def _devices(engine: str) -> str:
    if engine not in installed_engines():
        return _MISSING
    try:
        return {"onnxruntime": _ort_devices, "openvino": _openvino_devices}.get(
            engine, _paddle_devices
        )()
    except Exception as error:  # a broken build may raise anything: that is the diagnosis
        return f"broken: {one_line(error)}"


def _ort_devices() -> str:
    import onnxruntime

    return ", ".join(onnxruntime.get_available_providers())


def _openvino_devices() -> str:
    import openvino

    return ", ".join(openvino.Core().available_devices)


def _paddle_devices() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # paddle's remarks on compilers it does not need here
        import paddle

    from kptk.engines.paddle import paddle_devices

    counts = paddle_devices(paddle)
    return ", ".join(["cpu", *(f"{kind} x {count}" for kind, count in counts.items())])
