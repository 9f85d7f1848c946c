"""Deferred shading: from visible triangles to light."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tools.render.backdrop import hit_room, paint_ground, paint_sky
from tools.render.borrow import CACHE, borrow
from tools.render.layout import FOG, FOG_C, GLOW, KIND, LEAFY, PERSON, REPEAT, ROOM, TEX, TINT
from tools.render.light import contact_at, light_up
from tools.render.paint import paint_person
from tools.render.sampling import bump, mix, sample

# In the functions below, "geometry" is faces, attributes, normals, owner of each face, object
# table; "world" is surroundings, texture atlas, noise maps; "light" is lamps, shadow map, its axes,
# contact map; "view" is hills, camera position, camera axes; "point" is scratch space: position,
# normal, ray, colour, attributes.


@njit(cache=CACHE, error_model="numpy")
def _thing(r: int, u: float, v: float, size: float, table: Any, world: Any, point: Any) -> Any:
    """Colour of a thing's surface at pattern coordinates; returns its wrap of light."""
    _, n, ray, out, _ = point
    if n[0] * ray[0] + n[1] * ray[1] + n[2] * ray[2] > 0:
        for q in range(3):
            n[q] = -n[q]
    repeat = table[r, REPEAT]
    sample(world[1], int(table[r, TEX]), u * repeat, v * repeat, size * repeat * 1.3, out)
    for q in range(3):
        out[q] *= table[r, TINT + q]
    if table[r, KIND] != LEAFY:
        return 0.0
    n[0] += 0.5 * bump(world[2], u * 2, v * 2, 0)
    n[1] += 0.5 * bump(world[2], u * 2, v * 2, 1)
    return 0.4


@njit(cache=CACHE, error_model="numpy")
def _surface(f: int, b: float, c: float, size: float, geometry: Any, world: Any, point: Any) -> Any:
    """Colour and normal of a triangle's point; returns gloss, wrap, glow."""
    faces, attributes, normals, owner, table = geometry
    _, n, _, out, at = point
    a = 1 - b - c
    i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
    for q in range(3):
        n[q] = a * normals[i, q] + b * normals[j, q] + c * normals[k, q]
    for q in range(12):
        at[q] = a * attributes[i, q] + b * attributes[j, q] + c * attributes[k, q]
    r = owner[f]
    if table[r, KIND] == PERSON:
        gloss, wrap, glow = paint_person(table, r, at, world[2], size, out, n), 0.15, 0.0
    else:
        wrap = _thing(r, at[3], at[4], size, table, world, point)
        gloss, glow = 0.0, table[r, GLOW]
    norm = np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-9
    for q in range(3):
        n[q] /= norm
    return gloss, wrap, glow


@njit(cache=CACHE, error_model="numpy")
def _sample_pixel(
    f: int,
    near: float,
    b: float,
    c: float,
    vx: float,
    vy: float,
    ao: float,
    pixel: float,
    geometry: Any,
    world: Any,
    light: Any,
    view: Any,
    point: Any,
) -> Any:
    """Colour of one visibility sample into the scratch space; returns its depth (1000: sky)."""
    env, atlas, bumps = world
    hills, eye, axes = view
    p, n, ray, out, _ = point
    for q in range(3):
        ray[q] = axes[0, q] * vx + axes[1, q] * vy + axes[2, q]
    stretch = np.sqrt(vx * vx + vy * vy + 1)
    gloss, wrap, glow, ground, t = 0.0, 0.0, 0.0, False, 1000.0
    if f >= 0:
        t = 1.0 / near
        for q in range(3):
            p[q] = eye[q] + t * ray[q]
        gloss, wrap, glow = _surface(f, b, c, t * pixel, geometry, world, point)
        if p[1] < 0.3:
            ao *= 0.75 + 0.25 * contact_at(light[3], p)
    elif env[ROOM + 3] > 0:
        t, ground = hit_room(env, atlas, eye, ray, pixel, p, n, out)
    elif ray[1] < -1e-4:
        t, ground = -eye[1] / ray[1], True
        for q in range(3):
            p[q] = eye[q] + t * ray[q]
    for q in range(3):
        ray[q] /= stretch
    if t > 900:
        paint_sky(env, hills, bumps, ray, out)
        return 1000.0
    if ground:
        n[0], n[1], n[2] = 0.0, 1.0, 0.0
        paint_ground(env, atlas, bumps, p, t, pixel, -ray[1], out)
        ao *= contact_at(light[3], p)
    g0, g1, g2 = out[0] * glow, out[1] * glow, out[2] * glow
    light_up(env, light[0], light[1], light[2], p, n, ray, ao, gloss, wrap, out)
    out[0] += g0
    out[1] += g1
    out[2] += g2
    mix(out, env[FOG_C], env[FOG_C + 1], env[FOG_C + 2], 1 - np.exp(-t * stretch * env[FOG]))
    return t


@njit(cache=CACHE, error_model="numpy")
def _stride(index: Any, y: int, x: int, owner: Any, table: Any) -> Any:
    """Which of a pixel's four samples to shade: every, every third or every fourth.

    Where all four lie on one thing one is enough, and two on people, whose faces and fabrics are
    finer than a pixel.
    """
    first = -2
    for s in range(4):
        f = index[2 * y + (s >> 1), 2 * x + (s & 1)]
        who = owner[f] if f >= 0 else -1
        if first == -2:
            first = who
        elif who != first:
            return 1
    return 3 if first >= 0 and table[first, KIND] == PERSON else 4


@njit(cache=CACHE, error_model="numpy")
def shade(
    visibility: Any, mesh: Any, scenery: Any, lighting: Any, occlusion: Any, look: Any, focal: float
) -> Any:
    """Colour every pixel from 2 x 2 visibility samples.

    Args:
        visibility: inverse depth float32 [2H, 2W], face or -1 int32 [2H, 2W], weights of the
            face's 2nd and 3rd corner float32 [2H, 2W, 2].
        mesh: faces int32 [M, 3], attributes float32 [N, 12], normals float32 [N, 3], owner int32
            [M] of each face, object table float64 [R, COLUMNS].
        scenery: surroundings float64 [ENVIRONMENT], texture atlas, noise maps.
        lighting: lamps [L, 6] (position, colour), shadow map, its axes [4, 3], contact map.
        occlusion: float32 [H, W].
        look: hills [layers, columns], camera position [3], camera axes [3, 3].
        focal: focal length in samples.

    Returns:
        linear light float32 [H, W, 3] and depth along the view axis float32 [H, W]
        (1000 for the sky).
    """
    inverse, index, weights = visibility
    height, width = occlusion.shape
    image = np.zeros((height, width, 3), np.float32)
    depths = np.zeros((height, width), np.float32)
    store = np.zeros(24)
    point = (borrow(store[0:3]), borrow(store[3:6]), borrow(store[6:9]), borrow(store[9:12]),
             borrow(store[12:24]))  # fmt: skip
    geometry = (borrow(mesh[0]), borrow(mesh[1]), borrow(mesh[2]), borrow(mesh[3]), borrow(mesh[4]))
    world = (borrow(scenery[0]), borrow(scenery[1]), borrow(scenery[2]))
    light = (borrow(lighting[0]), borrow(lighting[1]), borrow(lighting[2]), borrow(lighting[3]))
    view = (borrow(look[0]), borrow(look[1]), borrow(look[2]))
    out = point[3]
    for y in range(height):
        for x in range(width):
            stride = _stride(index, y, x, geometry[3], geometry[4])
            count, nearest = 0, 1e9
            for s in range(0, 4, stride):
                fy, fx = 2 * y + (s >> 1), 2 * x + (s & 1)
                vx = (fx - (2 * width - 1) / 2) / focal
                vy = (fy - (2 * height - 1) / 2) / focal
                t = _sample_pixel(index[fy, fx], inverse[fy, fx], weights[fy, fx, 0],
                                  weights[fy, fx, 1], vx, vy, occlusion[y, x], 2.0 / focal,
                                  geometry, world, light, view, point)  # fmt: skip
                count += 1
                nearest = min(nearest, t)
                for c in range(3):
                    image[y, x, c] += min(out[c], 4.0)
            depths[y, x] = nearest
            for c in range(3):
                image[y, x, c] /= count
    return image, depths
