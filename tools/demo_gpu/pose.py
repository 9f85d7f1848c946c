"""Training of the pose model: crops and heatmaps made on the device, loss, measure."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kptk.skeleton import COCO17
from tools.demo_gpu.data import How, Store, constant, cut, normalise, recolour
from tools.demo_gpu.tinypose import STRIDE

HEIGHT, WIDTH = 128, 96
PADDING = 1.25  # as kptk.pipeline.pose
SIGMA = 1.0  # of the targets, cells
_MIDDLE = (WIDTH / 2, HEIGHT / 2)
_UPPER = 11  # joints 0 to 10 are the upper body


def regions(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres (N, 2) and widths (N,) of the regions that kptk.pipeline.pose cuts for boxes (N, 4)."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    return (boxes[:, :2] + boxes[:, 2:]) / 2, torch.maximum(
        width, height * WIDTH / HEIGHT
    ) * PADDING


class View:
    """How regions of images become crops: turned, mirrored, scaled about their centres.

    Attributes:
        centers: (N, 2) pixels; they land on (WIDTH / 2, HEIGHT / 2) of the crop.
        widths: (N,) pixels of the image that span the crop.
        angles: (N,) radians.
        mirror: (N,) 1 or -1.
    """

    def __init__(
        self, centers: Tensor, widths: Tensor, angles: Tensor | None, mirror: Tensor | None
    ) -> None:
        self.centers, self.widths = centers, widths
        self.angles = torch.zeros_like(widths) if angles is None else angles
        self.mirror = torch.ones_like(widths) if mirror is None else mirror

    def to_crop(self, xy: Tensor) -> Tensor:
        """Points (N, K, 2) of the image in pixels of the crop."""
        cos, sin = self.angles.cos()[:, None], self.angles.sin()[:, None]
        x, y = ((xy - self.centers[:, None]) * (WIDTH / self.widths)[:, None, None]).unbind(-1)
        turned = torch.stack([(x * cos + y * sin) * self.mirror[:, None], y * cos - x * sin], -1)
        return turned + constant(_MIDDLE, xy.device)

    def to_image(self, uv: Tensor) -> Tensor:
        """Points (N, K, 2) of the crop in pixels of the image."""
        cos, sin = self.angles.cos()[:, None], self.angles.sin()[:, None]
        u, v = (uv - constant(_MIDDLE, uv.device)).unbind(-1)
        u = u * self.mirror[:, None]
        turned = torch.stack([u * cos - v * sin, v * cos + u * sin], -1)
        return turned * (self.widths / WIDTH)[:, None, None] + self.centers[:, None]

    def crops(self, store: Store, images: Tensor) -> Tensor:
        """The crops (N, 3, HEIGHT, WIDTH), 0 to 255, black outside of the image."""
        device = store.device
        ys = torch.arange(HEIGHT, device=device, dtype=torch.float32)
        xs = torch.arange(WIDTH, device=device, dtype=torch.float32)
        grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij"), -1).flip(-1)
        uv = grid.reshape(1, -1, 2).expand(len(images), -1, -1)
        xy = self.to_image(uv).reshape(-1, HEIGHT, WIDTH, 2)
        return cut(store, images, xy, cubic=False, border=False)


def half_bodies(joints: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Regions around the upper or lower body.

    Args:
        joints: (N, 17, 3).
        upper: (N,) which of the two.

    Returns:
        Centres (N, 2), widths (N,), and whether there are enough joints (N,).
    """
    is_upper = torch.arange(17, device=joints.device) < _UPPER
    chosen = (joints[..., 2] > 0) & (is_upper[None] == upper[:, None])
    count = chosen.sum(1)
    xy, mask = joints[..., :2], chosen[..., None]
    center = (xy * mask).sum(1) / count.clamp(min=1)[:, None]
    low = xy.masked_fill(~mask, math.inf).amin(1)
    high = xy.masked_fill(~mask, -math.inf).amax(1)
    span = torch.where(count[:, None] > 0, high - low, torch.ones_like(low))
    width = torch.maximum(span[:, 0], span[:, 1] * WIDTH / HEIGHT) * 1.5
    return center, width.clamp(min=8), (count > 2) & ((joints[..., 2] > 0).sum(1) > 8)


def random_view(boxes: Tensor, joints: Tensor, strength: Tensor) -> View:
    """Regions as a detector with its faults would give them, and beyond."""
    n, device = len(boxes), boxes.device

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, device=device)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device).clamp(-2, 2)

    side = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    shaky = (rand(n, 1) < 0.6).float() * strength
    centers, widths = regions(boxes + normal(n, 4) * 0.05 * side * shaky)
    half_center, half_width, possible = half_bodies(joints, rand(n) < 0.65)
    half = possible & (rand(n) < 0.15 * strength)
    centers = torch.where(half[:, None], half_center, centers)
    widths = torch.where(half, half_width, widths)
    widths = widths * (1 + normal(n) * 0.15 * strength)
    angles = normal(n) * math.radians(22) * strength * (rand(n) < 0.6)
    mirror = 1 - 2 * (rand(n) < 0.5).float()
    return View(centers, widths, angles, mirror)


def targets(points: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Heatmaps as ppdet's ToHeatmapsTopDown_DARK makes them.

    Args:
        points: (N, 17, 2) pixels of the crop.
        seen: (N, 17) whether the joint is labelled.

    Returns:
        (N, 17, 32, 24) Gaussians around the exact places, and weights (N, 17).
    """
    h, w = HEIGHT // STRIDE, WIDTH // STRIDE
    mu = points / STRIDE
    reach = 3 * SIGMA
    limit = constant((w, h), mu.device)
    near = ((mu - reach < limit) & (mu + reach + 1 > -1)).all(-1)
    xs, ys = (torch.arange(side, device=mu.device, dtype=torch.float32) for side in (w, h))
    gap_x = (xs - mu[..., :1]) ** 2 / (2 * SIGMA**2)
    gap_y = (ys - mu[..., 1:]) ** 2 / (2 * SIGMA**2)
    maps = (-gap_y).exp()[..., :, None] * (-gap_x).exp()[..., None, :]
    weight = (seen & near).float()
    return maps * weight[..., None, None], weight


def cutout(x: Tensor, points: Tensor, seen: Tensor, strength: Tensor) -> Tensor:
    """Black discs over a labelled joint of some crops."""
    n, device = len(x), x.device
    pick = (torch.rand(n, 17, device=device) * seen).argmax(1)
    center = points[torch.arange(n, device=device), pick]
    center = center + torch.randn(n, 2, device=device) * 0.05 * WIDTH
    radius = (0.1 + 0.1 * torch.rand(n, device=device)) * WIDTH
    radius = radius * (torch.rand(n, device=device) < 0.3 * strength)
    ys = torch.arange(HEIGHT, device=device).reshape(1, -1, 1) - center[:, 1].reshape(-1, 1, 1)
    xs = torch.arange(WIDTH, device=device).reshape(1, 1, -1) - center[:, 0].reshape(-1, 1, 1)
    return x * (ys**2 + xs**2 > radius.reshape(-1, 1, 1) ** 2)[:, None]


def batch(store: Store, n: int, strength: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw people.

    Args:
        store: the images.
        n: how many.
        strength: scalar, of the augmentation: 1 in full, 0 none but mirroring.

    Returns:
        Crops (n, 3, HEIGHT, WIDTH) from 0 to 255, heatmaps (n, 17, 32, 24), weights (n, 17), and
        the joints in the crop (n, 17, 2).
    """
    people = (torch.rand(n, device=store.device) * store.n_people).long()
    joints = store.joints[people]
    view = random_view(store.person_boxes[people], joints, strength)
    x = view.crops(store, store.owners[people])
    swap = constant(tuple(COCO17.flip_order.tolist()), store.device)
    joints = torch.where((view.mirror < 0)[:, None, None], joints[:, swap], joints)
    points, seen = view.to_crop(joints[..., :2]), joints[..., 2] > 0
    maps, weight = targets(points, seen)
    inside = x.amax(1, keepdim=True) > 0
    x = cutout(recolour(x, strength) * inside, points, seen, strength)
    return x, maps, weight, points


def loss(net: nn.Module, store: Store, n: int, strength: Tensor, how: How) -> Tensor:
    """ppdet's KeyPointMSELoss on a random batch, times 1000: gradients far above epsilon."""
    x, maps, weight, _ = batch(store, n, strength)
    out = how(net, x).float()
    return 1000 * ((out - maps) ** 2 * weight[..., None, None]).mean()


def decode(maps: Tensor) -> Tensor:
    """Peaks (N, K, 2) in cells as kptk.pipeline.pose.decode_heatmaps finds them (DARK)."""
    n, k, h, w = maps.shape
    flat = maps.reshape(n * k, 1, h, w)
    index = flat.flatten(1).argmax(1)
    x, y = index % w, index // w
    line = constant((0.25, 0.5, 0.25), maps.device)
    log = F.conv2d(flat, (line[:, None] * line)[None, None], padding=1).clamp(min=1e-10).log()
    log = F.pad(log, (2, 2, 2, 2))[:, 0]
    row = torch.arange(n * k, device=maps.device)

    def at(dx: int, dy: int) -> Tensor:
        return log[row, y + 2 + dy, x + 2 + dx]

    middle = at(0, 0)
    gx, gy = (at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2
    xx, yy = (at(2, 0) - 2 * middle + at(-2, 0)) / 4, (at(0, 2) - 2 * middle + at(0, -2)) / 4
    xy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
    det = xx * yy - xy**2
    step = torch.stack([xy * gy - yy * gx, xy * gx - xx * gy], 1) / det[:, None]
    inner = (x > 1) & (x < w - 2) & (y > 1) & (y < h - 2) & (det != 0)
    points = torch.stack([x, y], 1) + torch.where(inner[:, None], step, torch.zeros_like(step))
    return points.reshape(n, k, 2)


@torch.no_grad()
def measure(net: nn.Module, store: Store) -> dict[str, float]:
    """OKS on the true boxes.

    Returns:
        ``oks`` the mean, ``ok`` the share of people with an OKS above .50, .55, ... .95 on average
        (near to AP), ``ok50`` above .50; and ``loss``.
    """
    scores, losses = [], []
    sigmas = constant(COCO17.sigmas, store.device)
    for people in torch.arange(store.people, device=store.device).split(256):
        joints, boxes = store.joints[people], store.person_boxes[people]
        view = View(*regions(boxes), None, None)
        maps = net(normalise(view.crops(store, store.owners[people]).round())).float()
        found = view.to_image(decode(maps) * STRIDE)
        seen = joints[..., 2] > 0
        truth, weight = targets(view.to_crop(joints[..., :2]), seen)
        losses.append(1000 * ((maps - truth) ** 2 * weight[..., None, None]).mean((1, 2, 3)))
        gap = ((found - joints[..., :2]) ** 2).sum(-1)
        like = (-gap / (2 * store.areas[people][:, None] * (2 * sigmas) ** 2)).exp()
        scores.append((like * seen).sum(1) / seen.sum(1))
    oks = torch.cat(scores)
    steps = torch.arange(0.5, 0.99, 0.05, device=oks.device)
    return {
        "score": float((oks[:, None] > steps).float().mean()),
        "ok50": float((oks > 0.5).float().mean()),
        "oks": float(oks.mean()),
        "loss": float(torch.cat(losses).mean()),
    }
