"""Device strings and thread counts."""

from __future__ import annotations

import os

import pytest

from kptk.engines.base import (
    available_cores,
    check_threads,
    join_devices,
    parse_device,
    parse_devices,
)
from kptk.errors import DeviceError, InputError


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
