"""``kptk.export_edge``: any model to plain ONNX, OpenVINO or int8, with what it costs and saves."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kptk.cache import file_hash
from kptk.edge.calibration import (
    N_IMAGES,
    Pictures,
    calibration_inputs,
    labelled_pictures,
    plain_pictures,
    with_boxes,
)
from kptk.edge.card import edge_card
from kptk.edge.graph import plain_graph
from kptk.edge.measure import Pair, accuracies, megabytes, speeds
from kptk.edge.quantize import METHOD, Method, float_convolutions, quantize
from kptk.errors import InputError, ModelError, nearest, require
from kptk.modeldir import ModelDir
from kptk.onnx_export import onnx_file
from kptk.preflight import ModelReport, check_model

if TYPE_CHECKING:
    from kptk.coco import KeypointData
    from kptk.training.run import Run

FORMATS = ("onnx", "openvino", "onnx-int8", "openvino-int8")
_WHAT = {"detection": "the boxes", "keypoint": "the joints on ground-truth boxes"}
_UNIT = {"detection": "an image", "keypoint": "a person (batches of 16)"}


@dataclass(frozen=True, repr=False)
class EdgeModel:
    """A model directory in a smaller form, and what was measured. ``repr`` is the report.

    Attributes:
        path: the directory.
        format: ``"onnx"``, ``"openvino"``, ``"onnx-int8"`` or ``"openvino-int8"``.
        kind: ``"detection"`` or ``"keypoint"``.
        megabytes: of the model's files, before and after.
        ms: engine → milliseconds of the network alone, before and after, on this machine's CPU.
        ap: of the boxes, or of the joints on ground-truth boxes, before and after, 0 to 1; None
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
            f"{name:<12} {a:.1f} -> {b:.1f} ms {_UNIT[self.kind]}, network alone"
            for name, (a, b) in self.ms.items()
        ]
        if self.ap is not None:
            first, second = (100 * ap for ap in self.ap)
            lost = f"{first - second:.1f} lost"
            lines.append(f"AP           {first:.1f} -> {second:.1f} of {_WHAT[self.kind]}, {lost}")
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
    """Export a model for another runtime or a smaller machine, and measure what that changes.

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
            a pose model is shown, or what ``predict`` takes.
        n_calibration: how many of them, spread evenly.
        method: how int8's ranges are chosen: ``"minmax"``, ``"entropy"`` or ``"percentile"``.
        pipeline: whose detector finds the people that a pose model is calibrated on, where
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
    from kptk.training.export_model import check_target

    target = Path(save_path).expanduser()
    _check_format(format, calibration)
    check_target(target, overwrite)
    source = find_source(model, like)
    pictures: Pictures = []
    if calibration is not None:
        pictures = _pictures(source, calibration, n_calibration, pipeline)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        made = _write(source, Path(folder) / "model", format, pictures, method)
        report = _checked(made)
        ap = None if data is None else accuracies(source, made, data, max_images, progress)
        size = (megabytes(source), megabytes(made))
        card = edge_card(source, format, len(pictures), method, size, ap, _hash(source))
        (made.path / "README.md").write_text(card, encoding="utf-8")
        ms = speeds(source, made)
        if target.exists():
            shutil.rmtree(target)
        os.replace(made.path, target)
    report = replace(report, path=target, model=ModelDir.open(target))
    return EdgeModel(target, format, source.kind, size, ms, ap, report)


def find_source(model: str | os.PathLike[str] | Run, like: str | None = None) -> ModelDir:
    """The model directory that is meant; of a run the one that it exported."""
    from kptk.training.run import Run
    from kptk.zoo import find_model

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
    from kptk.coco import load_coco
    from kptk.errors import DataError

    measured = None
    if data is not None:
        measured = load_coco(data, split=None if Path(data).is_file() else split)
    if not format.endswith("-int8") or images is not None or measured is None or data is None:
        return measured, images
    try:
        return measured, load_coco(data, split="train") if Path(data).is_dir() else measured
    except DataError:
        return measured, measured


def _check_format(format: str, calibration: Any) -> None:
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


def _pictures(source: ModelDir, calibration: Any, count: int, pipeline: str) -> Pictures:
    from kptk.coco import KeypointData
    from kptk.inputs import check_batch_size

    count = check_batch_size(count, "n_calibration")
    if isinstance(calibration, KeypointData):
        return labelled_pictures(calibration, count)
    pictures = plain_pictures(calibration, count)
    return pictures if source.kind == "detection" else with_boxes(pictures, pipeline)


def _write(
    source: ModelDir, folder: Path, format: str, pictures: Pictures, method: Method
) -> ModelDir:
    """The model's files and its configuration, in a new folder."""
    graph = plain_graph(onnx_file(source))
    folder.mkdir()
    int8, openvino = format.endswith("-int8"), format.startswith("openvino")
    onnx = folder / "inference.onnx"
    plain = folder.with_name("plain.onnx") if int8 else onnx
    plain.write_bytes(graph.SerializeToString())
    if int8:
        names = [entry.name for entry in graph.graph.input]
        inputs = calibration_inputs(source, names, pictures)
        keep_float = float_convolutions(graph.graph)
        quantize(plain, onnx, inputs, method=method, keep_float=keep_float, results=not openvino)
    if openvino:
        _to_openvino(onnx, halve=not int8)
    shutil.copyfile(source.config, folder / "inference.yml")
    return ModelDir.open(folder)


def _to_openvino(onnx: Path, halve: bool) -> None:
    """Replace an ONNX file by ``.xml`` and ``.bin``.

    Float weights are stored in half precision if ``halve``; the engine computes in float32 all
    the same. The scales of int8 are few, and stay as they are.
    """
    openvino = require("openvino", "edge", "Exporting to OpenVINO")
    model = openvino.Core().read_model(str(onnx))
    openvino.save_model(model, str(onnx.with_suffix(".xml")), compress_to_fp16=halve)
    onnx.unlink()


def _checked(made: ModelDir) -> ModelReport:
    report = check_model(made.path)
    wrong = [finding for finding in report.findings if finding.severity == "error"]
    if wrong:
        raise ModelError(
            f"The exported model did not pass its check and was not kept. {wrong[0].message}"
        )
    return report


def _hash(source: ModelDir) -> str:
    return f"SHA-256 {file_hash(*source.weights or (source.config,))[:32]}"
