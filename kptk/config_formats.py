"""Between PaddleX's two formats of a pipeline's YAML: every setting and its comment go along.

Data here is what ruamel.yaml reads for a round trip: mappings that carry their comments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kptk.catalog import ARCHITECTURES, MODELS
from kptk.config import DET_BATCH_SIZE, KPT_BATCH_SIZE, PIPELINE_NAME
from kptk.errors import ConfigError, ModelError
from kptk.modeldir import ModelDir

KINDS = ("detection", "keypoint")
OLD_KEYS = {"detection": "human_det_model", "keypoint": "keypoint_det_model"}
NEW_KEYS = {"detection": "ObjectDetection", "keypoint": "KeypointDetection"}

_SHARED = ("device", "engine", "channel_order")
_THRESHOLD = 0.5  # every named model's own, see draw_threshold in its inference.yml


def to_new(data: Any, folder: Path | None) -> Any:
    """The same pipeline in the new format.

    Args:
        data: a file in the old format.
        folder: where its relative paths start; None: the working directory only.

    Raises:
        ConfigError: a model is not text.
        ModelError: a model directory is broken or not named as PaddleX wants.
    """
    from ruamel.yaml.comments import CommentedMap

    old = data["Pipeline"]
    general = data.get("Global") or {}
    new = CommentedMap(pipeline_name=PIPELINE_NAME)
    if general.get("input") is not None:
        new.yaml_set_comment_before_after_key(
            "pipeline_name", before=f"Global.input of the old file: {general['input']}"
        )
    modules = CommentedMap()
    for kind, module, batch, default in (
        ("detection", "object_detection", "human_det_batch_size", DET_BATCH_SIZE),
        ("keypoint", "keypoint_detection", "keypoint_det_batch_size", KPT_BATCH_SIZE),
    ):
        key = OLD_KEYS[kind]
        part = CommentedMap(module_name=module)
        part["model_name"], part["model_dir"] = _name_and_dir(old, key, kind, folder)
        part["batch_size"] = old.get(batch, default)
        _copy_comment(old, key, part, "model_name")
        _copy_comment(old, batch, part, "batch_size")
        modules[NEW_KEYS[kind]] = part
    new["SubModules"] = modules
    for key in _SHARED:
        if key in old:
            new[key] = old[key]
            _copy_comment(old, key, new, key)
    return new


def to_old(data: Any, folder: Path | None, chosen: dict[str, ModelDir | str]) -> Any:
    """The same pipeline in the old format.

    Args:
        data: a file in the new format.
        folder: where its relative paths start; None: the working directory only.
        chosen: models by kind that will replace those of the file.

    Raises:
        ConfigError: the file has a setting that the old format has no place for.
    """
    from ruamel.yaml.comments import CommentedMap

    det, kpt = (data["SubModules"][NEW_KEYS[kind]] for kind in KINDS)
    _refuse_loss(det, kpt, _own_threshold(det.get("model_dir"), folder, chosen.get("detection")))
    old = CommentedMap()
    for kind, part in (("detection", det), ("keypoint", kpt)):
        old[OLD_KEYS[kind]] = part.get("model_dir") or part.get("model_name")
        _copy_comment(part, "model_name", old, OLD_KEYS[kind])
    for key, part in (("human_det_batch_size", det), ("keypoint_det_batch_size", kpt)):
        old[key] = part.get("batch_size", KPT_BATCH_SIZE if part is kpt else DET_BATCH_SIZE)
        _copy_comment(part, "batch_size", old, key)
    for key in _SHARED:
        if key in data:
            old[key] = data[key]
            _copy_comment(data, key, old, key)
    return CommentedMap(Pipeline=old)


def official_name(model: ModelDir, current: object) -> str:
    """The name that PaddleX wants beside ``model_dir``: equal to the directory's own."""
    if model.name in ARCHITECTURES:
        return model.name
    if model.name != model.path.resolve().name:  # else it names no model, and PaddleX takes any
        raise ModelError(
            f"Global.model_name in the inference.yml of {str(model.path)!r} must be the official "
            f"name of its network, since PaddleX refuses others: {', '.join(ARCHITECTURES)}. "
            f"Got {model.name!r}."
        )
    fitting = [
        name
        for name in ARCHITECTURES
        if MODELS[name].kind == model.kind
        and (model.kind == "detection" or MODELS[name].input_size == model.input_size)
    ]
    now = MODELS[current].architecture if isinstance(current, str) and current in MODELS else None
    if now in fitting:
        return str(now)
    return fitting[-1] if fitting else str(now or current)


def find_beside(value: str, folder: Path | None) -> Path | None:
    """A model directory as ``load_config`` finds it: beside the file, then from here."""
    places = [place / Path(value).expanduser() for place in (folder, Path.cwd()) if place]
    return next((place for place in places if place.exists()), None)


def _name_and_dir(old: Any, key: str, kind: str, folder: Path | None) -> tuple[str, str | None]:
    value = old.get(key)
    if not isinstance(value, str):
        raise ConfigError(f"{key} must be a model's name or directory. Got {value!r}.")
    if value in MODELS:
        return value, None
    found = find_beside(value, folder)
    if found is None:  # no harm if it is swapped; else the check at the end tells
        return next(name for name in ARCHITECTURES if MODELS[name].kind == kind), value
    return official_name(ModelDir.open(found), None), value


def _own_threshold(value: object, folder: Path | None, chosen: ModelDir | str | None) -> float:
    """The score threshold that the detector has without being told."""
    if isinstance(chosen, ModelDir):
        return chosen.threshold
    found = find_beside(value, folder) if isinstance(value, str) and chosen is None else None
    return ModelDir.open(found).threshold if found else _THRESHOLD


def _refuse_loss(det: Any, kpt: Any, own: float) -> None:
    """The old format knows no threshold, image size, flip or UDP: only the models' own."""
    lost = {
        "threshold": det.get("threshold") not in (None, own),
        "img_size": det.get("img_size") is not None,
        "flip": bool(kpt.get("flip")),
        "use_udp": bool(kpt.get("use_udp")),
    }
    if any(lost.values()):
        names = ", ".join(name for name, is_lost in lost.items() if is_lost)
        raise ConfigError(
            f"PaddleX's old format has no place for {names}. Take the setting out of the file "
            "first, or keep the new format."
        )


def _copy_comment(source: Any, key: str, target: Any, to: str) -> None:
    """Move the comment at the end of a line; ruamel keeps it as the third token of a key."""
    tokens = source.ca.items.get(key)
    if tokens and tokens[2] is not None:
        text = tokens[2].value.splitlines()[0].strip()
        if text.startswith("#"):
            target.yaml_add_eol_comment(text, to)
