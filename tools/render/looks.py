"""Colours of people: skin, hair, eyes and fabrics, drawn anew for every picture."""

from __future__ import annotations

import numpy as np

from tools.render.figure import Figure
from tools.render.layout import (
    BEARD,
    COLUMNS,
    HAIR_C,
    IRIS_C,
    KIND,
    LIPS_C,
    PERSON,
    SEED,
    SKIN_C,
    WEAR,
    WEAR_STRIDE,
)  # fmt: skip
from tools.render.pose3d import Rng, Vec

SKINS = ((250, 214, 190), (240, 198, 170), (226, 178, 148), (205, 155, 122), (178, 126, 94),
         (146, 98, 70), (112, 74, 54), (84, 56, 44))  # fmt: skip
HAIRS = ((22, 18, 16), (30, 24, 20), (58, 40, 28), (88, 62, 40), (140, 104, 62), (196, 160, 104),
         (118, 58, 34), (150, 148, 144), (205, 203, 198))  # fmt: skip
IRISES = ((60, 36, 20), (84, 56, 30), (70, 96, 120), (84, 110, 84))
FABRICS = ((28, 30, 36), (60, 64, 72), (122, 126, 130), (206, 206, 204), (238, 237, 232),
           (32, 44, 84), (58, 92, 150), (112, 160, 206), (156, 34, 40), (206, 62, 54),
           (228, 136, 56), (232, 196, 84), (46, 96, 62), (104, 132, 76), (134, 142, 98),
           (98, 62, 104), (198, 128, 154), (110, 80, 58), (176, 148, 114),
           (64, 148, 148))  # fmt: skip
LEGS = ((32, 42, 72), (46, 62, 98), (74, 96, 138), (28, 28, 32), (58, 58, 62), (104, 104, 102),
        (176, 156, 122), (126, 112, 86), (92, 70, 54), (222, 220, 212), (60, 68, 52))  # fmt: skip
SHOES = ((28, 26, 26), (236, 236, 234), (92, 62, 42), (70, 74, 84), (190, 60, 54), (60, 90, 150))


def linear(colour: tuple[float, float, float]) -> Vec:
    """8-bit display colour to linear light [3], 0..1 (display gamma 2)."""
    out: Vec = (np.array(colour, np.float64) / 255) ** 2
    return out


def pick(rng: Rng, palette: tuple[tuple[int, int, int], ...], vary: float = 9) -> Vec:
    """A colour of the palette, slightly varied, as linear light."""
    base = np.array(palette[rng.integers(len(palette))], np.float64)
    base = np.clip(base + rng.normal(0, vary) + rng.normal(0, vary / 2, 3), 8, 250)
    return linear((base[0], base[1], base[2]))


def _wear(rng: Rng, slot: int, figure: Figure) -> Vec:
    """Eight numbers for one garment: colours A and B, pattern, scale."""
    if slot == 1:
        return np.array([*pick(rng, LEGS), *pick(rng, LEGS), 0, 0.1])
    if slot == 2:
        return np.array([*pick(rng, SHOES), *pick(rng, SHOES), 0, 0.1])
    kind, scale = 0.0, 0.1
    if slot == 0:
        options = (0, 0, 0, 0, 1, 1, 2, 3, 4, 4, 6, 7)
        kind = float(options[rng.integers(len(options))])
        scales = {
            1: rng.uniform(0.03, 0.12),
            2: rng.uniform(0.04, 0.12),
            7: rng.uniform(0.02, 0.08),
            3: rng.uniform(0.04, 0.09),
            6: rng.uniform(0.02, 0.08),
        }
        scale = scales.get(int(kind), rng.uniform(0, 1))
        if figure.outfit.top in ("jacket", "hoodie"):
            kind = 5.0
    return np.array([*pick(rng, FABRICS), *pick(rng, FABRICS), kind, scale])


def person_row(rng: Rng, figure: Figure) -> Vec:
    """The object-table row of one person."""
    row = np.zeros(COLUMNS)
    row[KIND], row[SEED] = PERSON, rng.uniform(0, 10)
    skin = pick(rng, SKINS, 5)
    hair = pick(rng, HAIRS, 5)
    if skin.sum() < 0.7 and rng.random() < 0.9:
        hair = pick(rng, HAIRS[:3], 3)
    if figure.build.size < 0.84:
        hair = pick(rng, HAIRS[:7], 5)
    row[SKIN_C : SKIN_C + 3], row[HAIR_C : HAIR_C + 3] = skin, hair
    row[LIPS_C : LIPS_C + 3] = skin * (0.78, 0.46, 0.46) + (0.02, 0.0, 0.0)
    row[IRIS_C : IRIS_C + 3] = pick(rng, IRISES, 4)
    if figure.build.female < 0.2 and figure.build.size > 0.9:
        row[BEARD] = float(rng.choice([0.0, 0.1, 0.25, 0.8], p=[0.4, 0.2, 0.2, 0.2]))
    for slot in range(5):
        at = WEAR + WEAR_STRIDE * slot
        row[at : at + WEAR_STRIDE] = _wear(rng, slot, figure)
    return row
