"""Skin, hair and clothes of rendered bodies.

Colour is attached to the rest pose: every covered pixel is carried back to
its place there, where "sleeve", "hem" or "number on the back" are simple
regions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .body_flesh import HAIR, HELD_OBJECT, NUM_PARTS, Body, Covering
from .body_model import (
    HEAD,
    LEFT_ANKLE,
    LEFT_COLLAR,
    LEFT_ELBOW,
    LEFT_FOOT,
    LEFT_HAND,
    LEFT_HIP,
    LEFT_KNEE,
    LEFT_SHOULDER,
    LEFT_WRIST,
    NECK,
    PELVIS,
    RIGHT_ANKLE,
    RIGHT_COLLAR,
    RIGHT_ELBOW,
    RIGHT_FOOT,
    RIGHT_HAND,
    RIGHT_HIP,
    RIGHT_KNEE,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
    SPINE1,
    SPINE2,
    SPINE3,
)
from .body_styles import BodyStyle
from .lighting import Light, illuminate, lit_share, open_sky, smooth_normals
from .noise import value_noise
from .renderer import BACKGROUND, Buffers

_FOLDS_SIDE = 256
_FOLDS_TEXEL = 0.004
_PRINT_SIDE = 64
_HAIR_COLOURS = (
    (0.06, 0.05, 0.05),
    (0.14, 0.09, 0.06),
    (0.30, 0.19, 0.11),
    (0.52, 0.36, 0.20),
    (0.74, 0.60, 0.38),
    (0.50, 0.49, 0.48),
)
_TORSO = (PELVIS, SPINE1, SPINE2, SPINE3, LEFT_COLLAR, RIGHT_COLLAR, NECK)
_ARMS = (LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW)
_HANDS = (LEFT_WRIST, RIGHT_WRIST, LEFT_HAND, RIGHT_HAND)
_LEGS = (LEFT_HIP, RIGHT_HIP, LEFT_KNEE, RIGHT_KNEE)
_FEET = (LEFT_ANKLE, RIGHT_ANKLE, LEFT_FOOT, RIGHT_FOOT)
_PATTERNS = ('rings', 'bars', 'checks', 'yoke', 'sides')


@dataclass(frozen=True)
class Outfit:
    """What a person wears: shapes and colours.

    Attributes:
        covering (Covering): The shapes.
        skin, hair, shirt, trim, trousers, socks, shoes (np.ndarray): Colours,
            each (3,).
        pattern (str): One of ``_PATTERNS``, or ``'plain'``.
        period (float): Length of the pattern, metres.
        sock_top (float): Height of the socks' ends above the ankle, metres.
        neckline (float): Depth of the neck's opening, metres.
        stripe (bool): Whether trousers have a stripe along the side.
        number (int): Printed on the back, and small on the breast; negative
            for none.
        opened (bool): Whether the shirt is a jacket over something lighter.
        beard (float): Darkness of the lower face, 0 to 1.
    """

    covering: Covering
    skin: np.ndarray
    hair: np.ndarray
    shirt: np.ndarray
    trim: np.ndarray
    trousers: np.ndarray
    socks: np.ndarray
    shoes: np.ndarray
    pattern: str
    period: float
    sock_top: float
    neckline: float
    stripe: bool
    number: int
    opened: bool
    beard: float


def sample_outfit(
    rng: np.random.Generator, style: BodyStyle, skin: np.ndarray, female: float
) -> Outfit:
    """Dress a person.

    Args:
        rng (np.random.Generator): Source of randomness.
        style (BodyStyle): How often cloth is patterned, colours match or a
            stick is held.
        skin (np.ndarray): Skin colour, (3,).
        female (float): As in ``BodyShape``.
    """
    sleeve = rng.choice((0.0, rng.uniform(0.25, 0.5), 0.97), p=(0.2, 0.5, 0.3))
    leg = rng.choice(
        (rng.uniform(0.2, 0.32), rng.uniform(0.36, 0.52), 0.96), p=(0.18, 0.34, 0.48)
    )
    loose = rng.choice((0.003, rng.uniform(0.006, 0.022)), p=(0.35, 0.65))
    shirt, trousers = _cloth(rng), _cloth(rng)
    if rng.random() < style.matching_clothes:
        trousers = np.clip(shirt + rng.normal(0, 0.03, 3), 0.02, 0.98)
    if female > 0:
        hair = rng.choice(
            ('short', 'bob', 'long', 'tail', 'bun', 'cap'),
            p=(0.08, 0.22, 0.26, 0.26, 0.1, 0.08),
        )
    else:
        hair = rng.choice(('short', 'bald', 'cap', 'bob'), p=(0.70, 0.09, 0.17, 0.04))
    hair_colour = np.array(_HAIR_COLOURS[rng.integers(len(_HAIR_COLOURS))])
    if skin.mean() < 0.4:
        hair_colour = np.array(_HAIR_COLOURS[rng.integers(2)])
    if hair == 'cap':
        hair_colour = _cloth(rng)
    held = None
    if rng.random() < style.held:
        held = (rng.uniform(0.3, 0.85), rng.uniform(0.008, 0.03))
    trim = np.array((0.93, 0.93, 0.92)) if shirt.mean() < 0.6 else 0.35 * _cloth(rng)
    patterned = rng.random() < style.patterns
    return Outfit(
        covering=Covering(
            sleeve=float(sleeve),
            leg=float(leg),
            looseness=float(loose),
            hem=float(rng.choice((0.0, rng.uniform(0.05, 0.14)), p=(0.45, 0.55))),
            hair=str(hair),
            held=held,
        ),
        skin=np.asarray(skin, float),
        hair=np.clip(hair_colour + rng.normal(0, 0.015, 3), 0.02, 1),
        shirt=shirt,
        trim=trim,
        trousers=trousers,
        socks=_footwear(rng),
        shoes=_cloth(rng)
        if rng.random() < 0.4
        else np.full(3, rng.choice((0.1, 0.88))),
        pattern=str(rng.choice(_PATTERNS)) if patterned else 'plain',
        period=float(rng.uniform(0.05, 0.16)),
        sock_top=float(rng.choice((0.0, 0.08, 0.30), p=(0.3, 0.4, 0.3))),
        neckline=float(rng.uniform(0.0, 0.10)),
        stripe=bool(rng.random() < 0.35),
        number=int(rng.integers(0, 100)) if rng.random() < 0.4 else -1,
        opened=bool(sleeve > 0.9 and rng.random() < 0.4),
        beard=float(rng.uniform(0.2, 0.7) * (female == 0 and rng.random() < 0.35)),
    )


def shade_body(
    rng: np.random.Generator,
    buffers: Buffers,
    body: Body,
    outfit: Outfit,
    light: Light,
    style: BodyStyle,
    pixels_per_metre: float,
) -> np.ndarray:
    """Colour every covered pixel.

    Args:
        rng (np.random.Generator): Source of randomness.
        buffers (Buffers): The rendered body.
        body (Body): The body in the camera frame.
        outfit (Outfit): What it wears.
        light (Light): The light.
        style (BodyStyle): Amounts of texture and shadow.
        pixels_per_metre (float): Samples per metre at the body's depth.

    Returns:
        np.ndarray: (H, W, 3) float32 RGB, zero where nothing is covered.
    """
    mask = buffers.part != BACKGROUND
    part = buffers.part[mask].astype(np.int64)
    points = buffers.points(mask).astype(np.float32)
    broad = mask & np.isin(buffers.part, _TORSO + _LEGS + _ARMS)
    normals = smooth_normals(buffers, mask, broad, 0.035 * pixels_per_metre)
    places, facing = rest_places(body, part, points, normals)
    albedo, gloss = _paint(rng, part, places, facing, body.shape, outfit, style)
    image = np.zeros((*mask.shape, 3), np.float32)
    image[mask] = illuminate(
        points,
        normals,
        albedo,
        gloss,
        light,
        style,
        lit=lit_share(
            body.cones,
            points,
            light,
            style.cast_shadows,
            span=2.3,
            distance=6.0,
            bias=0.035,
        ),
        open_sky=open_sky(
            buffers,
            mask,
            side=0.11 * pixels_per_metre,
            depth=0.10,
            darkness=style.occlusion,
        ),
    )
    return image


def rest_places(body: Body, part, points, normals):
    """Carry surface points and normals (M, 3) back into the rest pose."""
    carrier = np.arange(NUM_PARTS)
    carrier[HAIR], carrier[HELD_OBJECT] = HEAD, RIGHT_WRIST
    joint = carrier[part]
    frames = body.frames.astype(np.float32)[joint]
    offset = points - body.joints.astype(np.float32)[joint]
    places = np.einsum('mi,mij->mj', offset, frames)
    places += body.shape.rest.astype(np.float32)[joint]
    return places, np.einsum('mi,mij->mj', normals, frames)


def _cloth(rng):
    """A colour of cloth: grey, muted or bright."""
    kind = rng.random()
    if kind < 0.3:
        colour = np.full(3, rng.choice((0.07, 0.2, 0.45, 0.9))) + rng.normal(0, 0.02, 3)
    else:
        hue = rng.uniform(0, 1)
        saturation = rng.uniform(0.25, 0.55) if kind < 0.65 else rng.uniform(0.6, 0.95)
        value = rng.uniform(0.25, 0.9)
        wheel = np.abs((hue + np.array((0, 2 / 3, 1 / 3))) % 1 * 6 - 3) - 1
        colour = value * (1 - saturation * (1 - np.clip(wheel, 0, 1)))
    return np.clip(colour, 0.03, 0.97)


def _footwear(rng):
    """A colour of socks or shoes: mostly black or white."""
    if rng.random() < 0.4:
        return _cloth(rng)
    return np.full(3, rng.choice((0.1, 0.88)))


def _paint(rng, part, places, facing, shape, outfit, style):
    """Surface colour (M, 3) and glossiness (M,)."""
    scale, rest = shape.scale, shape.rest
    x, y, z = places.T
    across = np.abs(x)
    torso, arms, legs, feet, head = (
        np.isin(part, group) for group in (_TORSO, _ARMS, _LEGS, _FEET, (HEAD,))
    )
    front = facing[:, 2] > 0
    covering = outfit.covering

    albedo = np.empty((len(part), 3), np.float32)
    albedo[:] = outfit.skin
    arm = rest[LEFT_WRIST, 0] - rest[LEFT_SHOULDER, 0]
    along_arm = (across - rest[LEFT_SHOULDER, 0]) / arm
    leg = rest[LEFT_HIP, 1] - rest[LEFT_ANKLE, 1]
    along_leg = (rest[LEFT_HIP, 1] - y) / leg
    hem = rest[PELVIS, 1] + scale * (0.035 - covering.hem)

    shirt = torso & (y > hem)
    collar = rest[NECK, 1] + scale * np.where(
        front, 0.012 - np.maximum(outfit.neckline - 1.3 * across / scale, 0), 0.018
    )
    shirt &= (y < collar) | (across > 0.072 * scale)
    if covering.sleeve < 0.1:
        armpit = rest[LEFT_SHOULDER, 1] - 0.14 * scale
        bare = across > rest[LEFT_SHOULDER, 0] - 0.015 * scale
        shirt &= ~bare | (y < armpit)
    shirt |= arms & (along_arm < covering.sleeve) & (covering.sleeve > 0.1)
    trousers = (torso & (y <= hem)) | (legs & (along_leg < covering.leg))
    sock_top = rest[LEFT_ANKLE, 1] + scale * outfit.sock_top
    socks = legs & ~trousers & (y < sock_top)

    _fill(albedo, shirt, outfit.shirt)
    trimmed = shirt & _pattern(outfit, x, y, z, across, rest, scale)
    if outfit.number >= 0:
        trimmed ^= shirt & _printed(outfit.number, x, y, front, rest, scale)
    _fill(albedo, trimmed, outfit.trim)
    if outfit.opened:
        inner = shirt & front & torso & (across < 0.035 * scale)
        _fill(albedo, inner, 0.5 + 0.5 * outfit.trim)
    _fill(albedo, trousers, outfit.trousers)
    if outfit.stripe:
        side = trousers & (np.abs(z - rest[LEFT_HIP, 2]) < 0.016 * scale)
        _fill(albedo, side & (facing[:, 0] * x > 0), outfit.trim)
    belt = trousers & torso & (y > hem - 0.03 * scale)
    albedo[belt] *= 0.6
    _fill(albedo, socks, outfit.socks)
    _fill(albedo, feet, outfit.shoes)
    sole = feet & (y < 0.018 * scale)
    _fill(albedo, sole, 1 - 0.8 * np.round(outfit.shoes.mean()) * np.ones(3))
    _face(albedo, head, x, y, z, facing, rest[HEAD], scale, outfit)
    _fill(albedo, part == HAIR, outfit.hair)
    _fill(albedo, part == HELD_OBJECT, _cloth(rng))

    cloth = shirt | trousers
    if style.wrinkles > 0:
        folds = _folds_at(rng, x + 0.6 * z, y)
        albedo *= (1 + style.wrinkles * folds * np.where(cloth, 1, 0.25))[:, None]
        strands = np.where(part == HAIR, rng.standard_normal(len(part)), 0)
        albedo *= (1 + 1.5 * style.wrinkles * strands)[:, None].astype(np.float32)
    if style.grain > 0:
        grain = rng.standard_normal(len(part), dtype=np.float32)
        albedo *= 1 + style.grain * grain[:, None]
    gloss = np.where(cloth, 0.3, 1.0).astype(np.float32)
    return np.clip(albedo, 0.01, 1), gloss


def _fill(albedo, mask, colour):
    albedo[mask] = np.asarray(colour, np.float32)


def _pattern(outfit, x, y, z, across, rest, scale):
    """Where a shirt has the colour of its trim."""
    period = outfit.period * scale
    on_arm = across > rest[LEFT_SHOULDER, 0]
    # Along the limb: rings go round the arms as they go round the trunk.
    along = np.where(on_arm, across, y)
    if outfit.pattern == 'rings':
        return (along / period) % 1 < 0.4
    if outfit.pattern == 'bars':
        return (np.where(on_arm, z, x) / period + 0.25) % 1 < 0.5
    if outfit.pattern == 'checks':
        return ((along / period) % 1 < 0.5) ^ (
            (np.where(on_arm, z, x) / period) % 1 < 0.5
        )
    if outfit.pattern == 'yoke':
        return (y > rest[SPINE3, 1] + 0.10 * scale) & (across > 0.03)
    if outfit.pattern == 'sides':
        return on_arm | (across > 0.12 * scale)
    return np.zeros(len(x), bool)


@lru_cache(maxsize=128)
def _digits(number):
    texture = np.zeros((_PRINT_SIDE, _PRINT_SIDE), np.uint8)
    (width, height), _ = cv2.getTextSize(str(number), cv2.FONT_HERSHEY_DUPLEX, 1.5, 6)
    corner = ((_PRINT_SIDE - width) // 2, (_PRINT_SIDE + height) // 2)
    cv2.putText(
        texture, str(number), corner, cv2.FONT_HERSHEY_DUPLEX, 1.5, 255, 6, cv2.LINE_AA
    )
    return texture > 127


def _printed(number, x, y, front, rest, scale):
    """Where a number is printed: large on the back, small on the breast."""
    side = np.where(front, 0.13, 0.30) * scale
    middle = rest[SPINE3, 1] + np.where(front, 0.07, 0.03) * scale
    # Whoever looks at a front has the person's left at the right.
    right = np.where(front, x - 0.05 * scale, -x)
    columns = np.floor((right / side + 0.5) * _PRINT_SIDE).astype(int)
    rows = np.floor((0.5 - (y - middle) / side) * _PRINT_SIDE).astype(int)
    inside = (columns >= 0) & (columns < _PRINT_SIDE)
    inside &= (rows >= 0) & (rows < _PRINT_SIDE)
    limit = _PRINT_SIDE - 1
    return inside & _digits(number)[np.clip(rows, 0, limit), np.clip(columns, 0, limit)]


def _face(albedo, head, x, y, z, facing, origin, scale, outfit):
    across = np.abs(x) / scale
    up = (y - origin[1]) / scale
    ahead = (z - origin[2]) / scale
    before = head & (facing[:, 2] > 0.1) & (ahead > 0.04)
    if outfit.beard > 0:
        beard = before & (up < 0.030) & (up > -0.06)
        albedo[beard] += outfit.beard * (outfit.hair.astype(np.float32) - albedo[beard])
    mouth = before & (across < 0.026) & (np.abs(up - 0.012) < 0.006)
    albedo[mouth] *= np.array((0.85, 0.50, 0.50), np.float32)
    brow = before & (np.abs(across - 0.033) < 0.018) & (np.abs(up - 0.090) < 0.005)
    albedo[brow] *= 0.6
    eye = ((across - 0.033) / 0.017) ** 2 + ((up - 0.072) / 0.009) ** 2
    iris = ((across - 0.033) / 0.009) ** 2 + ((up - 0.072) / 0.009) ** 2
    _fill(albedo, before & (eye < 1), (0.80, 0.79, 0.77))
    _fill(albedo, before & (iris < 1), (0.12, 0.09, 0.07))
    if outfit.covering.hair != 'bald':
        scalp = head & (up > 0.098 + 0.80 * ahead - 0.004)
        scalp |= head & (up > 0.150)
        _fill(albedo, scalp, outfit.hair)


@lru_cache(maxsize=1)
def _folds_texture():
    rng = np.random.default_rng(0)
    side = (_FOLDS_SIDE, _FOLDS_SIDE)
    texture = value_noise(rng, side, (26, 12), octaves=3, decay=0.7)
    return np.clip(texture, -2, 2)


def _folds_at(rng, right, up):
    shift = rng.integers(0, _FOLDS_SIDE, 2)
    columns = np.floor(right / _FOLDS_TEXEL).astype(int)
    rows = np.floor(up / _FOLDS_TEXEL).astype(int)
    return _folds_texture()[
        (rows + shift[0]) % _FOLDS_SIDE, (columns + shift[1]) % _FOLDS_SIDE
    ]
