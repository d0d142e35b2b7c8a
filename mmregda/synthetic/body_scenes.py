"""People in front of a camera: who, where, and how they are pictured."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .backgrounds import draw_background, draw_thing, muted_colour
from .camera_effects import photograph
from .makehuman import turn
from .people import RADII, Person, parts_of, sample_person
from .raster import Fragments, average, project, rasterise, vertex_normals, visible
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

SUPERSAMPLE = 2
#: A joint counts as visible while nothing lies further than this, in metres,
#: in front of the flesh and cloth around it.
SLACK = 0.03


@dataclass(frozen=True)
class BodyScene:
    """A person and the camera that looks at them.

    Attributes:
        person (Person): In the camera's frame.
        up (np.ndarray): The world's up, (3,).
        ground (np.ndarray): A point of the ground, (3,).
        intrinsics (np.ndarray): Camera matrix, (3, 3), in pixels.
        size (tuple[int, int]): Width and height of the image.
    """

    person: Person
    up: np.ndarray
    ground: np.ndarray
    intrinsics: np.ndarray
    size: tuple

    def rasterised(self) -> Fragments:
        person = self.person
        return rasterise(
            person.vertices, person.triangles, self.intrinsics, self.size, SUPERSAMPLE
        )

    def visibility(self, fragments: Fragments) -> np.ndarray:
        """Which joints can be seen, (25,) bool."""
        return visible(self.person.joints, RADII, fragments, self.intrinsics, SLACK)


def sample_source_scene(
    rng: np.random.Generator, style: Style, size: int = 256
) -> BodyScene:
    """A scene as in the crops of SURREAL: a square around one person."""
    person, up, ground = _placed(rng, style)
    pixels = project(person.joints, np.eye(3))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    extent = rng.uniform(0.62, 0.86) * size
    focal = extent / (high - low).max()
    # Nothing of the body but a fingertip may leave the image.
    reach = max((size - extent) / 2 - 0.06 * size, 0)
    centre = (size - 1) / 2 + rng.uniform(-reach, reach, 2)
    intrinsics = _camera(focal, centre - focal * (low + high) / 2)
    return BodyScene(person, up, ground, intrinsics, (size, size))


def sample_target_scene(
    rng: np.random.Generator, style: Style, length: float = 150
) -> BodyScene:
    """A scene as in LSP: a photograph cropped around somebody.

    Args:
        rng (np.random.Generator): Source of randomness.
        style (Style): Poses and viewpoints.
        length (float): Mean extent of the body in pixels; the image is of
            whatever size that takes.
    """
    person, up, ground = _placed(rng, style)
    pixels = project(person.joints, np.eye(3))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    focal = length * rng.uniform(0.85, 1.15) / (high - low).max()
    before, after = rng.uniform(0.10, 0.28, (2, 2)) * length
    size = np.ceil(focal * (high - low) + before + after).astype(int)
    intrinsics = _camera(focal, before - focal * low)
    return BodyScene(person, up, ground, intrinsics, tuple(size.tolist()))


def picture(
    rng: np.random.Generator, scene: BodyScene, style: Style, fragments: Fragments
):
    """Render a scene in a style.

    Returns:
        tuple[np.ndarray, np.ndarray]: (H, W, 3) uint8 RGB, and where something
        stands before the person, (H, W) bool.
    """
    skin = sample_skin(rng, style)
    light = Light.sample(rng, style)
    level = np.array((0.0, 0.0, 1.0)) - scene.up[2] * scene.up
    horizon = project(level, scene.intrinsics)[1]
    image = draw_background(rng, scene.size, style, skin, horizon)
    if style.shadows:
        image = image * _ground_shadow(rng, scene, light, style)[..., None]
    colour, alpha = average(
        _shaded(rng, scene, style, skin, light, fragments), fragments
    )
    image = image * (1 - alpha[..., None]) + colour
    hidden = np.zeros(alpha.shape, bool)
    if rng.random() < style.occluders:
        before = image.copy()
        draw_thing(rng, image, muted_colour(rng), style.detail)
        hidden = np.any(image != before, axis=2)
    return photograph(rng, image, style), hidden


def _placed(rng, style):
    """A person in the camera's frame, the world's up and its ground."""
    person = sample_person(rng, style)
    yaw = rng.normal(0, style.heading) if style.heading else rng.uniform(-180, 180)
    person = person.moved(turn(1, yaw))
    # Some have left the ground.
    lowest = person.vertices[:, 1].min() - max(rng.normal(-0.15, 0.15), 0)
    # From the world, y up and z towards the camera, to the camera's frame.
    view = turn(2, rng.normal(0, style.roll)) @ turn(0, rng.uniform(*style.elevation))
    view = np.diag((1.0, -1.0, -1.0)) @ view
    distance = rng.uniform(*style.distance)
    position = distance * np.array((*rng.uniform(-0.12, 0.12, 2), 1.0))
    up = view @ (0.0, 1.0, 0.0)
    return person.moved(view, position), up, lowest * up + position


def _camera(focal, principal):
    return np.array([[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1]])


def _shaded(rng, scene, style, skin, light, fragments):
    """Colours of the covered samples, (M, 3)."""
    person = scene.person
    normals = vertex_normals(person.vertices, person.triangles)
    values = np.column_stack([normals, person.surface, person.texture])
    values = fragments.interpolate(values, person.triangles)
    normals, surface, texture = values[:, :3], values[:, 3:9], values[:, 9:]
    albedo, cloth = _albedo(rng, person.outfit, style, skin, surface, texture)
    # Folds of cloth, which tilt what the light sees.
    folds = (0.12 + 0.3 * style.detail) * cloth
    tilt = np.stack([rough(rng, texture, 9), rough(rng, texture, 16)] * 2, axis=1)
    normals = normals + folds[:, None] * tilt[:, :3]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    points = points_of(fragments, scene.intrinsics)
    lit = lit_share(points, person.vertices, person.triangles, light, style.shadows)
    scale = SUPERSAMPLE * scene.intrinsics[0, 0] / np.median(points[:, 2])
    if style.shadows:
        lit = soften(lit, fragments, 1 + 0.004 * scale)
    open_share = openness(fragments, 0.12, int(0.15 * scale), style.occlusion)
    return shade(albedo, normals, points, lit, open_share, light, shininess=8.0)


def _albedo(rng, outfit, style, skin, surface, texture):
    """Colours (M, 3) of skin, hair and clothes, and how much is cloth (M,)."""
    x, y, z, along, _, _ = surface.T
    colour = np.tile(skin, (len(x), 1))
    # Lips, cheeks, elbows: skin is nowhere even.
    blush = style.detail * 0.05 * rough(rng, texture, 12)
    colour = colour * (1 + blush[:, None] * (1.4, 0.8, 0.8))
    parts = parts_of(outfit, surface)
    cloth = np.zeros(len(x))
    for part in ('shirt', 'trousers', 'socks', 'shoes', 'hair'):
        mask = parts[part]
        dye = np.tile(outfit.colours[part], (len(x), 1))
        kind, period, second = outfit.patterns.get(part, (None, 1, None))
        rows = np.where(along > 0, along, y) / period
        columns = np.where(along > 0, z, x) / period
        if kind is not None:
            odd = (
                np.floor(rows) % 2,
                np.floor(columns) % 2,
                (np.floor(rows) + np.floor(columns)) % 2,
                rough(rng, texture, 20) > 0.3,
            )[kind]
            dye = np.where(odd[:, None] > 0, second, dye)
        grain = 0.06 if part != 'hair' else 0.25
        tone = 1 + grain * (0.3 + style.detail) * rough(rng, texture, 40)
        colour = np.where(mask[:, None], dye * tone[:, None], colour)
        if part in ('shirt', 'trousers'):
            cloth += mask
    # Irises look ahead.
    iris = (0.5 + 0.5 * style.detail) * np.array((0.10, 0.08, 0.07))
    colour = np.where(parts['eyes'][:, None], iris, colour)
    return np.clip(colour, 0.01, 1).astype(np.float32), cloth.astype(np.float32)


def _ground_shadow(rng, scene, light, style):
    """Factor on the background where the body keeps the light off, (H, W)."""
    width, height = scene.size
    shadow = np.zeros((height, width), np.float32)
    # A low light would throw the shadow out of the picture.
    towards = light.direction + 0.6 * scene.up
    towards = towards / np.linalg.norm(towards)
    steep = max(towards @ scene.up, 0.25)
    above = (scene.person.vertices - scene.ground) @ scene.up
    cast = scene.person.vertices - towards * (above / steep)[:, None]
    cast = cast[cast[:, 2] > 0.5]
    pixels = np.round(project(cast, scene.intrinsics)).astype(int)
    inside = np.all((pixels >= 0) & (pixels < (width, height)), axis=1)
    shadow[pixels[inside, 1], pixels[inside, 0]] = 1
    sigma = 0.02 * scene.intrinsics[0, 0] / scene.person.joints[0, 2] + 0.6
    shadow = cv2.GaussianBlur(cv2.dilate(shadow, np.ones((3, 3))), (0, 0), sigma)
    return 1 - style.shadows * rng.uniform(0.2, 0.8) * np.minimum(shadow, 1)
