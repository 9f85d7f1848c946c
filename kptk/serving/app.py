"""The ASGI application: what is settled before a request is understood, and two operations.

Every answer, results and errors alike, comes in PaddleX's one envelope.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Coroutine
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
from kptk.serving.fetch import load_image
from kptk.serving.schema import (
    DetectionRequest,
    DetectionResponse,
    ErrorResponse,
    HealthResponse,
    ServeOptions,
)

_FETCHES = 8  # at a time, until they are answered; images that come along do not wait for them

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
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}


def build_app(pipe: Predictor, options: ServeOptions) -> FastAPI:
    """See :func:`kptk.serving.create_app`."""
    batcher = Batcher(pipe, max_batch=options.max_batch, max_queue=options.max_queue)
    threads = ThreadPoolExecutor(_FETCHES, "kptk-fetch")
    fetches = asyncio.Semaphore(_FETCHES)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        demo = demo_images()[0].read_bytes()
        size = image_size(demo, "The demo image")
        await asyncio.to_thread(warm_up, pipe, demo, size, options.max_batch)
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
    for kind in (ServiceError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _on_error)

    def documented(*codes: int) -> dict[int | str, dict[str, Any]]:
        return {code: {"model": ErrorResponse, "description": _REASONS[code]} for code in codes}

    @app.get(
        "/health",
        response_model=HealthResponse,
        responses=documented(503),
        operation_id="health",
        summary="Whether the service is ready.",
    )
    async def health() -> Response:
        """Say that the models are loaded and warm."""
        if not batcher.ready:
            raise ServiceError(503, "The service is starting or ending.")
        return _answer(None, 0, "Healthy")

    async def run(asked: DetectionRequest, threads: ThreadPoolExecutor | None) -> dict[str, Any]:
        """Load the image in one of the threads (None: asyncio's own) and wait for its answer."""
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(threads, load_image, asked.image, options)
        job = Job(data, asked.detThreshold, asked.visualize is not False)
        return await asyncio.wrap_future(batcher.submit(job))

    async def fetch_and_run(asked: DetectionRequest) -> dict[str, Any]:
        async with fetches:  # their bytes are not among those of the bodies
            return await run(asked, threads)

    @app.post(
        "/human-keypoint-detection",
        response_model=DetectionResponse,
        responses=documented(*_REASONS),
        operation_id="infer",
        summary="Find people and their keypoints.",
        dependencies=[Depends(HTTPBearer(auto_error=False))] if options.token else None,
    )
    async def detect(asked: DetectionRequest, request: Request) -> Response:
        """Find the people in one image."""
        log_id = request.state.log_id = asked.logId or str(uuid.uuid4())
        work = fetch_and_run(asked) if is_url(asked.image) else run(asked, None)
        try:
            async with asyncio.timeout(options.timeout):
                result = await _while_connected(request, work)
        except TimeoutError:
            raise ServiceError(504, f"The answer took more than {options.timeout:g} s.") from None
        return _answer(log_id, 0, "Success", result)

    return app


async def _while_connected(
    request: Request, work: Coroutine[Any, Any, dict[str, Any]]
) -> dict[str, Any]:
    """The work's result; when the client goes, the work is cancelled and gives up its turn."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = working, _ = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ServiceError(400, "The client has gone.")  # nobody reads it
        return working.result()
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, ServiceError):
                await task


def _answer(log_id: str | None, code: int, message: str, result: Any = None) -> Response:
    """The envelope; ``code`` is 0 or HTTP's status."""
    body = {"logId": log_id or str(uuid.uuid4()), "result": result, "errorCode": code,
            "errorMsg": message}  # fmt: skip
    if result is None:
        del body["result"]
    # ASCII: a logId may hold half a surrogate pair, which UTF-8 cannot.
    content = json.dumps(body, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Response(content, code or 200, _HEADERS.get(code), "application/json")


async def _on_error(request: Request, error: Exception) -> Response:
    """For what the service or the framework refuses, and for what nobody foresaw."""
    log_id = getattr(request.state, "log_id", None)
    if isinstance(error, ServiceError):
        return _answer(log_id, error.status, str(error))
    if isinstance(error, HTTPException):  # no such page, another method
        message = str(error.detail)
        if message in ("Not Found", "Method Not Allowed"):
            message += (
                f": {request.method} {request.url.path}. This service answers "
                "POST /human-keypoint-detection and GET /health, /docs."
            )
        response = _answer(log_id, error.status_code, message)
        response.headers.update(error.headers or {})
        return response
    if isinstance(error, RequestValidationError):
        given = error.body.get("logId") if isinstance(error.body, dict) else None
        known = given if isinstance(given, str) and len(given) <= 128 else None
        mistakes = [
            f"The body must be JSON: {found.get('ctx', {}).get('error', 'it is none')}"
            if found["type"] == "json_invalid"
            else f"{'.'.join(map(str, found['loc'][1:])) or 'The body'}: {found['msg']}"
            for found in error.errors()
        ]
        return _answer(known, 422, "; ".join(mistakes) or "The request is not valid.")
    # the server logs it
    return _answer(log_id, 500, f"The service failed ({type(error).__name__}); see its log.")


class Intake:
    """ASGI middleware that takes in whole bodies: who asks, how much comes, how long it takes.

    The application behind it gets the body in one piece, as JSON whatever it was called: clients
    of PaddleX often forget the header.
    """

    def __init__(self, app: ASGIApp, options: ServeOptions) -> None:
        self._app = app
        self._options = options
        self._held = 0  # bytes of all bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            headers = Headers(scope=scope)
            self._check_sender(headers)
            if int(headers.get("content-length", 0)) > self._options.max_body:
                raise self._too_large()
            complete = await self._read(receive, body)
        except ServiceError as error:
            await _answer(None, error.status, str(error))(scope, receive, send)
        else:
            if complete:
                kept = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
                kept.append((b"content-type", b"application/json"))
                await self._app({**scope, "headers": kept}, _replay(bytes(body), receive), send)
        finally:
            self._held -= len(body)

    def _check_sender(self, headers: Headers) -> None:
        """Refuse who lacks the token, and what a browser sends for pages of others.

        A page's own name may be made to mean this machine after the page has come (DNS
        rebinding), so that its origin is the host; addresses and ``localhost`` cannot be.
        """
        token, origin = self._options.token, headers.get("origin")
        if token is not None:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode(), token.encode())
            if scheme.lower() != "bearer" or not right:
                raise ServiceError(
                    401, "This service wants the header: Authorization: Bearer TOKEN"
                )
        if origin is None:
            return
        if origin.partition("://")[2] != headers.get("host"):
            raise ServiceError(403, f"Pages of other origins may not ask. Got Origin: {origin}")
        if token is None and not _is_fixed(origin):
            raise ServiceError(
                403,
                "Without a token, pages may ask only if they come from an IP address or localhost. "
                f"Got Origin: {origin}. Start the service with --token-file, or open it that way.",
            )

    async def _read(self, receive: Receive, body: bytearray) -> bool:
        """Fill ``body``; False when the client has gone."""
        options = self._options
        try:
            async with asyncio.timeout(options.body_timeout):
                while (message := await receive())["type"] != "http.disconnect":
                    chunk = message.get("body", b"")
                    body += chunk
                    self._held += len(chunk)
                    if len(body) > options.max_body:
                        raise self._too_large()
                    if self._held > options.max_total_mb * 2**20:
                        raise ServiceError(
                            503, "Too much is being sent at a time. Try again in a moment."
                        )
                    if not message.get("more_body", False):
                        return True
                return False
        except TimeoutError:
            seconds = options.body_timeout
            raise ServiceError(408, f"The request did not come in within {seconds:g} s.") from None

    def _too_large(self) -> ServiceError:
        limit = self._options.max_body_mb
        return ServiceError(413, f"A request may hold {limit:g} MiB at most. Send less.")


def _is_fixed(origin: str) -> bool:
    """Whether an origin's host is an IP address or ``localhost``, which no resolver decides."""
    try:
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or bool(ip_address(host))
    except ValueError:
        return False


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body as one message, then whatever comes: that the client has gone."""
    left = [body]

    async def again() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return again
