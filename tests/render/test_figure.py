"""Figures: closed skinned surfaces of human measures."""

from __future__ import annotations

import numpy as np
import pytest

from tools.render.body import GROUPS, Cone
from tools.render.figure import figure, figure_mesh
from tools.render.pose3d import BONES
from tools.render.raster import skin


def test_mesh_is_skinned_and_points_outwards() -> None:
    mesh = figure_mesh(2, True)
    assert mesh.shares.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert mesh.bones.min() >= 0
    assert mesh.bones.max() < len(BONES)
    assert mesh.attributes.shape == (len(mesh.vertices), 5 + GROUPS)
    assert mesh.faces.max() < len(mesh.vertices)
    # Outward normals enclose a positive volume (divergence theorem); an adult holds 40 to 160 l.
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = mesh.normals[mesh.faces].sum(axis=1)
    volume = np.einsum(
        "ij,ij->i", corners.mean(axis=1), cross * np.sign((cross * outward).sum(1))[:, None]
    )
    assert 0.04 < volume.sum() / 6 < 0.16


@pytest.mark.parametrize("number", range(6))
def test_figures_have_human_heights(number: int) -> None:
    mesh = figure_mesh(number, True)
    height = np.ptp(mesh.vertices[:, 1])
    assert 0.9 < height < 2.1
    assert height > 5 * 0.2 * figure(number).build.head  # five heads at least


def test_skinning_with_identity_changes_nothing() -> None:
    mesh = figure_mesh(2, True)
    eye = np.tile(np.eye(3, dtype=np.float32), (len(BONES), 1, 1))
    still = np.zeros((len(BONES), 3), np.float32)
    verts, normals = skin(mesh.vertices, mesh.normals, mesh.bones, mesh.shares, eye, still)
    assert verts == pytest.approx(mesh.vertices, abs=1e-5)
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1, abs=1e-4)


def test_mirrored_cone_swaps_side_and_sign() -> None:
    cone = Cone("l_arm", (1, 2, 3), (4, 5, 6), 0.1, 0.2, grid="body+l_hand").mirrored()
    assert (cone.bone, cone.a, cone.b, cone.grid) == (
        "r_arm",
        (-1, 2, 3),
        (-4, 5, 6),
        "body+r_hand",
    )
