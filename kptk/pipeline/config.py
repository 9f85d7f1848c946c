"""Pipeline YAML files, in both of PaddleX's formats: read into one record, and given new weights.

Old (the tutorial's): ``Pipeline: {human_det_model, keypoint_det_model, ...}``. New (PaddleX 3.x):
``SubModules: {ObjectDetection: {...}, KeypointDetection: {...}}``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from kptk.engines.base import join_devices, parse_devices
from kptk.errors import ConfigError, DeviceError, ModelError, nearest
from kptk.files import writing
from kptk.models.catalog import ARCHITECTURES, MODELS
from kptk.models.modeldir import ModelDir

PIPELINE_NAME = "human_keypoint_detection"
BUILTIN_CONFIGS = ("demo", PIPELINE_NAME)
DET_BATCH_SIZE = 1
KPT_BATCH_SIZE = 16

EngineName = Literal["auto", "onnxruntime", "openvino", "paddle"]
ChannelOrder = Literal["rgb", "bgr"]
Format = Literal["old", "new"]
BatchSize = Annotated[int, Field(ge=1)]
Threshold = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
StrPath = str | os.PathLike[str]
Spell = Callable[[Path], str]  # how a model directory is written in a file


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


_THRESHOLD = 0.5  # every named model's own, see draw_threshold in its inference.yml


class _Keys(NamedTuple):
    """How the two formats spell what belongs to one model."""

    model: str
    batch: str
    section: str


_KEYS = {
    "detection": _Keys("human_det_model", "human_det_batch_size", "ObjectDetection"),
    "keypoint": _Keys("keypoint_det_model", "keypoint_det_batch_size", "KeypointDetection"),
}


class _Schema(BaseModel):
    """Field names are the files' own keys, hence their spelling."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Shared(_Schema):
    device: str | None = None
    engine: EngineName = "auto"
    channel_order: ChannelOrder = "rgb"


class _OldGlobal(_Schema):
    pipeline_name: Literal["human_keypoint_detection"] = "human_keypoint_detection"
    input: Any = None  # PaddleX's example image: what to predict is said in the call


class _OldPipeline(_Shared):
    human_det_model: str
    keypoint_det_model: str
    human_det_batch_size: BatchSize = DET_BATCH_SIZE
    keypoint_det_batch_size: BatchSize = KPT_BATCH_SIZE


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


class _NewFile(_Shared):
    pipeline_name: Literal["human_keypoint_detection"]
    SubModules: _SubModules


File = TypeVar("File", bound=_Schema)


def load_config(name_or_path: StrPath) -> PipelineConfig:
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
    text, path = _read(name_or_path)
    return _parse(text, f"kptk's {name_or_path}.yaml" if path is None else str(path), path)


def builtin_config(name: str) -> str:
    """Text of a configuration that comes with kptk, comments included.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in BUILTIN_CONFIGS:
        known = " or ".join(map(repr, BUILTIN_CONFIGS))
        raise ConfigError(
            f"A pipeline is {known}, or the path of a YAML file. Got {name!r}."
            f"{nearest(name, BUILTIN_CONFIGS)}"
        )
    file = resources.files("kptk") / "configs" / f"{name}.yaml"
    return file.read_text(encoding="utf-8")


def _read(name_or_path: StrPath) -> tuple[str, Path | None]:
    """The YAML text, and its file; None if it comes with kptk."""
    name = os.fspath(name_or_path)
    if name in BUILTIN_CONFIGS:
        return builtin_config(name), None
    path = Path(name).expanduser()
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8-sig"), path.absolute()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read as UTF-8 text: {error}") from error
    if path.is_dir():
        raise ConfigError(f"A pipeline's YAML file is needed. {path} is a folder.")
    if path.suffix.lower() not in (".yaml", ".yml"):
        return builtin_config(name), None  # there is none: the error says what a pipeline may be
    beside = path.parent.glob("*.y*ml") if path.parent.is_dir() else ()
    hint = nearest(path.name, [other.name for other in beside])
    raise ConfigError(f"There is no file {path.absolute()}.{hint}")


def _parse(text: str, source: str, path: Path | None) -> PipelineConfig:
    """The record of a text; ``source`` is what messages call it, ``path`` where it is."""
    data = _load(YAML(typ="safe", pure=True), text, source)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{source} must hold a mapping with 'Pipeline' or 'SubModules'.")
    folder = path.parent if path else None
    shared: _Shared
    if "Pipeline" in data and "SubModules" not in data:
        shared = old = _validate(_OldFile, data, source).Pipeline
        config = PipelineConfig(
            det_model=_locate(old.human_det_model, f"human_det_model in {source}", folder),
            kpt_model=_locate(old.keypoint_det_model, f"keypoint_det_model in {source}", folder),
            det_batch_size=old.human_det_batch_size,
            kpt_batch_size=old.keypoint_det_batch_size,
        )
    elif "SubModules" in data and "Pipeline" not in data:
        shared = new = _validate(_NewFile, data, source)
        det, kpt = new.SubModules.ObjectDetection, new.SubModules.KeypointDetection
        size = [det.img_size] * 2 if isinstance(det.img_size, int) else det.img_size
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ConfigError(
                f"img_size in {source} must be one number or [height, width]. Got {size!r}."
            )
        models = []
        for section, part in new.SubModules:
            key = "model_name" if part.model_dir is None else "model_dir"
            where = f"{key} of {section} in {source}"
            models.append(_locate(getattr(part, key), where, folder, directory=key == "model_dir"))
        config = PipelineConfig(
            det_model=models[0],
            kpt_model=models[1],
            det_batch_size=det.batch_size,
            kpt_batch_size=kpt.batch_size,
            det_threshold=det.threshold,
            det_img_size=None if size is None else (size[0], size[1]),
            flip=kpt.flip,
            udp=bool(kpt.use_udp),
        )
    else:
        raise ConfigError(
            f"{source} must have either 'Pipeline' (PaddleX's old format) or 'SubModules' (its new "
            f"one) at the top. It has {', '.join(map(str, data)) or 'nothing'}."
        )
    try:  # the form only: whether this machine has it shows when the models are loaded
        device = None if shared.device is None else join_devices(parse_devices(shared.device))
    except DeviceError as error:
        raise ConfigError(f"device in {source}: {error}") from error
    return replace(
        config,
        device=device,
        engine=shared.engine,
        channel_order=shared.channel_order,
        path=path,
    )


def _load(yaml: YAML, text: str, source: str) -> Any:
    try:
        return yaml.load(text)
    except YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from error


def _validate(schema: type[File], data: Any, source: str) -> File:
    """Check a file's keys and values; a key that would be ignored is refused first."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        errors = error.errors()
        wrong = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        where = [str(part) for part in wrong["loc"]]
        if wrong["type"] != "extra_forbidden":
            raise ConfigError(
                f"{'.'.join(where)} in {source}: {wrong['msg']}. Got {wrong['input']!r}."
            ) from error
        *outer, key = where
        fields = schema.model_fields
        for name in outer:
            annotation = fields[name].annotation
            fields = next(
                inner.model_fields
                for inner in (annotation, *get_args(annotation))
                if isinstance(inner, type) and issubclass(inner, BaseModel)
            )
        raise ConfigError(
            f"{' in '.join([*reversed(outer), source])} has an unknown key {key!r}."
            f"{nearest(key, fields)} Known: {', '.join(fields)}."
        ) from error


def _candidates(value: str, folder: Path | None) -> list[Path]:
    """Where a model directory may be: beside the file, then as seen from here."""
    return [parent / Path(value).expanduser() for parent in (folder, Path.cwd()) if parent]


def _find(value: str, folder: Path | None) -> Path | None:
    return next((path for path in _candidates(value, folder) if path.exists()), None)


def _locate(value: str, where: str, folder: Path | None, *, directory: bool = False) -> str:
    """A name stays as it is (unless it must be a directory), a path becomes absolute."""
    if value in MODELS and not directory:
        return value
    found = _find(value, folder)
    if found is not None:
        return str(found.resolve())
    if directory or "/" in value or "\\" in value:
        tried = " and ".join(dict.fromkeys(map(str, _candidates(value, folder))))
        raise ConfigError(f"{where} must exist. Got {value!r}; looked for {tried}.")
    raise ConfigError(
        f"{where} must be a model's name or directory. Got {value!r}.{nearest(value, MODELS)}"
        f" Names: {', '.join(MODELS)}."
    )


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

    The file is edited, not written anew: comments, order and every other setting stay.

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
    target = Path(save_path).expanduser()
    if target.suffix.lower() not in (".yaml", ".yml") or target.is_dir():
        raise ConfigError(f"save_path must be a file that ends in .yaml. Got {str(target)!r}.")
    if target.exists() and not overwrite:
        raise ConfigError(
            f"{target} exists already. Choose another save_path, or replace it with "
            "overwrite=True (kptk swap --force)."
        )
    wanted = {"detection": human_det_model, "keypoint": keypoint_det_model}
    if to_format not in (None, "old", "new"):
        raise ConfigError(f"to_format must be 'old', 'new' or None. Got {to_format!r}.")
    if to_format is None and not any(wanted.values()):
        raise ConfigError(
            "There is nothing to change: give human_det_model, keypoint_det_model or to_format."
        )
    chosen = {kind: _checked(model, kind) for kind, model in wanted.items() if model}
    text, path = _read(source)
    folder = path.parent if path else None
    yaml, data = _load_with_comments(text, os.fspath(source))
    form = "old" if "Pipeline" in data else "new"
    if to_format not in (None, form):
        data = _to_new(data, folder) if form == "old" else _to_old(data, folder, chosen)
    spell = partial(_spelled, target=target, relative=relative)
    for kind, keys in _KEYS.items():
        is_new = "SubModules" in data
        section = data["SubModules"][keys.section] if is_new else data["Pipeline"]
        if kind in chosen:
            _set_model(section, keys, chosen[kind], spell)
        elif not folder or folder.resolve() != target.absolute().parent.resolve():
            _keep_reachable(section, keys, folder, spell)
    out = StringIO()
    yaml.dump(data, out)
    with writing(target, ConfigError) as temporary:
        config = _parse(out.getvalue(), str(target), target.absolute())  # nothing broken is kept
        for kind, model in (("detection", config.det_model), ("keypoint", config.kpt_model)):
            _checked(model, kind)
        temporary.write_text(out.getvalue(), encoding="utf-8")
    return target


def _checked(model: StrPath, kind: str) -> ModelDir | str:
    """A model of this kind, as a checked directory or as its name; nothing is fetched."""
    name = os.fspath(model)
    if "/" not in name and os.sep not in name and name not in MODELS and not Path(name).exists():
        raise ModelError(
            f"{_KEYS[kind].model} must be a model directory or a name. Got {name!r}."
            f"{nearest(name, MODELS)} The names are {', '.join(MODELS)}."
        )
    found = MODELS[name] if name in MODELS else ModelDir.open(name)
    if found.kind != kind:
        raise ModelError(
            f"{_KEYS[kind].model} must be a {kind} model. {name!r} is a {found.kind} model: it "
            f"belongs to {_KEYS[found.kind].model}."
        )
    return found if isinstance(found, ModelDir) else name


def _load_with_comments(text: str, source: str) -> tuple[Any, Any]:
    """A reader and writer that keeps a text's indentation, quotes and ``null``; what it holds."""

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
    data = _load(yaml, text, source)
    top = data if isinstance(data, dict) else {}
    modules = top.get("SubModules")
    modules = modules if isinstance(modules, dict) else {}
    is_new = all(isinstance(modules.get(keys.section), dict) for keys in _KEYS.values())
    if not isinstance(top.get("Pipeline"), dict) and not is_new:
        raise ConfigError(
            f"{source} must hold 'Pipeline' (PaddleX's old format), or 'SubModules' with "
            "'ObjectDetection' and 'KeypointDetection' (its new one)."
        )
    return yaml, data


def _set_model(section: Any, keys: _Keys, model: ModelDir | str, spell: Spell) -> None:
    written = model if isinstance(model, str) else spell(model.path)
    if keys.model in section:
        section[keys.model] = written
    elif isinstance(model, str):
        section["model_name"], section["model_dir"] = model, None
    else:
        section["model_name"] = _official_name(model, section.get("model_name"))
        if "model_dir" not in section:
            section.insert(list(section).index("model_name") + 1, "model_dir", None)
        section["model_dir"] = written


def _keep_reachable(section: Any, keys: _Keys, folder: Path | None, spell: Spell) -> None:
    """Spell a model that is not swapped so that it is found from the new file's folder."""
    key = next((k for k in (keys.model, "model_dir", "model_name") if section.get(k)), "")
    value = section.get(key)
    if not isinstance(value, str) or (value in MODELS and key != "model_dir"):
        return
    found = None if os.path.isabs(value) else _find(value, folder)
    if found is not None:
        section[key] = spell(found)


def _spelled(path: Path, target: Path, relative: bool) -> str:
    """How a model directory is written in the file."""
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


def _official_name(model: ModelDir, current: object) -> str:
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


def _to_new(data: Any, folder: Path | None) -> Any:
    """The same pipeline in the new format, with its comments."""
    old = data["Pipeline"]
    new, modules = CommentedMap(pipeline_name=PIPELINE_NAME), CommentedMap()
    example = (data.get("Global") or {}).get("input")
    if example is not None:
        new.yaml_set_comment_before_after_key(
            "pipeline_name", before=f"Global.input of the old file: {example}"
        )
    for kind, keys in _KEYS.items():
        value = old.get(keys.model)
        if not isinstance(value, str):
            raise ConfigError(f"{keys.model} must be a model's name or directory. Got {value!r}.")
        name, path = value, None
        if value not in MODELS:
            path, found = value, _find(value, folder)
            # one that is not there does no harm if it is swapped; else the check at the end tells
            fitting = next(name for name in ARCHITECTURES if MODELS[name].kind == kind)
            name = _official_name(ModelDir.open(found), None) if found else fitting
        module = keys.section.replace("Detection", "_detection").lower()
        part = CommentedMap(module_name=module, model_name=name, model_dir=path)
        part["batch_size"] = old.get(keys.batch, _OldPipeline.model_fields[keys.batch].default)
        _copy_comment(old, keys.model, part, "model_name")
        _copy_comment(old, keys.batch, part, "batch_size")
        modules[keys.section] = part
    new["SubModules"] = modules
    _copy_shared(old, new)
    return new


def _to_old(data: Any, folder: Path | None, chosen: dict[str, ModelDir | str]) -> Any:
    """The same pipeline in the old format, which knows no threshold, image size, flip or UDP."""
    parts = {kind: data["SubModules"][keys.section] for kind, keys in _KEYS.items()}
    det, kpt = parts.values()
    # the threshold that the detector has without being told, which need not be written
    model = chosen.get("detection")
    if model is None and isinstance(det.get("model_dir"), str):
        found = _find(det["model_dir"], folder)
        model = ModelDir.open(found) if found else None
    own = model.threshold if isinstance(model, ModelDir) else _THRESHOLD
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
    old = CommentedMap()
    for kind, keys in _KEYS.items():
        old[keys.model] = parts[kind].get("model_dir") or parts[kind].get("model_name")
        _copy_comment(parts[kind], "model_name", old, keys.model)
    for kind, keys in _KEYS.items():
        default = _OldPipeline.model_fields[keys.batch].default
        old[keys.batch] = parts[kind].get("batch_size", default)
        _copy_comment(parts[kind], "batch_size", old, keys.batch)
    _copy_shared(data, old)
    return CommentedMap(Pipeline=old)


def _copy_shared(source: Any, target: Any) -> None:
    for key in _Shared.model_fields:
        if key in source:
            target[key] = source[key]
            _copy_comment(source, key, target, key)


def _copy_comment(source: Any, key: str, target: Any, to: str) -> None:
    """Copy the comment at the end of a line; ruamel keeps it as the third token of a key."""
    tokens = source.ca.items.get(key)
    if tokens and tokens[2] is not None:
        text = tokens[2].value.splitlines()[0].strip()
        if text.startswith("#"):
            target.yaml_add_eol_comment(text, to)
