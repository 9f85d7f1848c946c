"""The browser's image: a pure function. Expected values are worked out by hand."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kptk.instances import Instances
from kptk.skeleton import COCO17
from kptk.widgets.album import Scene
from kptk.widgets.picture import (
    ANNOTATED,
    Heat,
    Look,
    State,
    View,
    box_areas,
    cut,
    draw,
    fit,
    joint_marks,
    pairs,
    region_around,
    render,
    ring_radii,
)

SIZE = (200, 300)  # height, width
LOOK = Look(box_threshold=0.5, pixels=(300, 200))


def poses(boxes, scores, ids=None):
    boxes = np.array(boxes, float).reshape(-1, 4)
    points = np.full((len(boxes), 17, 3), 0.9)
    points[..., 0] = boxes[:, [0]] + 10
    points[..., 1] = boxes[:, [1]] + 5 * np.arange(17)
    return Instances(
        image_ids=np.ones(len(boxes), int),
        boxes=boxes,
        scores=np.array(scores, float),
        keypoints=points,
        areas=np.full(len(boxes), 3600.0),
        ids=np.full(len(boxes), -1) if ids is None else np.array(ids),
        crowd=np.zeros(len(boxes), bool),
    )


def scene(detected=None, given=None, truth=True):
    """A grey image with a person at (100, 50) of 60 x 100 pixels, and what is found on it."""
    box = np.array([[100.0, 50, 160, 150]])
    people = poses(box, [1], ids=[7])
    people.keypoints[..., 2] = 2
    return Scene(
        1, "a.jpg", np.full((*SIZE, 3), 90, np.uint8),
        poses(box, [0.8]) if detected is None else detected, given, people if truth else None,
        COCO17, (128, 96),
    )  # fmt: skip


def test_the_same_state_gives_the_same_picture():
    first, second = render(State(scene(), LOOK)), render(State(scene(), LOOK))
    assert first == second
    assert Image.open(io.BytesIO(first)).size == (300, 200)


@pytest.mark.parametrize(
    "change",
    [
        {"box_threshold": 0.9},  # leaves the person out
        {"kpt_threshold": 0.95},  # hollow joints, no limbs
        {"poses": False},
        {"truth": False},
        {"crops": True},
        {"rings": True},
        {"selected": 0},
        {"focus": 7},
        {"region": (100.0, 50.0, 250.0, 150.0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_changes_the_picture(change):
    before, after = draw(State(scene(), LOOK)), draw(State(scene(), replace(LOOK, **change)))
    assert (before != after).any()


def test_nothing_shown_is_the_image_itself():
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    bare = replace(LOOK, poses=False, truth=False)
    assert (draw(State(replace(scene(), image=image), bare)) == image).all()


def test_a_label_is_written_in_its_colour():
    labelled = draw(State(scene(), LOOK, {7: ("pose", "#D55E00")}))
    assert (labelled == (0xD5, 0x5E, 0x00)).all(axis=2).sum() > 100  # the plate


def test_thresholds_act_on_detected_boxes_only():
    two = poses([[0, 0, 50, 90], [100, 50, 160, 150]], [0.49, 0.5])
    given = poses([[100, 50, 160, 150]], [0.1], ids=[7])
    state = State(scene(two, given), LOOK)
    assert state.shown.tolist() == [1]
    assert State(scene(two, given), replace(LOOK, on=ANNOTATED)).shown.tolist() == [0]


def test_rings_are_where_the_similarity_is_what_they_say():
    # OKS's summand at the two distances, from its definition: e = d^2 / (2 area (2 sigma)^2)
    near, far = ring_radii(3600.0, 0.05)
    for distance, wanted in ((near, 0.85), (far, 0.5)):
        assert np.exp(-(distance**2) / (2 * 3600 * 0.1**2)) == pytest.approx(wanted)


def test_a_ring_is_drawn_at_its_radius():
    one = scene(poses([[100, 50, 160, 150]], [0.8]))
    only_nose = np.full((1, 17, 3), np.nan)
    only_nose[0, 0] = 150, 100, 2
    truth = replace(one.truth, keypoints=only_nose)
    before = draw(State(replace(one, truth=truth), LOOK))
    after = draw(State(replace(one, truth=truth), replace(LOOK, rings=True)))
    radius = ring_radii(3600.0, COCO17.sigmas[0])[1]  # 3.67 pixels
    assert (before != after)[100, round(150 + radius)].any()
    assert not (before != after)[100, round(150 + radius) + 4].any()


def test_pairs_by_box_best_first_each_person_once():
    truth = scene().truth
    found = poses([[100, 50, 160, 150], [102, 50, 162, 150], [0, 0, 40, 40]], [0.6, 0.9, 0.99])
    assert pairs(found, truth, np.arange(3)) == [(1, 0)]
    assert pairs(found, truth, np.array([0])) == [(0, 0)]
    assert pairs(found, replace(truth, crowd=np.array([True])), np.arange(3)) == []


def test_pairs_by_annotation_id():
    truth = scene().truth
    given = poses([[0, 0, 9, 9], [100, 50, 160, 150]], [1, 1], ids=[8, 7])
    assert pairs(given, truth, np.arange(2)) == [(1, 0)]


def test_a_region_is_cut_to_the_pixel():
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert (cut(image, (5, 4, 20, 14), (15, 10)) == image[4:14, 5:20]).all()
    halved = cut(image, (0, 0, 30, 20), (15, 10))
    assert halved[3, 2] == pytest.approx(image[6:8, 4:6].mean(axis=(0, 1)), abs=0.51)
    doubled = cut(image, (0, 0, 30, 20), (60, 40))  # pixel (2, 3) fills (4, 6) to (5, 7)
    near = doubled[6:8, 4:6].astype(float).mean(axis=(0, 1))
    assert near == pytest.approx(_three_by_three(image, 3, 2), abs=2)


def _three_by_three(image, y, x):
    """Bilinear samples a quarter pixel off the centre: weights 1/8, 3/4, 1/8 along each axis."""
    weights = np.array([0.125, 0.75, 0.125])
    part = image[y - 1 : y + 2, x - 1 : x + 2].astype(float)
    return np.einsum("i,j,ijc->c", weights, weights, part)


def test_outside_of_the_image_is_grey():
    image = np.full((20, 30, 3), 200, np.uint8)
    shown = cut(image, (-30, -20, 30, 20), (60, 40))
    assert (shown[5, 5] == 96).all() and (shown[30, 50] == 200).all()


def test_view_puts_pixel_centres_on_pixel_centres():
    # by hand: 3 times as large, from the edge at 10: pixel 10 covers 0..2, its centre is 1
    view = View((10.0, 20.0), 3.0)
    assert view.points(np.array([[10.0, 20.0, 0.7]])).tolist() == [[1.0, 1.0, 0.7]]
    assert view.boxes(np.array([[10.0, 20.0, 11.0, 21.0]])).tolist() == [[1, 1, 4, 4]]


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ((100, 80, 130, 100), (89.5, 73.0, 140.5, 107.0)),  # 30 x 20 x 1.7, centred
        ((0, 0, 30, 20), (0, 0, 51, 34)),  # pushed inside
        ((0, 0, 300, 200), (0, 0, 300, 200)),  # never larger than the image
    ],
)
def test_region_around_a_person(box, wanted):
    assert region_around(np.array(box, float), SIZE) == pytest.approx(wanted)


def test_fit():
    assert fit((200, 300, 3), 960) == (960, 640)
    assert fit((4000, 10, 3), 640) == (2, 640)


def test_heat_lies_where_its_cells_are():
    values = np.zeros((32, 24), np.float32)
    values[16, 12] = 0.7
    heat = Heat(values, (100.0, 40.0), 2.0, "nose")  # the peak at 124, 72
    bare = replace(LOOK, poses=False, truth=False)
    changed = (draw(State(scene(), bare, heat=heat)) != 90).any(axis=2)
    ys, xs = np.nonzero(changed)
    assert (xs.mean(), ys.mean()) == pytest.approx((124, 72), abs=0.6)


def test_marks_tell_the_numbers():
    marks = joint_marks(State(scene(), LOOK))
    assert len(marks) == 34  # 17 annotated, 17 placed
    assert marks[0] == [110.5, 50.5, "nose, annotated, visible"]
    assert marks[17][2].startswith("nose  score 0.90  at 110.0, 50.0\n0.0 px off, similarity 1.00")
    alone = joint_marks(State(scene(truth=False), LOOK))
    assert alone[0][2] == "nose  score 0.90  at 110.0, 50.0"


def test_areas_tell_boxes_and_can_be_selected():
    areas = box_areas(State(scene(), LOOK, {7: ("pose", "#D55E00")}))
    assert areas == [
        [100, 50, 160, 150, "detected, score 0.80", 0],
        [100, 50, 160, 150, "annotated person 7: pose", -1],
    ]


def test_a_page_about_a_person_has_their_rings_and_crops_only():
    two = poses([[0, 0, 50, 90], [100, 50, 160, 150]], [0.9, 0.8])
    assert State(scene(two), LOOK).chosen.tolist() == [0, 1]
    assert State(scene(two), replace(LOOK, focus=7)).chosen.tolist() == [1]
    assert State(scene(two), replace(LOOK, focus=7, selected=0)).chosen.tolist() == [0]


def test_labels_of_people_who_stand_together_do_not_cover_each_other():
    one = scene()
    two = replace(Instances.concatenate([one.truth] * 2), ids=np.array([7, 8]))
    labels = {7: ("never-detected", "#5F7183"), 8: ("pose", "#D55E00")}
    shown = draw(State(replace(one, truth=two), LOOK, labels))
    plates = [(shown == colour).all(axis=2) for colour in ((0x5F, 0x71, 0x83), (0xD5, 0x5E, 0))]
    rows = [np.flatnonzero(plate.sum(axis=1) > 15) for plate in plates]
    assert rows[1].max() < rows[0].min()
