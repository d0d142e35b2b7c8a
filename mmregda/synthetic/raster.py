"""A z-buffer for triangle meshes, in NumPy.

Every triangle lists the samples of its bounding box, those outside are
dropped, and of what is left at a sample the nearest is kept.

Frame: x right, y down, z forward, metres; the centre of the upper-left pixel
has the coordinates (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

#: Depth of a sample that nothing covers.
EMPTY = np.float32(1e3)
_NEAR = 0.02


@dataclass(frozen=True)
class Fragments:
    """The covered samples of a picture, ``M`` of ``H * W``.

    Attributes:
        place (np.ndarray): Index of each in the flattened picture, (M,).
        corners (np.ndarray): The vertices of the triangle there, (M, 3).
        weights (np.ndarray): Their shares, (M, 3) float32.
        depth (np.ndarray): z of the surface, (H, W) float32, or ``EMPTY``.
        supersample (float): Samples a pixel along each axis.
    """

    place: np.ndarray
    corners: np.ndarray
    weights: np.ndarray
    depth: np.ndarray
    supersample: float

    def interpolate(self, values) -> np.ndarray:
        """Values of vertices, (V, C), at the covered samples, (M, C)."""
        values = np.asarray(values, np.float32)[self.corners]
        return np.einsum('mcv,mc->mv', values, self.weights)

    def points(self, intrinsics) -> np.ndarray:
        """Places of the covered samples, (M, 3) in the camera's frame."""
        depth = self.depth.ravel()[self.place]
        pixels = np.stack(np.divmod(self.place, self.depth.shape[1])[::-1])
        pixels = (pixels + 0.5) / self.supersample - 0.5
        rays = (pixels - intrinsics[:2, 2:]) / np.diag(intrinsics)[:2, None]
        return np.stack([*(rays * depth), depth], axis=1).astype(np.float32)

    def spread(self, values, sigma: float) -> np.ndarray:
        """Values (M,) blurred over the surface by so many samples."""
        planes = np.zeros((2, self.depth.size), np.float32)
        planes[:, self.place] = values, np.ones(len(self.place))
        planes = [
            cv2.GaussianBlur(plane.reshape(self.depth.shape), (0, 0), sigma)
            for plane in planes
        ]
        return (planes[0] / np.maximum(planes[1], 1e-6)).ravel()[self.place]

    def average(self, colour):
        """Colours of samples (M, 3) as premultiplied pixels (h, w, 3) and cover."""
        samples = np.zeros((self.depth.size, 4), np.float32)
        samples[self.place] = np.column_stack([colour, np.ones(len(colour))])
        height, width = self.depth.shape
        size = (round(width / self.supersample), round(height / self.supersample))
        samples = samples.reshape(height, width, 4)
        pixels = cv2.resize(samples, size, interpolation=cv2.INTER_AREA)
        return pixels[..., :3], pixels[..., 3]

    def visible(self, points, radii, intrinsics, slack: float) -> np.ndarray:
        """Which points inside a body can be seen, (K,) bool.

        A point is visible if it projects into the picture and the surface
        there is at most ``slack`` metres nearer than the front of the flesh
        around it, which has ``radii`` (K,).
        """
        limit = np.array(self.depth.shape)[::-1]
        pixels = project(points, intrinsics)
        inside = (pixels >= 0) & (pixels <= limit // self.supersample - 1)
        samples = np.round((pixels + 0.5) * self.supersample - 0.5)
        column, row = np.clip(samples, 0, limit - 1).astype(int).T
        front = points[:, 2] - radii - slack
        return inside.all(axis=1) & (self.depth[row, column] >= front)


def project(points, intrinsics) -> np.ndarray:
    """Pinhole projection of (..., 3) camera-frame points to (..., 2) pixels."""
    homogeneous = np.asarray(points) @ np.asarray(intrinsics).T
    return homogeneous[..., :2] / homogeneous[..., 2:]


def rasterise(
    vertices, triangles, intrinsics, size, supersample: float = 1
) -> Fragments:
    """Find the nearest triangle at each sample of a picture.

    Args:
        vertices (np.ndarray): In the camera's frame, (V, 3).
        triangles (np.ndarray): (T, 3) int. What runs clockwise on the screen
            shows its back and is left out.
        intrinsics (np.ndarray): Camera matrix, (3, 3), in pixels.
        size (tuple[int, int]): Width and height in pixels.
        supersample (float): Samples a pixel along each axis.
    """
    limit = (np.array(size) * supersample).astype(int)
    depth = np.maximum(vertices[:, 2], _NEAR)
    pixels = project(np.column_stack([vertices[:, :2], depth]), intrinsics)
    pixels = ((pixels + 0.5) * supersample - 0.5).astype(np.float32)
    a, b, c = (pixels[triangles[:, corner]] for corner in range(3))
    first = np.maximum(np.ceil(np.minimum(np.minimum(a, b), c)), 0).astype(np.int32)
    last = np.floor(np.maximum(np.maximum(a, b), c)).astype(np.int32)
    extent = np.minimum(last, limit - 1).astype(np.int32) - first + 1
    (ux, uy), (vx, vy) = (b - a).T, (c - a).T
    area = ux * vy - uy * vx
    drawn = (area < -1e-6) & (extent > 0).all(axis=1)
    drawn = np.flatnonzero(drawn & (vertices[triangles, 2] > _NEAR).all(axis=1))

    # One row for each sample of each triangle's box.
    first, extent, area = first[drawn], extent[drawn], area[drawn]
    counts = extent[:, 0] * extent[:, 1]
    owner = np.repeat(np.arange(len(drawn), dtype=np.int32), counts)
    starts = np.cumsum(counts, dtype=np.int32) - counts
    row, column = np.divmod(
        np.arange(len(owner), dtype=np.int32) - starts[owner], extent[owner, 0]
    )
    x, y = column + first[owner, 0], row + first[owner, 1]
    across, down = x.astype(np.float32), y.astype(np.float32)
    # Shares are linear in the sample's place: one plane a corner.
    planes, inside = [], True
    for p, q in ((b, c), (c, a), (a, b)):
        (px, py), (ex, ey) = p[drawn].T, (q - p)[drawn].T
        planes.append(
            (-ey / area)[owner] * across
            + (ex / area)[owner] * down
            + ((ey * px - ex * py) / area)[owner]
        )
        inside = inside & (planes[-1] >= 0)
    inside = np.flatnonzero(inside)
    weights = np.stack([plane[inside] for plane in planes], axis=1)
    corners = triangles[drawn[owner[inside]]]
    place = y[inside].astype(np.int64) * limit[0] + x[inside]

    # 1 / z is what is linear on the screen.
    weights *= (1 / depth).astype(np.float32)[corners]
    nearness = weights.sum(axis=1)
    order = np.argsort(nearness, kind='stable')
    winner = np.full(limit.prod(), -1, np.int64)
    winner[place[order]] = order
    place = np.flatnonzero(winner >= 0)
    winner = winner[place]
    surface = np.full(limit.prod(), EMPTY, np.float32)
    surface[place] = 1 / nearness[winner]
    weights = weights[winner] / nearness[winner, None]
    surface = surface.reshape(limit[::-1])
    return Fragments(place, corners[winner], weights, surface, supersample)


def vertex_normals(vertices, triangles) -> np.ndarray:
    """Outward unit normals, (V, 3)."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    faces = np.repeat(np.cross(b - a, c - a), 3, axis=0)
    axes = [np.bincount(triangles.ravel(), axis, len(vertices)) for axis in faces.T]
    normals = np.stack(axes, axis=1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
