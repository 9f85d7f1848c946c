"""The service's throughput and latency, by the number of clients that ask at a time.

``python benchmarks/serving.py`` starts the service as a process of its own, twice: with a pipeline
that does nothing, which shows what HTTP, base64 and the queue cost, and with the demo pair. Clients
keep their connection and ask again as soon as they have their answer.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

import harness
import numpy as np

from kptk.pipeline.results import PoseResult

CLIENTS = {"nothing": (1, 8, 32, 256), "demo": (1, 8, 32)}
SECONDS = 2 if os.environ.get("KPTK_BENCH_ROUNDS") == "1" else 10
PATH = "/human-keypoint-detection"


class Nothing:
    """A pipeline that finds nobody, without looking."""

    kpt_batch_size = 1

    def predict(
        self,
        source: Any,
        *,
        boxes: Any = None,
        det_threshold: float | None = None,
        batch_size: int | None = None,
    ) -> Iterator[PoseResult]:
        """An empty result for each image."""
        nobody = np.zeros((0, 4), np.float32)
        points = np.zeros((0, 17, 3), np.float32)
        for _ in source:
            yield PoseResult(None, "x", None, ".jpg", nobody, nobody[:, 0], points)


@contextmanager
def service(name: str) -> Iterator[tuple[str, int]]:
    """The service in a process of its own, for as long as the block lasts."""
    command = [sys.executable, __file__, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        host, _, port = process.stdout.readline().strip().removeprefix("http://").partition(":")
        try:
            yield host, int(port)
        finally:
            process.send_signal(signal.SIGTERM)


def run_service(name: str) -> None:
    """What that process does: serve until it is told to end."""
    from functools import partial

    import kptk
    from kptk.serving import serve

    pipe: Any = Nothing() if name == "nothing" else kptk.create_pipeline(name)
    serve(pipe, port=0, on_ready=partial(print, flush=True))


def ask_for(address: tuple[str, int], body: bytes, until: float, took: list[float]) -> None:
    """One client: ask until the time is over, and note how long each answer took."""
    line = HTTPConnection(*address, timeout=60)
    while time.perf_counter() < until:
        began = time.perf_counter()
        line.request("POST", PATH, body, {"Content-Type": "application/json"})
        answer = json.loads(line.getresponse().read())
        assert answer["errorCode"] == 0, answer
        took.append(1e3 * (time.perf_counter() - began))
    line.close()


def measure(address: tuple[str, int], clients: int, visualize: bool) -> list[str]:
    """Requests a second and percentiles of their milliseconds."""
    image = base64.b64encode(harness.PICTURE.read_bytes()).decode()
    body = json.dumps({"image": image, "visualize": visualize}).encode()
    took: list[float] = []
    began = time.perf_counter()
    arguments = (address, body, began + SECONDS, took)
    threads = [threading.Thread(target=ask_for, args=arguments) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(took) / (time.perf_counter() - began)
    return [f"{rate:.1f}", *(f"{np.percentile(took, q):.0f}" for q in (50, 90, 99))]


def main() -> None:
    """Measure both and print."""
    rows = []
    for name, visualize in (("nothing", False), ("demo", False), ("demo", True)):
        with service(name) as address:
            measure(address, 1, visualize)  # warm-up
            for clients in CLIENTS[name]:
                what = f"{name}, with images" if visualize else name
                rows.append([what, str(clients), *measure(address, clients, visualize)])
    size = harness.PICTURE.stat().st_size >> 10
    harness.section(
        "The service",
        f"{SECONDS} s each, on one image of {size} KiB; the clients run on the same "
        f"{harness.THREADS} cores. `nothing` is a pipeline that does nothing.",
        harness.table(["pipeline", "clients", "requests/s", "p50, ms", "p90, ms", "p99, ms"], rows),
    )


if __name__ == "__main__":
    run_service(sys.argv[1]) if len(sys.argv) == 2 else main()
