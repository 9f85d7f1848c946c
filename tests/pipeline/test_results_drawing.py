"""kptk.pipeline.results: what is drawn where. Expected values are by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kptk.errors import InputError
from kptk.pipeline.results import COLOURS, draw_poses
from kptk.skeleton import COCO17

LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, NOSE = 5, 6, 7, 0


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A grey picture; one person of whom no joint is known yet."""
    image = np.full((200, 200, 3), 128, np.uint8)
    boxes = np.array([[20, 20, 180, 180]], np.float32)
    return image, boxes, np.array([0.9], np.float32), np.full((1, 17, 3), np.nan, np.float32)


def has(image: np.ndarray, side: str, x: int, y: int, reach: int = 1) -> bool:
    spot = image[y - reach : y + reach + 1, x - reach : x + reach + 1].reshape(-1, 3)
    return bool((abs(spot.astype(int) - COLOURS[side]) < 40).all(axis=1).any())


def test_input_is_not_modified_and_the_picture_is_new() -> None:
    image, boxes, scores, keypoints = scene()
    before = image.copy()
    drawn = draw_poses(image, boxes, scores, keypoints)
    assert (image == before).all()
    assert drawn.dtype == np.uint8
    assert drawn.shape == image.shape
    assert not np.shares_memory(image, drawn)


def test_read_only_and_strided_images() -> None:
    image, boxes, scores, keypoints = scene()
    image.flags.writeable = False
    draw_poses(image[:, ::-1], boxes, scores, keypoints)


@pytest.mark.parametrize(
    ("joint", "side"), [(LEFT_SHOULDER, "left"), (RIGHT_SHOULDER, "right"), (NOSE, "centre")]
)
def test_joints_have_the_colour_of_their_side(joint: int, side: str) -> None:
    image, boxes, scores, keypoints = scene()
    keypoints[0, joint] = (100, 90, 0.8)
    drawn = draw_poses(image, boxes, scores, keypoints)
    assert (drawn[90, 100] == COLOURS[side]).all()


def test_a_joint_below_the_threshold_is_hollow() -> None:
    image, boxes, scores, keypoints = scene()
    keypoints[0, LEFT_SHOULDER] = (100, 90, 0.3)
    solid = draw_poses(image, boxes, scores, keypoints, kpt_threshold=0.3)
    assert (solid[90, 100] == COLOURS["left"]).all()
    hollow = draw_poses(image, boxes, scores, keypoints, kpt_threshold=0.31)
    assert (hollow[90, 100] != COLOURS["left"]).any()
    assert has(hollow, "left", 100, 90, reach=6)


def test_limbs_only_between_joints_above_the_threshold() -> None:
    image, boxes, scores, keypoints = scene()
    keypoints[0, LEFT_SHOULDER] = (60, 100, 0.8)
    keypoints[0, LEFT_ELBOW] = (140, 100, 0.8)
    assert has(draw_poses(image, boxes, scores, keypoints), "left", 100, 100)
    keypoints[0, LEFT_ELBOW, 2] = 0.1
    assert not has(draw_poses(image, boxes, scores, keypoints), "left", 100, 100)
    keypoints[0, LEFT_ELBOW] = np.nan
    assert not has(draw_poses(image, boxes, scores, keypoints), "left", 100, 100)


def test_the_limb_between_left_and_right_is_neutral() -> None:
    image, boxes, scores, keypoints = scene()
    keypoints[0, LEFT_SHOULDER] = (60, 100, 0.8)
    keypoints[0, RIGHT_SHOULDER] = (140, 100, 0.8)
    assert has(draw_poses(image, boxes, scores, keypoints), "centre", 100, 100)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_limbs_stand_out_on_any_background(grey: int) -> None:
    """Somewhere across a limb two neighbours differ by more than 100 grey levels."""
    image, boxes, scores, keypoints = scene()
    image[:] = grey
    keypoints[0, LEFT_SHOULDER] = (60, 100, 0.8)
    keypoints[0, LEFT_ELBOW] = (140, 100, 0.8)
    across = draw_poses(image, boxes, scores, keypoints)[90:110, 100].astype(int).sum(axis=1) / 3
    assert np.ptp(across) > 100


def test_nothing_known_draws_nothing() -> None:
    image, boxes, scores, keypoints = scene()
    boxes[:] = np.nan
    assert (draw_poses(image, boxes, scores, keypoints) == image).all()
    none = draw_poses(image, boxes[:0], scores[:0], keypoints[:0])
    assert (none == image).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 400, 3), (400, 2, 3)])
@pytest.mark.parametrize("far", [-1e9, 1e9, 0.0])
def test_odd_pictures_and_far_away_people(shape: tuple[int, int, int], far: float) -> None:
    _, boxes, scores, keypoints = scene()
    keypoints[:] = 0.5
    keypoints[..., :2] = far
    boxes += np.float32(far)
    assert draw_poses(np.zeros(shape, np.uint8), boxes, scores, keypoints).shape == shape


def test_shapes_that_do_not_fit_say_so() -> None:
    image, boxes, scores, keypoints = scene()
    with pytest.raises(InputError, match=r"\(1, 17, 3\)"):
        draw_poses(image, boxes, scores, keypoints[:, :5])
    assert len(COCO17) == 17


def test_a_box_lies_on_its_pixels_between_dark_lines() -> None:
    image, boxes, scores, keypoints = scene()
    boxes[0] = (20.4, 50.3, 179.6, 150.2)
    row = draw_poses(image, boxes, scores, keypoints)[100]
    assert (row[20] == COLOURS["centre"]).all()
    assert (row[180] == COLOURS["centre"]).all()
    assert (row[[19, 21, 179, 181]] < 40).all()
    assert (row[[17, 23, 100, 177, 183]] == 128).all()


@pytest.mark.parametrize("lies", [True, False])
@pytest.mark.parametrize(("size", "width"), [(160, 2), (320, 4)])
def test_limbs_are_as_wide_as_a_person_of_that_size_shall_have(
    lies: bool, size: int, width: int
) -> None:
    """A pixel for every 80 of the person; the outermost ones may be blended."""
    image = np.full((640, 640, 3), 128, np.uint8)
    boxes = np.array([[100, 100, 100 + size, 100 + size]], np.float32)
    keypoints = np.full((1, 17, 3), np.nan, np.float32)
    keypoints[0, LEFT_SHOULDER] = (110, 110, 0.8)
    keypoints[0, LEFT_ELBOW] = (90 + size, 110, 0.8) if lies else (110, 90 + size, 0.8)
    drawn = draw_poses(image, boxes, np.array([0.9], np.float32), keypoints)
    middle = 100 + size // 2
    across = drawn[105:116, middle] if lies else drawn[middle, 105:116]
    coloured = (across == COLOURS["left"]).all(axis=1).sum()
    assert width - 1 <= coloured <= width + 1


@pytest.mark.parametrize("end", [(140, 100), (100, 160), (150, 150), (60, 60)])
def test_a_limb_lies_between_its_joints_with_a_dark_edge_on_each_side(
    end: tuple[int, int],
) -> None:
    image, boxes, scores, keypoints = scene()
    start = np.array([100, 100])
    keypoints[0, LEFT_SHOULDER] = (*start, 0.8)
    keypoints[0, LEFT_ELBOW] = (*end, 0.8)
    drawn = draw_poses(image, boxes, scores, keypoints)
    along = (np.array(end) - start) / np.linalg.norm(np.array(end) - start)
    middle = (start + np.array(end)) / 2

    def at(offset: float) -> np.ndarray:
        x, y = np.rint(middle + offset * along[::-1] * (-1, 1)).astype(int)
        return drawn[y, x].astype(int)

    assert (abs(at(0) - COLOURS["left"]) < 40).all()
    assert all((at(side * 5) == 128).all() for side in (-1, 1))
    assert all(min(at(side * d).max() for d in (1.5, 2, 2.5)) < 128 for side in (-1, 1))


@pytest.mark.parametrize("side", [np.inf, -np.inf, np.nan])
def test_an_infinite_box_is_left_out(side: float) -> None:
    image, boxes, scores, keypoints = scene()
    boxes[0] = side
    assert (draw_poses(image, boxes, scores, keypoints) == image).all()


def test_a_person_without_a_box_is_as_large_as_its_joints() -> None:
    """Limbs are in proportion: those of a person of 800 pixels are wider than of one of 80."""
    image = np.full((1000, 1000, 3), 128, np.uint8)
    boxes = np.full((1, 4), np.nan, np.float32)
    coloured = []
    for size in (80, 800):
        keypoints = np.full((1, 17, 3), np.nan, np.float32)
        keypoints[0, LEFT_SHOULDER] = (100, 100, 0.8)
        keypoints[0, LEFT_ELBOW] = (100 + size, 100, 0.8)
        drawn = draw_poses(image, boxes, np.array([0.9], np.float32), keypoints)
        across = drawn[:, 100 + size // 2].astype(int)
        coloured.append((abs(across - COLOURS["left"]) < 60).all(axis=1).sum())
    assert 1 <= coloured[0] < coloured[1]
