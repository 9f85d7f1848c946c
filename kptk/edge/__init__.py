"""Models for small machines: ``kptk.export_edge`` to plain ONNX, OpenVINO and int8."""
