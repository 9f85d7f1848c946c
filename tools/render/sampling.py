"""Reading textures and mixing colours, inside compiled functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tools.render.borrow import CACHE


@njit(cache=CACHE, error_model="numpy")
def sample(atlas: Any, tex: int, u: float, v: float, footprint: float, out: Any) -> None:
    """Bilinear lookup in the mip level that fits ``footprint`` (texture widths per pixel)."""
    level = 0
    f = footprint * 256.0
    while f > 1.4 and level < 8:
        f *= 0.5
        level += 1
    offset, n = 0, 256
    for _ in range(level):
        offset += n * n
        n //= 2
    x, y = u * n - 0.5, v * n - 0.5
    fx, fy = np.floor(x), np.floor(y)
    ax, ay = x - fx, y - fy
    x0, y0 = int(fx) & (n - 1), int(fy) & (n - 1)
    x1, y1 = (x0 + 1) & (n - 1), (y0 + 1) & (n - 1)
    for c in range(3):
        top = (
            atlas[tex, offset + y0 * n + x0, c] * (1 - ax)
            + atlas[tex, offset + y0 * n + x1, c] * ax
        )
        low = (
            atlas[tex, offset + y1 * n + x0, c] * (1 - ax)
            + atlas[tex, offset + y1 * n + x1, c] * ax
        )
        out[c] = top * (1 - ay) + low * ay


@njit(cache=CACHE, error_model="numpy")
def bump(bumps: Any, u: float, v: float, channel: int) -> Any:
    """Bilinear lookup in one channel of the noise maps, which repeat every 1."""
    x, y = u * 256.0, v * 256.0
    fx, fy = np.floor(x), np.floor(y)
    ax, ay = x - fx, y - fy
    x0, y0 = int(fx) & 255, int(fy) & 255
    x1, y1 = (x0 + 1) & 255, (y0 + 1) & 255
    top = bumps[y0, x0, channel] * (1 - ax) + bumps[y0, x1, channel] * ax
    low = bumps[y1, x0, channel] * (1 - ax) + bumps[y1, x1, channel] * ax
    return top * (1 - ay) + low * ay


@njit(cache=CACHE, error_model="numpy")
def mix(out: Any, r: float, g: float, b: float, amount: float) -> None:
    """Move the colour in ``out`` towards another by a share ``amount``."""
    out[0] += (r - out[0]) * amount
    out[1] += (g - out[1]) * amount
    out[2] += (b - out[2]) * amount


@njit(cache=CACHE, error_model="numpy")
def step(a: float, b: float, x: float) -> Any:
    """Smooth step: 0 at ``a``, 1 at ``b``, which may be the smaller."""
    t = min(max((x - a) / (b - a), 0.0), 1.0)
    return t * t * (3 - 2 * t)
