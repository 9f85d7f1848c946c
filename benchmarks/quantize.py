"""What the formats of ``kptk export --format`` cost and save: size, speed, AP.

``python benchmarks/quantize.py`` exports the demo pair to each format, calibrates int8 on the
training images of ``data/demo/day``, times the networks in turn and measures AP on its validation
images: the detector, the pose model on ground-truth boxes, and both together.
``python benchmarks/quantize.py methods`` compares the ways to calibrate instead, and what it costs
to quantize the depthwise convolutions. The tables of ``docs/edge.md`` are made by the two.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import harness
import numpy as np
import onnx

import kptk
from kptk.engines.load import load_engine
from kptk.errors import ModelError
from kptk.export import (
    calibration_inputs,
    export_edge,
    float_convolutions,
    labelled_images,
    megabytes,
    plain_graph,
    quantize,
)
from kptk.models.modeldir import ModelDir
from kptk.models.zoo import find_model

ROUNDS = 9
IMAGES = 64
BATCH = {"det": 1, "kpt": 16}
SECTIONS = {"det": "detector", "kpt": "pose"}
FORMATS = ("onnx", "openvino", "onnx-int8", "openvino-int8")
ENGINES = ("onnxruntime", "openvino")
METHODS = ("minmax", "entropy", "percentile")


def features() -> str:
    """What the CPU has for low precision, of the names that matter here."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    names = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    here = set(re.findall(r"[a-z0-9_]+", text))
    return ", ".join(f"{name} {'yes' if name in here else 'no'}" for name in names)


def export_all(folder: Path) -> dict[tuple[str, str], ModelDir]:
    """(half, format) → the model; the format of the demo pair itself is "packed"."""
    train = kptk.load_coco(kptk.demo_path("day"), split="train")
    found = {}
    for half in ("det", "kpt"):
        found[half, "packed"] = find_model(f"demo-{half}")
        for format in FORMATS:
            harness.note(f"{half}: {format}")
            int8 = {"calibration": train, "n_calibration": IMAGES} if "int8" in format else {}
            made = export_edge(
                f"demo-{half}", folder / half / format, format=format, **int8, progress=False
            )
            found[half, format] = ModelDir.open(made.path)
    return found


def runs(models: dict[tuple[str, str], ModelDir], half: str) -> dict[str, Callable[[], float]]:
    """The networks alone, on noise, by both engines."""
    cases = {}
    for (which, format), model in models.items():
        for engine in ENGINES:
            if which != half or (engine == "onnxruntime" and model.onnx is None):
                continue
            network = load_engine(model, engine=engine, device="cpu", threads=harness.THREADS)
            noise = np.random.default_rng(0).standard_normal((BATCH[half], 3, *model.input_size))
            arrays = {"image": noise, "scale_factor": np.ones((BATCH[half], 2))}
            inputs = {name: arrays[name].astype(np.float32) for name in network.input_names}
            cases[f"{format} {engine}"] = harness.timed(partial(network.run, inputs))
    return cases


def speed_rows(models: dict[tuple[str, str], ModelDir], half: str) -> list[list[str]]:
    """Size, and by each engine the milliseconds and the ratio to the packed model's."""
    times = harness.in_turn(runs(models, half), ROUNDS, warm_up=2)
    rows = []
    for format in ("packed", *FORMATS):
        row = [f"{half}, {format}", f"{megabytes(models[half, format]):.1f}"]
        for engine in ENGINES:
            name = f"{format} {engine}"
            if name not in times.seconds:
                row += ["", ""]
                continue
            ratio = times.ratio(f"packed {engine}", name)
            row += [f"{times.ms(name) / BATCH[half]:.2f}", "1" if format == "packed" else ratio]
        rows.append(row)
    return rows


def ap_rows(models: dict[tuple[str, str], ModelDir]) -> list[list[str]]:
    """AP of the pair in each format, and what is lost."""
    val = kptk.load_coco(kptk.demo_path("day"), split="val")
    cases = [("packed", "onnxruntime"), ("onnx-int8", "onnxruntime"), ("onnx-int8", "openvino")]
    rows: list[list[str]] = []
    first: list[float] = []
    for format, engine in [*cases, *((f, "openvino") for f in ("openvino", "openvino-int8"))]:
        harness.note(f"AP: {format} by {engine}")
        pipe = kptk.create_pipeline(
            "demo",
            det_model=models["det", format].path,
            kpt_model=models["kpt", format].path,
            engine=engine,
        )
        found = kptk.evaluate(pipe, val, progress=False)
        aps = [100 * float(part["AP"]) for part in (found.detector, found.pose, found.end_to_end)]
        first = first or aps
        cells = [f"{ap:.2f} ({ap - start:+.2f})" for ap, start in zip(aps, first, strict=True)]
        rows.append([f"{format}, {engine}", *(cells if rows else [f"{ap:.2f}" for ap in aps])])
    return rows


def method_rows(folder: Path, half: str) -> list[list[str]]:
    """AP of one half calibrated in each way, and with the depthwise convolutions in int8."""
    source = find_model(f"demo-{half}")
    graph = plain_graph(source.onnx)
    plain = folder / f"{half}.onnx"
    onnx.save(graph, plain)
    train = kptk.load_coco(kptk.demo_path("day"), split="train")
    names = [entry.name for entry in graph.graph.input]
    inputs = calibration_inputs(source, names, labelled_images(train, IMAGES))
    if half == "kpt":  # histograms need batches of one length
        inputs = [entry for entry in inputs if len(entry["image"]) == len(inputs[0]["image"])]
    rows = [[half, "float32", f"{half_ap(source.path, half):.2f}"]]
    variants = [(method, False) for method in METHODS]
    for method, depthwise in [*variants, *([("minmax", True)] if half == "kpt" else [])]:
        target = folder / f"{half}-{method}-{depthwise}"
        target.mkdir()
        (target / "inference.yml").write_bytes(source.config.read_bytes())
        keep = float_convolutions(graph.graph, depthwise=depthwise)
        title = f"{method}, depthwise in int8 too" if depthwise else method
        harness.note(f"{half}: {title}")
        try:
            quantize(plain, target / "inference.onnx", inputs, method=method, keep_float=keep)
            rows.append([half, title, f"{half_ap(target, half):.2f}"])
        except ModelError as error:
            harness.note(str(error))
            rows.append([half, title, "fails"])
    return rows


def half_ap(model: Path, half: str) -> float:
    """AP in percent of the detector's boxes, or of the poses on ground-truth boxes."""
    val = kptk.load_coco(kptk.demo_path("day"), split="val")
    found: Any = kptk.evaluate(kptk.create_model(model, device="cpu"), val, progress=False)
    return 100 * float(getattr(found, SECTIONS[half])["AP"])


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        if sys.argv[1:] == ["methods"]:
            rows = [row for half in BATCH for row in method_rows(Path(folder), half)]
            table = harness.table(["", "calibration", "AP"], rows)
            harness.section("Ways to calibrate int8", table)
            return
        models = export_all(Path(folder))
        speeds = [row for half in BATCH for row in speed_rows(models, half)]
        heads = ["", "MB", "ONNX Runtime, ms", "times faster", "OpenVINO, ms", "times faster"]
        harness.section(
            "Formats for the edge",
            f"{harness.THREADS} threads; {features()}. Milliseconds of the network alone: the "
            "detector on one image, the pose model a person in batches of 16.",
            harness.table(heads, speeds),
        )
        harness.section(
            "What the formats lose",
            "AP on the validation images of data/demo/day, in percent, and the difference.",
            harness.table(["", "detector", "pose", "end to end"], ap_rows(models)),
        )


if __name__ == "__main__":
    main()
