"""What ONNX Runtime needs on CUDA: its libraries, its options, and batches of few sizes.

Measured on an H200 with PP-TinyPose 128x96 (``benchmarks/NOTES.md``): cuDNN's search for
algorithms takes up to 13 seconds for every new shape, and a batch of 16 is hundreds of small
kernels that take 8 ms to launch one by one and 3 ms replayed as a graph.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kptk.engines.load import OnnxRuntimeEngine


# A batch is filled up to the first that holds it; a larger one runs in parts.
SIZES = (16, 64)


_RECORDED = SIZES[0]  # what kptk runs unless told otherwise; at 64 a graph saves little


def cuda_options(number: int) -> dict[str, str]:
    """Options of ``CUDAExecutionProvider`` for the GPU of this number.

    TF32 would move heatmaps by up to .001 for no clear gain. The exhaustive search for algorithms,
    the default, takes about twice as long as the heuristic one.
    """
    return {
        "device_id": str(number),
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",
    }


@lru_cache(maxsize=1)
def preload_libraries() -> None:
    """Load the CUDA libraries of pip's nvidia packages, which are on no search path."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):  # it prints what it does not find
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()


class FixedBatches:
    """A network of one input on a GPU, run at `SIZES` only, the first of them as a CUDA graph.

    The graph is recorded here, since nothing else may run on the GPU meanwhile, and stays with one
    thread, since ONNX Runtime records again for every other.

    Args:
        engine: the network on the GPU; it runs what is no graph.
        onnx: its file.
        number: of the GPU.
        shape: of one crop, (3, H, W).
    """

    def __init__(
        self, engine: OnnxRuntimeEngine, onnx: Path, number: int, shape: tuple[int, ...]
    ) -> None:
        self._engine = engine
        self.name, self.device, self.precision = engine.name, engine.device, engine.precision
        self.input_names = engine.input_names
        # a graph has one place for what goes in, too
        self._thread = ThreadPoolExecutor(1, "kptk-graph")
        example = np.zeros((_RECORDED, *shape), np.float32)
        self._recorded = example.shape
        self._graph = self._thread.submit(self._record, onnx, number, example).result()

    def _record(self, onnx: Path, number: int, example: NDArray[np.float32]) -> _Graph | None:
        try:
            answers = self._engine.run({self.input_names[0]: example})
            return _Graph(onnx, number, self._engine.batch_dimension, example, answers)
        except Exception:  # ONNX Runtime's exceptions share no public base
            return None  # some operator is not CUDA's, or the file wants other shapes

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[Any], ...]:
        """Run the network; see `kptk.engines.load.Engine.run`."""
        from kptk.engines.load import ordered_inputs, run_error

        (batch,) = ordered_inputs(self.input_names, inputs)
        if not len(batch):
            return self._engine.run(inputs)
        parts = [batch[i : i + SIZES[-1]] for i in range(0, len(batch), SIZES[-1])]
        try:
            answers = [self._run_part(part) for part in parts]
        except Exception as error:  # as above; what is said of shapes is of those handed in
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            raise run_error(cause, self.input_names, [batch]) from error
        return tuple(np.concatenate(outputs) for outputs in zip(*answers, strict=True))

    def _run_part(self, part: NDArray[np.float32]) -> list[NDArray[Any]]:
        size = next(size for size in SIZES if size >= len(part))
        full = np.zeros((size, *part.shape[1:]), np.float32)
        full[: len(part)] = part
        if self._graph is not None and full.shape == self._recorded:
            outputs = self._thread.submit(self._graph.run, full).result()
        else:
            outputs = self._engine.run({self.input_names[0]: full})
        return [output[: len(part)] for output in outputs]


class _Graph:
    """A session that replays its kernels on one shape."""

    def __init__(
        self,
        onnx: Path,
        number: int,
        dimension: str | None,
        example: NDArray[np.float32],
        answers: tuple[NDArray[Any], ...],
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only, as in the engine
        if dimension is not None:
            options.add_free_dimension_override_by_name(dimension, len(example))
        provider = ("CUDAExecutionProvider", {**cuda_options(number), "enable_cuda_graph": "1"})
        session = onnxruntime.InferenceSession(
            str(onnx), options, providers=[provider], enable_fallback=0
        )
        place = ("cuda", number)
        new = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        self._session, self._binding = session, session.io_binding()
        self._input = onnxruntime.OrtValue.ortvalue_from_numpy(example, *place)
        self._outputs = [new(list(answer.shape), answer.dtype.type, *place) for answer in answers]
        self._binding.bind_ortvalue_input(session.get_inputs()[0].name, self._input)
        for entry, value in zip(session.get_outputs(), self._outputs, strict=True):
            self._binding.bind_ortvalue_output(entry.name, value)
        session.run_with_iobinding(self._binding)  # this run is recorded

    def run(self, batch: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        self._input.update_inplace(batch)
        self._session.run_with_iobinding(self._binding)
        return tuple(np.asarray(value.numpy()) for value in self._outputs)
