"""One small file that is both an inference graph and the start of a fine-tuning run.

``python -m tools.pack WEIGHTS MODEL DIRECTORY HEIGHT WIDTH`` writes ``inference.onnx`` and
``inference.yml``. The graph is exported with its batch norms and branches as they were trained, so
its initializers are the training weights. They are stored in half precision under ppdet's names; a
Cast brings each back to float32, which ONNX Runtime and OpenVINO do once, while loading.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.models import network
from kptk.models.export import save_inference_model
from kptk.models.modeldir import ModelDir
from kptk.models.onnx import convert
from kptk.models.weights import PREFIX, read_weights


def name_initializers(graph: Any, state: Mapping[str, NDArray[Any]]) -> None:
    """Store the weights of a graph in half precision under ppdet's names.

    An initializer is known by its values; several with the same values may change places.
    Arrays of one dimension (batch norm, biases) stay in float32: variances do not fit into half
    precision. Weights that the graph has folded away are added, so that the set is complete.

    Args:
        graph: an ``onnx.GraphProto``; changed in place.
        state: ppdet's name to array.
    """
    from onnx import TensorProto, helper, numpy_helper

    def key(array: NDArray[Any]) -> bytes:
        return repr(array.shape).encode() + np.ascontiguousarray(array, np.float32).tobytes()

    def stored(name: str) -> Any:
        array = state[name].astype(np.float16 if state[name].ndim > 1 else np.float32)
        return numpy_helper.from_array(array, PREFIX + name)

    nodes, constants = [], list(graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t  # paddle2onnx writes constant tensors as nodes
            tensor.name = node.output[0]
            constants.append(tensor)
        else:
            nodes.append(node)
    unnamed = defaultdict(list)
    for name, array in state.items():
        unnamed[key(array)].append(name)
    kept, casts = [], []
    for item in constants:
        array = numpy_helper.to_array(item)
        names = unnamed[key(array)] if array.dtype == np.float32 else []
        if names:
            kept.append(stored(names.pop(0)))
            casts.append(
                helper.make_node("Cast", [kept[-1].name], [item.name], to=TensorProto.FLOAT)
            )
        else:
            kept.append(item)
    kept += [stored(name) for names in unnamed.values() for name in names]  # folded away
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend([*casts, *nodes])


def pack(params: Path, model: str, target: Path, size: tuple[int, int]) -> None:
    """Write ``inference.onnx`` and ``inference.yml`` into a directory; other files in it stay.

    Args:
        params: weights with ppdet's names (``best.npz`` of a run).
        model: the architecture.
        target: the directory.
        size: (height, width) of the input.
    """
    import onnx

    state = read_weights(params)
    net = network.build(model)
    network.load(net, state, str(params))
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".pack-") as folder:
        made = Path(folder)
        save_inference_model(net, model, made, size, deploy=False)
        found = ModelDir.open(made)
        assert found.paddle is not None
        convert(*found.paddle, made / "graph.onnx")
        packed = onnx.load(made / "graph.onnx")
        name_initializers(packed.graph, state)
        onnx.save(packed, made / "inference.onnx")
        for name in ("inference.onnx", "inference.yml"):
            os.replace(made / name, target / name)


if __name__ == "__main__":
    params, model, target, height, width = sys.argv[1:]
    pack(Path(params), model, Path(target), (int(height), int(width)))
