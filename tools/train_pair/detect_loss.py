"""The detector's losses, image by image: on a CPU that is faster than one padded tensor."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.train_pair.ppyoloe import BINS, Found

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


def distribution(bins: Tensor, sides: Tensor) -> Tensor:
    """Distribution focal loss of distances in cells (N, L, 4), meant over the four: (N, L)."""
    log = bins.log_softmax(-1)
    left = sides.floor().long()
    part = sides - left
    lower = log.gather(-1, left[..., None])[..., 0]
    upper = log.gather(-1, left[..., None] + 1)[..., 0]
    return -(lower * (1 - part) + upper * part).mean(-1)


@torch.no_grad()
def assign(
    scores: Tensor, found: Tensor, points: Tensor, truth: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The task-aligned assigner (TOOD) as ppdet has it, and for tiny people the nearest cells.

    Args:
        scores: (L,) of the network.
        found: (L, 4) boxes of the network, pixels.
        points: (L, 2) middles of the cells.
        truth: (M, 4) boxes of people.

    Returns:
        The cells chosen (P,), their boxes (P, 4), and the scores that they should have (P,).
    """
    middle, half = (truth[:, :2] + truth[:, 2:]) / 2, (truth[:, 2:] - truth[:, :2]) / 2
    half = half.clamp(min=_SMALLEST / 2)
    inside = contains(torch.cat([middle - half, middle + half], -1)[None], points)[0]
    iou = overlaps(truth[:, None], found[None])[0]
    metric = scores * iou**_BETA
    best = (metric * inside).topk(_TOP_K, -1).indices
    chosen = torch.zeros_like(inside).scatter_(-1, best, True) & inside
    winner = torch.where(chosen, iou, -1.0).argmax(0)  # one person a cell
    chosen &= winner == torch.arange(len(truth), device=truth.device)[:, None]
    metric, iou = metric * chosen, iou * chosen
    aligned = metric / (metric.amax(-1, keepdim=True) + _EPS) * iou.amax(-1, keepdim=True)
    cells = chosen.any(0).nonzero()[:, 0]
    return cells, truth[winner[cells]], aligned.amax(0)[cells]


def losses(found: Found, batch: Batch) -> Tensor:
    """ppdet's sum of the varifocal, GIoU and distribution focal losses."""
    scores, points, strides = found.logits.sigmoid(), found.points, found.strides
    with torch.no_grad():
        all_boxes = found.boxes()
    wanted = torch.zeros_like(scores)
    positive = torch.zeros_like(scores, dtype=torch.bool)
    counted = torch.ones_like(positive)
    boxes, where = [], []
    for k in range(len(scores)):
        regions = batch.boxes[k][batch.ignored[k]]
        counted[k] = ~contains(regions[None], points)[0].any(0)
        truth = batch.boxes[k][batch.people[k]]
        if not len(truth):
            continue
        cells, goals, aligned = assign(scores[k].detach(), all_boxes[k], points, truth)
        wanted[k, cells], positive[k, cells] = aligned, True
        boxes.append(goals)
        where.append(k * len(points) + cells)
    counted |= positive
    total = wanted.sum().clamp(min=1)
    focus = torch.where(positive, wanted, 0.75 * scores**2) * counted
    by_class = F.binary_cross_entropy_with_logits(found.logits, wanted, reduction="none")
    loss: Tensor = _WEIGHTS[0] * (by_class * focus).sum()
    if where:
        index, goals = torch.cat(where), torch.cat(boxes)
        weight, cell = wanted.flatten()[index], index % len(points)
        bins, stride, point = found.bins.flatten(0, 1)[index], strides[cell], points[cell]
        chosen = Found(bins[:, 0, 0], bins, point, stride).boxes()
        sides = torch.cat([point - goals[:, :2], goals[:, 2:] - point], -1) / stride
        by_box = (1 - overlaps(chosen, goals)[1]) * weight
        by_side = distribution(bins, sides.clamp(0, BINS - 1.01)) * weight
        loss = loss + _WEIGHTS[1] * by_box.sum() + _WEIGHTS[2] * by_side.sum()
    return loss / total
