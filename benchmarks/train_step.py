"""How much faster a PP-TinyPose training step is with kptk's depthwise convolution.

``python benchmarks/train_step.py [BATCH]`` times both in turn in one process, on the same random
batch, and prints medians and their ratio. Machines are noisy: quote the ratio.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from typing import Any

os.environ.setdefault("FLAGS_use_stride_kernel", "0")  # as the worker sets it

ROUNDS = 7


def step_seconds(net: Any, optimizer: Any, batch: dict[str, Any]) -> float:
    """Seconds of one forward, backward and update."""
    began = time.perf_counter()
    net(batch)["loss"].backward()
    optimizer.step()
    optimizer.clear_grad()
    return time.perf_counter() - began


def main(batch_size: int) -> None:
    """Time both and print."""
    import paddle

    from kptk.models import network
    from kptk.training.depthwise import speed_up

    nets = {"paddle": network.build("PP-TinyPose_128x96")}
    nets["kptk"] = network.build("PP-TinyPose_128x96")
    print(f"{speed_up(nets['kptk'])} depthwise convolutions replaced, batch {batch_size}")
    batch = {
        "image": paddle.randn([batch_size, 3, 128, 96]),
        "target": paddle.rand([batch_size, 17, 32, 24]),
        "target_weight": paddle.ones([batch_size, 17, 1]),
    }
    optimizers = {
        name: paddle.optimizer.AdamW(1e-4, parameters=net.parameters())
        for name, net in nets.items()
    }
    times: dict[str, list[float]] = {name: [] for name in nets}
    for round_ in range(ROUNDS + 2):
        for name, net in nets.items():
            seconds = step_seconds(net, optimizers[name], batch)
            if round_ >= 2:  # the first two compile and warm up
                times[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name:7} {seconds:.3f} s a step, {batch_size / seconds:.1f} people/s")
    ratios = [a / b for a, b in zip(times["paddle"], times["kptk"], strict=True)]
    print(f"ratio   {statistics.median(ratios):.2f} (pairwise median)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 32)
