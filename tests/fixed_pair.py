"""A pipeline of two tiny models that finds one person, always at the same place."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.tiny_models import detector_config, keypoint_dir, write_config

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
