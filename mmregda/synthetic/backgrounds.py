"""What is behind hands and people, and what a camera does to a picture.

A background takes a generator, a size (width, height) and the row of the
horizon; it returns (H, W, 3) float32 RGB of about [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np

from .styles import Style


def value_noise(rng: np.random.Generator, size, cells, octaves: int = 4) -> np.ndarray:
    """Sum of enlarged random grids, each finer and weaker than the last.

    Args:
        rng (np.random.Generator): Source of randomness.
        size (tuple[int, int]): Width and height in pixels.
        cells (tuple[float, float]): Cells of the coarsest grid along x and y.
        octaves (int): Number of grids.

    Returns:
        np.ndarray: (H, W) float32 of mean about 0 and deviation about 1.
    """
    total = np.zeros((size[1], size[0]), np.float32)
    amplitudes = 0.6 ** np.arange(octaves)
    for octave, amplitude in enumerate(amplitudes / np.linalg.norm(amplitudes)):
        columns, rows = np.clip(np.array(cells) * 2**octave, 2, size).astype(int)
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        grid = cv2.resize(grid, tuple(size), interpolation=cv2.INTER_CUBIC)
        total += np.float32(amplitude) * grid
    return total


def muted_colour(rng: np.random.Generator) -> np.ndarray:
    """A random colour; mostly muted, as most things are."""
    return np.clip(rng.uniform(0.1, 0.95) + rng.normal(0, 0.13, 3), 0, 1)


def _mix(share, first, second):
    share = np.clip(np.float32(share), 0, 1)[..., None]
    first, second = np.float32(first), np.float32(second)
    return first + share * (second - first)


def _ramp(rng, size):
    """Values from 0 to 1 along some direction, (H, W)."""
    along, down = rng.normal(size=2)
    ramp = (
        along * np.linspace(0, 1, size[0]) + down * np.linspace(0, 1, size[1])[:, None]
    )
    return (ramp - ramp.min()) / np.ptp(ramp)


def _plain(rng, size, horizon):
    return np.tile(rng.uniform(0, 1, 3).astype(np.float32), (size[1], size[0], 1))


def _gradient(rng, size, horizon):
    return _mix(_ramp(rng, size), rng.uniform(0, 1, 3), rng.uniform(0, 1, 3))


def _checker(rng, size, horizon):
    """A tiled floor under a sky, as in a ray tracer's first picture."""
    width, height = size
    horizon = rng.uniform(0.1, 0.6) * height
    y, x = np.mgrid[:height, :width]
    below = np.maximum(y - horizon, 1e-3)
    across = (x - rng.uniform(0, width)) / below * height / width
    tile = rng.uniform(1, 4)
    odd = (np.floor(across * tile) + np.floor(height / below * tile)) % 2
    # Far tiles are smaller than pixels: fade them to their mean.
    odd = 0.5 + (odd - 0.5) * np.clip(4 * below / height, 0, 1)
    floor = _mix(odd, rng.uniform(0, 1, 3), rng.uniform(0, 1, 3))
    return np.where((y > horizon)[..., None], floor, muted_colour(rng))


def _clouds(rng, size, horizon):
    """Blotches of two colours: plaster, stone, carpet."""
    noise = value_noise(rng, size, rng.uniform(2, 8, 2), 5)
    return _mix(0.5 + 0.3 * noise, muted_colour(rng), muted_colour(rng))


def _foliage(rng, size, horizon):
    """Leaves: overlapping patches of sharp-edged noise."""
    hue = np.array((rng.uniform(0.2, 0.5), rng.uniform(0.35, 0.6), 0.18))
    image = 0.3 * hue
    for _ in range(3):
        mask = value_noise(rng, size, [rng.uniform(8, 22)] * 2, 2)
        shade = hue * rng.uniform(0.5, 1.3) * rng.uniform(0.85, 1.15, 3)
        image = _mix(1 / (1 + np.exp(-8 * (mask - 0.3))), image, shade)
    return image


def _shelves(rng, size, horizon):
    """Rows of upright things: books, bottles, people who watch."""
    width, height = size
    image = np.tile(0.4 * muted_colour(rng), (height, width, 1)).astype(np.float32)
    edges = np.linspace(0, height, rng.integers(2, 7) + 1)
    for top, bottom in zip(edges, edges[1:]):
        right = 0
        while right < width:
            left, right = right, right + int(rng.uniform(0.03, 0.1) * width) + 1
            high = int(top + (bottom - top) * rng.uniform(0.1, 0.4))
            box = image[high : int(bottom), left:right]
            round_off = 1 - 0.5 * np.linspace(-1, 1, box.shape[1])[:, None] ** 2
            box[:] = rng.uniform(0.05, 0.9, 3) * round_off
    return image


def _room(rng, size, horizon):
    """A wall in a falling light, and a table."""
    wall = 0.25 * _clouds(rng, size, horizon) + 0.75 * muted_colour(rng)
    wall *= 0.7 + 0.5 * _ramp(rng, size)[..., None]
    table = _clouds(rng, size, horizon)
    rows = np.arange(size[1])[:, None] + rng.uniform(-0.3, 0.3) * np.arange(size[0])
    edge = rng.uniform(0.4, 0.8) * size[1]
    return _mix((rows > edge).astype(float), wall, table)


def _ground(rng, size, horizon):
    """Lawn, track, court or sand before a wall, under the sky."""
    width, height = size
    # A horizon far outside would leave nothing but ground or sky.
    horizon = np.clip(horizon, -0.4 * height, 0.85 * height)
    sky = np.array((0.62, 0.74, 0.88)) * rng.uniform(0.75, 1.15)
    image = _mix(
        0.3 + 0.15 * value_noise(rng, size, (2, 4)), sky, rng.uniform(0.6, 0.95)
    )
    wall = (_foliage, _shelves, _clouds, _room)[rng.integers(4)](rng, size, horizon)
    foot = int(np.clip(horizon + 0.06 * height, 0, height))
    top = int(np.clip(foot - rng.uniform(0.1, 1.2) * height, 0, height))
    image[top:foot] = wall[top:foot]
    colours = (
        (0.30, 0.46, 0.18), (0.40, 0.40, 0.42), (0.62, 0.33, 0.22), (0.20, 0.38, 0.56),
        (0.74, 0.62, 0.46), (0.66, 0.48, 0.32),
    )  # fmt: skip
    floor = np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.75, 1.2)
    grain = rng.uniform(0.03, 0.12) * value_noise(rng, size, (9, 22))
    floor = (floor * (1 + grain[..., None])).astype(np.float32)
    for _ in range(rng.integers(0, 4)):
        # A painted line runs to somewhere on the horizon.
        start = np.array((rng.uniform(-0.5, 1.5) * width, 1.05 * height))
        end = np.array((rng.uniform(-1.5, 2.5) * width, horizon))
        end = start + rng.uniform(0.4, 0.95) * (end - start)
        side = np.array((rng.uniform(0.008, 0.025) * width, 0))
        corners = [start - side, start + side, end + side / 3, end - side / 3]
        corners = np.round(np.array(corners) * 16).astype(np.int32)
        cv2.fillPoly(floor, [corners], (0.88, 0.89, 0.86), cv2.LINE_AA, 4)
    image[foot:] = floor[foot:]
    return image


BACKGROUNDS = dict(
    plain=_plain, gradient=_gradient, checker=_checker, clouds=_clouds,
    foliage=_foliage, shelves=_shelves, room=_room, ground=_ground,
)  # fmt: skip


def draw_background(rng: np.random.Generator, size, style: Style, skin, horizon: float):
    """A background of the style, (H, W, 3) float32 RGB.

    Args:
        rng (np.random.Generator): Source of randomness.
        size (tuple[int, int]): Width and height in pixels.
        style (Style): Which kinds of background, how much clutter and blur.
        skin (np.ndarray): The skin's colour, which some things share.
        horizon (float): Row of the horizon, pixels.
    """
    name = style.backgrounds[rng.integers(len(style.backgrounds))]
    image = np.ascontiguousarray(BACKGROUNDS[name](rng, size, horizon), np.float32)
    for _ in range(rng.integers(style.clutter[0], style.clutter[1] + 1)):
        same = rng.random() < style.skin_things
        colour = (skin if same else muted_colour(rng)) * rng.uniform(0.6, 1.1)
        draw_thing(rng, image, colour, style.detail)
    blur = rng.uniform(*style.background_blur)
    return cv2.GaussianBlur(image, (0, 0), blur) if blur > 0.1 else image


def draw_thing(rng: np.random.Generator, image, colour, detail: float, centre=None):
    """Draw a polygon, a disc or a bar, shaded if the style has detail.

    Returns:
        np.ndarray: What it covers, (H, W) float32.
    """
    height, width = image.shape[:2]
    centre = rng.uniform((0, 0), (width, height)) if centre is None else centre
    radius = rng.uniform(0.05, 0.25) * width
    angles, axes = (
        (np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7))), (1, 1)),
        (np.linspace(0, 2 * np.pi, 40), (1, rng.uniform(0.5, 1))),
        (np.radians((20, 160, 200, 340)), (2, rng.uniform(0.3, 0.9))),
    )[rng.integers(3)]
    c, s = np.cos(angle := rng.uniform(0, np.pi)), np.sin(angle)
    corners = (
        radius * np.array(axes) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    )
    corners = np.round((centre + corners @ [[c, s], [-s, c]]) * 16).astype(np.int32)
    mask = np.zeros((height, width), np.float32)
    cv2.fillPoly(mask, [corners], 1.0, cv2.LINE_AA, 4)
    left, top = np.clip(corners.min(axis=0) // 16 - 1, 0, (width, height))
    right, bottom = np.clip(corners.max(axis=0) // 16 + 2, 0, (width, height))
    box = np.s_[top:bottom, left:right]
    # Rounder towards a side that the light reaches.
    y, x = np.ogrid[box]
    slope = (c * (x - centre[0]) + s * (y - centre[1])) / radius
    shade = 1 + detail * np.clip(rng.uniform(-0.5, 0.5) * slope, -0.5, 0.4)
    image[box] = _mix(mask[box], image[box], shade[..., None] * colour)
    return mask


def photograph(rng: np.random.Generator, image: np.ndarray, style: Style) -> np.ndarray:
    """Blur, exposure, white balance, vignetting and noise of a float32 RGB image.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    blur, motion = rng.uniform(*style.defocus), rng.uniform(*style.motion)
    if blur > 0:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    angle = rng.uniform(0, np.pi)
    if motion > 1:
        kernel = np.zeros((9, 9), np.float32)
        reach = 8 * motion * np.array((np.cos(angle), np.sin(angle)))
        ends = [np.round(72 + sign * reach).astype(int).tolist() for sign in (-1, 1)]
        cv2.line(kernel, *ends, 1.0, 1, cv2.LINE_AA, 4)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    gains = rng.uniform(*style.exposure) * np.exp(rng.normal(0, style.white_balance, 3))
    image = image * gains.astype(np.float32)
    vignette, noise = rng.uniform(*style.vignette), rng.uniform(*style.noise)
    if vignette > 0:
        y, x = np.ogrid[: 1 : height * 1j, : 1 : width * 1j]
        far = (x - rng.uniform(0.3, 0.7)) ** 2 + (y - rng.uniform(0.3, 0.7)) ** 2
        image *= (1 - vignette * np.minimum(2 * far, 1)).astype(np.float32)[..., None]
    if noise > 0:
        grain = rng.standard_normal(image.shape, dtype=np.float32)
        image += np.float32(noise) * grain
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
