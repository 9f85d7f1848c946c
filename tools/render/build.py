"""Measures of bodies and cuts of clothes, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.render.body import Triple
from tools.render.pose3d import BONE, BONES, Rng, Vec


@dataclass(frozen=True)
class Build:
    """Measures of a body relative to an adult of 1.75 m.

    Attributes:
        size: scale of everything below the head.
        head: scale of the head.
        girth: scale of trunk and limb thickness.
        female: 0 to 1.
        belly: size of the belly, metres.
        shoulders: scale of the shoulders' width.
        hips: scale of the hips' width.
        legs: scale of the legs' length.
    """

    size: float
    head: float
    girth: float
    female: float
    belly: float
    shoulders: float
    hips: float
    legs: float


@dataclass(frozen=True)
class Outfit:
    """Cut of the clothes and the hair.

    Attributes:
        top: "shirt", "long", "jacket", "hoodie" or "tank".
        sleeve: length as a share of the upper arm; 1 and more reach the wrist.
        bottom: "trousers", "slim", "shorts", "skirt" or "dress".
        length: of shorts, skirt or dress as a share of the thigh; otherwise down to the ankle.
        hair: "short", "crop", "bald", "medium", "long", "bun" or "tail".
        hat: "", "cap", "beanie" or "sunhat".
        bag: "", "back", "hand" or "shoulder".
        loose: how wide the clothes are, about 1.
    """

    top: str
    sleeve: float
    bottom: str
    length: float
    hair: str
    hat: str
    bag: str
    loose: float


def _pick(rng: Rng, options: str) -> str:
    """One word of ``options``; "-" means nothing."""
    words = options.split()
    word = words[rng.integers(len(words))]
    return "" if word == "-" else word


def draw_build(rng: Rng) -> Build:
    """Draw a body: men, women, some children."""
    female = float(rng.random() < 0.5)
    if rng.random() < 0.16:
        size = rng.uniform(0.52, 0.85)
        return Build(size, rng.uniform(0.86, 0.95), rng.uniform(0.98, 1.15), female * 0.3, 0.01,
                     rng.uniform(0.92, 1.0), 0.98, 0.92 + 0.06 * size)  # fmt: skip
    size = float(np.clip(rng.normal(1.0 - 0.065 * female, 0.045), 0.84, 1.12))
    girth = float(np.clip(rng.lognormal(0.03, 0.12), 0.84, 1.4))
    return Build(size, float(np.clip(rng.normal(0.985 - 0.025 * female, 0.02), 0.92, 1.05)), girth,
                 female, max(0.0, (girth - 1) * 0.35), rng.normal(1.04 - 0.1 * female, 0.03),
                 rng.normal(1.0 + 0.05 * female, 0.03), rng.normal(1.0, 0.02))  # fmt: skip


def draw_outfit(rng: Rng, build: Build) -> Outfit:
    """Draw clothes and hair that go together."""
    woman = build.female > 0.5
    top = _pick(rng, "shirt shirt shirt long long jacket jacket hoodie tank")
    bottom = _pick(rng, "trousers trousers trousers trousers shorts slim")
    if woman:
        bottom = _pick(rng, "trousers slim slim skirt dress shorts trousers")
    sleeve = {"shirt": rng.uniform(0.4, 0.8), "tank": 0.0}.get(top, 2.0)
    lengths = {
        "shorts": rng.uniform(0.45, 0.95),
        "skirt": rng.uniform(0.35, 0.8),
        "dress": rng.uniform(0.45, 1.1),
    }
    hair = _pick(rng, "short short short crop crop bald medium")
    if woman:
        hair = _pick(rng, "long long bun tail medium medium short")
    hat = _pick(rng, "- - - - - - cap cap beanie sunhat")
    bag = _pick(rng, "- - - - - back back hand shoulder")
    loose = rng.uniform(0.7, 1.5)
    return Outfit(top, sleeve, bottom, lengths.get(bottom, 2.0), hair, hat, bag, loose)


def bone_offsets(build: Build) -> Vec:
    """[21, 3] start of each bone relative to its parent, standing at ease, metres."""
    adult: dict[str, Triple] = {
        "pelvis": (0, 0.95, 0), "spine": (0, 0.11, -0.01), "chest": (0, 0.14, -0.01),
        "neck": (0, 0.265, -0.005), "head": (0, 0.095, 0.02),
        "l_clavicle": (0.025, 0.225, 0), "l_arm": (0.15, -0.005, -0.01),
        "l_forearm": (0, -0.285, 0), "l_hand": (0, -0.25, 0), "l_fingers": (0, -0.088, 0),
        "l_thigh": (0.09, -0.03, 0), "l_calf": (0, -0.43, 0), "l_foot": (0, -0.41, 0),
    }  # fmt: skip
    out = np.zeros((len(BONES), 3))
    for name, offset in adult.items():
        v = np.array(offset) * build.size
        if name in ("l_calf", "l_foot"):
            v *= build.legs
        if name == "l_arm":
            v[0] *= build.shoulders
        if name == "l_thigh":
            v[0] *= build.hips
        out[BONE[name]] = v
        if name.startswith("l_"):
            out[BONE["r" + name[1:]]] = v * (-1, 1, 1)
    out[0, 1] = -(out[BONE["l_thigh"], 1] + out[BONE["l_calf"], 1] + out[BONE["l_foot"], 1])
    out[0, 1] += 0.08 * build.size
    return out
