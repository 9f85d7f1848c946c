"""Which people a choice in the figures means: counted by hand, and against the analysis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kptk
from kptk.analysis.labels import JOINT_LABELS
from kptk.widgets.choosing import NO_BOX, Choice, Findings, findings_of, inside, selection_document
from tests.widgets.demo import demo_data, evaluation_of

POSE = Choice(("pose",))
GOOD, JITTER, MISS = (JOINT_LABELS.index(name) for name in ("good", "jitter", "miss"))

# Four people on three images. Two joints of person 11 go from good to miss, one of 13 to jitter.
BY_HAND = Findings(
    image_id=np.array([1, 1, 2, 3]),
    annotation_id=np.array([11, 12, 13, 14]),
    label=np.array(["pose", "ok", "pose", "never-detected"], object),
    oks=np.array([0.2, 0.9, 0.4, np.nan]),
    oks_given=np.array([0.3, 0.95, 0.8, np.nan]),
    owner=np.array([11, 11, 12, 13]),
    before=np.array([GOOD, GOOD, GOOD, GOOD]),
    after=np.array([MISS, MISS, GOOD, JITTER]),
)


@pytest.mark.parametrize(
    ("choice", "people"),
    [
        (Choice(), [11, 12, 13, 14]),
        (POSE, [11, 13]),
        (Choice(("ok", "never-detected")), [12, 14]),
        (Choice(cell=("good", "miss")), [11]),
        (Choice(cell=("good", "jitter")), [13]),
        (Choice(cell=("miss", "good")), []),
        (Choice(outline=((0.1, 0.1), (0.9, 0.1), (0.9, 0.5), (0.1, 0.5))), [11, 13]),
    ],
)
def test_who_is_meant(choice, people):
    assert BY_HAND.people(choice) == people


def test_counts_by_hand():
    assert BY_HAND.counts["pose"] == 2 and sum(BY_HAND.counts.values()) == 4
    assert BY_HAND.joints[GOOD].tolist() == [1, 1, 0, 0, 2] and BY_HAND.joints.sum() == 4
    assert BY_HAND.images(POSE) == [1, 2]


def test_inside_a_shape_with_a_dent():
    # A U: the notch between its arms is outside.
    shape = [(0, 0), (3, 0), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)]
    x = np.array([0.5, 1.5, 2.5, 1.5, 4.0, np.nan])
    y = np.array([2.0, 2.0, 2.0, 0.5, 1.0, 1.0])
    assert inside(shape, x, y).tolist() == [True, False, True, True, False, False]


def test_people_without_a_box_have_a_place_in_the_scatter():
    known = replace(BY_HAND, oks_given=np.array([0.3, 0.95, 0.8, 0.6]))
    low = Choice(outline=((0, NO_BOX - 0.05), (1, NO_BOX - 0.05), (1, -0.01), (0, -0.01)))
    assert known.people(low) == [14]
    assert BY_HAND.people(low) == []  # without a pose on the true box there is no place


def test_clicks():
    assert Choice().with_bar("ok", False) == Choice(("ok",))
    assert POSE.with_bar("ok", False) == Choice(("ok",))
    assert POSE.with_bar("ok", True) == Choice(("pose", "ok"))
    assert POSE.with_bar("pose", True) == POSE.with_bar("pose", False) == Choice()
    cell = POSE.with_cell(("good", "miss"))
    assert cell == Choice(cell=("good", "miss")) and not cell.with_cell(("good", "miss"))


def test_the_figures_of_an_analysis():
    analysis = kptk.analyze(evaluation_of(demo_data()), n_bootstrap=0, progress=False)
    found = findings_of(analysis, analysis.joint_labels_given)
    persons = analysis.persons
    assert found.annotation_id.tolist() == persons["annotation_id"].tolist()
    assert found.counts["ok"] == (persons["label"] == "ok").sum() > 0
    assert found.joints.tolist() == analysis.transitions.to_numpy().tolist()
    assert list(found.table.columns) == ["image_id", "annotation_id", "label", "oks"]


def test_a_selection_is_whole_images():
    data = demo_data()
    analysis = kptk.analyze(evaluation_of(data), n_bootstrap=0, progress=False)
    found = findings_of(analysis, analysis.joint_labels_given)
    image = data.image_ids[0]
    person = int(found.annotation_id[found.image_id == image][0])
    alone = replace(found, label=np.where(found.annotation_id == person, "pose", "ok"))
    content = selection_document(data, alone, POSE, {"det_threshold": 0.5})
    assert [record["id"] for record in content["images"]] == [image]
    assert len(content["annotations"]) == len(data.annotations(image)) > 1
    assert content["kptk_selection"] == {
        "annotation_ids": [person], "chosen": "pose", "det_threshold": 0.5,
    }  # fmt: skip
