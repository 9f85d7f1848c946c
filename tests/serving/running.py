"""The service over a real socket, with a fake pipeline whose answer names the picture."""

from __future__ import annotations

import base64
import io
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
import uvicorn
from PIL import Image

from kptk.pipeline.detector import Detections
from kptk.pipeline.pipeline import Pipeline
from kptk.serving.app import build_app
from kptk.serving.batching import Batcher
from kptk.serving.schema import ServeOptions
from kptk.serving.server import build_server, listen
from tests.fake_pair import FakeDetector, FakePose

PATH = "/human-keypoint-detection"
PATIENCE = 20  # seconds until a test that waits for a condition gives up


def picture(number: int) -> bytes:
    """A PNG that the fake pipeline recognises, 0 to 255."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (number, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def right_edge(number: int) -> float:
    """x2 of the one person in a picture: what names it in the answer."""
    return number + 2.0


class GatedDetector(FakeDetector):
    """Finds a person of score .9 in every picture; waits while the gate is shut.

    ``seen`` are the numbers of the pictures, batch by batch; number 13 makes its batch fail.
    """

    def __init__(self) -> None:
        super().__init__({n: [(1, 1, right_edge(n), 9, 0.9)] for n in range(256)}, 0.5)
        self.gate = threading.Event()
        self.gate.set()
        self.seen: list[list[int]] = []

    def predict(
        self, images: Sequence[np.ndarray], *, threshold: float, batch_size: int
    ) -> list[Detections]:
        self.seen.append([int(image[0, 0, 0]) for image in images])
        assert self.gate.wait(PATIENCE)
        if 13 in self.seen[-1]:
            raise RuntimeError("secret reason")
        return super().predict(images, threshold=threshold, batch_size=batch_size)


def gated() -> tuple[Pipeline, GatedDetector]:
    detector: Any = GatedDetector()
    pose: Any = FakePose()
    return Pipeline(detector, pose), detector


@dataclass
class Service:
    """A running service.

    Attributes:
        address: ``http://127.0.0.1:port``.
        detector: of its pipeline.
        batcher: inside it.
        server: uvicorn's.
        warm_up: the sizes of the batches that the models saw before it was ready: of pictures,
            and of people.
    """

    address: str
    detector: GatedDetector
    batcher: Batcher
    server: uvicorn.Server
    warm_up: tuple[list[int], list[int]]

    @property
    def place(self) -> tuple[str, int]:
        host, _, port = self.address.removeprefix("http://").rpartition(":")
        return host, int(port)

    def ask(self, number: int = 1, **fields: Any) -> requests.Response:
        body = {"image": encoded(picture(number)), **fields}
        return requests.post(self.address + PATH, json=body, timeout=PATIENCE)

    def send(self, head: str, body: bytes = b"") -> socket.socket:
        """A connection of one's own, on which a request with these headers has been sent."""
        line = socket.create_connection(self.place, timeout=PATIENCE)
        line.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body)
        return line


@contextmanager
def running(options: ServeOptions | None = None, send_buffer: int = 0) -> Iterator[Service]:
    """The service in a thread of this process, on a free port.

    ``send_buffer`` bytes are kept by the system for a client that does not read; 0: its default.
    """
    pipe, detector = gated()
    options = options or ServeOptions()
    app = build_app(pipe, options)
    ready = threading.Event()
    with listen("127.0.0.1", 0) as listener:
        if send_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        server = build_server(app, options, ready.set)
        thread = threading.Thread(target=server.run, args=([listener],))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.start()
        try:
            assert ready.wait(PATIENCE)
            pose: Any = pipe.pose
            warm_up = ([len(batch) for batch in detector.seen], list(pose.calls))
            detector.seen.clear()
            yield Service(address, detector, app.state.batcher, server, warm_up)
        finally:
            detector.gate.set()
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


def wait_for(condition: Callable[[], object]) -> None:
    """Return when it holds; fail when it does not for PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def in_threads(count: int, work: Callable[[int], Any]) -> Callable[[], list[Any]]:
    """Start ``work(0)``, ``work(1)``, ... at once; call what comes back for the results."""
    results: list[Any] = [None] * count

    def run(index: int) -> None:
        try:
            results[index] = work(index)
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()

    def finish() -> list[Any]:
        for thread in threads:
            thread.join(2 * PATIENCE)
        return results

    return finish


def read_all(line: socket.socket) -> bytes:
    """What the server sends until it ends the connection."""
    data = bytearray()
    with suppress(ConnectionResetError):
        while chunk := line.recv(1 << 16):
            data += chunk
    return bytes(data)


if __name__ == "__main__":  # a service that says when it works, and waits for a line on stdin
    from kptk.serving import serve

    slow_pipe, slow = gated()

    class Loud(list[list[int]]):
        def append(self, batch: list[int]) -> None:
            super().append(batch)
            print("working", batch, flush=True)

    def ready_(address: str) -> None:
        slow.seen = Loud()
        slow.gate.clear()
        print(address, flush=True)

    threading.Thread(target=lambda: (sys.stdin.readline(), slow.gate.set()), daemon=True).start()
    serve(slow_pipe, ServeOptions(max_batch=1), port=0, on_ready=ready_)
    print("ended", flush=True)
