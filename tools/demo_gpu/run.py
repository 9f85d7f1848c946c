"""Render images and train both demo models at the same time, within a time limit.

``python3 -m tools.demo_gpu.run --out DIR --minutes 8 --images 12000`` on a machine with a GPU;
``--device cpu --images 8 --steps 3`` tries it out without one. Writes ``det.npz``, ``kpt.npz``
(weights under ppdet's names, for ``python -m kptk.training.pack``) and ``log.txt``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

GRACE = 5.0  # seconds after the deadline until what still runs is ended


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.demo_gpu.run", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of weights and log")
    parser.add_argument("--minutes", type=float, default=8, help="everything, from now")
    parser.add_argument("--images", type=int, default=12000, help="training images at most")
    parser.add_argument("--val", type=int, default=152, help="held-out images")
    parser.add_argument("--steps", type=int, default=0, help="end after so many steps")
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--spool", type=Path, default=Path(".cache/demo-gpu"), help="rendered images"
    )
    parser.add_argument("--models", nargs="+", choices=("det", "kpt"), default=("det", "kpt"))
    parser.add_argument("--det", default="", help="further options of the detector's training")
    parser.add_argument("--kpt", default="", help="further options of the pose model's training")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    return parser.parse_args()


def start(module: str, *options: object) -> subprocess.Popen[bytes]:
    """Start a module of this package."""
    command = [sys.executable, "-u", "-m", f"tools.demo_gpu.{module}", *map(str, options)]
    return subprocess.Popen(command)


def main() -> int:
    """Command line; 0 if all models were trained to the end."""
    args = parse()
    deadline = time.time() + 60 * args.minutes
    args.spool.mkdir(parents=True, exist_ok=True)
    shared = ("--spool", args.spool, "--images", args.images, "--val", args.val)
    render = start("render", *shared, "--workers", args.workers, "--deadline", deadline - 15)
    first = min(128, args.images)
    trainers = {
        model: start(
            *("train", model, *shared, "--out", args.out, "--device", args.device),
            *("--deadline", deadline, "--steps", args.steps, "--first", first),
            *getattr(args, model).split(),
        )
        for model in args.models
    }
    codes: dict[str, int] = {}
    for model, process in trainers.items():
        try:
            codes[model] = process.wait(max(1.0, deadline + GRACE - time.time()))
        except subprocess.TimeoutExpired:
            process.kill()
            codes[model] = process.wait()
    render.terminate()
    render.wait()
    print(f"exit codes {codes}", flush=True)
    return max(map(abs, codes.values()))


if __name__ == "__main__":
    sys.exit(main())
