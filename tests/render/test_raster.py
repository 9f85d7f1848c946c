"""The rasteriser and the camera, against triangles worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tools.render.camera import Camera, look_at
from tools.render.raster import raster_depth, rasterise

FACES = np.array([[0, 1, 2]], np.int32)


def test_rasterise_covers_the_triangle_and_interpolates_depth() -> None:
    points = np.array([[0, 0, 1], [8, 0, 2], [0, 8, 4]], np.float32)
    inverse, index, weights = rasterise(points, FACES, 0.1, 10, 10)
    # Pixels with x + y <= 8 lie inside: 9 * 10 / 2.
    assert (index == 0).sum() == 45
    assert inverse[0, 0] == pytest.approx(1)
    assert inverse[0, 8] == pytest.approx(1 / 2)
    # Halfway between depths 1 and 2 on screen, inverse depth is the mean of 1 and 1/2.
    assert inverse[0, 4] == pytest.approx(0.75)
    assert weights[0, 4] == pytest.approx([0.5 * 0.5 / 0.75, 0])


def test_rasterise_keeps_the_nearest_and_drops_what_is_too_near() -> None:
    near = [[0, 0, 1], [8, 0, 1], [0, 8, 1]]
    far = [[0, 0, 3], [8, 0, 3], [0, 8, 3]]
    points = np.array(far + near, np.float32)
    faces = np.array([[3, 4, 5], [0, 1, 2]], np.int32)
    assert (rasterise(points, faces, 0.1, 9, 9)[1] != 1).all()
    assert (rasterise(points, faces, 2.0, 9, 9)[1] != 0).all()


def test_shadow_map_keeps_the_smallest_depth() -> None:
    points = np.array([[0, 0, 5], [8, 0, 5], [0, 8, 5]], np.float32)
    depth = raster_depth(points, FACES, 10)
    assert depth[0, 0] == 5
    assert depth[9, 9] > 1e8


def test_camera_projects_left_and_up() -> None:
    eye = np.array([0.0, 1.0, 0.0])
    camera = Camera(101, 101, 100.0, eye, look_at(eye, np.array([0.0, 1.0, 5.0]), 0.0))
    # +x is to the left of a camera that looks along +z with y up.
    x, y, depth = camera.project(np.array([[1.0, 2.0, 4.0]]))[0]
    assert (x, y, depth) == pytest.approx((50 - 25, 50 - 25, 4))
