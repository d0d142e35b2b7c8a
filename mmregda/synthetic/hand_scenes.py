"""Hands in front of a camera: what is posed, where, and how it is pictured."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .backgrounds import draw_background
from .camera_effects import photograph
from .hand_model import (
    HELD_OBJECT,
    PARTS_PER_HAND,
    Hand,
    sample_hand,
)
from .hand_shading import shade_hands
from .lighting import Light, sample_skin
from .renderer import RoundCones, average_samples, first_hits, project, render
from .styles import HandStyle

LEFT, RIGHT = 0, 1

#: A keypoint counts as visible while nothing lies further than this, in
#: metres, in front of the flesh around it.
VISIBILITY_TOLERANCE = 0.008
#: A sample with fewer visible keypoints is drawn again.
MIN_VISIBLE = 17
_ATTEMPTS = 12
_SUPERSAMPLE = 2
_MIRROR = np.diag((-1.0, 1.0, 1.0))


@dataclass(frozen=True)
class HandScene:
    """Posed hands and the camera that looks at them.

    Attributes:
        hands (list[Hand]): One or two hands in the camera frame.
        sides (list[int]): ``LEFT`` or ``RIGHT``, for each hand.
        intrinsics (np.ndarray): Camera matrix, (3, 3), in pixels.
        size (tuple[int, int]): Width and height of the image.
    """

    hands: list[Hand]
    sides: list[int]
    intrinsics: np.ndarray
    size: tuple[int, int]

    @property
    def cones(self) -> RoundCones:
        """All primitives, the labels of hand h raised by its share."""
        return RoundCones.concatenate(
            [
                hand.cones.relabelled(index * PARTS_PER_HAND)
                for index, hand in enumerate(self.hands)
            ]
        )

    def visibility(self, with_objects: bool = True) -> np.ndarray:
        """Which keypoints can be seen, (num_hands, 21) bool.

        A keypoint is visible if it projects into the image and the first
        surface in its direction is at most ``VISIBILITY_TOLERANCE`` nearer
        than the front of the flesh around it, which is a sphere of the
        keypoint's radius.

        Args:
            with_objects (bool): Whether held objects hide keypoints.
        """
        cones = self.cones
        if not with_objects:
            kept = cones.part % PARTS_PER_HAND != HELD_OBJECT
            cones = RoundCones(
                cones.start[kept],
                cones.end[kept],
                cones.start_radius[kept],
                cones.end_radius[kept],
                cones.part[kept],
                cones.softness[kept],
            )
        visible = []
        for hand in self.hands:
            pixels = project(hand.keypoints, self.intrinsics)
            limit = np.array(self.size) - 1
            inside = np.all((pixels >= 0) & (pixels <= limit), axis=1)
            front = hand.keypoints[:, 2] - hand.keypoint_radii
            first = first_hits(cones, hand.keypoints)
            visible.append(inside & (first >= front - VISIBILITY_TOLERANCE))
        return np.stack(visible)


def sample_source_scene(
    rng: np.random.Generator,
    style: HandStyle,
    size: int = 320,
    two_hands: float = 0.15,
) -> HandScene:
    """A scene as in RHD: a camera sees one hand, sometimes two.

    Args:
        rng (np.random.Generator): Source of randomness.
        style (HandStyle): Range of viewpoints.
        size (int): Side of the square image in pixels.
        two_hands (float): Chance of a second hand.
    """
    focal = rng.uniform(0.82, 1.05) * size
    centre = size / 2
    intrinsics = np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1]])
    # What is annotated is float32: the picture shows the rounded camera.
    intrinsics = intrinsics.astype(np.float32).astype(np.float64)
    sides = [int(rng.integers(2))]
    if rng.random() < two_hands:
        sides.append(1 - sides[0])

    hands = []
    for index, side in enumerate(sides):
        for _ in range(_ATTEMPTS):
            extent, place = _composition(rng, size, index, len(sides))
            hand = _orient(rng, sample_hand(rng), side, style)
            hand = _place(hand, intrinsics, extent, place)
            alone = HandScene([hand], [side], intrinsics, (size, size))
            if alone.visibility().sum() >= MIN_VISIBLE:
                break
        hands.append(hand)
    return HandScene(hands, sides, intrinsics, (size, size))


def sample_target_scene(
    rng: np.random.Generator,
    style: HandStyle,
    size: int = 224,
    margin: float = 1.5,
    holding: bool = False,
) -> HandScene:
    """A scene as in H3D: the crop of a photograph around one left hand.

    Args:
        rng (np.random.Generator): Source of randomness.
        style (HandStyle): Range of viewpoints.
        size (int): Side of the square crop in pixels.
        margin (float): Side of the crop in units of the keypoints' extent.
        holding (bool): Whether the hand holds an object.
    """
    width, height = 640, 480
    focal = rng.uniform(450, 750)
    camera = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    for _ in range(_ATTEMPTS):
        hand = _orient(rng, sample_hand(rng, grip=holding), LEFT, style)
        extent = focal * 0.17 / rng.uniform(0.35, 0.7)
        place = rng.uniform((0.3, 0.3), (0.7, 0.7)) * (width, height)
        hand = _place(hand, camera, extent, place)
        intrinsics = _crop(hand, camera, size, margin)
        scene = HandScene([hand], [LEFT], intrinsics, (size, size))
        if scene.visibility(with_objects=False).sum() >= MIN_VISIBLE:
            break
    return scene


def picture(rng: np.random.Generator, scene: HandScene, style: HandStyle) -> np.ndarray:
    """Render a scene in a style.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    skin = sample_skin(rng, style)
    light = Light.sample(rng, style)
    background = draw_background(rng, scene.size, style, skin)

    cones = scene.cones
    buffers = render(cones, scene.intrinsics, scene.size, _SUPERSAMPLE)
    depth = np.mean([hand.keypoints[:, 2].mean() for hand in scene.hands])
    colour = shade_hands(
        rng,
        buffers,
        scene.hands,
        cones,
        skin,
        light,
        style,
        pixels_per_metre=_SUPERSAMPLE * scene.intrinsics[0, 0] / depth,
    )
    colour, alpha = average_samples(colour, buffers, scene.size)
    if style.cast_shadows > 0:
        background *= _drop_shadow(rng, alpha, light, style)[..., None]
    image = background * (1 - alpha[..., None]) + colour
    return photograph(rng, image, style)


def _composition(rng, size, index, count):
    """Extent and centre of a hand in an image of one or two, in pixels."""
    if count == 1:
        extent = rng.uniform(0.29, 0.58) * size
        reach = size / 2 - 0.52 * extent - 3
        return extent, size / 2 + rng.uniform(-reach, reach, 2)
    # Two hands stand side by side, so that their boxes hardly overlap.
    extent = rng.uniform(0.26, 0.36) * size
    across = (0.27, 0.73)[index] + rng.uniform(-0.02, 0.02)
    return extent, size * np.array((across, rng.uniform(0.3, 0.7)))


def _orient(rng, hand, side, style):
    """Turn a left hand of the palm's frame to a viewpoint of the style."""
    tilt = np.deg2rad(style.max_tilt)
    tilt = np.arcsin(rng.uniform(-np.sin(tilt), np.sin(tilt)))
    if style.upright_spread:
        heading = np.deg2rad(rng.normal(0, style.upright_spread))
    else:
        heading = rng.uniform(0, 2 * np.pi)
    fingers = np.array(
        (
            np.sin(heading) * np.cos(tilt),
            -np.cos(heading) * np.cos(tilt),
            np.sin(tilt),
        )
    )
    across = np.array((np.cos(heading), np.sin(heading), 0.0))
    normal = np.cross(across, fingers)
    roll = rng.uniform(0, 2 * np.pi)
    lateral = np.cos(roll) * across + np.sin(roll) * normal
    rotation = np.stack([lateral, fingers, np.cross(lateral, fingers)], axis=1)
    if side == RIGHT:
        rotation = rotation @ _MIRROR
    middle = hand.keypoints.mean(axis=0)
    return hand.moved(rotation, -rotation @ middle)


def _place(hand, intrinsics, extent, centre):
    """Move a hand until its keypoints' box has an extent and a centre."""
    focal = intrinsics[0, 0]
    principal = intrinsics[:2, 2]
    spread = np.ptp(hand.keypoints[:, :2], axis=0).max()
    depth = max(focal * spread / extent, 0.16)
    position = np.append((centre - principal) / focal, 1) * depth
    for _ in range(4):
        pixels = project(hand.keypoints + position, intrinsics)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        # Perspective couples size and place: a few rounds settle both.
        scaled = position[2] * (high - low).max() / extent
        position[:2] += (centre - (low + high) / 2) * position[2] / focal
        scaled = max(scaled, 0.16)
        position *= scaled / position[2]
    return hand.moved(np.eye(3), position)


def _crop(hand, camera, size, margin):
    """Camera matrix of the square crop around a hand."""
    pixels = project(hand.keypoints, camera)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    scale = size / (margin * (high - low).max())
    intrinsics = camera.copy()
    intrinsics[:2] *= scale
    intrinsics[:2, 2] += (size - 1) / 2 - scale * (low + high) / 2
    return intrinsics


def _drop_shadow(rng, alpha, light, style):
    """The hand's blurred shadow on whatever is behind it."""
    height, width = alpha.shape
    distance = rng.uniform(0.02, 0.15) * width
    shift = -light.direction[:2] * distance
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    shadow = cv2.warpAffine(alpha, move, (width, height))
    shadow = cv2.GaussianBlur(shadow, (0, 0), 0.3 * distance + 1)
    return 1 - style.cast_shadows * rng.uniform(0.0, 0.7) * shadow
