"""Light on skin and cloth, for the covered samples of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .backgrounds import value_noise
from .raster import EMPTY, Fragments, rasterise
from .styles import Style

_MAP = 160


@dataclass(frozen=True)
class Light:
    """One distant lamp and what comes from everywhere.

    Attributes:
        direction (np.ndarray): Towards the lamp in the camera's frame, (3,).
        colour (np.ndarray): Of the lamp, (3,), times its strength.
        ambient (float): Strength of what comes from everywhere.
        specular (float): Strength of highlights.
    """

    direction: np.ndarray
    colour: np.ndarray
    ambient: float
    specular: float

    @classmethod
    def sample(cls, rng: np.random.Generator, style: Style) -> Light:
        direction = rng.normal(size=3) * (1, 0.6, 0.5) + (0, -0.6, -0.9)
        direction[1] = -abs(direction[1])
        direction[2] = min(direction[2], -0.15)
        warmth = rng.normal(0, style.light_warmth)
        return cls(
            direction / np.linalg.norm(direction),
            rng.uniform(*style.key_light) * np.array((1 + warmth, 1, 1 - warmth)),
            rng.uniform(*style.ambient),
            rng.uniform(*style.specular),
        )


def sample_skin(rng: np.random.Generator, style: Style) -> np.ndarray:
    """A skin colour of the style, (3,)."""
    place = rng.uniform(0, len(style.skins) - 1)
    if style.skin_jitter <= 0.02:
        place = round(place)
    low = int(place)
    high = min(low + 1, len(style.skins) - 1)
    colour = np.array(style.skins[low]) * (1 - place + low)
    colour = colour + np.array(style.skins[high]) * (place - low)
    return np.clip(colour + rng.normal(0, style.skin_jitter, 3), 0.08, 0.97)


def points_of(fragments: Fragments, intrinsics) -> np.ndarray:
    """Surface points of the covered samples, (M, 3) in the camera's frame."""
    width = fragments.depth.shape[1]
    depth = fragments.depth.ravel()[fragments.place]
    pixels = np.stack([fragments.place % width, fragments.place // width])
    pixels = (pixels + 0.5) / fragments.supersample - 0.5
    rays = (pixels - intrinsics[:2, 2:]) / np.diag(intrinsics)[:2, None]
    return np.stack([*(rays * depth), depth], axis=1).astype(np.float32)


def shade(
    albedo, normals, points, lit, openness, light: Light, shininess=18.0
) -> np.ndarray:
    """Colours (M, 3) of surfaces (M, 3) with unit normals.

    Args:
        albedo (np.ndarray): (M, 3).
        normals (np.ndarray): Outward, (M, 3).
        points (np.ndarray): In the camera's frame, (M, 3).
        lit (np.ndarray): How much of the lamp each sees, (M,).
        openness (np.ndarray): How much of everything else, (M,).
        light (Light): The light.
        shininess (float): Exponent of highlights.
    """
    direction = light.direction.astype(np.float32)
    facing = normals @ direction
    # A little wraps round the edge: skin lets light through.
    diffuse = np.clip((facing + 0.15) / 1.15, 0, 1) * lit
    # The sky is above, and below it is darker.
    sky = (0.85 - 0.15 * normals[:, 1]) * openness
    view = points / -np.linalg.norm(points, axis=1, keepdims=True)
    half = view + direction
    half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
    gloss = np.clip((normals * half).sum(axis=1), 0, 1) ** shininess * lit
    colour = light.colour.astype(np.float32)
    shaded = albedo * (light.ambient * sky[:, None] + diffuse[:, None] * colour)
    return shaded + light.specular * gloss[:, None] * colour


def lit_share(points, vertices, triangles, light: Light, darkness: float):
    """How much of the lamp reaches points (M, 3), by a shadow map."""
    if not darkness or not len(points):
        return np.ones(len(points), np.float32)
    towards = light.direction
    across = np.cross(
        towards, (0.0, 0.0, 1.0) if abs(towards[2]) < 0.9 else (1.0, 0, 0)
    )
    across /= np.linalg.norm(across)
    # The lamp looks along its own z; from far away it sees in parallel.
    frame = np.stack([across, np.cross(-towards, across), -towards])
    low, high = points.min(axis=0), points.max(axis=0)
    radius = np.linalg.norm(high - low) / 2
    far = 50 * radius
    offset = np.array((0, 0, far)) - frame @ ((low + high) / 2)
    focal = (_MAP / 2 - 2) * far / radius
    camera = np.array([[focal, 0, _MAP / 2], [0, focal, _MAP / 2], [0, 0, 1.0]])
    seen = rasterise(vertices @ frame.T + offset, triangles, camera, (_MAP, _MAP))
    place = points @ frame.T.astype(np.float32) + offset.astype(np.float32)
    pixels = focal * place[:, :2] / place[:, 2:] + _MAP / 2
    column, row = np.clip(np.round(pixels), 0, _MAP - 1).astype(int).T
    gap = seen.depth[row, column]
    # The map's own grain must not shade the surface that it saw.
    slack = 3 * radius / _MAP + 0.003
    return 1 - darkness * (gap < place[:, 2] - slack).astype(np.float32)


def soften(values, fragments: Fragments, sigma: float):
    """Blur values of the covered samples (M,) over the surface."""
    shape = fragments.depth.shape
    pair = np.zeros((2, *shape), np.float32)
    pair[0].ravel()[fragments.place] = values
    pair[1].ravel()[fragments.place] = 1
    blurred = [cv2.GaussianBlur(plane, (0, 0), sigma) for plane in pair]
    blurred = [plane.ravel()[fragments.place] for plane in blurred]
    return blurred[0] / np.maximum(blurred[1], 1e-6)


def openness(fragments: Fragments, reach: float, pixels: int, darkness: float):
    """How open the surface is to light from everywhere, (M,).

    A sample is closed in where its neighbours are nearer to the camera by up
    to ``reach`` metres.
    """
    depth = fragments.depth
    covered = depth < EMPTY
    filled = np.where(covered, depth, np.float32(0))
    side = 2 * (pixels // 2) + 1
    share = cv2.blur(covered.astype(np.float32), (side, side))
    mean = cv2.blur(filled, (side, side)) / np.maximum(share, 1e-6)
    behind = np.clip((depth - mean) / reach, 0, 1) * share
    return 1 - darkness * behind.ravel()[fragments.place]


def rough(rng: np.random.Generator, texture, cells: int) -> np.ndarray:
    """Noise of deviation 1 at places of the texture (M, 2), (M,).

    One noise of each number of cells serves all pictures, which see different
    parts of it.
    """
    noise = _noise(cells)
    place = (texture + rng.random(2)) * len(noise)
    column, row = place.astype(np.int32).T % len(noise)
    return noise[row, column]


@lru_cache(maxsize=None)
def _noise(cells, size=512):
    rng = np.random.default_rng(cells)
    return value_noise(rng, (size, size), (cells, cells), octaves=3)
