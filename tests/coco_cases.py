"""Ground truths and results with everything COCO's evaluation has rules for, from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np

EDGES = (0.25, 1024.0, 9216.0, 1e10)  # areas that lie on the edges of COCO's sizes


def make_case(
    seed: int,
    *,
    n_images: int = 12,
    n_joints: int = 17,
    n_categories: int = 1,
    max_people: int = 6,
    max_extra: int = 8,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A COCO document and results on it.

    With crowds, people without labelled joints, ``ignore`` flags, tied scores, areas on the edges
    of the sizes, two people at one place, images without people or results, image ids in no order.
    """
    rng = np.random.default_rng(seed)
    ids = [int(i) for i in rng.permutation(np.arange(1, 5 * n_images))[:n_images]]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image_id in ids:
        people = [
            _person(rng, image_id, n_joints, n_categories) for _ in range(rng.integers(max_people))
        ]
        if people and rng.random() < 0.2:
            people.append({**people[0]})
        annotations += people
        for person in people:
            for _ in range(rng.integers(0, 3)):
                results.append(_near(rng, person))
        for _ in range(rng.integers(0, max_extra)):
            results.append(_near(rng, _person(rng, image_id, n_joints, n_categories)))
    numbers = rng.permutation(len(annotations)) + 1
    for annotation, number in zip(annotations, numbers, strict=True):
        annotation["id"] = int(number)
    rng.shuffle(results)  # type: ignore[arg-type]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 640, "height": 480} for i in ids],
        "annotations": annotations,
        "categories": [{"id": c + 1, "name": f"kind {c}"} for c in range(n_categories)],
    }
    return content, results


def _person(
    rng: np.random.Generator, image_id: int, n_joints: int, n_categories: int
) -> dict[str, Any]:
    width, height = np.exp(rng.uniform(np.log(8), np.log(300), 2))
    x, y = rng.uniform(0, 300, 2)
    visible = rng.integers(0, 3, n_joints) * (rng.random() > 0.15)
    points = np.stack(
        [x + width * rng.random(n_joints), y + height * rng.random(n_joints), visible], axis=1
    )
    points[visible == 0, :2] = 0
    area = float(rng.choice(EDGES)) if rng.random() < 0.2 else float(0.6 * width * height)
    return {
        "image_id": image_id,
        "category_id": int(rng.integers(n_categories)) + 1,
        "iscrowd": int(rng.random() < 0.1),
        "ignore": int(rng.random() < 0.1),
        "bbox": [float(v) for v in (x, y, width, height)],
        "area": area,
        "num_keypoints": int((visible > 0).sum()),
        "keypoints": [float(v) for v in points.ravel()],
    }


def _near(rng: np.random.Generator, person: dict[str, Any]) -> dict[str, Any]:
    """A result at most some distance from a person; sometimes exactly there, often tied."""
    x, y, width, height = person["bbox"]
    size = np.sqrt(width * height)
    spread = size * float(rng.choice([0, 0.02, 0.05, 0.1, 0.3]))
    points = np.array(person["keypoints"]).reshape(-1, 3)
    hidden = points[:, 2] == 0
    points[hidden, :2] = np.array([x, y]) + rng.random((hidden.sum(), 2)) * [width, height]
    points[:, :2] += rng.normal(0, 1, (len(points), 2)) * spread
    points[:, 2] = rng.random(len(points))
    shift = rng.normal(0, 0.3, 4) * spread
    box = np.maximum(np.array(person["bbox"]) + shift, 0.1)
    score = float(rng.choice([0.25, 0.5])) if rng.random() < 0.4 else float(rng.random())
    return {
        "image_id": person["image_id"],
        "category_id": person["category_id"],
        "bbox": [float(v) for v in box],
        "keypoints": [float(v) for v in points.ravel()],
        "score": score,
    }


def exploded(
    content: dict[str, Any], results: list[dict[str, Any]], counts: dict[int, int]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The data set in which image i stands ``counts[i]`` times; copies follow each other."""
    images, annotations, copies = [], [], []
    new_id = 0
    for image in sorted(content["images"], key=lambda image: image["id"]):
        for _ in range(counts[image["id"]]):
            new_id += 1
            images.append({**image, "id": new_id})
            for record in content["annotations"]:
                if record["image_id"] == image["id"]:
                    annotations.append({**record, "image_id": new_id, "id": len(annotations) + 1})
            copies += [
                {**record, "image_id": new_id}
                for record in results
                if record["image_id"] == image["id"]
            ]
    return {**content, "images": images, "annotations": annotations}, copies
