"""From a scene to a picture: geometry, visibility, shadows, light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.render.camera import Camera
from tools.render.layout import COLUMNS, SHADOW, SUN
from tools.render.photo import photograph
from tools.render.pose3d import BONE, Rng, Vec, unit
from tools.render.raster import raster_depth, rasterise
from tools.render.shade import shade
from tools.render.textures import atlas, bumps
from tools.render.world import Person, Scene

F32 = NDArray[np.float32]
OVERSAMPLE = 2
NEAR = 0.25
SHADOW_CELLS = 1024


@dataclass(frozen=True)
class Buffers:
    """What the renderer knows about each pixel.

    Attributes:
        image: uint8 [H, W, 3] RGB, final size.
        depth: float32 [h, w] at the finer resolution, metres along the view axis.
        owner: int32 [h, w] at the finer resolution: person number, or -1.
        camera: camera of the finer resolution.
    """

    image: NDArray[np.uint8]
    depth: F32
    owner: NDArray[np.int32]
    camera: Camera


@dataclass(frozen=True)
class _Soup:
    """All triangles of a scene."""

    vertices: F32
    normals: F32
    faces: NDArray[np.int32]
    attributes: F32
    owner: NDArray[np.int32]
    table: Vec


def _soup(scene: Scene) -> _Soup:
    """Join the meshes of people and things; people come first."""
    parts: list[tuple[F32, F32, NDArray[np.int32], F32]] = []
    rows = [p.row for p in scene.people] + [t.row for t in scene.things] + [np.zeros(COLUMNS)]
    for person in scene.people:
        mesh = person.mesh
        parts.append((person.vertices, person.normals, mesh.faces, mesh.attributes))
    for thing in scene.things:
        plain = np.zeros((len(thing.vertices), 12), np.float32)
        plain[:, 3:5] = thing.uv
        vertices, normals = thing.vertices.astype(np.float32), thing.normals.astype(np.float32)
        parts.append((vertices, normals, thing.faces, plain))
    # An empty part, so that an empty scene works too.
    parts.append((np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32),
                  np.zeros((0, 3), np.int32), np.zeros((0, 12), np.float32)))  # fmt: skip
    first = np.cumsum([0] + [len(p[0]) for p in parts])
    return _Soup(
        np.concatenate([p[0] for p in parts]),
        np.concatenate([p[1] for p in parts]),
        np.concatenate([p[2] + np.int32(k) for p, k in zip(parts, first, strict=False)]),
        np.concatenate([p[3] for p in parts]),
        np.concatenate([np.full(len(p[2]), i, np.int32) for i, p in enumerate(parts)]),
        np.stack(rows),
    )


def _shadow_map(scene: Scene, soup: _Soup) -> tuple[F32, Vec]:
    """Depth seen from the sun, and its axes [4, 3]: right, down, away, origin of the map."""
    away = -unit(scene.env[SUN : SUN + 3])
    right = unit(
        np.cross(away, np.array([0.0, 1.0, 0.0]) if abs(away[1]) < 0.95 else np.array([1.0, 0, 0]))
    )
    down = np.cross(away, right)
    reach = float(np.clip(scene.subject * 1.6, 3.5, 22))
    centre = np.array([0.0, 0.5, scene.subject])
    origin = np.array([right @ centre - reach / 2 * 1.4, down @ centre - reach / 2 * 1.4, 0.0])
    span = reach * 1.4
    scene.env[SHADOW] = span
    axes = np.stack([right, down, away, origin])
    flat = soup.vertices @ np.stack([right, down, away]).T
    points = np.empty_like(soup.vertices)
    points[:, :2] = (flat[:, :2] - origin[:2]) / span * SHADOW_CELLS
    points[:, 2] = flat[:, 2]
    return raster_depth(points, soup.faces, SHADOW_CELLS), axes


def _blot(dark: F32, x: float, z: float, radius: float, amount: float) -> None:
    """Add a soft round spot to a map of 16 cells a metre."""
    cx, cz, r = x * 16 + 320, z * 16 + 32, radius * 16
    x0, x1 = max(int(cx - 2.5 * r), 0), min(int(cx + 2.5 * r) + 2, dark.shape[1])
    z0, z1 = max(int(cz - 2.5 * r), 0), min(int(cz + 2.5 * r) + 2, dark.shape[0])
    if x0 < x1 and z0 < z1:
        zz, xx = np.mgrid[z0:z1, x0:x1]
        dark[z0:z1, x0:x1] += amount * np.exp(-((xx - cx) ** 2 + (zz - cz) ** 2) / (r * r))


# Bones that darken the ground, and the radius of the spot in metres.
TOUCHING = {"l_foot": 0.17, "r_foot": 0.17, "pelvis": 0.4, "chest": 0.4, "l_hand": 0.12,
            "r_hand": 0.12, "head": 0.2}  # fmt: skip


def _contact_map(scene: Scene) -> F32:
    """Soft darkening under feet, bodies and furniture, 40 m wide and 30 m deep."""
    dark = np.zeros((512, 640), np.float32)
    for person in scene.people:
        for name, radius in TOUCHING.items():
            j = person.joints[BONE[name]]
            ahead = 0.05 * person.turns[BONE[name]][:, 2] if "foot" in name else np.zeros(3)
            height = max(float(j[1]) - 0.05, 0.03)
            amount = 0.7 * np.exp(-height / 0.35)
            _blot(dark, j[0] + ahead[0], j[2] + ahead[2], radius + 0.3 * height, amount)
            if name == "pelvis":
                _blot(dark, j[0], j[2], 0.45, 0.25)
    for thing in scene.things:
        for x, z, r in thing.footprint:
            _blot(dark, x, z, r, 0.6)
    light: F32 = np.exp(-1.1 * dark).astype(np.float32)
    return light


def _occlusion(inverse: F32, focal: float) -> F32:
    """Ambient occlusion by unsharp masking of the depth buffer (Luft et al. 2006)."""
    near = np.log(np.maximum(inverse, 1 / 60))
    out = np.ones_like(inverse)
    for radius, gain in ((0.03, 1.6), (0.12, 0.9)):
        size = np.median(inverse[inverse > 0.03]) if (inverse > 0.03).any() else 0.1
        sigma = float(np.clip(radius * focal * size, 0.8, 24))
        blurred = cv2.GaussianBlur(near, (0, 0), sigma)
        step = np.maximum(blurred - near, 0)
        out *= 1 - np.clip(gain * step * np.exp(-((step / 0.07) ** 2)) * 2, 0, 0.5)
    occlusion: F32 = out.astype(np.float32)
    return occlusion


def render(scene: Scene, rng: Rng) -> Buffers:
    """Render a scene and photograph it; ``rng`` draws lens and sensor."""
    cam = scene.camera.scaled(OVERSAMPLE)
    soup = _soup(scene)
    inverse, index, weights = rasterise(
        cam.project(soup.vertices), soup.faces, NEAR, cam.height, cam.width
    )
    shadow, axes = _shadow_map(scene, soup)
    coarse = cv2.resize(
        inverse, (scene.camera.width, scene.camera.height), interpolation=cv2.INTER_AREA
    )
    linear, depth = shade(
        (inverse, index, weights),
        (soup.faces, soup.attributes, soup.normals, soup.owner, soup.table),
        (scene.env, atlas(), bumps()),
        (scene.lamps, shadow, axes, _contact_map(scene)),
        _occlusion(coarse, scene.camera.focal),
        (scene.hills, cam.position, cam.view),
        cam.focal,
    )
    owner = np.where(index >= 0, soup.owner[np.maximum(index, 0)] if len(soup.owner) else -1, -1)
    owner = np.where(owner < len(scene.people), owner, -1).astype(np.int32)
    fine = np.divide(1, inverse, out=np.full_like(inverse, 1000), where=inverse > 0)
    return Buffers(photograph(linear, depth, scene, rng), fine, owner, cam)


def visible_people(buffers: Buffers, people: list[Person]) -> NDArray[np.int32]:
    """Person number per final pixel, int32 [H, W], -1 elsewhere."""
    height, width = buffers.image.shape[:2]
    out: NDArray[np.int32] = cv2.resize(
        buffers.owner.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST
    ).astype(np.int32)
    return out
