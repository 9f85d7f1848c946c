"""What int8 is calibrated on. Expected values: what inference hands to the engine."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kptk
from kptk.demo import demo_images
from kptk.errors import DataError, InputError
from kptk.export import calibration_inputs, labelled_images, plain_images, spaced, with_boxes
from kptk.io.images import read_image
from kptk.io.sources import BadFrame, Frame
from kptk.models.modeldir import ModelDir
from kptk.pipeline.detector import Detector
from kptk.pipeline.pose import PoseModel
from tests.fake_pair import document, person, write_data
from tests.tiny_models import detector_dir, keypoint_dir

BOXES = np.array([[30, 40, 150, 300], [200, 20, 260, 200]], np.float32)


class Tape:
    """An engine that keeps what it is given and finds nothing."""

    name, device = "tape", "cpu"

    def __init__(self, *names: str) -> None:
        self.input_names = names
        self.given: list[Mapping[str, np.ndarray]] = []

    def run(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        self.given.append(inputs)
        n = len(inputs["image"])
        if "scale_factor" in inputs:
            return (np.zeros((0, 6), np.float32), np.zeros(n, np.int32))
        return (np.zeros((n, 17, 32, 24), np.float32),)


def test_a_detector_sees_what_it_sees_in_inference(tmp_path: Path) -> None:
    model, tape = ModelDir.open(detector_dir(tmp_path)), Tape("image", "scale_factor")
    images = [read_image(path) for path in demo_images()[:2]]
    inputs = calibration_inputs(model, tape.input_names, [(image, None) for image in images])
    Detector(model, tape).predict(images)
    for one, other in zip(inputs, tape.given, strict=True):
        assert list(one) == ["image", "scale_factor"]
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_a_pose_model_sees_the_crops_of_inference(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    model, tape = ModelDir.open(keypoint_dir(tmp_path)), Tape("image")
    image = read_image(demo_images()[0])
    nobody: Any = (image, np.zeros((0, 4), np.float32))
    (crops,) = calibration_inputs(model, ("image",), [nobody, (image, BOXES)])
    PoseModel(model, tape).predict([image], [BOXES])
    np.testing.assert_array_equal(crops["image"], tape.given[0]["image"])
    with pytest.raises(DataError, match=r"needs people\. There are none on the 1 images"):
        calibration_inputs(model, ("image",), [nobody])


def test_labelled_images_bring_their_boxes(tmp_path: Path) -> None:
    people = [person(1, 1, (10, 20, 60, 90)), person(2, 3, (0, 0, 50, 50))]
    data = kptk.load_coco(write_data(tmp_path / "d", document(people, 4)), split="val")
    pictures = labelled_images(data, 2)  # images 1 and 3 of 4
    assert [int(image[0, 0, 0]) for image, _ in pictures] == [1, 3]
    assert [boxes.tolist() for _, boxes in pictures if boxes is not None] == [
        [[10, 20, 60, 90]],
        [[0, 0, 50, 50]],
    ]


def test_images_without_labels_ask_the_detector() -> None:
    pictures = plain_images([str(path) for path in demo_images()[:1]], 5)
    assert pictures[0][1] is None
    ((_, boxes),) = with_boxes(pictures, "demo")
    expected: Any = kptk.create_pipeline("demo")(str(demo_images()[0]))
    np.testing.assert_array_equal(boxes, expected.boxes)


def test_no_picture_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"None of 1 is\..*a\.jpg"):
        plain_images(tmp_path, 5)


def test_of_many_images_an_even_sample_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    held, most = set(), 0

    def frames(_: object) -> Iterator[Frame | BadFrame]:
        nonlocal most
        for index in range(500):
            image = np.full((2, 2, 3), index % 250, np.uint8)
            held.add(index)
            weakref.finalize(image, held.discard, index)
            yield Frame(image, str(index), None, ".jpg")
            del image
            most = max(most, len(held))
        yield BadFrame("bad", None, InputError("bad"), ".jpg")

    monkeypatch.setattr("kptk.export.iter_frames", frames)
    values = [int(image[0, 0, 0]) for image, _ in plain_images(None, 10)]
    assert most <= 22  # twice as many as asked for, and those on their way
    # 0, 1, ... doubled up: every 32nd of 500, of which 10 of the 16, by hand
    assert values == [i % 250 for i in (0, 32, 96, 128, 192, 256, 288, 352, 384, 448)]


def test_spaced() -> None:
    assert spaced(10, 3) == [0, 3, 6]
    assert spaced(2, 5) == [0, 1]
    assert spaced(300, 64)[-1] == 295
