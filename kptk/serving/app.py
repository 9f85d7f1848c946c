"""The ASGI application: two operations and the way an image takes through them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from kptk import __version__
from kptk.demo import demo_images
from kptk.errors import ServiceError
from kptk.images import image_size
from kptk.serving import answers
from kptk.serving.batching import Batcher, Job, Predictor, warm_up
from kptk.serving.intake import Intake
from kptk.serving.options import ServeOptions
from kptk.serving.picture import load_picture
from kptk.serving.schema import (
    DetectionRequest,
    DetectionResponse,
    ErrorResponse,
    HealthResponse,
    new_log_id,
)
from kptk.web import is_url

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
    app.add_exception_handler(ServiceError, answers.on_service_error)
    app.add_exception_handler(HTTPException, answers.on_framework_error)
    app.add_exception_handler(RequestValidationError, answers.on_invalid)
    app.add_exception_handler(Exception, answers.on_bug)


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
        return answers.answer(new_log_id(), "Healthy")

    async def detect(self, asked: DetectionRequest, request: Request) -> Response:
        """Find the people in one image."""
        log_id = request.state.log_id = asked.logId or new_log_id()
        try:
            async with asyncio.timeout(self.options.timeout):
                result = await _while_connected(request, lambda: self._result(asked))
        except TimeoutError:
            seconds = self.options.timeout
            raise ServiceError(504, f"The answer took more than {seconds:g} s.") from None
        return answers.answer(log_id, "Success", result)

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
