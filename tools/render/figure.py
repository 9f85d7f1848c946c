"""People without colours, and the pool of figures that scenes draw from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tools.render.anatomy import feet, hands, head, limbs, trunk
from tools.render.body import Cone, Mesh, build_mesh
from tools.render.build import Build, Outfit, bone_offsets, draw_build, draw_outfit
from tools.render.clothes import SKIRTS, bag, bottom, hair, hat, top, under
from tools.render.pose3d import Vec

POOL = 48  # figures of different build and cut of clothes; colours are drawn for each picture


@dataclass(frozen=True)
class Figure:
    """A person without colours: measures, clothes, bone offsets [21, 3] and parts."""

    build: Build
    outfit: Outfit
    offsets: Vec
    parts: tuple[Cone, ...]

    def mesh(self, coarse: bool = False) -> Mesh:
        """Polygonise the figure; ``coarse`` for figures that stand far away."""
        return build_mesh(self.offsets, list(self.parts), self.build.head, coarse)


def make_figure(number: int) -> Figure:
    """Model the figure of a pool number."""
    rng = np.random.default_rng((9241, number))
    build = draw_build(rng)
    outfit = draw_outfit(rng, build)
    parts = under(outfit, trunk(build) + limbs(build)) + hands(build) + feet(build)
    parts += bottom(outfit, build) + top(outfit, build) + bag(outfit.bag)
    if outfit.bottom in ("shorts", *SKIRTS):
        parts += feet(build, bare=True)
    above = head(rng, build.female) + hair(outfit.hair, rng, bool(outfit.hat)) + hat(outfit.hat)
    cones = [c.scaled(build.size) for c in parts] + [c.scaled(build.head) for c in above]
    return Figure(build, outfit, bone_offsets(build), tuple(cones))


@lru_cache(maxsize=POOL)
def figure(number: int) -> Figure:
    """The figure of a pool number, 0 to ``POOL`` - 1."""
    return make_figure(number)


@lru_cache(maxsize=2 * POOL)
def figure_mesh(number: int, coarse: bool) -> Mesh:
    """The mesh of a pool figure, made at first use and kept."""
    return figure(number).mesh(coarse)
