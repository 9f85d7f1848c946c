"""Paddle Inference, on every device the installed Paddle was built for."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from kptk.engines.base import (
    PACKAGES,
    PADDLE_ONLY,
    Device,
    Inputs,
    Outputs,
    load_error,
    ordered_inputs,
    run_error,
)
from kptk.errors import DeviceError, ModelError, require
from kptk.models.modeldir import ModelDir


class PaddleEngine:
    """Paddle Inference, on every device the installed Paddle was built for."""

    name = "paddle"
    precision = "f32"

    def __init__(self, model: ModelDir, device: Device, threads: int) -> None:
        if model.paddle is None:
            on_gpu = " (on a GPU that is the package onnxruntime-gpu)"
            advice = f"Use engine='onnxruntime'{on_gpu if device.kind == 'gpu' else ''}."
            if device.kind in PADDLE_ONLY:
                advice = f"For {device} make one of its training weights: kptk export."
            raise ModelError(
                f"{model.name} has no Paddle model (inference.json or .pdmodel with .pdiparams) in "
                f"{str(model.path)!r}, only ONNX. {advice}"
            )
        paddle = import_paddle()
        device = _find_device(paddle, device)
        program, params = model.paddle
        config = paddle.inference.Config(str(program), str(params))
        config.disable_glog_info()
        config.enable_new_ir(program.suffix == ".json")
        config.enable_new_executor(True)
        if device.kind == "gpu":
            config.enable_use_gpu(200, device.number)
        elif device.kind == "xpu":
            config.enable_xpu()
            config.set_xpu_device_id(device.number)
        elif device.kind != "cpu":
            config.enable_custom_device(device.kind, device.number)
        else:
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(threads)
            if model.kind == "detection":
                config.enable_mkldnn()  # oneDNN makes PP-YOLOE seven times faster ...
            else:
                config.disable_mkldnn()  # ... and PP-TinyPose slower
        config.enable_memory_optim()
        try:
            self._predictor = paddle.inference.create_predictor(config)
        except Exception as error:  # Paddle raises RuntimeError, ValueError and others
            raise load_error(error, program) from error
        self._lock = threading.Lock()
        self._shapes_seen: set[tuple[tuple[int, ...], ...]] = set()
        self.device = str(device)
        self.input_names = tuple(self._predictor.get_input_names())
        self._output_names = tuple(self._predictor.get_output_names())

    def run(self, inputs: Inputs) -> Outputs:
        """Run the network; see `Engine.run`."""
        arrays = ordered_inputs(self.input_names, inputs)
        shapes = tuple(array.shape for array in arrays)
        with self._lock:
            # oneDNN prints debugging lines to standard output when it first sees a shape
            quiet = nullcontext() if shapes in self._shapes_seen else standard_output_closed()
            self._shapes_seen.add(shapes)
            try:
                for name, array in zip(self.input_names, arrays, strict=True):
                    self._predictor.get_input_handle(name).copy_from_cpu(array)
                with quiet:
                    self._predictor.run()
            except Exception as error:  # as above
                raise run_error(error, self.input_names, arrays) from error
            handles = map(self._predictor.get_output_handle, self._output_names)
            return tuple(handle.copy_to_cpu() for handle in handles)


@contextmanager
def standard_output_closed() -> Iterator[None]:
    """Send what native code writes to standard output nowhere."""
    try:
        saved = os.dup(1)
    except OSError:  # closed already, as in a daemon
        yield
        return
    sys.stdout.flush()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def prefers_accelerator() -> bool:
    """Return whether Paddle's GPU build is installed and finds a device.

    Asking Paddle imports it, which takes a second, so the CPU build is not asked.
    """
    try:
        importlib.metadata.distribution("paddlepaddle-gpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return _find_device(import_paddle(), Device("auto")).kind != "cpu"


def import_paddle() -> Any:
    """The module ``paddle``, with its inference part."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it recommends a compiler cache
        require("paddle.inference", "paddle", "The Paddle engine")
        return require("paddle", "paddle", "The Paddle engine")


def paddle_devices(paddle: Any) -> dict[str, int]:
    """Return how many devices of each kind the installed Paddle can use, the CPU aside."""
    counts = dict.fromkeys(paddle.device.get_all_custom_device_type() or (), 0)
    for name in paddle.device.get_available_custom_device() or ():
        kind = name.partition(":")[0]
        counts[kind] = counts.get(kind, 0) + 1
    if paddle.device.is_compiled_with_cuda():
        counts["gpu"] = paddle.device.cuda.device_count()
    if paddle.device.is_compiled_with_xpu():
        counts["xpu"] = paddle.device.xpu.device_count()
    return counts


def _find_device(paddle: Any, device: Device) -> Device:
    """The device that is meant, if the installed Paddle has it."""
    if device.kind == "cpu":
        return device
    counts = paddle_devices(paddle)
    if device.kind == "auto":
        return next((Device(kind) for kind, n in counts.items() if n), Device("cpu"))
    if device.number < counts.get(device.kind, 0):
        return device
    here = ", ".join(["cpu", *(f"{kind}:{i}" for kind, n in counts.items() for i in range(n))])
    raise DeviceError(
        f"The installed Paddle {paddle.__version__} is built for {', '.join(['cpu', *counts])} and "
        f"finds {here}; {str(device)!r} is not among them. Use device='cpu', or install what "
        f"brings it: {PACKAGES[device.kind]}."
    )
