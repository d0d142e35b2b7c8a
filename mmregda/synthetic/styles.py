"""Everything in which the two rendered domains of a pair differ.

``CLEAN`` looks like computer graphics and is the labelled source; ``PHOTO``
looks like photographs and is the target. The width of the domain gap is tuned
by editing the numbers below, and nowhere else. Colours are RGB in [0, 1],
angles degrees; a pair of numbers is the range of a uniform draw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Tuple

Range = Tuple[float, float]


@dataclass(frozen=True)
class Style:
    """How a scene is posed, lit, backed and photographed.

    Attributes:
        skins (tuple): Skin colours, from light to dark.
        skin_jitter (float): How far a skin may be from these colours: the
            deviation of each channel, and whether (above 0.02) colours are
            mixed.
        detail (float): Strength of the skin's uneven colour, folds and
            redness and of the grain and folds of cloth, 0 to 1.
        patterns (float): Chance that cloth is patterned.
        drab (float): Greyness of cloth, 0 to 1.
        ambient (Range): Strength of the light from everywhere.
        key_light (Range): Strength of the main light.
        light_warmth (float): Deviation of the main light's colour.
        specular (Range): Strength of highlights.
        shadows (float): Darkness of cast shadows, 0 to 1.
        occlusion (float): Darkness of narrow gaps, 0 to 1.
        backgrounds (tuple[str, ...]): Names of ``backgrounds.TEXTURES``.
        clutter (tuple[int, int]): Number of things behind.
        skin_distractors (float): Chance that one of them has the skin's colour.
        background_blur (Range): Deviation in pixels.
        occluders (float): Chance of something in front.
        exposure (Range): Factor on the whole image.
        white_balance (float): Deviation of the channels' gains.
        vignette (Range): Darkening of the corners, 0 to 1.
        defocus (Range): Deviation in pixels.
        motion (Range): Length of the motion's smear in pixels.
        noise (Range): Deviation of the sensor's noise.
        jpeg_quality (tuple[int, int]): Of images that are written as JPEG.
        tilt (float): Largest angle between a hand's long axis and the image.
        heading (float): Deviation of a hand's direction in the image about
            fingers up, or of where a person faces about the camera; 0 for any.
        activities (tuple): Names of ``poses.ACTIVITIES`` and their odds.
        elevation (Range): How far the camera looks down on people.
        roll (float): Deviation of the camera's roll.
        distance (Range): From the camera to a person, metres.
    """

    skins: tuple
    skin_jitter: float
    detail: float
    patterns: float
    drab: float
    ambient: Range
    key_light: Range
    light_warmth: float
    specular: Range
    shadows: float
    occlusion: float
    backgrounds: Tuple[str, ...]
    clutter: Tuple[int, int]
    skin_distractors: float
    background_blur: Range
    occluders: float
    exposure: Range
    white_balance: float
    vignette: Range
    defocus: Range
    motion: Range
    noise: Range
    jpeg_quality: Tuple[int, int]
    tilt: float = 0
    heading: float = 0
    activities: tuple = ()
    elevation: Range = (0, 0)
    roll: float = 0
    distance: Range = (1, 1)


CLEAN = Style(
    skins=((0.92, 0.72, 0.60), (0.84, 0.63, 0.50), (0.70, 0.49, 0.37)),
    skin_jitter=0.015,
    detail=0.0,
    patterns=0.35,
    drab=0.0,
    ambient=(0.50, 0.62),
    key_light=(0.40, 0.60),
    light_warmth=0.03,
    specular=(0.03, 0.15),
    shadows=0.0,
    occlusion=0.3,
    backgrounds=('plain', 'gradient', 'checker'),
    clutter=(0, 3),
    skin_distractors=0.0,
    background_blur=(0.0, 0.0),
    occluders=0.0,
    exposure=(0.95, 1.05),
    white_balance=0.0,
    vignette=(0.0, 0.0),
    defocus=(0.0, 0.0),
    motion=(0.0, 0.0),
    noise=(0.0, 0.0),
    jpeg_quality=(90, 97),
    tilt=65,
)

PHOTO = Style(
    skins=(
        (0.93, 0.76, 0.67), (0.86, 0.66, 0.54), (0.75, 0.55, 0.42),
        (0.58, 0.40, 0.29), (0.42, 0.28, 0.20), (0.30, 0.19, 0.14),
    ),
    skin_jitter=0.025,
    detail=1.0,
    patterns=0.5,
    drab=0.4,
    ambient=(0.30, 0.55),
    key_light=(0.45, 0.95),
    light_warmth=0.10,
    specular=(0.0, 0.12),
    shadows=0.75,
    occlusion=0.7,
    backgrounds=('clouds', 'wood', 'stripes', 'foliage', 'room', 'shelves'),
    clutter=(3, 12),
    skin_distractors=0.3,
    background_blur=(0.6, 3.0),
    occluders=0.0,
    exposure=(0.75, 1.25),
    white_balance=0.05,
    vignette=(0.0, 0.4),
    defocus=(0.2, 0.9),
    motion=(0.0, 3.0),
    noise=(0.006, 0.035),
    jpeg_quality=(55, 92),
    tilt=50,
    heading=70,
)  # fmt: skip

CLEAN_BODIES = replace(
    CLEAN,
    skins=CLEAN.skins + ((0.50, 0.34, 0.25),),
    specular=(0.0, 0.05),
    backgrounds=('plain', 'gradient', 'checker', 'room', 'clouds'),
    background_blur=(0.0, 0.5),
    activities=(
        ('stand', 0.30), ('walk', 0.24), ('reach', 0.17), ('sit', 0.08), ('run', 0.06),
        ('bend', 0.06), ('squat', 0.03), ('lunge', 0.02), ('kick', 0.01),
        ('throw', 0.015), ('swing', 0.015),
    ),
    elevation=(-12, 32),
    roll=2,
    distance=(4, 8),
)  # fmt: skip

PHOTO_BODIES = replace(
    PHOTO,
    specular=(0.0, 0.10),
    backgrounds=('pitch', 'street', 'court', 'foliage', 'stands', 'beach', 'hall'),
    clutter=(0, 5),
    skin_distractors=0.2,
    background_blur=(0.3, 1.8),
    occluders=0.15,
    noise=(0.006, 0.03),
    jpeg_quality=(55, 90),
    heading=95,
    activities=(
        ('stand', 0.07), ('walk', 0.05), ('run', 0.10), ('reach', 0.06), ('sit', 0.03),
        ('bend', 0.07), ('squat', 0.08), ('lunge', 0.09), ('kick', 0.09),
        ('throw', 0.11), ('swing', 0.08), ('jump', 0.07), ('fall', 0.06),
        ('invert', 0.04),
    ),
    elevation=(-6, 20),
    roll=4,
    distance=(5, 16),
)  # fmt: skip
