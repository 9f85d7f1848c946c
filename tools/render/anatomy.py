"""The parts of a naked body as cones: trunk, limbs, hands, head. All at the size of an adult."""

from __future__ import annotations

from tools.render.body import SHOE, SKIN, Cone, Triple
from tools.render.build import Build
from tools.render.pose3d import Rng


def oval(bone: str, a: Triple, b: Triple, wide: float, deep: float, blend: float = 0.03,
         group: int = SKIN, flat: str = "") -> Cone:  # fmt: skip
    """A part that is ``wide`` (half, x) and ``deep`` (half, z)."""
    r = min(wide, deep)
    return Cone(bone, a, b, r, r, (r / wide, 1.0, r / deep), blend, group, flat=flat)


def ball(at: Triple, radii: Triple, blend: float, group: int = SKIN) -> Cone:
    """An ellipsoid of the head."""
    r = min(radii)
    scale = (r / radii[0], r / radii[1], r / radii[2])
    return Cone("head", at, at, r, r, scale, blend, group, "head")


def rod(a: Triple, b: Triple, ra: float, rb: float, blend: float, scale: Triple = (1, 1, 1),
        group: int = SKIN, cut: bool = False) -> Cone:  # fmt: skip
    """A cone of the head."""
    return Cone("head", a, b, ra, rb, scale, blend, group, "head", cut=cut)


def face_point(x: float, y: float, z: float) -> Triple:
    """A place relative to the middle of the head in the head bone's frame."""
    return (x, y + 0.085, z + 0.02)


def both(cones: list[Cone]) -> list[Cone]:
    """Parts of the left side and their mirror images."""
    return cones + [c.mirrored() for c in cones]


def trunk(b: Build) -> list[Cone]:
    """Pelvis to neck, at size 1."""
    g, f = b.girth, b.female
    hip, chest, waist = 0.158 * g * b.hips, 0.152 * g, (0.134 - 0.016 * f) * g
    out = [
        oval("pelvis", (0, -0.01, -0.005), (0, 0.05, 0), hip, 0.105 * g),
        oval("spine", (0, -0.01, 0.005), (0, 0.06, 0.005), waist, 0.098 * g, blend=0.06),
        oval("chest", (0, 0.0, 0.005), (0, 0.1, 0.01), chest, 0.108 * g, blend=0.06),
        oval("chest", (0, 0.12, 0.0), (0, 0.16, -0.005), chest * 1.02, 0.1 * g, blend=0.06),
        Cone("spine", (0, 0.0, 0.05), (0, 0.0, 0.05), 0.06 + b.belly, 0.06 + b.belly, blend=0.06),
        Cone("neck", (0, -0.04, 0.0), (0, 0.1, 0.022), 0.06, 0.052 - 0.006 * f, blend=0.03,
             grid="body+head"),
    ]  # fmt: skip
    side = [
        Cone(
            "l_thigh",
            (-0.02, -0.02, -0.046),
            (-0.02, -0.02, -0.046),
            0.085 * g,
            0.085 * g,
            blend=0.05,
        ),
        Cone("l_clavicle", (0.0, -0.012, 0), (0.115, -0.005, -0.01), 0.048, 0.05, blend=0.05),
        Cone("chest", (0.025, 0.27, -0.012), (0.12, 0.225, -0.02), 0.04, 0.035, blend=0.04),
    ]
    r = 0.03 + 0.026 * f
    side.append(
        Cone("chest", (0.068, 0.09, 0.07), (0.068, 0.09, 0.07), r + 0.02, r + 0.02, blend=0.04)
    )
    return out + both(side)


def limbs(b: Build) -> list[Cone]:
    """Arms and legs without hands and feet, at size 1."""
    g, s = b.girth, 1.0 - 0.1 * b.female
    leg = b.legs
    return both([
        Cone("l_arm", (0.0, -0.005, 0), (0, -0.06, 0), 0.054 * s * g, 0.049 * s * g, blend=0.05),
        Cone("l_arm", (0, -0.06, 0), (0, -0.285, 0), 0.05 * s * g, 0.038 * s * g),
        Cone("l_arm", (0, -0.15, 0.012), (0, -0.19, 0.012), 0.036 * s * g, 0.034 * s * g),
        Cone("l_forearm", (0, 0, 0), (0, -0.08, 0.003), 0.038 * s * g, 0.041 * s * g),
        Cone("l_forearm", (0, -0.08, 0.003), (0, -0.25, 0), 0.041 * s * g, 0.0265 * s,
             grid="body+l_hand"),
        Cone("l_thigh", (0, -0.01, 0.0), (0, -0.2 * leg, 0.008), 0.09 * g, 0.078 * g, blend=0.05),
        Cone("l_thigh", (0, -0.2 * leg, 0.008), (0, -0.43 * leg, 0), 0.078 * g, 0.054 * g),
        Cone("l_calf", (0, 0, 0), (0, -0.12 * leg, -0.014), 0.052 * g, 0.055 * g),
        Cone("l_calf", (0, -0.12 * leg, -0.014), (0, -0.4 * leg, -0.005), 0.055 * g, 0.036 * g),
        Cone("l_calf", (0, 0.005, 0.012), (0, -0.02, 0.012), 0.043 * g, 0.041 * g),
    ])  # fmt: skip


def hands(b: Build) -> list[Cone]:
    """Hands with four fingers and a thumb, at size 1."""
    s = 1.0 - 0.08 * b.female
    thin = (1.0 / 0.42, 1.0, 1.0)
    out = [
        Cone("l_hand", (0, 0.0, 0), (0, -0.03, 0), 0.026 * s, 0.03 * s, (1.5, 1, 1), 0.02,
             grid="body+l_hand"),
        Cone("l_hand", (0, -0.045, 0), (0, -0.075, 0), 0.036 * s, 0.036 * s, thin, 0.02,
             grid="body+l_hand"),
        Cone("l_hand", (-0.006, -0.02, 0.022), (-0.012, -0.055, 0.046), 0.013, 0.011, blend=0.015,
             grid="l_hand"),
        Cone("l_hand", (-0.012, -0.055, 0.046), (-0.012, -0.088, 0.05), 0.0105, 0.009, blend=0.008,
             grid="l_hand"),
    ]  # fmt: skip
    for z, length in ((0.03, 0.068), (0.0105, 0.078), (-0.009, 0.072), (-0.027, 0.056)):
        knuckle, tip = (0.0, 0.0, z * s), (-0.01, -length * s, z * 1.12 * s)
        out.append(
            Cone("l_fingers", knuckle, tip, 0.0098 * s, 0.0078 * s, blend=0.006, grid="l_hand")
        )
    return both(out)


def feet(b: Build, bare: bool = False) -> list[Cone]:
    """Shoes, at size 1: heel, ball and toe over a flat sole; or the ``bare`` ankle alone."""
    ankle = Cone("l_foot", (0, 0.02, 0), (0, -0.03, -0.01), 0.036, 0.038, blend=0.02)
    if bare:
        return both([ankle])
    group, low = SHOE, 0.008
    return both([
        Cone("l_foot", (0, -0.01, 0), (0, -0.03, -0.01), 0.04, 0.042, blend=0.02, group=group),
        Cone("l_foot", (0, -0.04, -0.035), (0, -0.048, 0.04), 0.038, 0.036, (1, 1, 1), 0.04, group),
        Cone("l_foot", (0.0, -0.045, 0.04), (0.006, -0.052, 0.14), 0.042, 0.032, (0.9, 1.2, 1),
             0.04, group),
        Cone("l_foot", (0, -0.068, -0.04), (0.005, -0.068, 0.14), 0.036 + low, 0.036 + low,
             (0.85, 3.0, 0.9), 0.01, group),
    ])  # fmt: skip


def head(rng: Rng, female: float) -> list[Cone]:
    """A head with brow, nose, eyes, lips, jaw and ears."""
    at = face_point
    jaw = rng.normal(1, 0.05) - 0.03 * female
    nose = rng.normal(1, 0.1) - 0.06 * female
    cheek = rng.normal(1, 0.06)
    skull = [
        ball(at(0, 0.035, -0.018), (0.074, 0.088, 0.094), 0.02),
        ball(at(0, -0.03, 0.03), (0.057 * jaw, 0.083, 0.061), 0.03),
        rod(at(0, -0.095, 0.066), at(0, -0.095, 0.066), 0.02, 0.02, 0.03),
        rod(at(-0.03, 0.034, 0.074), at(0.03, 0.034, 0.074), 0.013, 0.013, 0.02),
    ]
    flesh = both([
        rod(at(0.044 * jaw, -0.058, 0.01), at(0.018, -0.09, 0.053), 0.02, 0.017, 0.03),
        rod(at(0.036, -0.02, 0.064), at(0.036, -0.02, 0.064), 0.021 * cheek, 0.021 * cheek, 0.025),
    ])  # fmt: skip
    socket = at(0.032, 0.011, 0.104)
    sockets = both([rod(socket, socket, 0.017, 0.017, 0.014, cut=True)])
    nose_and_lips = [
        rod(at(0, 0.018, 0.09), at(0, -0.022, 0.099 + 0.008 * nose), 0.0085, 0.012 * nose, 0.014),
        rod(at(-0.014, -0.0585, 0.088), at(0.014, -0.0585, 0.088), 0.008, 0.008, 0.01),
        rod(at(-0.011, -0.069, 0.087), at(0.011, -0.069, 0.087), 0.0085, 0.0085, 0.01),
    ]
    eye, wing = at(0.0315, 0.01, 0.0775), at(0.009, -0.03, 0.097)
    details = both([
        rod(eye, eye, 0.0128, 0.0128, 0.003),
        rod(wing, wing, 0.0085, 0.0085, 0.01),
        ball(at(0.08, -0.006, -0.008), (0.0115, 0.033, 0.02), 0.008),
    ])  # fmt: skip
    return skull + flesh + sockets + nose_and_lips + details
