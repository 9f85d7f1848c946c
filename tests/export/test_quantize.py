"""int8. Expected values: the same convolution in numpy, within a step of its quantization."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kptk.errors import InputError, MissingDependencyError, ModelError
from kptk.models.onnx import is_quantized
from tests.tiny_models import patch_sums, write_onnx

onnx = pytest.importorskip("onnx")

IMAGES = np.random.default_rng(1).standard_normal((8, 1, 3, 128, 96)).astype(np.float32)
INPUTS: list[dict[str, Any]] = [{"image": image} for image in IMAGES]


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_the_answers_stay_near(tmp_path: Path, method: Any) -> None:
    pytest.importorskip("ml_dtypes")
    import onnxruntime

    from kptk.export import quantize

    level = logging.getLogger().level
    source, target = write_onnx(tmp_path / "f.onnx"), tmp_path / "q.onnx"
    quantize(source, target, INPUTS, method=method)
    assert logging.getLogger().level == level
    assert is_quantized(target) and not is_quantized(source)
    graph = onnx.load(target).graph
    scales = next(i for i in graph.initializer if i.name == "weight_scale")
    assert list(scales.dims) == [17]  # one for each channel
    assert "ArgMax" in {node.op_type for node in graph.node}
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    found = session.run(None, INPUTS[0])[0]
    expected = patch_sums(IMAGES[0])
    # 48 products, each off by up to half a step of 1/128 of the range: a few percent in all
    typical = np.abs(found - expected).mean() / np.abs(expected).mean()
    assert 1e-4 < typical < 0.1


def test_what_is_left_in_float() -> None:
    from kptk.export import float_convolutions

    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["a"], name="first"),
        node("Conv", ["a", "w"], ["b"], name="depthwise", group=3),
        node("Softmax", ["b"], ["c"], name="softmax"),
        node("Transpose", ["c"], ["d"], name="transpose"),
        node("Conv", ["d", "w"], ["e"], name="distances"),
        node("Conv", ["a", "w"], ["f"], name="other"),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [], [])
    assert float_convolutions(graph) == ["depthwise", "distances"]
    assert float_convolutions(graph, depthwise=True) == ["distances"]


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kptk.export import quantize

    source = write_onnx(tmp_path / "f.onnx")
    with pytest.raises(InputError, match="method must be one of minmax"):
        quantize(source, tmp_path / "q.onnx", INPUTS, method="max")  # type: ignore[arg-type]
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'kptk\[edge\]'"):
        quantize(source, tmp_path / "q.onnx", INPUTS)


def test_inputs_that_do_not_fit(tmp_path: Path) -> None:
    pytest.importorskip("ml_dtypes")
    from kptk.export import quantize

    wrong = [{"image": np.zeros((1, 3, 4, 4), np.float32)}]
    with pytest.raises(ModelError, match=r"f\.onnx cannot be quantized by minmax"):
        quantize(write_onnx(tmp_path / "f.onnx"), tmp_path / "q.onnx", wrong)
