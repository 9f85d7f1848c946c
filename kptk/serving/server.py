"""uvicorn, with time limits for what it waits for without end, and an end that is clean."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from kptk.errors import ConfigError
from kptk.serving.app import build_app
from kptk.serving.batching import Predictor
from kptk.serving.options import ServeOptions


def run_server(
    pipe: Predictor,
    options: ServeOptions,
    host: str,
    port: int,
    access_log: bool,
    on_ready: Callable[[str], object],
) -> None:
    """See :func:`kptk.serving.serve`."""
    with _listen(host, port) as listener, _stop_signals_are_no_failure():
        config = uvicorn.Config(
            build_app(pipe, options),
            http=_limited(options.body_timeout),
            ws="none",
            lifespan="on",
            log_level="info" if access_log else "warning",
            access_log=access_log,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(options.body_timeout + options.timeout),
        )
        _Server(config, lambda: on_ready(_address(host, listener))).run([listener])


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def _limited(seconds: float) -> type[H11Protocol]:
    class Limited(_LimitedProtocol):
        limit = seconds

    return Limited


class _LimitedProtocol(H11Protocol):
    """Ends a connection whose client is slow with a request's head, or with reading an answer.

    uvicorn times neither. The body is timed by Intake, which can still answer; what is left of a
    body that was refused is thrown away within the same limit.
    """

    limit: float
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wind()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:  # the head is there
            self._stop()

    def on_response_complete(self) -> None:
        self._wind()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._wind()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stop()
        super().resume_writing()

    def _wind(self) -> None:
        self._stop()
        self._timer = self.loop.call_later(self.limit, self.transport.abort)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, place = found[0]
        return socket.create_server((str(place[0]), port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"The service cannot listen at {host}, port {port}: {error}. "
            "Choose others with --host and --port; --port 0 takes a port that is free."
        ) from error


def _address(host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


@contextmanager
def _stop_signals_are_no_failure() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more, which would end the process with it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
