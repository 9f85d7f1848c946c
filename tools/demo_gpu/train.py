"""Train one of the two models until a point in time, on images that are rendered meanwhile."""

from __future__ import annotations

import argparse
import math
import sys
import time
import traceback
from pathlib import Path

import torch

from tools.demo_gpu import detect, pose
from tools.demo_gpu.data import Feed, Store
from tools.demo_gpu.ppyoloe import PPYoloe
from tools.demo_gpu.tinypose import TinyPose
from tools.demo_gpu.trainer import Log, Task, Trainer

EVALUATIONS = (0.25, 0.5, 0.75, 0.9, 1.0)  # shares of the time
RESERVE = 12.0  # seconds before the deadline for the last evaluation
DEMO = "kptk/demo/models/demo-{}/inference.onnx"
TASKS = {
    "det": Task(
        PPYoloe,
        detect.loss,
        tuple((side,) for side in detect.SIZES),
        detect.measure,
        (detect.SIZE, detect.SIZE),
        64,
        1.5e-3,
        0.02,
        0.8,
        DEMO.format("det"),
    ),
    "kpt": Task(
        TinyPose,
        pose.loss,
        ((),),
        pose.measure,
        (pose.HEIGHT, pose.WIDTH),
        384,
        3e-3,
        0.01,
        0.7,
        DEMO.format("kpt"),
    ),
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.demo_gpu.train", description=__doc__)
    parser.add_argument("model", choices=sorted(TASKS))
    parser.add_argument("--spool", type=Path, required=True, help="folder of the chunks")
    parser.add_argument("--out", type=Path, required=True, help="folder of weights and log")
    parser.add_argument("--deadline", type=float, default=math.inf, help="seconds of the epoch")
    parser.add_argument("--steps", type=int, default=0, help="end after so many steps")
    parser.add_argument("--images", type=int, default=4000, help="room for so many images")
    parser.add_argument("--val", type=int, default=150, help="held-out images")
    parser.add_argument("--first", type=int, default=128, help="images to begin with")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--start", default="", help="weights, or none; by default the demo model's")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--warmup", type=int, default=200, help="steps")
    parser.add_argument("--strength", type=float, default=-1.0, help="of the augmentation")
    parser.add_argument("--f32", action="store_true", help="no bfloat16")
    parser.add_argument("--single", action="store_true", help="no CUDA graphs")
    args = parser.parse_args(arguments)
    args.batch = args.batch or TASKS[args.model].batch
    args.rate = args.rate or TASKS[args.model].rate
    args.strength = TASKS[args.model].strength if args.strength < 0 else args.strength
    return args


def fill(feed: Feed, store: Store, most: int = 4) -> None:
    """Take what has been rendered."""
    for chunk in feed.take(most):
        store.add(chunk)


def wait(feeds: list[tuple[Feed, Store]], first: int, deadline: float) -> None:
    """Until the first images are there."""
    while feeds[0][1].images < first and time.time() < deadline:
        for feed, store in feeds:
            fill(feed, store)
        time.sleep(0.05)


def run(trainer: Trainer, feeds: list[tuple[Feed, Store]]) -> None:
    """Train until the deadline, or for so many steps."""
    args, log = trainer.args, trainer.log
    begin, end = time.time(), args.deadline - RESERVE
    step = since = 0
    due = list(EVALUATIONS)
    last = begin
    while True:
        now = time.time()
        progress = step / args.steps if args.steps else (now - begin) / max(1e-6, end - begin)
        if progress >= due[0]:
            due.pop(0)
            trainer.evaluate(feeds[1][1], step, f"{100 * progress:.0f} %")
            if not due or progress >= 1:
                return
            continue
        trainer.step(step, progress)
        step, since = step + 1, since + 1
        for feed, store in feeds:
            fill(feed, store, 2)
        if since >= 50 or not trainer.cuda:  # also keeps the queue of the device short
            mean = trainer.check(since)
            if step % (500 if trainer.cuda else 10) == 0:
                speed = 1000 * (time.time() - last) / since
                images = feeds[0][1].images
                log(f"step {step}, loss {mean:.4f}, {speed:.1f} ms a step, {images} images")
            since, last = 0, time.time()


def main() -> None:
    """Command line."""
    args = parse()
    device = torch.device(args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    log = Log(args.out / "log.txt", args.model)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.set_num_threads(2 if device.type == "cuda" else 1)  # spinning threads are slow
    torch.manual_seed(17)
    store, held_out = Store(args.images, device), Store(args.val + 4, device)
    feeds = [(Feed(args.spool, "train"), store), (Feed(args.spool, "val"), held_out)]
    trainer = Trainer(TASKS[args.model], args, store, log)
    wait(feeds, min(args.first, args.images), args.deadline - RESERVE)
    if not store.images:
        raise RuntimeError("No image was rendered in the time.")
    log(f"{store.images} images, {store.people} people; batch {args.batch}, rate {args.rate}")
    if trainer.cuda and not args.single:
        trainer.capture()
    if trainer.cuda:
        log(f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of memory")
    trainer.evaluate(held_out, 0, "start")
    run(trainer, feeds)
    log("done")


if __name__ == "__main__":
    try:
        main()
    except Exception:
        traceback.print_exc()
        sys.exit(1)
