"""Several devices, with stand-ins that record who ran what. Expected values: one engine alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kptk
import kptk.engines.onnx
from kptk.demo import demo_images
from kptk.engines.load import load_engine
from kptk.engines.parallel import Replicas, count_devices, spread
from kptk.errors import DeviceError, ModelError
from kptk.io.images import read_image
from kptk.models.modeldir import ModelDir
from kptk.pipeline.detector import Detector
from kptk.pipeline.pipeline import Pipeline
from tests.tiny_models import detector_dir, keypoint_dir


class Recorder:
    """An engine whose answer is the input, and which notes the thread of every call.

    With ``meet``, a call returns only when as many calls as the barrier has parties are inside.
    """

    name, precision, input_names = "fake", "f32", ("image",)
    batch_dimension = 1  # so that its batches stay as they are

    def __init__(self, device: str, meet: threading.Barrier | None = None) -> None:
        self.device, self.meet = device, meet
        self.calls: list[tuple[str, float]] = []

    def run(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        if self.meet is not None:
            self.meet.wait(timeout=5)
        self.calls.append((threading.current_thread().name, float(inputs["image"].flat[0])))
        return (inputs["image"] * 2,)


class Broken(Recorder):
    def run(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        raise RuntimeError("out of memory")


def batch(number: int) -> dict[str, np.ndarray]:
    return {"image": np.full((1, 2), number, np.float32)}


def test_batches_run_at_the_same_time_and_come_back_in_order() -> None:
    meet = threading.Barrier(2)  # a single thread would wait here until it times out
    engines = [Recorder("gpu:0", meet), Recorder("gpu:1", meet)]
    both = Replicas(engines)
    assert (both.name, both.device, both.input_names) == ("fake", "gpu:0,1", ("image",))
    answers = spread(both, lambda i: both.run(batch(i))[0][0, 0], list(range(8)))
    assert answers == [0, 2, 4, 6, 8, 10, 12, 14]
    seen = [number for engine in engines for _, number in engine.calls]
    assert sorted(seen) == list(range(8)) and all(engine.calls for engine in engines)
    threads = {thread for engine in engines for thread, _ in engine.calls}
    assert len(threads) == 2 and all(name.startswith("kptk gpu:0,1") for name in threads)


def test_one_batch_and_one_device_need_no_threads() -> None:
    one = Recorder("gpu:0")
    assert count_devices(one) == 1
    spread(one, lambda i: one.run(batch(i)), [1, 2])
    both = Replicas([Recorder("gpu:0"), Recorder("gpu:1")])
    assert count_devices(both) == 2
    here = threading.current_thread().name
    assert spread(both, lambda _: threading.current_thread().name, [1]) == [here]
    assert [thread for thread, _ in one.calls] == [here, here]


def test_the_device_that_fails_is_named_and_the_other_goes_on() -> None:
    both = Replicas([Broken("npu:0"), Recorder("npu:1")])
    outcomes = []
    for number in range(4):  # idle replicas take turns
        try:
            outcomes.append(float(both.run(batch(number))[0][0, 0]))
        except ModelError as error:
            outcomes.append(str(error))
    failed = "The replica on npu:0 failed: out of memory"
    assert outcomes == [failed, 2.0, failed, 6.0]


def fake_devices(
    monkeypatch: pytest.MonkeyPatch, here: tuple[str, ...], made: list[Recorder]
) -> None:
    """A machine whose ONNX Runtime finds these devices."""

    def make(onnx: Path, place: Any, threads: int) -> Recorder:
        if str(place) not in here:
            raise DeviceError(f"There is no {place}.")
        made.append(Recorder(str(place)))
        return made[-1]

    monkeypatch.setattr(kptk.engines.onnx, "OnnxRuntimeEngine", make)


@pytest.mark.parametrize("kind", ["gpu", "npu", "xpu", "mlu"])
def test_a_replica_is_loaded_on_each_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made: list[Recorder] = []
    fake_devices(monkeypatch, (f"{kind}:0", f"{kind}:2"), made)
    model = ModelDir.open(keypoint_dir(tmp_path))
    engine = load_engine(model, engine="onnxruntime", device=f"{kind}:0,2")
    assert isinstance(engine, Replicas)
    assert [one.device for one in made] == [f"{kind}:0", f"{kind}:2"]
    assert engine.device == f"{kind}:0,2"
    alone = load_engine(model, engine="onnxruntime", device=f"{kind}:2")
    assert not isinstance(alone, Replicas) and alone.device == f"{kind}:2"
    with pytest.raises(DeviceError, match=f"There is no {kind}:1"):
        load_engine(model, engine="onnxruntime", device=f"{kind}:0,1")


def cpu_replicas(pipe: Pipeline) -> list[list[int]]:
    """Put two real CPU engines under the names of two GPUs into a pipeline.

    Returns:
        For each of the four engines the batch lengths it saw, filled while the pipeline runs.
    """
    seen: list[list[int]] = []

    def stand_in(stage: Any, device: str) -> Any:
        engine = load_engine(stage.model, engine="onnxruntime", device="cpu", threads=1)
        run, lengths = engine.run, []
        engine.device = device
        engine.run = lambda inputs: lengths.append(len(inputs["image"])) or run(inputs)
        seen.append(lengths)
        return engine

    for stage in (pipe.detector, pipe.pose):
        assert stage is not None
        stage.engine = Replicas([stand_in(stage, "gpu:0"), stand_in(stage, "gpu:1")])
    return seen


def test_a_pipeline_on_two_devices_gives_what_one_gives() -> None:
    images = [read_image(path) for path in demo_images()] * 2
    single = kptk.create_pipeline("demo", device="cpu", engine="onnxruntime", threads=1)
    single.kpt_batch_size = 2
    expected = list(single.predict(images))
    double = kptk.create_pipeline("demo", device="cpu", engine="onnxruntime", threads=1)
    double.kpt_batch_size = 2
    seen = cpu_replicas(double)
    found = list(double.predict(images))
    assert "device=gpu:0,1" in repr(double)
    assert sum(len(result) for result in expected) > 4
    for one, two in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.boxes, two.boxes)
        np.testing.assert_array_equal(one.keypoints, two.keypoints)
    assert all(seen) and sum(map(sum, seen[:2])) == len(images)
    assert sum(map(sum, seen[2:])) == sum(len(result) for result in expected)


class Meeting(Recorder):
    """A detector's engine that finds nobody, once the other device is at work too."""

    input_names = ("image", "scale_factor")

    def run(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        super().run(inputs)
        return (np.zeros((0, 6), np.float32), np.zeros(len(inputs["image"]), np.int32))


def test_images_one_at_a_time_still_keep_two_devices_busy(tmp_path: Path) -> None:
    meet = threading.Barrier(2)  # breaks, and fails the images, unless two are at work at once
    engines = [Meeting("gpu:0", meet), Meeting("gpu:1", meet)]
    detector = Detector(ModelDir.open(detector_dir(tmp_path)), Replicas(engines))
    image = np.zeros((8, 8, 3), np.uint8)
    results = list(Pipeline(detector, None, det_batch_size=1).predict([image] * 4))
    assert [len(result) for result in results] == [0, 0, 0, 0]
    assert not any(result.error for result in results)


def test_an_image_on_a_broken_device_carries_the_devices_name() -> None:
    images = [read_image(path) for path in demo_images()[:2]]
    pipe = kptk.create_pipeline("demo", device="cpu", engine="onnxruntime", threads=1)
    assert pipe.detector is not None
    good = load_engine(pipe.detector.model, engine="onnxruntime", device="cpu", threads=1)
    good.device = "gpu:1"
    broken: Any = Broken("gpu:0")
    broken.input_names = good.input_names
    pipe.detector.engine = Replicas([broken, good])
    results = list(pipe.predict(images))
    messages = [str(result.error) for result in results if result.error]
    assert messages and all("gpu:0 failed: out of memory" in text for text in messages)
    with pytest.raises(ModelError, match="replica on gpu:0"):
        list(pipe.predict(images, on_error="raise"))
