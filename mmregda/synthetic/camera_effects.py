"""What a camera does to a picture, in the order in which it happens."""

from __future__ import annotations

import cv2
import numpy as np

from .styles import Style


def photograph(rng: np.random.Generator, image: np.ndarray, style: Style) -> np.ndarray:
    """Blur, exposure, white balance, vignetting and noise.

    Args:
        rng (np.random.Generator): Source of randomness.
        image (np.ndarray): (H, W, 3) float32 RGB.
        style (Style): The amounts.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    image = _blur(rng, image, style)
    gains = rng.uniform(*style.exposure) * np.exp(rng.normal(0, style.white_balance, 3))
    image = image * gains.astype(np.float32)
    strength = rng.uniform(*style.vignette)
    if strength > 0:
        image *= _vignette(rng, image.shape, strength)[..., None]
    noise = rng.uniform(*style.noise)
    if noise > 0:
        image = image + noise * rng.standard_normal(image.shape, dtype=np.float32)
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _blur(rng, image, style):
    defocus = rng.uniform(*style.defocus)
    if defocus > 0:
        image = cv2.GaussianBlur(image, (0, 0), defocus)
    motion = rng.uniform(*style.motion)
    angle = rng.uniform(0, np.pi)
    if motion > 1:
        image = cv2.filter2D(image, -1, _smear(motion, angle))
    return image


def _smear(length, angle):
    """Kernel of a camera that moves by ``length`` pixels."""
    half = int(np.ceil(length / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    steps = np.linspace(-length / 2, length / 2, 8 * half + 1)
    columns = np.round(half + steps * np.cos(angle)).astype(int)
    rows = np.round(half + steps * np.sin(angle)).astype(int)
    np.add.at(kernel, (rows, columns), 1)
    return kernel / kernel.sum()


def _vignette(rng, shape, strength):
    """Falling brightness about a centre that a crop has moved."""
    height, width = shape[:2]
    centre = rng.uniform(0.3, 0.7, 2)
    x = np.arange(width, dtype=np.float32) / width - np.float32(centre[0])
    y = np.arange(height, dtype=np.float32) / height - np.float32(centre[1])
    squared = x[None] ** 2 + y[:, None] ** 2
    return 1 - np.float32(strength) * np.minimum(2 * squared, 1)
