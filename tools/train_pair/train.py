"""The training that both models share: batches, steps, the running average, checkpoints, tables.

A run has a fixed end on the clock, towards which the learning rate and the augmentation fall. It
can be stopped at any moment and goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import copy
import csv
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from tools.train_pair import names
from tools.train_pair.data import MEAN, STD

CLIP = 10.0  # largest norm of the gradient
CALM = 0.65  # share of the time from which the augmentation weakens


class Batches(IterableDataset[Any]):
    """Endless batches, drawn in this process or in several others.

    Args:
        draw: of (random numbers, share of the time that is over).
        args: see ``options``.
        seed: of this part of the run.
    """

    def __init__(
        self,
        draw: Callable[[np.random.Generator, float], Any],
        args: argparse.Namespace,
        seed: tuple[int, ...],
    ) -> None:
        self.draw, self.args, self.seed = draw, args, seed

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        rng = np.random.default_rng([*self.seed, worker.id if worker else 0])
        while True:
            yield self.draw(rng, progress(self.args))


def progress(args: argparse.Namespace) -> float:
    """The share of the schedule that is over."""
    return min(1.0, (time.time() - args.begin) / (args.deadline - args.begin))


def strength(args: argparse.Namespace, share: float) -> float:
    """Of the augmentation, at a share of the time."""
    return float(args.strength * (1 - 0.5 * max(0.0, (share - CALM) / (1 - CALM))))


def run_net(net: nn.Module, images: Tensor, bf16: bool = True) -> Any:
    """What a network says of images (N, 3, H, W) from 0 to 255; convolutions in bfloat16."""
    mean, std = (torch.tensor(v, device=images.device).reshape(3, 1, 1) for v in (MEAN, STD))
    x = ((images / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
    with torch.autocast(x.device.type, torch.bfloat16, bf16, cache_enabled=False):
        return net(x)


def first_net(net: nn.Module, demo: str, args: argparse.Namespace) -> nn.Module:
    """A network with the weights that the run starts from."""
    if args.start != "none":
        names.load(net, names.read(args.start or demo))
    if args.fused:
        from tools.train_pair.fused import fuse

        fuse(net)
    return net


class Trainer:
    """A network, its running average, its optimizer, and where they are kept.

    Args:
        net: the network, with the weights to start from.
        draw: a batch, of (random numbers, share of the time).
        loss: of (network, batch); a scalar.
        measure: scores of a network in evaluation mode.
        args: see ``options``.
        decay: weight decay.
    """

    def __init__(
        self,
        net: nn.Module,
        draw: Callable[[np.random.Generator, float], Any],
        loss: Callable[[nn.Module, Any], Tensor],
        measure: Callable[[nn.Module], dict[str, float]],
        args: argparse.Namespace,
        decay: float,
    ) -> None:
        self.net = net.to(args.device, memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(self.net).eval()
        self.draw, self.loss, self.measure, self.args = draw, loss, measure, args
        params = [p for p in net.parameters() if p.requires_grad]
        self.params = params
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in params if p.ndim > 1], "weight_decay": decay},
                {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=args.rate,
            fused=True,
        )
        self.step = self.seen = 0
        self.spent = 0.0  # seconds of training
        self.checkpoint = args.out / f"{args.name}.pt"
        if self.checkpoint.exists() and not args.fresh:
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.args.device)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seen, self.spent = state["step"], state["seen"], state["spent"]

    def save(self) -> None:
        """Write the checkpoint, and the average under ppdet's names."""
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seen": self.seen,
            "spent": self.spent,
        }
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self.checkpoint)
        arrays = names.arrays_of(self.average.state_dict())
        names.write(self.args.out / f"{self.args.name}.npz", arrays)

    def log(self, **values: Any) -> None:
        """A line on the screen, and in the table of the run."""
        row = {"clock": time.strftime("%H:%M:%S"), "minutes": round(self.spent / 60, 2)}
        row |= {"step": self.step, "seen": self.seen}
        row |= {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}
        print(", ".join(f"{k} {v}" for k, v in row.items()), flush=True)
        path = self.args.out / f"{self.args.name}-{'val' if 'score' in values else 'loss'}.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)

    def evaluate(self) -> None:
        """Measure the average."""
        begin = time.time()
        self.log(**self.measure(self.average), seconds=time.time() - begin)

    def run(self) -> None:
        """Train until the deadline; the rate falls as a cosine of the time."""
        args = self.args
        dataset = Batches(self.draw, args, (args.seed, self.step))
        batches = iter(DataLoader(dataset, batch_size=None, num_workers=args.loaders))
        start, spent = time.time(), self.spent
        next_eval = start if args.first_eval else start + 60 * args.eval_every
        next_save = start + 60 * args.save_every
        total, count, mark = 0.0, 0, start
        stopped: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
        while (now := time.time()) < args.deadline and not stopped:
            if now >= next_eval:
                self.evaluate()
                next_eval = time.time() + 60 * args.eval_every
            cosine = 0.5 * (1 + math.cos(math.pi * progress(args)))
            warm = min(1.0, (self.step + 1) / args.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = args.rate * warm * (0.01 + 0.99 * cosine)
            batch = type(batch := next(batches))(*(t.to(args.device) for t in batch))
            loss = self.loss(self.net, batch)
            if not math.isfinite(float(loss.detach())):
                raise RuntimeError(f"The loss is {float(loss.detach())} in step {self.step}.")
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.params, CLIP)
            self.optimizer.step()
            self.step += 1
            self.seen += args.batch
            keep = min(args.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                new, old = self.net.state_dict(), self.average.state_dict()
                floats = [k for k, t in new.items() if t.is_floating_point()]
                torch._foreach_lerp_([old[k] for k in floats], [new[k] for k in floats], 1 - keep)
            total, count = total + float(loss.detach()), count + 1
            self.spent = spent + time.time() - start
            if count == 50:
                speed = count * args.batch / (time.time() - mark)
                self.log(loss=total / count, rate=group["lr"] * 1e3, per_second=speed)
                total, count, mark = 0.0, 0, time.time()
            if time.time() >= next_save:
                self.save()
                next_save = time.time() + 60 * args.save_every
        self.save()
        if not stopped:
            self.evaluate()


def options(name: str, batch: int, rate: float, ema: float) -> argparse.ArgumentParser:
    """The options that both trainings have."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path, required=True, help="COCO folder of photographs")
    parser.add_argument("--rendered", type=Path, required=True, help="folder of rendered chunks")
    parser.add_argument("--day", type=Path, default=Path("data/demo/day"), help="to measure on")
    parser.add_argument("--cache", type=Path, required=True, help="folder for decoded photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and tables")
    parser.add_argument("--name", default=name, help="of the run's files")
    parser.add_argument("--start", default="", help="weights, or none; else the demo model's")
    parser.add_argument("--fresh", action="store_true", help="ignore the run's checkpoint")
    parser.add_argument("--minutes", type=float, required=True, help="of the whole schedule")
    parser.add_argument("--begin", type=float, default=0, help="start of the schedule, epoch s")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--warmup", type=int, default=100, help="steps")
    parser.add_argument("--ema", type=float, default=ema, help="decay of the running average")
    parser.add_argument("--strength", type=float, default=1.0, help="of the augmentation")
    parser.add_argument("--eval-every", type=float, default=10, help="minutes")
    parser.add_argument("--save-every", type=float, default=4, help="minutes")
    parser.add_argument("--first-eval", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--loaders", type=int, default=0, help="processes that draw batches")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--fused", action="store_true", help="own functions, for AVX-512 CPUs")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line and set the process up."""
    args = parser.parse_args()
    args.begin = args.begin or time.time()
    args.deadline = args.begin + 60 * args.minutes
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(0)
    torch.manual_seed(args.seed)
    return args
