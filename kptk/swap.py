"""New weights into a pipeline's YAML file, in either of PaddleX's formats.

The file is edited, not written anew: comments, order and every other setting stay.
"""

from __future__ import annotations

import os
import re
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kptk.cache import replacing
from kptk.catalog import MODELS
from kptk.config import BUILTIN_CONFIGS, builtin_config, load_config
from kptk.config_formats import (
    KINDS,
    NEW_KEYS,
    OLD_KEYS,
    find_beside,
    official_name,
    to_new,
    to_old,
)
from kptk.errors import ConfigError, ModelError, nearest
from kptk.modeldir import ModelDir

if TYPE_CHECKING:
    from ruamel.yaml import YAML

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
