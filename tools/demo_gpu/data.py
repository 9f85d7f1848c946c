"""The images and people that stay on the device, and how pictures are cut out of them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tools.demo_gpu.render import Chunk

MAX_BOXES = 24  # annotations of an image; more are left out
PERSON, IGNORED = 1, 2  # kinds of boxes; 0 is none
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Store:
    """All images as one line of pixels, with their annotations, in tensors of fixed size.

    Nothing moves when images are added, so that a captured CUDA graph sees the new ones.

    Attributes:
        pixels: uint8 (P, 3) RGB.
        starts: int64 (n,) first pixel of each image.
        sizes: int64 (n, 2) height and width.
        boxes: (n, MAX_BOXES, 4) x1, y1, x2, y2 in pixels.
        kinds: int64 (n, MAX_BOXES).
        owners: int64 (m,) image of each person with keypoints.
        person_boxes: (m, 4).
        joints: (m, 17, 3) x, y, v.
        areas: (m,) visible pixels.
        n_images, n_people: int64 scalars, of what is filled.
    """

    def __init__(self, images: int, device: torch.device) -> None:
        people = images * 6
        self.device = device
        self.pixels = torch.zeros(images * 300_000, 3, dtype=torch.uint8, device=device)
        self.starts = torch.zeros(images, dtype=torch.int64, device=device)
        self.sizes = torch.ones(images, 2, dtype=torch.int64, device=device)
        self.boxes = torch.zeros(images, MAX_BOXES, 4, device=device)
        self.kinds = torch.zeros(images, MAX_BOXES, dtype=torch.int64, device=device)
        self.owners = torch.zeros(people, dtype=torch.int64, device=device)
        self.person_boxes = torch.zeros(people, 4, device=device)
        self.joints = torch.zeros(people, 17, 3, device=device)
        self.areas = torch.ones(people, device=device)
        self.n_images = torch.zeros((), dtype=torch.int64, device=device)
        self.n_people = torch.zeros((), dtype=torch.int64, device=device)
        self.images = self.people = self._filled = 0

    def add(self, chunk: Chunk) -> bool:
        """Add a chunk of ``render.render_chunk``; False, and nothing added, if there is no room."""
        length, n = len(chunk["pixels"]), len(chunk["sizes"])
        labelled = (chunk["joints"][..., 2] > 0).any(1) & ~chunk["crowd"]
        m = int(labelled.sum())
        full = self._filled + length > len(self.pixels) or self.images + n > len(self.starts)
        if full or self.people + m > len(self.owners):
            return False
        lengths = chunk["sizes"].prod(1)
        starts = self._filled + np.cumsum(lengths) - lengths
        boxes = np.zeros((n, MAX_BOXES, 4), np.float32)
        kinds = np.zeros((n, MAX_BOXES), np.int64)
        for i in range(n):
            mine = np.flatnonzero(chunk["image"] == i)[:MAX_BOXES]
            boxes[i, : len(mine)] = chunk["boxes"][mine]
            kinds[i, : len(mine)] = np.where(chunk["crowd"][mine], IGNORED, PERSON)
        a, b, p, q = self.images, self.images + n, self.people, self.people + m
        for target, values in (
            (self.pixels[self._filled : self._filled + length], chunk["pixels"]),
            (self.starts[a:b], starts),
            (self.sizes[a:b], chunk["sizes"]),
            (self.boxes[a:b], boxes),
            (self.kinds[a:b], kinds),
            (self.owners[p:q], chunk["image"][labelled] + a),
            (self.person_boxes[p:q], chunk["boxes"][labelled]),
            (self.joints[p:q], chunk["joints"][labelled]),
            (self.areas[p:q], chunk["area"][labelled]),
        ):
            target.copy_(torch.from_numpy(np.ascontiguousarray(values)))
        self.images, self.people, self._filled = b, q, self._filled + length
        self.n_images.fill_(b)
        self.n_people.fill_(q)
        return True


def cut(store: Store, images: Tensor, xy: Tensor, *, cubic: bool, border: bool) -> Tensor:
    """Look up images at places between pixels, as OpenCV does, without smoothing.

    Args:
        store: the images.
        images: (N,) numbers of images.
        xy: (N, H, W, 2) pixels, middles of pixels at whole numbers.
        cubic: OpenCV's cubic kernel (a = -0.75), else linear.
        border: the outermost pixels go on outside of the image, else it is black there.

    Returns:
        (N, 3, H, W) float32, 0 to 255, in channels-last order.
    """
    height, width = (side.reshape(-1, 1, 1) for side in store.sizes[images].unbind(1))
    start = store.starts[images].reshape(-1, 1, 1)
    floor = xy.floor()
    part = xy - floor
    whole = floor.long()
    taps = (-1, 0, 1, 2) if cubic else (0, 1)
    weights = [_weight(part - tap, cubic) for tap in taps]
    total = torch.zeros(*xy.shape[:3], 3, device=xy.device)
    for dy, wy in zip(taps, weights, strict=True):
        y = whole[..., 1] + dy
        row = start + y.clamp(min=0).minimum(height - 1) * width
        inside_y = (y >= 0) & (y < height)
        for dx, wx in zip(taps, weights, strict=True):
            x = whole[..., 0] + dx
            weight = wy[..., 1] * wx[..., 0]
            if not border:
                weight = weight * (inside_y & (x >= 0) & (x < width))
            found = store.pixels[row + x.clamp(min=0).minimum(width - 1)]
            total += found * weight[..., None]
    return total.permute(0, 3, 1, 2).clamp(0, 255)


def _weight(t: Tensor, cubic: bool) -> Tensor:
    """The kernel at distance ``t``."""
    t = t.abs()
    if not cubic:
        return (1 - t).clamp(min=0)
    a = -0.75
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return torch.where(t <= 1, near, torch.where(t < 2, far, torch.zeros_like(t)))


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """A tensor that is made once: nothing may be copied to a device while a graph is captured."""
    return torch.tensor(values, device=device)


def recolour(x: Tensor, strength: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and tint of images (N, 3, H, W), 0 to 255.

    The range is that of daylight: the night set must stay unseen.
    """
    n = len(x)
    swing = (torch.rand(n, 3, 1, 1, device=x.device) * 2 - 1) * 0.3 * strength
    swing = swing * (torch.rand(n, 3, 1, 1, device=x.device) < 0.6)
    bright, contrast, colour = (1 + swing).split(1, 1)
    tint = 1 + torch.randn(n, 3, 1, 1, device=x.device) * 0.04 * strength
    x = x * bright * tint
    x = (x - x.mean((1, 2, 3), keepdim=True)) * contrast + x.mean((1, 2, 3), keepdim=True)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * colour + grey
    noise = torch.rand(n, 1, 1, 1, device=x.device) * 4 * strength
    return (x + torch.randn_like(x) * noise).clamp(0, 255)


def normalise(x: Tensor) -> Tensor:
    """Pixels from 0 to 255 as the networks want them."""
    mean = constant(MEAN, x.device).reshape(3, 1, 1)
    std = constant(STD, x.device).reshape(3, 1, 1)
    return (x / 255 - mean) / std


class How(NamedTuple):
    """How a network is run in training.

    Attributes:
        bf16: convolutions in bfloat16; losses and boxes are always in float32.
        order: memory format of images.
    """

    bf16: bool
    order: torch.memory_format

    def __call__(self, net: nn.Module, images: Tensor) -> Any:
        """What a network says of images (N, 3, H, W) from 0 to 255."""
        x = normalise(images).contiguous(memory_format=self.order)
        with torch.autocast(x.device.type, torch.bfloat16, self.bf16, cache_enabled=False):
            return net(x)


class Feed:
    """Reads chunks from the spool folder in a thread; the trainer takes them between steps."""

    def __init__(self, spool: Path, kind: str) -> None:
        self._spool, self._kind = spool, kind
        self._seen: set[str] = set()
        self._queue: queue.Queue[Chunk] = queue.Queue(maxsize=64)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            for path in sorted(self._spool.glob(f"{self._kind}-*.npz")):
                if path.name not in self._seen:
                    self._seen.add(path.name)
                    with np.load(path) as file:
                        self._queue.put({name: file[name] for name in file.files})
            time.sleep(0.5)

    def take(self, most: int) -> Iterator[Chunk]:
        """The chunks that are ready, ``most`` of them at most."""
        for _ in range(most):
            try:
                yield self._queue.get_nowait()
            except queue.Empty:
                return
