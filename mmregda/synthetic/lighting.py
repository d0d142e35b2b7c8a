"""Light on rendered bodies: what reaches a surface, and what it sends back.

Nothing here knows what it lights.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .renderer import Buffers, RoundCones, render
from .old_styles import Style

# Factor by which normals are reduced before they are blurred.
_SMOOTHING_STEP = 3


@dataclass(frozen=True)
class Light:
    """A distant light and the light from everywhere.

    Attributes:
        direction (np.ndarray): Unit vector towards the light, (3,).
        colour (np.ndarray): RGB strength of the light, (3,).
        ambient (np.ndarray): RGB strength of the ambient light, (3,).
        specular (float): Strength of highlights.
    """

    direction: np.ndarray
    colour: np.ndarray
    ambient: np.ndarray
    specular: float

    @classmethod
    def sample(cls, rng: np.random.Generator, style: Style) -> Light:
        azimuth = rng.uniform(-75, 75)
        lowest = 15 if style.light_from_above else -20
        elevation = np.deg2rad(rng.uniform(lowest, 75))
        if not style.light_from_above:
            azimuth *= 1.3
        azimuth = np.deg2rad(azimuth)
        direction = np.array(
            (
                np.sin(azimuth) * np.cos(elevation),
                -np.sin(elevation),
                -np.cos(azimuth) * np.cos(elevation),
            )
        )
        warmth = rng.normal(0, style.light_warmth)
        tint = np.array((1 + warmth, 1, 1 - warmth))
        # Shade is lit by the sky or the walls: the complementary tint.
        return cls(
            direction,
            rng.uniform(*style.key_light) * tint,
            rng.uniform(*style.ambient) * (2 - tint),
            rng.uniform(*style.specular),
        )


def sample_skin(rng: np.random.Generator, style: Style) -> np.ndarray:
    """A skin colour of the style, (3,) RGB."""
    palette = np.array(style.skin_palette)
    if style.mix_skins:
        place = rng.uniform(0, len(palette) - 1)
        colour = [
            np.interp(place, np.arange(len(palette)), channel) for channel in palette.T
        ]
    else:
        colour = palette[rng.integers(len(palette))]
    colour = np.asarray(colour) * np.exp(rng.normal(0, style.skin_jitter, 3))
    return np.clip(colour, 0, 1)


def illuminate(points, normals, albedo, gloss, light, style, lit, open_sky):
    """Light that surface points send to a camera at the origin.

    Args:
        points (np.ndarray): Surface points, (M, 3), float32.
        normals (np.ndarray): Their unit normals, (M, 3), float32.
        albedo (np.ndarray): Their colours, (M, 3).
        gloss (np.ndarray): Factor on their highlights, (M,).
        light (Light): The light.
        style (Style): How far light creeps round curvature.
        lit (np.ndarray): Share of the main light that reaches them, (M,).
        open_sky (np.ndarray): Share of the ambient light that does, (M,).

    Returns:
        np.ndarray: (M, 3) float32 RGB.
    """
    direction = light.direction.astype(np.float32)
    facing = normals @ direction
    wrapped = np.maximum((facing + style.wrap) / (1 + style.wrap), 0) * lit
    # Light that has wandered through skin comes out red.
    bleed = np.maximum(wrapped - np.maximum(facing, 0) * lit, 0)
    diffuse = wrapped[:, None] * light.colour.astype(np.float32)
    diffuse[:, 0] += 0.3 * bleed
    incoming = diffuse + (open_sky[:, None] * light.ambient.astype(np.float32))
    view = -points / np.linalg.norm(points, axis=1, keepdims=True)
    half = view + direction
    half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
    shine = np.maximum(np.einsum('mi,mi->m', normals, half), 0) ** 24
    highlight = light.specular * gloss * shine * lit
    return albedo * incoming + highlight[:, None]


def lit_share(
    cones: RoundCones,
    points: np.ndarray,
    light: Light,
    darkness: float,
    span: float,
    distance: float,
    bias: float,
    resolution: int = 128,
) -> np.ndarray:
    """Share of the main light that reaches each point: a shadow map.

    Args:
        cones (RoundCones): Everything that may cast a shadow.
        points (np.ndarray): Surface points, (M, 3).
        light (Light): The light.
        darkness (float): Share of the light that a shadow takes away.
        span (float): Side of the square that the map covers, metres.
        distance (float): From where the map is seen, metres.
        bias (float): Depth below which a surface does not shadow itself,
            metres.
        resolution (int): Side of the map in texels.

    Returns:
        np.ndarray: Shares, (M,).
    """
    if darkness == 0:
        return np.ones(len(points), np.float32)
    centre = points.mean(axis=0)
    rotation = _look_along(-light.direction)
    eye = centre + distance * light.direction
    focal = resolution * distance / span
    middle = (resolution - 1) / 2
    camera = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
    seen = render(
        cones.transformed(rotation, -rotation @ eye),
        camera,
        (resolution, resolution),
    ).depth
    moved = (points - eye.astype(np.float32)) @ rotation.T.astype(np.float32)
    columns = focal * moved[:, 0] / moved[:, 2] + middle
    rows = focal * moved[:, 1] / moved[:, 2] + middle
    # Softened over neighbouring texels.
    lit = np.zeros(len(points), np.float32)
    taps = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
    for right, down in taps:
        x = np.clip(np.round(columns + right), 0, resolution - 1).astype(int)
        y = np.clip(np.round(rows + down), 0, resolution - 1).astype(int)
        lit += seen[y, x] > moved[:, 2] - bias
    return 1 - darkness * (1 - lit / len(taps))


def open_sky(
    buffers: Buffers, mask: np.ndarray, side: float, depth: float, darkness: float
) -> np.ndarray:
    """Share of the ambient light that reaches into gaps.

    Taken from how deep a pixel lies in its neighbourhood.

    Args:
        buffers (Buffers): What is rendered.
        mask (np.ndarray): Its covered pixels, (H, W).
        side (float): Side of the neighbourhood, samples.
        depth (float): Depth at which a gap is darkest, metres.
        darkness (float): Share of the light that such a gap loses.

    Returns:
        np.ndarray: Shares, one a covered pixel.
    """
    window = _bounding_window(mask)
    inside = mask[window].astype(np.float32)
    buffer = np.where(mask[window], buffers.depth[window], 0)
    side = _odd(side)
    weight = cv2.blur(inside, (side, side))
    mean = cv2.blur(buffer, (side, side)) / np.maximum(weight, 1e-6)
    sunk = np.clip((buffer - mean) / depth, 0, 1)
    return 1 - darkness * sunk[mask[window]]


def smooth_normals(
    buffers: Buffers, mask: np.ndarray, broad: np.ndarray, side: float
) -> np.ndarray:
    """Unit normals, with the cones of broad parts ironed out.

    Args:
        buffers (Buffers): What is rendered.
        mask (np.ndarray): Its covered pixels, (H, W).
        broad (np.ndarray): Those of them that are smoothed, (H, W).
        side (float): Side of the neighbourhood, samples.

    Returns:
        np.ndarray: (M, 3) float32, one a covered pixel.
    """
    window = _bounding_window(mask)
    broad = broad[window]
    side = _odd(side / _SMOOTHING_STEP)
    height, width = broad.shape
    coarse = (
        max(width // _SMOOTHING_STEP, 1),
        max(height // _SMOOTHING_STEP, 1),
    )
    normals = np.empty((np.count_nonzero(mask), 3), np.float32)
    chosen = broad[mask[window]]
    for axis in range(3):
        plane = buffers.normal[axis][window]
        # Blurring needs no full resolution. Its result is not divided by
        # the share of broad parts, since the length is normalised below.
        smooth = cv2.resize(plane * broad, coarse, interpolation=cv2.INTER_AREA)
        smooth = cv2.blur(cv2.blur(smooth, (side, side)), (side, side))
        smooth = cv2.resize(smooth, (width, height))
        normals[:, axis] = plane[mask[window]]
        normals[chosen, axis] = smooth[broad]
    length = np.sqrt(np.einsum('mi,mi->m', normals, normals))
    return normals / np.maximum(length, 1e-6)[:, None]


def smoothstep(values, low, high):
    """0 up to ``low``, 1 from ``high`` on, smooth between."""
    place = np.clip((values - low) / (high - low), 0, 1)
    return place * place * (3 - 2 * place)


def _look_along(direction):
    """Rotation whose third row is the direction."""
    helper = np.array((0.0, 1.0, 0.0))
    if abs(direction @ helper) > 0.95:
        helper = np.array((1.0, 0.0, 0.0))
    right = np.cross(helper, direction)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(direction, right), direction])


def _bounding_window(mask):
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _odd(value):
    return 2 * int(max(value, 1) / 2) + 1
