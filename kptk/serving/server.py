"""uvicorn, with time limits for what it waits for without end, and an end that is clean."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from kptk.errors import ConfigError
from kptk.serving.schema import ServeOptions


def build_server(
    app: FastAPI, options: ServeOptions, on_ready: Callable[[], object], access_log: bool = False
) -> uvicorn.Server:
    """Make the server of an application; ``run`` it with the sockets it listens at."""

    class Limited(_LimitedProtocol):
        limit = options.body_timeout

    class Server(uvicorn.Server):
        """Says when it answers, and ends without failure when a signal asks it to."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_ready()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # uvicorn's own keeps the signal, to raise it once more at the end
            self.force_exit |= self.should_exit and sig == signal.SIGINT
            self.should_exit = True

    config = uvicorn.Config(
        app,
        http=Limited,
        ws="none",
        lifespan="on",
        log_level="info" if access_log else "warning",
        access_log=access_log,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(options.body_timeout + options.timeout),
    )
    return Server(config)


class _LimitedProtocol(H11Protocol):
    """Ends a connection whose client is slow with a request's head, or with reading an answer.

    uvicorn times neither. The body is timed by Intake, which can still answer; what is left of a
    body that was refused is thrown away within the same limit.
    """

    limit: float
    _head: asyncio.TimerHandle | None = None
    _flush: asyncio.TimerHandle | None = None
    _unsent: float = math.inf  # bytes when it was last looked

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does this by itself only for sockets that name their protocol, which ours do not;
        # without it an answer's second part waits 40 ms for the first to be acknowledged.
        line = transport.get_extra_info("socket")
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head, self._flush):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._await_head()
        self._await_flush()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._await_flush()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._unsent = math.inf
        super().resume_writing()

    def _await_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
        self._head = self.loop.call_later(self.limit, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            return  # the head came, and what follows has limits of its own
        if self.transport.get_write_buffer_size():  # the other timer sees to that
            self._await_head()
        else:
            self.transport.abort()

    def _await_flush(self) -> None:
        self._unsent = math.inf  # more has been written: compare anew
        if self._flush is None and self.transport.get_write_buffer_size():
            self._flush = self.loop.call_later(self.limit, self._end_unless_read)

    def _end_unless_read(self) -> None:
        self._flush = None
        unsent = self.transport.get_write_buffer_size()
        if 0 < unsent < self._unsent:
            self._unsent = unsent
            self._flush = self.loop.call_later(self.limit, self._end_unless_read)
        elif unsent:
            self.transport.abort()


def listen(host: str, port: int) -> socket.socket:
    """Open the port; connections wait until a server takes them.

    Raises:
        ConfigError: it is taken, or the host is no address of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"The service cannot listen at {host}, port {port}: {error}. "
            "Choose others with --host and --port; --port 0 takes a port that is free."
        ) from error
