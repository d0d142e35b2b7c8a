"""Everything in which the two rendered domains of a pair differ.

``CLEAN`` looks like computer graphics and is the labelled source; ``PHOTO``
looks like photographs and is the target. The width of the domain gap is tuned
by editing the numbers below, and nowhere else. Colours are RGB in [0, 1],
angles degrees; a pair of numbers is the range of a uniform draw.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Tuple

Range = Tuple[float, float]


@dataclass(frozen=True)
class Style:
    """How a scene is posed, lit, backed and photographed.

    Attributes:
        skins (tuple): Skin colours, from light to dark.
        skin_jitter (float): Deviation of each channel of the skin.
        detail (float): How uneven skin, cloth and things are, 0 to 1.
        patterns (float): Chance that cloth is patterned.
        drab (float): Greyness of cloth, 0 to 1.
        ambient, key_light (Range): Light from everywhere and from the lamp.
        warmth (float): Deviation of the lamp's colour.
        specular (Range): Strength of highlights.
        shadows, occlusion (float): Darkness of shadows and of narrow gaps.
        backgrounds (tuple[str, ...]): Names of ``backgrounds.BACKGROUNDS``.
        clutter (tuple[int, int]): Number of things behind.
        skin_things (float): Chance that such a thing has the skin's colour.
        occluders (float): Chance of a thing in front of people.
        exposure (Range), white_balance (float): Gains of the image, and the
            deviation of its channels'.
        vignette (Range): Darkening of the corners, 0 to 1.
        background_blur, defocus (Range): Deviations in pixels.
        motion (Range): Length of the motion's smear in pixels.
        noise (Range): Deviation of the sensor's noise.
        jpeg_quality (tuple[int, int]): Of images that are written as JPEG.
        tilt (float): Largest angle of a hand's axis to the image plane.
        gestures (dict): Odds of ``hands.GESTURES``.
        min_visible (int): A hand with fewer visible keypoints is drawn again.
        hidden_labels (bool): Whether labels count hidden keypoints as visible,
            for targets that are labelled behind fingers too.
        heading (float): Deviation of a hand's direction from fingers up, or
            of a person's from facing the camera; 0 for any.
        poses (dict): Odds of ``people.POSES``.
        elevation (Range), roll (float): How far the camera looks down on
            people, and the deviation of its roll.
    """

    skins: tuple = ((0.92, 0.72, 0.60), (0.84, 0.63, 0.50), (0.70, 0.49, 0.37))
    skin_jitter: float = 0.015
    detail: float = 0.0
    patterns: float = 0.35
    drab: float = 0.0
    ambient: Range = (0.50, 0.62)
    key_light: Range = (0.40, 0.60)
    warmth: float = 0.03
    specular: Range = (0.03, 0.15)
    shadows: float = 0.0
    occlusion: float = 0.3
    backgrounds: Tuple[str, ...] = ('plain', 'gradient', 'checker')
    clutter: Tuple[int, int] = (0, 3)
    skin_things: float = 0.0
    occluders: float = 0.0
    exposure: Range = (0.95, 1.05)
    white_balance: float = 0.0
    vignette: Range = (0.0, 0.0)
    background_blur: Range = (0.0, 0.0)
    defocus: Range = (0.0, 0.0)
    motion: Range = (0.0, 0.0)
    noise: Range = (0.0, 0.0)
    jpeg_quality: Tuple[int, int] = (90, 97)
    gestures: dict = field(
        default_factory=lambda: dict(
            open=0.30, relaxed=0.25, fist=0.12, pattern=0.20, free=0.13
        )
    )
    min_visible: int = 17
    hidden_labels: bool = False
    tilt: float = 65
    heading: float = 0
    poses: dict = field(default_factory=dict)
    elevation: Range = (0, 0)
    roll: float = 0


CLEAN = Style()
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
    key_light=(0.40, 0.85),
    warmth=0.10,
    specular=(0.0, 0.12),
    shadows=0.75,
    occlusion=0.7,
    backgrounds=('clouds', 'foliage', 'shelves', 'room'),
    clutter=(3, 12),
    skin_things=0.3,
    exposure=(0.75, 1.15),
    white_balance=0.05,
    vignette=(0.0, 0.4),
    background_blur=(0.6, 3.0),
    defocus=(0.2, 0.9),
    motion=(0.0, 3.0),
    noise=(0.006, 0.035),
    jpeg_quality=(55, 92),
    tilt=50,
    heading=70,
)  # fmt: skip
# A source for real photographs is exposed as they are. PHOTO is darker and noisier.
_EXPOSED = dict(
    ambient=(0.45, 0.75), exposure=(0.95, 1.35), shadows=0.5, noise=(0.002, 0.02)
)
# A labelled source for photographs of hands that gesture, fingers up: half of the
# fingers are folded, in front of knuckles that labels of photographs name too.
PHOTO_GESTURES = replace(
    PHOTO,
    **_EXPOSED,
    gestures=dict(open=0.20, relaxed=0.15, fist=0.12, pattern=0.45, free=0.08),
    min_visible=12,
    hidden_labels=True,
    heading=30,
)
CLEAN_BODIES = replace(
    CLEAN,
    skins=CLEAN.skins + ((0.50, 0.34, 0.25),),
    specular=(0.0, 0.05),
    backgrounds=('plain', 'gradient', 'checker', 'room', 'clouds'),
    poses=dict(stand=0.46, stride=0.30, crouch=0.12, free=0.12),
    elevation=(-12, 32),
    roll=2,
)
PHOTO_BODIES = replace(
    PHOTO,
    backgrounds=('ground', 'ground', 'ground', 'foliage', 'room'),
    clutter=(0, 5),
    skin_things=0.2,
    occluders=0.15,
    background_blur=(0.3, 1.8),
    heading=95,
    poses=dict(stand=0.12, stride=0.18, crouch=0.15, free=0.42, tumble=0.13),
    elevation=(-6, 20),
    roll=4,
)
# A labelled source for photographs of people who jump, climb and roll.
PHOTO_ATHLETES = replace(
    PHOTO_BODIES,
    **_EXPOSED,
    poses=dict(stand=0.08, stride=0.14, crouch=0.30, free=0.30, tumble=0.18),
)
