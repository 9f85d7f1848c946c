"""COCO person_keypoints annotations of a rendered scene.

Visibility: 2 seen, 1 inside the image but hidden, 0 not labelled: outside the image, or a point of
the face (nose, eyes, ears) behind the own head, as COCO's annotators do.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kptk.skeleton import COCO17
from tools.render.pose3d import BONE, Vec
from tools.render.render import Buffers, visible_people
from tools.render.world import Person, Scene

SMALL_AREA = 32.0**2  # COCO labels no keypoints on people below this visible area

# Middle of the head in the head bone's frame, metres of an adult's head.
HEAD_CENTRE = (0.0, 0.085, 0.02)
# Points of the face relative to it, the direction they look to, and the cosine to the camera below
# which the own head hides them.
HEAD_POINTS = {
    "nose": ((0.0, -0.022, 0.119), (0.0, 0.0, 1.0), -0.30),
    "left_eye": ((0.0315, 0.0105, 0.088), (0.42, 0.0, 0.91), -0.02),
    "left_ear": ((0.083, -0.006, -0.006), (1.0, 0.0, -0.12), 0.0),
}
FACE_DEPTH = 0.03  # a point of the face counts as seen if the surface is nearer by less, metres
# Bone whose start is the joint, bone whose frame carries the offset (hips and shoulders ride on the
# trunk, so that they stay put when the limb turns), offset at size 1, depth below the surface.
BODY_POINTS = {
    "left_shoulder": ("l_arm", "l_clavicle", (0.005, 0.012, 0.0), 0.11),
    "left_elbow": ("l_forearm", "l_forearm", (0.0, 0.008, 0.0), 0.085),
    "left_wrist": ("l_hand", "l_hand", (0.0, 0.0, 0.0), 0.07),
    "left_hip": ("l_thigh", "pelvis", (0.018, -0.014, 0.0), 0.16),
    "left_knee": ("l_calf", "l_calf", (0.0, 0.0, 0.0), 0.11),
    "left_ankle": ("l_foot", "l_calf", (0.0, 0.025, 0.0), 0.09),
}


def _mirror(v: tuple[float, float, float], side: str) -> Vec:
    return np.array(v) * (-1 if side == "right" else 1, 1, 1)


def _bone(name: str, side: str) -> int:
    return BONE[name.replace("l_", "r_", 1) if side == "right" else name]


def _key(joint: int) -> str:
    """Name of a joint, or of its left twin."""
    return COCO17.names[joint].replace("right_", "left_")


def keypoints_3d(person: Person) -> tuple[Vec, Vec, NDArray[np.bool_]]:
    """Keypoints in the world.

    Returns:
        positions [17, 3], depth tolerances [17] in metres, whether it is a point of the face [17].
    """
    points, slack, face = np.zeros((17, 3)), np.zeros(17), np.zeros(17, bool)
    build = person.figure.build
    for i in range(17):
        key, side = _key(i), COCO17.side(i)
        if key in HEAD_POINTS:
            joint = carrier = BONE["head"]
            offset = (_mirror(HEAD_POINTS[key][0], side) + np.array(HEAD_CENTRE)) * build.head
            slack[i], face[i] = FACE_DEPTH, True
        else:
            own, rider, place, depth = BODY_POINTS[key]
            joint, carrier = _bone(own, side), _bone(rider, side)
            offset = _mirror(place, side) * build.size
            slack[i] = depth * build.size
        points[i] = person.joints[joint] + person.turns[carrier] @ offset
    return points, slack, face


def _faces_camera(person: Person, eye: Vec, points: Vec) -> NDArray[np.bool_]:
    """Whether each joint is on the camera's side of the head; True off the head, [17]."""
    out = np.ones(17, bool)
    for i in range(17):
        if _key(i) in HEAD_POINTS:
            _, outward, limit = HEAD_POINTS[_key(i)]
            normal = person.turns[BONE["head"]] @ _mirror(outward, COCO17.side(i))
            towards = eye - points[i]
            out[i] = float(normal @ towards) / float(np.linalg.norm(towards)) > limit
    return out


def label_keypoints(person: Person, number: int, scene: Scene, buffers: Buffers) -> Vec:
    """Keypoints [17, 3]: x, y (pixels), v (0, 1, 2)."""
    points, slack, face = keypoints_3d(person)
    xyz = scene.camera.project(points)
    fine = buffers.camera.project(points)
    turned = _faces_camera(person, scene.camera.position, points)
    out = np.zeros((17, 3))
    height, width = buffers.image.shape[:2]
    for i, (x, y, z) in enumerate(xyz):
        inside = z > 0.1 and -0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5
        if not inside or not turned[i]:
            continue
        rows, columns = buffers.depth.shape
        fx = int(np.clip(round(float(fine[i, 0])), 0, columns - 1))
        fy = int(np.clip(round(float(fine[i, 1])), 0, rows - 1))
        own = buffers.owner[fy, fx] == number
        seen = own and buffers.depth[fy, fx] > z - slack[i]
        if face[i] and own and not seen:
            continue
        out[i] = (max(x, 0.0), max(y, 0.0), 2 if seen else 1)
    return out


def polygons(mask: NDArray[np.bool_]) -> list[list[int]]:
    """Outlines of a mask as COCO polygons, simplified by less than a pixel."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    out = []
    for contour in found:
        if len(contour) < 3 or cv2.contourArea(contour) < 2:
            continue
        simple = cv2.approxPolyDP(contour, 0.75, True)
        points = simple if len(simple) >= 3 else contour
        out.append([int(v) for v in points.ravel()])
    return out


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask as COCO's uncompressed RLE: lengths of runs down the columns, zeros first."""
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], starts, [flat.size]]))
    zeros_first = [0] if flat[0] else []
    return {"size": list(mask.shape), "counts": zeros_first + [int(c) for c in counts]}


def _box(mask: NDArray[np.bool_]) -> list[float]:
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [float(xs[0]), float(ys[0]), float(xs[-1] - xs[0] + 1), float(ys[-1] - ys[0] + 1)]


def _full_box(person: Person, scene: Scene) -> list[float]:
    """Box x, y, w, h of the whole figure, hidden and outside parts included."""
    xyz = scene.camera.project(person.vertices)
    xy = xyz[xyz[:, 2] > 0.1, :2]
    if not len(xy):
        return [0.0, 0.0, 0.0, 0.0]
    low, high = xy.min(axis=0), xy.max(axis=0)
    return [round(float(v), 2) for v in (*low, *(high - low))]


def _flat(points: Vec) -> list[float]:
    """Keypoints as COCO stores them: x, y to a tenth of a pixel, v."""
    return [v for x, y, seen in points for v in (round(float(x), 1), round(float(y), 1), int(seen))]


def annotate(scene: Scene, buffers: Buffers) -> list[dict[str, Any]]:
    """Annotations of one image, without ids."""
    numbers = visible_people(buffers, scene.people)
    out: list[dict[str, Any]] = []
    crowd = np.zeros(numbers.shape, bool)
    for i, person in enumerate(scene.people):
        mask = numbers == i
        if person.crowd:
            crowd |= mask
            continue
        area = int(mask.sum())
        outline = polygons(mask)
        if area < 24 or not outline:
            continue
        points = (
            label_keypoints(person, i, scene, buffers) if area >= SMALL_AREA else np.zeros((17, 3))
        )
        out.append({
            "category_id": 1, "iscrowd": 0, "area": float(area), "bbox": _box(mask),
            "segmentation": outline, "full_bbox": _full_box(person, scene),
            "keypoints": _flat(points),
            "num_keypoints": int((points[:, 2] > 0).sum()),
        })  # fmt: skip
    if crowd.sum() >= 50:
        joined = (
            cv2.morphologyEx(crowd.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
        )
        out.append({
            "category_id": 1, "iscrowd": 1, "area": float(joined.sum()), "bbox": _box(joined),
            "segmentation": run_lengths(joined), "full_bbox": _box(joined),
            "keypoints": [0] * 51, "num_keypoints": 0,
        })  # fmt: skip
    return out
