"""Plain graphs. Expected values: ONNX Runtime on the graph as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kptk.errors import ModelError

onnx = pytest.importorskip("onnx")

RNG = np.random.default_rng(0)
IMAGE = RNG.standard_normal((2, 3, 8, 6)).astype(np.float32)


def weights(**arrays: Any) -> list[Any]:
    return [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]


def block(path: Path, *, stride: int = 1, used_twice: bool = False) -> Path:
    """A RepVGG block as the demo models are packed: weights in half precision, batch norms."""
    node = onnx.helper.make_node
    half = {
        "k3": RNG.standard_normal((4, 3, 3, 3)).astype(np.float16),
        "k1": RNG.standard_normal((4, 3, 1, 1)).astype(np.float16),
    }
    norm = {
        f"{name}{i}": RNG.uniform(0.5, 2, 4).astype(np.float32)
        for i in (3, 1)
        for name in ("scale", "bias", "mean", "var")
    }
    nodes = [node("Cast", [k], [f"{k}_f"], to=1) for k in half]
    for i, pad in ((3, 1), (1, 0)):
        conv = {"pads": [pad] * 4, "strides": [stride] * 2}
        nodes.append(node("Conv", ["image", f"k{i}_f"], [f"c{i}"], **conv))
        names = [f"{name}{i}" for name in ("scale", "bias", "mean", "var")]
        nodes.append(node("BatchNormalization", [f"c{i}", *names], [f"b{i}"]))
    nodes.append(node("Add", ["b3", "b1"], ["sum"]))
    values = onnx.helper.make_tensor_value_info
    outputs = ["sum", "b1"] if used_twice else ["sum"]
    graph = onnx.helper.make_graph(
        nodes,
        "block",
        [values("image", 1, ["n", 3, 8, 6])],
        [values(name, 1, ["n", 4, 8 // stride, 6 // stride]) for name in outputs],
        weights(**half, **norm),
    )
    opset = [onnx.helper.make_opsetid("", 11)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=6), path)
    return path


def run(path: Path) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"image": IMAGE}))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_repvgg_block_becomes_one_convolution(tmp_path: Path, stride: int) -> None:
    from kptk.export import plain_graph

    source = block(tmp_path / "block.onnx", stride=stride)
    plain = plain_graph(source)
    assert [node.op_type for node in plain.graph.node] == ["Conv"]
    assert {item.data_type for item in plain.graph.initializer} == {onnx.TensorProto.FLOAT}
    assert [(entry.domain, entry.version) for entry in plain.opset_import] == [("", 13)]
    onnx.checker.check_model(plain, full_check=True)
    onnx.save(plain, tmp_path / "plain.onnx")
    np.testing.assert_allclose(run(tmp_path / "plain.onnx")[0], run(source)[0], atol=1e-4)


def test_a_branch_that_is_used_elsewhere_stays(tmp_path: Path) -> None:
    from kptk.export import plain_graph

    source = block(tmp_path / "block.onnx", used_twice=True)
    plain = plain_graph(source)
    assert sorted(node.op_type for node in plain.graph.node) == ["Add", "Conv", "Conv"]
    onnx.save(plain, tmp_path / "plain.onnx")
    for one, other in zip(run(tmp_path / "plain.onnx"), run(source), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_broken_file(tmp_path: Path) -> None:
    from kptk.export import plain_graph

    (tmp_path / "bad.onnx").write_bytes(b"not an onnx file")
    with pytest.raises(ModelError, match=r"bad\.onnx' cannot be loaded"):
        plain_graph(tmp_path / "bad.onnx")
