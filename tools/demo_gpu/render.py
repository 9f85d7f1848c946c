"""Render day images on all cores into a folder of chunks that the trainers read while it grows.

Each chunk is an ``.npz`` file of a few images after one JPEG round trip, since the images that the
models are measured on are JPEGs too.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tools.render.make import DEMO_SEED, render_sample

IMAGES = 4  # of a chunk
Chunk = dict[str, np.ndarray[Any, Any]]


def render_chunk(seed: int, first: int, count: int = IMAGES) -> Chunk:
    """Render a few images.

    Args:
        seed: of the data set, any but the committed sets'.
        first: number of the first image.
        count: how many.

    Returns:
        ``pixels`` uint8 (P, 3), all images one after the other; ``sizes`` (n, 2) height and width;
        and for each annotation its ``image`` (m,), ``boxes`` (m, 4) x1, y1, x2, y2, ``crowd`` (m,),
        ``joints`` (m, 17, 3) x, y, v, and ``area`` (m,).
    """
    pixels, sizes, people = [], [], []
    for number in range(count):
        jpeg, size, annotations = render_sample("day", seed, first + number)
        image = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        pixels.append(image.reshape(-1, 3))
        sizes.append((size["height"], size["width"]))
        people += [(number, annotation) for annotation in annotations]
    boxes = np.array([p["bbox"] for _, p in people], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    joints = [np.reshape(p["keypoints"], (17, 3)) for _, p in people]
    return {
        "pixels": np.concatenate(pixels),
        "sizes": np.array(sizes, np.int64),
        "image": np.array([number for number, _ in people], np.int64),
        "boxes": boxes,
        "crowd": np.array([p["iscrowd"] for _, p in people], bool),
        "joints": np.array(joints, np.float32).reshape(-1, 17, 3),
        "area": np.array([p["area"] for _, p in people], np.float32),
    }


def chunk_names(train: int, val: int, seed: int) -> list[tuple[str, int, int]]:
    """All chunks in the order of rendering, held-out ones first: file name, seed, first image."""
    held_out = [(f"val-{seed + 1}-{k:06d}.npz", seed + 1, k) for k in range(0, val, IMAGES)]
    others = [(f"train-{seed}-{k:06d}.npz", seed, k) for k in range(0, train, IMAGES)]
    return held_out + others


def _work(folder: Path, jobs: list[tuple[str, int, int]], deadline: float) -> None:
    """Render the chunks that are not there yet, until the time is over."""
    import cv2

    cv2.setNumThreads(1)
    parent = os.getppid()
    for name, seed, first in jobs:
        if time.time() > deadline or os.getppid() != parent:
            return
        if not (folder / name).exists():
            part = folder / (name + ".part")
            with part.open("wb") as file:
                np.savez(file, **render_chunk(seed, first))  # type: ignore[arg-type]
            os.replace(part, folder / name)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.demo_gpu.render", description=__doc__)
    parser.add_argument("--spool", type=Path, required=True, help="folder of the chunks")
    parser.add_argument("--images", type=int, required=True, help="training images at most")
    parser.add_argument("--val", type=int, default=150, help="held-out images")
    parser.add_argument("--seed", type=int, default=301, help="of training; held out: the next one")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=float("inf"), help="seconds of the epoch")
    args = parser.parse_args()
    if DEMO_SEED in (args.seed, args.seed + 1):
        parser.error(f"Seed {DEMO_SEED} is that of the committed sets.")
    args.spool.mkdir(parents=True, exist_ok=True)
    names = chunk_names(args.images, args.val, args.seed)
    _work(args.spool, names[:1], args.deadline)  # numba compiles once, before the fork
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_work, args=(args.spool, names[k :: args.workers], args.deadline))
        for k in range(args.workers)
    ]
    os.nice(5)  # the trainers' own threads go first
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
