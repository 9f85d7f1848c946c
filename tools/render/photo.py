"""The photograph of a rendered scene: lens, exposure, sensor."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.render.pose3d import Rng
from tools.render.world import Scene

F32 = NDArray[np.float32]


def photograph(linear: F32, depth: F32, scene: Scene, rng: Rng) -> NDArray[np.uint8]:
    """Lens and sensor: depth of field, shake, glow, exposure, colour, vignette, noise."""
    image = linear
    width = depth.shape[1]
    if rng.random() < 0.35 and not scene.night:
        image = _defocus(image, depth, scene.subject, rng.uniform(0.8, 3.0))
    if rng.random() < (0.5 if scene.night else 0.12):
        image = _shake(image, rng.uniform(1.5, 4.5), rng.uniform(0, np.pi))
    bright = np.maximum(image - 0.9, 0)
    image = image + (0.35 if scene.night else 0.15) * cv2.GaussianBlur(bright, (0, 0), width / 60)
    return _sense(_expose(image, scene.night, rng), scene.night, rng)


def _expose(image: F32, night: bool, rng: Rng) -> F32:
    """Exposure by the mean log luminance, white balance, vignette, film curve; display values."""
    height, width = image.shape[:2]
    key = float(np.exp(np.log(image.mean(axis=2) + 0.02).mean()))
    target = rng.uniform(0.045, 0.12) if night else rng.uniform(0.19, 0.3)
    gain = target / key
    image = image * gain * (1 + rng.normal(0, 0.03, 3)).astype(np.float32)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    image = image * (1 - rng.uniform(0, 0.3) * 0.5 * (x[None] ** 2 + y[:, None] ** 2))[..., None]
    image = image * (1 + 0.12 * image) / (1 + 0.62 * image)
    out: F32 = np.sqrt(np.clip(image, 0, 1))
    return out


def _sense(tone: F32, night: bool, rng: Rng) -> NDArray[np.uint8]:
    """Contrast, saturation and grain; 8-bit values."""
    contrast = rng.uniform(0.75, 0.95) if night else rng.uniform(0.95, 1.15)
    tone = (tone - 0.45) * contrast + 0.45 if not night else tone * contrast + 0.03
    grey = tone.mean(axis=2, keepdims=True)
    tone = grey + (tone - grey) * (rng.uniform(0.4, 0.9) if night else rng.uniform(0.85, 1.15))
    sigma = rng.uniform(0.025, 0.065) if night else rng.uniform(0.002, 0.014)
    grain = rng.standard_normal(tone.shape, dtype=np.float32) * np.float32(sigma)
    if night:
        grain = 0.5 * grain + cv2.GaussianBlur(grain, (0, 0), 0.8)
    return np.clip((tone + grain) * 255 + 0.5, 0, 255).astype(np.uint8)


def _defocus(image: F32, depth: F32, focus: float, strength: float) -> F32:
    """Blur what is not at the distance ``focus``."""
    blur = cv2.GaussianBlur(image, (0, 0), strength)
    share = np.clip(abs(1 / np.minimum(depth, 60) - 1 / focus) * focus * 1.6 - 0.35, 0, 1)
    share = cv2.GaussianBlur(share.astype(np.float32), (0, 0), 1.2)[..., None]
    out: F32 = image * (1 - share) + blur * share
    return out


def _shake(image: F32, length: float, angle: float) -> F32:
    """Blur along a line of ``length`` pixels."""
    n = 2 * int(length) + 1
    kernel = np.zeros((n, n), np.float32)
    for t in np.linspace(-length / 2, length / 2, 4 * n):
        kernel[round(n // 2 + t * np.sin(angle)), round(n // 2 + t * np.cos(angle))] = 1
    out: F32 = cv2.filter2D(image, -1, kernel / kernel.sum())
    return out
