"""Light that falls on a point: sun with its shadow, sky, ground, lamps, dark corners."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tools.render.borrow import CACHE
from tools.render.layout import BOUNCE, SHADOW, SKY_C, SUN, SUN_C


@njit(cache=CACHE, error_model="numpy")
def _shadow(env: Any, depth: Any, axes: Any, p: Any) -> Any:
    """Share of sun light that reaches a point (3 x 3 taps of the shadow map)."""
    size = depth.shape[0]
    span, bias, soft = env[SHADOW], env[SHADOW + 1], env[SHADOW + 2]
    lx = (axes[0, 0] * p[0] + axes[0, 1] * p[1] + axes[0, 2] * p[2] - axes[3, 0]) / span * size
    ly = (axes[1, 0] * p[0] + axes[1, 1] * p[1] + axes[1, 2] * p[2] - axes[3, 1]) / span * size
    lz = axes[2, 0] * p[0] + axes[2, 1] * p[1] + axes[2, 2] * p[2]
    if lx < 8 or ly < 8 or lx >= size - 8 or ly >= size - 8:
        return 1.0
    lit = 0.0
    for i in range(-1, 2):
        for j in range(-1, 2):
            x, y = int(lx + i * soft + 0.5), int(ly + j * soft + 0.5)
            if depth[y, x] > lz - bias:
                lit += 1.0
    return lit / 9.0


@njit(cache=CACHE, error_model="numpy")
def light_up(env: Any, lamps: Any, shadow: Any, axes: Any, p: Any, n: Any, ray: Any,
           ao: float, gloss: float, wrap: float, out: Any) -> None:  # fmt: skip
    """Multiply albedo in ``out`` by the light that falls on it."""
    sun = env[SUN] * n[0] + env[SUN + 1] * n[1] + env[SUN + 2] * n[2]
    sun = max((sun + wrap) / (1 + wrap), 0.0)
    lit = 0.0
    if sun > 0:
        lit = _shadow(env, shadow, axes, p) * sun
    up = 0.5 + 0.5 * n[1]
    spot = 0.0
    if gloss > 0:
        hx, hy, hz = env[SUN] - ray[0], env[SUN + 1] - ray[1], env[SUN + 2] - ray[2]
        h = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-6
        s = max((hx * n[0] + hy * n[1] + hz * n[2]) / h, 0.0)
        s = s * s * s
        s = s * s
        spot = gloss * s * s * s * s * lit * 0.5
    r0 = lit * env[SUN_C] + ao * (up * env[SKY_C] + (1 - up) * env[BOUNCE])
    r1 = lit * env[SUN_C + 1] + ao * (up * env[SKY_C + 1] + (1 - up) * env[BOUNCE + 1])
    r2 = lit * env[SUN_C + 2] + ao * (up * env[SKY_C + 2] + (1 - up) * env[BOUNCE + 2])
    for k in range(lamps.shape[0]):
        dx, dy, dz = lamps[k, 0] - p[0], lamps[k, 1] - p[1], lamps[k, 2] - p[2]
        d2 = dx * dx + dy * dy + dz * dz + 0.3
        d = np.sqrt(d2)
        fall = max((dx * n[0] + dy * n[1] + dz * n[2]) / d * 0.8 + 0.2, 0.0) / d2 * ao
        r0 += lamps[k, 3] * fall
        r1 += lamps[k, 4] * fall
        r2 += lamps[k, 5] * fall
    out[0] = out[0] * r0 + spot * env[SUN_C]
    out[1] = out[1] * r1 + spot * env[SUN_C + 1]
    out[2] = out[2] * r2 + spot * env[SUN_C + 2]


@njit(cache=CACHE, error_model="numpy")
def contact_at(contact: Any, p: Any) -> Any:
    """Darkening of the ground near feet and furniture, from a map of 16 cells a metre."""
    x, z = int(p[0] * 16 + contact.shape[1] / 2), int(p[2] * 16 + 32)
    if x < 0 or z < 0 or x >= contact.shape[1] or z >= contact.shape[0]:
        return 1.0
    return contact[z, x]
