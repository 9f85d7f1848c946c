"""The detector around a fake engine; expected values by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kptk.errors import InputError, ModelError
from kptk.pipeline.detector import (
    Detector,
    person_class,
    preprocess,
    select_people,
    split_rows,
)

ROWS = np.float32(
    [
        [0, 0.3, 10, 10, 20, 40],
        [0, 0.9, -5, 30, 60, 220],  # reaches over the edge of 200 x 100 (h, w)
        [1, 0.8, 0, 0, 50, 50],  # another class
        [0, 0.5, 120, 0, 140, 50],  # outside
        [0, 1.0, 1, 2, 3, 4],
    ]
)


class RowsEngine:
    """Gives the same rows for every image, and remembers what it was asked."""

    name, device = "fake", "cpu"

    def __init__(self, rows: np.ndarray = ROWS, names: Any = ("image", "scale_factor")) -> None:
        self.rows, self.input_names = rows, names
        self.asked: list[dict[str, np.ndarray]] = []

    def run(self, inputs: Any) -> tuple[np.ndarray, ...]:
        self.asked.append(dict(inputs))
        n = len(inputs["image"])
        return np.tile(self.rows, (n, 1)), np.full(n, len(self.rows), np.int32)


def model(**changes: Any) -> Any:
    fields = {
        "path": Path("m"), "kind": "detection", "name": "fake", "input_size": (64, 32),
        "mean": (0, 0, 0), "std": (1, 1, 1), "is_scale": True, "interp": 2,
        "keep_ratio": False, "threshold": 0.5, "labels": ("pedestrian",),
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **changes})


def image(height: int = 200, width: int = 100, value: int = 0) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_people_are_filtered_clipped_and_sorted() -> None:
    (found,) = Detector(model(), RowsEngine()).predict([image()])
    np.testing.assert_array_equal(found.boxes, [[1, 2, 3, 4], [0, 30, 60, 200]])
    np.testing.assert_array_equal(found.scores, np.float32([1, 0.9]))
    assert found.boxes.dtype == found.scores.dtype == np.float32


@pytest.mark.parametrize(
    ("threshold", "scores"),
    [
        (None, [1.0, 0.9]),  # the model's 0.5
        (0, [1.0, 0.9, 0.3]),
        (0.0, [1.0, 0.9, 0.3]),
        (np.float32(0.3), [1.0, 0.9, 0.3]),
        (np.float64(0.31), [1.0, 0.9]),
        (0.9, [1.0, 0.9]),  # equal is kept, whatever the width of the float
        (1, [1.0]),
        (np.int64(1), [1.0]),
    ],
)
def test_thresholds_mean_what_they_say(threshold: Any, scores: list[float]) -> None:
    (found,) = Detector(model(), RowsEngine()).predict([image()], threshold=threshold)
    np.testing.assert_array_equal(found.scores, np.float32(scores))


@pytest.mark.parametrize("threshold", [float("nan"), -0.1, 1.5, "0.5", True, [0.5], np.bool_(1)])
def test_wrong_thresholds(threshold: Any) -> None:
    with pytest.raises(InputError, match="det_threshold must be a number from 0 to 1"):
        Detector(model(), RowsEngine()).predict([image()], threshold=threshold)


def test_batches_and_what_the_network_is_given() -> None:
    engine = RowsEngine(names=("im_shape", "image", "scale_factor"))
    images = [image(64, 32, 255), image(128, 32), image(32, 320)]
    found = Detector(model(), engine).predict(images, batch_size=2)
    assert len(found) == 3
    assert [len(asked["image"]) for asked in engine.asked] == [2, 1]
    first, second = engine.asked
    assert list(first) == ["im_shape", "image", "scale_factor"]
    np.testing.assert_array_equal(first["scale_factor"], np.float32([[1, 1], [0.5, 1]]))
    np.testing.assert_array_equal(second["scale_factor"], np.float32([[2, 0.1]]))
    np.testing.assert_array_equal(first["im_shape"], np.float32([[64, 32], [64, 32]]))
    assert first["image"].shape == (2, 3, 64, 32)
    assert first["image"].dtype == np.float32
    np.testing.assert_allclose(first["image"][0], 1)
    # Boxes are clipped to each image: the widest is cut at 32 rows.
    assert found[2].boxes[:, 3].max() == 32


def test_preprocess_resizes_and_normalises() -> None:
    import cv2

    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    batch = preprocess([pixels], model(mean=(0.1, 0.2, 0.3), std=(0.5, 1, 2)))
    resized = cv2.resize(pixels, (32, 64), interpolation=cv2.INTER_CUBIC)
    expected = (resized / 255 - np.array([0.1, 0.2, 0.3])) / np.array([0.5, 1, 2])
    np.testing.assert_allclose(batch[0], expected.transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [((), 0), (("x",), 0), (("pedestrian",), 0), (("car", "Person"), 1), (("human", "car"), 0)],
)
def test_person_class(labels: Any, expected: int) -> None:
    assert person_class(labels, "m") == expected


def test_no_person_class() -> None:
    with pytest.raises(ModelError, match="must have a class named person"):
        person_class(("car", "dog"), "m")


def test_nobody() -> None:
    empty = (np.zeros((0, 6), np.float32), np.zeros(2, np.int32))
    assert [rows.shape for rows in split_rows(empty, 2, "m")] == [(0, 6), (0, 6)]
    # Older exports give one row of -1 when nothing is found.
    filler = (np.full((1, 6), -1, np.float32), np.zeros(1, np.int32))
    assert [rows.shape for rows in split_rows(filler, 1, "m")] == [(0, 6)]
    found = select_people(np.zeros((0, 6), np.float32), 0, 0.5, (10, 10))
    assert found.boxes.shape == (0, 4)
    assert Detector(model(), RowsEngine()).predict([]) == []


def test_rows_are_divided_by_the_counts() -> None:
    parts = split_rows((ROWS, np.array([2, 0, 3])), 3, "m")
    assert [len(part) for part in parts] == [2, 0, 3]
    np.testing.assert_array_equal(parts[2], ROWS[2:])


@pytest.mark.parametrize(
    "outputs",
    [
        (np.zeros((1, 17, 32, 24)),),
        (ROWS, np.array([2, 2])),
        (ROWS, np.array([2, 2, 1])),
        (np.zeros((2, 8400, 4)), np.zeros((2, 1, 8400))),  # exported without suppression
    ],
)
def test_other_outputs_are_refused(outputs: Any) -> None:
    with pytest.raises(ModelError, match="must give rows"):
        split_rows(outputs, 2, "m")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "keypoint"}, "A detection model is needed"),
        ({"keep_ratio": True}, "keep_ratio"),
        ({"labels": ("car", "dog")}, "label_list"),
    ],
)
def test_wrong_models(changes: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Detector(model(**changes), RowsEngine())


def test_unknown_network_input() -> None:
    with pytest.raises(ModelError, match="asks for inputs \\['depth'\\]"):
        Detector(model(), RowsEngine(names=("image", "depth"))).predict([image()])


def test_wrong_image() -> None:
    with pytest.raises(InputError, match=r"images\[1\] must be an RGB uint8 array"):
        Detector(model(), RowsEngine()).predict([image(), np.zeros((5, 5), np.uint8)])
