"""A COCO keypoint data set of a few small noise images, and a recipe for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

RECIPES = Path(__file__).parents[2] / "configs" / "train"


def make_data(folder: Path, n_images: int = 4) -> None:
    """Write ``images/`` and ``annotations.json``: two people an image, all joints visible."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    images, people = [], []
    for i in range(n_images):
        pixels = rng.integers(0, 255, (120, 160, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        images.append({"id": i + 1, "file_name": f"{i}.png", "height": 120, "width": 160})
        for k in range(2):
            points = np.column_stack([rng.uniform([10, 10], [70, 110], (17, 2)), np.full(17, 2)])
            people.append(
                {
                    "id": 2 * i + k + 1,
                    "image_id": i + 1,
                    "category_id": 1,
                    "bbox": [5, 5, 70, 110],
                    "area": 7700,
                    "iscrowd": 0,
                    "num_keypoints": 17,
                    "keypoints": points.round(1).ravel().tolist(),
                }
            )
    category = {"id": 1, "name": "person", "keypoints": [], "skeleton": []}
    content = {"images": images, "annotations": people, "categories": [category]}
    (folder / "annotations.json").write_text(json.dumps(content))


def make_run(folder: Path, recipe: str, **changes: object) -> Path:
    """Write a run directory with the settings of a committed recipe, on data made here."""
    make_data(folder / "data")
    data = {
        "images": str(folder / "data" / "images"),
        "annotations": str(folder / "data" / "annotations.json"),
    }
    yaml = YAML(typ="safe", pure=True)
    settings = yaml.load((RECIPES / f"{recipe}.yml").read_text(encoding="utf-8"))
    settings |= {"train": data, "val": data, "batch_size": 2, "warmup_steps": 0, **changes}
    run = folder / "run"
    run.mkdir()
    with (run / "settings.yml").open("w", encoding="utf-8") as file:
        yaml.dump(settings, file)
    return run
