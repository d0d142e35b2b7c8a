"""A z-buffer for triangle meshes, in NumPy.

Every triangle lists the samples of its bounding box, those outside are
dropped, and of what is left at a sample the nearest is kept. Nothing is
shaded here: the result says which triangle covers a sample and where in it.

Frame: x right, y down, z forward, in metres; the centre of the upper-left
pixel has the coordinates (0, 0).
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
        triangle (np.ndarray): Index of the triangle that covers it, (M,).
        weights (np.ndarray): Its corners' shares, (M, 3) float32.
        depth (np.ndarray): z of the surface, (H, W) float32, ``EMPTY`` where
            there is none.
        supersample (int): Samples a pixel along each axis.
    """

    place: np.ndarray
    triangle: np.ndarray
    weights: np.ndarray
    depth: np.ndarray
    supersample: int

    def interpolate(self, values, triangles) -> np.ndarray:
        """Values of vertices, (V, C), at the covered samples, (M, C)."""
        corners = np.asarray(values, np.float32)[triangles[self.triangle]]
        return np.einsum('mcv,mc->mv', corners, self.weights)


def project(points, intrinsics) -> np.ndarray:
    """Pinhole projection of (..., 3) camera-frame points to (..., 2) pixels."""
    homogeneous = np.asarray(points) @ np.asarray(intrinsics).T
    return homogeneous[..., :2] / homogeneous[..., 2:]


def rasterise(vertices, triangles, intrinsics, size, supersample: int = 1) -> Fragments:
    """Find the nearest triangle at each sample of a picture.

    Args:
        vertices (np.ndarray): In the camera's frame, (V, 3).
        triangles (np.ndarray): Corners of each triangle, (T, 3) int. Seen from
            the front they run anticlockwise on the screen; what shows its
            back is left out.
        intrinsics (np.ndarray): Camera matrix, (3, 3), in pixels.
        size (tuple[int, int]): Width and height in pixels.
        supersample (int): Samples a pixel along each axis.
    """
    width, height = size[0] * supersample, size[1] * supersample
    safe = np.maximum(vertices[:, 2], _NEAR)
    pixels = project(np.column_stack([vertices[:, :2], safe]), intrinsics)
    pixels = ((pixels + 0.5) * supersample - 0.5).astype(np.float32)
    inverse = (1 / safe).astype(np.float32)

    a, b, c = (pixels[triangles[:, corner]] for corner in range(3))
    area = _cross(b - a, c - a)
    first = np.ceil(np.minimum(np.minimum(a, b), c)).astype(np.int32)
    last = np.floor(np.maximum(np.maximum(a, b), c)).astype(np.int32)
    first = np.maximum(first, 0)
    last = np.minimum(last, (width - 1, height - 1))
    extent = last - first + 1
    drawn = (area < -1e-6) & np.all(extent > 0, axis=1)
    drawn &= np.all(vertices[triangles, 2] > _NEAR, axis=1)
    drawn = np.flatnonzero(drawn)

    # One row for each sample of each triangle's box.
    first, extent = first[drawn], extent[drawn]
    counts = extent[:, 0] * extent[:, 1]
    owner = np.repeat(np.arange(len(drawn), dtype=np.int32), counts)
    starts = np.cumsum(counts, dtype=np.int32) - counts
    step = np.arange(len(owner), dtype=np.int32) - starts[owner]
    across = extent[owner, 0]
    row = step // across
    x = first[owner, 0] + (step - row * across)
    y = first[owner, 1] + row
    column, line = x.astype(np.float32), y.astype(np.float32)

    # Shares are linear in the sample's place: one plane a corner.
    scale = 1 / area[drawn]
    planes = []
    inside = True
    for p, q in ((b, c), (c, a), (a, b)):
        p, edge = p[drawn], (q - p)[drawn]
        along, down = -edge[:, 1] * scale, edge[:, 0] * scale
        offset = -(along * p[:, 0] + down * p[:, 1])
        plane = along[owner] * column + down[owner] * line + offset[owner]
        inside = inside & (plane >= 0)
        planes.append(plane)
    inside = np.flatnonzero(inside)
    weights = np.stack([plane[inside] for plane in planes], axis=1).astype(np.float32)
    triangle = drawn[owner[inside]]
    place = y[inside].astype(np.int64) * width + x[inside]

    # 1 / z is what is linear on the screen.
    weights *= inverse[triangles[triangle]]
    nearness = weights.sum(axis=1)
    order = np.argsort(nearness, kind='stable')
    winner = np.full(width * height, -1, np.int64)
    winner[place[order]] = order
    place = np.flatnonzero(winner >= 0)
    winner = winner[place]
    nearness = nearness[winner]
    depth = np.full(width * height, EMPTY, np.float32)
    depth[place] = 1 / nearness
    return Fragments(
        place,
        triangle[winner],
        weights[winner] / nearness[:, None],
        depth.reshape(height, width),
        supersample,
    )


def vertex_normals(vertices, triangles) -> np.ndarray:
    """Outward unit normals, (V, 3), of a mesh in any right-handed frame."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.stack(
        [
            np.bincount(triangles.ravel(), np.repeat(faces[:, axis], 3), len(vertices))
            for axis in range(3)
        ],
        axis=1,
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def average(colour, fragments: Fragments):
    """Bring colours of samples to pixels.

    Args:
        colour (np.ndarray): Of the covered samples, (M, 3).
        fragments (Fragments): What was rasterised.

    Returns:
        tuple[np.ndarray, np.ndarray]: Colours (H, W, 3), premultiplied, and
        cover (H, W), both float32.
    """
    height, width = fragments.depth.shape
    samples = np.zeros((height * width, 4), np.float32)
    samples[fragments.place, :3] = colour
    samples[fragments.place, 3] = 1
    size = (width // fragments.supersample, height // fragments.supersample)
    samples = samples.reshape(height, width, 4)
    pixels = cv2.resize(samples, size, interpolation=cv2.INTER_AREA)
    return pixels[..., :3], pixels[..., 3]


def visible(points, radii, fragments: Fragments, intrinsics, slack: float):
    """Which points can be seen.

    A point inside a body is visible if it projects into the picture and the
    surface there is at most ``slack`` nearer than the front of the flesh
    around it.

    Args:
        points (np.ndarray): In the camera's frame, (K, 3).
        radii (np.ndarray): Of the flesh around each, (K,), metres.
        fragments (Fragments): What is in front of the camera.
        intrinsics (np.ndarray): Camera matrix, (3, 3).
        slack (float): Metres.

    Returns:
        np.ndarray: (K,) bool.
    """
    supersample = fragments.supersample
    height, width = np.array(fragments.depth.shape) // supersample
    pixels = project(points, intrinsics)
    inside = np.all((pixels >= 0) & (pixels <= (width - 1, height - 1)), axis=1)
    samples = np.round((pixels + 0.5) * supersample - 0.5)
    samples = np.clip(samples, 0, np.array(fragments.depth.shape)[::-1] - 1).astype(int)
    surface = fragments.depth[samples[:, 1], samples[:, 0]]
    return inside & (surface >= points[:, 2] - radii - slack)


def _cross(first, second):
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
