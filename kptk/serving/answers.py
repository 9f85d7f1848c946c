"""Responses in the envelope, for results and for everything that goes wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kptk.errors import ServiceError
from kptk.serving.schema import envelope, new_log_id

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
