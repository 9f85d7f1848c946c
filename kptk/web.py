"""One picture from the web: http(s) only, within a time and a size limit."""

from __future__ import annotations

import io
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.request import Request

from kptk.errors import InputError

MAX_DOWNLOAD_BYTES = 64 * 1024 * 1024
DOWNLOAD_TIMEOUT = 20.0  # seconds without an answer; a whole download may take three times that


def is_url(text: str) -> bool:
    """Whether a string names a place by scheme (``http://…``) rather than a file."""
    return re.match(r"[A-Za-z][\w+.-]+://", text) is not None


def fetch(
    url: str,
    opener: urllib.request.OpenerDirector | None = None,
    max_bytes: int | None = None,
) -> bytes:
    """Get the bytes behind an http(s) URL, within a time and a size limit.

    Args:
        url: its address.
        opener: makes the connections; None: any host, by way of the proxies of the environment.
        max_bytes: the most that is read; None: MAX_DOWNLOAD_BYTES.

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
        request = Request(plain, headers={"User-Agent": "kptk"})
        with (opener or _any_host()).open(request, timeout=DOWNLOAD_TIMEOUT) as response:
            limit = MAX_DOWNLOAD_BYTES if max_bytes is None else max_bytes
            return _read_limited(response, url, limit)
    except urllib.error.HTTPError as error:
        raise InputError(f"{url} cannot be fetched: the server says {error.code}.") from error
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{url} cannot be fetched: {reason}.") from error


def http_opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """An opener that speaks HTTP only, so that no redirect leads to a file or to FTP.

    Args:
        handlers: what makes the connections.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        *handlers,
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects without the pages that come with them, which urllib reads to the end."""

    def http_error_302(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> Any:
        fp.close()
        return super().http_error_302(req, io.BytesIO(), code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _any_host() -> urllib.request.OpenerDirector:
    return http_opener(
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
    )


def _read_limited(response: IO[bytes], url: str, limit: int) -> bytes:
    deadline = time.monotonic() + 3 * DOWNLOAD_TIMEOUT
    data = bytearray()
    while chunk := response.read(1 << 16):
        data += chunk
        if len(data) > limit:
            raise InputError(f"{url} holds more than {limit / 2**20:.4g} MiB: too large.")
        if time.monotonic() > deadline:
            raise InputError(f"{url} took more than {3 * DOWNLOAD_TIMEOUT:g} seconds: given up.")
    return bytes(data)
