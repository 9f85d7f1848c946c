"""Training of the detector: images made on the device, task-aligned labels, losses, measure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.demo_gpu.data import IGNORED, PERSON, How, Store, cut, normalise, recolour
from tools.demo_gpu.ppyoloe import BINS, Found

SIZE = 320  # of the model
SIZES = (256, 288, 320, 320, 352)  # of training, one a step
_TOP_K, _BETA = 13, 6.0  # of the task-aligned assigner; its alpha is 1
_WEIGHTS = (1.0, 2.5, 0.5)  # of the losses of class, IoU and distances, as ppdet
_SMALLEST = 10.0  # pixels: a smaller person takes the cells of a box of this size
_EPS = 1e-9


class Batch(NamedTuple):
    """Images and what is on them.

    Attributes:
        images: (N, 3, S, S), 0 to 255.
        boxes: (N, M, 4) pixels.
        people: (N, M) bool.
        ignored: (N, M) bool, boxes in which nothing found is a mistake.
    """

    images: Tensor
    boxes: Tensor
    people: Tensor
    ignored: Tensor


def random_windows(n: int, strength: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Parts of images in units of their size: first corners (n, 2) and sizes (n, 2) as (x, y)."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, device=device)

    whole = rand(n, 1) < 1 - 0.6 * strength
    size = 0.5 + 0.75 * rand(n, 1)  # zooms in or, above 1, out
    skew = ((rand(n, 1) * 2 - 1) * 0.25).exp()
    sizes = torch.cat([size * skew, size / skew], 1)
    sizes = torch.where(whole, torch.ones_like(sizes), sizes)
    corners = (1 - sizes) * rand(n, 2)
    return corners, sizes


def batch(store: Store, n: int, side: int, strength: Tensor, cubic: bool) -> Batch:
    """Draw images.

    People of whom less than a third is left by the crop become boxes to ignore.

    Args:
        store: the images.
        n: how many.
        side: of the square that each is stretched to, pixels.
        strength: scalar, of the augmentation: 1 in full, 0 none but mirroring.
        cubic: interpolation as at inference, else linear.
    """
    device = store.device
    numbers = (torch.rand(n, device=device) * store.n_images).long()
    corners, windows = random_windows(n, strength, device)
    mirror = torch.rand(n, device=device) < 0.5
    x, inside = stretch(store, numbers, corners, windows, side, cubic)
    x = recolour(x, strength) * inside + 114 * ~inside
    x = torch.where(mirror[:, None, None, None], x.flip(3), x)
    whole = store.sizes[numbers].flip(1).float()  # width, height
    boxes = store.boxes[numbers] / whole.repeat(1, 2)[:, None]
    boxes = (boxes - corners.repeat(1, 2)[:, None]) / windows.repeat(1, 2)[:, None] * side
    flipped = torch.stack(
        [side - boxes[..., 2], boxes[..., 1], side - boxes[..., 0], boxes[..., 3]], -1
    )
    boxes = torch.where(mirror[:, None, None], flipped, boxes)
    clipped = boxes.clamp(0, side)
    left = area(clipped) / area(boxes).clamp(min=_EPS)
    sides = clipped[..., 2:] - clipped[..., :2]
    kinds = store.kinds[numbers]
    there = (kinds > 0) & (left > 0)
    people = there & (kinds == PERSON) & (left > 0.35) & (sides > 1.5).all(-1)
    return Batch(x, clipped, people, there & ~people)


def stretch(
    store: Store, numbers: Tensor, corners: Tensor, windows: Tensor, side: int, cubic: bool
) -> tuple[Tensor, Tensor]:
    """Windows of images as squares, as cv2.resize would, and where they are inside the image."""
    whole = store.sizes[numbers].flip(1).float()
    steps = (torch.arange(side, device=store.device, dtype=torch.float32) + 0.5) / side
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).flip(-1)
    place = grid[None] * windows[:, None, None] + corners[:, None, None]
    inside = ((place >= 0) & (place <= 1)).all(-1)[:, None]
    xy = place * whole[:, None, None] - 0.5
    return cut(store, numbers, xy, cubic=cubic, border=True), inside


def area(boxes: Tensor) -> Tensor:
    """Areas of boxes (..., 4)."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """IoU, generalised IoU and intersection of boxes (..., 4), by broadcasting."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    common = (high - low).clamp(min=0).prod(-1)
    union = area(a) + area(b) - common + _EPS
    first, last = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    hull = (last - first).prod(-1) + _EPS
    iou = common / union
    return iou, iou - (hull - union) / hull, common


def contains(boxes: Tensor, points: Tensor) -> Tensor:
    """Which points (L, 2) lie in which boxes (N, M, 4): (N, M, L) bool."""
    low = points[None, None] - boxes[:, :, None, :2]
    high = boxes[:, :, None, 2:] - points[None, None]
    return torch.minimum(low, high).amin(-1) > _EPS


class Labels(NamedTuple):
    """What each cell should say.

    Attributes:
        positive: (N, L) bool.
        boxes: (N, L, 4) pixels.
        scores: (N, L), 0 where not positive.
        counted: (N, L) bool, whether the score counts.
    """

    positive: Tensor
    boxes: Tensor
    scores: Tensor
    counted: Tensor


@torch.no_grad()
def assign(scores: Tensor, found: Tensor, points: Tensor, batch: Batch) -> Labels:
    """The task-aligned assigner (TOOD) as ppdet has it, and for tiny people the nearest cells.

    Args:
        scores: (N, L) of the network.
        found: (N, L, 4) boxes of the network, pixels.
        points: (L, 2) middles of the cells.
        batch: the truth.
    """
    truth, valid = batch.boxes, batch.people[..., None]
    iou = overlaps(truth[:, :, None], found[:, None])[0] * valid
    metric = scores[:, None] * iou**_BETA
    middle, half = (truth[..., :2] + truth[..., 2:]) / 2, (truth[..., 2:] - truth[..., :2]) / 2
    half = half.clamp(min=_SMALLEST / 2)
    inside = contains(torch.cat([middle - half, middle + half], -1), points) & valid
    best = (metric * inside).topk(_TOP_K, -1).indices
    chosen = torch.zeros_like(inside).scatter_(-1, best, True) & inside
    winner = torch.where(chosen, iou, -torch.ones_like(iou)).argmax(1)  # one person a cell
    one = winner[:, None] == torch.arange(truth.shape[1], device=winner.device)[:, None]
    chosen &= one
    positive = chosen.any(1)
    boxes = truth.gather(1, winner[..., None].expand(-1, -1, 4))
    metric, iou = metric * chosen, iou * chosen
    aligned = metric / (metric.amax(-1, keepdim=True) + _EPS) * iou.amax(-1, keepdim=True)
    ignored = (contains(batch.boxes, points) & batch.ignored[..., None]).any(1)
    return Labels(positive, boxes, aligned.amax(1) * positive, positive | ~ignored)


def losses(found: Found, batch: Batch) -> Tensor:
    """ppdet's sum of the varifocal, GIoU and distribution focal losses."""
    scores, boxes = found.logits.sigmoid(), found.boxes()
    labels = assign(scores.detach(), boxes.detach(), found.points, batch)
    total = labels.scores.sum().clamp(min=1)
    focus = torch.where(labels.positive, labels.scores, 0.75 * scores**2) * labels.counted
    by_class = F.binary_cross_entropy_with_logits(found.logits, labels.scores, reduction="none")
    by_box = (1 - overlaps(boxes, labels.boxes)[1]) * labels.scores
    points, strides = found.points, found.strides
    sides = (
        torch.cat([points - labels.boxes[..., :2], labels.boxes[..., 2:] - points], -1) / strides
    )
    by_side = distribution(found.bins, sides.clamp(0, BINS - 1.01)) * labels.scores
    parts = ((by_class * focus).sum(), by_box.sum(), by_side.sum())
    loss: Tensor = sum(w * part for w, part in zip(_WEIGHTS, parts, strict=True)) / total  # type: ignore[assignment]
    return loss


def distribution(bins: Tensor, sides: Tensor) -> Tensor:
    """Distribution focal loss of distances in cells (N, L, 4), meant over the four: (N, L)."""
    log = bins.log_softmax(-1)
    left = sides.floor().long()
    part = sides - left
    lower = log.gather(-1, left[..., None])[..., 0]
    upper = log.gather(-1, left[..., None] + 1)[..., 0]
    return -(lower * (1 - part) + upper * part).mean(-1)


def loss(net: nn.Module, store: Store, n: int, strength: Tensor, how: How, side: int) -> Tensor:
    """The loss of a random batch of images of size ``side``."""
    drawn = batch(store, n, side, strength, cubic=side == SIZE)
    return losses(how(net, drawn.images), drawn)


def suppress(
    boxes: np.ndarray,
    scores: np.ndarray,
    threshold: float = 0.7,
    lowest: float = 0.01,
    most: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """Non-maximum suppression of one image: boxes (M, 4) and scores (M,), highest first."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > lowest][:most]
    boxes, scores = boxes[order], scores[order]
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = (high - low).clip(0).prod(-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    close = common > threshold * (areas[:, None] + areas[None] - common)
    keep = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if keep[i]:
            keep[i + 1 :] &= ~close[i, i + 1 :]
    return boxes[keep][:300], scores[keep][:300]


@torch.no_grad()
def measure(net: nn.Module, store: Store) -> dict[str, float]:
    """Average precision on whole images.

    Returns:
        ``ap50`` and ``ap75`` at an IoU of .5 and .75, ``score`` the mean over .5, .55 ... .95.
    """
    rows: list[tuple[float, np.ndarray]] = []
    people = 0
    thresholds = np.arange(0.5, 0.99, 0.05)
    for numbers in torch.arange(store.images, device=store.device).split(32):
        corners = torch.zeros(len(numbers), 2, device=store.device)
        x, _ = stretch(store, numbers, corners, corners + 1, SIZE, True)
        found: Found = net(normalise(x.round()))
        whole = store.sizes[numbers].flip(1).repeat(1, 2).cpu().numpy()[:, None] / SIZE
        boxes, scores = found.boxes().cpu().numpy() * whole, found.logits.sigmoid().cpu().numpy()
        truth, kinds = store.boxes[numbers].cpu().numpy(), store.kinds[numbers].cpu().numpy()
        people += int((kinds == PERSON).sum())
        for i in range(len(numbers)):
            kept = suppress(boxes[i], scores[i], lowest=0.02, most=300)
            rows += match(
                *kept, truth[i][kinds[i] == PERSON], truth[i][kinds[i] == IGNORED], thresholds
            )
    values = precision(rows, people, len(thresholds))
    return {"score": float(values.mean()), "ap50": float(values[0]), "ap75": float(values[5])}


def match(
    boxes: np.ndarray,
    scores: np.ndarray,
    truth: np.ndarray,
    crowd: np.ndarray,
    thresholds: np.ndarray,
) -> list[tuple[float, np.ndarray]]:
    """For each box its score and, for each threshold, 1 right, 0 wrong, -1 not counted."""
    taken = np.zeros((len(thresholds), len(truth)), bool)
    iou = overlaps(torch.from_numpy(boxes)[:, None], torch.from_numpy(truth)[None])[0].numpy()
    common = overlaps(torch.from_numpy(boxes)[:, None], torch.from_numpy(crowd)[None])[2].numpy()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    excused = (common / areas[:, None].clip(_EPS)).max(1, initial=0)
    rows = []
    for i, score in enumerate(scores):
        verdict = np.where(excused[i] >= thresholds, -1, 0)
        near = iou[i].max(initial=0)
        for k, threshold in enumerate(thresholds[thresholds <= near]):
            free = np.where(taken[k], -1.0, iou[i])
            if free.max() >= threshold:
                taken[k, free.argmax()] = True
                verdict[k] = 1
        rows.append((float(score), verdict))
    return rows


def precision(rows: list[tuple[float, np.ndarray]], people: int, n: int) -> np.ndarray:
    """Area under the precision at 101 recalls, for each of n thresholds."""
    if not rows or not people:
        return np.zeros(n)
    verdicts = np.stack([verdict for _, verdict in sorted(rows, key=lambda row: -row[0])])
    values = np.zeros(n)
    for k in range(n):
        right = verdicts[:, k][verdicts[:, k] >= 0]
        hits = np.cumsum(right)
        best = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
        at = np.searchsorted(hits / people, np.linspace(0, 1, 101))
        values[k] = np.where(at < len(best), best[at.clip(max=len(best) - 1)], 0).mean()
    return values
