"""What must be mended in ppdet 2.6.0 to run on paddle 3.2, each with its reason."""

from __future__ import annotations

from typing import Any

import numpy as np


def apply() -> None:
    """Mend ppdet in this process. Safe to call more than once."""
    import ppdet.modeling.layers as layers
    import ppdet.modeling.ops as ops

    # ppdet appends the operator to a static program in the old way, which PIR programs refuse.
    ops.multiclass_nms = _multiclass_nms
    layers.ops.multiclass_nms = _multiclass_nms


def int64_labels(batch: dict[str, Any]) -> dict[str, Any]:
    """The task-aligned assigner adds labels to int64 indices; paddle 3 refuses to mix int types."""
    if "gt_class" in batch:
        batch["gt_class"] = batch["gt_class"].astype(np.int64)
    return batch


def _multiclass_nms(
    bboxes: Any,
    scores: Any,
    score_threshold: float,
    nms_top_k: int,
    keep_top_k: int,
    nms_threshold: float = 0.3,
    normalized: bool = True,
    nms_eta: float = 1.0,
    background_label: int = -1,
    return_index: bool = False,
    return_rois_num: bool = True,
    rois_num: Any = None,
    name: str | None = None,
) -> tuple[Any, Any, Any]:
    """Same arguments and results as ``ppdet.modeling.ops.multiclass_nms``."""
    import paddle

    out, index, count = paddle._C_ops.multiclass_nms3(
        bboxes,
        scores,
        rois_num,
        score_threshold,
        nms_top_k,
        keep_top_k,
        nms_threshold,
        normalized,
        nms_eta,
        background_label,
    )
    return out, count if return_rois_num else None, index if return_index else None
