"""The pipeline around fake engines: streaming, order, errors, thresholds, boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kptk.pipeline.pipeline
from kptk.errors import ConfigError, DeviceError, InputError, ModelError
from kptk.pipeline.config import PipelineConfig
from kptk.pipeline.detector import Detector
from kptk.pipeline.pipeline import Pipeline, create_model, create_pipeline, is_single
from kptk.pipeline.pose import PoseModel

BOXES = np.float32([[10, 10, 50, 90], [20, 5, 60, 95]])


class DetEngine:
    """Two people a picture, scores .9 and .4; none where the first pixel is black."""

    name, device, precision = "fake", "cpu", "f32"
    input_names = ("image", "scale_factor")

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, inputs: Any) -> tuple[np.ndarray, ...]:
        images = inputs["image"]
        self.batches.append(len(images))
        if (images[:, 0, 0, 0] > 0.99).any():
            raise ModelError("white makes this engine fail")
        counts = np.where(images[:, 0, 0, 0] > 0, 2, 0)
        rows = np.concatenate([[[0], [0]], [[0.4], [0.9]], BOXES], axis=1).astype(np.float32)
        return np.tile(rows, (int((counts > 0).sum()), 1)), counts


class KptEngine:
    """Every joint in the middle of the crop, with the value .8."""

    name, device, precision = "fake", "cpu", "f32"
    input_names = ("image",)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, inputs: Any) -> tuple[np.ndarray, ...]:
        n = len(inputs["image"])
        self.batches.append(n)
        y, x = np.mgrid[:32, :24]
        heat = 0.8 * np.exp(-((x - 12) ** 2 + (y - 16) ** 2) / 8)
        return (np.broadcast_to(heat, (n, 17, 32, 24)).astype(np.float32),)


def model(kind: str, size: tuple[int, int]) -> Any:
    return SimpleNamespace(
        path=Path("m"), kind=kind, name=f"fake-{kind}", input_size=size, mean=(0, 0, 0),
        std=(1, 1, 1), is_scale=True, interp=2, keep_ratio=False, threshold=0.5,
        labels=("pedestrian",),
    )  # fmt: skip


def make(**settings: Any) -> Pipeline:
    return Pipeline(
        Detector(model("detection", (64, 64)), DetEngine()),
        PoseModel(model("keypoint", (128, 96)), KptEngine()),
        **settings,
    )


def picture(value: int = 100) -> np.ndarray:
    return np.full((100, 80, 3), value, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("img10.png", "img2.png"):
        Image.fromarray(picture()).save(tmp_path / name)
    (tmp_path / "img3.png").write_text("not a picture")
    return tmp_path


def test_one_image_gives_one_result() -> None:
    result = make()(picture())
    np.testing.assert_array_equal(result.boxes, BOXES[1:])
    np.testing.assert_allclose(result.scores, [0.9])
    # All joints in the middle of the box.
    np.testing.assert_allclose(result.keypoints[0, :, :2], [[40, 50]] * 17, atol=1e-4)
    np.testing.assert_allclose(result.keypoints[0, :, 2], 0.8)
    assert result.name == "image_000001"
    assert result.path is None
    assert result.error is None
    assert result.kpt_threshold == 0.2


def test_a_folder_gives_a_list_in_natural_order(folder: Path) -> None:
    (folder / "img3.png").unlink()
    assert [result.name for result in make()(folder)] == ["img2", "img10"]


@pytest.mark.parametrize(
    ("source", "single"),
    [
        ("x.jpg", True),
        (Path("x.jpg"), True),
        (".", False),
        (b"bytes", True),
        (picture(), True),
        (Image.fromarray(picture()), True),
        ([picture()], False),
        ((p for p in "ab"), False),
        (np.array(["a.jpg", "b.jpg"]), False),
        ({"img": "x.jpg"}, True),
        ({"img": ["x.jpg"]}, False),
        ({"a": "x.jpg", "b": "y.jpg"}, False),
        (None, True),
    ],
)
def test_is_single(source: Any, single: bool) -> None:
    assert is_single(source) is single


def test_one_result_a_frame_and_errors_in_their_place(folder: Path) -> None:
    source = [folder, picture(0), folder / "missing.jpg", picture(100)]
    results = list(make(det_batch_size=3).predict(source))
    assert [len(result) for result in results] == [1, 0, 1, 0, 0, 1]
    failed = [result.name for result in results if result.error]
    assert failed == ["img3", "missing"]
    assert results[1].image is None
    assert results[1].path == str(folder / "img3.png")
    assert results[3].keypoints.shape == (0, 17, 3)  # nobody there is not an error


def test_call_raises(folder: Path) -> None:
    with pytest.raises(InputError, match="img3"):
        make()(folder)
    with pytest.raises(InputError):
        list(make().predict(folder, on_error="raise"))
    assert len(make()(folder, on_error="skip")) == 3


def test_an_image_that_breaks_the_engine_costs_no_other() -> None:
    images = [picture(), picture(255), picture()]
    results = list(make(det_batch_size=3).predict(images))
    assert [len(result) for result in results] == [1, 0, 1]
    assert isinstance(results[1].error, ModelError)
    assert results[1].image is not None
    with pytest.raises(ModelError, match="white"):
        make(det_batch_size=3)(images)


def test_batches() -> None:
    pipe = make(det_batch_size=2, kpt_batch_size=3)
    results = list(pipe.predict([picture()] * 5, det_threshold=0))
    assert [len(result) for result in results] == [2] * 5
    assert pipe.detector.engine.batches == [2, 2, 1]
    assert pipe.pose.engine.batches == [3, 1, 3, 1, 2]  # 4, 4 and 2 people
    list(pipe.predict([picture()] * 4, batch_size=4))
    assert pipe.detector.engine.batches[3:] == [4]


def test_predict_is_lazy() -> None:
    read: list[int] = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            read.append(1)
            yield picture()

    stream = make(det_batch_size=2).predict(endless())
    assert read == []
    next(stream)
    assert len(read) == 2
    next(stream)
    next(stream)
    assert len(read) == 4


@pytest.mark.parametrize(
    ("settings", "argument", "people"),
    [
        ({}, None, 1),  # the model's 0.5
        ({"det_threshold": 0.3}, None, 2),  # the configuration's
        ({"det_threshold": 0}, None, 2),
        ({"det_threshold": 0.3}, 0.95, 0),  # the argument's
        ({"det_threshold": 0.3}, 1, 0),
        ({"det_threshold": 1}, np.float32(0.4), 2),
    ],
)
def test_threshold_order(settings: Any, argument: Any, people: int) -> None:
    assert len(make(**settings)(picture(), det_threshold=argument)) == people


def test_kpt_threshold_removes_nothing() -> None:
    result = make()(picture(), kpt_threshold=0.99)
    assert result.kpt_threshold == 0.99
    assert len(result.keypoints[0]) == 17


def test_boxes_skip_the_detector() -> None:
    pipe = make()
    result = pipe(picture(), boxes=BOXES.tolist())
    np.testing.assert_array_equal(result.boxes, BOXES)
    np.testing.assert_array_equal(result.scores, [1, 1])
    assert pipe.detector.engine.batches == []
    assert len(pipe(picture(), boxes=[])) == 0
    several = pipe([picture(), picture(), picture()], boxes=[BOXES, [], BOXES[:1]], batch_size=2)
    assert [len(result) for result in several] == [2, 0, 1]
    assert [len(r) for r in pipe([picture()] * 2, boxes=np.stack([BOXES] * 2))] == [2, 2]


def test_one_bad_box_costs_one_image() -> None:
    bad = BOXES.copy()
    bad[1, 2] = np.nan
    results = list(make(det_batch_size=2).predict([picture()] * 2, boxes=[BOXES, bad]))
    assert [len(result) for result in results] == [2, 0]
    assert "boxes[1] must be finite" in str(results[1].error)


@pytest.mark.parametrize(
    ("source", "boxes", "message"),
    [
        (picture(), [[5, 5, 1, 1]], "x2 > x1"),
        (picture(), [1, 2, 3, 4], r"\[\[x1, y1, x2, y2\]\]"),
        ([picture()] * 2, BOXES, "list with one array"),
        ([picture()] * 2, 5, "list with one array"),
        ([picture()] * 2, [BOXES], "Image 2, image_000002, has none"),
        ([picture()], [BOXES, BOXES], "only 1 images"),
    ],
)
def test_wrong_boxes(source: Any, boxes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(make().predict(source, boxes=boxes))


@pytest.mark.parametrize(
    "arguments",
    [
        {"det_threshold": "0.5"},
        {"det_threshold": float("nan")},
        {"kpt_threshold": -1},
        {"batch_size": 0},
        {"batch_size": 1.5},
        {"on_error": "ignore"},
        {"channel_order": "grb"},
    ],
)
def test_wrong_arguments_fail_at_once(arguments: Any) -> None:
    with pytest.raises(InputError, match=next(iter(arguments))):
        make().predict(picture(), **arguments)


@pytest.mark.parametrize(
    "settings", [{"det_batch_size": 0}, {"kpt_threshold": 2}, {"channel_order": "x"}]
)
def test_wrong_settings(settings: Any) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        make(**settings)


def test_channel_order() -> None:
    blue = picture(0)
    blue[..., 2] = 200
    bgr = blue[..., ::-1]
    np.testing.assert_array_equal(make()(bgr, channel_order="bgr").image, blue)
    np.testing.assert_array_equal(make(channel_order="bgr")(bgr).image, blue)
    np.testing.assert_array_equal(make()(blue).image, blue)


def test_repr_says_what_it_is() -> None:
    assert repr(make()) == (
        "Pipeline(det=fake-detection, kpt=fake-keypoint, engine=fake, device=cpu, "
        "det_threshold=0.5, kpt_threshold=0.2)"
    )


def test_nothing_global_is_touched() -> None:
    before = np.get_printoptions()
    make()(picture()).print()
    assert np.get_printoptions() == before


class Loader:
    """Stands in for find_model and load_engine; has no accelerator."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, str, str, int | None]] = []
        self.found: list[str] = []
        self.hpi: list[bool] = []

    def find(self, name: Any, kind: str | None = None) -> Any:
        self.found.append(str(name))
        is_det = kind == "detection" or (kind is None and "det" in str(name))
        return model("detection", (64, 64)) if is_det else model("keypoint", (128, 96))

    def load(
        self, found: Any, *, engine: str, device: str, threads: int | None, enable_hpi: bool
    ) -> Any:
        self.loaded.append((found.kind, engine, device, threads))
        self.hpi.append(enable_hpi)
        if device not in ("auto", "cpu"):
            raise DeviceError(f"no {device} here")
        return DetEngine() if found.kind == "detection" else KptEngine()


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Loader:
    loader = Loader()
    monkeypatch.setattr(kptk.pipeline.pipeline, "find_model", loader.find)
    monkeypatch.setattr(kptk.pipeline.pipeline, "load_engine", loader.load)
    return loader


def test_create_pipeline_by_name(loader: Loader) -> None:
    pipe = create_pipeline("demo", threads=1)
    assert loader.found == ["demo-det", "demo-kpt"]
    assert loader.loaded == [("detection", "auto", "auto", 1), ("keypoint", "auto", "auto", 1)]
    assert len(pipe(picture(), det_threshold=0.5)) == 1
    assert (pipe.det_threshold, pipe.kpt_batch_size) == (0.5, 16)  # the YAML's


def test_arguments_come_before_the_file(loader: Loader) -> None:
    config = PipelineConfig(
        "a-det", "a-kpt", det_threshold=0.9, engine="openvino", device="cpu", flip=True
    )
    pipe = create_pipeline(config)
    assert loader.loaded[0] == ("detection", "openvino", "cpu", None)
    assert (pipe.det_threshold, pipe.pose.flip, pipe.pose.udp) == (0.9, True, False)
    pipe = create_pipeline(
        config, engine="paddle", det_threshold=0.1, flip=False, udp=True, kpt_model="mine"
    )
    assert loader.loaded[2] == ("detection", "paddle", "cpu", None)
    assert loader.found[2:] == ["a-det", "mine"]
    assert (pipe.det_threshold, pipe.pose.flip, pipe.pose.udp) == (0.1, False, True)


def test_a_missing_device_warns_in_a_file_and_fails_in_an_argument(loader: Loader) -> None:
    config = PipelineConfig("a-det", "a-kpt", device="gpu:0")
    with pytest.warns(UserWarning, match="asks for device 'gpu:0'.*the CPU is used") as caught:
        create_pipeline(config)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert [load[2] for load in loader.loaded] == ["gpu:0", "cpu", "cpu"]
    with pytest.raises(DeviceError):
        create_pipeline(config, device="npu:0")


def test_img_size_must_be_the_models(loader: Loader) -> None:
    create_pipeline(PipelineConfig("a-det", "a-kpt", det_img_size=(64, 64)))
    with pytest.raises(ConfigError, match=r"img_size .* must be the detector's"):
        create_pipeline(PipelineConfig("a-det", "a-kpt", det_img_size=(320, 320)))


def test_enable_hpi_reaches_both_engines(loader: Loader) -> None:
    create_pipeline("demo", enable_hpi=True)
    create_model("some-kpt", enable_hpi=True)
    create_pipeline("demo")
    assert loader.hpi == [True] * 3 + [False] * 2


def test_create_model_keypoints(loader: Loader) -> None:
    pose = create_model("some-kpt", batch_size=1)
    (result,) = pose.predict(picture(), boxes=BOXES)
    assert len(result) == 2
    assert pose.pose.engine.batches == [1, 1]
    whole = pose(picture())
    np.testing.assert_array_equal(whole.boxes, [[0, 0, 80, 100]])
    np.testing.assert_allclose(whole.keypoints[0, 0], [40, 50, 0.8], rtol=1e-6)
    assert repr(pose).startswith("Pipeline(kpt=fake-keypoint, engine=fake")


def test_create_model_detector(loader: Loader, tmp_path: Path) -> None:
    result = create_model("some-det")(picture(), det_threshold=0.3)
    np.testing.assert_allclose(result.scores, [0.9, 0.4])
    assert result.keypoints.shape == (2, 0, 3)
    # Every form of a result works without joints.
    assert result.json["boxes"][0]["keypoints"] == []
    assert result.save_to_img(tmp_path).is_file()
    assert "nose.x" not in result.to_pandas()
    with pytest.raises(InputError, match="flip and udp"):
        create_model("some-det", flip=True)


def test_a_pipeline_needs_a_stage() -> None:
    with pytest.raises(InputError, match="neither"):
        Pipeline(None, None)
