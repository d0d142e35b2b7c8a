"""A small software renderer for articulated bodies made of round cones.

A round cone is the volume swept by a sphere that moves along a segment while
its radius changes linearly: the shape of a phalanx, a forearm or a thigh.
Rays are intersected with each cone in closed form, and neighbouring cones
are melted together in depth, so that a handful of primitives reads as one
smooth body. The renderer knows nothing of hands: it turns cones and a camera
into depth, normals and part labels, which others paint.

Conventions: camera frame with x right, y down, z forward, in metres; the
centre of the upper-left pixel has the coordinates (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np

#: Depth of a pixel that nothing covers. Finite, so that differences of two
#: empty pixels are zero and not NaN.
EMPTY_DEPTH = np.float32(1e3)
BACKGROUND = -1
# Behind an empty pixel, so that a miss changes nothing there.
_MISS = np.float32(2e3)
_NEAR = np.float32(0.02)


@dataclass(frozen=True)
class RoundCones:
    """``N`` round cones.

    Attributes:
        start (np.ndarray): First end of the axis, (N, 3), metres.
        end (np.ndarray): Second end of the axis, (N, 3), metres.
        start_radius (np.ndarray): Radius at ``start``, (N,), metres.
        end_radius (np.ndarray): Radius at ``end``, (N,), metres.
        part (np.ndarray): Label that covered pixels receive, (N,), int.
        softness (np.ndarray): Depth difference below which the cone melts
            into those before it, (N,), metres, positive.
    """

    start: np.ndarray
    end: np.ndarray
    start_radius: np.ndarray
    end_radius: np.ndarray
    part: np.ndarray
    softness: np.ndarray

    @classmethod
    def stack(cls, rows) -> RoundCones:
        """Build from rows of (start, end, radius, radius, part, softness)."""
        columns = [np.asarray(column) for column in zip(*rows)]
        return cls(*columns)

    @classmethod
    def concatenate(cls, groups) -> RoundCones:
        return cls(
            *(
                np.concatenate([getattr(group, field.name) for group in groups])
                for field in fields(cls)
            )
        )

    def __len__(self) -> int:
        return len(self.part)

    def transformed(self, linear, offset) -> RoundCones:
        """Move all cones by ``x -> linear @ x + offset``.

        ``linear`` must keep lengths (a rotation or a mirror), because the
        radii stay as they are.
        """
        return RoundCones(
            self.start @ linear.T + offset,
            self.end @ linear.T + offset,
            self.start_radius,
            self.end_radius,
            self.part,
            self.softness,
        )

    def relabelled(self, shift: int) -> RoundCones:
        """Add ``shift`` to every part label."""
        return RoundCones(
            self.start,
            self.end,
            self.start_radius,
            self.end_radius,
            self.part + shift,
            self.softness,
        )


@dataclass(frozen=True)
class Buffers:
    """What the camera sees.

    Attributes:
        depth (np.ndarray): z of the surface, (H, W) float32, metres;
            ``EMPTY_DEPTH`` where nothing is hit.
        normal (np.ndarray): Outward normals, (3, H, W) float32. Of unit
            length but for where cones melt together.
        part (np.ndarray): Part labels, (H, W) int16, ``BACKGROUND`` where
            nothing is hit.
        rays_x (np.ndarray): x / z of each column's rays, (W,).
        rays_y (np.ndarray): y / z of each row's rays, (H,).
    """

    depth: np.ndarray
    normal: np.ndarray
    part: np.ndarray
    rays_x: np.ndarray
    rays_y: np.ndarray

    def points(self, mask) -> np.ndarray:
        """Surface points of the masked pixels, (M, 3) in the camera frame."""
        rows, columns = np.nonzero(mask)
        depth = self.depth[mask]
        return np.stack(
            [self.rays_x[columns] * depth, self.rays_y[rows] * depth, depth],
            axis=1,
        )


def project(points, intrinsics) -> np.ndarray:
    """Pinhole projection of (..., 3) camera-frame points to (..., 2) pixels."""
    homogeneous = points @ np.asarray(intrinsics).T
    return homogeneous[..., :2] / homogeneous[..., 2:]


def intersect(start, end, start_radius, end_radius, rays_x, rays_y):
    """First hits of rays from the origin with round cones.

    The rays are ``t * (rays_x, rays_y, 1)``, so that the parameter ``t`` of
    a hit is its depth. All arguments broadcast: those of the cones (``start``
    and ``end`` without their last axis of 3) against those of the rays, to a
    shape ``S``.

    Returns:
        tuple: Depths of shape ``S``, ``_MISS`` where nothing is hit; and the
        place ``s`` from 0 to 1 along the axis of the swept sphere that
        touches the surface there, which is the centre of the normal.
    """
    axis = end - start
    shrink = start_radius - end_radius
    axis_squared = np.sum(axis * axis, axis=-1)
    # Squared length of the tangent line between the two end spheres; not
    # positive where the larger sphere swallows the smaller one.
    slant = axis_squared - shrink * shrink
    along = -np.sum(axis * start, axis=-1)
    distance = np.sum(start * start, axis=-1)
    climb_start = along - start_radius * shrink
    constant = (
        slant * distance
        - along * along
        + 2 * along * shrink * start_radius
        - axis_squared * start_radius * start_radius
    )

    ray_squared = rays_x * rays_x + rays_y * rays_y + np.float32(1)
    ray_axis = _dot(axis, rays_x, rays_y)
    ray_start = _dot(start, rays_x, rays_y)
    # The two spheres, ...
    depth = _sphere_depth(
        ray_squared, ray_start, distance - start_radius * start_radius
    )
    end_depth = _sphere_depth(
        ray_squared,
        ray_start + ray_axis,
        np.sum(end * end, axis=-1) - end_radius * end_radius,
    )
    place = (end_depth < depth).astype(np.float32)
    depth = np.minimum(depth, end_depth)

    # ... and the surface between them: a quadratic in t, as for a cone.
    quadratic = _single(slant) * ray_squared - ray_axis * ray_axis
    linear = _single(slant) * ray_start + _single(climb_start) * ray_axis
    discriminant = linear * linear - quadratic * _single(constant)
    root = np.sqrt(np.maximum(discriminant, 0))
    with np.errstate(divide='ignore', invalid='ignore'):
        lateral = (linear - root) / quadratic
        climb = (_single(climb_start) + lateral * ray_axis) / _single(slant)
    valid = (discriminant > 0) & (lateral > _NEAR) & (lateral < depth)
    valid &= (climb > 0) & (climb < 1) & (slant > 0)
    np.copyto(depth, lateral, where=valid)
    np.copyto(place, climb, where=valid)
    return depth, place


def render(cones: RoundCones, intrinsics, size, supersample: int = 1):
    """Render round cones with a pinhole camera at the origin.

    Args:
        cones (RoundCones): The primitives, in the camera frame.
        intrinsics (np.ndarray): Camera matrix, (3, 3), in pixels of the
            final image.
        size (tuple[int, int]): Width and height of the final image.
        supersample (int): Samples per pixel along each axis.

    Returns:
        Buffers: Buffers of ``supersample`` times the size.
    """
    width, height = size[0] * supersample, size[1] * supersample
    columns = (np.arange(width) + 0.5) / supersample - 0.5
    rows = (np.arange(height) + 0.5) / supersample - 0.5
    rays_x = ((columns - intrinsics[0, 2]) / intrinsics[0, 0]).astype(np.float32)
    rays_y = ((rows - intrinsics[1, 2]) / intrinsics[1, 1]).astype(np.float32)

    shape = (height, width)
    depth = np.full(shape, EMPTY_DEPTH, np.float32)
    nearest = np.full(shape, EMPTY_DEPTH, np.float32)
    part = np.full(shape, BACKGROUND, np.int16)
    normal = np.zeros((3, *shape), np.float32)
    buffers = (depth, nearest, part, *normal)
    for index, window in enumerate(_windows(cones, rays_x, rays_y)):
        if part[window].size:
            _melt(cones, index, window, rays_x, rays_y, buffers)
    return Buffers(depth, normal, part, rays_x, rays_y)


def average_samples(colour, buffers: Buffers, size):
    """Bring supersampled colours to the size of the image.

    Args:
        colour (np.ndarray): (h, w, 3) float32, of the samples; 0 where nothing
            is hit.
        buffers (Buffers): What was rendered.
        size (tuple[int, int]): Width and height of the image in pixels.

    Returns:
        tuple[np.ndarray, np.ndarray]: Colours (H, W, 3), premultiplied since
        the average weighs each sample by its cover, and cover (H, W).
    """
    alpha = (buffers.part >= 0).astype(np.float32)
    return tuple(
        cv2.resize(samples, size, interpolation=cv2.INTER_AREA)
        for samples in (colour, alpha)
    )


def first_hits(cones: RoundCones, points) -> np.ndarray:
    """Depth of the first surface in the direction of each point.

    The same depth as ``render`` finds there, apart from the melting, without
    rounding the points to pixels.

    Args:
        cones (RoundCones): The primitives, in the camera frame.
        points (np.ndarray): Points in front of the camera, (M, 3).

    Returns:
        np.ndarray: Depths, (M,); ``EMPTY_DEPTH`` where a ray hits nothing.
    """
    rays_x = (points[:, 0] / points[:, 2]).astype(np.float32)
    rays_y = (points[:, 1] / points[:, 2]).astype(np.float32)
    depth, _ = intersect(
        cones.start[:, None],
        cones.end[:, None],
        cones.start_radius[:, None],
        cones.end_radius[:, None],
        rays_x,
        rays_y,
    )
    return np.minimum(depth.min(axis=0), EMPTY_DEPTH)


def _single(values):
    return np.asarray(values).astype(np.float32)


def _dot(vectors, rays_x, rays_y):
    x, y, z = (_single(vectors[..., axis]) for axis in range(3))
    return rays_x * x + rays_y * y + z


def _sphere_depth(ray_squared, ray_centre, constant):
    discriminant = ray_centre * ray_centre - ray_squared * _single(constant)
    depth = ray_centre - np.sqrt(np.maximum(discriminant, 0))
    depth /= ray_squared
    np.copyto(depth, _MISS, where=(discriminant <= 0) | (depth <= _NEAR))
    return depth


def _windows(cones, rays_x, rays_y):
    """For each cone, the rows and columns whose rays may hit it."""
    centres = np.stack([cones.start, cones.end])
    radii = np.stack([cones.start_radius, cones.end_radius])
    bounds = []
    for coordinate, rays in ((1, rays_y), (0, rays_x)):
        # A sphere lies within its bounding cube, and the cube's projection
        # within that of its corners.
        corners = [
            (centres[..., coordinate] + side * radii)
            / np.maximum(centres[..., 2] + face * radii, _NEAR)
            for side in (-1, 1)
            for face in (-1, 1)
        ]
        bounds.append(np.searchsorted(rays, np.min(corners, axis=(0, 1))))
        bounds.append(np.searchsorted(rays, np.max(corners, axis=(0, 1))))
    return [
        (slice(top, bottom), slice(left, right))
        for top, bottom, left, right in zip(*bounds)
    ]


def _melt(cones, index, window, rays_x, rays_y, buffers):
    """Add one cone to the buffers, with a smooth minimum of the depths."""
    depth, nearest, part, *normal = (buffer[window] for buffer in buffers)
    x = rays_x[None, window[1]]
    y = rays_y[window[0], None]
    start, end = cones.start[index], cones.end[index]
    radii = cones.start_radius[index], cones.end_radius[index]
    hit, place = intersect(start, end, *radii, x, y)

    softness = np.float32(cones.softness[index])
    ahead = depth - hit
    share = np.clip(0.5 + ahead / (2 * softness), 0, 1)
    depth -= share * (ahead + softness * (1 - share))

    # The normal starts at the centre of the swept sphere that touches the
    # surface, so its length is that sphere's radius.
    axis = _single(end - start)
    radius = np.float32(radii[0]) + place * np.float32(radii[1] - radii[0])
    for ray, plane, base, step in zip(
        (x, y, np.float32(1)), normal, _single(start), axis
    ):
        outward = (ray * hit - base - step * place) / radius
        plane += (outward - plane) * share

    np.copyto(part, cones.part[index], where=hit < nearest, casting='unsafe')
    np.minimum(nearest, hit, out=nearest)
