"""Device strings, thread counts, and batches in parts: what each run gets, where, in what order."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

import numpy as np
import pytest

from kptk.engines.base import (
    Shared,
    available_cores,
    check_threads,
    join_devices,
    parse_device,
    parse_devices,
)
from kptk.errors import DeviceError, InputError, ModelError


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("auto", "auto"),
        ("cpu", "cpu"),
        ("CPU", "cpu"),
        ("gpu", "gpu:0"),
        (" gpu:1 ", "gpu:1"),
        ("npu:0", "npu:0"),
        ("xpu", "xpu:0"),
        ("mlu:12", "mlu:12"),
    ],
)
def test_forms(text: str, normal: str) -> None:
    assert str(parse_device(text)) == normal


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "'gpu:0'"),
        ("gpu:", "'gpu:0'"),
        ("gpu:-1", "'gpu:0'"),
        ("gpu0", "'gpu:0'"),
        ("tpu:0", "'gpu:0'"),
        ("gpu:0,1", "runs on one device: 'gpu:0'"),  # PaddleX's form
        ("cuda:1", "Paddle calls it 'gpu:1'"),
        ("cpu:0", "'cpu' has no number"),
        ("dcu:1", "DCU build calls it 'gpu:1'"),
        (0, "Got 0"),
        (None, "Got None"),
    ],
)
def test_other_forms_are_refused_with_the_right_ones(text: str, advice: str) -> None:
    with pytest.raises(DeviceError, match=advice):
        parse_device(text)


@pytest.mark.parametrize(
    ("text", "normal", "count"),
    [
        ("gpu:0,1", "gpu:0,1", 2),
        (" NPU:3, 1 ", "npu:3,1", 2),
        ("xpu:0,1,2", "xpu:0,1,2", 3),
        ("mlu:10,0", "mlu:10,0", 2),
        ("gpu", "gpu:0", 1),
        ("cpu", "cpu", 1),
    ],
)
def test_several_devices(text: str, normal: str, count: int) -> None:
    devices = parse_devices(text)
    assert (join_devices(devices), len(devices)) == (normal, count)
    assert parse_devices(normal) == devices


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("gpu:0,0", "each device once"),
        ("gpu:0,", "of one kind and have numbers: 'gpu:0,1'"),
        ("gpu:0,npu:0", "of one kind"),
        ("cpu,gpu:0", "of one kind"),
        ("gpu,1", "of one kind"),
        (None, "Got None"),
    ],
)
def test_other_forms_of_several_are_refused(text: str, advice: str) -> None:
    with pytest.raises(DeviceError, match=advice):
        parse_devices(text)


def test_threads() -> None:
    assert check_threads(3) == 3
    assert check_threads(None) == available_cores() >= 1
    for wrong in (0, -1, True, 1.5, "2"):
        with pytest.raises(InputError, match="positive integer"):
            check_threads(wrong)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_a_process_tied_to_one_core_gets_one_thread() -> None:
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert check_threads(None) == 1
    finally:
        os.sched_setaffinity(0, cores)


class Recorder:
    """An engine that doubles its input and notes the length of every run.

    With ``meet``, a run returns only when as many as the barrier has parties are inside.
    """

    name, precision, input_names = "fake", "f32", ("image",)

    def __init__(self, device: str, meet: threading.Barrier | None = None) -> None:
        self.device, self.meet = device, meet
        self.lengths: list[int] = []

    def run(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        self.lengths.append(len(inputs["image"]))
        if self.meet is not None:
            self.meet.wait(timeout=5)
        return (inputs["image"] * 2, inputs["image"][:, 0])


class Loader:
    """Makes engines and keeps them by what was asked for: (threads, runs at once)."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.made: dict[tuple[int, int], Recorder] = {}

    def __call__(self, threads: int, streams: int) -> Recorder:
        meet = threading.Barrier(streams) if streams > 1 else None
        self.made[threads, streams] = Recorder(self.device, meet)
        return self.made[threads, streams]


def batch(length: int) -> dict[str, np.ndarray]:
    return {"image": np.arange(2 * length, dtype=np.float32).reshape(length, 2)}


def check(engine: Shared, length: int) -> None:
    doubled, first = engine.run(batch(length))
    np.testing.assert_array_equal(doubled, 2 * batch(length)["image"])
    np.testing.assert_array_equal(first, batch(length)["image"][:, 0])


@pytest.mark.parametrize(
    ("length", "together", "alone"),
    [
        (0, [0], []),
        (1, [1], []),  # too few to share out: all cores work on them together
        (2, [], [1, 1]),
        (7, [], [4, 3]),  # sizes that differ by one at most
        (16, [], [8, 8]),
    ],
)
def test_crops_run_in_one_part_a_core(length: int, together: list[int], alone: list[int]) -> None:
    loader = Loader()
    engine = Shared(loader, 2, by_image=False)
    check(engine, length)
    assert loader.made[2, 1].lengths == together
    second = loader.made.get((1, 2))
    assert sorted(second.lengths if second else [], reverse=True) == alone


@pytest.mark.parametrize(
    ("shape", "alone"),
    [
        ((16, 3, 128, 96), [8, 8]),
        ((32, 3, 128, 96), [8, 8, 8, 8]),
        ((16, 3, 256, 192), [2] * 8),
        ((5, 3, 256, 192), [2, 1, 1, 1]),  # as many for each core
        ((3, 3, 256, 192), [2, 1]),
        ((4, 3, 2000, 2000), [1, 1, 1, 1]),
    ],
)
def test_parts_are_small_enough_for_a_core(shape: tuple[int, ...], alone: list[int]) -> None:
    loader = Loader()
    image = np.zeros(shape, np.float32)
    image[:, 0, 0, 0] = np.arange(len(image))
    doubled, _ = Shared(loader, 2, by_image=False).run({"image": image})
    assert (doubled[:, 0, 0, 0] == 2 * np.arange(len(image))).all()
    assert sorted(loader.made[1, 2].lengths, reverse=True) == alone


def test_images_run_one_by_one_side_by_side() -> None:
    loader = Loader()
    engine = Shared(loader, 2, by_image=True)
    check(engine, 4)
    check(engine, 1)
    assert loader.made[1, 2].lengths == [1] * 4 and loader.made[2, 1].lengths == [1]


@pytest.mark.parametrize(
    ("device", "threads", "in_parts", "by_image", "expected"),
    [
        ("cpu", 1, True, False, [4]),
        ("cpu", 2, False, False, [4]),
        ("gpu:0", 2, True, False, [4]),  # a GPU takes the batch as it is
        ("gpu:0", 2, True, True, [1, 1, 1, 1]),
    ],
)
def test_no_parts_where_they_gain_nothing(
    device: str, threads: int, in_parts: bool, by_image: bool, expected: list[int]
) -> None:
    loader = Loader(device)
    engine = Shared(loader, threads, by_image=by_image, in_parts=in_parts)
    check(engine, 4)
    assert list(loader.made) == [(threads, 1)]
    assert loader.made[threads, 1].lengths == expected


def test_inputs_of_different_lengths_are_refused() -> None:
    engine = Shared(Loader(), 2, by_image=True)
    with pytest.raises(ModelError, match="equally long"):
        engine.run({"image": np.zeros((2, 2)), "scale_factor": np.ones((1, 2))})
