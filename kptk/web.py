"""One picture from the web: http(s) only, within a time and a size limit."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from typing import IO

from kptk.errors import InputError

MAX_DOWNLOAD_BYTES = 64 * 1024 * 1024
DOWNLOAD_TIMEOUT = 20.0  # seconds without an answer; a whole download may take three times that


def is_url(text: str) -> bool:
    """Whether a string names a place by scheme (``http://…``) rather than a file."""
    return re.match(r"[A-Za-z][\w+.-]+://", text) is not None


def fetch(url: str) -> bytes:
    """Get the bytes behind an http(s) URL, within a time and a size limit.

    Raises:
        InputError: another scheme, no answer, an error status, or too much data.
    """
    if not re.match(r"https?://", url, re.IGNORECASE):
        raise InputError(f"A URL must start with http:// or https://. Got {url!r}.")
    from kptk.download import offline

    if offline():
        raise InputError(f"KPTK_OFFLINE=1 forbids fetching {url}. Save the picture and pass it.")
    plain = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")
    try:
        request = urllib.request.Request(plain, headers={"User-Agent": "kptk"})
        with _opener().open(request, timeout=DOWNLOAD_TIMEOUT) as response:
            return _read_limited(response, url)
    except urllib.error.HTTPError as error:
        raise InputError(f"{url} cannot be fetched: the server says {error.code}.") from error
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{url} cannot be fetched: {reason}.") from error


def _opener() -> urllib.request.OpenerDirector:
    """An opener that speaks HTTP only, so that no redirect leads to a file or to FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _read_limited(response: IO[bytes], url: str) -> bytes:
    deadline = time.monotonic() + 3 * DOWNLOAD_TIMEOUT
    data = bytearray()
    while chunk := response.read(1 << 16):
        data += chunk
        if len(data) > MAX_DOWNLOAD_BYTES:
            raise InputError(f"{url} holds more than {MAX_DOWNLOAD_BYTES >> 20} MiB: too large.")
        if time.monotonic() > deadline:
            raise InputError(f"{url} took more than {3 * DOWNLOAD_TIMEOUT:g} seconds: given up.")
    return bytes(data)
