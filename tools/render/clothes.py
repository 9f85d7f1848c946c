"""Hair, hats, clothes and bags as cones. All at the size of an adult."""

from __future__ import annotations

from dataclasses import replace

from tools.render.anatomy import ball, both, face_point, limbs, oval, rod, trunk
from tools.render.body import BAG, BOTTOM, HAIR, HAT, SKIRT, TOP, Cone
from tools.render.build import Build, Outfit
from tools.render.pose3d import Rng

SKIRTS = ("skirt", "dress")


def hair(style: str, rng: Rng, under: bool) -> list[Cone]:
    """Hair of a style; flat if it is ``under`` a hat."""
    if style == "bald":
        return []
    at = face_point
    thick = 0.004 if under else {"crop": 0.006, "short": 0.014, "medium": 0.017}.get(style, 0.013)
    out = [ball(at(0, 0.04, -0.024), (0.077 + thick, 0.09 + thick, 0.096 + thick), 0.02, HAIR)]
    if style != "crop" and not under:
        bump = rng.uniform(0.0, 0.02)
        tuft = at(rng.normal(0, 0.02), 0.09, 0.03)
        out.append(ball(tuft, (0.055, 0.03 + bump, 0.045), 0.03, HAIR))
    return out + _carved() + _tail(style, rng)


def _carved() -> list[Cone]:
    """What frees the face, the ears and the neck of hair."""
    at = face_point
    return [
        rod(at(0, -0.055, 0.085), at(0, 0.03, 0.102), 0.076, 0.052, 0.012, (0.82, 1, 1), HAIR,
            True),
        rod(at(-0.2, -0.062, 0.025), at(0.2, -0.062, 0.025), 0.072, 0.072, 0.012, group=HAIR,
            cut=True),
        rod(at(-0.2, -0.13, -0.07), at(0.2, -0.13, -0.07), 0.08, 0.08, 0.012, group=HAIR, cut=True),
    ]  # fmt: skip


def _tail(style: str, rng: Rng) -> list[Cone]:
    """What hangs down or is tied up."""
    at = face_point
    if style in ("long", "medium"):
        drop = rng.uniform(0.2, 0.3) if style == "long" else rng.uniform(0.08, 0.13)
        side = rod(at(0.072, 0.03, -0.025), at(0.074, -drop * 0.8, -0.045), 0.019, 0.017, 0.025,
                   (1, 1, 0.6), HAIR)  # fmt: skip
        back = rod(at(0, 0, -0.07), at(0, -drop, -0.095), 0.07, 0.05, 0.03, (0.75, 1, 1.2), HAIR)
        return [back, *both([side])]
    if style == "bun":
        return [ball(at(0, rng.uniform(0.03, 0.1), -0.13), (0.045, 0.04, 0.04), 0.01, HAIR)]
    if style == "tail":
        tie, end = at(0, 0.02, -0.15), at(0, -0.19, -0.155)
        return [
            rod(at(0, 0.045, -0.12), tie, 0.02, 0.03, 0.01, group=HAIR),
            rod(tie, end, 0.03, 0.014, 0.01, group=HAIR),
        ]
    return []


def hat(kind: str) -> list[Cone]:
    """A hat."""
    at = face_point
    if not kind:
        return []
    low = at(0, {"cap": 0.035, "beanie": 0.025, "sunhat": 0.05}[kind] - 0.3, 0.02)
    out = [
        ball(at(0, 0.05, -0.018), (0.096, 0.1, 0.116), 0.01, HAT),
        rod(low, low, 0.3, 0.3, 0.006, (0.8, 1, 0.8), HAT, cut=True),
    ]
    if kind == "cap":
        peak = rod(at(0, 0.058, 0.06), at(0, 0.045, 0.13), 0.062, 0.055, 0.006, (0.9, 5.5, 1), HAT)
        out.append(peak)
    if kind == "sunhat":
        out.append(ball(at(0, 0.052, -0.01), (0.17, 0.012, 0.18), 0.02, HAT))
    return out


def top(o: Outfit, b: Build) -> list[Cone]:
    """Clothes of the upper body."""
    off = {"jacket": 0.019, "hoodie": 0.017, "tank": 0.007}.get(o.top, 0.01 + 0.004 * o.loose)
    bare = {"neck", "pelvis", "l_thigh", "r_thigh"}
    if o.top == "tank":
        bare |= {"l_clavicle", "r_clavicle"}
    out = [c.grown(off, TOP) for c in trunk(b) if c.bone not in bare]
    if o.bottom not in SKIRTS:
        low = {"jacket": -0.06, "hoodie": -0.02, "long": 0.0}.get(o.top, -0.005)
        wide, deep = 0.18 * b.girth * b.hips + off, 0.122 * b.girth + off
        out.append(
            oval("pelvis", (0, 0.09, -0.004), (0, low, -0.014), wide, deep, 0.05, TOP, flat="b")
        )
    if o.top in ("jacket", "hoodie"):
        collar = ((-0.03, 0.275, -0.03), (0.03, 0.275, -0.03))
        out.append(Cone("chest", *collar, 0.062, 0.062, (1, 1.3, 1), 0.03, TOP))
    return out + both(_sleeve(o, b, off))


def _sleeve(o: Outfit, b: Build, off: float) -> list[Cone]:
    """The left sleeve."""
    if o.sleeve <= 0:
        return []
    g, s, wide = b.girth, 1.0 - 0.1 * b.female, 0.4 * off + 0.004 * o.loose
    start = (0, -0.04, 0)
    out = [
        Cone("l_arm", (0.0, -0.005, 0), (0, -0.06, 0), 0.052 * g * s + off, 0.048 * g * s + off,
             blend=0.05, group=TOP)
    ]  # fmt: skip
    if o.sleeve < 1:
        end = (0.0, -0.285 * o.sleeve, 0.0)
        radii = (0.05 * g * s + off, 0.046 * g * s + off + wide)
        return [*out, Cone("l_arm", start, end, *radii, blend=0.04, group=TOP, flat="b")]
    upper = (0.049 * g * s + off, 0.041 * g * s + off)
    lower = (0.041 * g * s + off, 0.03 + off + 0.5 * wide)
    return [
        *out,
        Cone("l_arm", start, (0, -0.285, 0), *upper, blend=0.04, group=TOP),
        Cone("l_forearm", (0, 0, 0), (0, -0.235, 0), *lower, group=TOP, flat="b"),
    ]


def bottom(o: Outfit, b: Build) -> list[Cone]:
    """Clothes of the lower body."""
    g = b.girth
    off = 0.005 if o.bottom == "slim" else 0.009
    base = [c.grown(off, BOTTOM) for c in trunk(b) if c.bone in ("pelvis", "l_thigh", "r_thigh")]
    if o.bottom in SKIRTS:
        waist = oval(
            "spine", (0, -0.06, 0), (0, 0.0, 0), 0.148 * g, 0.115 * g, group=BOTTOM, flat="b"
        )
        group = TOP if o.bottom == "dress" else BOTTOM
        return [replace(c, group=group) for c in [*base, waist]] + [_skirt(o, b, group)]
    base.append(
        oval("spine", (0, -0.07, 0), (0, -0.02, 0), 0.138 * g, 0.104 * g, group=BOTTOM, flat="b")
    )
    return base + both(_trouser_leg(o, b, off))


def _skirt(o: Outfit, b: Build, group: int) -> Cone:
    """What hangs from the waist around both legs."""
    end = (0.0, -0.45 * b.legs * o.length - 0.05, 0.0)
    flare = 0.04 + 0.05 * o.loose * o.length
    return Cone(SKIRT, (0, 0.1, 0), end, 0.112 * b.girth, 0.135 * b.girth + flare, (0.8, 1, 1),
                0.04, group, flat="b")  # fmt: skip


def _trouser_leg(o: Outfit, b: Build, off: float) -> list[Cone]:
    """The left leg of shorts or trousers."""
    g, leg, loose = b.girth, b.legs, o.loose
    if o.bottom == "shorts":
        end = (0.0, -0.43 * leg * o.length, 0.004)
        radii = (0.094 * g + off, 0.078 * g + off + 0.012 * loose)
        return [Cone("l_thigh", (0, -0.02, 0), end, *radii, blend=0.03, group=BOTTOM, flat="b")]
    thigh = [c.grown(off + 0.003, BOTTOM) for c in limbs(b) if c.bone == "l_thigh"]
    if o.bottom == "slim":
        return thigh + [c.grown(off, BOTTOM) for c in limbs(b) if c.bone == "l_calf"]
    radii = (0.06 * g + 0.008 * loose, 0.046 * g + 0.014 * loose)
    ankle = (0, -0.385 * leg, -0.004)
    return [*thigh, Cone("l_calf", (0, 0.02, 0.004), ankle, *radii, group=BOTTOM, flat="b")]


def bag(kind: str) -> list[Cone]:
    """A backpack, shoulder bag or hand bag."""
    if kind == "back":
        sack = Cone(
            "chest", (0, -0.07, -0.165), (0, 0.14, -0.16), 0.1, 0.09, (0.72, 1, 1.25), 0.02, BAG
        )
        strap = Cone(
            "chest", (0.09, 0.24, 0.02), (0.1, 0.02, 0.12), 0.022, 0.022, blend=0.02, group=BAG
        )
        return [sack, *both([strap])]
    if kind == "shoulder":
        return [oval("pelvis", (0.215, 0.02, 0), (0.215, -0.08, 0), 0.045, 0.12, group=BAG)]
    if kind == "hand":
        grips = [
            Cone("l_hand", (0, -0.09, z), (0, -0.17, 1.75 * z), 0.012, 0.012, blend=0.01, group=BAG)
            for z in (0.04, -0.04)
        ]
        sack = oval("l_hand", (0, -0.16, 0), (0, -0.32, 0), 0.045, 0.13, group=BAG, flat="ab")
        return [sack, *grips]
    return []


def under(o: Outfit, skin: list[Cone]) -> list[Cone]:
    """The body with whatever lies under cloth made thinner, so that it never shows through."""
    bare = {"neck"}
    if o.sleeve < 1:
        bare |= {"l_arm", "r_arm", "l_forearm", "r_forearm"}
    if o.top == "tank":
        bare |= {"l_clavicle", "r_clavicle"}
    if o.bottom in ("shorts", *SKIRTS):
        bare |= {"l_calf", "r_calf", "l_thigh", "r_thigh"}
    out = []
    for c in skin:
        # Ankles and wrists look out of the cloth.
        end = 1.0 if c.b[1] < -0.2 and c.bone.endswith(("calf", "forearm")) else 0.85
        out.append(c if c.bone in bare else replace(c, ra=0.85 * c.ra, rb=end * c.rb))
    return out
