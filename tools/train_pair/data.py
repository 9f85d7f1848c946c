"""Images and their annotations in memory, from COCO folders and from rendered chunks.

Decoded photographs stay in a file outside the repository, mapped into memory, so that every run
begins at once and two trainings share the pages.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GROUPS = ("coco", "lsp", "negative", "rendered")


@dataclass
class ImageSet:
    """Images with people; one entry of each list an image, one row of each array a person.

    Attributes:
        pixels: RGB uint8 (H, W, 3) of each image.
        group: index into GROUPS of each image.
        boxes: (M, 4) x1, y1, x2, y2 of each image.
        crowd: (M,) bool of each image: regions in which a detection is no mistake.
        owner, person_box, keypoints: of the people with keypoints: image, box (4,),
            (17, 3) x, y, v.
        truth: COCO annotations, their image ids counted from 1.
    """

    pixels: list[NDArray[np.uint8]] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    crowd: list[NDArray[np.bool_]] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    person_box: list[NDArray[np.float32]] = field(default_factory=list)
    keypoints: list[NDArray[np.float32]] = field(default_factory=list)
    truth: list[dict[str, Any]] = field(default_factory=list)

    def add(self, image: NDArray[np.uint8], group: int, people: list[dict[str, Any]]) -> None:
        """Add an image with COCO annotations."""
        number = len(self.pixels)
        boxes = np.array([p["bbox"] for p in people], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        self.pixels.append(image)
        self.group.append(group)
        self.boxes.append(boxes)
        self.crowd.append(np.array([bool(p["iscrowd"]) for p in people], bool))
        self.truth += [dict(p, image_id=number + 1, category_id=1) for p in people]
        for box, person in zip(boxes, people, strict=True):
            keypoints = np.array(person.get("keypoints") or [0] * 51, np.float32).reshape(17, 3)
            if not person["iscrowd"] and (keypoints[:, 2] > 0).any():
                self.owner.append(number)
                self.person_box.append(box)
                self.keypoints.append(keypoints)

    def add_coco(self, root: Path, split: str, cache: Path | None, most: int = 10**9) -> None:
        """Add a COCO folder; its decoded pixels are kept in ``cache`` for the next time."""
        data = json.loads((root / "annotations" / f"instance_{split}.json").read_text())
        records = data["images"][:most]
        people: dict[int, list[dict[str, Any]]] = {r["id"]: [] for r in records}
        for annotation in data["annotations"]:
            if annotation["image_id"] in people:
                people[annotation["image_id"]].append(annotation)
        names = [root / "images" / r["file_name"] for r in records]
        sizes = [(r["height"], r["width"]) for r in records]
        if cache is None:
            decoded = [_decode(name) for name in names]
        else:
            decoded = _mapped(cache, names, sizes)
        for record, image in zip(records, decoded, strict=True):
            self.add(image, _group(record), people[record["id"]])

    def add_chunks(self, folder: Path) -> None:
        """Add what ``render`` wrote."""
        for path in sorted(folder.glob("train-*.npz")):
            with np.load(path) as file:
                chunk = dict(file.items())
            ends = np.cumsum(chunk["sizes"].prod(1))
            for i, (end, (h, w)) in enumerate(zip(ends, chunk["sizes"], strict=True)):
                mine = np.flatnonzero(chunk["image"] == i)
                people = []
                for k in mine:
                    x1, y1, x2, y2 = chunk["boxes"][k]
                    people.append(
                        {
                            "bbox": [x1, y1, x2 - x1, y2 - y1],
                            "iscrowd": chunk["crowd"][k],
                            "keypoints": chunk["joints"][k].ravel().tolist(),
                        }
                    )
                image = chunk["pixels"][end - h * w : end].reshape(h, w, 3)
                self.add(image, GROUPS.index("rendered"), people)

    def score(self, rows: list[dict[str, Any]], kind: str) -> dict[str, float]:
        """COCO's AP of results, in percent; ``kind`` is ``bbox`` or ``keypoints``."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            images = [{"id": k + 1} for k in range(len(self.pixels))]
            truth.dataset = {
                "images": images,
                "annotations": [dict(p, id=k + 1) for k, p in enumerate(self.truth)],
                "categories": [{"id": 1, "name": "person"}],
            }
            truth.createIndex()
            if not rows:
                return {"ap": 0.0, "ap50": 0.0}
            evaluation = COCOeval(truth, truth.loadRes(rows), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return {"ap": 100 * float(evaluation.stats[0]), "ap50": 100 * float(evaluation.stats[1])}


def read_sets(args: argparse.Namespace) -> tuple[ImageSet, ImageSet, ImageSet]:
    """What is trained on, and photographs and rendered images to measure on."""
    train, photos, day = ImageSet(), ImageSet(), ImageSet()
    args.cache.mkdir(parents=True, exist_ok=True)
    train.add_coco(args.photos, "train", args.cache / "train.u8")
    train.add_chunks(args.rendered)
    photos.add_coco(args.photos, "val", None)
    day.add_coco(args.day, "val", None, 60)
    counts = {name: train.group.count(k) for k, name in enumerate(GROUPS)}
    print(f"images {counts}, {len(train.owner)} people with keypoints", flush=True)
    return train, photos, day


def _group(record: dict[str, Any]) -> int:
    name = record.get("source", {}).get("set", "rendered")
    if "negative" in name:
        return GROUPS.index("negative")
    return GROUPS.index("lsp" if name == "lspet" else "coco" if "coco" in name else "rendered")


def _decode(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} cannot be read.")
    return np.ascontiguousarray(image[..., ::-1])


def _mapped(
    cache: Path, paths: list[Path], sizes: list[tuple[int, int]]
) -> list[NDArray[np.uint8]]:
    """The images of one mapped file, which is written first if it is not there."""
    lengths = [h * w * 3 for h, w in sizes]
    if not cache.exists():
        part = cache.with_name(cache.name + ".part")
        with part.open("wb") as file:
            for path, (h, w) in zip(paths, sizes, strict=True):
                image = _decode(path)
                if image.shape != (h, w, 3):
                    raise ValueError(f"{path} is {image.shape}, its record says {(h, w)}.")
                file.write(image.tobytes())
        os.replace(part, cache)
    flat = np.memmap(cache, np.uint8, "r")
    ends = np.cumsum(lengths)
    return [
        flat[end - n : end].reshape(h, w, 3)
        for end, n, (h, w) in zip(ends, lengths, sizes, strict=True)
    ]


def recolour(
    image: NDArray[np.uint8], rng: np.random.Generator, strength: float
) -> NDArray[np.uint8]:
    """Change brightness, contrast, saturation and tint; sometimes blur, noise, grey.

    The range is that of daylight: the night set must stay unseen.
    """
    if rng.random() < 0.75 * strength + 0.05:
        bright, contrast, colour = 1 + rng.uniform(-0.35, 0.35, 3) * strength
        if rng.random() < 0.06 * strength:
            colour = 0.0
        tint = 1 + rng.normal(0, 0.05, 3) * strength
        grey = np.full((3, 3), 1 / 3)
        matrix = (np.eye(3) * colour + grey * (1 - colour)) * contrast * bright * tint[:, None]
        mean = float(image[::8, ::8].mean()) * bright
        offset = mean * (1 - contrast)
        image = cv2.transform(image, np.hstack([matrix, np.full((3, 1), offset)]))
    if rng.random() < 0.15 * strength:
        sigma = rng.uniform(0.4, 1.3)
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    if rng.random() < 0.2 * strength:
        noise = rng.integers(0, 256, image.shape, np.uint8)
        amount = rng.uniform(0.01, 0.06)
        image = cv2.addWeighted(image, 1 - amount, noise, amount, 0)
    return image
