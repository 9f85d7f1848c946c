"""kptk's files: the cache folder, locks, files that appear whole, work in a process of its own."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kptk.errors import InputError, KptkError, ModelError

_NO = ("", "0", "false", "no", "off")


def cache_dir() -> Path:
    """Return the cache folder: ``KPTK_CACHE_DIR``, or the platform's place for user caches.

    The folder is not created here.
    """
    value = os.environ.get("KPTK_CACHE_DIR", "").strip()
    if value:
        return Path(value).expanduser().resolve()
    import platformdirs

    return platformdirs.user_cache_path("kptk")


def paddlex_cache() -> Path:
    """Return PaddleX's cache folder: ``PADDLE_PDX_CACHE_HOME``, or ``~/.paddlex``."""
    value = os.environ.get("PADDLE_PDX_CACHE_HOME", "").strip()
    return Path(value).expanduser() if value else Path.home() / ".paddlex"


def offline() -> bool:
    """Return whether ``KPTK_OFFLINE`` forbids the network."""
    return os.environ.get("KPTK_OFFLINE", "").strip().lower() not in _NO


def show_progress() -> bool:
    """Return whether progress bars are wanted: ``KPTK_PROGRESS=0`` turns them off."""
    return os.environ.get("KPTK_PROGRESS", "1").strip().lower() not in _NO


def make_dir(path: Path) -> Path:
    """Create a folder in the cache and return it.

    Raises:
        ModelError: the folder cannot be created; the message names ``KPTK_CACHE_DIR``.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"The cache folder {str(path)!r} cannot be created ({error}). Set KPTK_CACHE_DIR to a "
            f"folder you can write to."
        ) from error
    return path


def file_hash(*paths: Path) -> str:
    """Return the SHA-256 (hex) of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def lock(path: Path, *, timeout: float = 3600.0) -> Iterator[None]:
    """Hold a lock between processes (and threads) while the block runs.

    By filelock, which knows every system's locks: the system frees them when the holder dies, so a
    crash leaves nothing to clean up.

    Args:
        path: a file beside the thing protected; created.
        timeout: seconds to wait for another holder.

    Raises:
        ModelError: the other holder did not finish in time.
    """
    from filelock import FileLock, Timeout

    make_dir(path.parent)
    held = FileLock(path)
    try:
        held.acquire(timeout=timeout, poll_interval=0.1)
    except Timeout as error:
        raise ModelError(f"Another process has held {str(path)!r} for {timeout:.0f} s.") from error
    try:
        yield
    finally:
        held.release()


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary name beside ``target``; rename it to ``target`` if the block succeeds."""
    temporary = target.with_name(f".{uuid.uuid4().hex[:12]}{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(target: Path, error: type[KptkError] = InputError) -> Iterator[Path]:
    """Give a temporary name to write to; ``target`` appears whole, in a folder that is made.

    Raises:
        KptkError: of the type given: the file cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            yield temporary
    except OSError as cause:
        raise error(f"{target} cannot be written: {cause.strerror or cause}.") from cause


def write_json(target: Path, value: Any, error: type[KptkError] = InputError) -> Path:
    """Write a JSON file, whole or not at all.

    Raises:
        KptkError: of the type given: it cannot be written.
    """
    with writing(target, error) as temporary:
        temporary.write_text(json.dumps(value, allow_nan=False) + "\n", encoding="utf-8")
    return target


def packaged_yaml(folder: str, name: str) -> dict[str, Any]:
    """The content of a YAML file in ``kptk/configs``."""
    from ruamel.yaml import YAML

    file = Path(__file__).parent / "configs" / folder / f"{name}.yml"
    content: dict[str, Any] = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    return content


def to_yaml(value: Any) -> str:
    """Plain values as YAML, mappings in order of their keys."""
    from ruamel.yaml import YAML

    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(value, text)
    return text.getvalue()


def run_module(module: str, *arguments: str | os.PathLike[str], task: str) -> None:
    """Run ``python -m module arguments`` and keep what it prints to ourselves.

    Args:
        module: dotted name of one of kptk's modules.
        arguments: its command line.
        task: what is being done, as the start of the message, e.g. ``"Exporting a.pdparams"``.

    Raises:
        ModelError: it failed; the message ends with what it said last.
    """
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, *(os.fspath(item) for item in arguments)],
            capture_output=True,
            text=True,
            errors="replace",
            env=environment(scratch),
            check=False,
        )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing")[-1500:]
        last = said.splitlines()[-1]
        raise ModelError(f"{task} failed (exit code {done.returncode}). It said: {last}")


def environment(scratch: str | None = None) -> dict[str, str]:
    """The environment of a child: kptk importable, and a temporary folder that is removed after."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    folder = {"TMPDIR": scratch, "TEMP": scratch} if scratch else {}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **folder}
