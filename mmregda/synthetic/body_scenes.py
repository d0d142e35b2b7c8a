"""Bodies in front of a camera: who is posed, where, and how it is pictured."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .body_backgrounds import draw_scenery
from .body_flesh import Body, articulate
from .body_model import (
    LEFT_FOOT,
    PELVIS,
    RIGHT_FOOT,
    BodyShape,
    rotation_about,
)
from .body_poses import sample_pose
from .body_shading import Outfit, sample_outfit, shade_body
from .body_styles import BodyStyle
from .camera_effects import photograph
from .lighting import Light, sample_skin
from .renderer import average_samples, first_hits, project, render

#: A keypoint counts as visible while nothing lies further than this, in
#: metres, in front of the flesh around it. Annotators place a far hip seen from
#: the side without calling it hidden: with this, joints are hidden about as
#: often as in LSP's labels, 8 %.
VISIBILITY_TOLERANCE = 0.15
#: Radius about the top of the head, metres.
TOP_RADIUS = 0.06
_SUPERSAMPLE = 2


@dataclass(frozen=True)
class BodyScene:
    """A posed body and the camera that looks at it.

    Attributes:
        body (Body): The body in the camera frame.
        outfit (Outfit): What it wears.
        up (np.ndarray): The world's upward direction, (3,).
        ground (np.ndarray): A point of the ground, (3,).
        intrinsics (np.ndarray): Camera matrix, (3, 3), in pixels.
        size (tuple[int, int]): Width and height of the image.
    """

    body: Body
    outfit: Outfit
    up: np.ndarray
    ground: np.ndarray
    intrinsics: np.ndarray
    size: tuple[int, int]

    @property
    def landmarks(self) -> np.ndarray:
        """The 24 joints and the top of the head, (25, 3)."""
        return np.concatenate([self.body.joints, self.body.top[None]])

    def visibility(self) -> np.ndarray:
        """Which of the landmarks can be seen, (25,) bool.

        A landmark is visible if it projects into the image and the first
        surface in its direction is at most ``VISIBILITY_TOLERANCE`` nearer
        than the front of the flesh and cloth around it, a sphere.
        """
        points = self.landmarks
        looseness = self.outfit.covering.looseness
        radii = np.append(self.body.joint_radii(looseness), TOP_RADIUS)
        pixels = project(points, self.intrinsics)
        inside = np.all((pixels >= 0) & (pixels <= np.array(self.size) - 1), axis=1)
        first = first_hits(self.body.cones, points)
        return inside & (first >= points[:, 2] - radii - VISIBILITY_TOLERANCE)

    @property
    def horizon(self) -> float:
        """Row of the horizon below the image's middle column, pixels."""
        level = np.array((0.0, 0.0, 1.0))
        level -= self.up * (self.up @ level)
        return float(project(level, self.intrinsics)[1])


def sample_source_scene(
    rng: np.random.Generator, style: BodyStyle, size: int = 256
) -> BodyScene:
    """A scene as in the crops of SURREAL: a square around one person.

    Args:
        rng (np.random.Generator): Source of randomness.
        style (BodyStyle): Poses and viewpoints.
        size (int): Side of the image in pixels.
    """
    body, outfit, up, ground = _person(rng, style)
    pixels = project(np.concatenate([body.joints, body.top[None]]), np.eye(3))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    extent = rng.uniform(0.62, 0.86) * size
    focal = extent / (high - low).max()
    # Nothing of the body but a fingertip may leave the image.
    reach = max((size - extent) / 2 - 0.06 * size, 0)
    centre = (size - 1) / 2 + rng.uniform(-reach, reach, 2)
    intrinsics = _camera(focal, centre - focal * (low + high) / 2)
    return BodyScene(body, outfit, up, ground, intrinsics, (size, size))


def sample_target_scene(
    rng: np.random.Generator, style: BodyStyle, length: float = 150
) -> BodyScene:
    """A scene as in LSP: a photograph cropped around somebody.

    Args:
        rng (np.random.Generator): Source of randomness.
        style (BodyStyle): Poses and viewpoints.
        length (float): Mean extent of the body in pixels; the image is of
            whatever size that takes.
    """
    body, outfit, up, ground = _person(rng, style)
    pixels = project(np.concatenate([body.joints, body.top[None]]), np.eye(3))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    focal = length * rng.uniform(0.85, 1.15) / (high - low).max()
    before, after = rng.uniform(0.10, 0.28, (2, 2)) * length
    size = np.ceil(focal * (high - low) + before + after).astype(int)
    intrinsics = _camera(focal, before - focal * low)
    return BodyScene(body, outfit, up, ground, intrinsics, tuple(size.tolist()))


def picture(rng: np.random.Generator, scene: BodyScene, style: BodyStyle) -> np.ndarray:
    """Render a scene in a style.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    light = Light.sample(rng, style)
    background = draw_scenery(rng, scene.size, style, scene.outfit.skin, scene.horizon)
    darkness = rng.uniform(*style.ground_shadow)
    if darkness > 0:
        background *= _ground_shadow(scene, light, darkness)[..., None]

    buffers = render(scene.body.cones, scene.intrinsics, scene.size, _SUPERSAMPLE)
    depth = scene.body.joints[:, 2].mean()
    colour = shade_body(
        rng,
        buffers,
        scene.body,
        scene.outfit,
        light,
        style,
        pixels_per_metre=_SUPERSAMPLE * scene.intrinsics[0, 0] / depth,
    )
    colour, alpha = average_samples(colour, buffers, scene.size)
    image = background * (1 - alpha[..., None]) + colour
    return photograph(rng, image, style)


def _camera(focal, principal):
    return np.array([[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1]])


def _person(rng, style):
    """A dressed body in the camera frame, the world's up and its ground."""
    shape = BodyShape.sample(rng)
    outfit = sample_outfit(rng, style, sample_skin(rng, style), shape.female)
    pose, (pitch, roll) = sample_pose(rng, shape, style.activities)
    body = articulate(shape, pose, outfit.covering)

    if style.facing_spread:
        yaw = rng.normal(0, style.facing_spread)
    else:
        yaw = rng.uniform(-180, 180)
    lean = rotation_about(1, yaw) @ rotation_about(0, pitch) @ rotation_about(2, -roll)
    body = body.moved(lean, -lean @ body.joints[PELVIS])
    lowest = np.min(
        np.minimum(
            body.cones.start[:, 1] - body.cones.start_radius,
            body.cones.end[:, 1] - body.cones.end_radius,
        )
    )
    # Some have left the ground.
    ground = np.array((0, lowest - max(rng.normal(-0.15, 0.15), 0), 0))

    # From the world, y up and z towards the camera, to the camera's frame.
    elevation = rng.uniform(*style.elevation)
    view = rotation_about(2, rng.normal(0, style.roll)) @ rotation_about(0, elevation)
    view = view @ np.diag((1.0, -1.0, -1.0))
    distance = rng.uniform(*style.distance)
    position = distance * np.array((*rng.uniform(-0.12, 0.12, 2), 1.0))
    return (
        body.moved(view, position),
        outfit,
        view @ (0, 1, 0),
        view @ ground + position,
    )


def _ground_shadow(scene, light, darkness):
    """Factor on the background where the body keeps the light off."""
    width, height = scene.size
    shadow = np.zeros((height, width), np.float32)
    # A low light would throw the shadow out of the picture.
    towards = light.direction + 0.6 * scene.up
    towards = towards / np.linalg.norm(towards)
    steep = towards @ scene.up
    if steep > 0.25:
        cones = scene.body.cones
        ends = []
        for points in (cones.start, cones.end):
            above = (points - scene.ground) @ scene.up
            ends.append(points - towards * (above / steep)[:, None])
        near = np.minimum(ends[0][:, 2], ends[1][:, 2])
        focal = scene.intrinsics[0, 0]
        radii = (cones.start_radius + cones.end_radius) / 2
        thick = np.maximum(np.round(1.6 * focal * radii / near), 1).astype(int)
        starts, stops = (
            np.round(project(points, scene.intrinsics) * 16).astype(int)
            for points in ends
        )
        for index in np.flatnonzero(near > 0.5):
            cv2.line(
                shadow,
                starts[index].tolist(),
                stops[index].tolist(),
                1.0,
                int(thick[index]),
                cv2.LINE_AA,
                4,
            )
    # Where feet touch the ground, no sky reaches it either.
    focal = scene.intrinsics[0, 0]
    for foot in (LEFT_FOOT, RIGHT_FOOT):
        place = scene.body.joints[foot]
        above = (place - scene.ground) @ scene.up
        if above < 0.15:
            centre = project(place - above * scene.up, scene.intrinsics)
            radius = 0.12 * focal / place[2]
            cv2.ellipse(
                shadow,
                np.round(centre).astype(int).tolist(),
                (int(radius) + 1, int(0.4 * radius) + 1),
                0,
                0,
                360,
                1.0,
                -1,
                cv2.LINE_AA,
            )
    shadow = cv2.GaussianBlur(
        shadow, (0, 0), 0.02 * focal / scene.body.joints[0, 2] + 0.6
    )
    return 1 - darkness * shadow
