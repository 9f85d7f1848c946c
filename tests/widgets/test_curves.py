"""Training curves: places by hand, and an SVG that any reader of XML takes."""

from __future__ import annotations

import io
import math
from xml.etree import ElementTree

import pytest
from PIL import Image

from kptk.widgets.monitor import curves_png, curves_svg, nice_ticks, smoothed, thinned

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0, 20, [0, 5, 10, 15, 20]),
        (0, 21.5, [0, 10, 20, 30]),
        (0.0018, 0.0031, [0.0015, 0.002, 0.0025, 0.003, 0.0035]),
        (0, 0, [0, 0.25, 0.5, 0.75, 1]),  # nothing found yet
        (5, 5, [4, 6, 8, 10]),
    ],
)
def test_ticks_are_round_and_span_the_values(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_smoothed_by_hand() -> None:
    series = [(1, 6.0), (2, 2.0), (3, 4.0), (4, 0.0)]
    assert smoothed(series, 2) == [(1, 6), (2, 4), (3, 3), (4, 2)]
    assert smoothed(series, 1) == series and smoothed([], 3) == []


def test_thinning_keeps_peaks_and_order() -> None:
    series = [(i, 0.0) for i in range(10_000)]
    series[1234] = (1234, 9.0)
    kept = thinned(series, 300)
    assert len(kept) <= 302 and (1234, 9.0) in kept and kept == sorted(kept)
    assert thinned(series[:300], 300) == series[:300]


def test_an_svg_with_the_points_where_they_belong() -> None:
    losses = [(1, 4.0), (2, 2.0), (3, math.nan), (4, 0.0)]
    text = curves_svg(losses, [(2, 0.25), (4, 0.2), (6, math.nan)], 8)
    root = ElementTree.fromstring(text)
    raw, _, aps = (line.get("points") for line in root.iter(f"{SVG}polyline"))
    # loss: ticks 0 to 4; x = 50 + 300 step / 8, y = 30 at 4 and 195 at 0
    assert raw == "87.5,30.0 125.0,112.5 200.0,195.0"
    # AP: ticks 0 to 30 of 25 and 20; x = 440 + 300 step / 8
    assert aps == "515.0,57.5 590.0,85.0"
    best = [circle for circle in root.iter(f"{SVG}circle") if circle.get("fill") == "none"]
    assert [(circle.get("cx"), circle.get("cy")) for circle in best] == [("515.0", "57.5")]
    said = [element.text for element in root.iter(f"{SVG}text")]
    assert "best 25.0 at step 2" in said
    assert text == curves_svg(losses, [(2, 0.25), (4, 0.2)], 8)


def test_curves_before_the_first_step() -> None:
    root = ElementTree.fromstring(curves_svg([], [], 100))
    assert "not evaluated yet" in [element.text for element in root.iter(f"{SVG}text")]
    assert {line.get("points") for line in root.iter(f"{SVG}polyline")} == {""}


def test_the_same_as_a_picture() -> None:
    picture = Image.open(io.BytesIO(curves_png([(1, 4.0), (2, 2.0)], [(2, 0.25)], 8)))
    assert picture.size == (720, 234)
    assert curves_png([], [], 8) == curves_png([], [], 8)
