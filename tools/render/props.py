"""Things that stand around: furniture, poles, planters, trees, houses, cars."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tools.render.layout import COLUMNS, GLOW, KIND, LEAFY, REPEAT, TEX, TEXTURED, TINT
from tools.render.pose3d import Rng, Vec, rot
from tools.render.textures import TEXTURE

F32 = NDArray[np.float32]
Colour = tuple[float, float, float]


@dataclass
class Prop:
    """A thing: world-space mesh with pattern coordinates and its object-table row.

    Attributes:
        vertices: [N, 3] world.
        normals: [N, 3].
        faces: int [M, 3].
        uv: [N, 2] metres over the surface.
        row: [COLUMNS].
        footprint: [K, 3] x, z and radius of contact shadows.
    """

    vertices: Vec
    normals: Vec
    faces: NDArray[np.int32]
    uv: Vec
    row: Vec
    footprint: Vec

    def moved(self, x: float, z: float, yaw: float = 0.0, y: float = 0.0) -> Prop:
        """A copy turned by ``yaw`` degrees and moved."""
        turn = rot("y", yaw)
        foot = self.footprint.copy()
        if len(foot):
            spots = np.stack([foot[:, 0], 0 * foot[:, 0], foot[:, 1]], 1) @ turn.T
            foot[:, 0], foot[:, 1] = spots[:, 0] + x, spots[:, 2] + z
        return Prop(self.vertices @ turn.T + (x, y, z), self.normals @ turn.T, self.faces, self.uv,
                    self.row, foot)  # fmt: skip


def put(parts: list[Prop], x: float, z: float, yaw: float) -> list[Prop]:
    """All parts turned by ``yaw`` degrees and moved."""
    return [p.moved(x, z, yaw) for p in parts]


def material(texture: str, tint: Colour, repeat: float = 1.0, glow: float = 0.0,
             leafy: bool = False) -> Vec:  # fmt: skip
    """An object-table row for a textured surface; ``tint`` in linear light."""
    row = np.zeros(COLUMNS)
    row[KIND], row[TEX], row[REPEAT], row[GLOW] = (
        LEAFY if leafy else TEXTURED,
        TEXTURE[texture],
        repeat,
        glow,
    )
    row[TINT : TINT + 3] = tint
    return row


def box(size: tuple[float, float, float], at: tuple[float, float, float], row: Vec) -> Prop:
    """A box standing with its base centre at ``at``."""
    verts: list[Vec] = []
    normals: list[Vec] = []
    faces: list[tuple[int, int, int]] = []
    uv: list[tuple[float, float]] = []
    half = np.array(size) / 2
    centre = np.add(at, (0, half[1], 0))
    for axis in range(3):
        u, v = [(2, 1), (0, 2), (0, 1)][axis]
        for sign in (-1, 1):
            first = len(verts)
            for su, sv in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                p = np.zeros(3)
                p[axis], p[u], p[v] = sign * half[axis], su * half[u], sv * half[v]
                n = np.zeros(3)
                n[axis] = sign
                verts.append(centre + p)
                normals.append(n)
                uv.append((p[u] + half[u], half[v] - p[v]))
            faces += [(first, first + 1, first + 2), (first, first + 2, first + 3)]
    foot = np.array(
        [[at[0], at[2], 0.5 * max(size[0], size[2])]] if at[1] < 0.2 else np.zeros((0, 3))
    )
    return Prop(
        np.array(verts), np.array(normals), np.array(faces, np.int32), np.array(uv), row, foot
    )


def tube(r0: float, r1: float, length: float, row: Vec, sides: int = 12) -> Prop:
    """An upright tapered tube from the ground."""
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], 1)
    verts = np.concatenate([ring * r0, ring * r1 + (0, length, 0)])
    uv = np.stack([np.tile(angle * max(r0, r1), 2), np.repeat([length, 0], sides + 1)], 1)
    i = np.arange(sides)
    faces = np.concatenate(
        [np.stack([i, i + 1, i + sides + 2], 1), np.stack([i, i + sides + 2, i + sides + 1], 1)]
    )
    return Prop(verts, np.concatenate([ring, ring]), faces.astype(np.int32), uv, row,
                np.array([[0.0, 0.0, r0 + 0.08]]))  # fmt: skip


@lru_cache(maxsize=1)
def _sphere() -> tuple[Vec, NDArray[np.int32]]:
    lat, lon = np.meshgrid(np.linspace(0, np.pi, 15), np.linspace(0, 2 * np.pi, 25), indexing="ij")
    verts = np.stack(
        [np.sin(lat) * np.cos(lon), np.cos(lat), np.sin(lat) * np.sin(lon)], -1
    ).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(14), np.arange(24), indexing="ij")
    a = (i * 25 + j).ravel()
    faces = np.concatenate([np.stack([a, a + 1, a + 26], 1), np.stack([a, a + 26, a + 25], 1)])
    return verts, faces.astype(np.int32)


def blob(radii: tuple[float, float, float], at: tuple[float, float, float], row: Vec, rng: Rng,
         rough: float) -> Prop:  # fmt: skip
    """A lumpy ball, for leaves, bushes and cushions."""
    verts, faces = _sphere()
    waves = rng.normal(0, 1, (6, 3)) * 3
    phase = rng.uniform(0, 6, 6)
    bump = 1 + rough * np.sin(verts @ waves.T + phase).sum(axis=1) / 3
    shape = verts * bump[:, None] * radii
    normal = verts / radii
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    uv = np.stack([shape[:, 0] + 0.7 * shape[:, 2], shape[:, 1] + 0.3 * shape[:, 2]], 1)
    return Prop(shape + at, normal, faces, uv, row, np.zeros((0, 3)))


def _dim(rng: Rng, low: float = 0.03, high: float = 0.6) -> Colour:
    base = rng.uniform(low, high)
    c = np.clip(base * (1 + rng.normal(0, 0.25, 3)), 0.01, 0.9)
    return (float(c[0]), float(c[1]), float(c[2]))


def tree(rng: Rng) -> list[Prop]:
    """A tree of 4 to 9 m."""
    height = rng.uniform(2.2, 4.0)
    out = [
        tube(rng.uniform(0.12, 0.25), 0.08, height + 0.6, material("bark", (0.25, 0.19, 0.13), 0.8))
    ]
    green = np.clip(
        np.array([0.14, 0.24, 0.06]) * rng.uniform(0.6, 1.8) * (1 + rng.normal(0, 0.12, 3)), 0.02, 1
    )
    leaf = material("leaves", (green[0], green[1], green[2]), 0.7, leafy=True)
    crown = rng.uniform(1.0, 2.2)
    for _ in range(14):
        at = rng.normal(0, 0.42, 3) * crown + (0, height + crown * 0.7, 0)
        r = crown * rng.uniform(0.28, 0.6)
        out.append(blob((r, r * 0.85, r), (at[0], at[1], at[2]), leaf, rng, 0.22))
    return out


def bush(rng: Rng) -> list[Prop]:
    """A bush or a hedge."""
    g = rng.uniform(0.6, 1.6)
    leaf = material("leaves", (0.12 * g, 0.2 * g, 0.06 * g), 1.2, leafy=True)
    out = []
    for _ in range(4):
        r = rng.uniform(0.3, 0.6)
        out.append(
            blob(
                (r, r * 0.9, r), (rng.normal(0, 0.4), r * 0.6, rng.normal(0, 0.2)), leaf, rng, 0.16
            )
        )
    out[0].footprint = np.array([[0.0, 0.0, 0.7]])
    return out


def bench(rng: Rng) -> list[Prop]:
    """A park bench, 1.6 m, facing -z."""
    wood = material("planks", (0.45, 0.3, 0.18), 0.8)
    iron = material("metal", (0.05, 0.05, 0.06))
    out = [box((1.6, 0.05, 0.4), (0, 0.42, 0), wood), box((1.6, 0.35, 0.05), (0, 0.55, 0.2), wood)]
    out += [box((0.06, 0.42, 0.36), (x, 0, 0), iron) for x in (-0.65, 0.65)]
    return out


def chair(rng: Rng, height: float = 0.45, back: bool = True) -> list[Prop]:
    """A chair with its seat at ``height``, facing -z."""
    wood = material("planks" if rng.random() < 0.5 else "cloth", _dim(rng), 1.2)
    leg = material("metal", _dim(rng, 0.03, 0.3))
    out = [box((0.44, 0.05, 0.44), (0, height - 0.05, 0), wood)]
    out += [
        box((0.045, height - 0.05, 0.045), (x, 0, z), leg)
        for x in (-0.19, 0.19)
        for z in (-0.19, 0.19)
    ]
    if back:
        out.append(box((0.44, 0.45, 0.04), (0, height + 0.08, 0.21), wood))
    return out


def table(rng: Rng) -> list[Prop]:
    """A table."""
    wood = material("planks", _dim(rng, 0.2, 0.7), 0.8)
    w, d = rng.uniform(0.8, 1.6), rng.uniform(0.6, 0.9)
    out = [box((w, 0.04, d), (0, 0.7, 0), wood)]
    return out + [box((0.06, 0.7, 0.06), (sx * (w / 2 - 0.06), 0, sz * (d / 2 - 0.06)), wood)
                  for sx in (-1, 1) for sz in (-1, 1)]  # fmt: skip


def sofa(rng: Rng) -> list[Prop]:
    """A sofa, facing -z."""
    cloth = material("cloth", _dim(rng), 1.5)
    w = rng.uniform(1.3, 2.0)
    return [box((w, 0.42, 0.8), (0, 0, 0), cloth), box((w, 0.4, 0.22), (0, 0.42, 0.32), cloth),
            box((0.2, 0.6, 0.85), (-w / 2, 0, 0), cloth),
            box((0.2, 0.6, 0.85), (w / 2, 0, 0), cloth)]  # fmt: skip


def cabinet(rng: Rng) -> list[Prop]:
    """A cabinet or shelf."""
    size = (rng.uniform(0.6, 1.4), rng.uniform(0.7, 2.0), rng.uniform(0.3, 0.5))
    return [box(size, (0, 0, 0), material("planks", _dim(rng, 0.15, 0.7), 0.6))]


def crate(rng: Rng) -> list[Prop]:
    """A box of any kind."""
    size = (rng.uniform(0.3, 1.0), rng.uniform(0.25, 1.1), rng.uniform(0.3, 0.8))
    name = ("planks", "metal", "plaster", "brick", "cloth")[rng.integers(5)]
    return [box(size, (0, 0, 0), material(name, _dim(rng), 0.7))]


def planter(rng: Rng) -> list[Prop]:
    """A planter with a shrub."""
    out = [box((0.6, 0.45, 0.6), (0, 0, 0), material("plaster", _dim(rng, 0.2, 0.6)))]
    leaf = material("leaves", (0.12, 0.22, 0.07), 1.5, leafy=True)
    return [*out, blob((0.38, 0.4, 0.38), (0, 0.7, 0), leaf, rng, 0.2)]


def pole(rng: Rng) -> list[Prop]:
    """A street lamp or sign post."""
    iron = material("metal", _dim(rng, 0.03, 0.25))
    out = [tube(0.06, 0.045, 4.5, iron)]
    if rng.random() < 0.5:
        out.append(box((0.5, 0.5, 0.03), (0, 2.2, -0.06), material("metal", _dim(rng, 0.1, 0.7))))
    else:
        out.append(
            box((0.25, 0.12, 0.6), (0, 4.5, -0.2), material("plaster", (0.9, 0.85, 0.7), glow=1.0))
        )
    return out


def car(rng: Rng) -> list[Prop]:
    """A car, 4.2 m long, along x."""
    paint = material("metal", _dim(rng, 0.03, 0.7), 0.3)
    glass = material("metal", (0.05, 0.06, 0.07), 0.3)
    tyre = material("asphalt", (0.02, 0.02, 0.02))
    out = [box((4.2, 0.55, 1.7), (0, 0.3, 0), paint), box((2.3, 0.5, 1.5), (-0.2, 0.85, 0), glass),
           box((2.1, 0.05, 1.45), (-0.2, 1.35, 0), paint)]  # fmt: skip
    out += [box((0.12, 0.5, 1.52), (x, 0.85, 0), paint) for x in (-1.3, -0.2, 0.9)]
    for x in (-1.35, 1.35):
        for z in (-0.86, 0.86):
            wheel = blob((0.32, 0.32, 0.12), (x, 0.32, z), tyre, rng, 0.0)
            out.append(wheel)
    out[0].footprint = np.array([[x, z, 0.9] for x in (-1.4, -0.5, 0.5, 1.4) for z in (-0.3, 0.3)])
    return out


def house(rng: Rng) -> list[Prop]:
    """A building with windows."""
    w, h, d = rng.uniform(8, 18), rng.uniform(6, 22), rng.uniform(6, 10)
    name = f"facade{rng.integers(3)}"
    tone = rng.uniform(0.5, 1.1)
    row = material(
        name, (tone, tone * rng.uniform(0.85, 1.05), tone * rng.uniform(0.8, 1.05)), 1 / 11
    )
    return [box((w, h, d), (0, 0, 0), row)]


def fence(rng: Rng) -> list[Prop]:
    """A low wall or a fence, 3 m, along x."""
    name = ("brick", "planks", "plaster")[rng.integers(3)]
    return [
        box(
            (3.0, rng.uniform(0.5, 1.2), 0.15), (0, 0, 0), material(name, _dim(rng, 0.15, 0.6), 0.6)
        )
    ]
