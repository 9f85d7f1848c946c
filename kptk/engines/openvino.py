"""OpenVINO, in float32 unless bfloat16 is allowed."""

from __future__ import annotations

import importlib.util
import queue
from pathlib import Path
from typing import Any

import numpy as np

from kptk.engines.base import Device, Inputs, Outputs, load_error, ordered_inputs, run_error
from kptk.errors import DeviceError, require


class OpenVinoEngine:
    """OpenVINO on an ONNX file or its own .xml, in float32 (its own default may be bfloat16).

    What is quantized to int8 in the file runs in int8. ``streams`` runs share the threads.
    """

    name = "openvino"

    def __init__(
        self, onnx: Path, device: Device, threads: int, precision: str = "f32", streams: int = 1
    ) -> None:
        core = require("openvino", "openvino", "The OpenVINO engine").Core()
        device, target = _target(device, core.available_devices)
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": streams}
        if target == "CPU":
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            compiled = core.compile_model(core.read_model(str(onnx)), target, settings)
        except Exception as error:  # RuntimeError and its own OpenVINO exceptions
            raise load_error(error, onnx) from error
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(streams):
            self._free.put(compiled.create_infer_request())
        self.device, self.precision = str(device), precision
        self.input_names = tuple(port.get_any_name() for port in compiled.inputs)

    def run(self, inputs: Inputs) -> Outputs:
        """Run the network; see `Engine.run`."""
        arrays = ordered_inputs(self.input_names, inputs)
        request = self._free.get()
        try:
            named = dict(zip(self.input_names, arrays, strict=True))
            outputs = request.infer(named, share_inputs=True)
            return tuple(np.array(output) for output in outputs.values())
        except Exception as error:  # as above
            raise run_error(error, self.input_names, arrays) from error
        finally:
            self._free.put(request)


def _target(device: Device, available: list[str]) -> tuple[Device, str]:
    """The device that is meant, and OpenVINO's name for it."""
    if device.kind in ("auto", "cpu"):
        return Device("cpu"), "CPU"
    wanted = f"GPU.{device.number}" if device.kind == "gpu" else device.kind.upper()
    if wanted in available or (wanted == "GPU.0" and "GPU" in available):
        return device, wanted
    raise DeviceError(f"OpenVINO has {', '.join(available)} here, and no {device}.")


def no_bfloat16(device: Device) -> str:
    """Why OpenVINO does not compute in bfloat16 here; empty if it does."""
    if device.kind not in ("auto", "cpu"):
        return f"since there is no reduced precision for {device} yet"
    if importlib.util.find_spec("openvino") is None:
        return "since OpenVINO is not installed: pip install 'kptk[openvino]'"
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "since this CPU does not compute in bfloat16"
    return ""
