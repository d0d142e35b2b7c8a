"""What is behind hands and people.

A texture takes a generator and a size (width, height), a place also the row
of the horizon; both return (H, W, 3) float32 RGB of about [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np

from .styles import Style


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
    amplitudes = decay ** np.arange(octaves)
    for octave, amplitude in enumerate(amplitudes):
        shape = [
            int(np.clip(round(count * 2**octave), 2, limit))
            for count, limit in zip(cells, size)
        ]
        grid = rng.standard_normal((shape[1], shape[0]), dtype=np.float32)
        grid = cv2.resize(grid, tuple(size), interpolation=cv2.INTER_CUBIC)
        total += np.float32(amplitude) * grid
    return total / np.float32(np.linalg.norm(amplitudes))


def muted_colour(rng: np.random.Generator) -> np.ndarray:
    """A random colour; mostly muted, as most things are."""
    return np.clip(rng.uniform(0.1, 0.95) + rng.normal(0, 0.13, 3), 0, 1).astype(
        np.float32
    )


def _flat(colour, size):
    return np.tile(np.asarray(colour, np.float32), (size[1], size[0], 1))


def _mix(share, first, second):
    share = np.clip(share, 0, 1)[..., None]
    return (first * (1 - share) + second * share).astype(np.float32)


def _ramp(angle, size):
    """Values from 0 to 1 along a direction, (H, W)."""
    x = np.linspace(0, 1, size[0], dtype=np.float32)
    y = np.linspace(0, 1, size[1], dtype=np.float32)[:, None]
    ramp = np.cos(angle) * x + np.sin(angle) * y
    return (ramp - ramp.min()) / np.ptp(ramp)


def plain(rng, size):
    """One strong colour."""
    return _flat(rng.uniform(0, 1, 3), size)


def gradient(rng, size):
    """A linear change from one colour to another."""
    ramp = _ramp(rng.uniform(0, 2 * np.pi), size)
    return _mix(ramp, rng.uniform(0, 1, 3), rng.uniform(0, 1, 3))


def checker(rng, size):
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
    odd = 0.5 + (odd - 0.5) * np.clip(4 * below / height, 0, 1)
    floor = _mix(odd, rng.uniform(0, 1, 3), rng.uniform(0, 1, 3))
    return np.where((y > horizon)[..., None], floor, muted_colour(rng))


def clouds(rng, size):
    """Blotches of two colours: plaster, stone, carpet."""
    cells = rng.uniform(2, 8)
    share = 0.5 + 0.3 * value_noise(rng, size, (cells, cells), octaves=5)
    return _mix(share, muted_colour(rng), muted_colour(rng))


def wood(rng, size):
    """Planks with grain."""
    grain = value_noise(rng, size, (1.5, rng.uniform(10, 25)), octaves=4)
    rings = np.sin(6 * value_noise(rng, size, (1, 4), octaves=2))
    dark = np.array((0.30, 0.19, 0.11)) * rng.uniform(0.6, 1.4)
    light = np.array((0.72, 0.54, 0.36)) * rng.uniform(0.7, 1.2)
    image = _mix(0.5 + 0.22 * grain + 0.15 * rings, dark, light)
    for line in np.linspace(0, size[1], rng.integers(2, 6) + 1)[1:-1].astype(int):
        image[line : line + 2] *= 0.55
    middle = (size[0] / 2, size[1] / 2)
    turned = cv2.getRotationMatrix2D(middle, rng.uniform(0, 180), 1.5)
    return cv2.warpAffine(image, turned, tuple(size), borderMode=cv2.BORDER_REFLECT)


def stripes(rng, size):
    """Fabric, blinds."""
    warp = 0.02 * value_noise(rng, size, (2, 2), octaves=2)
    count = rng.integers(4, 16)
    band = ((_ramp(rng.uniform(0, 2 * np.pi), size) + warp) * count).astype(int) % 2
    image = _mix(band.astype(np.float32), muted_colour(rng), muted_colour(rng))
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def foliage(rng, size):
    """Leaves: overlapping patches of sharp-edged noise."""
    hue = np.array((rng.uniform(0.2, 0.5), rng.uniform(0.35, 0.6), 0.18))
    image = _flat(0.3 * hue, size)
    for _ in range(3):
        cells = rng.uniform(8, 22)
        mask = value_noise(rng, size, (cells, cells), octaves=2)
        shade = hue * rng.uniform(0.5, 1.3) * rng.uniform(0.85, 1.15, 3)
        image = _mix(1 / (1 + np.exp(-8 * (mask - 0.3))), image, shade)
    return image


def room(rng, size):
    """Wall, edge and table."""
    width, height = size
    image = 0.25 * clouds(rng, size) + 0.75 * muted_colour(rng)
    image *= 0.7 + 0.5 * _ramp(rng.uniform(0, 2 * np.pi), size)[..., None]
    corner, slope = rng.uniform(0.3, 0.8) * height, rng.uniform(-0.3, 0.3) * width
    table = [(0, corner), (width, corner + slope), (width, 2 * height), (0, 2 * height)]
    mask = np.zeros((height, width), np.float32)
    cv2.fillPoly(mask, [np.round(table).astype(np.int32)], 1.0)
    top = wood(rng, size) if rng.random() < 0.5 else clouds(rng, size)
    return _mix(mask, image, top)


def shelves(rng, size):
    """Rows of upright things: books, bottles, boxes."""
    width, height = size
    image = _flat(0.4 * muted_colour(rng), size)
    rows = rng.integers(2, 6)
    for top in np.linspace(0, height, rows + 1)[:-1]:
        tall = height / rows
        left = 0.0
        while left < width:
            right = left + rng.uniform(0.02, 0.09) * width
            first, last = int(left), max(int(right) - 1, int(left) + 1)
            high = int(top + tall * rng.uniform(0.1, 0.4))
            across = np.linspace(-1, 1, last - first)[None, :, None]
            colour = rng.uniform(0.05, 0.9, 3) * (1 - 0.5 * across**2)
            image[high : int(top + 0.93 * tall), first:last] = colour[
                :, : width - first
            ]
            left = right
    return image


def houses(rng, size):
    """Fronts with windows."""
    width, height = size
    image = np.zeros((height, width, 3), np.float32)
    left = -rng.uniform(0, 80)
    while left < width:
        right = left + rng.uniform(50, 160)
        first, last = int(max(left, 0)), int(max(right, 0))
        image[:, first:last] = muted_colour(rng) * 0.8 + 0.1
        across, down = rng.uniform(14, 34), rng.uniform(18, 42)
        x, y = np.meshgrid(np.arange(first, min(last, width)), np.arange(height))
        pane = (x % across > 0.4 * across) & (y % down > 0.45 * down)
        glass = np.array((0.22, 0.27, 0.33)) * rng.uniform(0.5, 1.8)
        image[:, first:last][pane] = glass
        left = right
    return image


def spectators(rng, size):
    """Rows of heads above shirts."""
    width, height = size
    pixel = rng.uniform(5, 11)
    grid = (max(int(width / pixel), 2), max(int(height / (1.6 * pixel)), 2))
    shirts = rng.normal(0.4, 0.2, (grid[1], grid[0], 1))
    shirts = np.clip(shirts + rng.normal(0, 0.09, (grid[1], grid[0], 3)), 0.02, 1)
    image = cv2.resize(shirts.astype(np.float32), (width, height), interpolation=0)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    across = (x % pixel) / pixel - 0.5
    down = (y % (1.6 * pixel)) / (1.6 * pixel)
    head = across**2 + ((down - 0.25) * 1.6) ** 2 < 0.07
    image[(down < 0.5) & ~head] *= 0.35
    image[head] = np.array((0.70, 0.52, 0.42)) * rng.uniform(0.5, 1.2)
    return image


TEXTURES = {
    function.__name__: function
    for function in (
        plain, gradient, checker, clouds, wood, stripes, foliage, room, shelves
    )
}  # fmt: skip
#: Colours of the ground, what stands behind it, how much of the picture that
#: may take, how many lines are painted on the ground.
PLACES = dict(
    pitch=(((0.30, 0.46, 0.18),), (foliage, spectators), (0.15, 0.7), 2),
    street=(((0.40, 0.40, 0.42),), (houses,), (2, 2), 2),
    court=(
        ((0.62, 0.33, 0.22), (0.20, 0.38, 0.56), (0.25, 0.45, 0.32)),
        (foliage, stripes, clouds),
        (0.2, 0.8),
        4,
    ),
    stands=(((0.72, 0.60, 0.44), (0.60, 0.30, 0.22)), (spectators,), (2, 2), 2),
    beach=(((0.78, 0.68, 0.50), (0.86, 0.89, 0.94)), (clouds,), (0.03, 0.3), 0),
    hall=(((0.66, 0.48, 0.32), (0.3, 0.35, 0.5)), (stripes, room, shelves), (2, 2), 3),
)


def draw_background(
    rng: np.random.Generator, size, style: Style, skin, horizon: float = 0.0
) -> np.ndarray:
    """A background of the given style.

    Args:
        rng (np.random.Generator): Source of randomness.
        size (tuple[int, int]): Width and height in pixels.
        style (Style): Which kinds of background, how much clutter and blur.
        skin (np.ndarray): The skin's colour, for distractors that share it.
        horizon (float): Row of the horizon of places, pixels.

    Returns:
        np.ndarray: (H, W, 3) float32 RGB.
    """
    name = style.backgrounds[rng.integers(len(style.backgrounds))]
    if name in TEXTURES:
        image = TEXTURES[name](rng, size)
    else:
        # A horizon far outside would leave nothing but ground or sky.
        horizon = float(np.clip(horizon, -0.4 * size[1], 0.85 * size[1]))
        image = _place(rng, size, horizon, *PLACES[name])
    image = np.ascontiguousarray(image, np.float32)
    for _ in range(rng.integers(style.clutter[0], style.clutter[1] + 1)):
        distracts = rng.random() < style.skin_distractors
        colour = skin if distracts else muted_colour(rng)
        draw_thing(rng, image, colour * rng.uniform(0.6, 1.1), style.detail)
    blur = rng.uniform(*style.background_blur)
    return cv2.GaussianBlur(image, (0, 0), blur) if blur > 0.1 else image


def draw_thing(rng: np.random.Generator, image, colour, detail: float) -> None:
    """Draw a polygon, a disc or a bar, shaded if the style has detail."""
    height, width = image.shape[:2]
    centre = rng.uniform((0, 0), (width, height))
    radius = rng.uniform(0.05, 0.25) * width
    kind, angle = rng.integers(3), rng.uniform(0, np.pi)
    if kind == 0:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        axes = np.full(2, radius)
    elif kind == 1:
        angles = np.linspace(0, 2 * np.pi, 40)
        axes = radius * rng.uniform(0.5, 1, 2)
    else:
        angles = (
            np.radians((10, 170, 190, 350))
            if rng.random() < 0.5
            else (np.radians((25, 155, 205, 335)))
        )
        axes = radius * np.array((2.2, 1.0))
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) * axes
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.round((centre + corners @ turned.T) * 16).astype(np.int32)
    low = np.clip(corners.min(axis=0) // 16, 0, (width, height))
    high = np.clip(corners.max(axis=0) // 16 + 2, 0, (width, height))
    box = (slice(low[1], high[1]), slice(low[0], high[0]))
    mask = np.zeros((high - low)[::-1], np.float32)
    if not mask.size:
        return
    cv2.fillPoly(mask, [corners - (16 * low).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    # Rounder towards a side that the light reaches.
    y, x = np.mgrid[box].astype(np.float32)
    slope = (np.cos(angle) * (x - centre[0]) + np.sin(angle) * (y - centre[1])) / radius
    shade = 1 + detail * np.clip(rng.uniform(-0.5, 0.5) * slope, -0.5, 0.4)
    image[box] = _mix(mask, image[box], shade[..., None] * colour)


def _place(rng, size, horizon, grounds, walls, share, lines):
    """Ground below the horizon, sky above it, and a wall between."""
    width, height = size
    rows = np.arange(height, dtype=np.float32)[:, None, None]
    sky = np.array((0.62, 0.74, 0.88)) * rng.uniform(0.75, 1.15)
    sky = sky + rng.uniform() * (rng.uniform(0.7, 0.95) - sky)
    sky = sky * (1 + 0.08 * value_noise(rng, size, (2, 4), 4)[..., None])
    base = np.array(grounds[rng.integers(len(grounds))]) * rng.uniform(0.75, 1.2)
    texture = value_noise(rng, size, (9, 22), octaves=4, decay=0.8)[..., None]
    haze = 0.25 * np.exp(-np.maximum(rows - horizon, 0) / (0.25 * height))
    ground = (base * (1 - haze) + 0.6 * haze) * (1 + rng.uniform(0.03, 0.12) * texture)
    image = np.where(rows >= horizon, ground, sky).astype(np.float32)
    for _ in range(rng.integers(0, lines + 1)):
        _ground_line(rng, image, horizon)
    # What is near stands on the ground somewhat below the horizon.
    foot = int(np.clip(horizon + 0.06 * height, 0, height))
    top = int(np.clip(foot - rng.uniform(*share) * height, 0, height))
    image[top:foot] = walls[rng.integers(len(walls))](rng, size)[top:foot]
    return image


def _ground_line(rng, image, horizon):
    """A straight painted line that recedes with the ground."""
    height, width = image.shape[:2]
    start = np.array((rng.uniform(-0.5, 1.5) * width, height * 1.05))
    vanishing = np.array((rng.uniform(-1.5, 2.5) * width, horizon))
    cut = rng.uniform(0.4, 0.95)
    thick = rng.uniform(0.008, 0.025) * width
    side = np.array((thick, 0.35 * thick))
    end = start + cut * (vanishing - start)
    near = (1 - 0.8 * cut) * side
    corners = np.array([start - side, start + side, end + near, end - near])
    points = np.round(np.clip(corners, -1e4, 1e4) * 16).astype(np.int32)
    cv2.fillPoly(image, [points], (0.88, 0.89, 0.86), cv2.LINE_AA, 4)
