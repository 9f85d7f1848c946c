"""Static int8 quantization by ONNX Runtime: QDQ format, weights per channel."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError, ModelError, require

Method = Literal["minmax", "entropy", "percentile"]

# Chosen by benchmarks/quantize.py: no worse than the others, and the fastest; see docs/edge.md.
METHOD: Method = "minmax"
_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
_STRIDE = 8  # histograms keep every activation of so many inputs in memory


def float_convolutions(graph: Any, *, depthwise: bool = False) -> list[str]:
    """Names of the convolutions that stay in float32.

    Those after a softmax are PP-YOLOE's sum over distances, which needs the precision. Depthwise
    ones have a range a channel that differs too much for one scale a tensor: they cost PP-TinyPose
    most of what int8 costs it, and are little work.

    Args:
        graph: an ``onnx.GraphProto`` in topological order.
        depthwise: quantize the depthwise ones too.
    """
    after: set[str] = set()
    names = []
    for node in graph.node:
        late = any(name in after for name in node.input)
        if late or node.op_type == "Softmax":
            after.update(node.output)
        grouped = any(a.name == "group" and a.i > 1 for a in node.attribute)
        if node.op_type == "Conv" and (late or (grouped and not depthwise)):
            names.append(node.name)
    return names


def quantize(
    source: Path,
    target: Path,
    inputs: Sequence[dict[str, NDArray[np.float32]]],
    *,
    method: Method = METHOD,
    keep_float: Sequence[str] = (),
    results: bool = True,
) -> None:
    """Write the int8 form of a plain graph.

    Only convolutions are quantized; all else, the head's arithmetic and the non-maximum
    suppression among it, stays in float32.

    Args:
        source: an ONNX file from `kptk.edge.graph.plain_graph`.
        target: the ONNX file to write.
        inputs: what to calibrate on.
        method: how ranges are chosen from what was seen.
        keep_float: names of convolutions that stay in float32.
        results: quantize what a convolution gives, too, before the activation that follows.
            ONNX Runtime has no int8 convolution without. OpenVINO joins convolution, activation
            and the next one's quantization: with it, it is slower and rounds twice.

    Raises:
        InputError: another method.
        ModelError: the graph cannot be quantized, or the method fails on what was seen.
        MissingDependencyError: ``kptk[edge]`` is not installed.
    """
    if method not in _METHODS:
        raise InputError(f"method must be one of {', '.join(_METHODS)}. Got {method!r}.")
    for needed in ("onnx", "ml_dtypes"):
        require(needed, "edge", "Quantizing to int8")
    from onnxruntime import quantization

    strided: dict[str, Any] = {} if method == "minmax" else {"CalibStridedMinMax": _STRIDE}
    # a stride must divide the number of inputs, or ONNX Runtime refuses
    count = len(inputs) // _STRIDE * _STRIDE if strided else len(inputs)
    extra = dict(strided) if count else {}
    if not results:
        extra["OpTypesToExcludeOutputQuantization"] = ["Conv"]
    try:
        with _errors_only():
            quantization.quantize_static(
                str(source),
                str(target),
                _Reader(inputs[:count] if count else inputs),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                op_types_to_quantize=["Conv"],
                nodes_to_exclude=list(keep_float),
                calibrate_method=quantization.CalibrationMethod[_METHODS[method]],
                extra_options=extra,
            )
    except Exception as error:  # ONNX Runtime's tools raise whatever NumPy and ONNX do
        raise ModelError(f"{source.name} cannot be quantized by {method}: {error}") from error


@contextmanager
def _errors_only() -> Iterator[None]:
    """ONNX Runtime's tool advises at warning level what `plain_graph` has done already."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


class _Reader:
    """Inputs in the form that ONNX Runtime's calibration reads: a ``CalibrationDataReader``."""

    def __init__(self, inputs: Sequence[dict[str, NDArray[np.float32]]]) -> None:
        self._inputs = inputs
        self.set_range(0, len(inputs))

    def __len__(self) -> int:
        return len(self._inputs)

    def __iter__(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        return self._rest

    def set_range(self, start_index: int, end_index: int) -> None:
        self._rest = iter(self._inputs[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._rest, None)
