"""Model directory → ``run(arrays) → arrays``, by ONNX Runtime, Paddle Inference or OpenVINO."""

from __future__ import annotations

import importlib.util
import platform
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kptk.engines.base import (
    PADDLE_ONLY,
    Device,
    Shared,
    check_threads,
    parse_device,
    parse_devices,
)
from kptk.errors import DeviceError, MissingDependencyError, ModelError, nearest
from kptk.models.modeldir import ModelDir
from kptk.models.onnx import can_convert, onnx_file

ENGINES = ("onnxruntime", "openvino", "paddle")


_ORT_ERRORS_ONLY = 3


class Engine(Protocol):
    """Something that runs a network.

    Attributes:
        name: ``"onnxruntime"``, ``"openvino"`` or ``"paddle"``.
        device: ``"cpu"``, ``"gpu:0"``, ...
        precision: what it computes in: ``"f32"`` or ``"bf16"``.
        input_names: names of the inputs, in the model's order.
    """

    name: str
    device: str
    precision: str
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
    model: ModelDir,
    *,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    enable_hpi: bool = False,
) -> Engine:
    """Load a model into an engine.

    Args:
        model: the model directory.
        engine: ``"onnxruntime"``, ``"openvino"``, ``"paddle"`` or ``"auto"``: what was
            measured to be the fastest on the device (``benchmarks/RESULTS.md``): on x86 CPUs
            OpenVINO for detectors, where it is installed; ONNX Runtime for the rest and on GPUs,
            where it can serve them; else Paddle.
        device: ``"auto"`` (an accelerator if the engine has one, else the CPU), ``"cpu"``,
            ``"gpu:0"``, ``"npu:0"``, ``"xpu:0"`` or ``"mlu:0"``; ``"gpu:0,1"``: a replica on each.
        threads: CPU threads; None means all cores this process may use.
        enable_hpi: allow bfloat16: OpenVINO on a CPU that computes in it. Where that is not to be
            had, a warning says so and float32 is used. Pose models for which ``"auto"`` means ONNX
            Runtime stay in float32 without a warning: that was measured to be as fast on CPUs.

    Raises:
        ModelError: files are missing or broken, or the engine's name is not known.
        DeviceError: the device's form is wrong or this build does not have it.
        MissingDependencyError: the engine or the converter is not installed.
    """
    count = check_threads(threads)
    places = parse_devices(device)
    if len(places) > 1:
        from kptk.engines.parallel import Replicas

        alone = [str(place) for place in places]
        return Replicas(
            [
                load_engine(model, engine=engine, device=d, threads=count, enable_hpi=enable_hpi)
                for d in alone
            ]
        )
    (place,) = places
    chosen = _choose(model, place) if engine == "auto" else engine
    by_image = model.kind == "detection"
    as_fast = engine == "auto" and chosen == "onnxruntime" and not by_image  # crops in parts
    precision = _reduced(engine, place) if enable_hpi and not as_fast else "f32"
    engine = chosen if precision == "f32" else "openvino"
    if engine == "onnxruntime":
        onnx = onnx_file(model)
        crop = None if by_image else (3, *model.input_size)
        return Shared(lambda n, _: _on_onnxruntime(onnx, place, n, crop), count, by_image=by_image)
    if engine == "openvino":
        from kptk.engines.openvino import OpenVinoEngine

        file = model.openvino or onnx_file(model)
        return Shared(
            lambda _, streams: OpenVinoEngine(file, place, count, precision, streams),
            count,
            by_image=by_image,
            in_parts=by_image,  # a batch of crops gains nothing from streams
        )
    if engine == "paddle":
        from kptk.engines.paddle import PaddleEngine

        return PaddleEngine(model, place, count)
    raise ModelError(
        f"engine must be 'auto', {', '.join(map(repr, ENGINES))}. Got {engine!r}."
        f"{nearest(str(engine), ENGINES)}"
    )


def _on_onnxruntime(
    onnx: Path, place: Device, threads: int, crop: tuple[int, int, int] | None
) -> Engine:
    """ONNX Runtime; on a GPU batches of crops of this shape have few sizes, if they are free."""
    engine = OnnxRuntimeEngine(onnx, place, threads)
    fixed = isinstance(engine.batch_dimension, int)
    if engine.device == "cpu" or crop is None or fixed or len(engine.input_names) > 1:
        return engine
    from kptk.engines.onnx import FixedBatches

    return FixedBatches(engine, onnx, parse_device(engine.device).number, crop)


def _reduced(engine: str, place: Device) -> str:
    """``"bf16"``, or ``"f32"`` after a warning that says why there is no bfloat16."""
    from kptk.engines.openvino import no_bfloat16

    if engine not in ("auto", "openvino"):
        lacking = f"since only OpenVINO has a reduced precision. Got engine={engine!r}"
    elif engine == "auto" and place.kind == "auto" and _has_accelerator():
        lacking = "since there is an accelerator, which is faster; device='cpu' does without"
    else:
        lacking = no_bfloat16(place)
    if not lacking:
        return "bf16"
    warnings.warn(f"enable_hpi: float32 is used, {lacking}.", stacklevel=3)
    return "f32"


def _choose(model: ModelDir, place: Device) -> str:
    """Pick the engine for ``engine="auto"``."""
    has_paddle = importlib.util.find_spec("paddle") is not None
    if place.kind in PADDLE_ONLY or (place.kind == "gpu" and not _ort_has_cuda()):
        return "paddle"
    if place.kind == "auto" and model.paddle and has_paddle and _paddle_has_accelerator():
        return "paddle"
    if model.onnx is None and model.paddle is None:
        return "openvino"  # nothing else reads its files
    if model.onnx is not None or can_convert():
        return "openvino" if _openvino_is_faster(model, place) else "onnxruntime"
    if has_paddle:
        return "paddle"
    raise MissingDependencyError(
        f"{model.name} is a Paddle model (as the official models are). Running it needs Paddle, "
        "or paddle2onnx to convert it once. Install both with: pip install 'kptk[paddle]'"
    )


def _openvino_is_faster(model: ModelDir, place: Device) -> bool:
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    on_cpu = place.kind == "cpu" or (place.kind == "auto" and not _ort_has_cuda())
    installed = importlib.util.find_spec("openvino") is not None
    return model.kind == "detection" and is_x86 and on_cpu and installed


def _has_accelerator() -> bool:
    """Whether ``device="auto"`` means one."""
    has_paddle = importlib.util.find_spec("paddle") is not None
    return _ort_has_cuda() or (has_paddle and _paddle_has_accelerator())


def _paddle_has_accelerator() -> bool:
    from kptk.engines.paddle import prefers_accelerator

    return prefers_accelerator()


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
    precision = "f32"

    def __init__(self, onnx: Path, place: Device, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Converted models name constants that the optimizer folds; each gives a warning.
        options.log_severity_level = _ORT_ERRORS_ONLY
        options.intra_op_num_threads = threads
        # Threads that spin after a run take the cores from what comes next: the other network.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        asked = place
        place, providers = _ort_providers(place)
        try:
            session = onnxruntime.InferenceSession(str(onnx), options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions share no public base
            raise load_error(error, onnx) from error
        if place.kind == "gpu" and "CUDAExecutionProvider" not in session.get_providers():
            if asked.kind != "auto":
                raise DeviceError(
                    f"ONNX Runtime could not open {place}: its CUDA libraries or the GPU are "
                    "missing. Use device='cpu' or engine='paddle'."
                )
            place = Device("cpu")  # what the session fell back to
        self._session = session
        self.device = str(place)
        self.input_names = tuple(entry.name for entry in session.get_inputs())
        # a name, a number that is fixed, or None
        self.batch_dimension: Any = (session.get_inputs()[0].shape or [None])[0]

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
    if place.kind == "auto" and _ort_has_cuda():
        place = Device("gpu")
    if place.kind != "gpu":
        return Device("cpu"), [cpu]
    if not _ort_has_cuda():
        raise DeviceError(
            "The installed ONNX Runtime is the CPU build. For the GPU install onnxruntime-gpu "
            "instead of onnxruntime, or use engine='paddle' with paddlepaddle-gpu."
        )
    from kptk.engines.onnx import cuda_options, preload_libraries

    preload_libraries()
    return place, [("CUDAExecutionProvider", cuda_options(place.number)), cpu]
