"""Smooth random textures."""

from __future__ import annotations

import cv2
import numpy as np


def value_noise(
    rng: np.random.Generator, size, cells, octaves: int = 4, decay: float = 0.55
) -> np.ndarray:
    """Sum of enlarged random grids, each finer and weaker than the last.

    Args:
        rng (np.random.Generator): Source of randomness.
        size (tuple[int, int]): Width and height in pixels.
        cells (tuple[float, float]): Cells of the coarsest grid along x and y.
        octaves (int): Number of grids.
        decay (float): Amplitude of a grid relative to the coarser one.

    Returns:
        np.ndarray: (H, W) float32 of mean about 0 and deviation about 1.
    """
    total = np.zeros((size[1], size[0]), np.float32)
    power = 0.0
    amplitude = 1.0
    for octave in range(octaves):
        shape = [
            int(np.clip(round(count * 2**octave), 2, limit))
            for count, limit in zip(cells, size)
        ]
        grid = rng.standard_normal((shape[1], shape[0]), dtype=np.float32)
        total += amplitude * cv2.resize(
            grid, tuple(size), interpolation=cv2.INTER_CUBIC
        )
        power += amplitude * amplitude
        amplitude *= decay
    return total / np.float32(np.sqrt(power))
