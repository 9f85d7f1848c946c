"""Demo images whose annotations have faults planted in them."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import kptk
from kptk.skeleton import COCO17

NOSE = 0
N_IMAGES = 8


def write_faulty(folder: Path) -> tuple[Path, Path]:
    """Swap left and right of every other face, put a nose outside; a sidecar of 8 images.

    Returns:
        The annotation file and the folder of images.
    """
    data = kptk.load_coco(kptk.demo_path("day"), split="val", check=False)
    data = data.subset(data.image_ids[:N_IMAGES])
    content = copy.deepcopy(data.content)
    people = content["annotations"]
    for person in people[::2]:
        points = [person["keypoints"][3 * k : 3 * k + 3] for k in COCO17.flip_order]
        person["keypoints"] = [value for point in points for value in point]
    seen = next(p for p in people[1::2] if p["keypoints"][3 * NOSE + 2])
    seen["keypoints"][3 * NOSE] = -40.0
    file = folder / "faulty.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file, data.images_dir
