"""Places and light: parks and streets by day or night, rooms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tools.render import props
from tools.render.layout import (
    BOUNCE,
    CEIL,
    CLOUD,
    FOG,
    FOG_C,
    GROUND_REPEAT,
    GROUND_TEX,
    GROUND_TINT,
    HILL_C,
    HORIZON,
    PATCH,
    ROOM,
    SKY_C,
    SUN,
    SUN_C,
    WALL_TEX,
    WALL_TINT,
    ZENITH,
)
from tools.render.pose3d import Rng, Vec, unit
from tools.render.textures import TEXTURE, noise
from tools.render.world import Scene

# Tint in linear light and repeats a metre of the grounds.
GROUNDS = {
    "grass": ((0.22, 0.36, 0.1), 0.5),
    "asphalt": ((0.22, 0.22, 0.23), 0.7),
    "paving": ((0.5, 0.47, 0.43), 0.6),
    "sand": ((0.72, 0.6, 0.42), 0.5),
    "cobble": ((0.4, 0.38, 0.36), 0.8),
    "planks": ((0.5, 0.36, 0.24), 0.6),
    "tiles": ((0.7, 0.68, 0.62), 0.5),
    "carpet": ((0.35, 0.3, 0.32), 1.0),
}


def _colour(env: Vec, at: int, value: Sequence[float] | Vec) -> None:
    env[at : at + 3] = value


def daylight(rng: Rng, env: Vec) -> None:
    """Sun or clouds, sky, haze."""
    elevation, azimuth = np.radians(rng.uniform(18, 75)), rng.uniform(0, 2 * np.pi)
    env[SUN : SUN + 3] = (
        np.cos(elevation) * np.sin(azimuth),
        np.sin(elevation),
        np.cos(elevation) * np.cos(azimuth),
    )
    cloudy = rng.random() < 0.35
    warm = np.clip(1.3 - np.sin(elevation), 0, 0.8)
    strength = rng.uniform(0.1, 0.4) if cloudy else rng.uniform(1.3, 2.2)
    _colour(env, SUN_C, strength * np.array([1.1, 1.0 - 0.12 * warm, 0.92 - 0.35 * warm]))
    sky = rng.uniform(0.6, 0.9) if cloudy else rng.uniform(0.35, 0.55)
    _colour(env, SKY_C, sky * np.array([0.95, 1.0, 1.08]))
    _colour(env, BOUNCE, sky * 0.5 * np.array([1.0, 0.95, 0.85]))
    blue = 0.1 if cloudy else 1.0
    _colour(
        env, ZENITH, np.array([0.75, 0.8, 0.86]) * (1 - blue) + np.array([0.16, 0.38, 0.85]) * blue
    )
    _colour(
        env, HORIZON, np.array([0.95, 0.97, 1.0]) * (1 - blue) + np.array([0.85, 0.98, 1.15]) * blue
    )
    env[CLOUD] = rng.uniform(-0.4, 0.5)
    env[FOG] = rng.uniform(0.0005, 0.006)
    _colour(env, FOG_C, env[HORIZON : HORIZON + 3] * 0.9)
    _colour(env, HILL_C, np.array([0.12, 0.18, 0.1]) * rng.uniform(0.6, 1.6))


def draw_ground(rng: Rng, env: Vec, names: tuple[str, ...]) -> None:
    """One ground, half of the time bordered by another."""
    name = names[rng.integers(len(names))]
    tint, repeat = GROUNDS[name]
    env[GROUND_TEX], env[GROUND_REPEAT] = TEXTURE[name], repeat * rng.uniform(0.7, 1.4)
    _colour(env, GROUND_TINT, np.array(tint) * rng.uniform(0.7, 1.3) * (1 + rng.normal(0, 0.06, 3)))
    env[PATCH] = -1
    if rng.random() < 0.5 and name != "carpet":
        other = names[rng.integers(len(names))]
        angle = rng.uniform(0, 2 * np.pi)
        env[PATCH : PATCH + 4] = (
            TEXTURE[other],
            np.sin(angle),
            np.cos(angle),
            5 * np.cos(angle) + rng.normal(0, 3),
        )
        _colour(env, PATCH + 4, np.array(GROUNDS[other][0]) * rng.uniform(0.7, 1.3))


def draw_hills(rng: Rng) -> Vec:
    """Two ridges around the horizon, [2, 2048]."""
    rows = []
    for layer, height in enumerate((0.07, 0.04)):
        line = noise(np.random.default_rng(rng.integers(1 << 30)), 1.2)[:8].reshape(-1)
        rough = noise(np.random.default_rng(rng.integers(1 << 30)), 0.6)[:8].reshape(-1)
        ridge = (
            np.clip(0.5 + 0.5 * line + 0.1 * rough * layer, 0, 2) * height * rng.uniform(0.2, 1.5)
        )
        rows.append(ridge)
    return np.stack(rows)


def outdoors(rng: Rng, scene: Scene) -> None:
    """A park or a street."""
    daylight(rng, scene.env)
    draw_ground(rng, scene.env, ("grass", "grass", "asphalt", "paving", "paving", "sand", "cobble"))
    town = rng.random() < 0.5
    far = float(rng.uniform(14, 30))
    things = scene.things
    if town:
        x = -45.0
        while x < 45:
            things += [p.moved(x, far + rng.uniform(0, 6)) for p in props.house(rng)]
            x += rng.uniform(10, 20)
    for _ in range(rng.integers(0, 5) if town else rng.integers(2, 9)):
        tree = props.tree(rng)
        things += props.put(tree, rng.uniform(-18, 18), rng.uniform(9, far), rng.uniform(0, 360))
    for _ in range(rng.integers(0, 4)):
        bush = props.bush(rng)
        things += props.put(bush, rng.uniform(-10, 10), rng.uniform(6, far), rng.uniform(0, 360))
    if town and rng.random() < 0.5:
        for _ in range(rng.integers(1, 4)):
            car = props.car(rng)
            things += props.put(
                car, rng.uniform(-12, 12), rng.uniform(8, far - 3), rng.normal(0, 6)
            )
    small = (props.bench, props.crate, props.planter, props.pole, props.fence)
    for _ in range(rng.integers(0, 4)):
        thing = small[rng.integers(len(small))](rng)
        things += props.put(thing, rng.uniform(-6, 6), rng.uniform(4, 14), rng.normal(0, 20))


def indoors(rng: Rng, scene: Scene) -> None:
    """A furnished room, lit from above."""
    env = scene.env
    scene.indoors = True
    depth, half = rng.uniform(6, 12), rng.uniform(2.8, 6)
    shift = rng.uniform(-1, 1)
    ceiling = max(rng.uniform(2.6, 3.6), scene.camera.position[1] + 0.4)
    env[ROOM : ROOM + 6] = (shift - half, shift + half, 0, ceiling, -3, depth)
    wall = ("plaster", "plaster", "plaster", "brick", "tiles")[rng.integers(5)]
    env[WALL_TEX] = TEXTURE[wall]
    _colour(env, WALL_TINT, np.clip(rng.uniform(0.35, 0.9) * (1 + rng.normal(0, 0.12, 3)), 0.1, 1))
    _colour(env, CEIL, (0.75, 0.75, 0.73))
    draw_ground(rng, env, ("planks", "planks", "tiles", "carpet"))
    env[PATCH] = -1
    azimuth = rng.uniform(0, 2 * np.pi)
    env[SUN : SUN + 3] = unit(np.array([np.sin(azimuth), rng.uniform(0.8, 2), np.cos(azimuth)]))
    warm = rng.uniform(0, 1)
    tone = np.array([1.05, 1 - 0.1 * warm, 0.95 - 0.3 * warm])
    _colour(env, SUN_C, rng.uniform(0.3, 0.8) * tone)
    _colour(env, SKY_C, rng.uniform(0.4, 0.65) * tone)
    _colour(env, BOUNCE, rng.uniform(0.2, 0.35) * tone)
    for _ in range(rng.integers(1, 5)):
        scene.things.append(_picture(rng, depth, shift, half))
    _furnish(rng, scene, depth, shift, half)


def _furnish(rng: Rng, scene: Scene, depth: float, shift: float, half: float) -> None:
    """Furniture along the walls."""
    kinds = (props.cabinet, props.table, props.sofa, props.planter, props.crate, props.chair)
    for _ in range(rng.integers(2, 6)):
        kind = kinds[rng.integers(len(kinds))]
        if rng.random() < 0.6:
            thing = kind(rng)
            x, z = shift + rng.uniform(-0.85, 0.85) * half, depth - 0.5
            scene.things += props.put(thing, x, z, rng.normal(0, 3))
        else:
            thing = kind(rng)
            x, z = shift + rng.choice([-1, 1]) * (half - 0.5), rng.uniform(3, depth - 1)
            scene.things += props.put(thing, x, z, rng.choice([90, -90]))


def _picture(rng: Rng, depth: float, shift: float, half: float) -> props.Prop:
    """A picture or a bright window on the back wall."""
    w, h = rng.uniform(0.5, 1.3), rng.uniform(0.5, 1.2)
    x = shift + rng.uniform(-0.85, 0.85) * half
    if rng.random() < 0.4:
        row = props.material("facade2", (1, 1, 1), 0.33, glow=float(rng.uniform(0.3, 1.2)))
    else:
        row = props.material(f"picture{rng.integers(2)}", (0.9, 0.9, 0.9), 1 / max(w, h))
    return props.box((w, h, 0.04), (x, rng.uniform(1.1, 1.7), depth - 0.02), row)


def nightfall(rng: Rng, scene: Scene) -> None:
    """Replace daylight by a dim sky and one to three street lamps."""
    env = scene.env
    scene.night = True
    level = rng.uniform(0.5, 1.3)
    azimuth = rng.uniform(0, 2 * np.pi)
    env[SUN : SUN + 3] = unit(np.array([np.sin(azimuth), 1.3, np.cos(azimuth)]))
    _colour(env, SUN_C, level * np.array([0.035, 0.04, 0.05]))
    _colour(env, SKY_C, level * np.array([0.016, 0.019, 0.028]))
    _colour(env, BOUNCE, level * np.array([0.008, 0.008, 0.008]))
    _colour(env, ZENITH, level * np.array([0.004, 0.005, 0.01]))
    _colour(env, HORIZON, level * np.array([0.016, 0.014, 0.016]))
    _colour(env, HILL_C, (0.004, 0.005, 0.004))
    env[CLOUD], env[FOG] = -0.6, rng.uniform(0.01, 0.035)
    _colour(env, FOG_C, level * np.array([0.02, 0.018, 0.016]))
    tone = np.array([1.0, 0.72, 0.38]) if rng.random() < 0.65 else np.array([0.8, 0.95, 1.0])
    iron = props.material("metal", (0.05, 0.05, 0.05))
    bulb = props.material("plaster", (1, 0.8, 0.5), glow=9.0)
    lamps = []
    for _ in range(rng.integers(1, 4)):
        x, z = rng.uniform(-7, 7), rng.uniform(3, 14)
        lamps.append([x, 4.3, z, *(tone * rng.uniform(3.0, 9.0))])
        post = [props.tube(0.06, 0.05, 4.4, iron), props.box((0.4, 0.12, 0.4), (0, 4.4, 0), bulb)]
        scene.things += props.put(post, x, z, 0)
    scene.lamps = np.array(lamps)
