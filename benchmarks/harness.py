"""What the benchmarks share: cases timed in turn, ratios, tables, models made once, PaddleX.

Every program prints one section of Markdown to standard output; ``all.py`` joins them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".cache" / "bench"
PICTURE = ROOT / "kptk" / "demo" / "images" / "plaza.jpg"
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

# The demo pair's weights serve at every size: how fast a network is does not depend on them.
_MODELS: dict[str, tuple[str, str, tuple[int, int]]] = {
    "det320": ("demo-det", "PP-YOLOE-S_human", (320, 320)),
    "det640": ("demo-det", "PP-YOLOE-S_human", (640, 640)),
    "kpt128": ("demo-kpt", "PP-TinyPose_128x96", (128, 96)),
    "kpt256": ("demo-kpt", "PP-TinyPose_256x192", (256, 192)),
}


@dataclass(frozen=True)
class Times:
    """Seconds of each case, one number a round."""

    seconds: dict[str, list[float]]

    def ms(self, name: str) -> float:
        """Median milliseconds of a case."""
        return 1e3 * statistics.median(self.seconds[name])

    def ratio(self, slow: str, fast: str) -> str:
        """How many times longer one case takes, round by round."""
        return spread(a / b for a, b in zip(self.seconds[slow], self.seconds[fast], strict=True))


def spread(values: Iterable[float]) -> str:
    """``median (lowest to highest)``."""
    found = sorted(values)
    return f"**{statistics.median(found):.2f}** ({found[0]:.2f} to {found[-1]:.2f})"


def in_turn(
    cases: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: int = 1, rest: float = 0.0
) -> Times:
    """Run every case once a round, each round in the opposite order of the one before.

    Args:
        cases: name to a call that returns the seconds it measured, see `timed`.
        rounds: how many rounds count.
        warm_up: rounds before those.
        rest: seconds to wait before each case, for threads that spin after another's work.

    KPTK_BENCH_ROUNDS=1 is for trying a benchmark out.
    """
    rounds = min(rounds, int(os.environ.get("KPTK_BENCH_ROUNDS", rounds)))
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for round_ in range(warm_up + rounds):
        for name in names if round_ % 2 else reversed(names):
            time.sleep(rest)
            took = cases[name]()
            if round_ >= warm_up:
                seconds[name].append(took)
    return Times(seconds)


def timed(call: Callable[[], object]) -> Callable[[], float]:
    """The call, giving its seconds."""

    def run() -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    return run


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers are right-aligned."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def section(title: str, *parts: str) -> None:
    """Print a section to standard output, whole."""
    sys.stdout.write("\n\n".join([f"## {title}", *parts]) + "\n")


def note(text: str) -> None:
    """Say what is going on, outside of the section."""
    sys.stderr.write(f"{text}\n")


def model(name: str) -> Path:
    """A model directory of the demo pair's weights at one of the sizes, exported once."""
    from kptk.files import file_hash
    from kptk.models.export import export_weights
    from kptk.models.zoo import find_weights

    weights, architecture, size = _MODELS[name]
    source = find_weights(weights)
    target = WORK / f"{name}-{file_hash(source / 'inference.onnx')[:12]}"
    if not target.is_dir():
        note(f"exporting {name} (once)")
        export_weights(source, architecture, target, input_size=size)
    return target


def int8_model(name: str) -> Path:
    """A model quantized for OpenVINO on the demo set's training images, made once."""
    import kptk

    source = model(name)
    target = source.with_name(f"{source.name}-int8")
    if not target.is_dir():
        note(f"quantizing {name} (once)")
        seen = kptk.load_coco(kptk.demo_path("day"), split="train")
        kptk.export_edge(source, target, format="openvino-int8", calibration=seen, progress=False)
    return target


def pair(det: str, kpt: str, det_dir: Path | None = None) -> Path:
    """A pipeline's YAML of two of the models; kptk and PaddleX both read those made by `model`."""
    import kptk

    return kptk.swap_weights(
        "demo",
        human_det_model=det_dir or model(det),
        keypoint_det_model=model(kpt),
        save_path=WORK / f"{det}-{kpt}.yaml",
        overwrite=True,
    )


def operations(name: str) -> float:
    """Floating-point operations of a network's convolutions on one image or crop."""
    import onnx

    from kptk.export import plain_graph

    plain = plain_graph(model(name) / "inference.onnx")
    for entry in plain.graph.input:
        entry.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(plain).graph
    kernels = {item.name: list(item.dims) for item in graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    return sum(
        2.0 * np.prod(shapes[node.output[0]]) * np.prod(kernels[node.input[1]][1:])
        for node in graph.node
        if node.op_type == "Conv"
    )


def matrix_speed(n: int = 2048, rounds: int = 10) -> float:
    """Floating-point operations a second of NumPy's float32 matrix product on all cores."""
    one, other = np.random.default_rng(0).random((2, n, n), np.float32)
    product = np.empty_like(one)
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        np.matmul(one, other, out=product)
        times.append(time.perf_counter() - began)
    return 2.0 * n**3 / min(times)


def people(n: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """Boxes of n people, spread over a picture of (height, width): (n, 4), the same every time."""
    rng = np.random.default_rng(n)
    height, width = size
    tall = rng.uniform(0.2, 0.7, n) * height
    wide = tall * rng.uniform(0.3, 0.6, n)
    left = rng.uniform(0, width - wide)
    top = rng.uniform(0, height - tall)
    return np.stack([left, top, left + wide, top + tall], axis=1).astype(np.float32)


class Crowd:
    """A detector that runs, and then says that these people are there."""

    def __init__(self, detector: Any) -> None:
        self.detector = detector
        self.model, self.engine = detector.model, detector.engine
        self.boxes = np.zeros((0, 4), np.float32)

    def predict(self, images: Sequence[NDArray[np.uint8]], **settings: Any) -> list[Any]:
        """The boxes, for every image, after the real detector's work."""
        from kptk.pipeline.detector import Detections

        self.detector.predict(images, **settings)
        return [Detections(self.boxes, np.ones(len(self.boxes), np.float32)) for _ in images]


def paddlex_python() -> str:
    """The interpreter of PaddleX's environment."""
    python = os.environ.get("KPTK_PADDLEX_PYTHON") or str(ROOT / ".venv-paddlex/bin/python")
    if not Path(python).is_file():
        raise SystemExit(f"PaddleX is not installed: {python} is missing. Run: make paddlex-env")
    return python


def paddlex_environment(threads: int | None = THREADS) -> dict[str, str]:
    """Offline, and with so many threads; None: PaddleX's own number, 10."""
    count = {} if threads is None else {"PADDLE_PDX_CPU_NUM_THREADS": str(threads)}
    return {
        **os.environ,
        "PADDLE_PDX_CACHE_HOME": str(WORK / "paddlex-cache"),
        "PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK": "True",
        **count,
    }


class PaddleX:
    """PaddleX in its own environment, a process that answers one request at a time."""

    def __init__(self, threads: int | None = THREADS) -> None:
        self._process = subprocess.Popen(
            [paddlex_python(), "-P", str(Path(__file__).with_name("paddlex_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=paddlex_environment(threads),
        )

    def __enter__(self) -> PaddleX:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, request: str, **arguments: Any) -> Any:
        """One of the functions of ``paddlex_server.py``, by name.

        Raises:
            RuntimeError: it failed; what it said is on standard error.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([request, arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"PaddleX did not answer the request {request!r}.")
        return json.loads(line)
