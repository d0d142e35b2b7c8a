"""Procedural backgrounds.

Every function of ``BACKGROUNDS`` takes a generator and a size (width, height)
and returns an (H, W, 3) float32 RGB image with values of about [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np

from .noise import value_noise
from .old_styles import Style


def plain(rng, size):
    """One colour."""
    return np.full((size[1], size[0], 3), muted_colour(rng), np.float32)


def gradient(rng, size):
    """A linear change from one colour to another."""
    along = _ramp(rng.uniform(0, 2 * np.pi), size)[..., None]
    return muted_colour(rng) * (1 - along) + muted_colour(rng) * along


def checker_floor(rng, size):
    """A tiled floor under a sky, as in a ray tracer's first picture."""
    width, height = size
    horizon = rng.uniform(0.1, 0.6) * height
    y, x = np.mgrid[:height, :width].astype(np.float32)
    below = np.maximum(y - horizon, 1e-3)
    depth = height / below
    across = (x - rng.uniform(0, width)) * depth / width
    tile = rng.uniform(1.0, 4.0)
    odd = (np.floor(across * tile) + np.floor(depth * tile)) % 2
    # Far tiles are smaller than pixels: fade them to their mean.
    fade = np.clip(4 * below / height, 0, 1)
    odd = (0.5 + (odd - 0.5) * fade)[..., None]
    floor = muted_colour(rng) * odd + muted_colour(rng) * (1 - odd)
    return np.where((y > horizon)[..., None], floor, muted_colour(rng))


def clouds(rng, size):
    """Blotches of two colours: plaster, stone, carpet."""
    cells = rng.uniform(2, 8)
    texture = value_noise(rng, size, (cells, cells), octaves=5)
    return _between(rng, texture)


def wood(rng, size):
    """Planks with grain."""
    grain = value_noise(rng, size, (1.5, rng.uniform(10, 25)), octaves=4)
    rings = np.sin(6 * value_noise(rng, size, (1, 4), octaves=2))
    dark = np.array((0.30, 0.19, 0.11)) * rng.uniform(0.6, 1.4)
    light = np.array((0.72, 0.54, 0.36)) * rng.uniform(0.7, 1.2)
    mix = np.clip(0.5 + 0.22 * grain + 0.15 * rings, 0, 1)[..., None]
    image = dark * (1 - mix) + light * mix
    planks = rng.integers(2, 6)
    lines = np.linspace(0, size[1], planks + 1)[1:-1].astype(int)
    for line in lines:
        image[line : line + 2] *= 0.55
    return _turned(rng, image.astype(np.float32))


def stripes(rng, size):
    """Fabric, blinds, books on a shelf."""
    along = _ramp(rng.uniform(0, 2 * np.pi), size)
    warp = 0.02 * value_noise(rng, size, (2, 2), octaves=2)
    count = rng.integers(4, 16)
    band = np.clip(((along + warp) * count).astype(int), 0, count)
    colours = np.stack([muted_colour(rng) for _ in range(count + 1)])
    colours = colours[:, None] * rng.uniform(0.6, 1.0, (1, 1, 1))
    if rng.random() < 0.5:
        colours = colours[np.arange(count + 1) % 2]
    return colours[band, 0].astype(np.float32)


def foliage(rng, size):
    """Leaves: overlapping patches of sharp-edged noise."""
    hue = np.array((rng.uniform(0.2, 0.5), rng.uniform(0.35, 0.6), 0.18))
    image = np.full((size[1], size[0], 3), 0.3 * hue, np.float32)
    for _ in range(3):
        cells = rng.uniform(8, 22)
        mask = value_noise(rng, size, (cells, cells), octaves=2)
        leaf = 1 / (1 + np.exp(-8 * (mask - 0.3)))[..., None]
        shade = hue * rng.uniform(0.5, 1.3) * rng.uniform(0.85, 1.15, 3)
        image = image * (1 - leaf) + shade * leaf
    return image.astype(np.float32)


def room(rng, size):
    """Wall, edge and table."""
    width, height = size
    image = clouds(rng, size) * 0.25 + muted_colour(rng) * 0.75
    corner = rng.uniform(0.3, 0.8) * height
    slope = rng.uniform(-0.3, 0.3)
    table = np.array(
        [
            (0, corner),
            (width, corner + slope * width),
            (width, height * 2),
            (0, height * 2),
        ]
    )
    colour = (muted_colour(rng) * rng.uniform(0.5, 1)).tolist()
    image = np.ascontiguousarray(image, np.float32)
    cv2.fillPoly(image, [np.round(table).astype(np.int32)], colour)
    return image


BACKGROUNDS = {
    function.__name__: function
    for function in (
        plain,
        gradient,
        checker_floor,
        clouds,
        wood,
        stripes,
        foliage,
        room,
    )
}


def draw_background(rng: np.random.Generator, size, style: Style, skin) -> np.ndarray:
    """A background of the given style.

    Args:
        rng (np.random.Generator): Source of randomness.
        size (tuple[int, int]): Width and height in pixels.
        style (Style): Which kinds of background, how much clutter and blur.
        skin (np.ndarray): The skin's colour, for distractors that share it.

    Returns:
        np.ndarray: (H, W, 3) float32 RGB.
    """
    name = style.backgrounds[rng.integers(len(style.backgrounds))]
    image = np.ascontiguousarray(BACKGROUNDS[name](rng, size), np.float32)
    return add_clutter(rng, image, style, skin)


def add_clutter(rng: np.random.Generator, image, style: Style, skin) -> np.ndarray:
    """Draw shapes over a background, then blur it.

    Args:
        rng (np.random.Generator): Source of randomness.
        image (np.ndarray): (H, W, 3) float32 RGB, contiguous; drawn upon.
        style (Style): How many shapes and how much blur.
        skin (np.ndarray): The colour of shapes that distract.
    """
    low, high = style.clutter
    for _ in range(rng.integers(low, high + 1)):
        distracts = rng.random() < style.skin_distractors
        colour = skin if distracts else muted_colour(rng)
        _draw_shape(rng, image, colour * rng.uniform(0.6, 1.1))
    blur = rng.uniform(*style.background_blur)
    if blur > 0:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    return image


def _draw_shape(rng, image, colour):
    height, width = image.shape[:2]
    centre = rng.uniform((0, 0), (width, height))
    radius = rng.uniform(0.05, 0.28) * width
    colour = [float(channel) for channel in colour]
    kind = rng.integers(3)
    if kind == 0:
        sides = rng.integers(3, 7)
        angles = np.sort(rng.uniform(0, 2 * np.pi, sides))
        corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        corners = np.round(corners * 16).astype(np.int32)
        cv2.fillPoly(image, [corners], colour, cv2.LINE_AA, 4)
    elif kind == 1:
        axes = (radius * rng.uniform(0.5, 1, 2)).astype(int) + 1
        cv2.ellipse(
            image,
            np.round(centre).astype(int).tolist(),
            axes.tolist(),
            rng.uniform(0, 180),
            0,
            360,
            colour,
            -1,
            cv2.LINE_AA,
        )
    else:
        angle = rng.uniform(0, np.pi)
        reach = 2 * radius * np.array((np.cos(angle), np.sin(angle)))
        cv2.line(
            image,
            np.round(centre - reach).astype(int).tolist(),
            np.round(centre + reach).astype(int).tolist(),
            colour,
            int(rng.uniform(0.03, 0.12) * width) + 1,
            cv2.LINE_AA,
        )


def muted_colour(rng):
    """A random colour; mostly muted, as most things are."""
    grey = rng.uniform(0.1, 0.95)
    return np.clip(grey + rng.normal(0, 0.13, 3), 0, 1).astype(np.float32)


def _ramp(angle, size):
    """Values from 0 to 1 along a direction, (H, W)."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    ramp = np.cos(angle) * x / width + np.sin(angle) * y / height
    return (ramp - ramp.min()) / (ramp.max() - ramp.min())


def _between(rng, texture):
    mix = np.clip(0.5 + 0.3 * texture, 0, 1)[..., None]
    return (muted_colour(rng) * (1 - mix) + muted_colour(rng) * mix).astype(np.float32)


def _turned(rng, image):
    """Turn a texture, enlarged so that no corner stays empty."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(0, 180), 1.5)
    return cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
