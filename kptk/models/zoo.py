"""Model names → model directories: the official four (fetched once), the demo pair, your own.

No checksum is published for the official files. So the first fetch pins one: the SHA-256 of what
came is written to ``pins/`` in the cache, and a later fetch of the same address must match it.

Downloads are by requests and tarfile. pooch would ask again for a page that is missing, unpack in
place, and check nothing where no checksum is known beforehand.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tarfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from kptk.errors import DownloadError, ModelError, nearest
from kptk.files import (
    cache_dir,
    file_hash,
    lock,
    make_dir,
    offline,
    paddlex_cache,
    replacing,
    show_progress,
)
from kptk.models import export
from kptk.models.catalog import MODELS, ModelSpec
from kptk.models.modeldir import KINDS, ModelDir, architecture_of

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)

_PACKAGED = Path(__file__).parent.parent / "demo" / "models"
RETRIES = 3  # of a failed transfer
TIMEOUT = 30.0  # seconds without a byte after which a transfer has failed
WAIT = 1.0  # seconds before the first retry, doubled each time
_MAX_UNPACKED = 4 << 30  # bytes; the largest official archive unpacks to a twentieth of this


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

    def check(found: str) -> None:
        if kind not in (None, found):
            fitting = ", ".join(spec.name for spec in MODELS.values() if spec.kind == kind)
            raise ModelError(
                f"A {kind} model belongs here; {name!r} is a {found} model. The {kind} models are "
                f"{fitting}."
            )

    name = _text(model)
    if name in MODELS:
        check(MODELS[name].kind)  # before an archive is fetched for nothing
        return _named(MODELS[name])
    path = _existing(name)
    opened = _exported(path, like) if path.suffix == ".pdparams" else ModelDir.open(path)
    check(opened.kind)
    return opened


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

    rows = []
    for spec in MODELS.values():
        here = [path.stat().st_size for path in (_PACKAGED / spec.name).glob("*") if path.is_file()]
        rows.append(
            {
                "name": spec.name,
                "kind": spec.kind,
                "input_size": f"{spec.input_size[0]} x {spec.input_size[1]}",
                "AP": None if spec.ap is None else round(spec.ap * 100, 1),
                "AP50": None if spec.ap50 is None else round(spec.ap50 * 100, 1),
                "cpu_ms": spec.cpu_ms,
                "gpu_ms": spec.gpu_ms,
                "size_mb": spec.size_mb if spec.url else round(sum(here) / 1e6, 2) or None,
                "data": spec.data,
                "where": where_is(spec),
            }
        )
    numbers = dict.fromkeys(("AP", "AP50", "cpu_ms", "gpu_ms", "size_mb"), float)
    return pd.DataFrame(rows).astype(numbers)


def where_is(spec: ModelSpec) -> str:
    """Return where a named model is now; see `list_models`."""
    if spec.url is None:
        return "packaged" if (_PACKAGED / spec.name).is_dir() else "missing"
    if (cache_dir() / "models" / spec.name).is_dir():
        return "cached"
    return "PaddleX cache" if _from_paddlex(spec) else "to download"


def _text(model: str | os.PathLike[str]) -> str:
    if isinstance(model, str | os.PathLike):
        return os.fspath(model)
    raise ModelError(
        f"A model must be a name, a model directory or a .pdparams file. Got {model!r}."
    )


def _existing(name: str) -> Path:
    """Return the path a string means, or say which names and forms would have worked."""
    path = Path(name).expanduser()
    if name and (path.is_dir() or (path.is_file() and path.suffix == ".pdparams")):
        return path
    if name and path.is_file():
        raise ModelError(
            f"A model must be a name, a model directory or a .pdparams file. {name!r} is another "
            f"file; its folder would be {str(path.resolve().parent)!r}."
        )
    if path.name != name or path.suffix in (".pdparams", ".onnx", ".yml", ".json"):
        raise ModelError(f"There is no model at {name!r} (seen from {str(Path.cwd())!r}).")
    raise ModelError(
        f"There is no model named {name!r}.{nearest(name, MODELS)} The names are "
        f"{', '.join(MODELS)}; a model directory or a .pdparams file works too."
    )


def _named(spec: ModelSpec) -> ModelDir:
    """The model of a name: packaged, cached, PaddleX's copy, or fetched now."""
    if spec.url is None:
        folder = _PACKAGED / spec.name
        if not folder.is_dir():
            raise ModelError(
                f"{spec.name} comes with kptk, but {str(folder)!r} is not there. Install kptk "
                "again, or make the demo models in a clone with: make demo-models"
            )
        return ModelDir.open(folder)
    cached = cache_dir() / "models" / spec.name
    if not cached.is_dir():
        theirs = _from_paddlex(spec)
        if theirs is not None:
            return theirs
        fetch_archive(spec.url, cached, check=lambda folder: _check_content(folder, spec))
    try:
        return ModelDir.open(cached)
    except ModelError as error:
        raise ModelError(f"{error} Delete {str(cached)!r} to fetch it again.") from error


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


def _exported(params: Path, like: str | None) -> ModelDir:
    """Export training weights once; the cache knows them by their bytes and architecture."""
    architecture = architecture_of(params, like)
    height, width = MODELS[like if like is not None and like in MODELS else architecture].input_size
    name = f"{architecture}-{height}x{width}-{file_hash(params)[:16]}"
    folder = cache_dir() / "exported" / name
    with lock(cache_dir() / "locks" / f"{name}.lock"):
        if not folder.is_dir():
            _log.info("Exporting %s as %s (once): %s", params, architecture, folder)
            make_dir(folder.parent)
            export.export_weights(params, architecture, folder, input_size=(height, width))
    return ModelDir.open(folder)


def fetch_file(url: str, target: Path) -> Path:
    """Download a weight file once.

    Args:
        url: its address.
        target: where it is kept. A file already there is checked against its pin and used.

    Returns:
        ``target``.

    Raises:
        DownloadError: offline, unreachable, incomplete, not a weight file, or not the file that
            was pinned.
    """
    with lock(cache_dir() / "locks" / f"{target.name}.lock"):
        if target.is_file():
            _check_pin(target, target.name, url)
            return target
        make_dir(target.parent)
        with replacing(target) as temporary:
            start = _transfer(url, temporary, target)
            if not start.startswith(b"\x80"):  # the first byte of every pickle since protocol 2
                raise DownloadError(f"{url} does not hold Paddle weights (.pdparams).")
            _check_pin(temporary, target.name, url)
    return target


def fetch_archive(url: str, target: Path, *, check: Callable[[Path], object]) -> Path:
    """Download a tar archive once and keep what it holds as a folder.

    Args:
        url: the archive's address.
        target: the folder to make. If it is there already, nothing is fetched.
        check: called with the unpacked folder before it gets its name; raises if it is unusable.

    Returns:
        ``target``.

    Raises:
        DownloadError: as in `fetch_file`; also an archive with links or with paths that lead out
            of its folder.
    """
    with lock(cache_dir() / "locks" / f"{target.name}.lock"):
        if target.is_dir():
            return target
        make_dir(target.parent)
        # a hidden folder beside the target, so that the last rename stays on one disk
        scratch = target.with_name(f".{target.name}-{uuid.uuid4().hex[:12]}")
        scratch.mkdir()
        try:
            archive = scratch / "archive.tar"
            _transfer(url, archive, target)
            folder = _unpack(archive, scratch / "content", url)
            check(folder)
            _check_pin(archive, f"{target.name}.tar", url)
            folder.replace(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def _transfer(url: str, temporary: Path, target: Path) -> bytes:
    """Fetch ``url`` into ``temporary``, trying again where that can help; returns its start."""
    by_hand = f"Fetch {url} elsewhere and put it at {str(target)!r}."
    if not target.suffix:
        by_hand = (
            f"Fetch {url} elsewhere and unpack it so that {str(target / 'inference.yml')!r} "
            "exists, or name the unpacked folder as the model."
        )
    if offline():
        raise DownloadError(f"{target.name} is not in the cache and KPTK_OFFLINE is set. {by_hand}")
    import requests
    from tqdm.auto import tqdm

    # Compressed on the way, a body would not have the length its header states.
    plain = {"Accept-Encoding": "identity"}
    for attempt in range(RETRIES + 1):
        try:
            with requests.get(url, stream=True, timeout=TIMEOUT, headers=plain) as response:
                response.raise_for_status()
                total = int(response.headers.get("Content-Length", 0)) or None
                hidden = not show_progress()
                bar = tqdm(desc=target.name, total=total, unit="B", unit_scale=True, disable=hidden)
                with bar, temporary.open("wb") as stream:
                    for chunk in response.iter_content(1 << 16):
                        stream.write(chunk)
                        bar.update(len(chunk))
            size = temporary.stat().st_size
            if total is not None and size != total:
                raise requests.ConnectionError(f"{size} of {total} bytes came")
            break
        except OSError as error:  # requests' errors are among these
            # A missing page stays missing; a broken connection or a busy server may recover.
            answer = getattr(error, "response", None)
            status = 500 if answer is None else answer.status_code
            may_recover = isinstance(error, requests.RequestException) and (
                status in (408, 425, 429) or status >= 500
            )
            if attempt == RETRIES or not may_recover:
                times = "once" if attempt == 0 else f"{attempt + 1} times"
                raise DownloadError(
                    f"{target.name} could not be fetched (tried {times}): {error}. {by_hand}"
                ) from error
            pause = WAIT * 2**attempt
            _log.warning("%s: %s. Trying again in %.0f s.", url, error, pause)
            time.sleep(pause)
    with temporary.open("rb") as stream:
        start = stream.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DownloadError(
            f"{url} answered with a web page instead of the file: a proxy or a login page may "
            "stand in between. Open the address in a browser to see it."
        )
    return start


def _check_pin(path: Path, name: str, url: str) -> None:
    """Compare a file with what was fetched from ``url`` the first time, or pin it now."""
    record = cache_dir() / "pins" / f"{name}.json"
    found = {"url": url, "sha256": file_hash(path), "size": path.stat().st_size}
    try:
        pinned = str(json.loads(record.read_text(encoding="utf-8"))["sha256"])
    except FileNotFoundError:
        make_dir(record.parent)
        with replacing(record) as temporary:
            temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        return
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DownloadError(
            f"The pin {str(record)!r} cannot be read ({error}). Delete it to pin the next fetch."
        ) from error
    if pinned != found["sha256"]:
        raise DownloadError(
            f"{name} is not the file that was first fetched: its SHA-256 is {found['sha256']}, "
            f"{pinned} was pinned. It was damaged, or {url} serves something new. If {str(path)!r} "
            f"exists, delete it to fetch it again; to accept what the address serves now, delete "
            f"{str(record)!r} too."
        )


def _unpack(archive: Path, content: Path, url: str) -> Path:
    """Unpack into ``content`` and return the folder that holds the files."""
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            for member in members:
                if not (member.isreg() or member.isdir()):
                    raise DownloadError(
                        f"The archive {url} holds {member.name!r}, which is no plain file."
                    )
                windows = PureWindowsPath(member.name)
                parts = (*PurePosixPath(member.name).parts, *windows.parts)
                if member.name.startswith("/") or windows.drive or windows.root or ".." in parts:
                    raise DownloadError(
                        f"The archive {url} would write outside its folder: {member.name}."
                    )
            if not members or sum(member.size for member in members) > _MAX_UNPACKED:
                raise DownloadError(f"The archive {url} is empty or unpacks to more than 4 GiB.")
            # Absent before Python 3.11.4; the checks above suffice without it.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(content, members=members)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DownloadError(f"{url} does not hold a complete tar archive: {error}.") from error
    entries = list(content.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else content
