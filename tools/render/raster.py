"""A small z-buffer rasteriser. It keeps, per pixel, which triangle is nearest and where on it.

Compiled by numba, without fast-math and without threads, so that pictures repeat exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tools.render.borrow import CACHE

F32 = NDArray[np.float32]


@njit(cache=CACHE)
def rasterise(points: Any, faces: Any, near: float, height: int, width: int) -> Any:
    """Draw triangles into a visibility buffer.

    Args:
        points: float32 [N, 3] pixel x, pixel y, depth (distance along the view axis, metres).
        faces: int32 [M, 3] indices of points. Triangles with a corner nearer than ``near``
            are left out.
        near: nearest depth drawn.
        height: rows of the buffer.
        width: columns of the buffer.

    Returns:
        inverse depth float32 [H, W] (0 = nothing), face index int32 [H, W] (-1 = nothing),
        perspective-correct weights of the face's 2nd and 3rd corner float32 [H, W, 2].
    """
    inverse = np.zeros((height, width), np.float32)
    index = np.full((height, width), -1, np.int32)
    weights = np.zeros((height, width, 2), np.float32)
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        zi, zj, zk = points[i, 2], points[j, 2], points[k, 2]
        if zi < near or zj < near or zk < near:
            continue
        xi, yi, xj, yj = points[i, 0], points[i, 1], points[j, 0], points[j, 1]
        xk, yk = points[k, 0], points[k, 1]
        x0 = max(int(np.ceil(min(xi, xj, xk))), 0)
        x1 = min(int(np.floor(max(xi, xj, xk))), width - 1)
        y0 = max(int(np.ceil(min(yi, yj, yk))), 0)
        y1 = min(int(np.floor(max(yi, yj, yk))), height - 1)
        if x0 > x1 or y0 > y1:
            continue
        area = (xj - xi) * (yk - yi) - (xk - xi) * (yj - yi)
        if abs(area) < 1e-9:
            continue
        ia = 1.0 / area
        wi, wj, wk = 1.0 / zi, 1.0 / zj, 1.0 / zk
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                b = ((x - xi) * (yk - yi) - (xk - xi) * (y - yi)) * ia
                c = ((xj - xi) * (y - yi) - (x - xi) * (yj - yi)) * ia
                a = 1.0 - b - c
                if a < -1e-6 or b < -1e-6 or c < -1e-6:
                    continue
                w = a * wi + b * wj + c * wk
                if w > inverse[y, x]:
                    inverse[y, x] = w
                    index[y, x] = f
                    weights[y, x, 0] = b * wj / w
                    weights[y, x, 1] = c * wk / w
    return inverse, index, weights


@njit(cache=CACHE)
def raster_depth(points: Any, faces: Any, size: int) -> Any:
    """Draw triangles of an orthographic view: the smallest depth per cell, float32 [S, S]."""
    depth = np.full((size, size), np.float32(1e9), np.float32)
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        xi, yi, xj, yj = points[i, 0], points[i, 1], points[j, 0], points[j, 1]
        xk, yk = points[k, 0], points[k, 1]
        x0 = max(int(np.ceil(min(xi, xj, xk))), 0)
        x1 = min(int(np.floor(max(xi, xj, xk))), size - 1)
        y0 = max(int(np.ceil(min(yi, yj, yk))), 0)
        y1 = min(int(np.floor(max(yi, yj, yk))), size - 1)
        area = (xj - xi) * (yk - yi) - (xk - xi) * (yj - yi)
        if x0 > x1 or y0 > y1 or abs(area) < 1e-9:
            continue
        ia = 1.0 / area
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                b = ((x - xi) * (yk - yi) - (xk - xi) * (y - yi)) * ia
                c = ((xj - xi) * (y - yi) - (x - xi) * (yj - yi)) * ia
                a = 1.0 - b - c
                if a < -1e-6 or b < -1e-6 or c < -1e-6:
                    continue
                z = a * points[i, 2] + b * points[j, 2] + c * points[k, 2]
                if z < depth[y, x]:
                    depth[y, x] = z
    return depth


@njit(cache=CACHE)
def skin(vertices: Any, normals: Any, bones: Any, shares: Any, turns: Any, shifts: Any) -> Any:
    """Linear blend skinning.

    Args:
        vertices: float32 [N, 3] at rest.
        normals: float32 [N, 3] at rest.
        bones: int32 [N, 4] bone indices.
        shares: float32 [N, 4] weights, each row sums to 1.
        turns: float32 [B, 3, 3] rotation of each bone from rest to pose.
        shifts: float32 [B, 3] translation of each bone from rest to pose.

    Returns:
        posed vertices and normals, float32 [N, 3] each.
    """
    out = np.zeros_like(vertices)
    out_n = np.zeros_like(normals)
    for v in range(vertices.shape[0]):
        for q in range(4):
            w = shares[v, q]
            if w == 0.0:
                continue
            b = bones[v, q]
            for r in range(3):
                p, n = shifts[b, r], np.float32(0.0)
                for c in range(3):
                    p += turns[b, r, c] * vertices[v, c]
                    n += turns[b, r, c] * normals[v, c]
                out[v, r] += w * p
                out_n[v, r] += w * n
        length = np.sqrt(out_n[v, 0] ** 2 + out_n[v, 1] ** 2 + out_n[v, 2] ** 2) + 1e-9
        for r in range(3):
            out_n[v, r] /= length
    return out, out_n
