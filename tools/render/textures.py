"""Tileable textures made from noise, with their mip levels, packed for the shader."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
SIZE = 256
NAMES = (
    "grass", "asphalt", "paving", "planks", "tiles", "sand", "carpet", "brick", "plaster",
    "facade0", "facade1", "facade2", "leaves", "bark", "cloth", "metal", "picture0", "picture1",
    "snow", "cobble",
)  # fmt: skip
TEXTURE = {name: i for i, name in enumerate(NAMES)}


def noise(rng: np.random.Generator, power: float, stretch: tuple[float, float] = (1, 1)) -> F32:
    """Tileable noise [256, 256] in about -1..1 whose spectrum falls as 1 / f ** power."""
    fy, fx = np.fft.fftfreq(SIZE)[:, None] * stretch[0], np.fft.rfftfreq(SIZE)[None] * stretch[1]
    f = np.hypot(fy, fx)
    f[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) / f**power
    out = np.fft.irfft2(spectrum, (SIZE, SIZE))
    scaled: F32 = (out / (2 * out.std())).astype(np.float32)
    return scaled


def _grid(nx: int, ny: int, gap: float, shift: float = 0.0) -> tuple[F32, NDArray[np.int64]]:
    """Distance inside cells (0 at joints, 1 inside) and cell numbers; rows shifted alternately."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    row = np.floor(y * ny).astype(int)
    cx = x * nx + shift * (row % 2)
    inner = np.minimum.reduce(
        [cx % 1 / nx, (1 - cx % 1) / nx, (y * ny) % 1 / ny, (1 - (y * ny) % 1) / ny]
    )
    cells = row * nx + np.floor(cx).astype(int) % nx
    return np.clip(inner / gap, 0, 1).astype(np.float32), cells


def _tint(value: F32, colour: tuple[float, float, float]) -> F32:
    return value[..., None] * np.array(colour, np.float32)


def _cells(rng: np.random.Generator, nx: int, ny: int, gap: float, shift: float, vary: float,
           colour: tuple[float, float, float], joint: float) -> F32:  # fmt: skip
    inside, cells = _grid(nx, ny, gap, shift)
    tone = 1 + vary * rng.standard_normal(nx * ny)[cells] + 0.1 * noise(rng, 0.9)
    hue = 1 + 0.15 * vary * rng.standard_normal((nx * ny, 3))[cells]
    out = _tint((tone * (joint + (1 - joint) * inside)).astype(np.float32), colour)
    return (out * hue).astype(np.float32)


def _facade(rng: np.random.Generator, nx: int, ny: int, wall: tuple[float, float, float]) -> F32:
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    cx, cy = (x * nx) % 1, (y * ny) % 1
    cells = np.floor(y * ny).astype(int) * nx + np.floor(x * nx).astype(int)
    glass = (abs(cx - 0.5) < 0.26) & (abs(cy - 0.5) < 0.32)
    frame = (abs(cx - 0.5) < 0.31) & (abs(cy - 0.5) < 0.37) & ~glass
    bar = glass & (abs(cx - 0.5) < 0.02)
    out = _tint((1 + 0.08 * noise(rng, 1.0)).astype(np.float32), wall)
    tone = (0.2 + 0.25 * rng.random(nx * ny))[cells] + 0.12 * (0.5 - cy)
    out = np.where(glass[..., None], tone[..., None] * np.array([0.7, 0.9, 1.1]), out)
    out = np.where((frame | bar)[..., None], np.array([0.75, 0.74, 0.7]), out)
    sill = (abs(cx - 0.5) < 0.34) & (abs(cy - 0.9) < 0.025)
    return np.where(sill[..., None], np.array([0.5, 0.48, 0.45]), out).astype(np.float32)


def _picture(rng: np.random.Generator) -> F32:
    """A framed landscape in a few muted colours."""
    y = np.mgrid[0:SIZE, 0:SIZE][0] / SIZE
    sky = np.array([0.75, 0.8, 0.82]) * rng.uniform(0.8, 1.15) + rng.normal(0, 0.05, 3)
    out = np.zeros((SIZE, SIZE, 3), np.float32) + sky.astype(np.float32)
    for level in (0.42, 0.58, 0.75):
        ridge = level + 0.07 * noise(rng, 1.2)[0][None]
        colour = rng.uniform(0.25, 0.65) * (1 + rng.normal(0, 0.15, 3))
        out[y > ridge] = colour.astype(np.float32)
    out *= (1 + 0.06 * noise(rng, 0.8))[..., None]
    out[:16], out[-16:], out[:, :16], out[:, -16:] = 0.2, 0.2, 0.2, 0.2
    return out


def _draw(name: str, rng: np.random.Generator) -> F32:
    fine, mid, large = noise(rng, 0.3), noise(rng, 0.9), noise(rng, 1.4)
    one = np.ones((SIZE, SIZE), np.float32)
    if name.startswith("facade"):
        n = int(name[-1])
        walls = ((0.75, 0.66, 0.52), (0.6, 0.32, 0.25), (0.66, 0.67, 0.69))
        return _facade(rng, 4 + n, 4 + n, walls[n])
    if name.startswith("picture"):
        return _picture(rng)
    plain = {
        "grass": one * 0.62 + 0.16 * fine + 0.14 * mid + 0.1 * noise(rng, 0.6, (1, 0.35)),
        "asphalt": one * 0.7 + 0.1 * fine + 0.07 * large,
        "sand": one * 0.85 + 0.05 * fine + 0.07 * mid + 0.05 * noise(rng, 1.3, (0.4, 1.2)),
        "carpet": one * 0.75 + 0.1 * fine + 0.05 * large,
        "plaster": one * 0.9 + 0.02 * fine + 0.05 * large,
        "leaves": one * 0.5 + 0.35 * mid + 0.12 * fine,
        "bark": one * 0.6 + 0.3 * noise(rng, 0.9, (0.3, 1.5)),
        "cloth": one * 0.8 + 0.05 * fine + 0.06 * large,
        "metal": one * 0.8 + 0.06 * noise(rng, 0.9, (0.1, 1.5)),
        "snow": one * 0.92 + 0.03 * mid + 0.02 * fine,
    }
    if name in plain:
        out = _tint(plain[name].astype(np.float32), (1, 1, 1))
        if name in ("grass", "leaves"):
            out = out * (1 + 0.18 * large[..., None] * np.array([1.0, 0.3, -0.4], np.float32))
        return out.astype(np.float32)
    if name == "planks":
        grain = 1 + 0.16 * noise(rng, 1.0, (1.6, 0.12))
        return _cells(rng, 2, 8, 0.006, 0.5, 0.1, (0.8, 0.8, 0.8), 0.5) * grain[..., None]
    kinds = {
        "paving": (4, 4, 0.012, 0.0, 0.07, 0.6), "tiles": (6, 6, 0.008, 0.0, 0.03, 0.7),
        "brick": (4, 12, 0.008, 0.5, 0.12, 0.75), "cobble": (8, 8, 0.03, 0.5, 0.14, 0.45),
    }  # fmt: skip
    nx, ny, gap, shift, vary, joint = kinds[name]
    return _cells(rng, nx, ny, gap, shift, vary, (0.82, 0.82, 0.82), joint)


@lru_cache(maxsize=1)
def atlas() -> F32:
    """All textures with mip levels, float32 [textures, 87381, 3], linear light 0..1."""
    out = []
    for i, name in enumerate(NAMES):
        level = np.clip(_draw(name, np.random.default_rng((77, i))), 0.01, 1) ** 2
        flat = []
        while True:
            flat.append(level.reshape(-1, 3))
            n = len(level) // 2
            if n == 0:
                break
            level = level.reshape(n, 2, n, 2, 3).mean(axis=(1, 3))
        out.append(np.concatenate(flat))
    return np.stack(out).astype(np.float32)


@lru_cache(maxsize=1)
def bumps() -> F32:
    """Slopes of a folded surface, float32 [256, 256, 2], and clouds, stacked to [256, 256, 4]."""
    rng = np.random.default_rng(78)
    height = noise(rng, 1.5, (0.7, 1.0))
    slopes = np.stack(
        [np.gradient(np.pad(height, 1, mode="wrap"), axis=a)[1:-1, 1:-1] for a in (1, 0)], -1
    )
    slopes /= slopes.std()
    rest = np.stack([noise(rng, 1.35), noise(rng, 0.8)], -1)
    return np.concatenate([slopes, rest], -1).astype(np.float32)
