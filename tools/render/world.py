"""What a scene consists of, and how a person comes to stand in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tools.render.body import F32, Mesh
from tools.render.camera import Camera
from tools.render.figure import Figure, figure, figure_mesh
from tools.render.looks import person_row
from tools.render.pose3d import Rng, Vec, draw_pose, forward, rest_pose, rot
from tools.render.props import Prop
from tools.render.raster import skin


@dataclass
class Person:
    """A posed person in the world.

    Attributes:
        figure: who.
        vertices: float32 [N, 3] world.
        normals: float32 [N, 3].
        joints: [21, 3] world.
        turns: [21, 3, 3] bone frames in the world.
        row: object-table row.
        crowd: part of a crowd region.
        action: name of the action.
        mesh: the surface at rest, detailed or coarse.
    """

    figure: Figure
    vertices: F32
    normals: F32
    joints: Vec
    turns: Vec
    row: Vec
    crowd: bool
    action: str
    mesh: Mesh


@dataclass
class Scene:
    """Everything the renderer needs.

    Attributes:
        camera: the camera.
        env: surroundings vector, see ``tools.render.layout``.
        lamps: [L, 6] position and colour.
        hills: [layers, columns] height of the ridges as the sine of the elevation.
        people: in the order of their annotations.
        things: everything else made of triangles.
        indoors: whether a room surrounds it.
        night: whether it is night.
        subject: distance the camera is focused on, metres.
    """

    camera: Camera
    env: Vec
    lamps: Vec
    hills: Vec
    people: list[Person] = field(default_factory=list)
    things: list[Prop] = field(default_factory=list)
    indoors: bool = False
    night: bool = False
    subject: float = 5.0


def place_person(
    rng: Rng,
    number: int,
    action: str | None,
    spot: tuple[float, float],
    yaw: float,
    crowd: bool = False,
    fine: bool = True,
) -> Person:
    """Pose a pool figure and put it on the ground.

    Args:
        rng: draws the pose and the colours.
        number: of the figure.
        action: a key of ``pose3d.ACTIONS``; None draws one.
        spot: x and z in metres.
        yaw: degrees about the vertical; 0 faces +z, away from the camera.
        crowd: part of a crowd region.
        fine: use the detailed mesh.
    """
    who = figure(number)
    pose = draw_pose(who.offsets, rng, action)
    rest_joints, rest_turns = forward(who.offsets, rest_pose())
    pose.local[0] = rot("y", yaw) @ pose.local[0]
    joints, turns = forward(who.offsets, pose, np.array([spot[0], 0.0, spot[1]]))
    relative = turns @ rest_turns.transpose(0, 2, 1)
    shifts = joints - np.einsum("bij,bj->bi", relative, rest_joints)
    mesh = figure_mesh(number, not fine)
    verts, normals = skin(mesh.vertices, mesh.normals, mesh.bones, mesh.shares,
                          relative.astype(np.float32), shifts.astype(np.float32))  # fmt: skip
    up = -float(verts[:, 1].min()) + (pose.lift if pose.contact == "air" else 0.0)
    verts[:, 1] += up
    joints[:, 1] += up
    row = person_row(rng, who)
    return Person(who, verts, normals, joints, turns, row, crowd, pose.name, mesh)
