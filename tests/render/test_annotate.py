"""Annotations: sides, visibility, masks. Expected values follow from how the scene was posed."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from kptk.skeleton import COCO17
from tools.render.annotate import SMALL_AREA, polygons, run_lengths
from tools.render.props import box, material
from tools.render.render import visible_people

JOINT = {name: i for i, name in enumerate(COCO17.names)}


def keypoints(shot) -> np.ndarray:
    return np.array(shot.annotations[0]["keypoints"]).reshape(17, 3)


def test_left_and_right_follow_the_figure(shoot) -> None:
    front, back = keypoints(shoot(yaw=180)), keypoints(shoot(yaw=0))
    for left, right in COCO17.flip_pairs[2:]:  # the trunk; arms and legs may cross
        if COCO17.names[left] in ("left_shoulder", "left_hip"):
            assert front[left, 0] > front[right, 0]
            assert back[left, 0] < back[right, 0]


def test_the_face_is_unlabelled_from_behind(shoot) -> None:
    front, back = keypoints(shoot(yaw=180)), keypoints(shoot(yaw=0))
    for name in ("nose", "left_eye", "right_eye"):
        assert front[JOINT[name], 2] == 2
        assert (back[JOINT[name]] == 0).all()


def test_only_the_near_ear_is_labelled_in_profile(shoot) -> None:
    # Turned to face the image's right: the camera sees the figure's right side.
    points = keypoints(shoot(yaw=270))
    labelled = [n for n in ("left_ear", "right_ear") if points[JOINT[n], 2] > 0]
    assert len(labelled) == 1


def test_seen_points_lie_on_the_own_mask(shoot) -> None:
    for yaw in (0, 60, 180, 250):
        shot = shoot(yaw=yaw)
        own = visible_people(shot.buffers, shot.scene.people) == 0
        grown = np.pad(own, 1)
        for x, y, v in keypoints(shot):
            if v == 2:
                window = grown[round(y) : round(y) + 3, round(x) : round(x) + 3]
                assert window.any()


def test_area_and_box_are_those_of_the_mask(shoot) -> None:
    shot = shoot()
    (person,) = shot.annotations
    own = visible_people(shot.buffers, shot.scene.people) == 0
    ys, xs = np.nonzero(own)
    assert person["area"] == own.sum()
    expected = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    assert person["bbox"] == pytest.approx(expected)
    assert person["num_keypoints"] == (keypoints(shot)[:, 2] > 0).sum()
    assert person["full_bbox"] == pytest.approx(person["bbox"], abs=1.6)


def test_a_wall_hides_the_legs_but_not_the_full_box(shoot) -> None:
    wall = box((2.0, 0.8, 0.1), (0.0, 0.0, 1.8), material("plaster", (0.5, 0.5, 0.5)))
    points = keypoints(shoot(things=(wall,)))
    plain = keypoints(shoot())
    assert points[JOINT["left_ankle"], 2] == points[JOINT["right_ankle"], 2] == 1
    assert points[JOINT["left_ankle"], :2] == pytest.approx(plain[JOINT["left_ankle"], :2])
    assert points[JOINT["nose"], 2] == 2
    full = shoot(things=(wall,)).annotations[0]
    assert full["bbox"][3] < full["full_bbox"][3] - 20


def test_points_outside_the_image_are_not_labelled(shoot) -> None:
    points = keypoints(shoot(spot=(0.0, 1.2)))
    assert (points[JOINT["left_ankle"]] == 0).all()
    inside = points[points[:, 2] > 0]
    assert (inside[:, 0] >= 0).all()
    assert (inside[:, 0] <= 239.5).all()
    assert (inside[:, 1] <= 319.5).all()


def test_small_people_carry_no_labels(shoot) -> None:
    (person,) = shoot(spot=(0.0, 14.0)).annotations
    assert 0 < person["area"] < SMALL_AREA
    assert person["num_keypoints"] == 0
    assert person["keypoints"] == [0.0] * 51


@pytest.mark.parametrize("first", [False, True])
def test_run_lengths_decode_to_the_mask(first: bool) -> None:
    mask = np.zeros((7, 5), bool)
    mask[2:5, 1:4] = True
    mask[0, 0] = first
    rle = run_lengths(mask)
    decoded = coco_mask.decode(coco_mask.frPyObjects(rle, *rle["size"]))
    assert (decoded == mask).all()


def test_polygons_enclose_the_mask(shoot) -> None:
    shot = shoot()
    own = visible_people(shot.buffers, shot.scene.people) == 0
    rle = coco_mask.merge(coco_mask.frPyObjects(polygons(own), *own.shape))
    decoded = coco_mask.decode(rle).astype(bool)
    assert (decoded & own).sum() / (decoded | own).sum() > 0.9
