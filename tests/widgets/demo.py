"""Demo images with predictions made up from their annotations, and with faults planted in those.

The first person of each image is found at .9 and every joint is right; others are found at .3 and
their left wrist is a third of their height too low.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import kptk
from kptk.coco import KeypointData
from kptk.evaluation import Evaluation, Predictions
from kptk.instances import Instances
from kptk.skeleton import COCO17

SURE, UNSURE = 0.9, 0.3
WRIST = 9
N_IMAGES = 3
NOSE, N_FAULTY = 0, 8


def demo_data() -> KeypointData:
    """The first images of the demo data taken by day."""
    data = kptk.load_coco(kptk.demo_path("day"), split="val", check=False)
    crowded = [i for i in data.image_ids if len(data.people(i)) > 1]
    return data.subset(crowded[:N_IMAGES])


def predictions_of(data: KeypointData) -> Predictions:
    """The made-up predictions."""
    candidates: list[dict[str, Any]] = []
    given: list[dict[str, Any]] = []
    for image_id in data.image_ids:
        for place, person in enumerate(data.people(image_id)):
            pose = _pose(person, moved=place > 0)
            base = {"image_id": image_id, "category_id": data.category_id, "keypoints": pose}
            box = [float(v) for v in person["bbox"]]
            score = UNSURE if place else SURE
            candidates.append({**base, "bbox": box, "score": score, "crop_area": box[2] * box[3]})
            given.append({**base, "bbox": box, "score": 1.0, "crop_area": box[2] * box[3],
                          "annotation_id": person["id"]})  # fmt: skip
    made_by = {"det_threshold": 0.5, "models": {"pose": {"input_size": [128, 96]}}}
    found, on_truth = (Instances.from_results(records, 17) for records in (candidates, given))
    return Predictions(found, on_truth, tuple(data.image_ids), made_by, data.category_id)


def _pose(person: dict[str, Any], moved: bool) -> list[float]:
    """x, y, score of each joint; those without a label are not placed."""
    pose: list[float] = []
    for joint in range(17):
        x, y, v = person["keypoints"][3 * joint : 3 * joint + 3]
        down = person["bbox"][3] / 3 if moved and joint == WRIST else 0.0
        pose += [float(x), float(y) + down, 0.6] if v else [0.0, 0.0, 0.0]
    return pose


def evaluation_of(data: KeypointData) -> Evaluation:
    """The predictions, evaluated."""
    return kptk.evaluate(predictions=predictions_of(data), annotations=data, progress=False)


def save_predictions(folder: Path) -> KeypointData:
    """Write the predictions for a notebook to read; returns the data they are of."""
    data = demo_data()
    predictions_of(data).save(folder)
    return data


# What a notebook needs to have the same; `folder` is where save_predictions wrote to.
SETUP = """
import kptk, pandas as pd
data = kptk.load_coco(kptk.demo_path("day"), split="val", check=False)
data = data.subset({ids})
ev = kptk.evaluate(predictions={folder!r}, annotations=data, progress=False)
people = [a for i in data.image_ids for a in data.people(i)]
first = [data.people(i)[0]["id"] for i in data.image_ids]
persons = pd.DataFrame([
    {{"image_id": a["image_id"], "annotation_id": a["id"],
      "label": "ok" if a["id"] in first else "below-threshold"}} for a in people])
"""


def write_faulty(folder: Path) -> tuple[Path, Path]:
    """Swap left and right of every other face, put a nose outside; a sidecar of 8 images.

    Returns:
        The annotation file and the folder of images.
    """
    data = kptk.load_coco(kptk.demo_path("day"), split="val", check=False)
    data = data.subset(data.image_ids[:N_FAULTY])
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
