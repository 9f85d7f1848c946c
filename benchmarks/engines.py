"""Which engine is fastest for which network: what ``engine="auto"`` rests on.

The networks alone, on noise: the detector on one image, the pose model on batches. Each engine as
kptk sets it up, on all cores together and, from batches of two up, in parts on one core each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import harness
import numpy as np

from kptk.engines.load import load_engine
from kptk.models.modeldir import ModelDir

ROUNDS = 7
NETWORKS = {"det320": (1, 4), "det640": (1, 4), "kpt128": (1, 8, 16), "kpt256": (1, 8, 16)}
SETUPS: dict[str, dict[str, Any]] = {
    "ONNX Runtime": {"engine": "onnxruntime"},
    "OpenVINO": {"engine": "openvino"},
    "OpenVINO, bfloat16": {"engine": "openvino", "enable_hpi": True},
    "OpenVINO, int8": {"engine": "openvino", "enable_hpi": True},
}


def inputs_of(model: ModelDir, batch: int) -> dict[str, Any]:
    """Noise of the right shapes."""
    noise = np.random.default_rng(batch).standard_normal((batch, 3, *model.input_size))
    inputs = {"image": noise.astype(np.float32)}
    if model.kind == "detection":
        inputs["scale_factor"] = np.ones((batch, 2), np.float32)
    return inputs


def cases_of(name: str, batches: tuple[int, ...]) -> dict[str, Callable[[], float]]:
    """Every engine on every batch; pose models are not worth int8 (``docs/edge.md``)."""
    cases = {}
    for title, options in SETUPS.items():
        int8 = "int8" in title
        if int8 and not name.startswith("det"):
            continue
        model = ModelDir.open(harness.int8_model(name) if int8 else harness.model(name))
        engine = load_engine(model, threads=harness.THREADS, **options)
        for batch in batches:
            inputs = inputs_of(model, batch)
            cases[f"{title} {batch}"] = harness.timed(lambda e=engine, i=inputs: e.run(i))
    return cases


def main() -> None:
    """Measure every network and print."""
    rows = []
    for name, batches in NETWORKS.items():
        times = harness.in_turn(cases_of(name, batches), ROUNDS, warm_up=2, rest=0.1)
        for batch in batches:
            names = [f"{title} {batch}" for title in SETUPS]
            each = [f"{times.ms(n) / batch:.2f}" if n in times.seconds else "" for n in names]
            rows.append([name, batch, *each])
    harness.section(
        "The engines",
        f"{harness.THREADS} threads; milliseconds for each image or crop of a batch.",
        harness.table(["network", "batch", *SETUPS], rows),
    )


if __name__ == "__main__":
    main()
