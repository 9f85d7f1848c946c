"""The surface of people: skin, faces, hair, fabrics and their patterns, decided per pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tools.render.borrow import CACHE
from tools.render.layout import (
    BEARD,
    HAIR_C,
    IRIS_C,
    LIPS_C,
    SEED,
    SKIN_C,
    WEAR,
    WEAR_STRIDE,
)
from tools.render.sampling import bump, mix, step


@njit(cache=CACHE, error_model="numpy")
def _tan(table: Any, r: int, x: float, y: float, z: float, out: Any) -> None:
    """Ears, red cheeks and nose, beard, at head coordinates."""
    ax = abs(x)
    if ax > 0.076:
        hollow = ((y + 0.008) / 0.019) ** 2 + ((z + 0.003) / 0.011) ** 2
        mix(out, out[0] * 0.5, out[1] * 0.38, out[2] * 0.36, 0.7 * step(1.2, 0.4, hollow))
    blush = np.exp(-(((ax - 0.042) / 0.02) ** 2 + ((y + 0.028) / 0.018) ** 2))
    blush += np.exp(-((x / 0.012) ** 2 + ((y + 0.024) / 0.012) ** 2)) + 0.8 * step(0.07, 0.08, ax)
    mix(out, out[0], out[1] * 0.74, out[2] * 0.72, min(0.38 * blush, 0.7))
    beard = table[r, BEARD]
    if beard > 0:
        jaw = step(-0.022, -0.045, y - 0.4 * max(ax - 0.035, 0.0))
        jaw = jaw * step(-0.02, 0.0, z) * step(-0.125, -0.11, y)
        lip = np.exp(-(((x) / 0.022) ** 2 + ((y + 0.064) / 0.008) ** 2) * 1.2)
        red, green, blue = table[r, HAIR_C], table[r, HAIR_C + 1], table[r, HAIR_C + 2]
        mix(out, red, green, blue, beard * jaw * (1 - min(1.3 * lip, 1.0)))


@njit(cache=CACHE, error_model="numpy")
def _eye(table: Any, r: int, x: float, y: float, out: Any) -> None:
    """One eye with its socket, brow, white, iris, pupil, glint and lashes."""
    dx, dy = abs(x) - 0.0315, y - 0.0105
    socket = np.exp(-((dx / 0.02) ** 2 + ((dy - 0.004) / 0.013) ** 2))
    mix(out, out[0] * 0.55, out[1] * 0.48, out[2] * 0.48, 0.5 * socket)
    brow = 0.0285 + 0.004 * (1 - ((dx + 0.002) / 0.016) ** 2)
    edge = step(0.0045, 0.0022, abs(y - brow)) * step(0.022, 0.018, abs(dx - 0.001))
    red, green, blue = table[r, HAIR_C], table[r, HAIR_C + 1], table[r, HAIR_C + 2]
    mix(out, 0.6 * red, 0.6 * green, 0.6 * blue, 0.85 * edge)
    lid = (dx / 0.0155) ** 2 + (dy / (0.0075 if dy > 0 else 0.006)) ** 2
    if lid >= 1.7:
        return
    if lid < 1.0:
        mix(out, 0.62, 0.6, 0.58, 1.0)
        iris = dx * dx + (dy - 0.0008) ** 2
        red, green, blue = table[r, IRIS_C], table[r, IRIS_C + 1], table[r, IRIS_C + 2]
        mix(out, red, green, blue, step(0.0068**2, 0.006**2, iris))
        mix(out, 0.004, 0.004, 0.004, step(0.0036**2, 0.0028**2, iris))
        glint = (x - (0.0335 if x > 0 else -0.0295)) ** 2 + (dy - 0.003) ** 2
        mix(out, 1.0, 1.0, 1.0, step(0.0017**2, 0.001**2, glint))
    lash = step(0.7, 0.95, lid) * step(1.7, 1.3, lid) * (0.95 if dy > 0.0 else 0.4)
    mix(out, 0.01, 0.007, 0.006, lash)


@njit(cache=CACHE, error_model="numpy")
def _mouth(table: Any, r: int, x: float, y: float, z: float, out: Any) -> None:
    """Lips, nostrils and the wings of the nose."""
    ax = abs(x)
    width = 0.025
    curve = -0.0625 + 6.0 * x * x
    lip = (x / width) ** 2 + ((y - curve) / 0.0105) ** 2
    red, green, blue = table[r, LIPS_C], table[r, LIPS_C + 1], table[r, LIPS_C + 2]
    mix(out, red, green, blue, step(1.15, 0.75, lip))
    line = step(0.0022, 0.0008, abs(y - curve)) * step(width * 1.1, width * 0.9, ax)
    mix(out, 0.05, 0.015, 0.012, 0.8 * line)
    if z > 0.085:
        nostril = ((ax - 0.0075) / 0.0045) ** 2 + ((y + 0.0355) / 0.003) ** 2
        mix(out, 0.04, 0.015, 0.012, 0.8 * step(1.4, 0.6, nostril))
        wing = ((ax - 0.0165) / 0.003) ** 2 + ((y + 0.03) / 0.008) ** 2
        mix(out, out[0] * 0.5, out[1] * 0.42, out[2] * 0.4, 0.6 * step(1.5, 0.3, wing))


@njit(cache=CACHE, error_model="numpy")
def _face(table: Any, r: int, x: float, y: float, z: float, out: Any) -> None:
    """Paint a face at head coordinates: metres of an adult head, z forward."""
    if z < -0.03:
        return
    _tan(table, r, x, y, z, out)
    if z >= 0.04:
        _eye(table, r, x, y, out)
        _mouth(table, r, x, y, z, out)


@njit(cache=CACHE, error_model="numpy")
def _pattern(kind: int, scale: float, u: float, v: float, z: float, blur: float) -> Any:
    """Share of colour B at pattern coordinates: stripes, checks, dots, a print, seams."""
    w = max(blur / scale, 0.02)
    if kind == 1:
        return step(0.25 - w, 0.25 + w, abs((v / scale) % 1.0 - 0.5))
    if kind == 2:
        a = step(0.25 - w, 0.25 + w, abs((v / scale) % 1.0 - 0.5))
        b = step(0.25 - w, 0.25 + w, abs((u / scale) % 1.0 - 0.5))
        return 0.5 * (a + b)
    if kind == 3:
        du, dv = (u / scale) % 1.0 - 0.5, (v / scale) % 1.0 - 0.5
        return step(0.3 + w, 0.3 - w, np.sqrt(du * du + dv * dv))
    if kind == 4:
        r = np.sqrt(u * u + ((v - 0.26) * 1.2) ** 2)
        ring = 0.6 + 0.4 * np.sin(60 * u + 5) * np.sin(47 * v + scale * 90)
        return step(0.085, 0.08, r) * ring if z > 0.02 else 0.0
    if kind == 5:
        return step(0.012, 0.009, abs(u)) if z > 0.03 else 0.0
    if kind == 6:
        return step(scale * 4 - 0.008, scale * 4 + 0.008, v)
    if kind == 7:
        return step(0.25 - w, 0.25 + w, abs((u / scale) % 1.0 - 0.5))
    return 0.0


@njit(cache=CACHE, error_model="numpy")
def _hair(
    table: Any, r: int, x: float, y: float, z: float, bumps: Any, out: Any, normal: Any
) -> None:
    """Strands."""
    seed = table[r, SEED]
    strand = bump(bumps, x * 9 + seed + z * 7, y * 0.7 + z, 3)
    wave = bump(bumps, x * 1.5 + z + seed, y * 1.5, 2)
    for c in range(3):
        out[c] = table[r, HAIR_C + c] * max(1 + 0.28 * strand + 0.25 * wave, 0.3)
    normal[0] += 0.16 * strand
    normal[1] += 0.1 * wave


@njit(cache=CACHE, error_model="numpy")
def _cloth(
    table: Any, r: int, group: int, at: Any, bumps: Any, blur: float, out: Any, normal: Any
) -> None:
    """A garment: pattern, weave and folds."""
    z, seed = at[2], table[r, SEED]
    base = WEAR + WEAR_STRIDE * (group - 1 if group < 4 else group - 2)
    share = _pattern(int(table[r, base + 6]), table[r, base + 7], at[3], at[4], z, blur)
    for c in range(3):
        out[c] = table[r, base + c] + (table[r, base + 3 + c] - table[r, base + c]) * share
    if group <= 2 or group == 6:
        u, v = (at[3] + 0.6 * z) * 0.9 + seed, (at[4] + 0.4 * z) * 0.9 + seed
        a = 0.085 if group <= 2 else 0.05
        normal[0] += a * bump(bumps, u, v, 0)
        normal[1] += a * bump(bumps, u, v, 1)
        normal[2] += a * bump(bumps, v, u, 0)
        weave = 1 + 0.05 * bump(bumps, u * 6, v * 6, 3) + 0.1 * bump(bumps, u, v, 2)
        for c in range(3):
            out[c] *= weave


@njit(cache=CACHE, error_model="numpy")
def paint_person(
    table: Any, r: int, at: Any, bumps: Any, blur: float, out: Any, normal: Any
) -> Any:
    """Colour of a person's surface.

    Args:
        table: object table [R, COLUMNS].
        r: the person's row.
        at: vertex attributes [12] at the point: rest position 3, pattern coordinates 2, group
            fields 7; the largest field names the material.
        bumps: noise maps.
        blur: size of a pixel there, metres.
        out: receives the colour.
        normal: is bent by folds and strands.

    Returns:
        The gloss.
    """
    group = 0
    for g in range(1, 7):
        if at[5 + g] > at[5 + group]:
            group = g
    x, y, z = at[0], at[1], at[2]
    if group == 4:
        _hair(table, r, x, y, z, bumps, out, normal)
        return 0.25
    if group > 0:
        _cloth(table, r, group, at, bumps, blur, out, normal)
        return 0.03 if group != 3 else 0.12
    out[0], out[1], out[2] = table[r, SKIN_C], table[r, SKIN_C + 1], table[r, SKIN_C + 2]
    tone = 1 + 0.06 * bump(bumps, x * 3 + table[r, SEED], y * 3 + z, 2)
    for c in range(3):
        out[c] *= tone
    if y > 5.0:
        _face(table, r, x, y - 10.0, z, out)
    return 0.22
