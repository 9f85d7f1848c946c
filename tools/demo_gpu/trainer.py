"""The steps of a training: drawing a batch, forward, backward, optimizer, averaging.

A step is captured as one CUDA graph for each image size, since these networks are bound by the
launching of kernels. Where that fails, and on a CPU, the same operations run one by one.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tools.demo_gpu import names
from tools.demo_gpu.data import How, Store

CLIP = 10.0  # largest norm of the gradient
EMA = 0.998
CALM = 0.6  # share of the time from which the augmentation weakens


class Task(NamedTuple):
    """What differs between the two models."""

    net: Callable[[], nn.Module]
    loss: Callable[..., Tensor]
    variants: tuple[tuple[Any, ...], ...]  # further arguments of the loss, taken in turn
    measure: Callable[[nn.Module, Store], dict[str, float]]
    input_size: tuple[int, int]
    batch: int
    rate: float
    decay: float
    strength: float  # of the augmentation; such small networks with fresh data want little
    start: str


class Log:
    """Lines with the time since the start, to the output and to a file."""

    def __init__(self, path: Path, name: str) -> None:
        self._file = path.open("a", buffering=1)
        self._name, self._start = name, time.time()

    def __call__(self, text: str) -> None:
        line = f"[{self._name} {time.time() - self._start:6.1f}s] {text}"
        print(line, flush=True)
        self._file.write(line + "\n")


class Trainer:
    """A network, its optimizer, its average, and the steps that change them."""

    def __init__(self, task: Task, args: argparse.Namespace, store: Store, log: Log) -> None:
        self.task, self.args, self.store, self.log = task, args, store, log
        self.device = store.device
        self.cuda = self.device.type == "cuda"
        self.net = task.net()
        if args.start != "none":
            names.load(self.net, names.read(args.start or task.start))
        self.net.to(self.device).train()
        self.how = How(False, torch.contiguous_format)
        if self.cuda:
            self._choose_how()
        self.strength = torch.ones((), device=self.device)
        self.loss_sum = torch.zeros((), device=self.device)
        self.average = copy.deepcopy(self.net).eval()
        self.optimizer = self._make_optimizer()
        self.graphs: dict[tuple[Any, ...], torch.cuda.CUDAGraph] = {}
        self.safe = self._snapshot()

    def _make_optimizer(self) -> torch.optim.Optimizer:
        """AdamW; no decay of batch norms and biases. The rate is a tensor that graphs read."""
        params = [p for p in self.net.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in params if p.ndim > 1], "weight_decay": self.task.decay},
            {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
        ]
        rate = torch.zeros((), device=self.device) if self.cuda else 0.0
        return torch.optim.AdamW(groups, lr=rate, capturable=self.cuda, foreach=True)

    def _choose_how(self) -> None:
        """Time both orders of axes and precisions, and keep the fastest."""
        x = torch.rand(self.args.batch, 3, *self.task.input_size, device=self.device) * 255
        state = copy.deepcopy(self.net.state_dict())
        best = math.inf
        for order in (torch.channels_last, torch.contiguous_format):
            for bf16 in (False,) if self.args.f32 else (True, False):
                how = How(bf16, order)
                self.net.to(memory_format=order)
                seconds = self._time(x, how)
                self.log(f"{order}, bf16 {bf16}: {seconds * 1000:.1f} ms a batch")
                if seconds < best:
                    best, self.how = seconds, how
        self.net.to(memory_format=self.how.order)
        self.net.load_state_dict(state)  # the trials changed the running statistics
        torch.cuda.empty_cache()

    def _time(self, x: Tensor, how: How) -> float:
        """Seconds of a forward and a backward pass."""
        for number in range(4):
            if number == 2:
                torch.cuda.synchronize()
                begin = time.perf_counter()
            out = how(self.net, x)
            out = out if isinstance(out, Tensor) else out.logits.mean() + out.bins.mean()
            out.float().mean().backward()
            self.net.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        return (time.perf_counter() - begin) / 2

    def _floats(self, net: nn.Module) -> list[Tensor]:
        return [t for t in net.state_dict().values() if t.is_floating_point()]

    def work(self, variant: tuple[Any, ...]) -> None:
        """One step, by single operations."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.task.loss(
            self.net, self.store, self.args.batch, self.strength, self.how, *variant
        )
        loss.backward()
        params = [p for p in self.net.parameters() if p.requires_grad]
        nn.utils.clip_grad_norm_(params, CLIP, foreach=True)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self._floats(self.average), self._floats(self.net), 1 - EMA)
            self.loss_sum += loss.detach()

    def capture(self) -> None:
        """Record a graph of ``work`` for each variant; on failure the steps stay single."""
        side = torch.cuda.Stream()
        try:
            pool = None
            for variant in dict.fromkeys(self.task.variants):
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    for _ in range(3):
                        self.work(variant)
                torch.cuda.current_stream().wait_stream(side)
                torch.cuda.synchronize()
                graph = torch.cuda.CUDAGraph()
                self.optimizer.zero_grad(set_to_none=True)
                with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                    self.work(variant)
                self.graphs[variant] = graph
                pool = graph.pool()
            self.log(f"captured {len(self.graphs)} graphs")
        except Exception as error:
            self.log(f"no graphs ({type(error).__name__}: {str(error)[:200]}), single steps")
            self.graphs.clear()
            torch.cuda.synchronize()

    def step(self, number: int, progress: float) -> None:
        """Step ``number`` at a share ``progress`` of the time."""
        warm = min(1.0, (number + 1) / self.args.warmup)
        rate = self.args.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        self.set_rate(rate)
        calm = max(0.0, (progress - CALM) / (1 - CALM))
        self.strength.fill_(self.args.strength * (1 - 0.6 * calm))
        variant = self.task.variants[(number * 7) % len(self.task.variants)]
        graph = self.graphs.get(variant)
        if graph is None:
            self.work(variant)
        else:
            graph.replay()

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next step."""
        for group in self.optimizer.param_groups:
            if self.cuda:
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: t.detach().clone() for name, t in self.average.state_dict().items()}

    def check(self, steps: int) -> float:
        """The mean loss since the last check; after an infinite one, go back and slow down."""
        mean = float(self.loss_sum) / steps
        self.loss_sum.zero_()
        if not math.isfinite(mean):
            self.log("the loss is not finite: back to the last good weights, half the rate")
            self.args.rate /= 2
            with torch.no_grad():
                for net in (self.net, self.average):
                    for name, tensor in net.state_dict().items():
                        tensor.copy_(self.safe[name])
                for state in self.optimizer.state.values():
                    for tensor in state.values():
                        tensor.zero_()
        return mean

    def evaluate(self, held_out: Store, step: int, note: str) -> None:
        """Measure the average, write it down, and keep it."""
        begin = time.time()
        net = self.average
        values = self.task.measure(net, held_out) if held_out.people else {}
        text = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        self.log(f"step {step} {note}: held out {text} ({time.time() - begin:.1f} s)")
        if all(bool(t.isfinite().all()) for t in self._floats(net)):
            self.safe = self._snapshot()
            names.write(self.args.out / f"{self.args.model}.npz", names.arrays_of(net.state_dict()))
