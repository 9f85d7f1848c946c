"""What is settled before a request is understood: who asks, how much comes, how long it takes."""

from __future__ import annotations

import asyncio
import hmac
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kptk.errors import ServiceError
from kptk.serving.answers import refusal
from kptk.serving.options import ServeOptions

_READ_ONLY = ("GET", "HEAD", "OPTIONS")


class Intake:
    """ASGI middleware that takes in whole bodies, within the limits.

    The application behind it gets the body in one piece, as JSON whatever it was called: clients
    of PaddleX often forget the header.
    """

    def __init__(self, app: ASGIApp, options: ServeOptions) -> None:
        self._app = app
        self._options = options
        self._held = 0  # bytes of all bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in _READ_ONLY:
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            self._check_head(Headers(scope=scope))
            whole = await self._read(receive, body)
        except ServiceError as error:
            await refusal(error)(scope, receive, send)
        else:
            if whole:
                await self._app(_as_json(scope), _replay(bytes(body), receive), send)
        finally:
            self._held -= len(body)

    def _check_head(self, headers: Headers) -> None:
        self._check_token(headers.get("authorization", ""))
        self._check_origin(headers.get("origin"), headers.get("host"))
        if int(headers.get("content-length", 0)) > self._options.max_body:
            raise self._too_large()

    def _check_origin(self, origin: str | None, host: str | None) -> None:
        """Refuse what a browser sends for pages of others.

        A page's own name may be made to mean this machine after the page has come (DNS
        rebinding), so that its origin is the host; addresses and ``localhost`` cannot be.
        """
        if origin is None:
            return
        if origin.partition("://")[2] != host:
            raise ServiceError(403, f"Pages of other origins may not ask. Got Origin: {origin}")
        if self._options.token is None and not _is_fixed(origin):
            raise ServiceError(
                403,
                "Without a token, pages may ask only if they come from an IP address or localhost. "
                f"Got Origin: {origin}. Start the service with --token-file, or open it that way.",
            )

    def _check_token(self, authorization: str) -> None:
        if self._options.token is None:
            return
        scheme, _, given = authorization.partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self._options.token.encode())
        if scheme.lower() != "bearer" or not right:
            raise ServiceError(401, "This service wants the header: Authorization: Bearer TOKEN")

    def _too_large(self) -> ServiceError:
        limit = self._options.max_body_mb
        return ServiceError(413, f"A request may hold {limit:g} MiB at most. Send less.")

    async def _read(self, receive: Receive, body: bytearray) -> bool:
        """Fill ``body``; False when the client has gone."""
        try:
            async with asyncio.timeout(self._options.body_timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return False
                    self._add(body, message.get("body", b""))
                    if not message.get("more_body", False):
                        return True
        except TimeoutError:
            seconds = self._options.body_timeout
            raise ServiceError(408, f"The request did not come in within {seconds:g} s.") from None

    def _add(self, body: bytearray, chunk: bytes) -> None:
        body += chunk
        self._held += len(chunk)
        if len(body) > self._options.max_body:
            raise self._too_large()
        if self._held > self._options.max_total:
            raise ServiceError(503, "Too much is being sent at a time. Try again in a moment.")


def _is_fixed(origin: str) -> bool:
    """Whether an origin's host is an IP address or ``localhost``, which no resolver decides."""
    try:
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or bool(ip_address(host))
    except ValueError:
        return False


def _as_json(scope: Scope) -> dict[str, Any]:
    kept = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": [*kept, (b"content-type", b"application/json")]}


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body as one message, then whatever comes: that the client has gone."""
    left = [body]

    async def again() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return again
