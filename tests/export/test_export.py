"""``kptk export --format``. Expected values: the model it was made from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import kptk
from kptk.check import box_distances
from kptk.cli import app
from kptk.demo import demo_images
from kptk.engines.load import load_engine
from kptk.errors import InputError, KptkError, ModelError
from kptk.export import (
    calibration_inputs,
    export_edge,
    float_convolutions,
    plain_graph,
    plain_images,
    quantize,
    with_boxes,
)
from kptk.io.images import read_image
from kptk.models.modeldir import ModelDir
from kptk.models.zoo import find_model
from tests.fake_pair import document, person, write_data
from tests.tiny_models import WEIGHT, keypoint_dir, write_config

onnx = pytest.importorskip("onnx")
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs openvino"
)
needs_int8 = pytest.mark.skipif(
    importlib.util.find_spec("ml_dtypes") is None, reason="needs ml_dtypes"
)
IMAGE = np.random.default_rng(1).standard_normal((2, 3, 128, 96)).astype(np.float32)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = keypoint_dir(tmp_path / "source")
    (folder / "README.md").write_text("# The card of the source\n")
    return folder


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    people = [person(i, i, (20, 10, 120, 90)) for i in (1, 2, 3)]
    return write_data(tmp_path / "data", document(people, 3))


def test_plain_onnx(source: Path, tmp_path: Path) -> None:
    made = export_edge(source, tmp_path / "made", format="onnx")
    assert {path.name for path in made.path.iterdir()} == {
        "README.md",
        "inference.onnx",
        "inference.yml",
    }
    assert made.report.ok and made.ap is None and next(iter(made.ms)) == "onnxruntime"
    assert made.megabytes[0] == (source / "inference.onnx").stat().st_size / 1e6
    before, after = (load_engine(ModelDir.open(p)) for p in (source, made.path))
    np.testing.assert_array_equal(after.run({"image": IMAGE})[0], before.run({"image": IMAGE})[0])
    card = (made.path / "README.md").read_text()
    assert card.startswith("# PP-TinyPose_128x96, onnx\n")
    assert card.endswith("# The card of the source\n")
    assert str(tmp_path) not in card


@needs_openvino
def test_openvino(source: Path, tmp_path: Path) -> None:
    made = export_edge(source, tmp_path / "made", format="openvino")
    names = {path.name for path in made.path.iterdir()}
    assert names == {"README.md", "inference.bin", "inference.xml", "inference.yml"}
    assert made.report.ok and list(made.ms) == ["openvino"]
    engine = load_engine(ModelDir.open(made.path))
    assert engine.name == "openvino" and engine.input_names == ("image",)
    expected = load_engine(ModelDir.open(source)).run({"image": IMAGE})[0]
    found = engine.run({"image": IMAGE})[0]
    # weights in half precision: 48 products, each off by up to 2**-11 of itself
    limit = 48 * 2.0**-11 * np.abs(WEIGHT).max() * np.abs(IMAGE).max()
    assert 0 < np.abs(found - expected).max() < limit
    with pytest.raises(ModelError, match="only OpenVINO's: use engine='openvino'"):
        load_engine(ModelDir.open(made.path), engine="onnxruntime")
    (made.path / "inference.bin").unlink()
    with pytest.raises(ModelError, match=r"inference\.xml but not inference\.bin"):
        ModelDir.open(made.path)


@needs_int8
def test_int8_from_the_command_line(source: Path, labelled: Path, tmp_path: Path) -> None:
    target = tmp_path / "made"
    arguments = ["export", str(source), "-o", str(target), "--format", "onnx-int8"]
    done = CliRunner().invoke(app, [*arguments, "--data", str(labelled), "--json"])
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert made["check"]["ok"] and made["format"] == "onnx-int8" and len(made["ap"]) == 2
    assert b"QuantizeLinear" in (target / "inference.onnx").read_bytes()
    assert "| calibration | 3 images, minmax |" in (target / "README.md").read_text()
    again = CliRunner().invoke(app, [*arguments, "--data", str(labelled)])
    assert again.exit_code == 1 and "exists already" in again.stderr
    again = CliRunner().invoke(app, [*arguments, "--images", str(labelled / "images"), "--force"])
    assert again.exit_code == 1 and isinstance(again.exception, SystemExit)  # nobody found


@needs_int8
@needs_openvino
def test_int8_for_openvino(source: Path, labelled: Path, tmp_path: Path) -> None:
    for path in (labelled / "images").iterdir():
        noise = np.random.default_rng(0).integers(0, 256, read_image(path).shape, np.uint8)
        Image.fromarray(noise).save(path)
    data = kptk.load_coco(labelled)
    made = export_edge(source, tmp_path / "made", format="openvino-int8", calibration=data)
    names = {path.name for path in made.path.iterdir()}
    assert names == {"README.md", "inference.bin", "inference.xml", "inference.yml"}
    assert list(made.ms) == ["openvino"]
    assert "| calibration | 3 images, minmax |" in (made.path / "README.md").read_text()
    xml = (made.path / "inference.xml").read_text()
    assert xml.count('type="FakeQuantize"') == 1  # what goes in, not what comes out
    engine = load_engine(ModelDir.open(made.path))
    seen = IMAGE.clip(-1.5, 1.5)  # within the range of the noise, averaged by the crops' warp
    expected = load_engine(ModelDir.open(source)).run({"image": seen})[0]
    found = engine.run({"image": seen})[0]
    # 48 products, each off by up to half a step of 1/128 of the range: a few percent in all
    typical = np.abs(found - expected).mean() / np.abs(expected).mean()
    assert 1e-4 < typical < 0.1


def test_refusals(source: Path, tmp_path: Path) -> None:
    for options, message in [
        ({"format": "onnx-int4"}, "Did you mean 'onnx-int8'"),
        ({"format": "onnx-int8"}, "must see images"),
        ({"format": "openvino-int8"}, "openvino-int8 must see images"),
        ({"format": "onnx", "calibration": "photos"}, "calibration is for"),
        ({"format": "onnx-int8", "calibration": [], "n_calibration": 0}, "n_calibration must be"),
        ({"format": "onnx-int8", "calibration": []}, r"None of \d is"),
    ]:
        with pytest.raises(InputError, match=message):
            export_edge(source, tmp_path / "made", **options)  # type: ignore[arg-type]
    with pytest.raises(KptkError, match="Did you mean 'demo-kpt'"):
        export_edge("demo-ktp", tmp_path / "made")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").write_bytes(b"")
    with pytest.raises(ModelError, match="no model directory, so it is not replaced"):
        export_edge(source, tmp_path / "full", overwrite=True)
    for options, message in [
        (["--data", "d"], "--data goes with --format"),
        (["--format", "onnx", "--input-size", "128", "96"], "--input-size needs training weights"),
    ]:
        done = CliRunner().invoke(app, ["export", str(source), "-o", "x", *options])
        assert done.exit_code == 1 and message in done.stderr
    assert not (tmp_path / "made").exists()


def test_an_export_that_fails_its_check_is_not_kept(source: Path, tmp_path: Path) -> None:
    config = {"Preprocess": [{"type": "TopDownEvalAffine", "trainsize": [48, 64]}]}
    write_config(source / "inference.yml", config)
    with pytest.raises(ModelError, match="was not kept"):
        export_edge(source, tmp_path / "made")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def int8(half: str, pictures: Any, folder: Path) -> Path:
    """A demo model in int8, by the steps of the export without its checks and timings."""
    source = find_model(f"demo-{half}")
    assert source.onnx is not None
    graph = plain_graph(source.onnx)
    folder.mkdir()
    onnx.save(graph, folder / "plain.onnx")
    inputs = calibration_inputs(source, [i.name for i in graph.graph.input], pictures)
    keep = float_convolutions(graph.graph)
    quantize(folder / "plain.onnx", folder / "inference.onnx", inputs, keep_float=keep)
    (folder / "inference.yml").write_bytes(source.config.read_bytes())
    return folder


@needs_int8
@pytest.mark.slow
def test_the_demo_pair_in_int8_finds_what_it_finds_in_float(tmp_path: Path) -> None:
    images = [read_image(path) for path in demo_images()[:3]]
    pictures = with_boxes(plain_images(images, 3), "demo")
    options: dict[str, Any] = {"engine": "onnxruntime", "device": "cpu"}
    before = kptk.create_pipeline("demo", **options)
    yaml = kptk.swap_weights(
        "demo",
        human_det_model=int8("det", pictures, tmp_path / "det"),
        save_path=tmp_path / "pair.yaml",
    )
    kpt = int8("kpt", pictures, tmp_path / "kpt")
    after = kptk.create_pipeline(yaml, kpt_model=kpt, **options)
    assert before.detector and after.detector and before.pose and after.pose
    apart, moved = [], []
    for image in images:
        (one,), (two,) = (p.detector.predict([image], threshold=0.1) for p in (before, after))
        apart.append(box_distances(*(np.column_stack([d.boxes, d.scores]) for d in (one, two))))
        sure = one.boxes[one.scores > 0.4]
        (first,), (second,) = (p.pose.predict([image], [sure]) for p in (before, after))
        side = np.sqrt((sure[:, 2:] - sure[:, :2]).prod(axis=1))[:, None]
        distance = np.hypot(*(first - second)[..., :2].transpose(2, 0, 1)) / side
        moved.append(distance[first[..., 2] > 0.5])
    boxes, joints = np.median(np.concatenate(apart)), np.median(np.concatenate(moved))
    assert 0 < boxes < 4  # pixels; measured: 1.6
    assert 0 < joints < 0.01  # of the square root of the box's area; measured: .003
