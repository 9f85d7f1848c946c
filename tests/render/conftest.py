"""One figure in front of the camera, and a small rendered set, shared by the tests of the demo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="the extra 'render' is not installed")
pytest.importorskip("skimage", reason="the extra 'render' is not installed")

from tools.render.annotate import annotate
from tools.render.camera import Camera, look_at
from tools.render.layout import BOUNCE, ENVIRONMENT, FOG_C, GROUND_TINT, SHADOW, SKY_C, SUN, SUN_C
from tools.render.make import make_split
from tools.render.render import Buffers, render
from tools.render.world import Scene, place_person


@dataclass(frozen=True)
class Shot:
    """A rendered scene with all that is known about it."""

    scene: Scene
    buffers: Buffers
    annotations: list[dict[str, Any]]


def plain_scene(width: int = 240, height: int = 320) -> Scene:
    """An empty grey plane under a white sky, seen from 1.2 m."""
    eye = np.array([0.0, 1.2, 0.0])
    camera = Camera(width, height, 400.0, eye, look_at(eye, np.array([0.0, 0.95, 3.0]), 0.0))
    env = np.zeros(ENVIRONMENT)
    env[SUN : SUN + 3] = (0.3, 0.9, -0.3)
    env[SUN_C : SUN_C + 3] = 1.0
    for at in (SKY_C, BOUNCE, FOG_C, GROUND_TINT):
        env[at : at + 3] = 0.4
    env[SHADOW + 1 : SHADOW + 3] = (0.06, 1.0)
    return Scene(camera, env, np.zeros((0, 6)), np.zeros((1, 64)))


@pytest.fixture(scope="session")
def shoot() -> Callable[..., Shot]:
    """Photograph pool figure 2 standing: ``shoot(yaw=180, spot=(0, 3), action="stand")``."""

    def take(
        yaw: float = 180,
        spot: tuple[float, float] = (0.0, 3.0),
        action: str = "stand",
        things: tuple[Any, ...] = (),
    ) -> Shot:
        scene = plain_scene()
        person = place_person(np.random.default_rng(3), 2, action, spot, yaw, fine=False)
        scene.people.append(person)
        scene.things.extend(things)
        buffers = render(scene, np.random.default_rng(4))
        return Shot(scene, buffers, annotate(scene, buffers))

    return take


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three day images and one night image of seed 7 in PaddleX's layout, one folder a domain."""
    root = tmp_path_factory.mktemp("demo")
    make_split(root / "day", "day", "val", 3, 7)
    make_split(root / "night", "night", "val", 1, 7)
    return root
