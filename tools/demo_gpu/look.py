"""Draw augmented batches with their targets, to look at."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from kptk.skeleton import COCO17
from tools.demo_gpu import detect, pose
from tools.demo_gpu.data import Store


def fill(spool: Path, images: int = 64) -> Store:
    """A store of the chunks in a folder."""
    store = Store(images, torch.device("cpu"))
    for path in sorted(spool.glob("train-*.npz")):
        with np.load(path) as file:
            store.add(dict(file.items()))
    return store


def sheet(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size, side by side."""
    rows = [np.hstack(tiles[k : k + columns]) for k in range(0, len(tiles), columns)]
    return np.vstack(rows)


def picture(x: torch.Tensor, scale: int) -> np.ndarray:
    """A tensor (3, H, W) from 0 to 255 as BGR, enlarged."""
    image = x.permute(1, 2, 0).numpy()[..., ::-1].round().astype(np.uint8)
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)


def poses(store: Store, n: int = 24) -> np.ndarray:
    """Crops with limbs (left green, right red), and beside each the sum of its heatmaps."""
    x, maps, weight, points = pose.batch(store, n, torch.ones(()))
    decoded = pose.decode(maps) * 4
    tiles = []
    for i in range(n):
        image = picture(x[i], 2)
        at = [tuple(int(2 * v + 1) for v in p) for p in points[i].tolist()]
        for a, b in COCO17.edges:
            if weight[i, a] and weight[i, b]:
                cv2.line(image, at[a], at[b], (0, 200, 0) if b % 2 else (0, 0, 255), 1)
        for j in range(17):
            if weight[i, j]:
                cv2.circle(
                    image, tuple(int(2 * v + 1) for v in decoded[i, j]), 2, (255, 255, 0), -1
                )
        heat = (maps[i].amax(0) * 255).numpy().astype(np.uint8)
        heat = cv2.resize(heat, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        tiles.append(np.hstack([image, cv2.cvtColor(heat, cv2.COLOR_GRAY2BGR)]))
    return sheet(tiles, 4)


def people(store: Store, n: int = 12, side: int = 320) -> np.ndarray:
    """Images with boxes of people (green) and boxes to ignore (red)."""
    drawn = detect.batch(store, n, side, torch.ones(()), True)
    tiles = []
    for i in range(n):
        image = picture(drawn.images[i], 1)
        for box, person, ignored in zip(*(v[i].tolist() for v in drawn[1:]), strict=True):
            if person or ignored:
                a, b = tuple(map(round, box[:2])), tuple(map(round, box[2:]))
                cv2.rectangle(image, a, b, (0, 200, 0) if person else (0, 0, 255), 1)
        tiles.append(image)
    return sheet(tiles, 4)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.demo_gpu.look", description=__doc__)
    parser.add_argument("--spool", type=Path, required=True, help="folder of the chunks")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    args = parser.parse_args()
    store = fill(args.spool)
    cv2.imwrite(str(args.out / "pose.png"), poses(store))
    cv2.imwrite(str(args.out / "det.png"), people(store))


if __name__ == "__main__":
    main()
