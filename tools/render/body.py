"""Figures as smooth unions of cones, turned into skinned triangle meshes.

A figure is modelled once, in the A-pose, as a list of ``Cone`` parts grouped by what they are
made of (skin, top, bottom, ...). Marching cubes makes the surface; the group that lies outermost
at a vertex decides its material, and the distances to all bones give its skinning weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tools.render.borrow import CACHE, borrow
from tools.render.pose3d import BONE, BONES, Vec, forward, rest_pose

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
Triple = tuple[float, float, float]

SKIN, TOP, BOTTOM, SHOE, HAIR, HAT, BAG = range(7)
GROUPS = 7
HEAD_FLAG = 10.0  # added to the rest y of head vertices, whose rest coordinates are head-local
SKIRT = "skirt"


@dataclass(frozen=True)
class Cone:
    """A cone with round or flat ends in a bone's frame, metres.

    Attributes:
        bone: bone it moves with ("skirt" shares pelvis and thighs).
        a: start.
        b: end.
        ra: radius at the start.
        rb: radius at the end.
        scale: the shape is round after multiplying each axis by this (< 1 widens).
        blend: smoothness of the union with the parts before it.
        group: material group.
        grid: "body", "head", "l_hand" or "r_hand", several joined by "+".
        flat: "" round ends, "b" cut at the end, "ab" cut at both.
        cut: carved out of its group instead of added.
    """

    bone: str
    a: Triple
    b: Triple
    ra: float
    rb: float
    scale: Triple = (1.0, 1.0, 1.0)
    blend: float = 0.03
    group: int = SKIN
    grid: str = "body"
    flat: str = ""
    cut: bool = False

    def grown(self, by: float, group: int, blend: float | None = None) -> Cone:
        """A copy as a layer of clothing, thicker by ``by``."""
        wide = by * max(self.scale)
        return replace(self, ra=self.ra + wide, rb=self.rb + wide, group=group,
                       blend=self.blend if blend is None else blend)  # fmt: skip

    def scaled(self, by: float) -> Cone:
        """The same part in another size."""
        (ax, ay, az), (bx, by_, bz) = self.a, self.b
        return replace(self, a=(ax * by, ay * by, az * by), b=(bx * by, by_ * by, bz * by),
                       ra=self.ra * by, rb=self.rb * by)  # fmt: skip

    def mirrored(self) -> Cone:
        """The part of the other side."""
        bone = "r" + self.bone[1:] if self.bone.startswith("l_") else self.bone
        (ax, ay, az), (bx, by, bz) = self.a, self.b
        return replace(self, bone=bone, a=(-ax, ay, az), b=(-bx, by, bz),
                       grid=self.grid.replace("l_hand", "r_hand"))  # fmt: skip


@dataclass(frozen=True)
class Mesh:
    """A skinned surface.

    Attributes:
        vertices: float32 [N, 3] at rest.
        normals: float32 [N, 3].
        faces: int32 [M, 3].
        bones: int32 [N, 4].
        shares: float32 [N, 4].
        attributes: float32 [N, 12]: rest position 3, pattern coordinates 2, group fields 7.
    """

    vertices: F32
    normals: F32
    faces: I32
    bones: I32
    shares: F32
    attributes: F32


def pack(cones: Iterable[Cone]) -> Vec:
    """Cones as rows of numbers for the compiled functions, float64 [P, 16]."""
    rows = []
    for c in cones:
        bone = BONE["pelvis"] if c.bone == SKIRT else BONE[c.bone]
        flat = ("b" in c.flat) + 2 * ("a" in c.flat)
        rows.append((*c.a, *c.b, c.ra, c.rb, *c.scale, c.blend, c.group, bone, flat, c.cut))
    return np.array(rows, np.float64)


@njit(cache=CACHE, error_model="numpy")
def _distance(rows: Any, p: int, joints: Any, turns: Any, x: float, y: float, z: float) -> Any:
    """Distance of a point to one part, negative inside."""
    bone = int(rows[p, 13])
    dx, dy, dz = x - joints[bone, 0], y - joints[bone, 1], z - joints[bone, 2]
    qx = turns[bone, 0, 0] * dx + turns[bone, 1, 0] * dy + turns[bone, 2, 0] * dz
    qy = turns[bone, 0, 1] * dx + turns[bone, 1, 1] * dy + turns[bone, 2, 1] * dz
    qz = turns[bone, 0, 2] * dx + turns[bone, 1, 2] * dy + turns[bone, 2, 2] * dz
    sx, sy, sz = rows[p, 8], rows[p, 9], rows[p, 10]
    ax, ay, az = (qx - rows[p, 0]) * sx, (qy - rows[p, 1]) * sy, (qz - rows[p, 2]) * sz
    bx, by, bz = (
        (rows[p, 3] - rows[p, 0]) * sx,
        (rows[p, 4] - rows[p, 1]) * sy,
        (rows[p, 5] - rows[p, 2]) * sz,
    )
    length2 = bx * bx + by * by + bz * bz
    along = (ax * bx + ay * by + az * bz) / length2 if length2 > 1e-12 else 0.0
    t = min(max(along, 0.0), 1.0)
    rx, ry, rz = ax - t * bx, ay - t * by, az - t * bz
    d = np.sqrt(rx * rx + ry * ry + rz * rz) - (rows[p, 6] + t * (rows[p, 7] - rows[p, 6]))
    flat = int(rows[p, 14])
    if flat:
        length = np.sqrt(length2)
        if flat & 1:
            d = max(d, (along - 1.0) * length)
        if flat & 2:
            d = max(d, -along * length)
    return d / max(sx, sy, sz)


@njit(cache=CACHE, error_model="numpy")
def _blend(rows: Any, joints: Any, turns: Any, x: float, y: float, z: float, out: Any) -> Any:
    """Distance to each group into ``out``; returns the smallest."""
    for g in range(out.shape[0]):
        out[g] = 1.0
    for p in range(rows.shape[0]):
        g, k = int(rows[p, 12]), rows[p, 11]
        d = _distance(rows, p, joints, turns, x, y, z)
        old = out[g]
        if rows[p, 15] > 0:
            h = max(k - abs(old + d), 0.0) / k
            out[g] = max(old, -d) + h * h * k * 0.25
        else:
            h = max(k - abs(old - d), 0.0) / k
            out[g] = min(old, d) - h * h * k * 0.25
    best = out[0]
    for g in range(1, out.shape[0]):
        best = min(best, out[g])
    return best


@njit(cache=CACHE, error_model="numpy")
def _fields(parts: Any, bones: Any, frames: Any, points: Any, groups: int) -> Any:
    """Distance to each group, float32 [N, groups] (1 where a group is absent)."""
    result = np.zeros((points.shape[0], groups), np.float32)
    scratch = np.zeros(groups)
    rows, joints, turns, out = borrow(parts), borrow(bones), borrow(frames), borrow(scratch)
    for n in range(points.shape[0]):
        _blend(rows, joints, turns, points[n, 0], points[n, 1], points[n, 2], out)
        for g in range(groups):
            result[n, g] = out[g]
    return result


@njit(cache=CACHE, error_model="numpy")
def _bone_distances(parts: Any, bones: Any, frames: Any, points: Any, count: int) -> Any:
    """Distance to the nearest part of each bone, float32 [N, count]."""
    out = np.full((points.shape[0], count), np.float32(1.0))
    rows, joints, turns = borrow(parts), borrow(bones), borrow(frames)
    for n in range(points.shape[0]):
        for p in range(rows.shape[0]):
            if rows[p, 15] > 0:
                continue
            bone = int(rows[p, 13])
            d = _distance(rows, p, joints, turns, points[n, 0], points[n, 1], points[n, 2])
            out[n, bone] = min(out[n, bone], d)
    return out


@njit(cache=CACHE, error_model="numpy")
def _volume(parts: Any, bones: Any, frames: Any, low: Any, voxel: float, shape: Any) -> Any:
    """Signed distance on a grid, float32; blocks far from the surface hold one value."""
    nx, ny, nz = shape
    volume = np.zeros((nx, ny, nz), np.float32)
    scratch = np.zeros(7)
    rows, joints, turns, out = borrow(parts), borrow(bones), borrow(frames), borrow(scratch)
    block = 4
    half = 0.5 * (block - 1) * voxel
    reach = 0.5 * block * voxel * 1.8 + 0.012
    for bx in range(0, nx, block):
        for by in range(0, ny, block):
            for bz in range(0, nz, block):
                x, y, z = low[0] + bx * voxel, low[1] + by * voxel, low[2] + bz * voxel
                middle = _blend(rows, joints, turns, x + half, y + half, z + half, out)
                near = abs(middle) <= reach
                for i in range(min(block, nx - bx)):
                    for j in range(min(block, ny - by)):
                        for k in range(min(block, nz - bz)):
                            d = middle
                            if near:
                                d = _blend(
                                    rows,
                                    joints,
                                    turns,
                                    x + i * voxel,
                                    y + j * voxel,
                                    z + k * voxel,
                                    out,
                                )
                            volume[bx + i, by + j, bz + k] = d
    return volume


def _bounds(cones: list[Cone], joints: Vec, turns: Vec) -> tuple[Vec, Vec]:
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for c in cones:
        bone = BONE["pelvis"] if c.bone == SKIRT else BONE[c.bone]
        r = max(c.ra, c.rb) / min(c.scale)
        for end in (c.a, c.b):
            p = joints[bone] + turns[bone] @ np.array(end)
            low, high = np.minimum(low, p - r), np.maximum(high, p + r)
    return low, high


def _weights(cones: list[Cone], joints: Vec, turns: Vec, points: F32) -> tuple[I32, F32]:
    """The four strongest bones of each vertex and their shares."""
    rigid = [c for c in cones if c.bone != SKIRT]
    skirts = [c for c in cones if c.bone == SKIRT]
    d = _bone_distances(pack(rigid), joints, turns, points.astype(np.float64), len(BONES))
    w = np.exp(-(d - d.min(axis=1, keepdims=True)) / 0.016)
    if skirts:
        own = _fields(pack(skirts), joints, turns, points.astype(np.float64), GROUPS).min(axis=1)
        on = np.clip(0.5 - own / 0.02, 0, 1) * np.clip(1.5 - (own - d.min(axis=1)) / 0.02, 0, 1)
        x, y = points[:, 0], points[:, 1]
        hip = joints[BONE["l_thigh"]]
        leg = np.clip((hip[1] + 0.06 - y) / 0.25, 0, 1) * 0.8
        left = np.clip(0.5 + x / (4 * hip[0]), 0, 1)
        soft = np.zeros_like(w)
        soft[:, BONE["pelvis"]] = 1 - leg
        soft[:, BONE["l_thigh"]], soft[:, BONE["r_thigh"]] = leg * left, leg * (1 - left)
        w = w / w.sum(axis=1, keepdims=True) * (1 - on[:, None]) + soft * on[:, None]
    bones = np.argsort(-w, axis=1, kind="stable")[:, :4].astype(np.int32)
    shares = np.take_along_axis(w, bones, axis=1)
    shares = shares / shares.sum(axis=1, keepdims=True)
    return bones, shares.astype(np.float32)


def _surface(cones: list[Cone], joints: Vec, turns: Vec, voxel: float) -> tuple[F32, I32, F32]:
    from skimage.measure import marching_cubes

    low, high = _bounds([c for c in cones if not c.cut], joints, turns)
    low, high = low - 2 * voxel, high + 2 * voxel
    nx, ny, nz = (int(n) for n in np.ceil((high - low) / voxel) + 1)
    volume = _volume(pack(cones), joints, turns, low, voxel, (nx, ny, nz))
    verts, faces, normals, _ = marching_cubes(
        volume, 0.0, spacing=(voxel,) * 3, gradient_direction="ascent"
    )
    return (verts + low).astype(np.float32), faces.astype(np.int32), (-normals).astype(np.float32)


def build_mesh(offsets: Vec, cones: list[Cone], head_scale: float, coarse: bool = False) -> Mesh:
    """Polygonise a figure.

    Args:
        offsets: [21, 3] bone offsets.
        cones: its parts.
        head_scale: size of the head relative to an adult's.
        coarse: a lighter mesh for figures that stand far away.
    """
    joints, turns = forward(offsets, rest_pose())
    grids = {"body": 0.014, "head": 0.0062 * head_scale, "l_hand": 0.0068, "r_hand": 0.0068}
    pieces: list[Mesh] = []
    count = 0
    for name, voxel in grids.items():
        own = [c for c in cones if name in c.grid.split("+")]
        v, f, n = _surface(own, joints, turns, voxel * (2.0 if coarse else 1.0))
        bones, shares = _weights(own, joints, turns, v)
        fields = -_fields(pack(own), joints, turns, v.astype(np.float64), GROUPS)
        attributes = np.concatenate(
            [_rest(v, bones, shares, joints, turns, name, head_scale), fields], 1
        )
        pieces.append(Mesh(v, n, f + count, bones, shares, attributes.astype(np.float32)))
        count += len(v)
    return Mesh(*(np.concatenate([getattr(p, k) for p in pieces]) for k in Mesh.__annotations__))


def _rest(v: F32, bones: I32, shares: F32, joints: Vec, turns: Vec, grid: str,
          head_scale: float) -> Vec:  # fmt: skip
    """Rest coordinates and pattern coordinates of vertices, [N, 5]; seamless between bones."""
    uv = np.zeros((len(v), 2))
    for k in range(4):
        bone = bones[:, k]
        local = np.einsum("nji,nj->ni", turns[bone], v - joints[bone])[:, :2]
        uv += shares[:, k : k + 1] * (local + joints[bone][:, :2] - (0, 1.0))
    rest = v.astype(np.float64)
    if grid == "head":
        head = BONE["head"]
        rest = (v - joints[head]) @ turns[head] / head_scale - (0, 0.085, 0.02)
        rest[:, 1] += HEAD_FLAG
    return np.concatenate([rest, uv], axis=1)
