"""What must be mended in ppdet 2.6.0 to run on paddle 3.2, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import ModelError, nearest, require
from kptk.models import weights


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


# ---- network: PaddleDetection's networks, built from kptk's YAML files, with weights put in.


ARCHITECTURES = (
    "PP-YOLOE-S_human",
    "PP-YOLOE-L_human",
    "PP-TinyPose_128x96",
    "PP-TinyPose_256x192",
)


def kind_of(model: str) -> str:
    """``"detection"`` or ``"keypoint"`` for the name of an architecture."""
    return "detection" if model.startswith("PP-YOLOE") else "keypoint"


def input_size_of(model: str) -> tuple[int, int]:
    """The published input size of an architecture, (height, width)."""
    if kind_of(model) == "detection":
        return (640, 640)
    height, width = model.rpartition("_")[2].split("x")
    return int(height), int(width)


def read_config(model: str) -> dict[str, Any]:
    """The YAML file of an architecture, in PaddleDetection's format."""
    from ruamel.yaml import YAML

    if model not in ARCHITECTURES:
        raise ModelError(
            f"The architecture must be one of {', '.join(ARCHITECTURES)}. "
            f"Got {model!r}.{nearest(model, ARCHITECTURES)}"
        )
    file = resources.files("kptk") / "configs" / "ppdet" / f"{model}.yml"
    config: dict[str, Any] = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    return config


def build(model: str, state: Mapping[str, NDArray[Any]] | None = None, source: str = "") -> Any:
    """Build a network.

    ppdet keeps its configuration in a global, so build one network a process, or the same again.

    Args:
        model: one of ``ARCHITECTURES``.
        state: weights by ppdet's names; None keeps the random start.
        source: where the weights come from, for messages.

    Returns:
        A ``paddle.nn.Layer`` in training mode.
    """
    require("ppdet", "finetune", "Building a network")
    from ppdet.core.workspace import create, merge_config

    apply()
    config = read_config(model)
    merge_config(config)
    network = create(config["architecture"])
    if kind_of(model) == "keypoint":
        network.deploy = True  # in evaluation mode: give heatmaps, not decoded keypoints
    if state is not None:
        load(network, state, source)
    return network


def load(network: Any, state: Mapping[str, NDArray[Any]], source: str) -> None:
    """Put weights into a network; every parameter must be there and fit."""
    import paddle

    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    fitting = weights.match(shapes, state, source)
    network.set_state_dict(
        {name: paddle.to_tensor(value.astype(np.float32)) for name, value in fitting.items()}
    )


def state_of(network: Any) -> dict[str, NDArray[np.float32]]:
    """The weights of a network as arrays, by ppdet's names."""
    return {name: value.numpy() for name, value in network.state_dict().items()}
