"""COCO average precision, computed by pycocotools.

Results are lists of records in COCO's result format; sizes, matching and averaging are COCO's.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Mapping, Sequence
from typing import Any

_BOX_NAMES = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip
_KEYPOINT_NAMES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


def coco_stats(
    annotations: Mapping[str, Any], results: Sequence[Mapping[str, Any]], kind: str
) -> dict[str, float]:
    """Score results against COCO annotations.

    Args:
        annotations: a COCO annotation file's content (``images``, ``annotations``, ``categories``).
        results: COCO result records: ``image_id``, ``category_id``, ``score`` and ``bbox`` (xywh)
            or ``keypoints`` (x, y, v for each joint). Empty is allowed: everything is 0.
        kind: ``"bbox"`` or ``"keypoints"``.

    Returns:
        The 12 box or 10 keypoint statistics by name, in 0 to 1; NaN where COCO leaves one undefined
        (no ground truth of that size).
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dict(annotations))
        truth.createIndex()
        if results:
            found = truth.loadRes([dict(result) for result in results])
        else:  # loadRes cannot take an empty list
            found = COCO()
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        evaluator = COCOeval(truth, found, kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    names = _BOX_NAMES if kind == "bbox" else _KEYPOINT_NAMES
    values = [float(value) for value in evaluator.stats]
    return {
        name: value if value >= 0 else float("nan")
        for name, value in zip(names, values, strict=True)
    }
