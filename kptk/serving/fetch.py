"""The ``image`` of a request → the bytes of an image file: decoded, or fetched by its URL.

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
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from PIL.Image import DecompressionBombError

from kptk.errors import InputError, ServiceError
from kptk.io.images import fetch, http_opener, image_size, is_url
from kptk.serving.schema import ServeOptions

FETCH_SECONDS = 15.0  # for all of it; only the resolver has a limit of its own
_NAT64 = IPv6Network("64:ff9b::/96")
_MAX_SIDE = 65_500  # pixels: what a JPEG, which goes back, can have


def load_image(image: str, options: ServeOptions) -> bytes:
    """Decode or fetch an image file and look at its head.

    Args:
        image: base64, lines broken or not, or a URL.
        options: limits, and whether URLs are fetched.

    Returns:
        The image file, not decoded.

    Raises:
        ServiceError: 422, it is no image or may not be fetched; 413, it has too many pixels.
    """
    try:
        if not is_url(image):
            try:
                data = base64.b64decode(re.sub(r"\s+", "", image), validate=True)
            except ValueError as error:  # binascii's own is one
                raise InputError(
                    f"image must be an image file in base64, and is not: {error}."
                ) from error
        elif options.allow_urls:
            data = fetch_public(image, options.max_body)
        else:
            raise InputError("image must be base64: this service fetches no URLs (--allow-urls).")
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
    failure = None
    try:
        data = fetch(url, _opener(visit), max_bytes)
    except InputError as error:
        failure = error
    finally:
        timer.cancel()
        visit.close()
    if visit.over:  # what came ends where it was cut
        raise InputError(f"{url} took more than {seconds:g} seconds: given up.") from failure
    if failure is not None:
        raise failure
    return data


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the internet at large.

    IPv6 addresses that stand for an IPv4 address (mapped, 6to4, Teredo, NAT64) are what that is.
    """
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if ip in _NAT64:
            ip = IPv4Address(int(ip) & 0xFFFFFFFF)
        else:
            ip = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)
    special = ip.is_multicast or ip.is_reserved or ip.is_link_local or ip.is_loopback
    return ip.is_global and not special and not getattr(ip, "is_site_local", False)


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
        addresses = [(str(address[0]), int(address[1])) for *_, address in found]
        if not all(is_public(address) for address, _ in addresses):
            raise InputError(
                f"{host} is not a public address, so nothing is fetched from it. "
                "Send the image itself."
            )
        failure: OSError = TimeoutError("timed out")
        for address in addresses:
            left = self._end - time.monotonic()
            if left <= 0:
                break
            try:
                line = socket.create_connection(address, min(left, timeout or left))
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


def _opener(visit: _Visit) -> urllib.request.OpenerDirector:
    """What opens URLs by the connections of a visit."""

    class Plain(HTTPConnection):
        def connect(self) -> None:
            self.sock = visit.connect(self.host, self.port, self.timeout)

    class Secure(HTTPSConnection, Plain):
        """Under TLS: HTTPSConnection.connect calls the one above, then checks the name."""

    class Http(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> HTTPResponse:
            return self.do_open(Plain, req)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> HTTPResponse:
            return self.do_open(Secure, req)

    return http_opener(Http(), Https())
