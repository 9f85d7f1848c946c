"""Pipeline YAML files, in both of PaddleX's formats, read into one record.

Old (the tutorial's): ``Pipeline: {human_det_model, keypoint_det_model, ...}``. New (PaddleX 3.x):
``SubModules: {ObjectDetection: {...}, KeypointDetection: {...}}``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kptk.errors import ConfigError, ModelError, nearest
from kptk.files import replacing
from kptk.models.catalog import ARCHITECTURES, MODELS
from kptk.models.modeldir import ModelDir

if TYPE_CHECKING:
    from ruamel.yaml import YAML


PIPELINE_NAME = "human_keypoint_detection"


BUILTIN_CONFIGS = ("demo", PIPELINE_NAME)


DET_BATCH_SIZE = 1


KPT_BATCH_SIZE = 16


EngineName = Literal["auto", "onnxruntime", "openvino", "paddle"]


ChannelOrder = Literal["rgb", "bgr"]


BatchSize = Annotated[int, Field(ge=1)]


Threshold = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True)
class PipelineConfig:
    """What a pipeline is made of.

    Attributes:
        det_model: name or model directory of the detector.
        kpt_model: name or model directory of the keypoint model.
        det_batch_size: images to a call of the detector.
        kpt_batch_size: people to a call of the keypoint model.
        det_threshold: lowest score of a person, 0 to 1; None: the detector's own.
        det_img_size: (height, width) the file asks for; None: the detector's own.
        flip: average keypoints with those of the mirrored person.
        udp: crop with unbiased data processing.
        device: ``"cpu"``, ``"gpu:0"``, ...; None: the file does not say.
        engine: ``"auto"``, ``"onnxruntime"``, ``"openvino"`` or ``"paddle"``.
        channel_order: of arrays handed in, ``"rgb"`` or ``"bgr"``.
        path: the file it came from; None for the built-in ones.
    """

    det_model: str
    kpt_model: str
    det_batch_size: int = DET_BATCH_SIZE
    kpt_batch_size: int = KPT_BATCH_SIZE
    det_threshold: float | None = None
    det_img_size: tuple[int, int] | None = None
    flip: bool = False
    udp: bool = False
    device: str | None = None
    engine: EngineName = "auto"
    channel_order: ChannelOrder = "rgb"
    path: Path | None = None


class _Schema(BaseModel):
    """Field names are the files' own keys, hence their spelling."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _OldGlobal(_Schema):
    pipeline_name: Literal["human_keypoint_detection"] = "human_keypoint_detection"
    input: Any = None  # PaddleX's example picture: what to predict is said in the call


class _OldPipeline(_Schema):
    human_det_model: str
    keypoint_det_model: str
    human_det_batch_size: BatchSize = DET_BATCH_SIZE
    keypoint_det_batch_size: BatchSize = KPT_BATCH_SIZE
    device: str | None = None
    engine: EngineName = "auto"
    channel_order: ChannelOrder = "rgb"


class _OldFile(_Schema):
    Pipeline: _OldPipeline
    Global: _OldGlobal | None = None


class _ObjectDetection(_Schema):
    module_name: Literal["object_detection"] = "object_detection"
    model_name: str
    model_dir: str | None = None
    batch_size: BatchSize = DET_BATCH_SIZE
    threshold: Threshold | None = None
    img_size: int | list[int] | None = None


class _KeypointDetection(_Schema):
    module_name: Literal["keypoint_detection"] = "keypoint_detection"
    model_name: str
    model_dir: str | None = None
    batch_size: BatchSize = KPT_BATCH_SIZE
    flip: bool = False
    use_udp: bool | None = None


class _SubModules(_Schema):
    ObjectDetection: _ObjectDetection
    KeypointDetection: _KeypointDetection


class _NewFile(_Schema):
    pipeline_name: Literal["human_keypoint_detection"]
    SubModules: _SubModules
    device: str | None = None
    engine: EngineName = "auto"
    channel_order: ChannelOrder = "rgb"


File = TypeVar("File", bound=_Schema)


def load_config(name_or_path: str | os.PathLike[str]) -> PipelineConfig:
    """Read a pipeline's configuration.

    Model directories that are relative are looked for in the file's own folder, then in the
    working directory, and become absolute.

    Args:
        name_or_path: ``"demo"``, ``"human_keypoint_detection"``, or a YAML file in PaddleX's old
            or new format.

    Raises:
        ConfigError: no such name or file, not YAML, an unknown key, a wrong value, or a model
            directory that is not there.
    """
    text = os.fspath(name_or_path)
    if text in BUILTIN_CONFIGS:
        return _parse(builtin_config(text), source=f"kptk's {text}.yaml", path=None)
    path = Path(text).expanduser()
    return _parse(_read(path), source=str(path), path=path.absolute())


def builtin_config(name: str) -> str:
    """Text of a configuration that comes with kptk, comments included.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in BUILTIN_CONFIGS:
        raise ConfigError(_unknown(name))
    file = resources.files("kptk") / "configs" / f"{name}.yaml"
    return file.read_text(encoding="utf-8")


def _unknown(name: str) -> str:
    known = " or ".join(map(repr, BUILTIN_CONFIGS))
    return (
        f"A pipeline is {known}, or the path of a YAML file. Got {name!r}."
        f"{nearest(name, BUILTIN_CONFIGS)}"
    )


def _read(path: Path) -> str:
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read as UTF-8 text: {error}") from error
    if path.is_dir():
        raise ConfigError(f"A pipeline's YAML file is needed. {path} is a folder.")
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(_unknown(str(path)))
    beside = path.parent.glob("*.y*ml") if path.parent.is_dir() else ()
    hint = nearest(path.name, [other.name for other in beside])
    raise ConfigError(f"There is no file {path.absolute()}.{hint}")


def _parse(text: str, *, source: str, path: Path | None) -> PipelineConfig:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(data, Mapping):
        raise ConfigError(f"{source} must hold a mapping with 'Pipeline' or 'SubModules'.")
    folders = [path.parent] if path else []
    folders.append(Path.cwd())
    if "Pipeline" in data and "SubModules" not in data:
        return _from_old(_validate(_OldFile, data, source), folders, path, source)
    if "SubModules" in data and "Pipeline" not in data:
        return _from_new(_validate(_NewFile, data, source), folders, path, source)
    raise ConfigError(
        f"{source} must have either 'Pipeline' (PaddleX's old format) or 'SubModules' (its new "
        f"one) at the top. It has {', '.join(map(str, data)) or 'nothing'}."
    )


def _validate(schema: type[File], data: Any, source: str) -> File:
    _check_keys(schema, data, source)
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{where} in {source}: {first['msg']}. Got {first['input']!r}."
        ) from error


def _check_keys(schema: type[BaseModel], data: Any, where: str) -> None:
    """Refuse keys that would be ignored, and name the nearest that would not."""
    if not isinstance(data, Mapping):
        return
    for key, value in data.items():
        if key not in schema.model_fields:
            raise ConfigError(
                f"{where} has an unknown key {key!r}.{nearest(str(key), schema.model_fields)} "
                f"Known: {', '.join(schema.model_fields)}."
            )
        inner = _inner_schema(schema.model_fields[key].annotation)
        if inner:
            _check_keys(inner, value, f"{key} in {where}")


def _inner_schema(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _from_old(
    file: _OldFile, folders: list[Path], path: Path | None, source: str
) -> PipelineConfig:
    old = file.Pipeline
    return PipelineConfig(
        det_model=_locate(old.human_det_model, folders, f"human_det_model in {source}"),
        kpt_model=_locate(old.keypoint_det_model, folders, f"keypoint_det_model in {source}"),
        det_batch_size=old.human_det_batch_size,
        kpt_batch_size=old.keypoint_det_batch_size,
        device=_device(old.device, source),
        engine=old.engine,
        channel_order=old.channel_order,
        path=path,
    )


def _from_new(
    file: _NewFile, folders: list[Path], path: Path | None, source: str
) -> PipelineConfig:
    det, kpt = file.SubModules.ObjectDetection, file.SubModules.KeypointDetection
    return PipelineConfig(
        det_model=_choose(det.model_name, det.model_dir, folders, f"ObjectDetection in {source}"),
        kpt_model=_choose(kpt.model_name, kpt.model_dir, folders, f"KeypointDetection in {source}"),
        det_batch_size=det.batch_size,
        kpt_batch_size=kpt.batch_size,
        det_threshold=det.threshold,
        det_img_size=_img_size(det.img_size, source),
        flip=kpt.flip,
        udp=bool(kpt.use_udp),
        device=_device(file.device, source),
        engine=file.engine,
        channel_order=file.channel_order,
        path=path,
    )


def _choose(name: str, folder: str | None, folders: Iterable[Path], where: str) -> str:
    """The model directory if there is one, else the name."""
    if folder is None:
        return _locate(name, folders, f"model_name of {where}")
    found = _find(folder, folders)
    if found is None:
        raise ConfigError(_missing(folder, folders, f"model_dir of {where}"))
    return found


def _locate(value: str, folders: Iterable[Path], where: str) -> str:
    """A name stays as it is, a path becomes absolute."""

    if value in MODELS:
        return value
    found = _find(value, folders)
    if found is None and ("/" in value or "\\" in value):
        raise ConfigError(_missing(value, folders, where))
    if found is None:
        raise ConfigError(
            f"{where} must be a model's name or directory. Got {value!r}.{nearest(value, MODELS)}"
            f" Names: {', '.join(MODELS)}."
        )
    return found


def _find(value: str, folders: Iterable[Path]) -> str | None:
    for folder in folders:
        candidate = folder / Path(value).expanduser()
        if candidate.exists():
            return str(candidate.resolve())
    return None


def _missing(value: str, folders: Iterable[Path], where: str) -> str:
    tried = dict.fromkeys(str(folder / Path(value).expanduser()) for folder in folders)
    return f"{where} must exist. Got {value!r}; looked for {' and '.join(tried)}."


def _img_size(value: int | list[int] | None, source: str) -> tuple[int, int] | None:
    sizes = [value, value] if isinstance(value, int) else value
    if sizes is None:
        return None
    if len(sizes) != 2 or min(sizes) < 1:
        raise ConfigError(
            f"img_size in {source} must be one number or [height, width]. Got {value!r}."
        )
    return sizes[0], sizes[1]


def _device(value: str | None, source: str) -> str | None:
    """Check the form only: whether this machine has it shows when the models are loaded."""
    from kptk.engines.base import join_devices, parse_devices
    from kptk.errors import DeviceError

    if value is None:
        return None
    try:
        return join_devices(parse_devices(value))
    except DeviceError as error:
        raise ConfigError(f"device in {source}: {error}") from error


# ---- config_formats: Between PaddleX's two formats of a pipeline's YAML: every setting and its
# comment go along.
#
# Data here is what ruamel.yaml reads for a round trip: mappings that carry their comments.


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


# ---- swap: New weights into a pipeline's YAML file, in either of PaddleX's formats.
#
# The file is edited, not written anew: comments, order and every other setting stay.


Format = Literal["old", "new"]


StrPath = str | os.PathLike[str]


def swap_weights(
    source: StrPath,
    *,
    human_det_model: StrPath | None = None,
    keypoint_det_model: StrPath | None = None,
    save_path: StrPath,
    relative: bool = False,
    overwrite: bool = False,
    to_format: Format | None = None,
) -> Path:
    """Put other models into a pipeline's configuration and save it.

    Args:
        source: a YAML file in PaddleX's old or new format, or ``"demo"`` or
            ``"human_keypoint_detection"``.
        human_det_model: model directory of a detector, or a name as in ``kptk.list_models()``;
            None keeps the one that is there.
        keypoint_det_model: the same of a keypoint model.
        save_path: the YAML file to write; may be ``source`` with ``overwrite=True``.
        relative: write model directories relative to the folder of ``save_path``. kptk finds them
            from everywhere; PaddleX only when it is started in that folder.
        overwrite: replace ``save_path`` if it exists.
        to_format: ``"new"`` for PaddleX 3.x, ``"old"`` for the earlier one; None keeps the format.

    Returns:
        ``save_path``.

    Raises:
        ConfigError: the source cannot be used, the target exists, or a setting of the new format
            has no place in the old one.
        ModelError: a model directory is missing, broken, of the other kind, or named as PaddleX
            would refuse it.
    """
    target = _target(save_path, overwrite)
    wanted = {"detection": human_det_model, "keypoint": keypoint_det_model}
    if to_format not in (None, "old", "new"):
        raise ConfigError(f"to_format must be 'old', 'new' or None. Got {to_format!r}.")
    if to_format is None and not any(wanted.values()):
        raise ConfigError(
            "There is nothing to change: give human_det_model, keypoint_det_model or to_format."
        )
    chosen = {kind: _check_model(model, kind) for kind, model in wanted.items() if model}
    text, folder = _source_text(source)
    yaml = _yaml(text)
    data, form = _load(yaml, text, os.fspath(source))
    if to_format not in (None, form):
        data = to_new(data, folder) if form == "old" else to_old(data, folder, chosen)
    for kind in KINDS:
        if kind in chosen:
            _set_model(data, kind, chosen[kind], target, relative)
        else:
            _move_path(data, kind, folder, target, relative)
    _save(yaml, data, target)
    return target


def _target(save_path: StrPath, overwrite: bool) -> Path:
    target = Path(save_path).expanduser()
    if target.suffix.lower() not in (".yaml", ".yml") or target.is_dir():
        raise ConfigError(f"save_path must be a file that ends in .yaml. Got {str(target)!r}.")
    if target.exists() and not overwrite:
        raise ConfigError(
            f"{target} exists already. Choose another save_path, or replace it with "
            "overwrite=True (kptk swap --force)."
        )
    return target


def _check_model(model: StrPath, kind: str) -> ModelDir | str:
    """The model as a checked directory, or its name."""
    name = os.fspath(model)
    if name in MODELS:
        found = MODELS[name].kind
    elif "/" not in name and os.sep not in name and not Path(name).exists():
        raise ModelError(
            f"{OLD_KEYS[kind]} must be a model directory or a name. Got {name!r}."
            f"{nearest(name, MODELS)} The names are {', '.join(MODELS)}."
        )
    else:
        opened = ModelDir.open(name)
        found = opened.kind
    if found != kind:
        raise ModelError(
            f"{OLD_KEYS[kind]} must be a {kind} model. {name!r} is a {found} model: it belongs "
            f"to {OLD_KEYS[found]}."
        )
    return name if name in MODELS else opened


def _source_text(source: StrPath) -> tuple[str, Path | None]:
    """The YAML text, and the folder that its relative paths start from."""
    name = os.fspath(source)
    if name in BUILTIN_CONFIGS:
        return builtin_config(name), None
    path = Path(name).expanduser()
    try:
        return path.read_text(encoding="utf-8-sig"), path.absolute().parent
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"The pipeline's YAML file {name!r} cannot be read: {reason}."
            f"{nearest(name, BUILTIN_CONFIGS)}"
        ) from error


def _yaml(text: str) -> YAML:
    """A round-trip reader and writer that keeps the indentation, quotes and ``null`` of a text."""
    from ruamel.yaml import YAML
    from ruamel.yaml.representer import RoundTripRepresenter

    class _Representer(RoundTripRepresenter):
        def represent_none(self, data: None) -> Any:
            return self.represent_scalar("tag:yaml.org,2002:null", "null")

    _Representer.add_representer(type(None), _Representer.represent_none)
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 4096
    step = re.search(r"^( +)\S", text, re.MULTILINE)
    yaml.indent(mapping=len(step[1]) if step else 2)
    return yaml


def _load(yaml: YAML, text: str, source: str) -> tuple[Any, Format]:
    from ruamel.yaml.error import YAMLError

    try:
        data = yaml.load(text)
    except YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from error
    if isinstance(data, dict) and isinstance(data.get("Pipeline"), dict):
        return data, "old"
    modules = data.get("SubModules") if isinstance(data, dict) else None
    if isinstance(modules, dict) and all(
        isinstance(modules.get(key), dict) for key in NEW_KEYS.values()
    ):
        return data, "new"
    raise ConfigError(
        f"{source} must hold 'Pipeline' (PaddleX's old format), or 'SubModules' with "
        "'ObjectDetection' and 'KeypointDetection' (its new one)."
    )


def _set_model(data: Any, kind: str, model: ModelDir | str, target: Path, relative: bool) -> None:
    written = model if isinstance(model, str) else _written(model.path, target, relative)
    if "Pipeline" in data:
        data["Pipeline"][OLD_KEYS[kind]] = written
        return
    module = data["SubModules"][NEW_KEYS[kind]]
    if isinstance(model, str):
        module["model_name"], module["model_dir"] = model, None
        return
    module["model_name"] = official_name(model, module.get("model_name"))
    if "model_dir" in module:
        module["model_dir"] = written
    else:
        module.insert(list(module).index("model_name") + 1, "model_dir", written)


def _written(path: Path, target: Path, relative: bool) -> str:
    """How a model directory is spelled in the file."""
    absolute = path.expanduser().absolute()
    if not relative:
        return str(absolute)
    try:
        found = os.path.relpath(absolute.resolve(), target.absolute().parent.resolve())
    except ValueError as error:
        raise ConfigError(
            f"{absolute} has no path relative to {target}: they are on two drives."
        ) from error
    spelled = Path(found).as_posix()
    return spelled if spelled.startswith("../") else f"./{spelled}"  # never taken for a name


def _move_path(data: Any, kind: str, folder: Path | None, target: Path, relative: bool) -> None:
    """Keep a model that is not swapped reachable from the new file's folder."""
    new = "SubModules" in data
    section = data["SubModules"][NEW_KEYS[kind]] if new else data["Pipeline"]
    keys = ("model_dir", "model_name") if new else (OLD_KEYS[kind],)
    key = next((key for key in keys if section.get(key)), None)
    value = section.get(key) if key else None
    if not isinstance(value, str) or (value in MODELS and key != "model_dir"):
        return
    if os.path.isabs(value) or (folder and folder.resolve() == target.absolute().parent.resolve()):
        return
    found = find_beside(value, folder)
    if found is not None:
        section[key] = _written(found, target, relative)


def _save(yaml: YAML, data: Any, target: Path) -> None:
    """Write, read again, and only then rename into place."""
    out = StringIO()
    yaml.dump(data, out)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_text(out.getvalue(), encoding="utf-8")
            _check_result(temporary, target)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror or error}.") from error


def _check_result(temporary: Path, target: Path) -> None:
    try:
        config = load_config(temporary)
    except ConfigError as error:
        raise ConfigError(str(error).replace(str(temporary), str(target))) from error
    for model, kind in ((config.det_model, "detection"), (config.kpt_model, "keypoint")):
        _check_model(model, kind)
