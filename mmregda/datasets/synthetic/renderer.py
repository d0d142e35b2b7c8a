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

import numpy as np

#: Depth of a pixel that nothing covers. Finite, so that differences of two
#: empty pixels are zero and not NaN.
EMPTY_DEPTH = np.float32(1e3)
BACKGROUND = -1
_NEAR = 0.02


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
            into those before it, (N,), metres.
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
        normal (np.ndarray): Unit outward normals, (H, W, 3) float32.
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
    """First hit of rays from the origin with one round cone.

    The rays are ``t * (rays_x, rays_y, 1)``, so that the parameter ``t`` of
    a hit is its depth. ``rays_x`` and ``rays_y`` broadcast against each
    other to the shape ``S``.

    Returns:
        tuple: depth of shape ``S`` (``EMPTY_DEPTH`` for a miss), and, of
        shape ``S``, the point's place along the axis as a multiple ``s`` of
        ``end - start``, for which ``point - start - s * (end - start)`` is
        parallel to the surface normal.
    """
    axis = end - start
    shrink = start_radius - end_radius
    axis_squared = float(axis @ axis)
    # Squared length of the tangent line between the two end spheres; the
    # larger sphere swallows the smaller one where it is not positive.
    slant = axis_squared - shrink * shrink
    along = -float(axis @ start)
    distance = float(start @ start)

    ray_squared = rays_x * rays_x + rays_y * rays_y + np.float32(1)
    ray_axis = _dot(axis, rays_x, rays_y)
    ray_start = -_dot(start, rays_x, rays_y)

    depth = _sphere_depth(
        ray_squared, ray_start, distance - start_radius * start_radius
    )
    place = np.zeros_like(depth)

    if slant <= 0:
        if end_radius > start_radius:
            depth = _sphere_depth(
                ray_squared,
                -_dot(end, rays_x, rays_y),
                float(end @ end) - end_radius * end_radius,
            )
            place = np.ones_like(depth)
        return depth, place

    end_depth = _sphere_depth(
        ray_squared,
        -_dot(end, rays_x, rays_y),
        float(end @ end) - end_radius * end_radius,
    )
    nearer = end_depth < depth
    depth = np.where(nearer, end_depth, depth)
    place = nearer.astype(np.float32)

    # The lateral surface: a quadratic in t, as for an infinite cone.
    quadratic = slant * ray_squared - ray_axis * ray_axis
    linear = slant * ray_start - (along - shrink * start_radius) * ray_axis
    constant = (
        slant * distance
        - along * along
        + 2 * along * shrink * start_radius
        - axis_squared * start_radius * start_radius
    )
    discriminant = linear * linear - quadratic * np.float32(constant)
    quadratic = np.where(np.abs(quadratic) < 1e-12, 1e-12, quadratic)
    lateral = (-np.sqrt(np.maximum(discriminant, 0)) - linear) / quadratic
    climb = (along - start_radius * shrink) + lateral * ray_axis
    valid = (
        (discriminant > 0)
        & (climb > 0)
        & (climb < slant)
        & (lateral > _NEAR)
        & (lateral < depth)
    )
    depth = np.where(valid, lateral, depth)
    place = np.where(valid, climb / np.float32(slant), place)
    return depth.astype(np.float32), place.astype(np.float32)


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
    rays_x = ((columns - intrinsics[0, 2]) / intrinsics[0, 0]).astype(
        np.float32
    )
    rays_y = ((rows - intrinsics[1, 2]) / intrinsics[1, 1]).astype(np.float32)

    depth = np.full((height, width), EMPTY_DEPTH, np.float32)
    nearest = np.full((height, width), EMPTY_DEPTH, np.float32)
    normal = np.zeros((height, width, 3), np.float32)
    part = np.full((height, width), BACKGROUND, np.int16)

    for index in range(len(cones)):
        window = _window(cones, index, rays_x, rays_y)
        if window is None:
            continue
        _melt(cones, index, window, rays_x, rays_y, depth, nearest, normal, part)

    length = np.sqrt(np.einsum('ijk,ijk->ij', normal, normal))
    normal /= np.maximum(length, 1e-6)[..., None]
    return Buffers(depth, normal, part, rays_x, rays_y)


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
    nearest = np.full(len(points), EMPTY_DEPTH, np.float32)
    for index in range(len(cones)):
        depth, _ = intersect(
            cones.start[index],
            cones.end[index],
            cones.start_radius[index],
            cones.end_radius[index],
            rays_x,
            rays_y,
        )
        nearest = np.minimum(nearest, depth)
    return nearest


def _dot(vector, rays_x, rays_y):
    x, y, z = vector.astype(np.float32)
    return rays_x * x + rays_y * y + z


def _sphere_depth(ray_squared, ray_centre, constant):
    discriminant = ray_centre * ray_centre - ray_squared * np.float32(constant)
    depth = (-ray_centre - np.sqrt(np.maximum(discriminant, 0))) / ray_squared
    return np.where(
        (discriminant > 0) & (depth > _NEAR), depth, EMPTY_DEPTH
    ).astype(np.float32)


def _window(cones, index, rays_x, rays_y):
    """Rows and columns whose rays may hit the cone, or None."""
    centres = np.stack([cones.start[index], cones.end[index]])
    radii = np.array([cones.start_radius[index], cones.end_radius[index]])
    depths = centres[:, 2]
    if np.all(depths + radii < _NEAR):
        return None
    slices = []
    for coordinate, rays in ((1, rays_y), (0, rays_x)):
        # A sphere lies within its bounding cube, and the cube's projection
        # within that of its eight corners.
        corners = [
            (centres[:, coordinate] + side * radii)
            / np.maximum(depths + face * radii, _NEAR)
            for side in (-1, 1)
            for face in (-1, 1)
        ]
        first = int(np.searchsorted(rays, np.min(corners)))
        last = int(np.searchsorted(rays, np.max(corners)))
        if first >= last:
            return None
        slices.append(slice(first, last))
    return tuple(slices)


def _melt(cones, index, window, rays_x, rays_y, depth, nearest, normal, part):
    """Add one cone to the buffers, with a smooth minimum of the depths."""
    x = rays_x[None, window[1]]
    y = rays_y[window[0], None]
    start, axis = cones.start[index], cones.end[index] - cones.start[index]
    hit, place = intersect(
        start,
        cones.end[index],
        cones.start_radius[index],
        cones.end_radius[index],
        x,
        y,
    )
    solid = hit < EMPTY_DEPTH

    start, axis = start.astype(np.float32), axis.astype(np.float32)
    outward = np.empty(hit.shape + (3,), np.float32)
    for coordinate, ray in enumerate((x, y, np.float32(1))):
        outward[..., coordinate] = (
            ray * hit - start[coordinate] - axis[coordinate] * place
        )
    length = np.sqrt(np.einsum('ijk,ijk->ij', outward, outward))
    outward /= np.maximum(length, 1e-6)[..., None]

    before = depth[window]
    softness = np.float32(max(cones.softness[index], 1e-6))
    share = np.clip(0.5 + 0.5 * (before - hit) / softness, 0, 1)
    share *= solid
    overlap = np.maximum(softness - np.abs(before - hit), 0) * solid
    depth[window] = np.where(
        solid,
        np.minimum(before, hit) - overlap * overlap / (4 * softness),
        before,
    )
    normal[window] += (outward - normal[window]) * share[..., None]
    front = hit < nearest[window]
    part[window][front] = cones.part[index]
    np.minimum(nearest[window], hit, out=nearest[window])
