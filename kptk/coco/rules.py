"""What can be wrong with the annotation of a person, and how each is mended."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]

AREA_OF_BOX = 0.53
"""Area of a person as a share of its box where no mask says it: CrowdPose's and AI Challenger's
evaluation take this too; it is about the mean over COCO's people."""


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong with an annotation.

    Attributes:
        code: name of the finding.
        wrong: whether an annotation has it.
        mend: repairs it in place; None when nothing is known that would be right, so that the
            annotation can only be left out.
        sentence: what is wrong.
        done: what ``mend`` does.
        advice: what the user can do.
    """

    code: str
    wrong: Callable[[Record], bool]
    mend: Callable[[Record], None] | None
    sentence: str
    done: str
    advice: str = ""


def people_rules(n_joints: int) -> list[Rule]:
    """The rules for a person with ``n_joints`` joints (0: boxes only), in the order applied."""
    rules = [*_BOX_RULES]
    if n_joints:
        rules += _keypoint_rules(n_joints)
    return rules


def _keypoint_rules(n_joints: int) -> list[Rule]:
    def fill(annotation: Record) -> None:
        annotation["keypoints"] = [0] * (3 * n_joints)

    return [
        Rule(
            "keypoints-missing", lambda a: not a.get("keypoints") and not a["iscrowd"], fill,
            "Persons have no keypoints, not even unlabelled ones.",
            "They count as persons without labelled points.",
        ),
        Rule("crowd-keypoints", lambda a: not a.get("keypoints"), fill,
             "Crowds have no keypoints, not even unlabelled ones.",
             "They were given unlabelled points."),
        Rule(
            "keypoints-length", lambda a: not _is_numbers(a["keypoints"], 3 * n_joints), None,
            f"The keypoints are not {3 * n_joints} numbers: x, y, v for each of {n_joints} joints.",
            "", "Label all joints in the category's order; joints without a label are 0, 0, 0.",
        ),
        Rule(
            "keypoints-not-finite", _has_nan, _clear_nan,
            "Keypoints hold NaN or infinity, which pycocotools takes for a perfect match.",
            "Those points count as not labelled.",
        ),
        Rule(
            "visibility-range", _has_odd_visibility, _clear_odd_visibility,
            "Keypoints have a visibility other than 0 (not labelled), 1 (hidden) or 2 (visible).",
            "What it means is unknown, so those points count as not labelled.",
            "Write 0, 1 or 2; AI Challenger's 3 means not labelled.",
        ),
        Rule(
            "num-keypoints-missing", lambda a: a.get("num_keypoints") is None, _count,
            "num_keypoints is missing.", "The labelled points were counted.",
        ),
        Rule(
            "num-keypoints-wrong", lambda a: a["num_keypoints"] != labelled(a), _count,
            "num_keypoints is not the number of points with v > 0; with too many, pycocotools "
            "gives away a free match.", "The labelled points were counted.",
        ),
    ]  # fmt: skip


def _set(key: str, value: Any) -> Callable[[Record], None]:
    def mend(annotation: Record) -> None:
        annotation[key] = value

    return mend


def _swap_corners(annotation: Record) -> None:
    x, y, w, h = annotation["bbox"]
    annotation["bbox"] = [min(x, x + w), min(y, y + h), abs(w), abs(h)]


def _has_no_area(annotation: Record) -> bool:
    area = annotation["area"]
    return not _is_number(area) or not math.isfinite(area) or area <= 0


def _compute_area(annotation: Record) -> None:
    annotation["area"] = area_of(annotation)


def area_of(annotation: Record) -> float:
    """A person's area in square pixels: of its mask, else :data:`AREA_OF_BOX` of its box."""
    segmentation = annotation.get("segmentation")
    area = 0.0
    if isinstance(segmentation, list):
        shapes = [shape for shape in segmentation if _is_numbers(shape) and len(shape) >= 6]
        area = sum(map(polygon_area, shapes))
    elif isinstance(segmentation, dict):
        area = _run_lengths_area(segmentation)
    _, _, width, height = annotation["bbox"]
    return area if area > 0 else AREA_OF_BOX * width * height


def _run_lengths_area(segmentation: Record) -> float:
    counts = segmentation.get("counts")
    if isinstance(counts, list):
        return float(sum(counts[1::2]))  # off, on, off, on, ...
    if not isinstance(counts, str):
        return 0.0
    from pycocotools import mask

    try:
        return float(mask.area({"size": segmentation["size"], "counts": counts.encode()}))
    except (KeyError, TypeError, ValueError):
        return 0.0


def polygon_area(points: list[float]) -> float:
    """Area of a polygon x0, y0, x1, y1, ... by the shoelace formula."""
    xs, ys = points[0::2], points[1::2]
    twice = sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(min(len(xs), len(ys))))
    return abs(twice) / 2


def labelled(annotation: Record) -> int:
    """The number of points with v > 0."""
    return sum(v > 0 for v in annotation["keypoints"][2::3])


def _count(annotation: Record) -> None:
    annotation["num_keypoints"] = labelled(annotation)


def _has_nan(annotation: Record) -> bool:
    values = annotation["keypoints"]
    return None in values or not math.isfinite(sum(values))


def _clear_nan(annotation: Record) -> None:
    _clear(annotation, lambda *p: any(value is None or not math.isfinite(value) for value in p))


def _has_odd_visibility(annotation: Record) -> bool:
    return not set(annotation["keypoints"][2::3]) <= {0, 1, 2}


def _clear_odd_visibility(annotation: Record) -> None:
    _clear(annotation, lambda _x, _y, v: v not in (0, 1, 2))


def _clear(annotation: Record, wrong: Callable[[Any, Any, Any], bool]) -> None:
    points = list(annotation["keypoints"])
    for i in range(0, len(points), 3):
        if wrong(points[i], points[i + 1], points[i + 2]):
            points[i : i + 3] = [0, 0, 0]
    annotation["keypoints"] = points


def is_id(value: object) -> bool:
    """Whether it is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_numbers(value: object, length: int | None = None) -> bool:
    """Whether it is a list of numbers; None stands for NaN, as some writers have it."""
    return (
        isinstance(value, list)
        and (length is None or len(value) == length)
        and set(map(type, value)) <= {int, float, type(None)}
    )


def _is_box(annotation: Record) -> bool:
    box = annotation.get("bbox")
    return _is_numbers(box, 4) and all(v is not None and math.isfinite(v) for v in box or ())


_BOX_RULES = [
    Rule("iscrowd-missing", lambda a: a.get("iscrowd") is None, _set("iscrowd", 0),
         "iscrowd is missing.", "It was set to 0."),
    Rule("box-invalid", lambda a: not _is_box(a), None,
         "The bbox is not four finite numbers (x, y, width, height).", ""),
    Rule("box-negative-size", lambda a: a["bbox"][2] < 0 or a["bbox"][3] < 0, _swap_corners,
         "Boxes have a negative width or height.", "Their corners were swapped.",
         "Boxes are (x, y, width, height) from the top left corner."),
    Rule("box-empty", lambda a: a["bbox"][2] == 0 or a["bbox"][3] == 0, None,
         "Boxes have no width or no height.", "", "Draw the box, or remove the annotation."),
    Rule("area-missing", lambda a: a.get("area") is None, _compute_area,
         "area is missing.",
         f"It was taken from the mask, or else is {AREA_OF_BOX} times the box's."),
    Rule("area-zero", _has_no_area, _compute_area,
         "area is 0 or no positive number; pycocotools then finds no match for the person.",
         f"It was taken from the mask, or else is {AREA_OF_BOX} times the box's."),
]  # fmt: skip
