"""What the label editor draws: one image and its people as plain values for the browser."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.coco import KeypointData
from kptk.draw import COLOURS, draw_poses
from kptk.errors import DataError, InputError
from kptk.skeleton import Skeleton
from kptk.widgets.edits import Labels
from kptk.widgets.missed import Candidate
from kptk.widgets.person import Person, Point
from kptk.widgets.saved import to_png

_SCREEN_SIDE = 2048  # pixels sent to the browser: enough to zoom in, still sent at once
_PREVIEW_SIDE = 640  # pixels kept in a saved notebook
_QUALITY = 90


def fitting_skeleton(skeleton: Skeleton | None, data: KeypointData) -> Skeleton:
    """The skeleton to draw: the one given, or the data's.

    Raises:
        InputError: it has another number of joints than the data.
    """
    if skeleton is None:
        return data.skeleton
    if len(skeleton) != len(data.skeleton):
        raise InputError(
            f"The skeleton must have the data's {len(data.skeleton)} joints. Got {len(skeleton)}."
        )
    return skeleton


def chosen_images(
    data: KeypointData, image_ids: Iterable[int] | None, annotation_ids: frozenset[int]
) -> list[int]:
    """The images to go through: those given, or those of the annotations, or all.

    Raises:
        DataError: an image or annotation is not in the data, or there is no image.
    """
    records = {a["id"]: a["image_id"] for a in data.content["annotations"]}
    unknown = sorted(annotation_ids - set(records))
    if unknown:
        raise DataError(f"{data.annotations_path.name} has no annotation {unknown[0]!r}.")
    if image_ids is not None:
        found = [int(data.image(image_id)["id"]) for image_id in image_ids]
    elif annotation_ids:
        found = sorted({records[i] for i in annotation_ids})
    else:
        found = list(data.image_ids)
    if not found:
        raise DataError("There is no image to show. Pass image_ids, or data with images.")
    return found


def setup_of(skeleton: Skeleton, with_candidates: bool) -> dict[str, Any]:
    """What stays the same while images change: joints, limbs, colours."""
    joints = range(len(skeleton))
    return {
        "names": [skeleton.names[i].replace("_", " ") for i in joints],
        "sides": [skeleton.side(i) for i in joints],
        "edges": [list(edge) for edge in skeleton.edges],
        "colours": {side: f"rgb{colour}" for side, colour in COLOURS.items()},
        "candidates": with_candidates,
    }


def scene_of(
    data: KeypointData,
    labels: Labels,
    image_id: int,
    image_ids: Sequence[int],
    marked: Collection[int],
    candidates: Iterable[Candidate],
) -> dict[str, Any]:
    """One image with its people as they are now, crowds, detections, and the state of undo."""
    height, width = labels.size(image_id)
    return {
        "image": {
            "id": image_id,
            "name": data.image(image_id)["file_name"],
            "width": width,
            "height": height,
            "place": image_ids.index(image_id) + 1 if image_id in image_ids else None,
            "count": len(image_ids),
        },
        "people": [_person(person, person.id in marked) for person in labels.people(image_id)],
        "crowds": [_corners(crowd["bbox"]) for crowd in data.crowds(image_id)],
        "missed": [
            {"box": list(c.box), "score": c.score, "points": _points(c.points or ())}
            for c in candidates
        ],
        "done": labels.n_done,
        "undone": labels.n_undone,
        "unsaved": labels.unsaved,
    }


def _person(person: Person, marked: bool) -> dict[str, Any]:
    points = _points(person.points)
    return {"id": person.id, "box": list(person.box), "points": points, "marked": marked}


def _points(points: Iterable[Point]) -> list[list[float] | None]:
    return [[p.x, p.y, p.v] if p.v else None for p in points]


def _corners(bbox: Sequence[float]) -> list[float]:
    x, y, width, height = bbox
    return [x, y, x + width, y + height]


def picture_of(image: NDArray[np.uint8]) -> bytes:
    """An RGB image (H, W, 3) as JPEG, made smaller if a side is very long."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_shrunk(image, _SCREEN_SIDE)).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def render_labels(image: NDArray[np.uint8], people: Sequence[Person], skeleton: Skeleton) -> bytes:
    """Labelled people drawn on their image, as a PNG; hidden joints are hollow."""
    points = np.array([person.points for person in people], np.float32)
    points = points.reshape(len(people), len(skeleton), 3)
    points[..., 2] = np.where(points[..., 2] == 2, 1, 0)
    boxes = np.array([person.box for person in people], np.float32).reshape(-1, 4)
    scores = np.full(len(people), np.nan, np.float32)
    drawn = draw_poses(image, boxes, scores, points, skeleton=skeleton, kpt_threshold=0.5)
    return to_png(_shrunk(drawn, _PREVIEW_SIDE))


def _shrunk(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((side, side))
    return np.asarray(picture)
