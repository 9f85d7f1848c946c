"""The plots: what they draw follows from the tables, and they leave matplotlib as it was.

Their colours: one for every label there is, each of its own, seen on white and on black. The images
of people: annotated on the left, found on the right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle, Wedge
from PIL import Image

from kptk.analysis import plots
from kptk.analysis.labels import JOINT_LABELS, PERSON_LABELS
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.plots import (
    PERSON_COLOURS,
    draw_people,
    mean_positions,
    plot_error_vectors,
    plot_flow,
    plot_heat_map,
    plot_ladder,
    plot_manikin,
    plot_oks,
    plot_reliability,
    plot_stacked_curve,
    plot_sweep,
    plot_transitions,
    plot_what_ifs,
    spread,
    worst_people,
)
from kptk.analysis.result import ErrorAnalysis
from kptk.errors import InputError
from kptk.skeleton import COCO17, CROWDPOSE14
from tests.analysis import frames
from tests.analysis.bundles import IMAGE, bundle, found, person, random_bundle, write_images

DRAWN: dict[str, Callable[[Axes | None], Axes]] = {
    "flow": lambda ax: plot_flow(frames.persons(), ax),
    "what_ifs": lambda ax: plot_what_ifs(frames.what_if(), ax),
    "ladder": lambda ax: plot_ladder(frames.ladder(), ax),
    "sweep": lambda ax: plot_sweep(frames.sweep(), ax, threshold=0.5),
    "reliability": lambda ax: plot_reliability(frames.detections(), ax),
    "stack": lambda ax: plot_stacked_curve(frames.stacked_curves(), ax),
    "transitions": lambda ax: plot_transitions(frames.transitions(), ax),
    "heat_map": lambda ax: plot_heat_map(frames.persons(), ax),
    "oks": lambda ax: plot_oks(frames.persons(), ax),
    "manikin": lambda ax: plot_manikin(frames.joints(30), ax=ax),
    "vectors": lambda ax: plot_error_vectors(frames.joints(30), frames.persons(), ax=ax),
}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


def bars(ax: Axes) -> list[Rectangle]:
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


@pytest.mark.parametrize("name", DRAWN)
def test_draws_on_the_axes_given_and_changes_no_setting(name: str) -> None:
    _, ax = plt.subplots()
    before, figures = dict(mpl.rcParams), plt.get_fignums()
    assert DRAWN[name](ax) is ax
    assert dict(mpl.rcParams) == before and plt.get_fignums() == figures
    assert isinstance(DRAWN[name](None), Axes) and len(plt.get_fignums()) == len(figures) + 1


@pytest.mark.parametrize("name", DRAWN)
def test_text_has_the_colour_of_the_style(name: str) -> None:
    """On a dark style no text is black: nothing says a colour that only suits a white page."""
    with plt.style.context("dark_background"):
        ax = DRAWN[name](None)
        shown = [*ax.texts, *ax.get_xticklabels(), *ax.get_yticklabels(), ax.title]
        assert not {"black", "k", "#000000"} & {text.get_color() for text in shown}


@pytest.mark.parametrize(
    "name", ["flow", "what_ifs", "reliability", "heat_map", "oks", "manikin", "vectors"]
)
def test_nothing_to_draw(name: str) -> None:
    """Empty tables make empty figures, with no warning and no error."""
    persons, joints = frames.persons().head(0), frames.joints(3).head(0)
    empty: dict[str, Callable[[], Axes]] = {
        "flow": lambda: plot_flow(persons),
        "what_ifs": lambda: plot_what_ifs(frames.what_if().head(0)),
        "reliability": lambda: plot_reliability(frames.detections().head(0)),
        "heat_map": lambda: plot_heat_map(persons),
        "oks": lambda: plot_oks(persons),
        "manikin": lambda: plot_manikin(joints),
        "vectors": lambda: plot_error_vectors(joints, persons),
    }
    empty[name]().figure.canvas.draw()


def test_flow_shows_every_label_and_number() -> None:
    persons = frames.persons()
    ax = plot_flow(persons)
    counts = persons["label"].value_counts()
    shown = texts(ax)
    for label, count in counts.items():
        assert any(text.startswith(f"{label}  {count} ") for text in shown)
    wrong = len(persons) - counts["ok"]
    keypoints = int(counts[["pose", "wrong-person", "box-sensitive"]].sum())
    assert f"keypoint errors  {keypoints}" in shown
    assert f"detector errors  {wrong - keypoints}" in shown
    heights = [bar.get_height() for bar in bars(ax)]
    assert sum(heights) == pytest.approx(3)  # all people in each of the three columns


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], []),
        ([1.0, 0.0], [1.0, 0.0]),
        ([0.5, 0.5], [0.6, 0.4]),  # round their middle
        ([1.0, 0.9, 0.8], [1.1, 0.9, 0.7]),
        ([1.0, 0.8, 0.3], [1.0, 0.8, 0.3]),
    ],
)
def test_spread(places: list[float], expected: list[float]) -> None:
    assert spread(places, 0.2) == pytest.approx(expected)


def test_what_ifs_are_points_and_signed() -> None:
    table = frames.what_if()
    ax = plot_what_ifs(table)
    assert [bar.get_width() for bar in bars(ax)] == pytest.approx(list(100 * table["dAP"]))
    assert {"+11.2", "-0.2", "+0.0"} <= set(texts(ax))


def test_what_ifs_leave_single_joints_to_a_figure_of_their_own() -> None:
    joint = pd.DataFrame([{"name": "nose", "group": "joints", "dAP": 0.01}])
    table = pd.concat([frames.what_if(), joint])
    assert len(bars(plot_what_ifs(table))) == len(table) - 1
    assert len(bars(plot_what_ifs(table, groups=["joints"]))) == 1


def test_ladder_adds_up() -> None:
    """By hand: 51.2 to 71.3; the detector is charged (10.9 + 13.9) / 2, the rest is the poses'."""
    ax = plot_ladder({"attainable": frames.ladder()["attainable"]})
    steps = np.array([bar.get_width() for bar in bars(ax)]).reshape(3, 2)
    assert steps.sum(axis=1) == pytest.approx([20.1] * 3)
    assert steps[0] == pytest.approx([10.9, 9.2])
    assert steps[2] == pytest.approx([12.4, 7.7])
    assert [bar.get_x() for bar in bars(ax)[::2]] == pytest.approx([51.2] * 3)


def test_ladder_with_a_loss() -> None:
    """Real detectors can do better than ground-truth boxes: the step goes back."""
    ax = plot_ladder({"attainable": {"": 0.5, "D": 0.48, "P": 0.6, "DP": 0.61}})
    assert bars(ax)[0].get_width() == pytest.approx(-2) and "-2.0" in texts(ax)


def test_reliability_by_hand() -> None:
    """Four detections in one tenth, three of them right; one ignored is not counted."""
    table = pd.DataFrame(
        {
            "type": ["true positive"] * 4 + ["ignored"],
            "score": [0.71, 0.73, 0.75, 0.77, 0.79],
            "pose_score": [0.1] * 5,
            "iou": [0.9, 0.5, 0.6, 0.2, 0.1],
            "oks": [0.9, 0.9, np.nan, 0.1, 0.1],
        }
    )
    ax = plot_reliability(table)
    curves = {
        tuple(line.get_xydata().round(6).ravel()) for line in ax.lines if len(line.get_xdata()) == 1
    }
    assert {(0.74, 0.75), (0.1, 0.5)} <= curves


def test_stack_is_nested() -> None:
    curves = frames.stacked_curves()
    curves["swap fixed"] = curves["jitter fixed"] - 0.05  # a step may lose; no area is negative
    ax = plot_stacked_curve(curves)
    assert len(ax.collections) == curves.shape[1]
    assert texts(ax) == [] and len(ax.get_legend().get_texts()) == curves.shape[1]


def test_transitions_say_what_the_box_spoils() -> None:
    """By hand: 130 + 8 + 14 + 41 good joints spoiled, of 986 that are wrong on detected boxes."""
    ax = plot_transitions(frames.transitions())
    assert ax.get_title().startswith("193 of 986 wrong joints (20 %)")
    assert "2900\n94 %" in texts(ax)


def test_heat_map_greys_few() -> None:
    persons = pd.DataFrame(
        {
            "label": ["ok"] * 30 + ["pose"] * 10 + ["pose"] * 5,
            "n_keypoints": 10,
            "n_visible": [10] * 40 + [2] * 5,
            "crowding": [0.0] * 40 + [0.9] * 5,
        }
    )
    ax = plot_heat_map(persons)
    shown = {text.get_text(): text.get_alpha() for text in ax.texts}
    assert shown["25 %\nn = 40"] == 1 and shown["100 %\nn = 5"] < 1
    assert len([text for text in shown if text]) == 2


def test_oks_has_everybody_in_order() -> None:
    persons = frames.persons()
    dots = plot_oks(persons).collections[0].get_offsets()
    assert len(dots) == len(persons)
    with_box = persons["oks"].notna().to_numpy()
    expected = persons.loc[with_box, ["oks_given", "oks"]].to_numpy()
    assert np.asarray(dots)[with_box] == pytest.approx(expected)
    assert (np.asarray(dots)[~with_box, 1] < 0).all()


def test_oks_names_those_the_box_cost_most() -> None:
    persons = frames.persons()
    named = {int(text) for text in texts(plot_oks(persons, n_named=3))}
    drop = (persons["oks_given"] - persons["oks"]).fillna(-1)
    assert len(named) == 3 and int(persons.loc[drop.idxmax(), "annotation_id"]) in named


def wedges(ax: Axes) -> list[Wedge]:
    return [patch for patch in ax.patches if isinstance(patch, Wedge)]


def one_joint(labels: list[str], joint: str = "nose") -> pd.DataFrame:
    return pd.DataFrame({"on": "ground truth", "joint": joint, "label": labels})


def test_pie_by_hand() -> None:
    """Three of four good: 270 degrees, and 25 % beside it."""
    ax = plot_manikin(one_joint(["good", "good", "good", "miss"]))
    assert [wedge.theta2 - wedge.theta1 for wedge in wedges(ax)] == pytest.approx([270, 90])
    assert "25 %" in texts(ax)


def test_the_left_is_on_the_readers_right() -> None:
    ax = plot_manikin(one_joint(["good"], "left_wrist"))
    assert wedges(ax)[0].center[0] > 0


def test_other_skeletons_need_places() -> None:
    with pytest.raises(InputError, match="mean_positions"):
        plot_manikin(frames.joints(3, CROWDPOSE14), CROWDPOSE14)


def test_mean_positions_turn_people_round() -> None:
    """People seen from behind are turned; left ends right of right, and joints keep apart."""
    rng = np.random.default_rng(0)
    front = np.zeros((17, 3))
    front[:, 0] = [0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 2, -2, 2, -2, 2, -2]
    front[:, 1] = [0, -1, -1, 0, 0, 3, 3, 6, 6, 9, 9, 9, 9, 13, 13, 17, 17]
    front[:, 2] = 2
    people = np.stack([front * (10, 10, 1), front * (-7, 7, 1), front * (4, 4, 1)])
    people[..., :2] += rng.normal(0, 0.1, (3, 17, 2))
    positions = mean_positions(people, COCO17)
    left, right = np.array(COCO17.flip_pairs).T
    assert (positions[left, 0] > 0).all()
    assert positions[left] == pytest.approx(positions[right] * (-1, 1))
    away = positions[:, None] - positions[None]
    gaps = np.hypot(away[..., 0], away[..., 1]) + 9 * np.eye(17)
    assert gaps.min() > 2 * 0.27  # pies do not overlap
    assert positions[15, 1] > positions[11, 1] > positions[5, 1] > positions[0, 1]


def test_mean_positions_without_anybody() -> None:
    assert np.isfinite(mean_positions(np.zeros((4, 14, 3)), CROWDPOSE14)).all()


def test_error_vectors_are_in_units_of_two_sigma() -> None:
    """By hand: 2 * .026 * sqrt(10000) = 5.2 pixels are one unit, to the right and down."""
    joints = one_joint(["jitter"]).assign(annotation_id=1, dx=5.2, dy=10.4)
    persons = pd.DataFrame({"annotation_id": [1], "area": [10_000.0]})
    ax = plot_error_vectors(joints, persons)
    assert np.asarray(ax.collections[0].get_offsets())[0] == pytest.approx([1, 2])
    assert ax.yaxis_inverted()


def test_error_vectors_end_at_the_edge() -> None:
    joints = one_joint(["miss"]).assign(annotation_id=1, dx=-5200.0, dy=0.0)
    persons = pd.DataFrame({"annotation_id": [1], "area": [10_000.0]})
    ax: Any = plot_error_vectors(joints, persons)
    assert np.asarray(ax.collections[0].get_offsets())[0] == pytest.approx([-3, 0])


TABLES = {
    "joints": (plots.JOINT_COLOURS, JOINT_LABELS),
    "people": (plots.PERSON_COLOURS, PERSON_LABELS),
    "owners": (plots.OWNERS, PERSON_LABELS),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_label_has_one(name: str) -> None:
    colours, labels = TABLES[name]
    assert set(colours) == set(labels)


@pytest.mark.parametrize("name", ["joints", "people"])
def test_no_two_alike(name: str) -> None:
    colours, _ = TABLES[name]
    assert len(set(colours.values())) == len(colours)


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", ["joints", "people"])
def test_seen_on_black_and_white(name: str) -> None:
    """Fills next to a name: at least 3 on black, at least 1.25 on white (the yellow)."""
    colours, _ = TABLES[name]
    for colour in colours.values():
        assert (luminance(colour) + 0.05) / 0.05 >= 3
        assert 1.05 / (luminance(colour) + 0.05) >= 1.25


def test_owners_are_those_that_are_drawn() -> None:
    assert set(plots.OWNERS.values()) == set(plots.OWNER_COLOURS)


ANALYSIS = ErrorAnalysis(random_bundle(3), AnalysisOptions(n_bootstrap=10), None, False)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of random_bundle(3), but for one that is not there."""
    return write_images(tmp_path_factory.mktemp("images"))


def test_worst_people_first() -> None:
    persons = ANALYSIS.persons
    rows = worst_people(persons, 2)
    assert "ok" not in set(rows["label"]) and rows["label"].value_counts().max() <= 2
    order = [label for label in PERSON_COLOURS if label in set(rows["label"])]
    assert list(dict.fromkeys(rows["label"])) == order
    missed = persons[persons["label"] == "never-detected"]
    shown_ids = rows.loc[rows["label"] == "never-detected", "annotation_id"]
    assert missed["area"].idxmax() in missed.index[missed["annotation_id"].isin(shown_ids)]


def test_pictures_leave_out_what_cannot_be_read(images: Path) -> None:
    said = ANALYSIS
    rows = worst_people(said.persons, 3)
    pictures = list(draw_people(said.bundle, rows, images))
    assert len(pictures) == int((rows["file_name"] != "1.png").sum())
    for one in pictures:
        assert max(one.image.size) <= 2 * 190 + 4 and "person " in one.caption


def test_picture_has_the_annotation_left_and_the_pose_right(tmp_path: Path) -> None:
    """The person stands left of where he is found: both halves show the same region."""
    box, off = (100, 100, 200, 400), (130, 100, 230, 400)
    scene = bundle([person(box)], [found(off)])
    Image.new("RGB", IMAGE, (90, 120, 90)).save(tmp_path / "1.png")
    said = ErrorAnalysis(scene, ANALYSIS.options, None, False)
    rows = said.persons.assign(detection=0)
    (one,) = draw_people(scene, rows, tmp_path)
    pixels = np.asarray(one.image).astype(int)
    half = (pixels.shape[1] - 4) // 2
    changed = [
        np.abs(part - (90, 120, 90)).sum(axis=2) > 60
        for part in (pixels[:, :half], pixels[:, -half:])
    ]
    left, right = (np.flatnonzero(part.any(axis=0)).mean() for part in changed)
    assert right > left + 3
