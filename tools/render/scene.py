"""Compose a scene: camera, place, people, things in front of them, all from one generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.render import props
from tools.render.camera import Camera, look_at
from tools.render.figure import POOL
from tools.render.layout import ENVIRONMENT, ROOM, SHADOW
from tools.render.place import draw_hills, indoors, nightfall, outdoors
from tools.render.pose3d import BONE, Rng
from tools.render.world import Person, Scene, place_person

SIZES = (
    (640, 480),
    (640, 480),
    (480, 640),
    (640, 427),
    (427, 640),
    (500, 375),
    (480, 360),
    (576, 576),
)


@dataclass(frozen=True)
class Plan:
    """How people fill the frame.

    Attributes:
        count: fewest and most people.
        share: their smallest and largest height as a share of the frame's.
        weight: how often the plan is drawn.
        crowd: how often a far crowd is added.
    """

    count: tuple[int, int]
    share: tuple[float, float]
    weight: float
    crowd: float = 0.0


PLANS = {
    "portrait": Plan((1, 3), (0.75, 1.7), 0.16),
    "group": Plan((2, 6), (0.38, 0.85), 0.44),
    "street": Plan((3, 9), (0.16, 0.6), 0.28, 0.15),
    "wide": Plan((6, 14), (0.06, 0.36), 0.12, 0.6),
}
NIGHT_WEIGHTS = (0.3, 1, 1.4, 1.2)


def _camera(rng: Rng, plan: str, night: bool) -> tuple[Camera, float]:
    """A camera and the distance of its subject."""
    width, height = SIZES[rng.integers(len(SIZES))]
    share = PLANS[plan].share
    fov = rng.uniform(28, 62)
    focal = 0.5 * max(width, height) / np.tan(np.radians(fov / 2))
    distance = float(np.clip(focal * 1.7 / (height * rng.uniform(0.5, 0.9) * share[1]), 1.2, 16))
    tall = rng.uniform(1.0, 1.8)
    if night or rng.random() < 0.16:
        tall = rng.uniform(2.4, 4.5) + 0.12 * distance
    elif rng.random() < 0.12:
        tall = rng.uniform(0.35, 0.9)
    aim = rng.uniform(0.75, 1.2) if plan != "portrait" else rng.uniform(0.9, 1.5)
    eye = np.array([0.0, tall, 0.0])
    view = look_at(eye, np.array([0.0, aim, distance]), float(np.radians(rng.normal(0, 2.0))))
    return Camera(width, height, float(focal), eye, view), distance


def _spot(
    rng: Rng, scene: Scene, share: tuple[float, float], taken: list[tuple[float, float]]
) -> tuple[float, float, float] | None:
    """A free place on the ground for a person of a height share: x, z, share."""
    cam, room = scene.camera, scene.env[ROOM : ROOM + 6]
    for _ in range(12):
        s = float(np.exp(rng.uniform(np.log(share[0]), np.log(share[1]))))
        z = cam.focal * 1.65 / (s * cam.height)
        pixel = rng.uniform(0.02, 0.98) * cam.width
        x = -(pixel - cam.width / 2) / cam.focal * z
        far = np.hypot(z, cam.position[1] - 0.9)
        z = z * z / far
        if z < 0.9 or any((x - a) ** 2 + (z - b) ** 2 < 0.6**2 for a, b in taken):
            continue
        if scene.indoors and not (room[0] + 0.4 < x < room[1] - 0.4 and z < room[5] - 0.9):
            continue
        return x, z, s
    return None


def _add_people(rng: Rng, scene: Scene, plan: Plan) -> None:
    """Everybody, what they sit on and what hides them."""
    taken: list[tuple[float, float]] = []
    shared = ("stand", "walk", "sit", None, None, None)[rng.integers(6)]
    for _ in range(rng.integers(plan.count[0], plan.count[1] + 1)):
        spot = _spot(rng, scene, plan.share, taken)
        if spot is None:
            continue
        x, z, share = spot
        taken.append((x, z))
        facing = 180 + np.degrees(np.arctan2(x, z)) if rng.random() < 0.6 else rng.uniform(0, 360)
        yaw = facing + rng.normal(0, 30)
        action = shared if rng.random() < 0.6 else None
        fine = share * scene.camera.height > 110
        number = int(rng.integers(POOL))
        person = place_person(rng, number, action, (x, z), yaw, fine=fine)
        scene.people.append(person)
        if person.action == "sit":
            scene.things += _seat(rng, person, yaw)
    if rng.random() < plan.crowd and not scene.indoors:
        _add_crowd(rng, scene)
    _occluders(rng, scene, taken)


def _seat(rng: Rng, person: Person, yaw: float) -> list[props.Prop]:
    """A chair or a box under a sitting person."""
    hip = person.joints[BONE["pelvis"]]
    height = float(hip[1] - 0.105 * person.figure.build.size)
    if rng.random() < 0.6:
        parts = props.chair(rng, height, rng.random() < 0.6)
    else:
        parts = [props.box((0.5, max(height, 0.05), 0.45), (0, 0, 0), props.crate(rng)[0].row)]
    return props.put(parts, float(hip[0]), float(hip[2]), yaw + 180)


def _add_crowd(rng: Rng, scene: Scene) -> None:
    """A far crowd, which is labelled as one region."""
    z0, x0 = rng.uniform(11, 18), rng.normal(0, 4)
    for _ in range(rng.integers(12, 26)):
        spot = (x0 + rng.normal(0, 1.6), z0 + rng.normal(0, 0.9))
        number = int(rng.integers(POOL))
        action = "stand" if rng.random() < 0.7 else "walk"
        yaw = 180 + rng.normal(0, 60)
        scene.people.append(place_person(rng, number, action, spot, yaw, crowd=True, fine=False))


def _occluders(rng: Rng, scene: Scene, taken: list[tuple[float, float]]) -> None:
    """Things in front of some people."""
    kinds = (props.crate, props.planter, props.table, props.chair, props.pole, props.fence,
             props.bush)  # fmt: skip
    for x, z in taken:
        if z > 2.5 and rng.random() < 0.16:
            kind = kinds[rng.integers(len(kinds))]
            share = rng.uniform(0.6, 0.85)
            thing = kind(rng)
            aside = rng.normal(0, 0.25)
            scene.things += props.put(thing, x * share + aside, z * share, rng.uniform(-30, 30))


def draw_scene(rng: Rng, domain: str) -> Scene:
    """Draw a whole scene of a domain, "day" or "night"."""
    night = domain == "night"
    names = list(PLANS)
    weights = np.array([PLANS[n].weight for n in names])
    if night:
        weights = weights * NIGHT_WEIGHTS
    name = names[rng.choice(len(names), p=weights / weights.sum())]
    camera, distance = _camera(rng, name, night)
    hills = draw_hills(rng)
    scene = Scene(camera, np.zeros(ENVIRONMENT), np.zeros((0, 6)), hills, subject=distance)
    if rng.random() < 0.38 and name in ("portrait", "group") and not night:
        indoors(rng, scene)
    else:
        outdoors(rng, scene)
    if night:
        nightfall(rng, scene)
    scene.env[SHADOW + 1] = 0.06
    scene.env[SHADOW + 2] = rng.uniform(0.7, 1.6) if not scene.indoors else rng.uniform(2, 4)
    _add_people(rng, scene, PLANS[name])
    return scene
