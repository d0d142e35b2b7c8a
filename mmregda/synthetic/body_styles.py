"""Everything in which the two synthetic domains of bodies differ.

``CLEAN_BODIES`` looks like computer graphics, stands and walks, and is the
labelled source; ``PHOTO_BODIES`` looks like photographs of sports and is the
target. The width of the domain gap is tuned by editing the numbers below, and
nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from .old_styles import CLEAN, PHOTO, Range, Style


@dataclass(frozen=True)
class BodyStyle(Style):
    """What else is a matter of style where bodies are pictured.

    Attributes:
        activities (tuple): Names of ``body_poses.ACTIVITIES`` and their odds.
        facing_spread (float): Standard deviation of the angle between a
            person's front and the camera, degrees; 0 for any direction.
        elevation (Range): How far the camera looks down, degrees.
        roll (float): Standard deviation of the camera's roll, degrees.
        distance (Range): From the camera to the person, metres.
        patterns (float): Chance that cloth is patterned.
        wrinkles (float): Amplitude of the folds of cloth.
        grain (float): Amplitude of the uneven colour of cloth and skin.
        matching_clothes (float): Chance that shirt and trousers are of one
            colour, or of the colour of what is behind.
        ground_shadow (Range): Darkness of the shadow on the ground.
        bystanders (Range): Number of people painted in the background.
        held (float): Chance of a stick in the hand.
    """

    activities: Tuple[Tuple[str, float], ...]
    facing_spread: float
    elevation: Range
    roll: float
    distance: Range
    patterns: float
    wrinkles: float
    grain: float
    matching_clothes: float
    ground_shadow: Range
    bystanders: Tuple[int, int]
    held: float


CLEAN_BODIES = BodyStyle(
    activities=(
        ('stand', 0.30),
        ('walk', 0.24),
        ('reach', 0.17),
        ('sit', 0.08),
        ('run', 0.06),
        ('bend', 0.06),
        ('squat', 0.03),
        ('lunge', 0.02),
        ('kick', 0.01),
        ('throw', 0.015),
        ('swing', 0.015),
    ),
    facing_spread=0,
    elevation=(-12, 32),
    roll=2,
    distance=(4, 8),
    patterns=0.35,
    wrinkles=0.03,
    grain=0.0,
    matching_clothes=0.0,
    ground_shadow=(0.0, 0.0),
    bystanders=(0, 0),
    held=0.0,
    skin_palette=CLEAN.skin_palette + ((0.50, 0.34, 0.25),),
    mix_skins=False,
    skin_jitter=0.015,
    ambient=(0.52, 0.66),
    key_light=(0.35, 0.55),
    light_warmth=0.03,
    light_from_above=True,
    wrap=0.1,
    specular=(0.0, 0.04),
    cast_shadows=0.0,
    occlusion=0.25,
    backgrounds=('plain', 'gradient', 'checker_floor', 'room', 'clouds', 'interior'),
    clutter=(0, 3),
    skin_distractors=0.0,
    background_blur=(0.0, 0.5),
    exposure=(0.92, 1.08),
    white_balance=0.0,
    vignette=(0.0, 0.0),
    defocus=(0.0, 0.0),
    motion=(0.0, 0.0),
    noise=(0.0, 0.0),
    jpeg_quality=(90, 97),
)

PHOTO_BODIES = BodyStyle(
    activities=(
        ('stand', 0.07),
        ('walk', 0.05),
        ('run', 0.10),
        ('reach', 0.06),
        ('sit', 0.03),
        ('bend', 0.07),
        ('squat', 0.08),
        ('lunge', 0.09),
        ('kick', 0.09),
        ('throw', 0.11),
        ('swing', 0.08),
        ('jump', 0.07),
        ('fall', 0.06),
        ('invert', 0.04),
    ),
    facing_spread=95,
    elevation=(-6, 20),
    roll=4,
    distance=(5, 16),
    patterns=0.5,
    wrinkles=0.13,
    grain=0.05,
    matching_clothes=0.2,
    ground_shadow=(0.15, 0.6),
    bystanders=(0, 5),
    held=0.15,
    skin_palette=PHOTO.skin_palette,
    mix_skins=True,
    skin_jitter=0.03,
    ambient=(0.24, 0.50),
    key_light=(0.55, 1.15),
    light_warmth=0.10,
    light_from_above=True,
    wrap=0.15,
    specular=(0.0, 0.10),
    cast_shadows=0.75,
    occlusion=0.5,
    backgrounds=('pitch', 'street', 'court', 'woods', 'stands', 'beach', 'hall'),
    clutter=(0, 4),
    skin_distractors=0.25,
    background_blur=(0.3, 1.8),
    exposure=(0.75, 1.25),
    white_balance=0.05,
    vignette=(0.0, 0.35),
    defocus=(0.3, 0.9),
    motion=(0.0, 2.5),
    noise=(0.008, 0.035),
    jpeg_quality=(55, 90),
)
