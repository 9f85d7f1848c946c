"""AI Challenger keypoints (14 joints) → COCO's 17."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kptk.coco.layout import read_json
from kptk.coco.pictures import header
from kptk.coco.report import first_ids
from kptk.coco.rules import AREA_OF_BOX
from kptk.coco.write import document
from kptk.errors import DataError
from kptk.skeleton import COCO17

# AI Challenger's order; its head top and neck have no counterpart, COCO's face has none there.
AIC_JOINTS = (
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "head_top", "neck",
)  # fmt: skip
_VISIBILITY = {1: 2, 2: 1, 3: 0}  # visible, hidden, missing there


def aic_to_coco(
    file: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None
) -> tuple[dict[str, Any], Path]:
    """Read an AI Challenger keypoint file.

    Nose, eyes and ears are not labelled there and stay unlabelled; head top and neck are dropped.
    Visibility 1 (visible) becomes 2, 2 (hidden) becomes 1, 3 (missing) becomes 0. The area is 0.53
    of the box's.

    Args:
        file: the ``keypoint_..._annotations_....json``.
        images: the folder of its images; by default the folder beside it whose name starts with
            ``keypoint_`` and ends with ``images...``, else the file's own.

    Returns:
        The COCO document and the image folder. Ids count from 1, by image id; the image's id there
        is kept as ``aic_id``.

    Raises:
        DataError: the file is none of AI Challenger's, or its images are not there.
    """
    path = Path(file).expanduser()
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise DataError(f"{path} must be AI Challenger's list of images. Got another document.")
    folder = _image_folder(path) if images is None else Path(images).expanduser()
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    missing: list[str] = []
    for entry in sorted(content, key=lambda entry: str(entry.get("image_id"))):
        name = f"{entry.get('image_id')}.jpg"
        found = header(folder / name)
        if found is None:
            missing.append(name)
            continue
        height, width = found.upright_size
        number = len(records) + 1
        records.append({"id": number, "file_name": name, "width": width, "height": height,
                        "aic_id": entry["image_id"]})  # fmt: skip
        for person in _people(entry, path):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **person})
    if missing:
        raise DataError(
            f"{len(missing)} images of {path.name} cannot be read in {folder}: "
            f"{first_ids(missing)}. Pass images=, the folder they lie in."
        )
    return document(records, annotations, COCO17, "Converted from AI Challenger by kptk"), folder


def _image_folder(path: Path) -> Path:
    beside = sorted(path.parent.glob("keypoint_*images*"))
    return next((folder for folder in beside if folder.is_dir()), path.parent)


def _people(entry: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    try:
        points, boxes = entry["keypoint_annotations"], entry["human_annotations"]
        return [_person(points[name], boxes[name]) for name in sorted(points, key=_natural)]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: image {entry.get('image_id')!r} must have keypoint_annotations (14 x, y, v) "
            f"and human_annotations (x1, y1, x2, y2) for each person. Trouble with {error}."
        ) from error


def _natural(name: str) -> tuple[int, str]:
    return len(name), name  # human2 before human10


def _person(points: list[float], box: list[float]) -> dict[str, Any]:
    if len(points) != 3 * len(AIC_JOINTS):
        raise ValueError(f"{len(points)} numbers in the keypoints")
    triples = {name: points[3 * i : 3 * i + 3] for i, name in enumerate(AIC_JOINTS)}
    keypoints = [v for name in COCO17.names for v in _joint(triples.get(name, [0, 0, 3]))]
    x1, y1, x2, y2 = map(float, box)
    return {
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": AREA_OF_BOX * abs(x2 - x1) * abs(y2 - y1),
    }


def _joint(triple: list[float]) -> list[float]:
    x, y, v = triple
    seen = _VISIBILITY.get(int(v), 0)
    return [x, y, seen] if seen else [0, 0, 0]
