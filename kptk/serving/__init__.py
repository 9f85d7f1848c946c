"""The pipeline as a web service, with PaddleX's requests, responses and errors.

:func:`serve` is what ``kptk serve`` runs. :func:`create_app` gives the ASGI application alone, for
a server of your own::

    import kptk
    from kptk.serving import ServeOptions, create_app

    app = create_app(kptk.create_pipeline("demo"), ServeOptions(max_batch=16))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kptk.errors import require
from kptk.serving.batching import Predictor
from kptk.serving.schema import ServeOptions

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["Predictor", "ServeOptions", "create_app", "serve"]

_PURPOSE = "The service"


def create_app(pipe: Predictor, options: ServeOptions | None = None) -> FastAPI:
    """Make the service's ASGI application.

    It loads nothing: when its lifespan starts, it tries the pipeline out once, so that the models
    are warm; when it ends, what has been accepted is finished. One thread runs the pipeline, which
    must not be used elsewhere meanwhile. Run it as the outermost application: mounted inside
    another one, its lifespan would not run. A server of your own should limit the time for a
    request's head, which an application never sees; `serve` does.

    Args:
        pipe: what answers; see :func:`kptk.create_pipeline`.
        options: limits, the token and whether URLs are fetched.

    Raises:
        MissingDependencyError: FastAPI is not installed.
    """
    require("fastapi", "serve", _PURPOSE)
    from kptk.serving.app import build_app

    return build_app(pipe, options or ServeOptions())


def serve(
    pipe: Predictor,
    options: ServeOptions | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    access_log: bool = False,
    on_ready: Callable[[str], object] = print,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what has been accepted and return.

    Args:
        pipe: what answers; see :func:`kptk.create_pipeline`.
        options: limits, the token and whether URLs are fetched.
        host: address or name to listen at; ``"0.0.0.0"`` is every network this machine is on.
        port: 0 takes one that is free.
        access_log: write a line for every request to stdout.
        on_ready: called with the service's address once it answers.

    Raises:
        ConfigError: the address cannot be listened at.
        MissingDependencyError: FastAPI or uvicorn is not installed.
    """
    for module in ("fastapi", "uvicorn"):
        require(module, "serve", _PURPOSE)
    from kptk.serving.app import build_app
    from kptk.serving.server import build_server, listen

    options = options or ServeOptions()
    with listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listener.getsockname()[1]}"
        app = build_app(pipe, options)
        build_server(app, options, lambda: on_ready(address), access_log).run([listener])
