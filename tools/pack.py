"""One small file that is both an inference graph and the start of a fine-tuning run.

The graph is exported with its batch norms and branches as they were trained, so its initializers
are the training weights. They are stored in half precision under ppdet's names; a Cast brings each
back to float32, which ONNX Runtime and OpenVINO do once, while loading.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.files import run_module
from kptk.models import network, weights
from kptk.models.export import save_inference_model

PREFIX = "ppdet:"


def pack_model(
    params: str | os.PathLike[str],
    model: str,
    out_dir: str | os.PathLike[str],
    size: tuple[int, int],
) -> Path:
    """Write ``inference.onnx`` and ``inference.yml`` of a model into a directory.

    Args:
        params: weights with ppdet's names (``best.npz`` of a run).
        model: the architecture.
        out_dir: the directory; other files in it stay.
        size: (height, width) of the input.

    Raises:
        ModelError: the export failed.
    """
    run_module(
        "tools.pack",
        Path(params).resolve(),
        model,
        Path(out_dir).resolve(),
        str(size[0]),
        str(size[1]),
        task=f"Packing {os.fspath(params)} as {model}",
    )
    return Path(out_dir)


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

    unnamed: dict[bytes, list[str]] = {}
    for name, array in state.items():
        unnamed.setdefault(_key(array), []).append(name)
    kept, casts = [], []
    nodes, constants = _split_constants(graph)
    for item in constants:
        array = numpy_helper.to_array(item)
        names = unnamed.get(_key(array)) if array.dtype == np.float32 else None
        if not names:
            kept.append(item)
            continue
        stored = PREFIX + names.pop(0)
        kept.append(numpy_helper.from_array(_small(array), stored))
        casts.append(helper.make_node("Cast", [stored], [item.name], to=TensorProto.FLOAT))
    folded = [name for names in unnamed.values() for name in names]
    kept += [numpy_helper.from_array(_small(state[name]), PREFIX + name) for name in folded]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend([*casts, *nodes])


def _split_constants(graph: Any) -> tuple[list[Any], list[Any]]:
    """The nodes that compute, and all constant tensors: paddle2onnx writes them as nodes."""
    nodes, constants = [], list(graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            constants.append(tensor)
        else:
            nodes.append(node)
    return nodes, constants


def _key(array: NDArray[Any]) -> bytes:
    return repr(array.shape).encode() + np.ascontiguousarray(array, np.float32).tobytes()


def _small(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float16) if array.ndim > 1 else array.astype(np.float32)


def _main(params: str, model: str, out_dir: str, height: str, width: str) -> None:
    import onnx

    from kptk.models.modeldir import ModelDir
    from kptk.models.onnx import convert

    state = weights.read_weights(params)
    net = network.build(model, state, params)
    target = Path(out_dir)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".pack-") as folder:
        save_inference_model(net, model, Path(folder), (int(height), int(width)), deploy=False)
        found = ModelDir.open(folder)
        assert found.paddle is not None
        convert(*found.paddle, Path(folder) / "graph.onnx")
        packed = onnx.load(Path(folder) / "graph.onnx")
        name_initializers(packed.graph, state)
        onnx.save(packed, Path(folder) / "inference.onnx")
        for name in ("inference.onnx", "inference.yml"):
            os.replace(Path(folder) / name, target / name)


if __name__ == "__main__":
    _main(*sys.argv[1:])
