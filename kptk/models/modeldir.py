"""A model directory: which files it holds, what its preprocessing is, whose weights those are.

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
from kptk.models.weights import read_pdparams

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
    is_scale: bool = True
    interp: int = 2
    keep_ratio: bool = False
    threshold: float = 0.5
    labels: tuple[str, ...] = ()
    onnx: Path | None = None
    paddle: tuple[Path, Path] | None = None
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
        openvino = self.openvino and (self.openvino, self.openvino.with_suffix(".bin"))
        return self.paddle or openvino or ()

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
        file = _config_file(folder)
        config, steps = _read_config(file)
        if "TopDownEvalAffine" in steps:
            kind, resize = "keypoint", steps["TopDownEvalAffine"]
            width, height = _pair(resize.get("trainsize"), "TopDownEvalAffine.trainsize", file)
        elif "Resize" in steps:  # only this lists height first
            kind, resize = "detection", steps["Resize"]
            height, width = _pair(resize.get("target_size"), "Resize.target_size", file)
        else:
            raise ModelError(
                f"{str(file)!r} must hold a 'Resize' step (a detector) or a 'TopDownEvalAffine' "
                f"step (a keypoint model). It holds {', '.join(steps) or 'no step'}."
            )
        mean: tuple[float, ...] = (0.0,) * 3
        std: tuple[float, ...] = (1.0,) * 3
        is_scale = False
        normalize = steps.get("NormalizeImage")
        if normalize is not None:
            is_scale = bool(normalize.get("is_scale", True))
            if normalize.get("norm_type", "mean_std") != "none":
                mean = _three(normalize.get("mean"), "NormalizeImage.mean", file)
                std = _three(normalize.get("std"), "NormalizeImage.std", file)
                if min(std) <= 0:
                    raise ModelError(
                        f"NormalizeImage.std in {str(file)!r} must be positive. Got {std}."
                    )
        threshold = config.get("draw_threshold", 0.5)
        is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if not is_number or not 0 <= threshold <= 1:
            raise ModelError(f"draw_threshold in {str(file)!r} must be in 0..1. Got {threshold!r}.")
        general, labels = config.get("Global"), config.get("label_list") or ()
        name = general.get("model_name") if isinstance(general, Mapping) else None
        onnx, paddle, openvino = _model_files(folder)
        return cls(
            path=folder,
            kind=kind,
            name=str(name) if name else folder.resolve().name,
            input_size=(height, width),
            mean=mean,
            std=std,
            is_scale=is_scale,
            interp=int(resize.get("interp", 2)),
            keep_ratio=bool(resize.get("keep_ratio", False)),
            threshold=float(threshold),
            labels=(labels,) if isinstance(labels, str) else tuple(map(str, labels)),
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
    # training runs keep the model one level down: say so rather than guess
    below = sorted(file.parent for name in _CONFIG_NAMES for file in folder.glob(f"*/{name}"))
    raise ModelError(
        f"A model directory must hold {' or '.join(_CONFIG_NAMES)}. {str(folder)!r} holds "
        f"{_listing(folder)}.{f' Did you mean {str(below[0])!r}?' if below else ''}"
    )


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more if names else "nothing"


def _read_config(path: Path) -> tuple[Mapping[str, Any], dict[str, Mapping[str, Any]]]:
    """The configuration, and the steps of its preprocessing by their types."""
    try:
        config = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise ModelError(f"{str(path)!r} cannot be read as YAML: {error}") from error
    if not isinstance(config, Mapping):
        raise ModelError(f"{str(path)!r} must hold a mapping with 'Preprocess' in it.")
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
    return config, steps


def _pair(value: Any, what: str, path: Path) -> tuple[int, int]:
    pair = [value, value] if isinstance(value, int) and not isinstance(value, bool) else value
    whole = isinstance(pair, Sequence) and all(isinstance(side, int) and side > 0 for side in pair)
    if not whole or len(pair) != 2:
        raise ModelError(f"{what} in {str(path)!r} must be two positive integers. Got {value!r}.")
    return int(pair[0]), int(pair[1])


def _three(value: Any, what: str, path: Path) -> tuple[float, ...]:
    try:
        numbers = tuple(float(entry) for entry in value)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3:
        raise ModelError(f"{what} in {str(path)!r} must be three numbers (RGB). Got {value!r}.")
    return numbers


def _model_files(folder: Path) -> tuple[Path | None, tuple[Path, Path] | None, Path | None]:
    """The files of ONNX, of Paddle (program, parameters) and of OpenVINO; one at least."""

    def here(names: Sequence[str], other: str = "") -> list[tuple[Path, Path]]:
        files = [folder / name for name in names if (folder / name).is_file()]
        return [(file, file.with_suffix(other or file.suffix)) for file in files]

    onnx = next((file for file, _ in here(_ONNX_NAMES)), None)
    pairs, graphs = here(_PROGRAM_NAMES, ".pdiparams"), here(_OPENVINO_NAMES, ".bin")
    paddle = next((pair for pair in pairs if pair[1].is_file()), None)
    openvino = next((graph for graph, weights in graphs if weights.is_file()), None)
    if onnx is None and paddle is None and openvino is None:
        for half, missing in (*pairs, *graphs):
            raise ModelError(f"{str(folder)!r} holds {half.name} but not {missing.name}.")
        raise ModelError(
            f"A model directory must hold inference.onnx, or inference.json (or .pdmodel) with "
            f"inference.pdiparams, or inference.xml with inference.bin. {str(folder)!r} holds "
            f"{_listing(folder)}."
        )
    return onnx, paddle, openvino


def architecture_of(params: Path, like: str | None) -> str:
    """Tell which official network weights belong to, from ``like``, the path and the weights.

    The stem of CSPResNet has 32 channels times the width: 1 for PP-YOLOE-L, 0.5 for S
    (PaddleDetection, configs/ppyoloe). The two sizes of PP-TinyPose share every shape.

    Raises:
        ModelError: the weights are of none, or of more than one, or not of ``like``.
    """
    shapes = {name: array.shape for name, array in read_pdparams(params).items()}
    stem = shapes.get("backbone.stem.conv1.conv.weight", ())
    if any(name.startswith("yolo_head.") for name in shapes) and stem[:1] in ((16,), (32,)):
        fitting = ["PP-YOLOE-S_human" if stem[0] == 16 else "PP-YOLOE-L_human"]
    elif "final_conv.weight" in shapes and "backbone.stem.conv1.norm.weight" in shapes:
        fitting = ["PP-TinyPose_128x96", "PP-TinyPose_256x192"]
    else:
        raise ModelError(
            f"{str(params)!r} must hold the weights of one of {', '.join(ARCHITECTURES)}. Its "
            f"first parameters are {', '.join(list(shapes)[:3]) or 'none'}."
        )
    if like is not None:
        chosen = MODELS[like].architecture if like in MODELS else like
        if chosen not in fitting:
            raise ModelError(
                f"{str(params)!r} holds weights of {' or '.join(fitting)}, not of {like!r}."
            )
        return chosen
    # the size (128x96) in the file's name or, failing that, in the nearest folder's above it
    parts = (params.stem, *(parent.name for parent in params.resolve().parents))
    named = ([n for n in fitting if n.rpartition("_")[2] in part.lower()] for part in parts)
    candidates = next(filter(None, named), fitting)
    if len(candidates) == 1:
        return candidates[0]
    raise ModelError(
        f"{str(params)!r} fits {' and '.join(candidates)}: their weights have the same shapes. "
        f"Say which with like={candidates[0]!r}, or put the size into the file's name, as in "
        f"'{candidates[0]}.pdparams'."
    )
