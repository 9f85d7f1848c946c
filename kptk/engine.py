"""Model directory → ``run(arrays) → arrays``, by ONNX Runtime, Paddle Inference or OpenVINO."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kptk.device import PADDLE_ONLY, Device, check_threads, parse_devices
from kptk.errors import (
    DeviceError,
    MissingDependencyError,
    ModelError,
    nearest,
    require,
)
from kptk.modeldir import ModelDir
from kptk.onnx_export import can_convert, onnx_file

ENGINES = ("onnxruntime", "openvino", "paddle")

_ORT_ERRORS_ONLY = 3


class Engine(Protocol):
    """Something that runs a network.

    Attributes:
        name: ``"onnxruntime"``, ``"openvino"`` or ``"paddle"``.
        device: ``"cpu"``, ``"gpu:0"``, ...
        input_names: names of the inputs, in the model's order.
    """

    name: str
    device: str
    input_names: tuple[str, ...]

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[Any], ...]:
        """Run the network.

        Args:
            inputs: one float32 array a name in ``input_names``, batch first.

        Returns:
            The outputs in the model's order, with the model's dtypes.

        Raises:
            ModelError: names or shapes do not fit the network.
        """
        ...


def load_engine(
    model: ModelDir, *, engine: str = "auto", device: str = "auto", threads: int | None = None
) -> Engine:
    """Load a model into an engine.

    Args:
        model: the model directory.
        engine: ``"onnxruntime"``, ``"openvino"``, ``"paddle"`` or ``"auto"``: ONNX Runtime where
            it can serve the device (it is the fastest on CPUs), else Paddle.
        device: ``"auto"`` (an accelerator if the engine has one, else the CPU), ``"cpu"``,
            ``"gpu:0"``, ``"npu:0"``, ``"xpu:0"`` or ``"mlu:0"``; ``"gpu:0,1"``: a replica on each.
        threads: CPU threads; None means all cores this process may use.

    Raises:
        ModelError: files are missing or broken, or the engine's name is not known.
        DeviceError: the device's form is wrong or this build does not have it.
        MissingDependencyError: the engine or the converter is not installed.
    """
    count = check_threads(threads)
    places = parse_devices(device)
    if len(places) > 1:
        from kptk.replicas import Replicas

        alone = [str(place) for place in places]
        return Replicas([load_engine(model, engine=engine, device=d, threads=count) for d in alone])
    (place,) = places
    if engine == "auto":
        engine = _choose(model, place)
    if engine == "onnxruntime":
        return _for_kind(model, OnnxRuntimeEngine(onnx_file(model), place, count))
    if engine == "openvino":
        return _for_kind(model, OpenVinoEngine(model.openvino or onnx_file(model), place, count))
    if engine == "paddle":
        from kptk.paddle_engine import PaddleEngine

        return PaddleEngine(model, place, count)
    raise ModelError(
        f"engine must be 'auto', {', '.join(map(repr, ENGINES))}. Got {engine!r}."
        f"{nearest(str(engine), ENGINES)}"
    )


def _for_kind(model: ModelDir, engine: Engine) -> Engine:
    return _OneAtATime(engine) if model.kind == "detection" else engine


def _choose(model: ModelDir, place: Device) -> str:
    """Pick the engine for ``engine="auto"``."""
    has_paddle = importlib.util.find_spec("paddle") is not None
    if place.kind in PADDLE_ONLY or (place.kind == "gpu" and not _ort_has_cuda()):
        return "paddle"
    if place.kind == "auto" and model.paddle and has_paddle:
        from kptk.paddle_engine import prefers_accelerator

        if prefers_accelerator():
            return "paddle"
    if model.onnx is None and model.paddle is None:
        return "openvino"  # nothing else reads its files
    if model.onnx is not None or can_convert():
        return "onnxruntime"
    if has_paddle:
        return "paddle"
    raise MissingDependencyError(
        f"{model.name} is a Paddle model (as the official models are). Running it needs Paddle, "
        "or paddle2onnx to convert it once. Install both with: pip install 'kptk[paddle]'"
    )


def _ort_has_cuda() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def ordered_inputs(
    names: tuple[str, ...], inputs: Mapping[str, NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    """Return the inputs in the model's order, float32 and contiguous."""
    if set(inputs) != set(names):
        raise ModelError(
            f"The network's inputs are {', '.join(names)}. Got {', '.join(inputs) or 'none'}."
        )
    return [np.ascontiguousarray(inputs[name], dtype=np.float32) for name in names]


def run_error(error: Exception, names: tuple[str, ...], arrays: list[Any]) -> ModelError:
    shapes = ", ".join(f"{n} {a.shape}" for n, a in zip(names, arrays, strict=True))
    return ModelError(f"The network could not run on {shapes}: {error}")


def load_error(error: Exception, path: Path) -> ModelError:
    return ModelError(
        f"{str(path)!r} cannot be loaded: {error} The file may be damaged: fetch or export the "
        "model again."
    )


class OnnxRuntimeEngine:
    """ONNX Runtime, on the CPU or (where its GPU build is installed) on CUDA."""

    name = "onnxruntime"

    def __init__(self, onnx: Path, place: Device, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Converted models name constants that the optimizer folds; each gives a warning.
        options.log_severity_level = _ORT_ERRORS_ONLY
        options.intra_op_num_threads = threads
        place, providers = _ort_providers(place)
        try:
            session = onnxruntime.InferenceSession(str(onnx), options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions share no public base
            raise load_error(error, onnx) from error
        if place.kind == "gpu" and "CUDAExecutionProvider" not in session.get_providers():
            raise DeviceError(
                f"ONNX Runtime could not open {place}: its CUDA libraries or the GPU are missing. "
                "Use device='cpu' or engine='paddle'."
            )
        self._session = session
        self.device = str(place)
        self.input_names = tuple(entry.name for entry in session.get_inputs())

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[Any], ...]:
        """Run the network; see `Engine.run`."""
        arrays = ordered_inputs(self.input_names, inputs)
        try:
            outputs = self._session.run(None, dict(zip(self.input_names, arrays, strict=True)))
        except Exception as error:  # as above
            raise run_error(error, self.input_names, arrays) from error
        return tuple(np.asarray(output) for output in outputs)


def _ort_providers(place: Device) -> tuple[Device, list[Any]]:
    cpu = "CPUExecutionProvider"
    if place.kind in PADDLE_ONLY:
        raise DeviceError(f"ONNX Runtime has no {place.kind}. Use engine='paddle' for {place}.")
    if place.kind != "gpu":
        return Device("cpu"), [cpu]
    if not _ort_has_cuda():
        raise DeviceError(
            "The installed ONNX Runtime is the CPU build. For the GPU install onnxruntime-gpu "
            "instead of onnxruntime, or use engine='paddle' with paddlepaddle-gpu."
        )
    return place, [("CUDAExecutionProvider", {"device_id": place.number}), cpu]


class OpenVinoEngine:
    """OpenVINO on an ONNX file or its own .xml, in float32 (its default may be bfloat16).

    What is quantized to int8 in the file runs in int8.
    """

    name = "openvino"

    def __init__(self, onnx: Path, place: Device, threads: int) -> None:
        openvino = require("openvino", "openvino", "The OpenVINO engine")
        core = openvino.Core()
        place, target = _openvino_target(place, core.available_devices)
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if target == "CPU":
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            compiled = core.compile_model(core.read_model(str(onnx)), target, settings)
        except Exception as error:  # RuntimeError and its own OpenVINO exceptions
            raise load_error(error, onnx) from error
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()
        self.device = str(place)
        self.input_names = tuple(port.get_any_name() for port in compiled.inputs)

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[Any], ...]:
        """Run the network; see `Engine.run`."""
        arrays = ordered_inputs(self.input_names, inputs)
        with self._lock:
            try:
                outputs = self._request.infer(dict(zip(self.input_names, arrays, strict=True)))
            except Exception as error:  # as above
                raise run_error(error, self.input_names, arrays) from error
            return tuple(np.array(output) for output in outputs.values())


def _openvino_target(place: Device, available: list[str]) -> tuple[Device, str]:
    if place.kind in ("auto", "cpu"):
        return Device("cpu"), "CPU"
    wanted = f"GPU.{place.number}" if place.kind == "gpu" else place.kind.upper()
    if wanted in available or (wanted == "GPU.0" and "GPU" in available):
        return place, wanted
    raise DeviceError(f"OpenVINO has {', '.join(available)} here, and no {place}.")


class _OneAtATime:
    """Runs the images of a batch one by one and joins the outputs.

    paddle2onnx turns PP-YOLOE's non-maximum suppression into operators that see the first image
    only: the count has one entry whatever the batch, and OpenVINO refuses the shapes.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.device = engine.name, engine.device
        self.input_names = engine.input_names

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[Any], ...]:
        """Run the network; see `Engine.run`."""
        lengths = {len(array) for array in inputs.values()}
        if len(lengths) > 1:
            raise ModelError(f"The inputs of a batch must be equally long. Got {sorted(lengths)}.")
        if not lengths or lengths <= {0, 1}:
            return self._engine.run(inputs)
        singles = [
            self._engine.run({name: array[i : i + 1] for name, array in inputs.items()})
            for i in range(max(lengths))
        ]
        return tuple(np.concatenate(outputs) for outputs in zip(*singles, strict=True))
