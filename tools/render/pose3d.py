"""The 3-D skeleton: bones, forward kinematics, two-bone arm reach, and a library of actions.

World axes are those of a figure that faces +z: x to the figure's own left, y up, metres.
Every bone's frame is the identity when the figure stands at ease with hanging arms (palms inward).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vec = NDArray[np.float64]
Rng = np.random.Generator

BONES = (
    "pelvis", "spine", "chest", "neck", "head",
    "l_clavicle", "l_arm", "l_forearm", "l_hand", "l_fingers",
    "r_clavicle", "r_arm", "r_forearm", "r_hand", "r_fingers",
    "l_thigh", "l_calf", "l_foot", "r_thigh", "r_calf", "r_foot",
)  # fmt: skip
PARENTS = (-1, 0, 1, 2, 3, 2, 5, 6, 7, 8, 2, 10, 11, 12, 13, 0, 15, 16, 0, 18, 19)
BONE = {name: i for i, name in enumerate(BONES)}
SIDES = (("l", 1.0), ("r", -1.0))


def rot(axis: str, degrees: float) -> Vec:
    """Rotation matrix [3, 3] about a coordinate axis, right-handed, in degrees."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    if axis == "x":
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    if axis == "y":
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def unit(v: Vec) -> Vec:
    """``v`` scaled to length 1."""
    out: Vec = v / max(float(np.linalg.norm(v)), 1e-9)
    return out


@dataclass
class Pose:
    """Local rotations of all bones, and how the figure meets its surroundings.

    Attributes:
        local: [21, 3, 3] rotation of each bone relative to its parent.
        contact: "feet" (lowest point on the ground), "seat" (pelvis on a seat) or "air".
        lift: height above the ground in metres for "air".
        name: the action.
    """

    local: Vec = field(default_factory=lambda: np.tile(np.eye(3), (len(BONES), 1, 1)))
    contact: str = "feet"
    lift: float = 0.0
    name: str = "stand"

    def turn(self, bone: str, *turns: tuple[str, float]) -> None:
        """Append rotations (axis, degrees) to a bone's local frame, left to right."""
        for axis, degrees in turns:
            self.local[BONE[bone]] = self.local[BONE[bone]] @ rot(axis, degrees)


def forward(offsets: Vec, pose: Pose, root: Vec | None = None) -> tuple[Vec, Vec]:
    """Forward kinematics.

    Args:
        offsets: [21, 3] each bone's start relative to its parent's start, standing at ease.
        pose: local rotations.
        root: position of the pelvis, default its offset.

    Returns:
        Joint positions [21, 3] and global rotations [21, 3, 3].
    """
    joints = np.zeros((len(BONES), 3))
    turns = np.zeros((len(BONES), 3, 3))
    for i, parent in enumerate(PARENTS):
        if parent < 0:
            joints[i], turns[i] = offsets[i] if root is None else root, pose.local[i]
        else:
            joints[i] = joints[parent] + turns[parent] @ offsets[i]
            turns[i] = turns[parent] @ pose.local[i]
    return joints, turns


def rest_pose() -> Pose:
    """The A-pose in which bodies are modelled: arms 48 degrees out, legs 9 degrees out."""
    pose = Pose(name="rest")
    for side, sign in SIDES:
        pose.turn(f"{side}_arm", ("z", 48 * sign))
        pose.turn(f"{side}_thigh", ("z", 9 * sign))
        pose.turn(f"{side}_foot", ("z", -9 * sign))
    return pose


def reach(offsets: Vec, pose: Pose, side: str, target: Vec, pole: Vec, twist: float = 0.0) -> None:
    """Bend one arm so that its wrist comes to ``target`` (two-bone inverse kinematics).

    Args:
        offsets: bone offsets of the figure, metres.
        pose: changed in place.
        side: "l" or "r".
        target: wrist position in the chest's frame relative to the shoulder, in arm lengths,
            with x outwards for either side.
        pole: direction the elbow points to, in the same axes.
        twist: turn of the hand about the forearm, degrees, positive turns the palm down.
    """
    sign = 1.0 if side == "l" else -1.0
    flip = np.array([sign, 1.0, 1.0])
    arm, fore, hand = (BONE[f"{side}_{b}"] for b in ("arm", "forearm", "hand"))
    upper, lower = np.linalg.norm(offsets[fore]), np.linalg.norm(offsets[hand])
    clavicle = pose.local[BONE[f"{side}_clavicle"]]
    goal = clavicle.T @ (target * flip * (upper + lower))
    longest = 0.995 * (upper + lower)
    length = float(np.clip(np.linalg.norm(goal), 0.35 * upper, longest))
    axis = unit(goal)
    out = clavicle.T @ (pole * flip)
    out = unit(out - axis * float(out @ axis))
    cos = float(np.clip((upper**2 + length**2 - lower**2) / (2 * upper * length), -1, 1))
    elbow = upper * (cos * axis + np.sqrt(1 - cos * cos) * out)
    d1, d2 = unit(elbow), unit(axis * length - elbow)
    z = unit(d2 - d1 * float(d2 @ d1))
    frame1 = np.stack([np.cross(-d1, z), -d1, z], axis=1)
    frame2 = np.stack([frame1[:, 0], -d2, np.cross(frame1[:, 0], -d2)], axis=1)
    pose.local[arm] = frame1
    pose.local[fore] = frame1.T @ frame2 @ rot("y", -0.5 * twist * sign)
    pose.local[hand] = rot("y", -0.5 * twist * sign)


def _leg(pose: Pose, side: str, flex: float, knee: float, out: float = 4.0, turn: float = 6.0,
         foot: float | None = None) -> None:  # fmt: skip
    """Set one leg: hip flexion, knee flexion, abduction, outward turn; foot None = kept level."""
    sign = 1.0 if side == "l" else -1.0
    pose.turn(f"{side}_thigh", ("z", out * sign), ("x", -flex), ("y", turn * sign))
    pose.turn(f"{side}_calf", ("x", knee))
    level = flex - knee if foot is None else foot
    pose.turn(f"{side}_foot", ("x", float(np.clip(level, -45, 25))), ("z", -out * sign))


def _hang(pose: Pose, side: str, flex: float, elbow: float, out: float = 8.0,
          turn: float = 10.0) -> None:  # fmt: skip
    """Set one arm by angles: shoulder flexion, elbow flexion, abduction, inward turn."""
    sign = 1.0 if side == "l" else -1.0
    pose.turn(f"{side}_arm", ("x", -flex), ("z", out * sign), ("y", -turn * sign))
    pose.turn(f"{side}_forearm", ("x", -elbow))


# Arm gestures: wrist target (outward, up, forward; arm lengths from the shoulder), elbow pole,
# palm twist. Mean values; noise is added when drawn.
GESTURES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], float]] = {
    "hip": ((0.02, -0.72, 0.10), (1.0, -0.1, -0.45), 60),
    "phone": ((-0.06, 0.22, 0.14), (0.5, -1.0, 0.1), 0),
    "text": ((-0.18, -0.28, 0.52), (0.5, -1.0, -0.2), -40),
    "wave": ((0.38, 0.48, 0.22), (0.8, -0.6, 0.0), 60),
    "up": ((0.12, 0.93, 0.08), (0.8, 0.0, -0.6), 60),
    "side": ((0.93, 0.05, 0.05), (0.0, -0.6, -0.8), 70),
    "front": ((-0.12, 0.0, 0.9), (0.5, -0.8, 0.0), 60),
    "cross": ((-0.36, -0.36, 0.34), (0.7, -0.6, 0.3), 60),
    "clasp": ((-0.26, -0.62, 0.36), (0.7, -0.5, -0.4), 30),
    "chin": ((-0.24, 0.08, 0.3), (0.3, -1.0, 0.1), -30),
    "head": ((0.0, 0.40, -0.02), (1.0, 0.3, 0.0), 40),
    "hold": ((-0.08, -0.34, 0.5), (0.4, -1.0, -0.1), 20),
    "behind": ((-0.18, -0.72, -0.34), (0.6, -0.2, -0.8), 40),
    "pocket": ((0.02, -0.83, 0.1), (0.6, 0.0, -0.8), 30),
    "knee": ((-0.05, -0.62, 0.62), (0.8, -0.5, -0.2), 70),
    "floor": ((-0.02, -0.9, 0.3), (0.5, 0.0, -0.6), 70),
}


def _gesture(pose: Pose, offsets: Vec, side: str, name: str, rng: Rng) -> None:
    target, pole, twist = GESTURES[name]
    goal = np.array(target) + rng.normal(0, 0.05, 3)
    lift = float(np.clip(30 * goal[1] + 8 * rng.normal(), -6, 30))
    pose.turn(f"{side}_clavicle", ("z", lift if side == "l" else -lift))
    reach(offsets, pose, side, goal, np.array(pole) + rng.normal(0, 0.1, 3),
          twist + rng.normal(0, 15))  # fmt: skip


def _arms(pose: Pose, offsets: Vec, rng: Rng, names: tuple[str, ...]) -> None:
    """Draw what each arm does among ``names``; "" hangs loosely."""
    both = rng.random() < 0.4
    first = names[rng.integers(len(names))]
    for i, (side, _) in enumerate(SIDES):
        name = first if both or i == 0 else names[rng.integers(len(names))]
        if first in ("cross", "clasp", "front"):
            name = first
        if name:
            _gesture(pose, offsets, side, name, rng)
        else:
            _hang(pose, side, rng.normal(2, 9), abs(rng.normal(14, 10)), 7 + abs(rng.normal(0, 5)))


def _stand(pose: Pose, offsets: Vec, rng: Rng) -> None:
    wide = abs(rng.normal(4, 4))
    bend = abs(rng.normal(0, 8, 2)) * (rng.random() < 0.5)
    for (side, _), b in zip(SIDES, bend, strict=True):
        _leg(pose, side, 0.5 * b + rng.normal(0, 3), b, wide, rng.normal(10, 6))
    names = ("", "", "", "", "hip", "phone", "text", "cross", "clasp", "wave", "chin", "hold",
             "behind", "pocket", "up", "side", "head", "front")  # fmt: skip
    _arms(pose, offsets, rng, names)


def _stride(pose: Pose, rng: Rng, size: float, knee: float, elbow: float) -> None:
    phase = rng.uniform(0, 2 * np.pi)
    for k, (side, _) in enumerate(SIDES):
        s = np.sin(phase + np.pi * k)
        swing = max(0.0, np.cos(phase + np.pi * k))
        bend = 5 + knee * (0.25 + 0.75 * swing) * (1 - 0.35 * max(s, 0))
        toe = None if s > 0 else float(np.clip(-size * s * 0.6, 0, 30))
        _leg(pose, side, size * s + 0.2 * bend, bend, rng.normal(2, 1.5), rng.normal(4, 3), toe)
        _hang(pose, side, -0.9 * size * s + rng.normal(0, 4),
              elbow + abs(rng.normal(0, 8)), 8 + abs(rng.normal(0, 4)), 12)  # fmt: skip


def _walk(pose: Pose, offsets: Vec, rng: Rng) -> None:
    _stride(pose, rng, rng.uniform(14, 28), rng.uniform(30, 50), rng.uniform(10, 35))
    if rng.random() < 0.3:
        side = "lr"[rng.integers(2)]
        for bone in ("arm", "forearm"):
            pose.local[BONE[f"{side}_{bone}"]] = np.eye(3)
        name = ("phone", "text", "hold", "wave", "pocket")[rng.integers(5)]
        _gesture(pose, offsets, side, name, rng)


def _run(pose: Pose, offsets: Vec, rng: Rng) -> None:
    _stride(pose, rng, rng.uniform(32, 48), rng.uniform(70, 110), rng.uniform(70, 100))
    pose.turn("pelvis", ("x", rng.uniform(6, 16)))
    if rng.random() < 0.5:
        pose.contact, pose.lift = "air", float(rng.uniform(0.02, 0.12))


def _sit(pose: Pose, offsets: Vec, rng: Rng) -> None:
    pose.contact = "seat"
    pose.turn("pelvis", ("x", rng.normal(-4, 6)))
    crossed = rng.random() < 0.2
    for k, (side, _) in enumerate(SIDES):
        flex, out = rng.normal(84, 5), abs(rng.normal(8, 6))
        if crossed and k == 0:
            _leg(pose, side, flex + 16, rng.uniform(55, 80), -12, 0, 10)
        else:
            _leg(pose, side, flex, rng.normal(82, 14), out, rng.normal(5, 6))
    pose.turn("spine", ("x", rng.normal(6, 8)))
    names = ("knee", "knee", "knee", "text", "cross", "hold", "chin", "clasp", "phone", "wave", "")
    _arms(pose, offsets, rng, names)


def _squat(pose: Pose, offsets: Vec, rng: Rng) -> None:
    depth = rng.uniform(60, 118)
    for side, _ in SIDES:
        _leg(pose, side, depth + rng.normal(0, 5), min(depth * 1.18, 138), rng.uniform(8, 22), 14)
    pose.turn("pelvis", ("x", 0.22 * depth))
    pose.turn("spine", ("x", rng.uniform(0, 15)))
    _arms(pose, offsets, rng, ("knee", "front", "hold", "text", "clasp", "floor"))


def _bend(pose: Pose, offsets: Vec, rng: Rng) -> None:
    tilt = rng.uniform(20, 60)
    pose.turn("pelvis", ("x", tilt))
    pose.turn("spine", ("x", rng.uniform(5, 25)))
    for side, _ in SIDES:
        knee = abs(rng.normal(12, 12))
        _leg(pose, side, tilt + 0.6 * knee, knee, 4 + abs(rng.normal(0, 4)), 6, 0.4 * -knee)
    _arms(pose, offsets, rng, ("floor", "hold", "front", "knee", "hip"))


def _kick(pose: Pose, offsets: Vec, rng: Rng) -> None:
    leg = "lr"[rng.integers(2)]
    other = "r" if leg == "l" else "l"
    _leg(pose, leg, rng.uniform(-30, 85), rng.uniform(10, 70), rng.uniform(2, 22), 10, -20)
    knee = rng.uniform(5, 30)
    _leg(pose, other, 0.5 * knee, knee, 3, 8)
    pose.turn("pelvis", ("x", rng.normal(-6, 6)))
    _arms(pose, offsets, rng, ("side", "", "wave", "front", "hip"))


def _jump(pose: Pose, offsets: Vec, rng: Rng) -> None:
    star = rng.random() < 0.5
    for side, _ in SIDES:
        if star:
            _leg(
                pose, side, rng.normal(8, 8), abs(rng.normal(10, 10)), rng.uniform(18, 38), 10, -25
            )
        else:
            _leg(pose, side, rng.uniform(10, 60), rng.uniform(30, 100), rng.uniform(2, 14), 8, -25)
    _arms(pose, offsets, rng, ("up", "up", "side", "wave"))
    pose.contact, pose.lift = "air", float(rng.uniform(0.1, 0.55))


def _lie(pose: Pose, offsets: Vec, rng: Rng) -> None:
    for side, _ in SIDES:
        knee = abs(rng.normal(0, 40))
        _leg(pose, side, 0.55 * knee, min(knee, 110), abs(rng.normal(6, 5)), 12, -20)
    _arms(pose, offsets, rng, ("", "", "up", "side", "head", "clasp", "wave"))
    flat = rot("x", -90) if rng.random() < 0.75 else rot("x", 90)
    pose.local[0] = flat @ rot("y", rng.normal(0, 18)) @ pose.local[0]


def _crawl(pose: Pose, offsets: Vec, rng: Rng) -> None:
    pose.turn("pelvis", ("x", rng.uniform(70, 85)))
    for side, _ in SIDES:
        _leg(pose, side, rng.uniform(65, 100), rng.uniform(75, 100), 5, 0, -35)
    for side, _ in SIDES:
        _gesture(pose, offsets, side, "front", rng)
    pose.turn("neck", ("x", -30))
    pose.turn("head", ("x", -rng.uniform(5, 25)))


def _lunge(pose: Pose, offsets: Vec, rng: Rng) -> None:
    front, back = ("l", "r") if rng.random() < 0.5 else ("r", "l")
    deep = rng.uniform(25, 75)
    _leg(pose, front, deep, deep * 1.05, rng.uniform(2, 14), 8)
    _leg(pose, back, -0.45 * deep, 0.35 * deep, rng.uniform(2, 14), 8, 25)
    pose.turn("pelvis", ("x", rng.uniform(0, 12)))
    _arms(pose, offsets, rng, ("hip", "up", "side", "front", "wave", ""))


ACTIONS: dict[str, tuple[float, Callable[[Pose, Vec, Rng], None]]] = {
    "stand": (0.40, _stand), "walk": (0.20, _walk), "run": (0.07, _run), "sit": (0.12, _sit),
    "squat": (0.04, _squat), "bend": (0.04, _bend), "kick": (0.03, _kick), "jump": (0.03, _jump),
    "lie": (0.015, _lie), "crawl": (0.01, _crawl), "lunge": (0.045, _lunge),
}  # fmt: skip


def draw_pose(offsets: Vec, rng: Rng, action: str | None = None) -> Pose:
    """Draw a pose.

    Args:
        offsets: [21, 3] the figure's bone offsets (for reaching).
        rng: source of randomness.
        action: a key of ``ACTIONS``; None draws one.
    """
    if action is None:
        weights = np.array([w for w, _ in ACTIONS.values()])
        action = list(ACTIONS)[rng.choice(len(weights), p=weights / weights.sum())]
    pose = Pose(name=action)
    ACTIONS[action][1](pose, offsets, rng)
    lean = rng.normal(0, 1, 3) * (3, 5, 3)
    for bone, share in (("spine", 0.6), ("chest", 0.6)):
        pose.turn(bone, *zip("xyz", lean * share, strict=True))
    nod = np.clip(rng.normal((4, 0, 0), (9, 20, 5)), -45, 45)
    pose.turn("neck", *zip("xyz", nod * 0.4, strict=True))
    pose.turn("head", *zip("xyz", nod * 0.6, strict=True))
    for side, sign in SIDES:
        curl = abs(rng.normal(12, 22))
        pose.turn(f"{side}_fingers", ("z", -min(curl, 80) * sign))
        pose.turn(f"{side}_hand", ("z", rng.normal(0, 8)), ("x", rng.normal(0, 8)))
    return pose
