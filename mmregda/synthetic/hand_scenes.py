"""Hands in front of a camera: what is posed, where, and how it is pictured."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from .backgrounds import draw_background
from .camera_effects import photograph
from .hands import Hand, nail_share, sample_angles, sample_shape, sample_wrist
from .makehuman import turn
from .raster import average, project, rasterise, vertex_normals, visible
from .shading import (
    Light,
    lit_share,
    openness,
    points_of,
    rough,
    sample_skin,
    shade,
    soften,
)  # fmt: skip
from .styles import Style

LEFT, RIGHT = 0, 1
SUPERSAMPLE = 2
#: A keypoint counts as visible while nothing lies further than this, in
#: metres, in front of the flesh around it.
SLACK = 0.010
#: A sample with fewer visible keypoints is drawn again.
MIN_VISIBLE = 17
_ATTEMPTS = 12


@dataclass(frozen=True)
class PosedHand:
    """A hand in the camera's frame.

    Attributes:
        rest (Hand): Whose hand it is.
        side (int): ``LEFT`` or ``RIGHT``.
        vertices (np.ndarray): (V, 3).
        keypoints (np.ndarray): (21, 3), root to tip.
    """

    rest: Hand
    side: int
    vertices: np.ndarray
    keypoints: np.ndarray

    @property
    def triangles(self) -> np.ndarray:
        """Those of the rest, turned inside out if the hand is mirrored."""
        triangles = self.rest.triangles
        return triangles[:, ::-1] if self.side == RIGHT else triangles

    def moved(self, offset) -> PosedHand:
        return replace(
            self, vertices=self.vertices + offset, keypoints=self.keypoints + offset
        )


@dataclass(frozen=True)
class HandScene:
    """Posed hands and the camera that looks at them.

    Attributes:
        hands (list[PosedHand]): One or two.
        intrinsics (np.ndarray): Camera matrix, (3, 3), in pixels.
        size (tuple[int, int]): Width and height of the image.
        rod (tuple | None): Vertices and triangles of what is held.
    """

    hands: list
    intrinsics: np.ndarray
    size: tuple
    rod: tuple | None = None

    def mesh(self, with_rod: bool = True):
        """All vertices and triangles: the hands, then the rod."""
        parts = [(hand.vertices, hand.triangles) for hand in self.hands]
        if with_rod and self.rod:
            parts.append(self.rod)
        starts = np.cumsum([0] + [len(vertices) for vertices, _ in parts])
        return (
            np.concatenate([vertices for vertices, _ in parts]),
            np.concatenate([t + start for (_, t), start in zip(parts, starts)]),
        )

    def rasterised(self, supersample: int = SUPERSAMPLE, with_rod: bool = True):
        return rasterise(*self.mesh(with_rod), self.intrinsics, self.size, supersample)

    def visibility(self, fragments) -> np.ndarray:
        """Which keypoints can be seen, (num_hands, 21) bool."""
        seen = [
            visible(hand.keypoints, hand.rest.radii, fragments, self.intrinsics, SLACK)
            for hand in self.hands
        ]
        return np.stack(seen)


def sample_source_scene(
    rng: np.random.Generator, style: Style, size: int = 320, two_hands: float = 0.15
) -> HandScene:
    """A scene as in RHD: a camera sees one hand, sometimes two."""
    focal = rng.uniform(0.82, 1.05) * size
    intrinsics = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    # What is annotated is float32: the picture shows the rounded camera.
    intrinsics = intrinsics.astype(np.float32).astype(np.float64)
    sides = [int(rng.integers(2))]
    if rng.random() < two_hands:
        sides.append(1 - sides[0])
    rest = Hand(sample_shape(rng))
    hands = []
    for index, side in enumerate(sides):
        for _ in range(_ATTEMPTS):
            if len(sides) == 1:
                extent = rng.uniform(0.29, 0.58) * size
                reach = size / 2 - 0.52 * extent - 3
                place = size / 2 + rng.uniform(-reach, reach, 2)
            else:
                # Two hands stand side by side: their boxes hardly overlap.
                extent = rng.uniform(0.26, 0.36) * size
                across = (0.27, 0.73)[index] + rng.uniform(-0.02, 0.02)
                place = size * np.array((across, rng.uniform(0.3, 0.7)))
            hand = _oriented(rng, rest, side, style, grasp=False)
            hand = _placed(hand, intrinsics, extent, place)
            alone = HandScene([hand], intrinsics, (size, size))
            if alone.visibility(alone.rasterised(1)).sum() >= MIN_VISIBLE:
                break
        hands.append(hand)
    return HandScene(hands, intrinsics, (size, size))


def sample_target_scene(
    rng: np.random.Generator,
    style: Style,
    size: int = 224,
    margin: float = 1.5,
    holding: bool = False,
) -> HandScene:
    """A scene as in H3D: the crop of a photograph around one left hand.

    Args:
        rng (np.random.Generator): Source of randomness.
        style (Style): Range of viewpoints.
        size (int): Side of the square crop in pixels.
        margin (float): Side of the crop in units of the keypoints' extent.
        holding (bool): Whether the hand holds an object.
    """
    focal = rng.uniform(450, 750)
    camera = np.array([[focal, 0, 320], [0, focal, 240], [0, 0, 1.0]])
    rest = Hand(sample_shape(rng))
    for _ in range(_ATTEMPTS):
        hand = _oriented(rng, rest, LEFT, style, grasp=holding)
        extent = focal * 0.17 / rng.uniform(0.35, 0.7)
        place = rng.uniform((0.3, 0.3), (0.7, 0.7)) * (640, 480)
        hand = _placed(hand, camera, extent, place)
        pixels = project(hand.keypoints, camera)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        scale = size / (margin * (high - low).max())
        intrinsics = camera.copy()
        intrinsics[:2] *= scale
        intrinsics[:2, 2] += (size - 1) / 2 - scale * (low + high) / 2
        rod = _rod(rng, hand) if holding else None
        scene = HandScene([hand], intrinsics, (size, size), rod)
        if scene.visibility(scene.rasterised(1, False)).sum() >= MIN_VISIBLE:
            break
    return scene


def picture(rng: np.random.Generator, scene: HandScene, style: Style, fragments):
    """Render a scene in a style: (H, W, 3) uint8 RGB."""
    skin = sample_skin(rng, style)
    light = Light.sample(rng, style)
    background = draw_background(rng, scene.size, style, skin)
    vertices, triangles = scene.mesh()
    values = np.column_stack([vertex_normals(vertices, triangles), _surface(scene)])
    values = fragments.interpolate(values, triangles)
    normals, texture = values[:, :3], values[:, 3:5]
    albedo = _albedo(rng, style, skin, texture, values[:, 5:])
    points = points_of(fragments, scene.intrinsics)
    # A hand is 20 cm long: how many samples is that?
    scale = SUPERSAMPLE * scene.intrinsics[0, 0] / np.median(points[:, 2])
    if style.detail:
        grain = 0.06 * style.detail * rough(rng, texture, 60)
        normals = normals + grain[:, None] * normals[:, ::-1]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    lit = lit_share(points, vertices, triangles, light, style.shadows)
    if style.shadows:
        lit = soften(lit, fragments, 1 + 0.002 * scale)
    open_share = openness(fragments, 0.015, int(0.03 * scale), style.occlusion)
    colour = shade(albedo, normals, points, lit, open_share, light)
    colour, alpha = average(colour, fragments)
    if style.shadows:
        background = background * _drop_shadow(rng, alpha, light, style)[..., None]
    image = background * (1 - alpha[..., None]) + colour
    return photograph(rng, image, style)


def _oriented(rng, rest, side, style, grasp):
    """Pose a hand and turn it to a viewpoint of the style."""
    vertices, keypoints = rest.posed(sample_angles(rng, grasp), sample_wrist(rng))
    tilt = np.sin(np.radians(style.tilt))
    tilt = np.degrees(np.arcsin(rng.uniform(-tilt, tilt)))
    heading = rng.normal(0, style.heading) if style.heading else rng.uniform(0, 360)
    # From the palm's frame, fingers up, to the camera's, y down.
    view = turn(2, heading) @ turn(0, tilt) @ turn(1, rng.uniform(0, 360))
    view = np.diag((1.0, -1.0, -1.0)) @ view
    if side == RIGHT:
        view = view @ np.diag((-1.0, 1.0, 1.0))
    view = view @ rest.palm.T
    middle = keypoints.mean(axis=0)
    return PosedHand(
        rest, side, (vertices - middle) @ view.T, (keypoints - middle) @ view.T
    )


def _placed(hand, intrinsics, extent, centre):
    """Move a hand until its keypoints' box has an extent and a centre."""
    focal, principal = intrinsics[0, 0], intrinsics[:2, 2]
    spread = np.ptp(hand.keypoints[:, :2], axis=0).max()
    depth = max(focal * spread / extent, 0.2)
    position = np.append((centre - principal) / focal, 1) * depth
    for _ in range(4):
        # Perspective couples size and place: a few rounds settle both.
        pixels = project(hand.keypoints + position, intrinsics)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        position[:2] += (centre - (low + high) / 2) * position[2] / focal
        scaled = max(position[2] * (high - low).max() / extent, 0.2)
        position *= scaled / position[2]
    return hand.moved(position)


def _rod(rng, hand, sides=14):
    """Vertices and triangles of a rod in a closed hand."""
    knuckles, middles = hand.keypoints[[5, 9, 13, 17]], hand.keypoints[[7, 11, 15, 19]]
    along = knuckles[0] - knuckles[3]
    along /= np.linalg.norm(along)
    centre = 0.4 * knuckles.mean(axis=0) + 0.6 * middles.mean(axis=0)
    across = np.cross(along, (0.3, 0.5, 0.8))
    across /= np.linalg.norm(across)
    circle = np.linspace(0, 2 * np.pi, sides, endpoint=False)[:, None]
    ring = np.cos(circle) * across + np.sin(circle) * np.cross(along, across)
    ring *= rng.uniform(0.008, 0.018)
    ends = [centre + reach * along for reach in rng.uniform(0.06, 0.16, 2) * (-1, 1)]
    vertices = np.concatenate([end + ring for end in ends] + [np.stack(ends)])
    this = np.arange(sides)
    following = (this + 1) % sides
    triangles = np.concatenate(
        [
            np.stack([this, following, following + sides], axis=1),
            np.stack([this, following + sides, this + sides], axis=1),
            np.stack([following, this, np.full(sides, 2 * sides)], axis=1),
            np.stack([this, following, np.full(sides, sides + 1)], axis=1)
            + (sides, sides, sides),
        ]
    )
    return vertices, triangles


def _surface(scene):
    """What colour depends on, of all vertices, (V, 7): the place in the
    texture, towards the palm, near joints, near tips, up the arm, of a rod."""
    columns = []
    for hand in scene.hands:
        rest = hand.rest
        joints = np.exp(-((rest.distances[:, 1:] / 0.007) ** 2)).sum(axis=1)
        tips = np.exp(-((rest.distances[:, 4::4] / 0.015) ** 2)).sum(axis=1)
        palmar = -rest.normals @ rest.palm[:, 2]
        up_arm = -rest.vertices @ rest.palm[:, 1]
        rod = np.zeros(len(joints))
        columns.append(
            np.column_stack([rest.texture, palmar, joints, tips, up_arm, rod])
        )
    if scene.rod:
        columns.append(np.tile((0.0, 0, 0, 0, 0, 0, 1), (len(scene.rod[0]), 1)))
    return np.concatenate(columns)


def _albedo(rng, style, skin, texture, values):
    """Colour of skin, nails, sleeve and rod at the covered samples, (M, 3)."""
    sleeve = rng.uniform(0.03, 0.22)
    cloth = rng.uniform(0, 1, 3) * (1 - style.drab) + style.drab * rng.uniform(
        0.05, 0.8
    )
    palmar, joints, tips, up_arm, rod = values.T
    palmar = np.clip(palmar, 0, 1)[:, None]
    light_skin = skin * (1, 0.93, 0.92) + 0.25 * (1 - skin)
    colour = skin + (0.3 + 0.4 * style.detail) * palmar * (light_skin - skin)
    red = np.array((0.06, -0.05, -0.05)) * style.detail
    redness = 0.5 * joints + tips + 0.5 * rough(rng, texture, 10)
    colour = colour + np.clip(redness, -1, 1)[:, None] * red * skin[0]
    # Folds over the joints: dark lines across the finger.
    folds = np.clip(joints, 0, 1) * np.clip(rough(rng, texture, 45) - 0.6, 0, 1)
    tone = 1 + style.detail * (0.05 * rough(rng, texture, 24) - 0.35 * folds)
    colour = colour * tone[:, None]
    nail = nail_share(texture)[:, None] * (1 - 0.35 * style.detail)
    colour = colour * (1 - nail) + nail * (0.55 * skin + (0.42, 0.33, 0.32))
    edge = sleeve + 0.006 * style.detail * rough(rng, texture, 6)
    folds = 1 + 0.1 * style.detail * rough(rng, texture, 14)
    colour = np.where((up_arm > edge)[:, None], cloth * folds[:, None], colour)
    held = rng.uniform(0, 1, 3)
    colour = np.where(rod[:, None] > 0.5, held, colour)
    return np.clip(colour, 0.01, 1).astype(np.float32)


def _drop_shadow(rng, alpha, light, style):
    """Factor of the hand's blurred shadow on whatever is behind it."""
    height, width = alpha.shape
    distance = rng.uniform(0.02, 0.15) * width
    shift = -light.direction[:2] * distance
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    shadow = cv2.warpAffine(alpha, move, (width, height))
    shadow = cv2.GaussianBlur(shadow, (0, 0), 0.3 * distance + 1)
    return 1 - style.shadows * rng.uniform(0.0, 0.7) * shadow
