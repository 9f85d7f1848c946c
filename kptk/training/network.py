"""PaddleDetection's networks, built from kptk's YAML files, with weights put in."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import ModelError, nearest, require
from kptk.training import shims, weights

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

    shims.apply()
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
