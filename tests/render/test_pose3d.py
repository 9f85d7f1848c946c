"""Skeleton: kinematics against hand-worked cases, joint limits by construction of the hinges."""

from __future__ import annotations

import numpy as np
import pytest

from tools.render.build import Build, bone_offsets
from tools.render.pose3d import ACTIONS, BONE, Pose, draw_pose, forward, reach, rest_pose, rot

ADULT = Build(1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0)
OFFSETS = bone_offsets(ADULT)


def test_at_ease_joints_lie_where_the_offsets_put_them() -> None:
    joints, turns = forward(OFFSETS, Pose())
    # By hand: 0.95 (pelvis) - 0.03 - 0.43 - 0.41; the figure's left is +x.
    assert joints[BONE["l_foot"]] == pytest.approx([0.09, 0.08, 0.0])
    assert joints[BONE["r_foot"]] == pytest.approx([-0.09, 0.08, 0.0])
    assert np.allclose(turns, np.eye(3))


@pytest.mark.parametrize(
    ("bone", "turn", "joint", "expected"),
    [
        # A left arm lifted sideways by 90 degrees points to +x.
        ("l_arm", ("z", 90), "l_forearm", (1, 0, 0)),
        # A right arm lifted sideways points to -x.
        ("r_arm", ("z", -90), "r_forearm", (-1, 0, 0)),
        # A thigh flexed by 90 degrees points forwards, +z.
        ("l_thigh", ("x", -90), "l_calf", (0, 0, 1)),
        # A bent knee takes the foot backwards, -z.
        ("l_calf", ("x", 90), "l_foot", (0, 0, -1)),
    ],
)
def test_turn_directions(bone, turn, joint, expected) -> None:
    pose = Pose()
    pose.turn(bone, turn)
    joints, _ = forward(OFFSETS, pose)
    direction = joints[BONE[joint]] - joints[BONE[bone]]
    assert direction / np.linalg.norm(direction) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("side", ["l", "r"])
def test_reach_brings_the_wrist_to_the_target(side: str) -> None:
    pose = Pose()
    target = np.array([0.2, -0.3, 0.5])
    reach(OFFSETS, pose, side, target, np.array([0.5, -1.0, 0.0]))
    joints, _ = forward(OFFSETS, pose)
    length = 0.285 + 0.25  # upper arm and forearm of the adult
    flip = np.array([1.0 if side == "l" else -1.0, 1, 1])
    wrist = joints[BONE[f"{side}_hand"]] - joints[BONE[f"{side}_arm"]]
    assert wrist == pytest.approx(target * length * flip, abs=1e-9)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_is_a_rigid_pose_with_natural_hinges(action: str) -> None:
    for seed in range(8):
        pose = draw_pose(OFFSETS, np.random.default_rng(seed), action)
        joints, turns = forward(OFFSETS, pose)
        assert np.allclose(turns @ turns.transpose(0, 2, 1), np.eye(3), atol=1e-9)
        assert np.allclose(np.linalg.det(turns), 1)
        for side in "lr":
            # The calf never bends forwards of the thigh: in the thigh's frame it points to -z.
            calf = turns[BONE[f"{side}_thigh"]].T @ (
                joints[BONE[f"{side}_foot"]] - joints[BONE[f"{side}_calf"]]
            )
            assert calf[2] < 0.02
            # The forearm never bends backwards of the upper arm.
            fore = turns[BONE[f"{side}_arm"]].T @ (
                joints[BONE[f"{side}_hand"]] - joints[BONE[f"{side}_forearm"]]
            )
            assert fore[2] > -0.02


def test_rest_pose_keeps_the_feet_level() -> None:
    _, turns = forward(OFFSETS, rest_pose())
    assert np.allclose(turns[BONE["l_foot"]], np.eye(3))


def test_rot_is_right_handed() -> None:
    assert rot("z", 90) @ [1, 0, 0] == pytest.approx([0, 1, 0])
    assert rot("x", 90) @ [0, 1, 0] == pytest.approx([0, 0, 1])
    assert rot("y", 90) @ [0, 0, 1] == pytest.approx([1, 0, 0])
