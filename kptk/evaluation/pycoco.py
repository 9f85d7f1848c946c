"""COCO average precision by pycocotools, the authority for every headline number."""

from __future__ import annotations

import contextlib
import copy
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kptk.errors import DataError
from kptk.evaluation.averaging import NAMES


def coco_stats(
    annotations: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: str,
    sigmas: Sequence[float] | None = None,
) -> dict[str, float]:
    """Score results against COCO annotations by pycocotools, which repairs nothing.

    What pycocotools stumbles over (no ``area``, id 0, ...) is mended by ``kptk.evaluate``; here it
    is as there, but for three things: no results are allowed, a joint that is NaN matches nothing
    instead of everything, and sizes of poses come from their joints even where they carry a
    ``bbox``.

    Args:
        annotations: a COCO annotation file's content (``images``, ``annotations``, ``categories``).
        results: COCO result records: ``image_id``, ``category_id``, ``score`` and ``bbox`` (xywh)
            or ``keypoints`` (x, y, v for each joint). Empty is allowed: everything is 0.
        kind: ``"bbox"`` or ``"keypoints"``.
        sigmas: OKS sigma of each joint; None: COCO's 17.

    Returns:
        The 12 box or 10 keypoint statistics by name, in 0 to 1; NaN where COCO leaves one undefined
        (no ground truth of that size).

    Raises:
        DataError: ``kind`` is neither, or the sigmas are not as many as the joints.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if kind not in NAMES:
        raise DataError(f"kind must be 'bbox' or 'keypoints'. Got {kind!r}.")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dict(annotations))
        truth.createIndex()
        evaluator = COCOeval(truth, _load_results(truth, results, kind), kind)
        if kind == "keypoints":
            evaluator.params.kpt_oks_sigmas = _sigmas(sigmas, evaluator, annotations, results)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    values = [float(value) for value in evaluator.stats]
    return {
        name: value if value >= 0 else math.nan
        for name, value in zip(NAMES[kind], values, strict=True)
    }


def _load_results(truth: Any, results: Sequence[Mapping[str, Any]], kind: str) -> Any:
    """Results as pycocotools' COCO object."""
    from pycocotools.coco import COCO

    shape = "bbox" if kind == "bbox" else "keypoints"
    if not results:  # loadRes cannot take an empty list
        found = COCO()
        found.dataset = {**truth.dataset, "annotations": []}
        found.createIndex()
        return found
    records = [
        {key: result[key] for key in ("image_id", "category_id", "score", shape)}
        for result in results
    ]
    with np.errstate(invalid="ignore"):  # of points at infinity, mended below
        found = truth.loadRes([_finite(record) for record in records])
    for record in found.dataset["annotations"]:
        points = np.reshape(record.get("keypoints", []), (-1, 3))[:, :2]
        if not np.isfinite(points).all():
            known = points[np.isfinite(points).all(axis=1)]
            record["area"] = float(np.prod(np.ptp(known, axis=0))) if len(known) else 0.0
    return found


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """Missing joints moved to infinity, where their similarity is 0; NaN would make it perfect."""
    points = record.get("keypoints")
    if points is None or all(value is not None and math.isfinite(value) for value in points):
        return record
    joints = np.array(points, np.float64).reshape(-1, 3)
    joints[~np.isfinite(joints[:, :2]).all(axis=1), :2] = np.inf
    return {**record, "keypoints": joints.ravel().tolist()}


def _sigmas(
    sigmas: Sequence[float] | None,
    evaluator: Any,
    annotations: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
) -> Any:
    chosen = evaluator.params.kpt_oks_sigmas if sigmas is None else np.array(sigmas, np.float64)
    for record in (*annotations["annotations"], *results):
        points = record.get("keypoints")
        if points and len(points) != 3 * len(chosen):
            raise DataError(
                f"There must be one OKS sigma for each joint. Got {len(chosen)} sigmas, and "
                f"{len(points)} numbers of keypoints in a record of image "
                f"{record.get('image_id')!r}: {len(points) / 3:g} joints. Pass sigmas=."
            )
    return chosen
