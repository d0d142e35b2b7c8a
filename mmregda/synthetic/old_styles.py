"""Everything in which the two synthetic domains of a pair differ.

``CLEAN`` looks like computer graphics and is the labelled source; ``PHOTO``
looks like photographs and is the target. The width of the domain gap is tuned
by editing the numbers below, and nowhere else. Colours are RGB in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

Range = Tuple[float, float]
Colour = Tuple[float, float, float]


@dataclass(frozen=True)
class Style:
    """How a scene is lit, backed and photographed, whatever it shows.

    Attributes:
        skin_palette (tuple): Skin colours, from light to dark.
        mix_skins (bool): Whether colours between those of the palette occur.
        skin_jitter (float): Standard deviation of each channel of the skin.
        ambient (Range): Strength of the light from everywhere.
        key_light (Range): Strength of the main light.
        light_warmth (float): Standard deviation of the main light's colour,
            positive is red.
        light_from_above (bool): Whether the main light comes from the
            viewer's upper half only.
        wrap (float): How far light creeps round the skin's curvature.
        specular (Range): Strength of highlights.
        cast_shadows (float): Darkness of shadows, 0 to 1.
        occlusion (float): Darkness of narrow gaps, 0 to 1.
        backgrounds (tuple[str, ...]): Names of functions in ``backgrounds``.
        clutter (Range): Number of shapes drawn over the background.
        skin_distractors (float): Chance that a shape has the skin's colour.
        background_blur (Range): Standard deviation in pixels.
        exposure (Range): Factor on the whole image.
        white_balance (float): Standard deviation of the channels' gains.
        vignette (Range): Darkening of the corners, 0 to 1.
        defocus (Range): Standard deviation in pixels.
        motion (Range): Length of the motion's smear in pixels.
        noise (Range): Standard deviation of the sensor's noise.
        jpeg_quality (tuple[int, int] | None): None for the best there is.
    """

    skin_palette: tuple[Colour, ...]
    mix_skins: bool
    skin_jitter: float
    ambient: Range
    key_light: Range
    light_warmth: float
    light_from_above: bool
    wrap: float
    specular: Range
    cast_shadows: float
    occlusion: float
    backgrounds: tuple[str, ...]
    clutter: Range
    skin_distractors: float
    background_blur: Range
    exposure: Range
    white_balance: float
    vignette: Range
    defocus: Range
    motion: Range
    noise: Range
    jpeg_quality: tuple[int, int] | None


@dataclass(frozen=True)
class HandStyle(Style):
    """What else is a matter of style where hands are pictured.

    Attributes:
        max_tilt (float): Largest angle between the hand's long axis and the
            image plane, degrees.
        upright_spread (float): Standard deviation of the hand's direction
            in the image about "fingers up", degrees; 0 for any direction.
        palm_tint (float): How much lighter and redder the palm's side is,
            0 to 1.
        nail_contrast (float): How far nails differ from skin, 0 to 1.
        crease_contrast (float): Depth of creases and knuckle folds, 0 to 1.
        mottling (float): Amplitude of the skin's uneven colour.
        pores (float): Amplitude of the skin's fine grain.
    """

    max_tilt: float
    upright_spread: float
    palm_tint: float
    nail_contrast: float
    crease_contrast: float
    mottling: float
    pores: float


CLEAN = HandStyle(
    max_tilt=65,
    upright_spread=0,
    skin_palette=(
        (0.91, 0.72, 0.60),
        (0.84, 0.63, 0.50),
        (0.72, 0.51, 0.39),
    ),
    mix_skins=False,
    skin_jitter=0.015,
    palm_tint=0.25,
    nail_contrast=0.7,
    crease_contrast=0.15,
    mottling=0.0,
    pores=0.0,
    ambient=(0.55, 0.68),
    key_light=(0.35, 0.50),
    light_warmth=0.03,
    light_from_above=True,
    wrap=0.0,
    specular=(0.05, 0.20),
    cast_shadows=0.0,
    occlusion=0.25,
    backgrounds=('plain', 'gradient', 'checker_floor'),
    clutter=(0, 3),
    skin_distractors=0.0,
    background_blur=(0.0, 0.0),
    exposure=(0.95, 1.05),
    white_balance=0.0,
    vignette=(0.0, 0.0),
    defocus=(0.0, 0.0),
    motion=(0.0, 0.0),
    noise=(0.0, 0.0),
    jpeg_quality=None,
)

PHOTO = HandStyle(
    max_tilt=50,
    upright_spread=70,
    skin_palette=(
        (0.95, 0.80, 0.72),
        (0.87, 0.68, 0.56),
        (0.75, 0.55, 0.42),
        (0.58, 0.40, 0.29),
        (0.42, 0.28, 0.20),
        (0.30, 0.19, 0.14),
    ),
    mix_skins=True,
    skin_jitter=0.025,
    palm_tint=0.8,
    nail_contrast=0.8,
    crease_contrast=0.6,
    mottling=0.07,
    pores=0.035,
    ambient=(0.20, 0.45),
    key_light=(0.55, 1.25),
    light_warmth=0.10,
    light_from_above=False,
    wrap=0.25,
    specular=(0.0, 0.22),
    cast_shadows=0.75,
    occlusion=0.6,
    backgrounds=('gradient', 'clouds', 'wood', 'stripes', 'foliage', 'room'),
    clutter=(5, 16),
    skin_distractors=0.4,
    background_blur=(0.4, 2.2),
    exposure=(0.7, 1.3),
    white_balance=0.05,
    vignette=(0.0, 0.45),
    defocus=(0.3, 1.1),
    motion=(0.0, 4.0),
    noise=(0.01, 0.045),
    jpeg_quality=(55, 92),
)
