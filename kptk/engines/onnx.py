"""ONNX Runtime: on the CPU, and on CUDA with batches of few sizes.

Measured on an H200 with PP-TinyPose 128x96 (``benchmarks/NOTES.md``): cuDNN's search for
algorithms takes up to 13 seconds for every new shape, and a batch of 16 is hundreds of small
kernels that take 8 ms to launch one by one and 3 ms replayed as a graph.
"""

from __future__ import annotations

import contextlib
import io
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.engines.base import (
    PADDLE_ONLY,
    Device,
    Engine,
    Inputs,
    Outputs,
    load_error,
    ordered_inputs,
    parse_device,
    run_error,
)
from kptk.errors import DeviceError

# A batch is filled up to the first that holds it; a larger one runs in parts.
SIZES = (16, 64)
_RECORDED = SIZES[0]  # what kptk runs unless told otherwise; at 64 a graph saves little
_CUDA = "CUDAExecutionProvider"


def has_cuda() -> bool:
    """Whether the installed ONNX Runtime is built for CUDA."""
    import onnxruntime

    return _CUDA in onnxruntime.get_available_providers()


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


def session_options() -> Any:
    """Options of a session that says errors only.

    Converted models name constants that the optimizer folds; each would give a warning.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return options


@lru_cache(maxsize=1)
def preload_libraries() -> None:
    """Load the CUDA libraries of pip's nvidia packages, which are on no search path."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):  # it prints what it does not find
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()


def load_onnxruntime(
    onnx: Path, device: Device, threads: int, crop: tuple[int, int, int] | None
) -> Engine:
    """ONNX Runtime; on a GPU batches of crops of this shape have few sizes, if they are free."""
    engine = OnnxRuntimeEngine(onnx, device, threads)
    fixed = isinstance(engine.batch_dimension, int)
    if engine.device == "cpu" or crop is None or fixed or len(engine.input_names) > 1:
        return engine
    return FixedBatches(engine, onnx, parse_device(engine.device).number, crop)


class OnnxRuntimeEngine:
    """ONNX Runtime, on the CPU or (where its GPU build is installed) on CUDA."""

    name = "onnxruntime"
    precision = "f32"

    def __init__(self, onnx: Path, device: Device, threads: int) -> None:
        import onnxruntime

        options = session_options()
        options.intra_op_num_threads = threads
        # Threads that spin after a run take the cores from what comes next: the other network.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        found, providers = _providers(device)
        try:
            session = onnxruntime.InferenceSession(str(onnx), options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions share no public base
            raise load_error(error, onnx) from error
        if found.kind == "gpu" and _CUDA not in session.get_providers():
            if device.kind != "auto":
                raise DeviceError(
                    f"ONNX Runtime could not open {found}: its CUDA libraries or the GPU are "
                    "missing. Use device='cpu' or engine='paddle'."
                )
            found = Device("cpu")  # what the session fell back to
        self._session = session
        self.device = str(found)
        self.input_names = tuple(entry.name for entry in session.get_inputs())
        # a name, a number that is fixed, or None
        self.batch_dimension: Any = (session.get_inputs()[0].shape or [None])[0]

    def run(self, inputs: Inputs) -> Outputs:
        """Run the network; see `Engine.run`."""
        arrays = ordered_inputs(self.input_names, inputs)
        try:
            outputs = self._session.run(None, dict(zip(self.input_names, arrays, strict=True)))
        except Exception as error:  # as above
            raise run_error(error, self.input_names, arrays) from error
        return tuple(np.asarray(output) for output in outputs)


def _providers(device: Device) -> tuple[Device, list[Any]]:
    """The device that is meant, and what to hand to a session for it."""
    cpu = "CPUExecutionProvider"
    if device.kind in PADDLE_ONLY:
        raise DeviceError(f"ONNX Runtime has no {device.kind}. Use engine='paddle' for {device}.")
    if device.kind == "auto" and has_cuda():
        device = Device("gpu")
    if device.kind != "gpu":
        return Device("cpu"), [cpu]
    if not has_cuda():
        raise DeviceError(
            "The installed ONNX Runtime is the CPU build. For the GPU install onnxruntime-gpu "
            "instead of onnxruntime, or use engine='paddle' with paddlepaddle-gpu."
        )
    preload_libraries()
    return device, [(_CUDA, cuda_options(device.number)), cpu]


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
        # a graph has one buffer for what goes in, too
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

    def run(self, inputs: Inputs) -> Outputs:
        """Run the network; see `Engine.run`."""
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
        answers: Outputs,
    ) -> None:
        import onnxruntime

        options = session_options()
        if dimension is not None:
            options.add_free_dimension_override_by_name(dimension, len(example))
        session = onnxruntime.InferenceSession(
            str(onnx),
            options,
            providers=[(_CUDA, {**cuda_options(number), "enable_cuda_graph": "1"})],
            enable_fallback=0,
        )
        new = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        self._session, self._binding = session, session.io_binding()
        self._input = onnxruntime.OrtValue.ortvalue_from_numpy(example, "cuda", number)
        self._outputs = [new(list(a.shape), a.dtype.type, "cuda", number) for a in answers]
        self._binding.bind_ortvalue_input(session.get_inputs()[0].name, self._input)
        for entry, value in zip(session.get_outputs(), self._outputs, strict=True):
            self._binding.bind_ortvalue_output(entry.name, value)
        session.run_with_iobinding(self._binding)  # this run is recorded

    def run(self, batch: NDArray[np.float32]) -> Outputs:
        self._input.update_inplace(batch)
        self._session.run_with_iobinding(self._binding)
        return tuple(np.asarray(value.numpy()) for value in self._outputs)
