"""Any model as plain ONNX, OpenVINO or int8 for edge devices, with what that costs and saves.

The graph is made plain (constants folded, batch norms and parallel branches merged), calibrated
on the user's images and quantized, tried by every engine, measured, and described in a card.
"""

from __future__ import annotations

import logging
import os
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jinja2 import Template
from numpy.typing import NDArray

from kptk.check import ModelReport, check_model, usable_engines
from kptk.coco import KeypointData, load_coco
from kptk.engines.base import load_error
from kptk.engines.load import load_engine
from kptk.engines.onnx import session_options
from kptk.errors import DataError, InputError, ModelError, nearest, require
from kptk.evaluation import evaluate
from kptk.files import file_hash
from kptk.inputs import check_batch_size, normalize
from kptk.instances import corners
from kptk.io.images import read_image
from kptk.io.sources import BadFrame, iter_frames
from kptk.models.export import check_target
from kptk.models.modeldir import ModelDir
from kptk.models.onnx import onnx_file
from kptk.models.zoo import find_model
from kptk.pipeline.config import DET_BATCH_SIZE, KPT_BATCH_SIZE, load_config
from kptk.pipeline.detector import network_inputs
from kptk.pipeline.pipeline import create_model
from kptk.pipeline.pose import crop_boxes, warp_crops
from kptk.training.run import Run

Image = NDArray[np.uint8]
Inputs = dict[str, NDArray[np.float32]]
# images, each with its people's boxes (N, 4) x1, y1, x2, y2, or None where they are not known
Samples = list[tuple[Image, "NDArray[np.float32] | None"]]
Pair = tuple[float, float]  # before and after
Method = Literal["minmax", "entropy", "percentile"]

# Chosen by benchmarks/quantize.py: no worse than the others, and the fastest; see docs/edge.md.
METHOD: Method = "minmax"
_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
N_IMAGES = 64
OPSET = 13  # the first whose QuantizeLinear has an axis, which per-channel weights need
_CROPS = 8  # to a call
_STRIDE = 8  # histograms keep every activation of so many inputs in memory
_ROUNDS = 7  # that times are the medians of
_ONE = {"pads": [0, 0, 0, 0], "strides": [1, 1], "dilations": [1, 1], "group": 1}

_INT8 = "convolutions in int8, weights per channel, activations uint8"
FORMATS = {
    "onnx": "ONNX, float32, constants and batch norms folded",
    "openvino": "OpenVINO (.xml and .bin), weights in half precision",
    "onnx-int8": f"ONNX in QDQ form: {_INT8}",
    "openvino-int8": f"OpenVINO (.xml and .bin): {_INT8}",
}


class _Words(NamedTuple):
    """What reports and cards say of a kind of model."""

    measured: str
    unit: str
    section: str


_WORDS = {
    "detection": _Words("the boxes", "an image", "detector"),
    "keypoint": _Words("the keypoints on ground-truth boxes", "a person (batches of 16)", "pose"),
}


@dataclass(frozen=True, repr=False)
class EdgeModel:
    """A model directory in a smaller form, and what was measured. ``repr`` is the report.

    Attributes:
        path: the directory.
        format: ``"onnx"``, ``"openvino"``, ``"onnx-int8"`` or ``"openvino-int8"``.
        kind: ``"detection"`` or ``"keypoint"``.
        megabytes: of the model's files, before and after.
        ms: engine → milliseconds of the network alone, before and after, on this machine's CPU.
        ap: of the boxes, or of the keypoints on ground-truth boxes, before and after, 0 to 1; None
            without annotations.
        report: what `kptk.check_model` says of the directory.
    """

    path: Path
    format: str
    kind: str
    megabytes: Pair
    ms: dict[str, Pair]
    ap: Pair | None
    report: ModelReport

    @property
    def json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "path": str(self.path),
            "format": self.format,
            "kind": self.kind,
            "megabytes": list(self.megabytes),
            "ms": {name: list(pair) for name, pair in self.ms.items()},
            "ap": None if self.ap is None else list(self.ap),
            "check": self.report.json,
        }

    def __repr__(self) -> str:
        before, after = self.megabytes
        lines = [f"size         {before:.1f} -> {after:.1f} MB"]
        lines += [
            f"{name:<12} {a:.1f} -> {b:.1f} ms {_WORDS[self.kind].unit}, network alone"
            for name, (a, b) in self.ms.items()
        ]
        if self.ap is not None:
            first, second = (100 * ap for ap in self.ap)
            lost = f"{first - second:.1f} lost"
            lines.append(
                f"AP           {first:.1f} -> {second:.1f} of {_WORDS[self.kind].measured}, {lost}"
            )
        return "\n".join([*lines, repr(self.report)])


def export_edge(
    model: str | os.PathLike[str] | Run,
    save_path: str | os.PathLike[str],
    *,
    format: str = "onnx",
    data: KeypointData | None = None,
    calibration: Any = None,
    n_calibration: int = N_IMAGES,
    method: Method = METHOD,
    pipeline: str = "human_keypoint_detection",
    like: str | None = None,
    max_images: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> EdgeModel:
    """Export a model for another runtime or an edge device, and measure what that changes.

    Paddle is needed only where the model has no ONNX file yet.

    Args:
        model: a name, a model directory, a ``.pdparams`` file, or a run or its directory.
        save_path: the directory to make.
        format: ``"onnx"``: float32, constants and batch norms folded; ``"openvino"``: the same in
            OpenVINO's own format, weights in half precision, run by ``engine="openvino"``;
            ``"onnx-int8"``: convolutions in int8; ``"openvino-int8"``: likewise, laid out for
            OpenVINO, which it loses less with and is faster by than with ``"onnx-int8"``.
        data: annotated images, as `kptk.load_coco` gives them, that AP is measured on.
        calibration: for int8, images like those the model will see: annotated data, whose boxes
            a keypoint model is shown, or what ``predict`` takes.
        n_calibration: how many of them, spread evenly.
        method: how int8's ranges are chosen: ``"minmax"``, ``"entropy"`` or ``"percentile"``.
        pipeline: whose detector finds the people that a keypoint model is calibrated on, where
            ``calibration`` has no boxes.
        like: for a ``.pdparams`` file, the name of the architecture.
        max_images: measure AP on the first images by id only.
        overwrite: replace the directory, if it is a model's.
        progress: show progress bars.

    Raises:
        InputError: the format is not known, or int8 has nothing to calibrate on.
        ModelError: the model cannot be found or exported, or its engines do not agree; what was
            at ``save_path`` stays then.
        MissingDependencyError: ``kptk[edge]`` is not installed.
    """
    target = Path(save_path).expanduser()
    if format not in FORMATS:
        raise InputError(
            f"format must be {', '.join(map(repr, FORMATS))}. Got {format!r}."
            f"{nearest(str(format), FORMATS)}"
        )
    if format.startswith("openvino"):
        require("openvino", "edge", "Exporting to OpenVINO")
    if format.endswith("-int8") and calibration is None:
        raise InputError(
            f"{format} must see images like those it will be used on: give calibration=, a folder "
            "or annotated data (kptk export --images or --data)."
        )
    if not format.endswith("-int8") and calibration is not None:
        raise InputError(
            f"calibration is for the formats 'onnx-int8' and 'openvino-int8'. Got {format!r}."
        )
    check_target(target, overwrite)
    source = find_source(model, like)
    samples: Samples = []
    if calibration is not None:
        count = check_batch_size(n_calibration, "n_calibration")
        if isinstance(calibration, KeypointData):
            samples = labelled_images(calibration, count)
        else:
            samples = plain_images(calibration, count)
            if source.kind == "keypoint":
                samples = with_boxes(samples, pipeline)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        made = _write(source, Path(folder) / "model", format, samples, method)
        report = check_model(made.path)
        wrong = [finding for finding in report.findings if finding.severity == "error"]
        if wrong:
            raise ModelError(
                f"The exported model did not pass its check and was not kept. {wrong[0].message}"
            )
        ap = None
        if data is not None:
            section = _WORDS[source.kind].section
            pipelines = (create_model(one.path, device="cpu") for one in (source, made))
            measured = (
                evaluate(p, data, max_images=max_images, progress=progress) for p in pipelines
            )
            ap = _both(found.sections[section]["AP"] for found in measured)
        size = (megabytes(source), megabytes(made))
        calibrated = f"{len(samples)} images, {method}" if format.endswith("-int8") else None
        card = source.path / "README.md"
        text = Template(Path(__file__).with_suffix(".j2").read_text("utf-8")).render(
            source=source,
            digest=file_hash(*source.weights or (source.config,))[:32],
            format=format,
            described=FORMATS[format],
            calibrated=calibrated,
            size=size,
            measured=_WORDS[source.kind].measured,
            ap=ap,
            card=card.read_text(encoding="utf-8") if card.is_file() else None,
        )
        (made.path / "README.md").write_text(text, encoding="utf-8")
        ms = _speeds(source, made)
        if target.exists():
            shutil.rmtree(target)
        os.replace(made.path, target)
    report = replace(report, path=target, model=ModelDir.open(target))
    return EdgeModel(target, format, source.kind, size, ms, ap, report)


def find_source(model: str | os.PathLike[str] | Run, like: str | None = None) -> ModelDir:
    """The model directory that is meant; of a run the one that it exported."""
    if isinstance(model, Run):
        return find_model(model.model_dir)
    path = Path(model).expanduser()
    if (path / "settings.yml").is_file() and (path / "model").is_dir():
        return find_model(path / "model")
    return find_model(model, like=like)


def find_edge_data(
    data: str | None, split: str, images: str | None, format: str
) -> tuple[KeypointData | None, Any]:
    """What to measure on and what to calibrate on, from what the command line is given.

    Args:
        data: an annotated data set, or None.
        split: of it, for the measurement.
        images: what to calibrate on, or None: the other split of the data, ``"train"``, if there
            is one, so that AP is not measured on what was calibrated on.
        format: only int8 is calibrated.

    Raises:
        DataError: the data cannot be used.
    """
    measured = None
    if data is not None:
        measured = load_coco(data, split=None if Path(data).is_file() else split)
    if not format.endswith("-int8") or images is not None or measured is None or data is None:
        return measured, images
    try:
        return measured, load_coco(data, split="train") if Path(data).is_dir() else measured
    except DataError:
        return measured, measured


def _write(
    source: ModelDir, folder: Path, format: str, samples: Samples, method: Method
) -> ModelDir:
    """The model's files and its configuration, in a new folder."""
    graph = plain_graph(onnx_file(source))
    folder.mkdir()
    int8, to_openvino = format.endswith("-int8"), format.startswith("openvino")
    onnx = folder / "inference.onnx"
    plain = folder.with_name("plain.onnx") if int8 else onnx
    plain.write_bytes(graph.SerializeToString())
    if int8:
        names = [entry.name for entry in graph.graph.input]
        inputs = calibration_inputs(source, names, samples)
        keep_float = float_convolutions(graph.graph)
        quantize(plain, onnx, inputs, method=method, keep_float=keep_float, results=not to_openvino)
    if to_openvino:
        openvino = require("openvino", "edge", "Exporting to OpenVINO")
        network = openvino.Core().read_model(str(onnx))
        # Float weights are stored in half precision; the engine computes in float32 all the same.
        # The scales of int8 are few, and stay as they are.
        openvino.save_model(network, str(onnx.with_suffix(".xml")), compress_to_fp16=not int8)
        onnx.unlink()
    shutil.copyfile(source.config, folder / "inference.yml")
    return ModelDir.open(folder)


def megabytes(model: ModelDir) -> float:
    """Size of the files that one engine needs, in units of 10^6 bytes."""
    return sum(file.stat().st_size for file in model.weights) / 1e6


def _both(values: Iterable[float]) -> Pair:
    before, after = values
    return before, after


def _speeds(before: ModelDir, after: ModelDir) -> dict[str, Pair]:
    """Milliseconds of the networks alone, in turn, on the CPU, by the engines that run both.

    An image (detector) or a person of a batch of 16 (keypoint model).
    """
    batch = DET_BATCH_SIZE if before.kind == "detection" else KPT_BATCH_SIZE
    image = np.random.default_rng(0).standard_normal((batch, 3, *before.input_size))
    two = np.ones((batch, 2), np.float32)
    arrays = {"scale_factor": two, "im_shape": two}
    found = {}
    for name in usable_engines(before):
        if name not in usable_engines(after):
            continue
        networks = [load_engine(model, engine=name, device="cpu") for model in (before, after)]
        names = networks[0].input_names
        inputs = {n: arrays.get(n, image.astype(np.float32)) for n in names}
        taken: list[list[float]] = [[], []]
        for _ in range(_ROUNDS + 1):
            for network, times in zip(networks, taken, strict=True):
                began = time.perf_counter()
                network.run(inputs)
                times.append(1e3 * (time.perf_counter() - began) / batch)
        found[name] = _both(statistics.median(times[1:]) for times in taken)
    return found


def spaced(n: int, count: int) -> list[int]:
    """``count`` indices (or all) spread evenly over ``n`` things, the first among them."""
    return [i * n // min(n, count) for i in range(min(n, count))]


def labelled_images(data: KeypointData, count: int) -> Samples:
    """Images of a data set, spread evenly, with the boxes of their people."""
    samples: Samples = []
    for image_id in (data.image_ids[i] for i in spaced(len(data.image_ids), count)):
        boxes = corners([person["bbox"] for person in data.people(image_id)]).astype(np.float32)
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
        samples.append((read_image(data.image_path(image_id)), boxes))
    return samples


def plain_images(images: Any, count: int) -> Samples:
    """Images without labels: what ``predict`` takes, of which up to ``count`` that can be read.

    Raises:
        InputError: none can be read.
    """
    kept: list[Image] = []
    good, bad, step, first = 0, 0, 1, ""
    for frame in iter_frames(images):
        if isinstance(frame, BadFrame):
            bad, first = bad + 1, first or f" {frame.error}"
            continue
        if good % step == 0:
            kept.append(frame.image)
        good += 1
        if len(kept) > 2 * count:  # a video's frames would not fit into memory
            kept, step = kept[::2], 2 * step
    if not good:
        raise InputError(f"The images to calibrate on must be readable. None of {bad} is.{first}")
    return [(kept[i], None) for i in spaced(len(kept), count)]


def with_boxes(samples: Samples, pipeline: str) -> Samples:
    """Let a pipeline's detector find the people of the images that have no boxes yet."""
    if all(boxes is not None for _, boxes in samples):
        return samples
    config = load_config(pipeline)
    detector = create_model(config.det_model)

    def find(image: Image) -> NDArray[np.float32]:
        (result,) = detector.predict([image], det_threshold=config.det_threshold, on_error="raise")
        return result.boxes

    return [(image, find(image) if boxes is None else boxes) for image, boxes in samples]


def calibration_inputs(
    model: ModelDir, input_names: Sequence[str], samples: Samples
) -> list[Inputs]:
    """The network's inputs for these images, through the preprocessing of inference.

    Args:
        model: a detector, which sees whole images, or a keypoint model, which sees crops.
        input_names: of the network.
        samples: images and, for a keypoint model, boxes (N, 4) of each.

    Raises:
        DataError: a keypoint model, and nobody on the images.
    """
    if model.kind == "detection":
        return [network_inputs([image], model, input_names) for image, _ in samples]
    inputs = []
    for image, found in samples:
        boxes = np.zeros((0, 4), np.float32) if found is None else found
        for start in range(0, len(boxes), _CROPS):
            centers, sizes = crop_boxes(boxes[start : start + _CROPS], model.input_size)
            owners = np.zeros(len(centers), np.intp)
            crops = warp_crops([image], owners, centers, sizes, model.input_size)
            pixels = normalize(crops, model.mean, model.std, model.is_scale)
            inputs.append({input_names[0]: pixels})
    if not inputs:
        raise DataError(
            "Calibrating a pose model needs people. There are none on the "
            f"{len(samples)} images looked at: give other images, or annotations."
        )
    return inputs


def plain_graph(source: Path) -> Any:
    """Read an ONNX file as a graph that computes the same with fewer operators.

    What the packed demo models store in half precision becomes float32 again, batch norms go into
    the convolutions before them (ONNX Runtime's basic optimisations do both), and the two branches
    of a RepVGG block become one convolution.

    Args:
        source: the ONNX file.

    Returns:
        An ``onnx.ModelProto`` of opset 13 or above, standard operators only.

    Raises:
        ModelError: the file cannot be read.
        MissingDependencyError: ``kptk[edge]`` is not installed.
    """
    onnx = require("onnx", "edge", "Exporting to ONNX and OpenVINO")
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="kptk-edge-") as folder:
        newer, optimised = (str(Path(folder) / name) for name in ("newer.onnx", "optimised.onnx"))
        options = session_options()
        # The basic level keeps to standard operators, which other runtimes know.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = optimised
        try:
            model = onnx.load(str(source))
            opset = next(int(entry.version) for entry in model.opset_import if not entry.domain)
            if opset < OPSET:
                model = onnx.version_converter.convert_version(model, OPSET)
            onnx.save(model, newer)
            onnxruntime.InferenceSession(newer, options, providers=["CPUExecutionProvider"])
            plain = onnx.load(optimised)
        except Exception as error:  # protobuf's, ONNX's and ONNX Runtime's share no base
            raise load_error(error, source) from error
    merge_branches(plain.graph)
    used = {node.domain or "" for node in plain.graph.node}
    kept = [entry for entry in plain.opset_import if entry.domain in used]
    del plain.opset_import[:], plain.graph.value_info[:]  # shapes are inferred when needed
    plain.opset_import.extend(kept)
    return plain


def merge_branches(graph: Any) -> int:
    """Merge every 3x3 and 1x1 convolution of the same tensor whose results are added.

    This is the deploy form of RepVGG (Ding et al., CVPR 2021), which the training form that the
    demo models are packed in still lacks.

    Args:
        graph: an ``onnx.GraphProto`` without batch norms; changed in place.

    Returns:
        How many pairs became one convolution.
    """
    from onnx import numpy_helper

    makers = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    weights = {item.name: item for item in graph.initializer}

    def array(name: str) -> NDArray[np.float32]:
        return np.array(numpy_helper.to_array(weights[name]))

    gone = []
    for node in graph.node:
        if node.op_type != "Add" or any(uses[name] != 1 for name in node.input):
            continue
        wide, narrow = _wide_and_narrow([makers.get(name) for name in node.input], weights)
        if wide is None:
            continue
        kernel = array(wide.input[1])
        kernel[:, :, 1, 1] += array(narrow.input[1])[:, :, 0, 0]
        bias = array(wide.input[2]) + array(narrow.input[2])
        for name, merged in zip(wide.input[1:], (kernel, bias), strict=True):
            weights[name].CopyFrom(numpy_helper.from_array(merged, name))
        for name in narrow.input[1:]:
            graph.initializer.remove(weights[name])
        wide.output[0] = node.output[0]
        gone += [node, narrow]
    for node in gone:
        graph.node.remove(node)
    return len(gone) // 2


def _wide_and_narrow(branches: list[Any], weights: dict[str, Any]) -> tuple[Any, Any]:
    """The 3x3 and the 1x1 convolution, if that is what the two are; else two times None."""
    if len(branches) != 2 or any(b is None or b.op_type != "Conv" for b in branches):
        return None, None
    if not all(set(b.input[1:]) <= set(weights) and len(b.input) == 3 for b in branches):
        return None, None
    wide, narrow = sorted(branches, key=lambda b: -max(weights[b.input[1]].dims[2:]))
    shapes = [list(weights[b.input[1]].dims) for b in (wide, narrow)]
    given = [
        {a.name: a.i if a.name == "group" else list(a.ints) for a in b.attribute}
        for b in (wide, narrow)
    ]
    of_wide, of_narrow = ({n: has.get(n, default) for n, default in _ONE.items()} for has in given)
    fits = (
        wide.input[0] == narrow.input[0]
        and [shape[2:] for shape in shapes] == [[3, 3], [1, 1]]
        and shapes[0][:2] == shapes[1][:2]
        and of_wide == {**of_narrow, "pads": [1, 1, 1, 1]}
        and of_narrow == {**_ONE, "strides": of_narrow["strides"]}
    )
    return (wide, narrow) if fits else (None, None)


def float_convolutions(graph: Any, *, depthwise: bool = False) -> list[str]:
    """Names of the convolutions that stay in float32.

    Those after a softmax are PP-YOLOE's sum over distances, which needs the precision. Depthwise
    ones have a range a channel that differs too much for one scale a tensor: they cost PP-TinyPose
    most of what int8 costs it, and are little work.

    Args:
        graph: an ``onnx.GraphProto`` in topological order.
        depthwise: quantize the depthwise ones too.
    """
    after: set[str] = set()
    names = []
    for node in graph.node:
        late = any(name in after for name in node.input)
        if late or node.op_type == "Softmax":
            after.update(node.output)
        grouped = any(a.name == "group" and a.i > 1 for a in node.attribute)
        if node.op_type == "Conv" and (late or (grouped and not depthwise)):
            names.append(node.name)
    return names


def quantize(
    source: Path,
    target: Path,
    inputs: Sequence[dict[str, NDArray[np.float32]]],
    *,
    method: Method = METHOD,
    keep_float: Sequence[str] = (),
    results: bool = True,
) -> None:
    """Write the int8 form of a plain graph.

    Only convolutions are quantized; all else, the head's arithmetic and the non-maximum
    suppression among it, stays in float32.

    Args:
        source: an ONNX file from `kptk.export.plain_graph`.
        target: the ONNX file to write.
        inputs: what to calibrate on.
        method: how ranges are chosen from what was seen.
        keep_float: names of convolutions that stay in float32.
        results: quantize what a convolution gives, too, before the activation that follows.
            ONNX Runtime has no int8 convolution without. OpenVINO joins convolution, activation
            and the next one's quantization: with it, it is slower and rounds twice.

    Raises:
        InputError: another method.
        ModelError: the graph cannot be quantized, or the method fails on what was seen.
        MissingDependencyError: ``kptk[edge]`` is not installed.
    """
    if method not in _METHODS:
        raise InputError(f"method must be one of {', '.join(_METHODS)}. Got {method!r}.")
    for needed in ("onnx", "ml_dtypes"):
        require(needed, "edge", "Quantizing to int8")
    from onnxruntime import quantization

    extra: dict[str, Any] = {}
    whole = len(inputs) // _STRIDE * _STRIDE
    if method != "minmax" and whole:
        extra["CalibStridedMinMax"] = _STRIDE
        inputs = inputs[:whole]  # a stride must divide their number, or ONNX Runtime refuses
    if not results:
        extra["OpTypesToExcludeOutputQuantization"] = ["Conv"]
    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.ERROR)  # the tool advises, at warning level, what `plain_graph` has done
    try:
        quantization.quantize_static(
            str(source),
            str(target),
            _Reader(inputs),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=list(keep_float),
            calibrate_method=quantization.CalibrationMethod[_METHODS[method]],
            extra_options=extra,
        )
    except Exception as error:  # ONNX Runtime's tools raise whatever NumPy and ONNX do
        raise ModelError(f"{source.name} cannot be quantized by {method}: {error}") from error
    finally:
        log.setLevel(level)


class _Reader:
    """Inputs in the form that ONNX Runtime's calibration reads: a ``CalibrationDataReader``."""

    def __init__(self, inputs: Sequence[dict[str, NDArray[np.float32]]]) -> None:
        self._inputs = inputs
        self.set_range(0, len(inputs))

    def __len__(self) -> int:
        return len(self._inputs)

    def __iter__(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        return self._rest

    def set_range(self, start_index: int, end_index: int) -> None:
        self._rest = iter(self._inputs[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._rest, None)
