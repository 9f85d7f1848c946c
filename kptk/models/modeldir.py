"""A model directory, understood: which files it holds and what its preprocessing is.

Two spellings of the same thing exist. PaddleX writes ``inference.yml`` beside ``inference.json``
(older: ``inference.pdmodel``) and ``inference.pdiparams``; PaddleDetection writes
``infer_cfg.yml`` beside ``model.pdmodel`` and ``model.pdiparams``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from kptk.errors import ModelError
from kptk.models.catalog import ARCHITECTURES, MODELS

KINDS = ("detection", "keypoint")


_CONFIG_NAMES = ("inference.yml", "infer_cfg.yml")


_PROGRAM_NAMES = ("inference.json", "inference.pdmodel", "model.json", "model.pdmodel")


_ONNX_NAMES = ("inference.onnx", "model.onnx")


_OPENVINO_NAMES = ("inference.xml", "model.xml")  # with a .bin


# A step that kptk does not know would silently change the numbers, so it is refused.
_KNOWN_STEPS = ("Resize", "TopDownEvalAffine", "NormalizeImage", "Permute")


@dataclass(frozen=True)
class ModelDir:
    """What a model directory says about its model.

    Attributes:
        path: the directory.
        kind: ``"detection"`` or ``"keypoint"``.
        name: ``Global.model_name`` of the configuration, or the directory's name.
        input_size: (height, width) in pixels of the network's input.
        mean: RGB mean subtracted after scaling.
        std: RGB standard deviation divided by after that.
        is_scale: pixels are divided by 255 first.
        interp: OpenCV's interpolation flag of the detector's resize.
        keep_ratio: the detector's resize keeps the aspect ratio.
        threshold: the detector's default score threshold.
        labels: class names.
        onnx: the ONNX file beside the configuration, or None.
        paddle: (program, parameters) of the Paddle model, or None.
        openvino: the .xml of OpenVINO's own format, whose weights are in a .bin, or None.
    """

    path: Path
    kind: str
    name: str
    input_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    is_scale: bool
    interp: int
    keep_ratio: bool
    threshold: float
    labels: tuple[str, ...]
    onnx: Path | None
    paddle: tuple[Path, Path] | None
    openvino: Path | None = None

    @property
    def config(self) -> Path:
        """The configuration file."""
        return _config_file(self.path)

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files that make the network what it is, of one format; none: ()."""
        if self.onnx is not None:
            return (self.onnx,)
        if self.paddle is not None:
            return self.paddle
        if self.openvino is not None:
            return (self.openvino, self.openvino.with_suffix(".bin"))
        return ()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ModelDir:
        """Read a model directory.

        Args:
            path: a folder in PaddleX's or PaddleDetection's file names.

        Raises:
            ModelError: no such folder, files are missing, or its configuration says something
                that kptk cannot carry out.
        """
        folder = Path(path).expanduser()
        config_path = _config_file(folder)
        config = _read_config(config_path)
        steps = _steps(config, config_path)
        kind, size, resize = _geometry(steps, config_path)
        mean, std, is_scale = _normalisation(steps, config_path)
        onnx, paddle, openvino = _model_files(folder)
        return cls(
            path=folder,
            kind=kind,
            name=_name(config, folder),
            input_size=size,
            mean=mean,
            std=std,
            is_scale=is_scale,
            interp=int(resize.get("interp", 2)),
            keep_ratio=bool(resize.get("keep_ratio", False)),
            threshold=_threshold(config, config_path),
            labels=_labels(config),
            onnx=onnx,
            paddle=paddle,
            openvino=openvino,
        )


def _config_file(folder: Path) -> Path:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ModelError(f"A model directory must be a folder. {str(folder)!r} {what}.")
    for name in _CONFIG_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(
        f"A model directory must hold {' or '.join(_CONFIG_NAMES)}. {str(folder)!r} holds "
        f"{_listing(folder)}.{_hint(folder)}"
    )


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more if names else "nothing"


def _hint(folder: Path) -> str:
    """Training runs keep the model one level down: say so rather than guess."""
    for child in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        if any((child / name).is_file() for name in _CONFIG_NAMES):
            return f" Did you mean {str(child)!r}?"
    return ""


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise ModelError(f"{str(path)!r} cannot be read as YAML: {error}") from error
    if not isinstance(config, Mapping):
        raise ModelError(f"{str(path)!r} must hold a mapping with 'Preprocess' in it.")
    return config


def _steps(config: Mapping[str, Any], path: Path) -> dict[str, Mapping[str, Any]]:
    listed = config.get("Preprocess")
    if not isinstance(listed, Sequence) or not all(
        isinstance(step, Mapping) and "type" in step for step in listed
    ):
        raise ModelError(f"{str(path)!r} must hold 'Preprocess', a list of steps with a 'type'.")
    steps = {str(step["type"]): step for step in listed}
    unknown = sorted(set(steps) - set(_KNOWN_STEPS))
    if unknown:
        raise ModelError(
            f"{str(path)!r} asks for the preprocessing step {unknown[0]!r}; kptk knows "
            f"{', '.join(_KNOWN_STEPS)} (PP-YOLOE and PP-TinyPose)."
        )
    return steps


def _geometry(
    steps: Mapping[str, Mapping[str, Any]], path: Path
) -> tuple[str, tuple[int, int], Mapping[str, Any]]:
    """Return (kind, (height, width), the resize step); only Resize lists height first."""
    if "TopDownEvalAffine" in steps:
        step = steps["TopDownEvalAffine"]
        width, height = _pair(step.get("trainsize"), "TopDownEvalAffine.trainsize", path)
        return "keypoint", (height, width), step
    if "Resize" in steps:
        step = steps["Resize"]
        height, width = _pair(step.get("target_size"), "Resize.target_size", path)
        return "detection", (height, width), step
    raise ModelError(
        f"{str(path)!r} must hold a 'Resize' step (a detector) or a 'TopDownEvalAffine' step "
        f"(a keypoint model). It holds {', '.join(steps) or 'no step'}."
    )


def _pair(value: Any, what: str, path: Path) -> tuple[int, int]:
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value, value]
    if (
        not isinstance(value, Sequence)
        or len(value) != 2
        or not all(isinstance(side, int) and side > 0 for side in value)
    ):
        raise ModelError(f"{what} in {str(path)!r} must be two positive integers. Got {value!r}.")
    return int(value[0]), int(value[1])


def _normalisation(
    steps: Mapping[str, Mapping[str, Any]], path: Path
) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    step = steps.get("NormalizeImage")
    if step is None:
        return (0.0,) * 3, (1.0,) * 3, False
    is_scale = bool(step.get("is_scale", True))
    if step.get("norm_type", "mean_std") == "none":
        return (0.0,) * 3, (1.0,) * 3, is_scale
    mean = _three(step.get("mean"), "NormalizeImage.mean", path)
    std = _three(step.get("std"), "NormalizeImage.std", path)
    if min(std) <= 0:
        raise ModelError(f"NormalizeImage.std in {str(path)!r} must be positive. Got {std}.")
    return mean, std, is_scale


def _three(value: Any, what: str, path: Path) -> tuple[float, ...]:
    try:
        numbers = tuple(float(entry) for entry in value)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3:
        raise ModelError(f"{what} in {str(path)!r} must be three numbers (RGB). Got {value!r}.")
    return numbers


def _threshold(config: Mapping[str, Any], path: Path) -> float:
    value = config.get("draw_threshold", 0.5)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ModelError(f"draw_threshold in {str(path)!r} must be in 0..1. Got {value!r}.")
    return float(value)


def _name(config: Mapping[str, Any], folder: Path) -> str:
    general = config.get("Global")
    name = general.get("model_name") if isinstance(general, Mapping) else None
    return str(name) if name else folder.resolve().name


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    listed = config.get("label_list") or ()
    return (listed,) if isinstance(listed, str) else tuple(str(label) for label in listed)


def _model_files(folder: Path) -> tuple[Path | None, tuple[Path, Path] | None, Path | None]:
    onnx = next((folder / n for n in _ONNX_NAMES if (folder / n).is_file()), None)
    programs = [folder / name for name in _PROGRAM_NAMES if (folder / name).is_file()]
    paddle = next(
        ((p, p.with_suffix(".pdiparams")) for p in programs if _params_of(p).is_file()), None
    )
    graphs = [folder / name for name in _OPENVINO_NAMES if (folder / name).is_file()]
    openvino = next((graph for graph in graphs if graph.with_suffix(".bin").is_file()), None)
    if onnx is None and paddle is None and openvino is None:
        raise _no_model(folder, [*programs, *graphs])
    return onnx, paddle, openvino


def _no_model(folder: Path, halves: list[Path]) -> ModelError:
    if halves:
        other = ".bin" if halves[0].suffix == ".xml" else ".pdiparams"
        missing = halves[0].with_suffix(other).name
        return ModelError(f"{str(folder)!r} holds {halves[0].name} but not {missing}.")
    return ModelError(
        f"A model directory must hold inference.onnx, or inference.json (or .pdmodel) with "
        f"inference.pdiparams, or inference.xml with inference.bin. {str(folder)!r} holds "
        f"{_listing(folder)}."
    )


def _params_of(program: Path) -> Path:
    return program.with_suffix(".pdiparams")


# ---- architecture: Which official network a file of training weights belongs to.


def architecture_of(params: Path, like: str | None) -> str:
    """Tell which official network weights belong to, from ``like``, the path and the weights."""
    fitting = _fitting_architectures(params)
    if like is not None:
        chosen = MODELS[like].architecture if like in MODELS else like
        if chosen not in fitting:
            raise ModelError(
                f"{str(params)!r} holds weights of {' or '.join(fitting)}, not of {like!r}."
            )
        return chosen
    named = [name for name in fitting if name in _names_in_path(params, fitting)]
    candidates = named or list(fitting)
    if len(candidates) == 1:
        return candidates[0]
    raise ModelError(
        f"{str(params)!r} fits {' and '.join(candidates)}: their weights have the same shapes. "
        f"Say which with like={candidates[0]!r}, or put the size into the file's name, as in "
        f"'{candidates[0]}.pdparams'."
    )


def _names_in_path(params: Path, fitting: tuple[str, ...]) -> set[str]:
    """Official names whose size (``128x96``) is in the file's name or, failing that, above it."""
    for part in (params.stem, *(parent.name for parent in params.resolve().parents)):
        found = {name for name in fitting if name.rpartition("_")[2] in part.lower()}
        if found:
            return found
    return set()


def _fitting_architectures(params: Path) -> tuple[str, ...]:
    """Return the official networks whose parameters look like these.

    The stem of CSPResNet has 32 channels times the width: 1 for PP-YOLOE-L, 0.5 for S
    (PaddleDetection, configs/ppyoloe). The two sizes of PP-TinyPose share every shape.
    """
    from kptk.models.weights import read_pdparams

    shapes = {name: array.shape for name, array in read_pdparams(params).items()}
    stem = shapes.get("backbone.stem.conv1.conv.weight", ())
    if any(name.startswith("yolo_head.") for name in shapes) and stem[:1] in ((16,), (32,)):
        return ("PP-YOLOE-S_human",) if stem[0] == 16 else ("PP-YOLOE-L_human",)
    if "final_conv.weight" in shapes and "backbone.stem.conv1.norm.weight" in shapes:
        return ("PP-TinyPose_128x96", "PP-TinyPose_256x192")
    raise ModelError(
        f"{str(params)!r} must hold the weights of one of {', '.join(ARCHITECTURES)}. Its first "
        f"parameters are {', '.join(list(shapes)[:3]) or 'none'}."
    )
