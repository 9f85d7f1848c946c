"""Model directory → ``run(arrays) → arrays``, by ONNX Runtime, Paddle Inference or OpenVINO."""

from __future__ import annotations

import importlib.util
import platform
import warnings

from kptk.engines.base import (
    PADDLE_ONLY,
    Device,
    Engine,
    Shared,
    check_threads,
    parse_devices,
)
from kptk.engines.onnx import has_cuda, load_onnxruntime
from kptk.engines.openvino import OpenVinoEngine, no_bfloat16
from kptk.engines.paddle import PaddleEngine, prefers_accelerator
from kptk.engines.parallel import Replicas
from kptk.errors import MissingDependencyError, ModelError, nearest
from kptk.models.modeldir import ModelDir
from kptk.models.onnx import can_convert, onnx_file

ENGINES = ("onnxruntime", "openvino", "paddle")


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
        enable_hpi: allow bfloat16: OpenVINO on a CPU that computes in it. Where there is none, a
            warning says so and float32 is used. Pose models for which ``"auto"`` means ONNX
            Runtime stay in float32 without a warning: that was measured to be as fast on CPUs.

    Raises:
        ModelError: files are missing or broken, or the engine's name is not known.
        DeviceError: the device's form is wrong or this build does not have it.
        MissingDependencyError: the engine or the converter is not installed.
    """
    threads = check_threads(threads)
    devices = parse_devices(device)
    if len(devices) > 1:
        options = {"engine": engine, "threads": threads, "enable_hpi": enable_hpi}
        return Replicas([load_engine(model, device=str(d), **options) for d in devices])  # type: ignore[arg-type]
    (target,) = devices
    by_image = model.kind == "detection"
    chosen, precision = _choose(model, target) if engine == "auto" else engine, "f32"
    as_fast = engine == "auto" and chosen == "onnxruntime" and not by_image  # crops in parts
    if enable_hpi and not as_fast:
        lacking = _lacks_bfloat16(engine, target)
        if lacking:
            warnings.warn(f"enable_hpi: float32 is used, {lacking}.", stacklevel=2)
        else:
            chosen, precision = "openvino", "bf16"
    if chosen == "onnxruntime":
        onnx = onnx_file(model)
        crop = None if by_image else (3, *model.input_size)
        return Shared(
            lambda n, _: load_onnxruntime(onnx, target, n, crop), threads, by_image=by_image
        )
    if chosen == "openvino":
        file = model.openvino or onnx_file(model)
        return Shared(
            lambda _, streams: OpenVinoEngine(file, target, threads, precision, streams),
            threads,
            by_image=by_image,
            in_parts=by_image,  # a batch of crops gains nothing from streams
        )
    if chosen == "paddle":
        return PaddleEngine(model, target, threads)
    raise ModelError(
        f"engine must be 'auto', {', '.join(map(repr, ENGINES))}. Got {engine!r}."
        f"{nearest(str(engine), ENGINES)}"
    )


def _choose(model: ModelDir, device: Device) -> str:
    """Pick the engine for ``engine="auto"``."""
    has_paddle = importlib.util.find_spec("paddle") is not None
    if device.kind in PADDLE_ONLY or (device.kind == "gpu" and not has_cuda()):
        return "paddle"
    if device.kind == "auto" and model.paddle and has_paddle and prefers_accelerator():
        return "paddle"
    if model.onnx is None and model.paddle is None:
        return "openvino"  # nothing else reads its files
    if model.onnx is not None or can_convert():
        on_cpu = device.kind == "cpu" or (device.kind == "auto" and not has_cuda())
        is_x86 = platform.machine().lower() in ("x86_64", "amd64")
        has_openvino = importlib.util.find_spec("openvino") is not None
        faster = model.kind == "detection" and on_cpu and is_x86 and has_openvino
        return "openvino" if faster else "onnxruntime"
    if has_paddle:
        return "paddle"
    raise MissingDependencyError(
        f"{model.name} is a Paddle model (as the official models are). Running it needs Paddle, "
        "or paddle2onnx to convert it once. Install both with: pip install 'kptk[paddle]'"
    )


def _lacks_bfloat16(engine: str, device: Device) -> str:
    """Why there is no bfloat16 for this engine and device; empty if there is."""
    if engine not in ("auto", "openvino"):
        return f"since only OpenVINO has a reduced precision. Got engine={engine!r}"
    has_paddle = importlib.util.find_spec("paddle") is not None
    has_accelerator = has_cuda() or (has_paddle and prefers_accelerator())
    if engine == "auto" and device.kind == "auto" and has_accelerator:
        return "since there is an accelerator, which is faster; device='cpu' does without"
    return no_bfloat16(device)
