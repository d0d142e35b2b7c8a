"""Hands and people in front of a camera, and their pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from . import hands, people
from .backgrounds import draw_background, draw_thing, muted_colour, photograph
from .makehuman import turn
from .raster import project, rasterise, vertex_normals
from .shading import Light, cast_shadow, sample_skin, shade
from .styles import Style

LEFT, RIGHT = 0, 1
# Sizes are even, so that it divides them.
_SUPERSAMPLE = 1.5
_ATTEMPTS = 12
_TO_CAMERA = np.diag((1.0, -1.0, -1.0))


@dataclass(frozen=True)
class Scene:
    """Bodies in the camera's frame, and the camera.

    Attributes:
        vertices (np.ndarray): (V, 3).
        triangles (np.ndarray): (T, 3).
        surface (np.ndarray): What ``paint`` needs of each vertex, (V, C).
        paint (Callable): Of a generator, a style, a skin colour and the
            surface at M samples: their colours (M, 3), and how far normals
            are tilted there, (M, 1) or (M, 3).
        keypoints (np.ndarray): (K, 3).
        radii (np.ndarray): Of the flesh around them, (K,).
        flesh (float): How thick a limb is, metres.
        up (np.ndarray): Out of the plane that shadows fall on, (3,).
        ground (np.ndarray): A point of that plane, (3,).
        intrinsics (np.ndarray): Camera matrix, (3, 3), in pixels.
        size (tuple[int, int]): Width and height of the image.
        side (int): Of a hand: ``LEFT`` or ``RIGHT``.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    surface: np.ndarray
    paint: Callable
    keypoints: np.ndarray
    radii: np.ndarray
    flesh: float
    up: np.ndarray
    ground: np.ndarray
    intrinsics: np.ndarray
    size: tuple
    side: int = LEFT

    def project(self, points) -> np.ndarray:
        """Points (N, 3) to pixels (N, 2)."""
        return project(points, self.intrinsics)

    def rasterised(self, supersample: float = _SUPERSAMPLE):
        return rasterise(
            self.vertices, self.triangles, self.intrinsics, self.size, supersample
        )

    def visibility(self, fragments=None) -> np.ndarray:
        """Which keypoints can be seen, (K,) bool."""
        fragments = fragments or self.rasterised(0.5)
        slack = 0.6 * self.flesh
        return fragments.visible(self.keypoints, self.radii, self.intrinsics, slack)


def picture(rng: np.random.Generator, scene: Scene, style: Style, occluded=False):
    """Render a scene in a style.

    Args:
        rng (np.random.Generator): Source of randomness.
        scene (Scene): What is to be seen.
        style (Style): How it looks.
        occluded (bool): Whether a thing is in front of it.

    Returns:
        tuple[np.ndarray, np.ndarray]: (H, W, 3) uint8 RGB, and which keypoints
        can be seen, (K,) bool.
    """
    skin, light = sample_skin(rng, style), Light.sample(rng, style)
    level = np.array((0, 0, 1)) - scene.up[2] * scene.up
    horizon = scene.project(level)[1] if level[2] > 0.01 else 0
    image = draw_background(rng, scene.size, style, skin, horizon)
    fragments = scene.rasterised()
    if style.shadows:
        blur = 1 + 0.3 * scene.flesh * scene.intrinsics[0, 0] / scene.keypoints[0, 2]
        shadow = cast_shadow(
            scene.vertices, scene, light, scene.ground, scene.up, float(blur)
        )
        image *= 1 - style.shadows * rng.uniform(0.2, 0.9) * shadow[..., None]
    normals = vertex_normals(scene.vertices, scene.triangles)
    values = fragments.interpolate(np.column_stack([normals, scene.surface]))
    albedo, tilt = scene.paint(rng, style, skin, surface=values[:, 3:])
    normals = values[:, :3] + tilt * values[:, 2::-1]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    colour = shade(albedo, normals, fragments, scene, light, style)
    colour, alpha = fragments.average(colour)
    image = image * (1 - alpha[..., None]) + colour
    visible = scene.visibility(fragments)
    if occluded:
        pixels = scene.project(scene.keypoints)
        centre = pixels[rng.integers(len(pixels))]
        cover = draw_thing(rng, image, muted_colour(rng), style.detail, centre)
        column, row = (
            np.clip(np.round(pixels), 0, np.array(scene.size) - 1).astype(int).T
        )
        visible = visible & (cover[row, column] < 0.5)
    return photograph(rng, image, style), visible


def sample_rhd(rng: np.random.Generator, style: Style, size: int = 320) -> Scene:
    """A scene as in RHD: a camera sees a hand anywhere in the image."""
    # What is annotated is float32: the picture shows the rounded camera.
    camera = _camera(np.float32(rng.uniform(0.82, 1.05) * size), [size / 2] * 2)
    side, rest = int(rng.integers(2)), hands.sample_hand(rng)

    def draw() -> Scene:
        extent = rng.uniform(0.29, 0.58) * size
        reach = size / 2 - 0.52 * extent - 3
        centre = size / 2 + rng.uniform(-reach, reach, 2)
        hand = _moved(*_posed_hand(rng, rest, side, style), camera, extent, centre)
        return _hand_scene(rng, rest, *hand, side, camera, size)

    return _well_seen(draw, style.min_visible)


def sample_h3d(rng: np.random.Generator, style: Style, size: int = 224) -> Scene:
    """A scene as in H3D: the crop of a photograph around one left hand."""
    focal = rng.uniform(450, 750)
    camera = _camera(focal, (320, 240))
    rest = hands.sample_hand(rng)

    def draw() -> Scene:
        extent = focal * 0.17 / rng.uniform(0.35, 0.7)
        place = rng.uniform((0.3, 0.3), (0.7, 0.7)) * (640, 480)
        hand = _moved(*_posed_hand(rng, rest, LEFT, style), camera, extent, place)
        low, high = _box(hand[1], camera)
        scale = size / (1.5 * (high - low).max())
        principal = (size - 1) / 2 + scale * (camera[:2, 2] - (low + high) / 2)
        intrinsics = _camera(scale * focal, principal)
        return _hand_scene(rng, rest, *hand, LEFT, intrinsics, size)

    return _well_seen(draw, style.min_visible)


def _well_seen(draw: Callable[[], Scene], min_visible: int) -> Scene:
    """The first hand with enough visible keypoints, or the last that was drawn."""
    for _ in range(_ATTEMPTS):
        scene = draw()
        if scene.visibility().sum() >= min_visible:
            break
    return scene


def sample_surreal(rng: np.random.Generator, style: Style, size: int = 256) -> Scene:
    """A scene as in the crops of SURREAL: a square around one person."""
    person, up, ground = _person(rng, style, distance=(4, 8))
    low, high = _box(person.joints, np.eye(3))
    extent = rng.uniform(0.62, 0.86) * size
    focal = extent / (high - low).max()
    # Nothing of the body but a fingertip may leave the image.
    reach = max((size - extent) / 2 - 0.06 * size, 0)
    centre = (size - 1) / 2 + rng.uniform(-reach, reach, 2)
    camera = _camera(focal, centre - focal * (low + high) / 2)
    return _body_scene(person, up, ground, camera, (size, size))


def sample_lsp(rng: np.random.Generator, style: Style) -> Scene:
    """A scene as in LSP: a photograph cropped around a body of 150 pixels."""
    person, up, ground = _person(rng, style, distance=(5, 16))
    low, high = _box(person.joints, np.eye(3))
    focal = 150 * rng.uniform(0.85, 1.15) / (high - low).max()
    before, after = 150 * rng.uniform(0.10, 0.28, (2, 2))
    size = 2 * np.ceil((focal * (high - low) + before + after) / 2).astype(int)
    camera = _camera(focal, before - focal * low)
    return _body_scene(person, up, ground, camera, tuple(size.tolist()))


def _camera(focal, principal):
    x, y = principal
    return np.array([[focal, 0, x], [0, focal, y], [0, 0, 1]], float)


def _box(points, intrinsics):
    pixels = project(points, intrinsics)
    return pixels.min(axis=0), pixels.max(axis=0)


def _posed_hand(rng, rest, side, style):
    """Vertices and keypoints about the origin, at a viewpoint of the style."""
    wrist = np.clip(rng.normal(0, (18, 7)), (-50, -15), (50, 22))
    vertices, keypoints = rest.posed(hands.sample_angles(rng, style.gestures), *wrist)
    tilt = np.sin(np.radians(style.tilt))
    tilt = np.degrees(np.arcsin(rng.uniform(-tilt, tilt)))
    heading = rng.normal(0, style.heading) if style.heading else rng.uniform(0, 360)
    # From the palm's frame, fingers up, to the camera's, y down.
    view = turn(2, heading) @ turn(0, tilt) @ turn(1, rng.uniform(0, 360))
    mirror = np.diag((-1.0 if side == RIGHT else 1.0, 1.0, 1.0))
    view = _TO_CAMERA @ view @ mirror @ rest.palm.T
    middle = keypoints.mean(axis=0)
    return (vertices - middle) @ view.T, (keypoints - middle) @ view.T


def _moved(vertices, keypoints, intrinsics, extent, centre):
    """Move a hand until its keypoints' box has an extent and a centre."""
    focal, principal = intrinsics[0, 0], intrinsics[:2, 2]
    depth = max(focal * np.ptp(keypoints[:, :2], axis=0).max() / extent, 0.2)
    position = np.append((centre - principal) / focal, 1) * depth
    for _ in range(4):
        # Perspective couples size and place: a few rounds settle both.
        low, high = _box(keypoints + position, intrinsics)
        position[:2] += (centre - (low + high) / 2) * position[2] / focal
        scaled = max(position[2] * (high - low).max() / extent, 0.2)
        position *= scaled / position[2]
    return vertices + position, keypoints + position


def _hand_scene(rng, rest, vertices, keypoints, side, intrinsics, size):
    behind = keypoints[:, 2].max() + rng.uniform(0.03, 0.15)
    return Scene(
        vertices=vertices,
        # A mirrored hand is turned inside out.
        triangles=rest.triangles[:, :: -1 if side == RIGHT else 1],
        surface=rest.surface,
        paint=partial(hands.paint, sleeve=rng.uniform(0.03, 0.22)),
        keypoints=keypoints,
        radii=rest.radii,
        flesh=0.015,
        up=np.array((0.0, 0.0, -1.0)),
        ground=np.array((0.0, 0.0, behind)),
        intrinsics=intrinsics,
        size=(size, size),
        side=side,
    )


def _person(rng, style, distance):
    """A person in the camera's frame, the world's up and its ground."""
    person = people.sample_person(rng, style)
    yaw = rng.normal(0, style.heading) if style.heading else rng.uniform(0, 360)
    person = person.moved(turn(1, yaw))
    # Some have left the ground.
    lowest = person.vertices[:, 1].min() - max(rng.normal(-0.15, 0.15), 0)
    view = turn(2, rng.normal(0, style.roll)) @ turn(0, rng.uniform(*style.elevation))
    view = _TO_CAMERA @ view
    position = rng.uniform(*distance) * np.array((*rng.uniform(-0.12, 0.12, 2), 1))
    return person.moved(view, position), view[:, 1], lowest * view[:, 1] + position


def _body_scene(person, up, ground, intrinsics, size):
    return Scene(
        vertices=person.vertices,
        triangles=person.triangles,
        surface=person.surface,
        paint=partial(people.paint, outfit=person.outfit),
        keypoints=person.joints,
        radii=people.RADII,
        flesh=0.06,
        up=up,
        ground=ground,
        intrinsics=intrinsics,
        size=size,
    )
