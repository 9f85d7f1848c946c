"""Responses in the envelope, for results and for everything that goes wrong."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kptk import __version__
from kptk.demo import demo_images
from kptk.errors import ServiceError
from kptk.io.images import image_size, is_url
from kptk.serving.batching import Batcher, Job, Predictor, warm_up
from kptk.serving.fetch import load_picture
from kptk.serving.schema import (
    DetectionRequest,
    DetectionResponse,
    ErrorResponse,
    HealthResponse,
    ServeOptions,
    envelope,
    new_log_id,
)

_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}


def answer(log_id: str, message: str, result: Any = None) -> Response:
    """An answer of code 0."""
    return _respond(200, envelope(log_id, 0, message, result))


def refusal(error: ServiceError, log_id: str | None = None) -> Response:
    """An answer that carries an error."""
    body = envelope(log_id or new_log_id(), error.status, str(error))
    return _respond(error.status, body, _HEADERS.get(error.status))


def _respond(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    # ASCII: a logId may hold half a surrogate pair, which UTF-8 cannot.
    content = json.dumps(body, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Response(content, status, headers, "application/json")


async def on_service_error(request: Request, error: Exception) -> Response:
    """For what the service refuses."""
    assert isinstance(error, ServiceError)
    return refusal(error, getattr(request.state, "log_id", None))


async def on_framework_error(request: Request, error: Exception) -> Response:
    """For what the framework refuses: no such page, another method."""
    response = refusal(ServiceError(getattr(error, "status_code", 500), _said(request, error)))
    response.headers.update(getattr(error, "headers", None) or {})
    return response


def _said(request: Request, error: Exception) -> str:
    detail = str(getattr(error, "detail", ""))
    asked = f"{request.method} {request.url.path}"
    hint = " This service answers POST /human-keypoint-detection and GET /health, /docs."
    return f"{detail}: {asked}.{hint}" if detail in ("Not Found", "Method Not Allowed") else detail


async def on_invalid(request: Request, error: Exception) -> Response:
    """For a body that is no request: one sentence a mistake, and the logId if it can be read."""
    body = getattr(error, "body", None)
    log_id = body.get("logId") if isinstance(body, dict) else None
    mistakes: Sequence[Any] = error.errors() if hasattr(error, "errors") else ()
    message = "; ".join(map(_mistake, mistakes)) or "The request is not valid."
    known = isinstance(log_id, str) and len(log_id) <= 128
    return refusal(ServiceError(422, message), log_id if known else None)


def _mistake(found: dict[str, Any]) -> str:
    if found["type"] == "json_invalid":
        return f"The body must be JSON: {found.get('ctx', {}).get('error', 'it is none')}"
    place = ".".join(map(str, found["loc"][1:])) or "The body"
    return f"{place}: {found['msg']}"


async def on_bug(request: Request, error: Exception) -> Response:
    """For what nobody foresaw; the server logs it."""
    log_id = getattr(request.state, "log_id", None)
    kind = type(error).__name__
    return refusal(ServiceError(500, f"The service failed ({kind}); see its log."), log_id)


# ---- intake: What is settled before a request is understood: who asks, how much comes, how long
# it takes.


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


# ---- app: The ASGI application: two operations and the way an image takes through them.


_FETCHES = 8  # at a time, until they are answered; pictures that come along do not wait for them


_REASONS = {
    400: "The request cannot be read.",
    401: "The token is missing or wrong.",
    403: "A web page of another origin asks.",
    408: "The request came in too slowly.",
    413: "Too many bytes or pixels.",
    422: "The body is no request, or the image no image.",
    500: "The pipeline failed.",
    503: "Too many wait, or the service starts or ends.",
    504: "The answer took too long.",
}


def build_app(pipe: Predictor, options: ServeOptions) -> FastAPI:
    """See :func:`kptk.serving.create_app`."""
    batcher = Batcher(pipe, max_batch=options.max_batch, max_queue=options.max_queue)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(_warm_up, pipe, options.max_batch)
        batcher.start()
        yield
        await asyncio.to_thread(batcher.close)

    app = FastAPI(
        title="kptk: human keypoint detection",
        version=__version__,
        description="Finds people in an image and places 17 keypoints on each.",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.batcher = batcher
    app.add_middleware(Intake, options=options)
    _add_handlers(app)
    _add_operations(app, _Service(batcher, options))
    return app


def _warm_up(pipe: Predictor, max_batch: int) -> None:
    data = demo_images()[0].read_bytes()
    warm_up(pipe, data, image_size(data, "The demo image"), max_batch)


def _add_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ServiceError, on_service_error)
    app.add_exception_handler(HTTPException, on_framework_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(Exception, on_bug)


def _add_operations(app: FastAPI, service: _Service) -> None:
    app.add_api_route(
        "/health",
        service.health,
        response_model=HealthResponse,
        responses=_documented(503),
        operation_id="health",
        summary="Whether the service is ready.",
    )
    app.add_api_route(
        "/human-keypoint-detection",
        service.detect,
        methods=["POST"],
        response_model=DetectionResponse,
        responses=_documented(*_REASONS),
        operation_id="infer",
        summary="Find people and their keypoints.",
        dependencies=[Depends(HTTPBearer(auto_error=False))] if service.options.token else None,
    )


def _documented(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": ErrorResponse, "description": _REASONS[code]} for code in codes}


class _Service:
    """The operations; FastAPI reads what they take from their signatures."""

    def __init__(self, batcher: Batcher, options: ServeOptions) -> None:
        self.options = options
        self._batcher = batcher
        self._fetches = ThreadPoolExecutor(_FETCHES, "kptk-fetch")
        self._fetched = asyncio.Semaphore(_FETCHES)

    async def health(self) -> Response:
        """Say that the models are loaded and warm."""
        if not self._batcher.ready:
            raise ServiceError(503, "The service is starting or ending.")
        return answer(new_log_id(), "Healthy")

    async def detect(self, asked: DetectionRequest, request: Request) -> Response:
        """Find the people in one image."""
        log_id = request.state.log_id = asked.logId or new_log_id()
        try:
            async with asyncio.timeout(self.options.timeout):
                result = await _while_connected(request, lambda: self._result(asked))
        except TimeoutError:
            seconds = self.options.timeout
            raise ServiceError(504, f"The answer took more than {seconds:g} s.") from None
        return answer(log_id, "Success", result)

    async def _result(self, asked: DetectionRequest) -> dict[str, Any]:
        if not is_url(asked.image):
            return await self._run(asked, None)
        async with self._fetched:  # their bytes are not among those of the bodies
            return await self._run(asked, self._fetches)

    async def _run(
        self, asked: DetectionRequest, threads: ThreadPoolExecutor | None
    ) -> dict[str, Any]:
        """Load the picture in one of the threads (None: asyncio's own) and wait for its answer."""
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(threads, load_picture, asked.image, self.options)
        job = Job(data, asked.detThreshold, asked.visualize is not False)
        return await asyncio.wrap_future(self._batcher.submit(job))


async def _while_connected(
    request: Request, work: Callable[[], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    """The work's result; when the client goes, the work is cancelled and frees its place."""
    working = asyncio.ensure_future(work())
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ServiceError(400, "The client has gone.")  # nobody reads it
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, ServiceError):
                await task


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
