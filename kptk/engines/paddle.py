"""Paddle Inference as an engine, on every device the installed Paddle was built for."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.engines.base import PACKAGES, PADDLE_ONLY, Device
from kptk.engines.load import load_error, ordered_inputs, run_error
from kptk.errors import DeviceError, ModelError, require
from kptk.models.modeldir import ModelDir


class PaddleEngine:
    """Paddle Inference, on every device the installed Paddle was built for."""

    name = "paddle"
    precision = "f32"

    def __init__(self, model: ModelDir, place: Device, threads: int) -> None:
        if model.paddle is None:
            raise _no_paddle_model(model, place)
        paddle = import_paddle()
        place = _paddle_device(paddle, place)
        config = _paddle_config(model, place, threads)
        try:
            self._predictor = paddle.inference.create_predictor(config)
        except Exception as error:  # Paddle raises RuntimeError, ValueError and others
            raise load_error(error, model.paddle[0]) from error
        self._lock = threading.Lock()
        self._shapes_seen: set[tuple[tuple[int, ...], ...]] = set()
        self.device = str(place)
        self.input_names = tuple(self._predictor.get_input_names())
        self._output_names = tuple(self._predictor.get_output_names())

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[Any], ...]:
        """Run the network; see `Engine.run`."""
        arrays = ordered_inputs(self.input_names, inputs)
        with self._lock:
            try:
                for name, array in zip(self.input_names, arrays, strict=True):
                    self._predictor.get_input_handle(name).copy_from_cpu(array)
                with self._quiet(arrays):
                    self._predictor.run()
            except Exception as error:  # as above
                raise run_error(error, self.input_names, arrays) from error
            handles = map(self._predictor.get_output_handle, self._output_names)
            return tuple(handle.copy_to_cpu() for handle in handles)

    def _quiet(self, arrays: list[NDArray[np.float32]]) -> AbstractContextManager[None]:
        """oneDNN prints debugging lines to standard output when it first sees a shape."""
        shapes = tuple(array.shape for array in arrays)
        if shapes in self._shapes_seen:
            return nullcontext()
        self._shapes_seen.add(shapes)
        return _standard_output_closed()


def _no_paddle_model(model: ModelDir, place: Device) -> ModelError:
    if place.kind in PADDLE_ONLY:
        advice = f"For {place} make one of its training weights: kptk export."
    else:
        on_gpu = " (on a GPU that is the package onnxruntime-gpu)" if place.kind == "gpu" else ""
        advice = f"Use engine='onnxruntime'{on_gpu}."
    return ModelError(
        f"{model.name} has no Paddle model (inference.json or .pdmodel with .pdiparams) in "
        f"{str(model.path)!r}, only ONNX. {advice}"
    )


@contextmanager
def _standard_output_closed() -> Iterator[None]:
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
    return _paddle_device(import_paddle(), Device("auto")).kind != "cpu"


def import_paddle() -> Any:
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


def _paddle_device(paddle: Any, place: Device) -> Device:
    if place.kind == "cpu":
        return place
    counts = paddle_devices(paddle)
    if place.kind == "auto":
        return next((Device(kind) for kind, n in counts.items() if n), Device("cpu"))
    if place.number < counts.get(place.kind, 0):
        return place
    here = ", ".join(["cpu", *(f"{kind}:{i}" for kind, n in counts.items() for i in range(n))])
    built = ", ".join(["cpu", *counts])
    raise DeviceError(
        f"The installed Paddle {paddle.__version__} is built for {built} and finds {here}; "
        f"{str(place)!r} is not among them. Use device='cpu', or install what brings it: "
        f"{PACKAGES[place.kind]}."
    )


def _paddle_config(model: ModelDir, place: Device, threads: int) -> Any:
    from paddle.inference import Config

    assert model.paddle is not None
    config = Config(str(model.paddle[0]), str(model.paddle[1]))
    config.disable_glog_info()
    config.enable_new_ir(model.paddle[0].suffix == ".json")
    config.enable_new_executor(True)
    if place.kind == "gpu":
        config.enable_use_gpu(200, place.number)
    elif place.kind == "xpu":
        config.enable_xpu()
        config.set_xpu_device_id(place.number)
    elif place.kind != "cpu":
        config.enable_custom_device(place.kind, place.number)
    else:
        _configure_cpu(config, model, threads)
    config.enable_memory_optim()
    return config


def _configure_cpu(config: Any, model: ModelDir, threads: int) -> None:
    """oneDNN makes PP-YOLOE seven times faster and PP-TinyPose slower."""
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(threads)
    if model.kind == "detection":
        config.enable_mkldnn()
    else:
        config.disable_mkldnn()
