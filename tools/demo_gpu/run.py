"""Render images and train both demo models at the same time, within a time limit.

``python3 -m tools.demo_gpu.run --out DIR --minutes 8`` on a machine with a GPU; ``--device cpu
--images 8 --steps 3`` tries it out without one. Writes ``det.npz``, ``kpt.npz`` (weights under
ppdet's names, for ``python -m tools.pack``) and ``log.txt``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

GRACE = 5.0  # seconds after the deadline until what still runs is ended
WORTH = 45.0  # seconds that must be left for a second try


def parse() -> argparse.Namespace:
    """Read the command line."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(prog="python3 -m tools.demo_gpu.run", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of weights and log")
    parser.add_argument("--minutes", type=float, default=8, help="everything, from now")
    parser.add_argument("--images", type=int, default=9000, help="training images at most")
    parser.add_argument("--val", type=int, default=152, help="held-out images")
    parser.add_argument("--steps", type=int, default=0, help="end after so many steps")
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--spool", type=Path, default=Path(".cache/demo-gpu"), help="rendered images"
    )
    parser.add_argument("--models", nargs="+", choices=("det", "kpt"), default=("det", "kpt"))
    parser.add_argument("--det", default="", help="further options of the detector's training")
    parser.add_argument("--kpt", default="", help="further options of the pose model's training")
    parser.add_argument("--workers", type=int, default=max(1, min(14, cores - 2)))
    return parser.parse_args()


def start(module: str, *options: object) -> subprocess.Popen[bytes]:
    """Start a module of this package."""
    command = [sys.executable, "-u", "-m", f"tools.demo_gpu.{module}", *map(str, options)]
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return subprocess.Popen(command, env={**os.environ, **single})


class Training:
    """The training of one model; one that dies early is started again, in the simplest way."""

    def __init__(self, model: str, args: argparse.Namespace, deadline: float) -> None:
        self.model, self.args, self.deadline = model, args, deadline
        self.code: int | None = None
        self._tries = 0
        self._process = self._start()

    def _start(self, *more: object) -> subprocess.Popen[bytes]:
        args = self.args
        self._tries += 1
        return start(
            *("train", self.model, "--spool", args.spool, "--images", args.images),
            *("--val", args.val, "--out", args.out, "--device", args.device),
            *("--deadline", self.deadline, "--steps", args.steps),
            *("--first", min(128, args.images)),
            *getattr(args, self.model).split(),
            *more,
        )

    def poll(self) -> bool:
        """Whether it still runs."""
        self.code = self._process.poll()
        if self.code and self._tries == 1 and self.deadline - time.time() > WORTH:
            print(f"{self.model} ended with {self.code}; once more, without graphs", flush=True)
            weights = self.args.out / f"{self.model}.npz"
            self._process = self._start(
                "--single", *(("--start", weights) if weights.exists() else ())
            )
            self.code = None
        return self.code is None

    def end(self) -> int:
        """End it if it still runs; the exit code."""
        if self._process.poll() is None:
            self._process.kill()
        return self._process.wait()


def main() -> int:
    """Command line; 0 if all models were trained to the end."""
    args = parse()
    deadline = time.time() + 60 * args.minutes
    args.spool.mkdir(parents=True, exist_ok=True)
    render = start(
        *("render", "--spool", args.spool, "--images", args.images, "--val", args.val),
        *("--workers", args.workers, "--deadline", deadline - 15),
    )
    trainings = [Training(model, args, deadline) for model in args.models]
    while sum(training.poll() for training in trainings) and time.time() < deadline + GRACE:
        time.sleep(0.2)
    codes = {training.model: training.end() for training in trainings}
    count = len(list(args.spool.glob("train-*.npz")))
    print(f"exit codes {codes}, {count} chunks rendered", flush=True)
    render.terminate()  # its workers see that it has gone
    render.wait()
    return max(map(abs, codes.values()))


if __name__ == "__main__":
    sys.exit(main())
