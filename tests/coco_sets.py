"""Small COCO keypoint data sets without a fault, made where a test wants them."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kptk.skeleton import COCO17

WIDTH, HEIGHT = 96, 72

# A person who faces the camera, 20 wide and 60 high: x, y of COCO's 17 joints. Their left is on
# the right of the picture.
FACING = np.array([
    (10, 8), (12, 6), (8, 6), (14, 7), (6, 7), (16, 16), (4, 16), (18, 26), (2, 26),
    (19, 35), (1, 35), (14, 34), (6, 34), (14, 46), (6, 46), (14, 58), (6, 58),
], float)  # fmt: skip


def person(
    number: int, image_id: int, *, x: float = 5, y: float = 5, **changes: Any
) -> dict[str, Any]:
    """A person of 17 visible points whose box has its corner at (x, y)."""
    points = np.column_stack([FACING + np.array([x, y]), np.full(17, 2)])
    record = {
        "id": number, "image_id": image_id, "category_id": 1, "iscrowd": 0,
        "bbox": [x, y, 20.0, 60.0], "area": 640.0, "num_keypoints": 17,
        "keypoints": points.ravel().tolist(),
    }  # fmt: skip
    return {**record, **changes}


def category() -> dict[str, Any]:
    """COCO's person."""
    edges = [[a + 1, b + 1] for a, b in COCO17.edges]
    return {"id": 1, "name": "person", "keypoints": list(COCO17.names), "skeleton": edges}


def document(first: int, images: int) -> dict[str, Any]:
    """Images ``first`` ... with two people each; annotation 10 i + 1 and 10 i + 2 on image i."""
    numbers = range(first, first + images)
    return {
        "images": [
            {"id": i, "file_name": f"{i:04d}.png", "width": WIDTH, "height": HEIGHT}
            for i in numbers
        ],
        "annotations": [
            person(10 * i + k, i, x=5 + 40 * (k - 1), y=5 + i % 5) for i in numbers for k in (1, 2)
        ],
        "categories": [category()],
    }


def picture(seed: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """A smooth random picture, unlike that of any other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    image = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.array(image)


@cache
def png(seed: int) -> bytes:
    """The picture of a seed as a file."""
    file = io.BytesIO()
    Image.fromarray(picture(seed)).save(file, "PNG")
    return file.getvalue()


def write_set(root: Path, documents: dict[str, dict[str, Any]]) -> Path:
    """Write documents as annotations/instance_{split}.json, and a picture for each image."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    for split, content in documents.items():
        write_document(root, split, content)
        for image in content["images"]:
            (root / "images" / image["file_name"]).write_bytes(png(image["id"]))
    return root


def write_document(root: Path, split: str, content: dict[str, Any]) -> Path:
    """Write one annotation file."""
    file = root / "annotations" / f"instance_{split}.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def clean_set(root: Path, *, train: int = 4, val: int = 3) -> Path:
    """A faultless set: train images 1 ... and val images 101 ..."""
    return write_set(root, {"train": document(1, train), "val": document(101, val)})
