"""Fetch one file from the network and keep it: retried, verified, pinned, locked, renamed.

No checksum is published for the official files. So the first fetch pins one: the SHA-256 of what
came is written to ``pins/`` in the cache, and a later fetch of the same address must match it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from kptk.cache import cache_dir, file_hash, lock, make_dir, replacing
from kptk.errors import DownloadError

_log = logging.getLogger(__name__)
_NO = ("", "0", "false", "no", "off")
_MAX_UNPACKED = 4 << 30  # bytes; the largest official archive unpacks to a twentieth of this


def offline() -> bool:
    """Return whether ``KPTK_OFFLINE`` forbids the network."""
    return os.environ.get("KPTK_OFFLINE", "").strip().lower() not in _NO


def show_progress() -> bool:
    """Return whether progress bars are wanted: ``KPTK_PROGRESS=0`` turns them off."""
    return os.environ.get("KPTK_PROGRESS", "1").strip().lower() not in _NO


def fetch_file(
    url: str, target: Path, *, retries: int = 3, timeout: float = 30.0, wait: float = 1.0
) -> Path:
    """Download a weight file once.

    Args:
        url: its address.
        target: where it is kept. A file already there is checked against its pin and used.
        retries: how often a failed transfer is tried again.
        timeout: seconds without a byte after which a transfer has failed.
        wait: seconds before the first retry; doubled each time.

    Returns:
        ``target``.

    Raises:
        DownloadError: offline, unreachable, incomplete, not a weight file, or not the file that
            was pinned.
    """
    with lock(_lock_file(target)):
        if target.is_file():
            _check_pin(target, target.name, url)
            return target
        make_dir(target.parent)
        with replacing(target) as temporary:
            _transfer(url, temporary, target, retries=retries, timeout=timeout, wait=wait)
            _check_weights(temporary, url)
            _check_pin(temporary, target.name, url)
    return target


def fetch_archive(
    url: str,
    target: Path,
    *,
    check: Callable[[Path], object],
    retries: int = 3,
    timeout: float = 30.0,
    wait: float = 1.0,
) -> Path:
    """Download a tar archive once and keep what it holds as a folder.

    Args:
        url: the archive's address.
        target: the folder to make. If it is there already, nothing is fetched.
        check: called with the unpacked folder before it gets its name; raises if it is unusable.
        retries: how often a failed transfer is tried again.
        timeout: seconds without a byte after which a transfer has failed.
        wait: seconds before the first retry; doubled each time.

    Returns:
        ``target``.

    Raises:
        DownloadError: as in `fetch_file`; also an archive with links or with paths that lead out
            of its folder.
    """
    with lock(_lock_file(target)):
        if target.is_dir():
            return target
        make_dir(target.parent)
        with _scratch_folder(target) as scratch:
            archive = scratch / "archive.tar"
            _transfer(url, archive, target, retries=retries, timeout=timeout, wait=wait)
            folder = _unpack(archive, scratch / "content", url)
            check(folder)
            _check_pin(archive, f"{target.name}.tar", url)
            folder.replace(target)
    return target


def _lock_file(target: Path) -> Path:
    return cache_dir() / "locks" / f"{target.name}.lock"


@contextmanager
def _scratch_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target, so that the last rename stays on one disk."""
    scratch = target.with_name(f".{target.name}-{uuid.uuid4().hex[:12]}")
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _by_hand(url: str, target: Path) -> str:
    if target.suffix:
        return f"Fetch {url} elsewhere and put it at {str(target)!r}."
    return (
        f"Fetch {url} elsewhere and unpack it so that {str(target / 'inference.yml')!r} exists, "
        f"or name the unpacked folder as the model."
    )


def _transfer(
    url: str, temporary: Path, target: Path, *, retries: int, timeout: float, wait: float
) -> None:
    """Fetch ``url`` into ``temporary``, trying again where that can help."""
    if offline():
        raise DownloadError(
            f"{target.name} is not in the cache and KPTK_OFFLINE is set. {_by_hand(url, target)}"
        )
    from requests.exceptions import RequestException

    for attempt in range(retries + 1):
        try:
            return _transfer_once(url, temporary, target.name, timeout)
        except (RequestException, OSError) as error:
            if attempt == retries or not _worth_retrying(error):
                raise DownloadError(_failure(url, target, error, attempt + 1)) from error
            pause = wait * 2**attempt
            _log.warning("%s: %s. Trying again in %.0f s.", url, error, pause)
            time.sleep(pause)


def _transfer_once(url: str, temporary: Path, title: str, timeout: float) -> None:
    import requests
    from tqdm.auto import tqdm

    # Compressed on the way, a body would not have the length its header states.
    headers = {"Accept-Encoding": "identity"}
    with requests.get(url, stream=True, timeout=timeout, headers=headers) as response:
        response.raise_for_status()
        total = int(response.headers.get("Content-Length", 0)) or None
        with (
            temporary.open("wb") as stream,
            tqdm(
                desc=title, total=total, unit="B", unit_scale=True, disable=not show_progress()
            ) as bar,
        ):
            for chunk in response.iter_content(1 << 16):
                stream.write(chunk)
                bar.update(len(chunk))
    size = temporary.stat().st_size
    if total is not None and size != total:
        raise requests.ConnectionError(f"{size} of {total} bytes came")


def _worth_retrying(error: Exception) -> bool:
    """A missing page stays missing; a broken connection or an overloaded server may recover."""
    response = getattr(error, "response", None)
    if response is not None:
        return bool(response.status_code in (408, 425, 429) or response.status_code >= 500)
    from requests.exceptions import RequestException

    return isinstance(error, RequestException)


def _failure(url: str, target: Path, error: Exception, attempts: int) -> str:
    times = "once" if attempts == 1 else f"{attempts} times"
    return f"{target.name} could not be fetched (tried {times}): {error}. {_by_hand(url, target)}"


def _check_pin(path: Path, name: str, url: str) -> None:
    """Compare a file with what was fetched from ``url`` the first time, or pin it now."""
    record = cache_dir() / "pins" / f"{name}.json"
    found = {"url": url, "sha256": file_hash(path), "size": path.stat().st_size}
    pinned = _read_pin(record)
    if pinned is None:
        make_dir(record.parent)
        with replacing(record) as temporary:
            temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    elif pinned != found["sha256"]:
        raise DownloadError(
            f"{name} is not the file that was first fetched: its SHA-256 is {found['sha256']}, "
            f"{pinned} was pinned. It was damaged, or {url} serves something new. If {str(path)!r} "
            f"exists, delete it to fetch it again; to accept what the address serves now, delete "
            f"{str(record)!r} too."
        )


def _read_pin(record: Path) -> str | None:
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["sha256"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DownloadError(
            f"The pin {str(record)!r} cannot be read ({error}). Delete it to pin the next fetch."
        ) from error


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(512).lstrip().lower()


def _refuse_web_page(path: Path, url: str) -> None:
    if _start(path).startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DownloadError(
            f"{url} answered with a web page instead of the file: a proxy or a login page may "
            "stand in between. Open the address in a browser to see it."
        )


def _check_weights(path: Path, url: str) -> None:
    _refuse_web_page(path, url)
    if not _start(path).startswith(b"\x80"):  # the first byte of every pickle since protocol 2
        raise DownloadError(f"{url} does not hold Paddle weights (.pdparams).")


def _unpack(archive: Path, content: Path, url: str) -> Path:
    """Unpack into ``content`` and return the folder that holds the files."""
    _refuse_web_page(archive, url)
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            _check_members(members, url)
            # Absent before Python 3.11.4; the checks above suffice without it.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(content, members=members)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DownloadError(f"{url} does not hold a complete tar archive: {error}.") from error
    entries = list(content.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else content


def _check_members(members: list[tarfile.TarInfo], url: str) -> None:
    for member in members:
        if not (member.isreg() or member.isdir()):
            raise DownloadError(f"The archive {url} holds {member.name!r}, which is no plain file.")
        if _leads_out(member.name):
            raise DownloadError(f"The archive {url} would write outside its folder: {member.name}.")
    if not members or sum(member.size for member in members) > _MAX_UNPACKED:
        raise DownloadError(f"The archive {url} is empty or unpacks to more than 4 GiB.")


def _leads_out(name: str) -> bool:
    windows = PureWindowsPath(name)
    parts = (*PurePosixPath(name).parts, *windows.parts)
    return name.startswith("/") or bool(windows.drive or windows.root) or ".." in parts
