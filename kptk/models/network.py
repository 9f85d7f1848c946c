"""PaddleDetection's networks, built from kptk's YAML files, with weights put in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import ModelError, nearest, require
from kptk.files import packaged_yaml
from kptk.models.catalog import ARCHITECTURES, MODELS
from kptk.models.weights import match


def read_config(model: str) -> dict[str, Any]:
    """The YAML file of an architecture, in PaddleDetection's format."""
    if model not in ARCHITECTURES:
        raise ModelError(
            f"The architecture must be one of {', '.join(ARCHITECTURES)}. "
            f"Got {model!r}.{nearest(model, ARCHITECTURES)}"
        )
    return packaged_yaml("ppdet", model)


def build(model: str) -> Any:
    """Build a network with random weights.

    ppdet keeps its configuration in a global, so build one network a process, or the same again.

    Args:
        model: one of ``ARCHITECTURES``.

    Returns:
        A ``paddle.nn.Layer`` in training mode.
    """
    require("ppdet", "finetune", "Building a network")
    import ppdet.modeling.layers as layers
    import ppdet.modeling.ops as ops
    from ppdet.core.workspace import create, merge_config

    # ppdet appends the operator to a static program in the old way, which PIR programs refuse.
    ops.multiclass_nms = layers.ops.multiclass_nms = _multiclass_nms
    config = read_config(model)
    merge_config(config)
    network = create(config["architecture"])
    if MODELS[model].kind == "keypoint":
        network.deploy = True  # in evaluation mode: give heatmaps, not decoded keypoints
    return network


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

    kept = (score_threshold, nms_top_k, keep_top_k, nms_threshold)
    how = (normalized, nms_eta, background_label)
    out, index, count = paddle._C_ops.multiclass_nms3(bboxes, scores, rois_num, *kept, *how)
    return out, count if return_rois_num else None, index if return_index else None


def load(network: Any, state: Mapping[str, NDArray[Any]], source: str) -> None:
    """Put weights, by ppdet's names, into a network; every parameter must be there and fit.

    Args:
        network: one of ``build``.
        state: name to array.
        source: where they come from, for messages.

    Raises:
        ModelError: they do not fit.
    """
    import paddle

    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    fitting = match(shapes, state, source)
    network.set_state_dict(
        {name: paddle.to_tensor(value.astype(np.float32)) for name, value in fitting.items()}
    )


def state_of(network: Any) -> dict[str, NDArray[np.float32]]:
    """A copy of a network's weights, by ppdet's names."""
    return {name: value.numpy().copy() for name, value in network.state_dict().items()}
