"""Model names → model directories: the official four, the demo pair, and your own."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kptk.architecture import architecture_of
from kptk.cache import cache_dir, file_hash, lock, make_dir, paddlex_cache
from kptk.catalog import MODELS, ModelSpec
from kptk.download import fetch_archive, fetch_file
from kptk.errors import DownloadError, ModelError, nearest
from kptk.modeldir import KINDS, ModelDir

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MODELS", "ModelSpec", "find_model", "find_weights", "list_models", "where_is"]

_log = logging.getLogger(__name__)

_PACKAGED = Path(__file__).parent / "demo" / "models"


def find_model(
    model: str | os.PathLike[str], *, kind: str | None = None, like: str | None = None
) -> ModelDir:
    """Find a model, fetching or exporting it the first time.

    Args:
        model: a name in `MODELS`; a model directory in PaddleX's or PaddleDetection's file
            names; or a ``.pdparams`` file, which is exported once into the cache (this needs
            ``kptk[finetune]``). A name wins over a folder of the same name: write ``./name``
            for the folder.
        kind: refuse anything but this kind: ``"detection"`` or ``"keypoint"``.
        like: for a ``.pdparams`` file, the name of the model it was fine-tuned from, which has its
            architecture and input size. Needed only where neither the weights nor the file's path
            tell, or where the input size is not the official one.

    Raises:
        ModelError: there is no such model, it is broken, or it is of the other kind.
        DownloadError: it could not be fetched.
    """
    if kind is not None and kind not in KINDS:
        raise ModelError(f"kind must be 'detection' or 'keypoint'. Got {kind!r}.")
    name = _text(model)
    if name in MODELS:
        _check_kind(name, MODELS[name].kind, kind)  # before an archive is fetched for nothing
        return _named(MODELS[name])
    path = _existing(name)
    found = _exported(path, like) if path.suffix == ".pdparams" else ModelDir.open(path)
    _check_kind(name, found.kind, kind)
    return found


def find_weights(model: str | os.PathLike[str]) -> Path:
    """Find the weights that fine-tuning starts from.

    Args:
        model: an official name (its training weights are fetched once), a demo name (its model
            directory: the parameters are in its ONNX file), or a ``.pdparams`` file.

    Returns:
        A ``.pdparams`` file, or the model directory of a demo model.

    Raises:
        ModelError: there are no such weights.
        DownloadError: they could not be fetched.
    """
    name = _text(model)
    spec = MODELS.get(name)
    if spec is not None and spec.weights_url:
        return fetch_file(spec.weights_url, cache_dir() / "weights" / f"{name}_pretrained.pdparams")
    if spec is not None:
        return _named(spec).path
    path = _existing(name)
    if path.suffix != ".pdparams":
        raise ModelError(
            f"Training weights must be a .pdparams file or one of {', '.join(MODELS)}. Got "
            f"{name!r}: a model directory holds the exported network, not its training weights."
        )
    return path


def list_models() -> pd.DataFrame:
    """Return every named model as a table, one row a model.

    Columns: ``name``, ``kind``, ``input_size`` ("height x width"), ``AP`` and ``AP50`` (percent,
    as published), ``cpu_ms`` and ``gpu_ms`` (as published: Xeon Gold 5117 with 8 threads, T4;
    FP32), ``size_mb``, ``data`` (what AP was measured on) and ``where`` ("packaged", "cached",
    "PaddleX cache", "to download" or "missing").
    """
    import pandas as pd

    return pd.DataFrame([_row(spec) for spec in MODELS.values()])


def _row(spec: ModelSpec) -> dict[str, object]:
    folder = _PACKAGED / spec.name
    size = spec.size_mb if spec.url else _folder_megabytes(folder)
    nan = float("nan")
    return {
        "name": spec.name,
        "kind": spec.kind,
        "input_size": f"{spec.input_size[0]} x {spec.input_size[1]}",
        "AP": nan if spec.ap is None else round(spec.ap * 100, 1),
        "AP50": nan if spec.ap50 is None else round(spec.ap50 * 100, 1),
        "cpu_ms": nan if spec.cpu_ms is None else spec.cpu_ms,
        "gpu_ms": nan if spec.gpu_ms is None else spec.gpu_ms,
        "size_mb": nan if size is None else size,
        "data": spec.data,
        "where": where_is(spec),
    }


def where_is(spec: ModelSpec) -> str:
    """Return where a named model is now; see `list_models`."""
    if spec.url is None:
        return "packaged" if (_PACKAGED / spec.name).is_dir() else "missing"
    if _cached(spec.name).is_dir():
        return "cached"
    return "PaddleX cache" if _from_paddlex(spec) else "to download"


def _folder_megabytes(folder: Path) -> float | None:
    files = [path.stat().st_size for path in folder.glob("*") if path.is_file()]
    return round(sum(files) / 1e6, 2) if files else None


def _check_kind(name: str, found: str, wanted: str | None) -> None:
    if wanted is None or found == wanted:
        return
    fitting = ", ".join(spec.name for spec in MODELS.values() if spec.kind == wanted)
    raise ModelError(
        f"A {wanted} model belongs here; {name!r} is a {found} model. The {wanted} models are "
        f"{fitting}."
    )


def _named(spec: ModelSpec) -> ModelDir:
    if spec.url is None:
        return _packaged(spec)
    cached = _cached(spec.name)
    if not cached.is_dir():
        theirs = _from_paddlex(spec)
        if theirs is not None:
            return theirs
        fetch_archive(spec.url, cached, check=lambda folder: _check_content(folder, spec))
    try:
        return ModelDir.open(cached)
    except ModelError as error:
        raise ModelError(f"{error} Delete {str(cached)!r} to fetch it again.") from error


def _packaged(spec: ModelSpec) -> ModelDir:
    folder = _PACKAGED / spec.name
    if not folder.is_dir():
        raise ModelError(
            f"{spec.name} comes with kptk, but {str(folder)!r} is not there. Install kptk again, "
            "or make the demo models in a clone with: make demo-models"
        )
    return ModelDir.open(folder)


def _cached(name: str) -> Path:
    return cache_dir() / "models" / name


def _from_paddlex(spec: ModelSpec) -> ModelDir | None:
    """Return the copy PaddleX fetched, if it is there and whole."""
    folder = paddlex_cache() / "official_models" / spec.name
    if not folder.is_dir():
        return None
    try:
        found = ModelDir.open(folder)
    except ModelError as error:
        _log.warning("PaddleX's copy of %s is left aside: %s", spec.name, error)
        return None
    return found if found.kind == spec.kind else None


def _check_content(folder: Path, spec: ModelSpec) -> None:
    """Refuse an archive that does not hold the model it was fetched for."""
    try:
        found = ModelDir.open(folder)
    except ModelError as error:
        raise DownloadError(f"{spec.url} does not hold a model: {error}") from error
    if (found.kind, found.input_size) != (spec.kind, spec.input_size):
        raise DownloadError(
            f"{spec.url} must hold a {spec.kind} model of input size {spec.input_size}. It holds "
            f"a {found.kind} model of {found.input_size}."
        )


def _text(model: str | os.PathLike[str]) -> str:
    if isinstance(model, str | os.PathLike):
        return os.fspath(model)
    raise ModelError(
        f"A model must be a name, a model directory or a .pdparams file. Got {model!r}."
    )


def _existing(name: str) -> Path:
    """Return the path a string means, or say which names and forms would have worked."""
    path = Path(name).expanduser()
    looks_like_path = path.name != name or path.suffix in (".pdparams", ".onnx", ".yml", ".json")
    if name and (path.is_dir() or (path.is_file() and path.suffix == ".pdparams")):
        return path
    if name and path.is_file():
        raise ModelError(
            f"A model must be a name, a model directory or a .pdparams file. {name!r} is another "
            f"file; its folder would be {str(path.resolve().parent)!r}."
        )
    if looks_like_path:
        raise ModelError(f"There is no model at {name!r} (seen from {str(Path.cwd())!r}).")
    raise ModelError(
        f"There is no model named {name!r}.{nearest(name, MODELS)} The names are "
        f"{', '.join(MODELS)}; a model directory or a .pdparams file works too."
    )


def _exported(params: Path, like: str | None) -> ModelDir:
    """Export training weights once; the cache knows them by their bytes and architecture."""
    architecture = architecture_of(params, like)
    height, width = MODELS[like if like is not None and like in MODELS else architecture].input_size
    name = f"{architecture}-{height}x{width}-{file_hash(params)[:16]}"
    folder = cache_dir() / "exported" / name
    with lock(cache_dir() / "locks" / f"{folder.name}.lock"):
        if not folder.is_dir():
            from kptk.training.export import export_weights

            _log.info("Exporting %s as %s (once): %s", params, architecture, folder)
            make_dir(folder.parent)
            export_weights(params, architecture, folder, input_size=(height, width))
    return ModelDir.open(folder)
