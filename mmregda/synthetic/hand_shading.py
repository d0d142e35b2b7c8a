"""Skin, nails, creases and light for rendered hands.

Texture is attached to the bones: every covered pixel is carried back into
the frame of its bone, where "nail" or "crease below the joint" are simple
regions of the local coordinates (lateral, axial, dorsal).
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .hand_model import (
    FOREARM,
    HELD_OBJECT,
    NUM_FINGERS,
    PALM,
    PARTS_PER_HAND,
    SLEEVE,
    Hand,
    bone_part,
)
from .lighting import Light, illuminate, lit_share, open_sky, smooth_normals, smoothstep
from .noise import value_noise
from .renderer import BACKGROUND, Buffers, RoundCones
from .styles import HandStyle

# Side in texels and texel size in metres of the skin's blotches.
_MOTTLING_SIDE = 256
_MOTTLING_TEXEL = 0.0006
# The palm's lines, in units of the palm's length: heart, head, life, wrist.
_PALM_LINES = (
    ((-0.45, 0.66), (-0.2, 0.70), (0.0, 0.77), (0.12, 0.90)),
    ((0.36, 0.68), (0.15, 0.60), (-0.1, 0.52), (-0.3, 0.40)),
    ((0.36, 0.68), (0.2, 0.55), (0.06, 0.35), (0.04, 0.12)),
    ((-0.3, -0.03), (0.0, -0.01), (0.3, -0.03)),
)
_PALM_TEXELS = 128
_PALM_SPAN = 1.3


def shade_hands(
    rng: np.random.Generator,
    buffers: Buffers,
    hands: list[Hand],
    cones: RoundCones,
    skin: np.ndarray,
    light: Light,
    style: HandStyle,
    pixels_per_metre: float,
) -> np.ndarray:
    """Colour every covered pixel.

    Args:
        rng (np.random.Generator): Source of randomness.
        buffers (Buffers): The rendered hands; the part labels of hand ``h``
            start at ``h * PARTS_PER_HAND``.
        hands (list[Hand]): The hands in the camera frame.
        cones (RoundCones): Everything that may cast a shadow.
        skin (np.ndarray): Skin colour, (3,).
        light (Light): The light.
        style (HandStyle): Amounts of texture and shadow.
        pixels_per_metre (float): Samples per metre at the hands' depth.

    Returns:
        np.ndarray: (H, W, 3) float32 RGB, zero where nothing is covered.
    """
    mask = buffers.part != BACKGROUND
    label = buffers.part[mask].astype(np.int64)
    part = label % PARTS_PER_HAND
    points = buffers.points(mask).astype(np.float32)
    broad = mask & np.isin(buffers.part % PARTS_PER_HAND, (PALM, FOREARM, SLEEVE))
    normals = smooth_normals(buffers, mask, broad, 0.010 * pixels_per_metre)
    local, dorsal, extents = _bone_coordinates(hands, label, points, normals)

    albedo, gloss = _albedo(rng, part, local, dorsal, extents, skin, style)
    shaded = illuminate(
        points,
        normals,
        albedo,
        gloss,
        light,
        style,
        lit=lit_share(
            cones,
            points,
            light,
            style.cast_shadows,
            span=0.36,
            distance=1.0,
            bias=0.004,
        ),
        open_sky=open_sky(
            buffers,
            mask,
            side=0.022 * pixels_per_metre,
            depth=0.016,
            darkness=style.occlusion,
        ),
    )
    image = np.zeros((*mask.shape, 3), np.float32)
    image[mask] = shaded
    return image


def _bone_coordinates(hands, label, points, normals):
    """Local coordinates, dorsal share of the normal and part extents."""
    frames = np.concatenate([hand.frames for hand in hands])
    origins = np.concatenate([hand.origins for hand in hands])
    extents = np.concatenate([hand.extents for hand in hands])
    frames, origins, extents = (
        values.astype(np.float32) for values in (frames, origins, extents)
    )
    own_frames = frames[label]
    offset = points - origins[label]
    local = np.einsum('mi,mij->mj', offset, own_frames)
    dorsal = np.einsum('mi,mi->m', normals, own_frames[:, :, 2])
    return local, dorsal, extents[label]


def _albedo(rng, part, local, dorsal, extents, skin, style):
    """Surface colour (M, 3) and glossiness (M,)."""
    skin = skin.astype(np.float32)
    lateral, axial = local[:, 0], local[:, 1]
    length, radius = extents[:, 0], extents[:, 1]
    palmar = smoothstep(-dorsal, -0.35, 0.45)

    # Palms hold little melanin: the darker the skin, the larger the change.
    palm_skin = skin + style.palm_tint * 0.35 * (
        np.array((0.93, 0.70, 0.62), np.float32) - skin
    )
    shift = (palm_skin - skin) * palmar[:, None]
    albedo = skin + shift.astype(np.float32)

    darkening = style.crease_contrast * _creases(part, local, dorsal, palmar, length)
    if style.mottling > 0:
        blotch = _mottling_at(rng, lateral, axial, local[:, 2])
        albedo *= 1 + style.mottling * blotch[:, None] * np.array(
            (0.6, 1.0, 1.1), np.float32
        )
        # Blood shows at the fingertips and knuckles.
        flush = _joint_closeness(part, axial, length, 0.006)
        albedo *= 1 - 2 * style.mottling * flush[:, None] * np.array(
            (0.2, 1.0, 0.9), np.float32
        )
    albedo *= 1 - darkening[:, None] * np.array((0.38, 0.5, 0.5), np.float32)

    nail, rim = _nails(part, lateral, axial, dorsal, length, radius)
    strength = style.nail_contrast
    nail_colour = np.clip(
        0.45 * skin + 0.55 * np.array((1.0, 0.82, 0.78)), 0, 1
    ).astype(np.float32)
    albedo += (strength * nail)[:, None] * (nail_colour - albedo)
    albedo *= 1 - (0.45 * strength * rim)[:, None]
    if style.pores > 0:
        grain = rng.standard_normal(len(part), dtype=np.float32)
        albedo *= 1 + style.pores * grain[:, None]

    cloth = rng.uniform(0.08, 0.9) + rng.normal(0, 0.12, 3)
    thing = rng.uniform(0.1, 0.9) + rng.normal(0, 0.15, 3)
    albedo[part == SLEEVE] = np.clip(cloth, 0.02, 1)
    albedo[part == HELD_OBJECT] = np.clip(thing, 0.02, 1)
    gloss = np.where(part == SLEEVE, 0.1, 1) + 1.5 * nail
    return albedo, gloss.astype(np.float32)


def _nails(part, lateral, axial, dorsal, length, radius):
    """How much of a pixel is nail, and how much the nail's rim."""
    nail = np.zeros(len(part), np.float32)
    rim = np.zeros(len(part), np.float32)
    last = np.isin(part, [bone_part(f, 2) for f in range(NUM_FINGERS)])
    last &= dorsal > 0.1
    across = lateral[last] / (0.78 * radius[last])
    along = (axial[last] / length[last] - 0.66) / 0.30
    # A superellipse: straight sides, rounded ends.
    shape = np.square(across * across) + np.square(along * along)
    nail[last] = smoothstep(1.15 - shape, 0, 0.4)
    rim[last] = np.exp(-np.square((shape - 1.25) / 0.45))
    return nail, rim


def _creases(part, local, dorsal, palmar, length):
    """Darkness of the folds at joints and of the palm's lines."""
    axial = local[:, 1]
    finger = (part > PALM) & (part < FOREARM)
    thumb_root = part == bone_part(0, 0)
    at_joint = _joint_closeness(part, axial, length, 0.0011)
    folds = _joint_closeness(part, axial, length, 0.0042)
    to_joint = np.minimum(np.abs(axial), np.abs(axial - length))
    folds = folds * (0.55 + 0.45 * np.cos(2 * np.pi * to_joint / 0.0028))
    creases = palmar * at_joint + (1 - palmar) * 0.7 * folds

    root_bones = [bone_part(f, 0) for f in range(1, NUM_FINGERS)]
    root = np.isin(part, root_bones)
    at_web = np.exp(-(((axial - 0.42 * length) / 0.0012) ** 2))
    creases = np.where(root, np.maximum(creases, palmar * at_web), creases)
    creases = creases * (finger & ~thumb_root)

    inner = (part == PALM) & (dorsal < 0)
    creases[inner] = _palm_lines_at(local[inner] / length[inner, None])
    return np.clip(creases, 0, 1).astype(np.float32)


def _joint_closeness(part, axial, length, width):
    """Gaussian of the distance to the finger's nearest bending joint."""
    finger = (part > PALM) & (part < FOREARM)
    bone = (part - 1) % 3
    near = np.exp(-((axial / width) ** 2)) * (bone > 0)
    far = np.exp(-(((axial - length) / width) ** 2)) * (bone < 2)
    return (np.maximum(near, far) * finger).astype(np.float32)


@lru_cache(maxsize=1)
def _palm_texture():
    texture = np.zeros((_PALM_TEXELS, _PALM_TEXELS), np.float32)
    for line in _PALM_LINES:
        knots = np.array(line)
        # A parabola through the knots draws a smoother line than a polygon.
        place = np.linspace(0, 1, len(knots))
        fine = np.linspace(0, 1, 24)
        curve = np.stack(
            [np.polyval(np.polyfit(place, axis, 2), fine) for axis in knots.T],
            axis=1,
        )
        texels = (curve + (_PALM_SPAN / 2, 0.15)) / _PALM_SPAN * _PALM_TEXELS
        cv2.polylines(
            texture,
            [np.round(texels * 16).astype(np.int32)],
            False,
            1.0,
            2,
            cv2.LINE_AA,
            4,
        )
    return cv2.GaussianBlur(texture, (0, 0), 0.8)


def _palm_lines_at(places):
    texels = (places[:, :2] + (_PALM_SPAN / 2, 0.15)) / _PALM_SPAN
    texels = np.clip(texels * _PALM_TEXELS, 0, _PALM_TEXELS - 1).astype(int)
    return _palm_texture()[texels[:, 1], texels[:, 0]]


@lru_cache(maxsize=1)
def _mottling_texture():
    rng = np.random.default_rng(0)
    side = (_MOTTLING_SIDE, _MOTTLING_SIDE)
    texture = value_noise(rng, side, (18, 18), octaves=4, decay=0.75)
    return np.clip(texture, -2, 2)


def _mottling_at(rng, lateral, axial, height):
    shift = rng.integers(0, _MOTTLING_SIDE, 2)
    columns = ((lateral + 0.7 * height) / _MOTTLING_TEXEL).astype(int)
    rows = (axial / _MOTTLING_TEXEL).astype(int)
    return _mottling_texture()[
        (rows + shift[0]) % _MOTTLING_SIDE,
        (columns + shift[1]) % _MOTTLING_SIDE,
    ]
