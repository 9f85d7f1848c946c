"""A simulated detector and pose model, with faults that can be dialled: for calibration and tests.

Without faults the two behave roughly like a good pair: small and crowded people are harder, boxes
are a little off, joints are off by a share of the crop, some go astray. Every fault is one number,
0 for none. The pose model answers alike on like crops, as a real one does, and never places a joint
outside its crop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.stickfigures import HEIGHT, WIDTH, World
from kptk.analysis.bundle import Bundle, People, Poses, crops
from kptk.analysis.labels import label_people
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracle import bootstrap, play
from kptk.analysis.verdict import Evidence
from kptk.analysis.whatif import what_ifs
from kptk.geometry import Bool, Float, Index, clip_to, iou
from kptk.skeleton import COCO17

INPUT_SIZE = (256, 192)
THRESHOLD = 0.5
_ANKLE_JOINTS = 4  # knees and ankles, the last four
_HIP_JOINTS = slice(11, 13)


@dataclass(frozen=True)
class Faults:
    """How bad the pair is; every field is 0 without that fault.

    Attributes:
        missed: share of the people on whom there is no box at all.
        faint: share of the people whose box falls below the threshold.
        truncated: share of the boxes that lose .3 to .6 on one side.
        hips: share of the boxes that end at the hips.
        shifted: share of the boxes that move by a quarter of their size: IoU around .5.
        duplicated: share of the people with a second box.
        background: false boxes an image, more than usual.
        shuffled: share of the boxes whose score says nothing.
        noise: joints are off by so many times more, less one: 1 is twice as far.
        astray: share of the joints that go somewhere in the crop, more than usual.
        mirrored: share of the people whose left and right are exchanged.
        taken: share of the joints that are placed on a neighbour, where one is near.
    """

    missed: float = 0.0
    faint: float = 0.0
    truncated: float = 0.0
    hips: float = 0.0
    shifted: float = 0.0
    duplicated: float = 0.0
    background: float = 0.0
    shuffled: float = 0.0
    noise: float = 0.0
    astray: float = 0.0
    mirrored: float = 0.0
    taken: float = 0.0


NO_FAULTS = Faults()


def simulate(
    world: World,
    faults: Faults,
    rng: np.random.Generator,
    threshold: float = THRESHOLD,
    name: str = "simulation",
) -> Bundle:
    """Run the simulated pair over made-up people.

    Args:
        world: of :func:`benchmarks.stickfigures.draw_world`.
        faults: what is wrong with the pair.
        rng: source of chance.
        threshold: of the pipeline.
        name: of the data.
    """
    hard = _difficulty(world, rng)
    person, box, score = _detect(world, faults, hard, threshold, rng)
    pose = _PoseModel(world, faults, hard, rng)
    image = np.where(person >= 0, world.people.image[person], 0)
    wrong_image, wrong_box, wrong_score = _background(world, faults, rng)
    person = np.concatenate([person, np.full(len(wrong_image), -1)])
    image = np.concatenate([image, wrong_image])
    box = np.concatenate([box, wrong_box])
    score = np.concatenate([score, wrong_score])
    order = np.lexsort((-score, image))
    person, image, box, score = person[order], image[order], box[order], score[order]
    keypoints = pose.predict(person, box, rng)
    given = pose.predict(np.arange(len(world.people)), world.people.boxes, rng)
    ids = np.arange(1, world.n_images + 1)
    seen = crops(box, INPUT_SIZE)
    return Bundle(
        name=name,
        skeleton=COCO17,
        image_ids=ids,
        images=[
            {"id": int(i), "file_name": f"{i}.jpg", "width": WIDTH, "height": HEIGHT} for i in ids
        ],
        people=replace(world.people, given=given),
        candidates=Poses.of(ids, image.astype(np.intp), box, score, keypoints, seen),
        threshold=threshold,
        input_size=INPUT_SIZE,
        two_stage=True,
        provenance={"simulated": True},
    )


def _difficulty(world: World, rng: np.random.Generator) -> Float:
    """(G,) about 1; larger for small, hidden and crowded people."""
    people = world.people
    size = np.sqrt(people.areas)
    hidden = 1 - (people.keypoints[..., 2] == 2).mean(axis=1)
    hard = 0.6 + 14 / np.maximum(size, 6) + 0.8 * hidden
    result: Float = hard * np.exp(rng.normal(0, 0.35, len(people)))
    return result


def _detect(
    world: World, faults: Faults, hard: Float, threshold: float, rng: np.random.Generator
) -> tuple[Index, Float, Float]:
    """Boxes on people: whose (n,), boxes (n, 4), scores (n,)."""
    people = world.people
    n = len(people)
    found = rng.random(n) > np.clip(0.04 + 0.06 * (hard - 1), 0.02, 0.9)
    found &= rng.random(n) >= faults.missed
    score = np.clip(1 - 0.2 * hard * np.exp(rng.normal(0, 0.5, n)), 0.02, 0.99)
    faint = rng.random(n) < faults.faint
    score = np.where(faint, threshold * rng.uniform(0.1, 0.95, n), score)
    shuffled = rng.random(n) < faults.shuffled
    score = np.where(shuffled & (score > threshold), rng.uniform(threshold, 1, n), score)
    box = _cut(_jitter(people.boxes, 0.04 * hard, rng), world, faults, rng)
    second = found & (rng.random(n) < 0.04 + faults.duplicated)
    again = _jitter(people.boxes[second], 0.08 * hard[second], rng)
    lower = score[second] * rng.uniform(0.3 if not faults.duplicated else 0.6, 1, second.sum())
    person = np.concatenate([np.flatnonzero(found), np.flatnonzero(second)])
    return person, np.concatenate([box[found], again]), np.concatenate([score[found], lower])


def _jitter(box: Float, share: Float, rng: np.random.Generator) -> Float:
    """Boxes whose sides are off by a share of their size."""
    size = box[:, 2:] - box[:, :2]
    moved = box + rng.normal(0, 1, box.shape) * share[:, None] * np.tile(size, 2)
    return _tidy(moved)


def _tidy(box: Float) -> Float:
    """Inside the image and at least 2 pixels wide and high."""
    low = np.clip(np.minimum(box[:, :2], box[:, 2:]), 0, [WIDTH - 2, HEIGHT - 2])
    high = np.clip(np.maximum(box[:, :2], box[:, 2:]), low + 2, [WIDTH, HEIGHT])
    return np.concatenate([low, high], axis=1)


def _cut(box: Float, world: World, faults: Faults, rng: np.random.Generator) -> Float:
    """Truncated, shifted, and cut at the hips."""
    n = len(box)
    box = box.copy()
    size = box[:, 2:] - box[:, :2]
    side = rng.integers(0, 4, n)
    loss = np.where(side < 2, 1, -1) * rng.uniform(0.3, 0.6, n) * size[np.arange(n), side % 2]
    rows = np.flatnonzero(rng.random(n) < faults.truncated)
    box[rows, side[rows]] += loss[rows]
    rows = np.flatnonzero(rng.random(n) < faults.shifted)
    angle = rng.uniform(0, 2 * np.pi, n)
    step = 0.25 * size * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    box[rows] += np.tile(step[rows], 2)
    rows = np.flatnonzero(rng.random(n) < faults.hips)
    hips = world.whole[:, _HIP_JOINTS, 1].mean(axis=1)
    box[rows, 3] = np.clip(hips[rows], box[rows, 1] + 0.3 * size[rows, 1], box[rows, 3])
    return _tidy(box)


def _background(
    world: World, faults: Faults, rng: np.random.Generator
) -> tuple[Index, Float, Float]:
    """Boxes on nobody: many with low scores, few with high ones."""
    faint = rng.poisson(4.0, world.n_images)
    clear = rng.poisson(0.08 + faults.background, world.n_images)
    image = np.repeat(np.arange(world.n_images), faint + clear)
    n = len(image)
    place = np.arange(n) - np.repeat(np.cumsum(faint + clear) - (faint + clear), faint + clear)
    score = np.where(place < faint[image], rng.beta(1, 12, n), rng.uniform(0.4, 0.9, n))
    centre = rng.uniform(0, (WIDTH, HEIGHT), (n, 2))
    half = np.exp(rng.normal(3.5, 0.6, (n, 1))) * (0.4, 1.0)
    box = _tidy(np.concatenate([centre - half, centre + half], axis=1))
    keep = score >= 0.01
    return image[keep], box[keep], score[keep]


class _PoseModel:
    """Places joints in crops; what goes wrong with a person goes wrong alike on similar crops."""

    def __init__(self, world: World, faults: Faults, hard: Float, rng: np.random.Generator) -> None:
        n, k = world.whole.shape[:2]
        self.truth = world.whole
        self.spread = 0.0095 * np.sqrt(hard) * (1 + faults.noise)
        self.push = rng.normal(0, 1, (n, k, 2))
        hidden = world.people.keypoints[..., 2] < 2
        chance = np.clip((0.02 + 0.1 * hidden) * hard[:, None] + faults.astray, 0, 1)
        self.lost = rng.random((n, k)) < chance
        self.spot = rng.random((n, k, 2))
        self._exchange(world, faults, hard, rng)

    def _exchange(
        self, world: World, faults: Faults, hard: Float, rng: np.random.Generator
    ) -> None:
        """What each joint is taken for: its own twin, or the same joint of a neighbour."""
        n, k = self.truth.shape[:2]
        own = self.truth
        twin = own[:, COCO17.flip_order]
        whole = rng.random((n, 1)) < 0.01 * hard[:, None] + faults.mirrored
        single = rng.random((n, k)) < 0.012 * hard[:, None]
        neighbour, near = _neighbours(world.people)
        taken = near[:, None] & (rng.random((n, k)) < 0.02 + faults.taken)
        aim = np.where((whole | single)[..., None], twin, own)
        self.aim = np.where(taken[..., None], own[neighbour], aim)

    def predict(self, person: Index, box: Float, rng: np.random.Generator) -> Float:
        """(n, 17, 3) x, y, score of the joints in the crops of boxes; -1: there is nobody."""
        crop = crops(box, INPUT_SIZE)
        corner, size = crop[:, None, :2], (crop[:, 2:] - crop[:, :2])[:, None]
        who = np.maximum(person, 0)
        noise = 0.8 * self.push[who] + 0.6 * rng.normal(0, 1, (len(box), 17, 2))
        noise *= self.spread[who][:, None, None] * size[..., 1:]
        inside = clip_to(self.aim[who], crop)
        out = (inside != self.aim[who]).any(axis=2)
        astray = self.lost[who] | (out & (rng.random(out.shape) < 0.7)) | (person < 0)[:, None]
        spot = corner + self.spot[who] * size
        anywhere = corner + rng.random((len(box), 17, 2)) * size
        spot = np.where((person < 0)[:, None, None], anywhere, spot)
        xy = clip_to(np.where(astray[..., None], spot, inside + noise), crop)
        sure = np.where(astray | out, rng.beta(2, 5, out.shape), rng.beta(9, 2, out.shape))
        sure = np.clip(sure - 3 * self.spread[who][:, None], 0.02, 1)
        return np.concatenate([xy, sure[..., None]], axis=2)


def _neighbours(people: People) -> tuple[Index, Bool]:
    """(G,) the person before or after on the image who overlaps most, and whether one does."""
    n = len(people)
    best, share = np.arange(n), np.zeros(n)
    for step in (-2, -1, 1, 2):
        other = np.clip(np.arange(n) + step, 0, max(n - 1, 0))
        same = (people.image[other] == people.image) & (other != np.arange(n))
        overlap = np.where(same, iou(people.boxes, people.boxes[other]), 0)
        better = overlap > share
        best[better], share[better] = other[better], overlap[better]
    return best, share > 0.05


def gather(bundle: Bundle, options: AnalysisOptions) -> Evidence:
    """All that a verdict on a simulated pipeline is passed on."""
    game = play(bundle, options)
    label = label_people(bundle, options).label[bundle.evaluated].astype(str)
    names, counts = np.unique(label, return_counts=True)
    return Evidence(
        game=game,
        draws=bootstrap(game, options.n_bootstrap, options.seed),
        n_images=len(bundle.image_ids),
        n_people=int(bundle.evaluated.sum()),
        what_ifs=what_ifs(bundle, options),
        labels=dict(zip(names.tolist(), counts.tolist(), strict=True)),
        threshold=bundle.threshold,
    )
