"""Model directories of a few kilobytes, made where a test needs them, and a pipeline of two.

`keypoint_dir` runs in every ONNX engine and gives `patch_sums`; `write_detector` always finds one
person, BOX and SCORE; `write_pipeline` joins the two. `detector_dir` and `onnx_detector_dir` are
only loaded or opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def keypoint_config(name: str | None = "PP-TinyPose_128x96", size: int = 128) -> dict[str, Any]:
    """An inference.yml as PaddleX exports it for PP-TinyPose; trainsize is [width, height]."""
    config: dict[str, Any] = {
        "Preprocess": [
            {"type": "TopDownEvalAffine", "trainsize": [size * 3 // 4, size]},
            {"type": "NormalizeImage", "is_scale": True, **IMAGENET},
            {"type": "Permute"},
        ],
        "label_list": ["keypoint"],
    }
    return config | ({"Global": {"model_name": name}} if name else {})


def detector_config(name: str | None = "PP-YOLOE-S_human") -> dict[str, Any]:
    """An inference.yml as PaddleX exports it for PP-YOLOE_human; target_size is [height, width]."""
    config: dict[str, Any] = {
        "draw_threshold": 0.4,
        "Preprocess": [
            {"type": "Resize", "target_size": [640, 512], "keep_ratio": False, "interp": 2},
            {"type": "NormalizeImage", "is_scale": True, "norm_type": "none", **IMAGENET},
            {"type": "Permute"},
        ],
        "label_list": ["pedestrian"],
    }
    return config | ({"Global": {"model_name": name}} if name else {})


def write_config(path: Path, config: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(dict(config), stream)
    return path


WEIGHT = np.random.default_rng(0).standard_normal((17, 3, 4, 4)).astype(np.float32)


def patch_sums(image: np.ndarray) -> np.ndarray:
    """What the tiny network computes, in numpy: one 4x4 patch times WEIGHT is one output."""
    n, c, h, w = image.shape
    patches = image.reshape(n, c, h // 4, 4, w // 4, 4)
    return np.einsum("nchiwj,kcij->nkhw", patches, WEIGHT)


def write_onnx(path: Path) -> Path:
    """A network with the shapes of PP-TinyPose: one convolution of stride 4, and an argmax."""
    from onnx import TensorProto, helper, numpy_helper, save

    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["heatmaps"], strides=[4, 4]),
        helper.make_node("ArgMax", ["heatmaps"], ["argmax"], axis=3, keepdims=0),
    ]
    values = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [values("image", TensorProto.FLOAT, ["n", 3, 128, 96])],
        [
            values("heatmaps", TensorProto.FLOAT, ["n", 17, 32, 24]),
            values("argmax", TensorProto.INT64, ["n", 17, 32]),
        ],
        [numpy_helper.from_array(WEIGHT, "weight")],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def keypoint_dir(folder: Path, name: str | None = "PP-TinyPose_128x96", size: int = 128) -> Path:
    """A model directory with an ONNX file, as the demo models have."""
    write_config(folder / "inference.yml", keypoint_config(name, size))
    write_onnx(folder / "inference.onnx")
    return folder


def onnx_detector_dir(folder: Path) -> Path:
    """A detector's directory whose network, the tiny one, can be loaded but never run."""
    write_config(folder / "inference.yml", detector_config())
    write_onnx(folder / "inference.onnx")
    return folder


def detector_dir(folder: Path, name: str | None = "PP-YOLOE-S_human") -> Path:
    """A model directory whose network is never run."""
    write_config(folder / "inference.yml", detector_config(name))
    (folder / "inference.json").write_text("{}")
    (folder / "inference.pdiparams").write_bytes(b"parameters")
    return folder


# what the detector of `write_detector` answers to everything
BOX = (2.0, 3.0, 30.0, 40.0)
SCORE = 0.75


def write_detector(folder: Path) -> Path:
    """A detector whose network answers BOX and SCORE to everything."""
    from onnx import TensorProto, helper, numpy_helper, save

    rows = numpy_helper.from_array(np.array([[0, SCORE, *BOX]], np.float32))
    count = numpy_helper.from_array(np.array([1], np.int32))
    values = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["rows"], value=rows),
            helper.make_node("Constant", [], ["count"], value=count),
        ],
        "fixed",
        [
            values("image", TensorProto.FLOAT, [1, 3, 640, 512]),
            values("scale_factor", TensorProto.FLOAT, [1, 2]),
        ],
        [values("rows", TensorProto.FLOAT, [1, 6]), values("count", TensorProto.INT32, [1])],
    )
    write_config(folder / "inference.yml", detector_config())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    save(model, folder / "inference.onnx")
    return folder


def write_pipeline(folder: Path) -> Path:
    """Both models and their pipeline YAML; returns the YAML's path."""
    write_detector(folder / "det")
    keypoint_dir(folder / "kpt")
    pair = {
        "ObjectDetection": ("object_detection", "PP-YOLOE-S_human", "det"),
        "KeypointDetection": ("keypoint_detection", "PP-TinyPose_128x96", "kpt"),
    }
    modules = {
        key: {"module_name": module, "model_name": name, "model_dir": str(folder / sub)}
        for key, (module, name, sub) in pair.items()
    }
    config = {"pipeline_name": "human_keypoint_detection", "SubModules": modules}
    return write_config(folder / "pipeline.yaml", config)
