"""Counts, sizes and label balance of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kptk.coco.data import KeypointData

SMALL, MEDIUM = 32**2, 96**2  # COCO's limits of area, in square pixels


def describe(data: KeypointData) -> dict[str, Any]:
    """Describe a data set in plain values.

    Returns:
        ``images``, ``images_without_people``, ``people``, ``people_without_keypoints``,
        ``crowds``, ``most_people_on_an_image``; ``sizes``: people of COCO's small, medium and
        large area; ``box_height``: its 0, 5, 50, 95 and 100 % quantiles in pixels;
        ``joints``: for each joint, how many are labelled, and of these visible and hidden.
    """
    people = [data.people(image_id) for image_id in data.image_ids]
    every = [person for on_image in people for person in on_image]
    areas = np.array([person["area"] for person in every], float)
    heights = np.array([person["bbox"][3] for person in every], float)
    counts = [len(on_image) for on_image in people]
    return {
        "images": len(data),
        "images_without_people": counts.count(0),
        "people": len(every),
        "people_without_keypoints": sum(not person.get("num_keypoints") for person in every),
        "crowds": sum(len(data.crowds(image_id)) for image_id in data.image_ids),
        "most_people_on_an_image": max(counts, default=0),
        "sizes": {
            "small": int((areas < SMALL).sum()),
            "medium": int(((areas >= SMALL) & (areas < MEDIUM)).sum()),
            "large": int((areas >= MEDIUM).sum()),
        },
        "box_height": _quantiles(heights),
        "joints": _joints(data),
    }


def _quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {}
    found = np.quantile(values, [0, 0.05, 0.5, 0.95, 1])
    return {f"{p}%": round(float(v), 1) for p, v in zip((0, 5, 50, 95, 100), found, strict=True)}


def _joints(data: KeypointData) -> dict[str, dict[str, int]]:
    from kptk.coco.points import gather

    visibility = gather(data).points[..., 2]
    return {
        name: {
            "labelled": int((visibility[:, k] > 0).sum()),
            "visible": int((visibility[:, k] == 2).sum()),
            "hidden": int((visibility[:, k] == 1).sum()),
        }
        for k, name in enumerate(data.skeleton.names)
    }
