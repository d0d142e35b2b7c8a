"""Where people are pictured: grounds with a horizon, and who else is there.

Every function of ``SCENERIES`` takes a generator, a size (width, height) and
the row of the horizon, which may lie outside of the image, and returns an
(H, W, 3) float32 RGB image with values of about [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np

from .old_backgrounds import BACKGROUNDS, add_clutter, muted_colour
from .body_styles import BodyStyle
from .noise import value_noise


def pitch(rng, size, horizon):
    """Mown grass with painted lines, trees or a fence behind."""
    green = np.array((rng.uniform(0.22, 0.42), rng.uniform(0.38, 0.55), 0.18))
    image = _ground(rng, size, horizon, green, roughness=0.10)
    _bands(rng, image, horizon, rng.uniform(0.85, 0.97))
    for _ in range(rng.integers(0, 3)):
        _ground_line(rng, image, horizon, (0.88, 0.90, 0.86))
    wall = _trees if rng.random() < 0.6 else _fence
    return _behind(image, wall(rng, size), horizon, rng.uniform(0.15, 0.7))


def street(rng, size, horizon):
    """Asphalt before the fronts of houses."""
    grey = np.full(3, rng.uniform(0.28, 0.55)) + rng.normal(0, 0.015, 3)
    image = _ground(rng, size, horizon, grey, roughness=0.07)
    for _ in range(rng.integers(0, 3)):
        _ground_line(rng, image, horizon, (0.82, 0.80, 0.68))
    return _behind(image, _houses(rng, size), horizon, 2.0)


def court(rng, size, horizon):
    """A hard court: one colour, white lines, a net or a wall."""
    colours = ((0.62, 0.33, 0.22), (0.20, 0.38, 0.56), (0.25, 0.45, 0.32))
    base = np.array(colours[rng.integers(3)]) * rng.uniform(0.8, 1.25)
    image = _ground(rng, size, horizon, base, roughness=0.03)
    for _ in range(rng.integers(1, 4)):
        _ground_line(rng, image, horizon, (0.92, 0.92, 0.90))
    wall = _fence if rng.random() < 0.5 else _boards
    return _behind(image, wall(rng, size), horizon, rng.uniform(0.2, 0.8))


def woods(rng, size, horizon):
    """A path among trunks."""
    brown = np.array((0.42, 0.36, 0.26)) * rng.uniform(0.7, 1.2)
    image = _ground(rng, size, horizon, brown, roughness=0.16)
    return _behind(image, _trees(rng, size, trunks=rng.integers(3, 9)), horizon, 2.0)


def stands(rng, size, horizon):
    """Sand, track or grass before seated spectators."""
    colours = ((0.72, 0.60, 0.44), (0.60, 0.30, 0.22), (0.30, 0.45, 0.22))
    base = np.array(colours[rng.integers(3)]) * rng.uniform(0.8, 1.15)
    image = _ground(rng, size, horizon, base, roughness=0.08)
    for _ in range(rng.integers(0, 3)):
        _ground_line(rng, image, horizon, (0.9, 0.9, 0.88))
    return _behind(image, _spectators(rng, size), horizon, 2.0)


def beach(rng, size, horizon):
    """Sand or snow under the sky, with a line of sea or hills."""
    base = np.array(((0.78, 0.68, 0.50), (0.86, 0.89, 0.94))[rng.integers(2)])
    image = _ground(rng, size, horizon, base * rng.uniform(0.8, 1.1), roughness=0.07)
    far = np.array((0.25, 0.40, 0.50)) * rng.uniform(0.6, 1.3)
    wall = np.tile(far.astype(np.float32), (size[1], size[0], 1))
    return _behind(image, wall, horizon, rng.uniform(0.03, 0.3))


def hall(rng, size, horizon):
    """A gymnasium: planks, wall bars, a bright wall."""
    base = np.array((0.70, 0.52, 0.34)) * rng.uniform(0.6, 1.2)
    image = _ground(rng, size, horizon, base, roughness=0.05)
    for _ in range(rng.integers(1, 4)):
        _ground_line(rng, image, horizon, muted_colour(rng))
    return _behind(image, _boards(rng, size), horizon, 2.0)


def interior(rng, size, horizon):
    """A furnished room as flat blocks."""
    width, height = size
    image = np.tile(muted_colour(rng), (height, width, 1)).astype(np.float32)
    floor = int(np.clip(horizon + rng.uniform(0.1, 0.5) * height, 0.5 * height, height))
    image[floor:] = muted_colour(rng)
    for _ in range(rng.integers(2, 7)):
        left = int(rng.uniform(-0.2, 1) * width)
        right = left + int(rng.uniform(0.1, 0.5) * width)
        bottom = floor + int(rng.uniform(-0.5, 0.25) * height)
        top = bottom - int(rng.uniform(0.1, 0.6) * height)
        colour = muted_colour(rng).tolist()
        cv2.rectangle(image, (left, top), (right, bottom), colour, -1)
        edge = [0.8 * channel for channel in colour]
        cv2.rectangle(image, (left, top), (right, bottom), edge, 2)
    return image


SCENERIES = {
    function.__name__: function
    for function in (pitch, street, court, woods, stands, beach, hall, interior)
}


def draw_scenery(
    rng: np.random.Generator, size, style: BodyStyle, skin, horizon: float
) -> np.ndarray:
    """A background for a person, of one of the style's kinds.

    Args:
        rng (np.random.Generator): Source of randomness.
        size (tuple[int, int]): Width and height in pixels.
        style (BodyStyle): Which kinds, how many bystanders and shapes, blur.
        skin (np.ndarray): The skin's colour, for distractors that share it.
        horizon (float): Row of the horizon, pixels.

    Returns:
        np.ndarray: (H, W, 3) float32 RGB.
    """
    name = style.backgrounds[rng.integers(len(style.backgrounds))]
    if name in SCENERIES:
        # A horizon far outside would leave nothing but ground or sky.
        horizon = float(np.clip(horizon, -0.4 * size[1], 0.85 * size[1]))
        image = SCENERIES[name](rng, size, horizon)
    else:
        image = BACKGROUNDS[name](rng, size)
    image = np.ascontiguousarray(image, np.float32)
    low, high = style.bystanders
    for _ in range(rng.integers(low, high + 1)):
        _bystander(rng, image, horizon)
    return add_clutter(rng, image, style, skin)


def _ground(rng, size, horizon, colour, roughness):
    """Ground below the horizon, sky above it."""
    width, height = size
    rows = np.arange(height, dtype=np.float32)
    sky = np.array((0.62, 0.74, 0.88)) * rng.uniform(0.75, 1.15)
    overcast = np.full(3, rng.uniform(0.7, 0.95))
    sky = sky + rng.uniform(0, 1) * (overcast - sky)
    texture = value_noise(rng, size, (9, 22), octaves=3, decay=0.8)
    far = np.exp(-np.maximum(rows - horizon, 0) / (0.25 * height))[:, None, None]
    base = colour * (1 - 0.25 * far) + 0.6 * 0.25 * far
    ground = base * (1 + roughness * texture[..., None])
    return np.where((rows >= horizon)[:, None, None], ground, sky).astype(np.float32)


def _behind(image, wall, horizon, share):
    """Stand a wall on the horizon, ``share`` of the image high."""
    height = image.shape[0]
    # What is near stands on the ground somewhat below the horizon.
    foot = int(np.clip(horizon + 0.06 * height, 0, height))
    top = int(np.clip(foot - share * height, 0, height))
    image[top:foot] = wall[top:foot]
    return image


def _bands(rng, image, horizon, darker):
    """Stripes of a mower, across the view."""
    height = image.shape[0]
    below = np.maximum(np.arange(height) - horizon, 0.5)
    odd = np.floor(rng.uniform(2, 6) * height / below + rng.uniform()) % 2
    image *= np.where((odd > 0) & (below > 1), darker, 1)[:, None, None]


def _ground_line(rng, image, horizon, colour):
    """A straight painted line that recedes with the ground."""
    height, width = image.shape[:2]
    start = np.array((rng.uniform(-0.5, 1.5) * width, height * 1.05))
    vanishing = np.array((rng.uniform(-1.5, 2.5) * width, horizon))
    if rng.random() < 0.4:
        row = rng.uniform(max(horizon + 0.1 * height, 0), height)
        start = np.array((-10.0, row + rng.uniform(-0.08, 0.08) * height))
        vanishing = np.array((width + 10.0, row + rng.uniform(-0.08, 0.08) * height))
        cuts = (0.0, 1.0)
    else:
        cuts = (0.0, rng.uniform(0.4, 0.95))
    thick = rng.uniform(0.008, 0.025) * width
    side = np.array((thick, 0.35 * thick))
    ends = [start + cut * (vanishing - start) for cut in cuts]
    shrink = 1 - 0.8 * cuts[1] if cuts[1] < 1 else 1.0
    corners = [ends[0] - side, ends[0] + side]
    corners += [ends[1] + shrink * side, ends[1] - shrink * side]
    points = np.round(np.array(corners) * 16).astype(np.int32)
    cv2.fillPoly(image, [points], [float(c) for c in colour], cv2.LINE_AA, 4)


def _trees(rng, size, trunks=0):
    width, height = size
    image = np.ascontiguousarray(BACKGROUNDS['foliage'](rng, size), np.float32)
    for _ in range(trunks):
        left = rng.uniform(0, width)
        thick = rng.uniform(0.02, 0.09) * width
        colour = np.array((0.34, 0.28, 0.22)) * rng.uniform(0.5, 1.4)
        lean = rng.normal(0, 0.03) * height
        corners = np.array(
            [
                (left, 0),
                (left + thick, 0),
                (left + thick + lean, height),
                (left + lean, height),
            ]
        )
        points = np.round(corners * 16).astype(np.int32)
        cv2.fillPoly(image, [points], colour.tolist(), cv2.LINE_AA, 4)
    return image


def _fence(rng, size):
    width, height = size
    image = _trees(rng, size)
    spacing = rng.uniform(6, 16)
    grey = rng.uniform(0.3, 0.75)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    wires = np.minimum((x + y) % spacing, (x - y) % spacing) < 1.2
    image[wires] = 0.35 * image[wires] + 0.65 * grey
    posts = (x + rng.uniform(0, width)) % rng.uniform(50, 110) < 4
    image[posts] = grey * 0.8
    return image


def _boards(rng, size):
    """Advertising boards, or the bars and pads of a gymnasium's wall."""
    width, height = size
    image = np.tile(muted_colour(rng), (height, width, 1)).astype(np.float32)
    left = -rng.uniform(0, 60)
    while left < width:
        right = left + rng.uniform(20, 110)
        colour = muted_colour(rng).tolist()
        first, last = int(max(left, 0)), int(max(right, 0))
        image[:, first:last] = colour
        if rng.random() < 0.4:
            bars = np.arange(height) % int(rng.uniform(6, 16)) < 2
            image[bars, first:last] *= 0.6
        left = right
    return image


def _houses(rng, size):
    width, height = size
    image = np.zeros((height, width, 3), np.float32)
    left = -rng.uniform(0, 80)
    while left < width:
        right = left + rng.uniform(50, 160)
        first, last = int(max(left, 0)), int(max(right, 0))
        wall = muted_colour(rng) * 0.8 + 0.1
        image[:, first:last] = wall
        across, down = rng.uniform(14, 34), rng.uniform(18, 42)
        x, y = np.meshgrid(np.arange(first, min(last, width)), np.arange(height))
        pane = (x % across > 0.4 * across) & (y % down > 0.45 * down)
        glass = np.array((0.22, 0.27, 0.33)) * rng.uniform(0.5, 1.8)
        image[:, first:last][pane] = glass
        left = right
    return image


def _spectators(rng, size):
    """Rows of heads above shirts."""
    width, height = size
    pixel = rng.uniform(5, 11)
    grid = (max(int(width / pixel), 2), max(int(height / (1.6 * pixel)), 2))
    colours = rng.normal(0.45, 0.2, (grid[1], grid[0], 1))
    colours = colours + rng.normal(0, 0.09, (grid[1], grid[0], 3))
    colours = np.clip(colours, 0.02, 1)
    image = cv2.resize(
        colours.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST
    )
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    across = (x % pixel) / pixel - 0.5
    down = (y % (1.6 * pixel)) / (1.6 * pixel)
    head = across**2 + ((down - 0.25) * 1.6) ** 2 < 0.07
    image[head] = np.array((0.70, 0.52, 0.42)) * rng.uniform(0.5, 1.2)
    image[(down < 0.5) & ~head] *= 0.35
    return image


def _bystander(rng, image, horizon):
    """Somebody else, further away: painted, and never labelled."""
    height, width = image.shape[:2]
    tall = rng.uniform(0.15, 0.65) * height
    # Eyes of people who stand on the same ground meet the horizon.
    foot = np.clip(horizon + tall * rng.uniform(0.7, 1.2), 0.2 * height, 1.1 * height)
    middle = np.array((rng.uniform(0, width), foot - tall))
    skin = np.array((0.80, 0.60, 0.48)) * rng.uniform(0.4, 1.15)
    shirt, trousers, hair = (muted_colour(rng) for _ in range(3))

    def limb(start, end, thick, colour):
        points = [
            tuple(np.round((middle + tall * np.array(place)) * 16).astype(int).tolist())
            for place in (start, end)
        ]
        colour = [float(channel) for channel in colour]
        thickness = max(int(round(thick * tall)), 1)
        cv2.line(image, *points, colour, thickness, cv2.LINE_AA, 4)

    stride = rng.uniform(0, 0.14)
    swing = rng.normal(0, 0.10, 2)
    for side in (-1, 1):
        knee = (side * (0.05 + 0.5 * stride), 0.75)
        limb((side * 0.05, 0.5), knee, 0.085, trousers)
        limb(knee, (side * (0.05 + stride), 0.98), 0.06, trousers)
        elbow = (side * 0.14 + swing[side] / 2, 0.35)
        limb((side * 0.10, 0.2), elbow, 0.055, shirt)
        limb(elbow, (side * 0.14 + swing[side], 0.48), 0.045, skin)
    limb((0, 0.23), (0, 0.48), 0.17, shirt)
    limb((0, 0.10), (0, 0.15), 0.05, skin)
    limb((0, 0.05), (0, 0.08), 0.10, skin)
    limb((0, 0.03), (0, 0.04), 0.10, hair)
