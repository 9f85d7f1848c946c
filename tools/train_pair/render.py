"""Render day images on several cores into a folder of chunks.

Each chunk is an ``.npz`` file of a few images after one JPEG round trip, since the images that the
models are measured on are JPEGs too.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
from collections.abc import Sequence
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


def _work(folder: Path, seed: int, firsts: Sequence[int]) -> None:
    """Render the chunks that are not there yet."""
    import cv2

    cv2.setNumThreads(1)
    for first in firsts:
        path = folder / f"train-{seed}-{first:06d}.npz"
        if not path.exists():
            part = path.with_name(path.name + ".part")
            with part.open("wb") as file:
                np.savez(file, **render_chunk(seed, first))  # type: ignore[arg-type]
            os.replace(part, path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.train_pair.render", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the chunks")
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--seed", type=int, default=303)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    if args.seed == DEMO_SEED:
        parser.error(f"Seed {DEMO_SEED} is that of the committed sets.")
    args.out.mkdir(parents=True, exist_ok=True)
    firsts = range(0, args.images, IMAGES)
    _work(args.out, args.seed, firsts[:1])  # numba compiles once, before the fork
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_work, args=(args.out, args.seed, firsts[k :: args.workers]))
        for k in range(args.workers)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
