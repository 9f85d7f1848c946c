"""A model directory looked over before it goes anywhere: ``kptk.check_model``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kptk.catalog import ARCHITECTURES, MODELS
from kptk.errors import KptkError, nearest
from kptk.modeldir import ModelDir
from kptk.trial import Check, installed_engines, one_line, picture
from kptk.trial import check_model as try_model

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
    from kptk.zoo import find_model

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

    from kptk.onnx_export import onnx_file

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
