"""Errors taken away one after another: precision against recall after each step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kptk
from kptk.analysis.labels import crowding, hidden, truncation, wilson
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.tables import (
    brightness,
    group_texts,
    person_columns,
    slice_table,
    stacked_curves,
)
from kptk.errors import InputError
from tests.analysis.bundles import IMAGE, bundle, found, person, pose, random_bundle
from tests.fake_pair import document, fake_pipeline, write_data
from tests.fake_pair import person as annotation

OPTIONS = AnalysisOptions()
A, B, FAR = (100, 100, 200, 400), (300, 100, 400, 400), (460, 100, 560, 400)
AREA = 30_000.0


def shifted(box: tuple[int, ...], joints: slice, by: float) -> np.ndarray:
    points = pose(box, 0.9)
    points[joints, 0] += by
    return points


def means(*arguments: object, threshold: float = 0.5) -> dict[str, float]:
    curves = stacked_curves(*arguments, threshold)  # type: ignore[arg-type]
    return {str(name): float(value) for name, value in curves.mean().items()}


def test_perfect_pipeline_has_nothing_to_take_away() -> None:
    after = means(bundle([person(A)], [found(A)]), OPTIONS)
    assert after["as it is"] == pytest.approx(1) and after["missed people added"] == 1


def test_missed_person_is_the_last_area() -> None:
    """Two people, one found: recall ends at .5, so 51 of COCO's 101 recalls have precision 1."""
    after = means(bundle([person(A), person(B)], [found(A)]), OPTIONS)
    assert after["as it is"] == after["false alarms dropped"] == pytest.approx(51 / 101)
    assert after["missed people added"] == 1


def test_false_alarm_is_an_area_of_its_own() -> None:
    """The false alarm has the better score: precision 1/2 throughout, 1 once it is gone."""
    scene = bundle([person(A)], [found(A, 0.6), found(FAR, 0.9)])
    after = means(scene, OPTIONS)
    assert after["as it is"] == after["boxes fixed"] == pytest.approx(0.5)
    assert after["false alarms dropped"] == pytest.approx(1)


def test_missed_joints_are_charged_to_miss() -> None:
    """Ten of 17 joints far off: OKS 7/17 < .5. Fixing jitter changes nothing, fixing miss all."""
    points = shifted(A, slice(0, 10), 300.0)
    after = means(bundle([person(A)], [found(A, points=points)]), OPTIONS)
    assert after["as it is"] == after["swap fixed"] == pytest.approx(0)
    assert after["miss fixed"] == pytest.approx(1)


def test_bad_box_is_charged_to_boxes() -> None:
    """A box on the head alone: its joints stay in its crop, the true box makes all right."""
    head = (100, 100, 200, 180)
    after = means(bundle([person(A)], [found(head, points=pose(head))]), OPTIONS, threshold=0.9)
    assert after["miss fixed"] == pytest.approx(0)
    assert after["boxes fixed"] == pytest.approx(1)


def test_as_it_is_equals_the_evaluation() -> None:
    """The first curve's mean is AP50 of the oracle game's v(nobody)."""
    from kptk.analysis.oracle import play

    for seed in range(3):
        scene = random_bundle(seed)
        expected = play(scene, OPTIONS).values["attainable"][""]
        assert means(scene, OPTIONS)["as it is"] == pytest.approx(expected["AP50"], abs=1e-12)
        after = means(scene, OPTIONS, threshold=0.75)
        assert after["as it is"] == pytest.approx(expected["AP75"], abs=1e-12)


def test_without_boxes_there_is_no_step_for_them() -> None:
    names = list(stacked_curves(random_bundle(1, two_stage=False), OPTIONS).columns)
    assert "boxes fixed" not in names and names[-1] == "missed people added"


def test_other_thresholds_are_refused() -> None:
    with pytest.raises(InputError, match=r"one of \.5, \.55"):
        stacked_curves(bundle([person(A)], [found(A)]), OPTIONS, 0.42)


# Slices: groups, rates and their order by hand; the traits of people.


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


# The threshold sweep: each row is what kptk.evaluate says with that threshold.


W, X, Y, Z = (10, 10, 50, 90), (60, 10, 100, 90), (110, 10, 150, 90), (20, 20, 60, 95)
# on image 2: background at .6, one person at .3, the same again at .2; nobody finds Z on image 3
FOUND = {
    1: [(*W, 0.75), (*X, 0.8)],
    2: [(150, 50, 190, 90, 0.6), (*Y, 0.3), (112, 12, 152, 92, 0.2)],
}


@pytest.fixture
def evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[kptk.Evaluation, kptk.KeypointData]:
    monkeypatch.setenv("KPTK_PROGRESS", "0")
    people = [annotation(1, 1, W), annotation(2, 1, X), annotation(3, 2, Y), annotation(4, 3, Z)]
    data = kptk.load_coco(write_data(tmp_path / "set", document(people, 3)), split="val")
    return kptk.evaluate(fake_pipeline(FOUND), data), data


def test_equals_evaluation(evaluated: tuple[kptk.Evaluation, kptk.KeypointData]) -> None:
    """AP by pycocotools on the same saved predictions."""
    ev, data = evaluated
    sweep = kptk.analyze(ev).sweep.set_index("threshold")
    for threshold in (0.2, 0.25, 0.5, 0.65, 0.75):
        expected = kptk.evaluate(
            predictions=ev.predictions, annotations=data, det_threshold=threshold
        )
        assert expected.end_to_end is not None
        for name in ("AP", "AP50", "AP75"):
            assert sweep[name][threshold] == pytest.approx(expected.end_to_end[name], abs=1e-12)


def test_rates_by_hand(evaluated: tuple[kptk.Evaluation, kptk.KeypointData]) -> None:
    sweep = kptk.analyze(evaluated[0]).sweep.set_index("threshold")
    thresholds = [0.2, 0.5, 0.75, 0.8, 0.95]
    assert sweep["missed"][thresholds].tolist() == [1, 2, 2, 3, 4]
    assert sweep["recall"][thresholds].tolist() == [0.75, 0.5, 0.5, 0.25, 0]
    assert sweep["precision"][0.25] == pytest.approx(3 / 4)
    assert sweep["precision"][0.5] == pytest.approx(2 / 3)
    assert np.isnan(sweep["precision"][0.95])
    assert sweep.index[sweep["chosen"]].tolist() == [0.5]
