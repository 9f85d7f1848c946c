"""Pipeline YAML files, in both of PaddleX's formats, read into one record.

Old (the tutorial's): ``Pipeline: {human_det_model, keypoint_det_model, ...}``. New (PaddleX 3.x):
``SubModules: {ObjectDetection: {...}, KeypointDetection: {...}}``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kptk.errors import ConfigError, nearest

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
    from kptk.zoo import MODELS

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
    from kptk.device import join_devices, parse_devices
    from kptk.errors import DeviceError

    if value is None:
        return None
    try:
        return join_devices(parse_devices(value))
    except DeviceError as error:
        raise ConfigError(f"device in {source}: {error}") from error
