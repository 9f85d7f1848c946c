"""Bundles made by hand, as arrays, for tests of the analysis.

A person fills his box: joint k of 17 lies at PLACES[k] of it. All poses, found or true, are made so
from a box; what differs is moved afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kptk.analysis.bundle import Bundle, People, Poses, crops
from kptk.skeleton import COCO17, Skeleton
from tests.fake_pair import PLACES

Box = Sequence[float]
SIZE = (256, 192)  # height, width of the pose model's input
IMAGE = (640, 480)  # width, height


def pose(box: Box, score: float = 1.0) -> np.ndarray:
    """(17, 3) joints of a person in a box (x1, y1, x2, y2)."""
    corners = np.asarray(box, np.float64)
    points = corners[:2] + PLACES * (corners[2:] - corners[:2])
    return np.concatenate([points, np.full((17, 1), score)], axis=1)


def person(box: Box, image: int = 0, **changes: Any) -> dict[str, Any]:
    """One person: ``points`` (17, 3) with v, ``area``, ``crowd``, ``ignored``, ``given`` pose."""
    record = {
        "image": image, "box": box, "points": pose(box, 2.0), "given": pose(box, 0.9),
        "area": (box[2] - box[0]) * (box[3] - box[1]), "crowd": False, "ignored": False,
    }  # fmt: skip
    return {**record, **changes}


def found(box: Box, score: float = 0.9, image: int = 0, **changes: Any) -> dict[str, Any]:
    """One candidate; ``points``: its pose, by default that of a person who fills the box."""
    return {"image": image, "box": box, "score": score, "points": pose(box, 0.9), **changes}


def bundle(
    people: Sequence[dict[str, Any]],
    candidates: Sequence[dict[str, Any]] = (),
    *,
    threshold: float = 0.5,
    two_stage: bool = True,
    n_images: int | None = None,
    skeleton: Skeleton = COCO17,
    images: Sequence[dict[str, Any]] | None = None,
) -> Bundle:
    """A bundle of people and candidates, in any order."""
    people = sorted(people, key=lambda p: p["image"])
    candidates = sorted(candidates, key=lambda c: (c["image"], -c["score"]))
    if n_images is None:
        n_images = 1 + max(record["image"] for record in (*people, *candidates))
    k = len(skeleton)
    truth = _column(people, "points", (k, 3))
    truth[truth[..., 2] <= 0, :2] = np.nan
    flags = {key: np.array([p[key] for p in people], np.bool_) for key in ("crowd", "ignored")}
    boxes = _column(candidates, "box", (4,))
    anything = np.tile([-np.inf, -np.inf, np.inf, np.inf], (len(candidates), 1))
    image_ids = np.arange(1, n_images + 1, dtype=np.int64)
    image = _index(people)
    width, height = IMAGE
    return Bundle(
        name="test",
        skeleton=skeleton,
        image_ids=image_ids,
        images=images
        or [
            {"id": i + 1, "file_name": f"{i + 1}.png", "width": width, "height": height}
            for i in range(n_images)
        ],
        people=People(
            image_ids=image_ids[image],
            boxes=_column(people, "box", (4,)),
            scores=np.ones(len(people)),
            keypoints=truth,
            areas=_column(people, "area", ()),
            ids=np.arange(101, 101 + len(people), dtype=np.int64),
            crowd=flags["crowd"],
            image=image,
            ignored=flags["ignored"] | flags["crowd"] | ~(truth[..., 2] > 0).any(axis=1),
            given=_column(people, "given", (k, 3)),
        ),
        candidates=Poses.of(
            image_ids,
            _index(candidates),
            boxes,
            _column(candidates, "score", ()),
            _column(candidates, "points", (k, 3)),
            crops(boxes, SIZE) if two_stage else anything,
        ),
        threshold=threshold,
        input_size=SIZE,
        two_stage=two_stage,
        provenance={},
    )


def _column(records: Sequence[dict[str, Any]], key: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.array([r[key] for r in records], np.float64).reshape(len(records), *shape)


def _index(records: Sequence[dict[str, Any]]) -> np.ndarray:
    return np.array([r["image"] for r in records], np.intp)


def random_bundle(seed: int, n_images: int = 12, two_stage: bool = True) -> Bundle:
    """People of all sizes, crowds, missing joints; boxes and poses from good to wild."""
    rng = np.random.default_rng(seed)
    people: list[dict[str, Any]] = []
    candidates: list[dict[str, Any]] = []
    for image in range(n_images):
        for _ in range(int(rng.integers(0, 7))):
            people.append(_random_person(rng, image))
            for _ in range(int(rng.choice([0, 1, 2, 9], p=[0.2, 0.5, 0.25, 0.05]))):
                pose_of = people[-1 - (rng.random() < 0.1 and len(people) > 1)]
                candidates.append(_random_found(rng, people[-1]["box"], pose_of["box"], image))
        candidates += [found(_random_box(rng), rng.random(), image) for _ in range(rng.integers(3))]
    people.append(person((10, 10, 60, 160), n_images - 1))  # somebody has to be found
    return bundle(people, candidates, two_stage=two_stage, n_images=n_images)


def write_images(folder: Path) -> Path:
    """The images of ``random_bundle(3)`` but for the first, all of one colour."""
    for image in random_bundle(3).images[1:]:
        Image.new("RGB", IMAGE, (90, 120, 90)).save(folder / str(image["file_name"]))
    return folder


def _random_box(rng: np.random.Generator) -> np.ndarray:
    size = np.exp(rng.uniform(np.log(12), np.log(200))) * np.array([1, rng.uniform(0.6, 2.5)])
    low = rng.uniform(0, 300, 2)
    return np.concatenate([low, low + size])


def _random_person(rng: np.random.Generator, image: int) -> dict[str, Any]:
    box = _random_box(rng)
    record = person(box, image, crowd=rng.random() < 0.05, ignored=rng.random() < 0.05)
    record["area"] *= rng.choice([0.1, 0.5, 1.0])
    record["points"][:, 2] = rng.choice([0, 1, 2], 17, p=[0.2, 0.2, 0.6])
    if rng.random() < 0.1 or record["crowd"]:
        record["points"][:, 2] = 0
    record["given"] = _random_pose(rng, box)
    return record


def _random_pose(rng: np.random.Generator, box: Box) -> np.ndarray:
    points = pose(box, 0.9)
    spread = rng.choice([0.01, 0.05, 0.2]) * (box[3] - box[1])
    points[:, :2] += rng.normal(0, spread, (17, 2))
    points[:, 2] = rng.random(17)
    return points[COCO17.flip_order] if rng.random() < 0.15 else points


def _random_found(
    rng: np.random.Generator, near: np.ndarray, pose_of: np.ndarray, image: int
) -> dict[str, Any]:
    size = np.tile(near[2:] - near[:2], 2)
    box = near + rng.normal(0, rng.choice([0.02, 0.1, 0.3]), 4) * size
    box = np.concatenate([np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])])
    if rng.random() < 0.15:
        box[1] += 0.4 * (box[3] - box[1])  # cuts off the upper part
    return found(box, rng.random(), image, points=_random_pose(rng, pose_of))
