"""A picture by URL, from public addresses only.

A service that fetches what strangers name must not be led to what only it can reach. So a host
name is resolved once, every address it stands for must be public, and the connection goes to one
of these addresses; so it is for each redirect. Proxies of the environment, which would resolve
names themselves, are not used.
"""

from __future__ import annotations

import base64
import re
import socket
import threading
import time
import urllib.request
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from PIL.Image import DecompressionBombError

from kptk.errors import InputError, ServiceError
from kptk.io.images import fetch, http_opener, image_size, is_url
from kptk.serving.schema import ServeOptions

FETCH_SECONDS = 15.0  # for all of it; only the resolver has a limit of its own


_NAT64 = IPv6Network("64:ff9b::/96")


def fetch_public(url: str, max_bytes: int, seconds: float = FETCH_SECONDS) -> bytes:
    """Get the bytes behind an http(s) URL whose host is public.

    Args:
        url: its address.
        max_bytes: the most that is read.
        seconds: the longest it may take, looking names up apart.

    Raises:
        InputError: as :func:`kptk.io.images.fetch`, or it leads to an address that is not public.
    """
    visit = _Visit(seconds)
    timer = threading.Timer(seconds, visit.cut)
    timer.daemon = True
    timer.start()
    try:
        data = fetch(url, http_opener(_Http(visit), _Https(visit)), max_bytes)
    except InputError as error:
        if visit.over:
            raise InputError(f"{url} took more than {seconds:g} seconds: given up.") from error
        raise
    finally:
        timer.cancel()
        visit.close()
    if visit.over:  # the content ends where it was cut
        raise InputError(f"{url} took more than {seconds:g} seconds: given up.")
    return data


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the internet at large.

    IPv6 addresses that stand for an IPv4 address (mapped, 6to4, Teredo, NAT64) are what that is.
    """
    ip = ip_address(address.partition("%")[0])
    inner = _inner(ip)
    if inner is not None:
        return is_public(str(inner))
    special = ip.is_multicast or ip.is_reserved or ip.is_link_local or ip.is_loopback
    return ip.is_global and not special and not getattr(ip, "is_site_local", False)


def _inner(ip: IPv4Address | IPv6Address) -> IPv4Address | None:
    if isinstance(ip, IPv4Address):
        return None
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


class _Visit:
    """The connections of one fetch. ``cut`` ends them from another thread."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._lines: list[socket.socket] = []

    @property
    def over(self) -> bool:
        """Whether its time is."""
        return time.monotonic() >= self._end

    def connect(self, host: str, port: int, timeout: float | None) -> socket.socket:
        """Connect to the first of the host's addresses that answers.

        Raises:
            InputError: one of them is not public.
            OSError: none answers, or the time is over.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        places = [(str(place[0]), int(place[1])) for *_, place in found]
        if not all(is_public(address) for address, _ in places):
            raise InputError(
                f"{host} is not a public address, so nothing is fetched from it. "
                "Send the picture itself."
            )
        failure: OSError = TimeoutError("timed out")
        for place in places:
            left = self._end - time.monotonic()
            if left <= 0:
                break
            try:
                line = socket.create_connection(place, min(left, timeout or left))
            except OSError as error:
                failure = error
            else:
                self._lines.append(line.dup())  # stays valid when TLS takes the socket over
                return line
        raise failure

    def cut(self) -> None:
        """End whatever is being read."""
        for line in list(self._lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the connections."""
        for line in self._lines:
            line.close()


class _PlainLine(HTTPConnection):
    """A connection that a visit makes."""

    visit: _Visit

    def connect(self) -> None:
        self.sock = self.visit.connect(self.host, self.port, self.timeout)


class _SecureLine(HTTPSConnection, _PlainLine):
    """The same under TLS: HTTPSConnection.connect calls the one above, then checks the name."""


def _line(kind: type[_PlainLine], visit: _Visit, host: str, **settings: Any) -> _PlainLine:
    line = kind(host, **settings)
    line.visit = visit
    return line


class _Http(urllib.request.HTTPHandler):
    def __init__(self, visit: _Visit) -> None:
        super().__init__()
        self._visit = visit

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(partial(_line, _PlainLine, self._visit), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, visit: _Visit) -> None:
        super().__init__()
        self._visit = visit

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(partial(_line, _SecureLine, self._visit), req)


# ---- picture: The ``image`` of a request → the bytes of an image file that may be opened.


_MAX_SIDE = 65_500  # pixels: what a JPEG, which goes back, can have


_SPACES = re.compile(r"\s+")


def load_picture(image: str, options: ServeOptions) -> bytes:
    """Decode or fetch a picture and look at its head.

    Args:
        image: base64, lines broken or not, or a URL.
        options: limits, and whether URLs are fetched.

    Returns:
        The image file, not decoded.

    Raises:
        ServiceError: 422, it is no image or may not be fetched; 413, it has too many pixels.
    """
    try:
        data = _fetch(image, options) if is_url(image) else _decode(image)
        height, width = image_size(data, "image")
    except InputError as error:
        status = 413 if isinstance(error.__cause__, DecompressionBombError) else 422
        raise ServiceError(status, str(error)) from error
    if height * width > options.max_pixels or max(height, width) > _MAX_SIDE:
        raise ServiceError(
            413,
            f"image may have {options.max_pixels:,.0f} pixels at most, and {_MAX_SIDE:,} a side. "
            f"Got {width} x {height}. Make it smaller.",
        )
    return data


def _fetch(url: str, options: ServeOptions) -> bytes:
    if not options.allow_urls:
        raise InputError("image must be base64: this service fetches no URLs (--allow-urls).")
    return fetch_public(url, options.max_body)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(_SPACES.sub("", text), validate=True)
    except ValueError as error:  # binascii's own is one
        raise InputError(f"image must be an image file in base64, and is not: {error}.") from error
