"""An ONNX graph made plain: constants folded, batch norms and parallel branches merged."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.engine import load_error
from kptk.errors import require

# The first whose QuantizeLinear has an axis, which per-channel weights need.
OPSET = 13
_ONE = {"pads": [0, 0, 0, 0], "strides": [1, 1], "dilations": [1, 1], "group": 1}


def plain_graph(source: Path) -> Any:
    """Read an ONNX file as a graph that computes the same with fewer operators.

    What the packed demo models store in half precision becomes float32 again, batch norms go into
    the convolutions before them (ONNX Runtime's basic optimisations do both), and the two branches
    of a RepVGG block become one convolution.

    Args:
        source: the ONNX file.

    Returns:
        An ``onnx.ModelProto`` of opset 13 or above, standard operators only.

    Raises:
        ModelError: the file cannot be read.
        MissingDependencyError: ``kptk[edge]`` is not installed.
    """
    onnx = require("onnx", "edge", "Exporting to ONNX and OpenVINO")
    with tempfile.TemporaryDirectory(prefix="kptk-edge-") as folder:
        try:
            model = onnx.load(str(source))
            if _opset(model) < OPSET:
                model = onnx.version_converter.convert_version(model, OPSET)
            onnx.save(model, str(Path(folder) / "newer.onnx"))
            plain = onnx.load(str(_optimised(Path(folder) / "newer.onnx")))
        except Exception as error:  # protobuf's, ONNX's and ONNX Runtime's share no base
            raise load_error(error, source) from error
    merge_branches(plain.graph)
    used = {node.domain or "" for node in plain.graph.node}
    kept = [entry for entry in plain.opset_import if entry.domain in used]
    del plain.opset_import[:], plain.graph.value_info[:]  # shapes are inferred when needed
    plain.opset_import.extend(kept)
    return plain


def _opset(model: Any) -> int:
    return next(int(entry.version) for entry in model.opset_import if not entry.domain)


def _optimised(source: Path) -> Path:
    import onnxruntime

    target = source.with_name("optimised.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only, as in the engine
    # The basic level keeps to standard operators, which other runtimes know.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    return target


def merge_branches(graph: Any) -> int:
    """Merge every 3x3 and 1x1 convolution of the same tensor whose results are added.

    This is the deploy form of RepVGG (Ding et al., CVPR 2021), which the training form that the
    demo models are packed in still lacks.

    Args:
        graph: an ``onnx.GraphProto`` without batch norms; changed in place.

    Returns:
        How many pairs became one convolution.
    """
    makers = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    weights = {item.name: item for item in graph.initializer}
    gone = []
    for node in graph.node:
        branches = [makers.get(name) for name in node.input] if node.op_type == "Add" else []
        alone = all(uses[name] == 1 for name in node.input)
        wide, narrow = _wide_and_narrow(branches, weights) if alone else (None, None)
        if wide is not None and narrow is not None:
            _add_into(graph, wide, narrow, weights)
            wide.output[0] = node.output[0]
            gone += [node, narrow]
    for node in gone:
        graph.node.remove(node)
    return len(gone) // 2


def _wide_and_narrow(branches: list[Any], weights: dict[str, Any]) -> tuple[Any, Any]:
    """The 3x3 and the 1x1 convolution, if that is what the two are; else two times None."""
    if len(branches) != 2 or any(b is None or b.op_type != "Conv" for b in branches):
        return None, None
    if not all(set(b.input[1:]) <= set(weights) and len(b.input) == 3 for b in branches):
        return None, None
    wide, narrow = sorted(branches, key=lambda b: -max(weights[b.input[1]].dims[2:]))
    shapes = [list(weights[b.input[1]].dims) for b in (wide, narrow)]
    settings = [_settings(b) for b in (wide, narrow)]
    fits = (
        wide.input[0] == narrow.input[0]
        and [shape[2:] for shape in shapes] == [[3, 3], [1, 1]]
        and shapes[0][:2] == shapes[1][:2]
        and settings[0] == {**settings[1], "pads": [1, 1, 1, 1]}
        and settings[1] == {**_ONE, "strides": settings[1]["strides"]}
    )
    return (wide, narrow) if fits else (None, None)


def _settings(conv: Any) -> dict[str, Any]:
    given = {a.name: a.i if a.name == "group" else list(a.ints) for a in conv.attribute}
    return {name: given.get(name, default) for name, default in _ONE.items()}


def _add_into(graph: Any, wide: Any, narrow: Any, weights: dict[str, Any]) -> None:
    from onnx import numpy_helper

    def array(name: str) -> NDArray[np.float32]:
        return np.array(numpy_helper.to_array(weights[name]))

    kernel = array(wide.input[1])
    kernel[:, :, 1, 1] += array(narrow.input[1])[:, :, 0, 0]
    bias = array(wide.input[2]) + array(narrow.input[2])
    for name, merged in zip(wide.input[1:], (kernel, bias), strict=True):
        weights[name].CopyFrom(numpy_helper.from_array(merged, name))
    for name in narrow.input[1:]:
        graph.initializer.remove(weights[name])
