"""Light on skin and cloth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .backgrounds import value_noise
from .raster import EMPTY, Fragments, rasterise
from .styles import Style

# Sides of the shadow map and of a noise.
_MAP, _NOISE = 160, 512


@dataclass(frozen=True)
class Light:
    """One distant lamp and what comes from everywhere.

    Attributes:
        direction (np.ndarray): Towards the lamp in the camera's frame, (3,).
        colour (np.ndarray): Of the lamp, times its strength, (3,).
        ambient (float): Strength of what comes from everywhere.
        specular (float): Strength of highlights.
    """

    direction: np.ndarray
    colour: np.ndarray
    ambient: float
    specular: float

    @classmethod
    def sample(cls, rng: np.random.Generator, style: Style) -> Light:
        x, y, z = rng.normal((0, -0.6, -0.9), (1, 0.6, 0.5))
        direction = np.array((x, -abs(y), min(z, -0.15)))
        warmth = np.array((1, 0, -1)) * rng.normal(0, style.warmth)
        return cls(
            direction / np.linalg.norm(direction),
            (rng.uniform(*style.key_light) * (1 + warmth)).astype(np.float32),
            rng.uniform(*style.ambient),
            rng.uniform(*style.specular),
        )


def sample_skin(rng: np.random.Generator, style: Style) -> np.ndarray:
    """A skin colour of the style or between two of them, (3,)."""
    place = rng.uniform(0, len(style.skins) - 1)
    colour = [
        np.interp(place, range(len(style.skins)), channel)
        for channel in np.transpose(style.skins)
    ]
    return np.clip(colour + rng.normal(0, style.skin_jitter, 3), 0.08, 0.97)


def shade(
    albedo, normals, fragments: Fragments, scene, light: Light, style: Style
) -> np.ndarray:
    """Colours (M, 3) of the covered samples of a picture.

    Args:
        albedo (np.ndarray): (M, 3).
        normals (np.ndarray): Outward, of unit length, (M, 3).
        fragments (Fragments): The covered samples.
        scene (Scene): What they show.
        light (Light): The light.
        style (Style): How dark shadows and gaps are.
    """
    points = fragments.points(scene.intrinsics)
    # Samples a metre.
    scale = fragments.supersample * scene.intrinsics[0, 0] / np.median(points[:, 2])
    lit = np.ones(len(points), np.float32)
    if style.shadows:
        lit -= style.shadows * _in_shadow(points, scene, light)
        lit = fragments.spread(lit, 1 + 0.15 * scene.flesh * scale)
    open_share = 1 - style.occlusion * _closed_in(fragments, scene.flesh, scale)
    direction, colour = np.float32(light.direction), np.float32(light.colour)
    # A little wraps round the edge: skin lets light through.
    diffuse = np.clip((normals @ direction + 0.15) / 1.15, 0, 1) * lit
    # The sky is above, and below it is darker.
    sky = (0.85 - 0.15 * normals[:, 1]) * open_share
    half = direction - points / np.linalg.norm(points, axis=1, keepdims=True)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    gloss = np.clip((normals * half).sum(axis=1), 0, 1) ** 14 * lit
    lamp = diffuse[:, None] * colour
    shaded = albedo * (light.ambient * sky[:, None] + lamp)
    return shaded + light.specular * gloss[:, None] * colour


def _in_shadow(points, scene, light):
    """Which points (M, 3) the lamp does not reach, by a shadow map."""
    across = np.cross(light.direction, (0.6, 0.0, 0.8))
    across /= np.linalg.norm(across)
    # The lamp looks along its own z; from far away it sees in parallel.
    ahead = -light.direction
    frame = np.stack([across, np.cross(ahead, across), ahead])
    low, high = points.min(axis=0), points.max(axis=0)
    radius = np.linalg.norm(high - low) / 2
    offset = np.array((0, 0, 50 * radius)) - frame @ ((low + high) / 2)
    focal = 50 * (_MAP / 2 - 2)
    camera = np.array([[focal, 0, _MAP / 2], [0, focal, _MAP / 2], [0, 0, 1.0]])
    vertices = scene.vertices @ frame.T + offset
    seen = rasterise(vertices, scene.triangles, camera, (_MAP, _MAP)).depth
    place = points @ frame.T.astype(np.float32) + offset.astype(np.float32)
    pixels = focal * place[:, :2] / place[:, 2:] + _MAP / 2
    column, row = np.clip(np.round(pixels), 0, _MAP - 1).astype(int).T
    # The map's own grain must not shade the surface that it saw.
    return seen[row, column] < place[:, 2] - 3 * radius / _MAP - 0.003


def _closed_in(fragments, flesh, scale):
    """How far neighbours stand before each sample, (M,) from 0 to 1."""
    depth = fragments.depth
    side = 2 * int(0.9 * flesh * scale) + 1
    covered = (depth < EMPTY).astype(np.float32)
    share = cv2.blur(covered, (side, side))
    mean = cv2.blur(covered * depth, (side, side)) / np.maximum(share, 1e-6)
    return (np.clip((depth - mean) / flesh, 0, 1) * share).ravel()[fragments.place]


def cast_shadow(vertices, scene, light: Light, point, normal, blur: float):
    """How much of a body's shadow falls on a plane behind it, (H, W).

    Args:
        vertices (np.ndarray): Of the body, close together, (V, 3).
        scene (Scene): Its camera.
        light (Light): The light.
        point, normal (np.ndarray): The plane, (3,) each.
        blur (float): Width of the shadow's edge, pixels.
    """
    # A low light would throw the shadow out of the picture.
    towards = light.direction + 0.6 * normal
    towards = towards / np.linalg.norm(towards)
    above = (vertices - point) @ normal / max(towards @ normal, 0.25)
    cast = vertices - towards * above[:, None]
    pixels = np.round(scene.project(cast[cast[:, 2] > 0.1])).astype(int)
    pixels = pixels[np.all((pixels >= 0) & (pixels < scene.size), axis=1)]
    shadow = np.zeros(scene.size[::-1], np.float32)
    shadow[pixels[:, 1], pixels[:, 0]] = 1
    side = 2 * int(blur) + 1
    closed = cv2.morphologyEx(shadow, cv2.MORPH_CLOSE, np.ones((side, side)))
    return cv2.GaussianBlur(closed, (0, 0), blur)


def rough(rng: np.random.Generator, texture, cells: int) -> np.ndarray:
    """Noise of deviation 1 at places of the texture (M, 2), (M,).

    One noise of each number of cells serves all pictures, which see different
    parts of it.
    """
    noise = _noise(cells)
    start = rng.integers(0, _NOISE, 2, np.int32)
    column, row = ((texture * _NOISE).astype(np.int32) + start).T % _NOISE
    return noise.ravel()[row * _NOISE + column]


@lru_cache(maxsize=None)
def _noise(cells):
    rng = np.random.default_rng(cells)
    return value_noise(rng, (_NOISE, _NOISE), (cells, cells), 3)
