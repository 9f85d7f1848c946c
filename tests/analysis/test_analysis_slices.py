"""Slices: groups, rates and their order by hand; the traits of people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kptk.analysis.labels import crowding, hidden, truncation, wilson
from kptk.analysis.tables import brightness, group_texts, person_columns, slice_table
from kptk.errors import InputError
from tests.analysis.bundles import IMAGE, bundle, person, pose

A = (100, 100, 200, 400)


def test_rates_and_order() -> None:
    """Of 100 people 30 are wrong: 24 of 40 tiny ones (12 more than average), 6 of 60 others."""
    table = pd.DataFrame(
        {
            "label": ["pose"] * 24 + ["ok"] * 16 + ["over-cap"] * 6 + ["ok"] * 54,
            "tiny": [True] * 40 + [False] * 60,
        }
    )
    found = slice_table(table, ["tiny"])
    assert found.columns.tolist() == [
        "slice", "value", "n", "errors", "rate", "low", "high", "lift", "grey",
    ]  # fmt: skip
    assert found[["slice", "value", "n", "errors"]].values.tolist() == [
        ["tiny", "yes", 40, 24], ["tiny", "no", 60, 6],
    ]  # fmt: skip
    assert found["rate"].tolist() == [0.6, 0.1]
    assert found["lift"].tolist() == pytest.approx([0.3, -0.2])
    assert (found["low"][0], found["high"][0]) == pytest.approx(wilson(24, 40))
    assert not found["grey"].any()


def test_few_are_grey_and_last() -> None:
    weather = ["fog"] * 10 + ["sun"] * 50 + ["rain"] * 40
    table = pd.DataFrame({"label": ["pose"] * 10 + ["ok"] * 90, "weather": weather})
    found = slice_table(table, ["weather"])
    assert found["value"].tolist()[-1] == "fog"
    assert found["grey"].tolist() == [False, False, True]
    assert not slice_table(table, ["weather"], min_cell=5)["grey"].any()


def test_several_columns_and_pairs() -> None:
    table = pd.DataFrame(
        {"label": ["pose", "ok", "ok", "ok"], "size": list("ssml"), "tiny": [True, False] * 2}
    )
    found = slice_table(table, ["size", "tiny", ("size", "tiny")], min_cell=1)
    assert set(found["slice"]) == {"size", "tiny", "size · tiny"}
    assert found.groupby("slice")["n"].sum().tolist() == [4, 4, 4]
    assert found.iloc[0][["slice", "value"]].tolist() in (
        ["size · tiny", "s · yes"], ["size", "s"], ["tiny", "yes"],
    )  # fmt: skip


def test_joints_by_side() -> None:
    table = pd.DataFrame({"label": ["good", "miss", "good"], "side": ["left", "left", "right"]})
    found = slice_table(table, ["side"], right="good", min_cell=1).set_index("value")
    assert found["errors"].to_dict() == {"left": 1, "right": 0}


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("crowding", [0.0, 0.1, 0.2, 0.31, 0.7, np.nan],
         ["0", "0 to 0.1", "0.1 to 0.3", "0.3 to 0.5", "above 0.5", "none"]),
        ("n_keypoints", [1, 5, 6, 17], ["up to 5", "up to 5", "6 to 10", "above 15"]),
        ("n_overlaps", [0, 1, 2, 9], ["0", "1", "2 to 3", "above 3"]),
        ("tiny", [True, False], ["yes", "no"]),
        ("floor", [1, 2, 2], ["1", "2", "2"]),
        ("weather", ["fog", None], ["fog", "none"]),
        ("lux", [float(x) for x in range(1, 13)],
         ["up to 3.75"] * 3 + ["3.75 to 6.5"] * 3 + ["6.5 to 9.25"] * 3 + ["above 9.25"] * 3),
    ],
)  # fmt: skip
def test_groups(name: str, values: list[object], expected: list[str]) -> None:
    assert group_texts(pd.Series(values), name) == expected


def test_no_people_and_no_column() -> None:
    empty = pd.DataFrame({"label": [], "size": []})
    assert len(slice_table(empty, ["size"])) == 0
    with pytest.raises(InputError, match=r"no column 'sise'.*Did you mean 'size'"):
        slice_table(empty, ["sise"])


def test_crowding() -> None:
    """IoU by hand: 50 of 150 px wide: a third; 90 of 110 px wide: .818. Crowds do not count."""
    scene = bundle(
        [
            person(A), person((150, 100, 250, 400)), person((160, 100, 260, 400), ignored=True),
            person(A, crowd=True), person(A, 1),
        ]
    )  # fmt: skip
    largest, count = crowding(scene)
    assert largest[:3] == pytest.approx([1 / 3, 90 / 110, 90 / 110])
    assert count[:3].tolist() == [2, 2, 2]
    assert largest[4] == 0 and count[4] == 0


def test_truncation() -> None:
    """By hand: a box of 100 x 300 px, whose outline is 800 px."""
    width, height = IMAGE
    boxes = [
        A,
        (0, 100, 100, 400),
        (0, height - 300, 100, height),
        (width - 101, 0, width - 1, 300),
    ]
    scene = bundle([person(box) for box in boxes])
    expected = [0, 300 / 800, 400 / 800, 400 / 800]
    np.testing.assert_allclose(truncation(scene), expected)
    unknown = replace(scene, images=[{"id": 1, "file_name": "a.png"}])
    assert np.isnan(truncation(unknown)).all()


def test_hidden() -> None:
    points = pose(A, 2.0)
    points[:4, 2], points[4:9, 2] = 1, 0
    scene = bundle([person(A, points=points), person(A, points=pose(A, 0.0))])
    assert hidden(scene).tolist() == [4 / 12, 0]


def test_columns_of_people() -> None:
    images = [
        {"id": 1, "width": 640, "height": 480, "weather": "fog", "lux": 3},
        {"id": 2, "width": 640, "height": 480, "license": 4},
    ]
    columns = person_columns(bundle([person(A), person(A, 1)], images=images))
    assert list(columns) == [
        "crowding", "n_overlaps", "truncation", "occlusion", "image.weather", "image.lux",
    ]  # fmt: skip
    assert columns["image.weather"].tolist() == ["fog", None]
    np.testing.assert_array_equal(columns["image.lux"], [3, np.nan])


def test_brightness() -> None:
    """Luminance by hand: red is .299; half red, half black is half of that."""
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[100:400, 100:200, 0] = 255
    calls = []

    def read(record: dict[str, object]) -> np.ndarray:
        calls.append(record["id"])
        return picture

    scene = bundle([person(A), person((150, 100, 250, 400)), person((700, 0, 800, 90), 2)])
    found = brightness(scene, read)
    np.testing.assert_allclose(found, [0.299, 0.1495, np.nan])
    assert calls == [1, 3]
