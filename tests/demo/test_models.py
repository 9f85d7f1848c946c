"""The demo pair is what its card says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kptk
from kptk.models.weights import read_weights
from kptk.models.zoo import find_model

CARD = Path(kptk.__file__).parent / "demo" / "models" / "README.md"


def card_row(name: str) -> list[float]:
    """Day AP, day AP50, night AP, night AP50 of a row, 0 to 1."""
    (row,) = re.findall(rf"^\| {name}[^|]*\|(.*)$", CARD.read_text(encoding="utf-8"), re.MULTILINE)
    return [float(cell) / 100 for cell in row.split("|")[:4]]


@pytest.mark.slow
def test_average_precision_on_held_out_images_is_what_the_card_says() -> None:
    data = kptk.load_coco(kptk.demo_path("day"), split="val")
    ev = kptk.evaluate(kptk.create_pipeline("demo"), data, progress=False)
    sections = {
        "detector": ev.detector,
        "pose on ground-truth boxes": ev.pose,
        "end to end": ev.end_to_end,
    }
    for name, section in sections.items():
        assert section is not None
        measured = [section.AP, section.AP50]
        assert measured == pytest.approx(card_row(name)[:2], abs=0.005), name


def test_night_is_clearly_worse_on_the_card() -> None:
    for name in ("detector", "pose on ground-truth boxes", "end to end"):
        day, _, night, _ = card_row(name)
        assert night < day / 2


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [("demo-det", "detection", (320, 320)), ("demo-kpt", "keypoint", (128, 96))],
)
def test_each_is_found_small_and_a_start_for_training(
    name: str, kind: str, size: tuple[int, int]
) -> None:
    model = find_model(name)
    assert (model.kind, model.input_size) == (kind, size)
    assert model.onnx is not None
    weights = read_weights(model.path)
    assert len(weights) > 400
    stored = sum(array.size for array in weights.values()) * 2  # bytes in half precision
    assert stored < model.onnx.stat().st_size < 1.5 * stored


def test_the_pair_is_under_25_megabytes() -> None:
    total = sum(file.stat().st_size for file in CARD.parent.rglob("*") if file.is_file())
    assert total < 25e6
