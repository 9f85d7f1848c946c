"""What a ray meets behind all triangles: the ground, the walls of a room, hills, clouds, sky."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tools.render.borrow import CACHE
from tools.render.layout import (
    CEIL,
    CLOUD,
    GROUND_REPEAT,
    GROUND_TEX,
    GROUND_TINT,
    HILL_C,
    HORIZON,
    PATCH,
    ROOM,
    WALL_TEX,
    WALL_TINT,
    ZENITH,
)
from tools.render.sampling import bump, mix, sample, step


@njit(cache=CACHE, error_model="numpy")
def paint_sky(env: Any, hills: Any, bumps: Any, ray: Any, out: Any) -> None:
    """Sky, clouds and far hills in a direction."""
    up = ray[1]
    t = max(up, 0.0) ** 0.55
    for c in range(3):
        out[c] = env[HORIZON + c] + (env[ZENITH + c] - env[HORIZON + c]) * t
    if up > 0.01:
        u, v = ray[0] / (up + 0.12) * 0.13, ray[2] / (up + 0.12) * 0.13
        cloud = bump(bumps, u, v, 2) + 0.35 * bump(bumps, u * 4, v * 4, 2)
        amount = step(0.45 - env[CLOUD], 1.15 - env[CLOUD], cloud) * min(up * 6, 1.0) * 0.85
        white = 1.25 * max(env[HORIZON], env[HORIZON + 2])
        mix(out, white, white, white * 1.02, amount)
    azimuth = (np.arctan2(ray[0], ray[2]) / (2 * np.pi)) % 1.0
    spot = azimuth * hills.shape[1]
    k = int(spot) % hills.shape[1]
    part, k1 = spot - np.floor(spot), (k + 1) % hills.shape[1]
    for layer in range(hills.shape[0]):
        if up < hills[layer, k] * (1 - part) + hills[layer, k1] * part:
            near = (layer + 1.0) / hills.shape[0]
            for c in range(3):
                base = env[HILL_C + c] * (
                    0.85 + 0.25 * bump(bumps, azimuth * 37, up * 9 + layer, 3)
                )
                out[c] = env[HORIZON + c] * (1 - near * 0.75) + base * near * 0.75


@njit(cache=CACHE, error_model="numpy")
def hit_room(
    env: Any, atlas: Any, eye: Any, ray: Any, pixel: float, p: Any, n: Any, out: Any
) -> Any:
    """Where a ray hits the walls of the room from inside; its colour; the distance."""
    best, axis, sign = 1e9, 0, 1.0
    for a in range(3):
        if ray[a] > 1e-6:
            t, s = (env[ROOM + 2 * a + 1] - eye[a]) / ray[a], -1.0
        elif ray[a] < -1e-6:
            t, s = (env[ROOM + 2 * a] - eye[a]) / ray[a], 1.0
        else:
            continue
        if t < best:
            best, axis, sign = t, a, s
    for c in range(3):
        p[c], n[c] = eye[c] + best * ray[c], 0.0
    n[axis] = sign
    if axis == 1:
        if sign > 0:
            return best, True
        out[0], out[1], out[2] = env[CEIL], env[CEIL + 1], env[CEIL + 2]
        return best, False
    u = p[2] if axis == 0 else p[0]
    slant = max(abs(ray[axis]), 0.05)
    sample(atlas, int(env[WALL_TEX]), u / 2.2, -p[1] / 2.2, best * pixel / 2.2 / slant, out)
    skirting = 0.45 if p[1] < 0.1 else 1.0
    for c in range(3):
        out[c] *= env[WALL_TINT + c] * skirting
    return best, False


@njit(cache=CACHE, error_model="numpy")
def paint_ground(
    env: Any, atlas: Any, bumps: Any, p: Any, t: float, pixel: float, fall: float, out: Any
) -> None:
    """Colour of the ground; ``fall`` is how steeply the ray comes down."""
    tex, tint, repeat = int(env[GROUND_TEX]), GROUND_TINT, env[GROUND_REPEAT]
    side = p[0] * env[PATCH + 1] + p[2] * env[PATCH + 2] - env[PATCH + 3]
    if env[PATCH] >= 0 and side > 0:
        tex, tint = int(env[PATCH]), PATCH + 4
    spread = t * pixel * repeat / np.sqrt(max(fall, 0.02))
    sample(atlas, tex, p[0] * repeat, p[2] * repeat, spread, out)
    large = 1 + 0.12 * bump(bumps, p[0] * 0.031, p[2] * 0.031, 2)
    large += 0.07 * bump(bumps, p[0] * 0.17, p[2] * 0.17, 2)
    for c in range(3):
        out[c] *= env[tint + c] * large
