"""Hands: where their joints are, how they move, and their skin at rest.

Everything is a LEFT hand with its arm; a right one is its mirror image.
Keypoints go from root to tip: the wrist, then thumb, index, middle, ring and
little finger with four each. Angles are in degrees.

The mesh has its knuckles where fingers part, 15 mm too far out. They are put
where the bones end: proximal phalanges have the lengths that Buryanov and
Kotiuk measured (Proportions of hand segments, Int. J. Morphol. 28(3), 2010,
755-758), relative to the mesh's own middle finger. All else is the mesh's.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from . import makehuman
from .makehuman import Rig, skin, turn
from .raster import vertex_normals

NUM_KEYPOINTS = 21
THUMB, INDEX = 0, 1
#: Millimetres: the thumb's metacarpal, the other fingers' proximal phalanges.
_FIRST_BONE = (46.22, 39.78, 44.63, 41.37, 32.74)
#: Millimetres from the middle finger's second joint to its tip.
_MIDDLE_TO_TIP = 26.33 + 17.40 + 3.95
#: Bounds of each finger's angles, (finger, angle, low/high): abduction
#: towards the thumb and the flexion of three joints from root to tip. Those
#: of the thumb are relative to its rest.
JOINT_LIMITS = np.array(
    [
        [(-25, 20), (-15, 25), (-15, 45), (-15, 70)],
        [(-12, 18), (-20, 88), (-3, 105), (-5, 70)],
        [(-12, 12), (-20, 88), (-3, 105), (-5, 70)],
        [(-16, 12), (-20, 88), (-3, 105), (-5, 70)],
        [(-24, 12), (-20, 88), (-3, 105), (-5, 70)],
    ],
    float,
)
_WRIST_LIMITS = np.array([(-50, 50), (-15, 22)], float)
_GESTURES = dict(
    open=0.28, relaxed=0.24, fist=0.10, pattern=0.20, pinch=0.08, free=0.10
)
_MOVED = ('upperarm', 'lowerarm', 'wrist', 'metacarpal', 'finger')
_BONES = [[f'finger{f}-{bone}.L' for bone in (1, 2, 3)] for f in range(1, 6)]
# Shape targets, with the spread of their amounts.
_SHAPES = (
    ('hands/l-hand-fingers-length', 0.08),
    ('hands/l-hand-fingers-diameter', 0.4),
    ('hands/l-hand-fingers-distance', 0.3),
)


def sample_angles(rng: np.random.Generator, grasp: bool = False) -> np.ndarray:
    """Draw joint angles (5, 4) in which neighbouring fingers move together.

    Args:
        rng (np.random.Generator): Source of randomness.
        grasp (bool): Whether the hand closes around something.
    """
    gesture = rng.choice(list(_GESTURES), p=list(_GESTURES.values()))
    shared, own = (
        rng.normal(),
        np.convolve(rng.normal(size=7), (0.25, 0.5, 0.25), 'valid'),
    )
    if grasp:
        curl = 0.48 + 0.05 * shared + 0.04 * own
    elif gesture == 'open':
        curl = 0.06 + 0.05 * shared + 0.06 * own
    elif gesture == 'relaxed':
        curl = 0.30 + 0.10 * shared + 0.08 * own + (0, -0.04, 0, 0.03, 0.06)
    elif gesture == 'fist':
        curl = 0.88 + 0.08 * shared + 0.05 * own
    elif gesture == 'pattern':
        curl = np.where(rng.random(5) < 0.5, 0.82, 0.06) + 0.06 * own
    elif gesture == 'pinch':
        curl = 0.2 + 0.1 * abs(shared) + 0.07 * own
        curl[INDEX] = rng.uniform(0.38, 0.52)
    else:
        curl = rng.uniform(0, 0.9, 5)
        curl = 0.6 * curl + 0.4 * curl.mean()
    curl = np.clip(curl, 0, 1)
    bend, spread = curl[1:], rng.uniform(-0.3, 1) * (1 - 0.9 * curl[1:])
    noise = rng.normal(size=(5, 4)) * (2, 4, 4, 3)
    angles = np.zeros((5, 4))
    angles[1:, 0] = spread * (10, 2, -6, -13)
    # The knuckle takes part later than the middle joint when a hand closes,
    # and the last joint follows the middle one by its tendon.
    angles[1:, 1] = -6 + 88 * bend**1.3
    angles[1:, 2] = 4 + 98 * bend
    angles[1:, 3] = 0.62 * angles[1:, 2]
    closed = max(0.4 if grasp else 0.0, bend.mean())
    angles[THUMB] = (
        rng.uniform(-10, 18) - 18 * closed,
        -8 + 30 * curl[THUMB],
        -8 + 45 * curl[THUMB],
        -8 + 60 * curl[THUMB],
    )
    return np.clip(angles + noise, JOINT_LIMITS[..., 0], JOINT_LIMITS[..., 1])


def sample_wrist(rng: np.random.Generator) -> np.ndarray:
    """Draw the wrist's flexion and deviation, (2,)."""
    return np.clip(rng.normal(0, (18, 7)), *_WRIST_LIMITS.T)


def sample_shape(rng: np.random.Generator) -> dict[str, float]:
    """Draw amounts of the mesh's shape targets for somebody's hand."""
    female = float(rng.random() < 0.5)
    old = float(rng.random() < 0.25) * rng.uniform(0.3, 1)
    amounts = {}
    for gender, share in (('male', 1 - female), ('female', female)):
        for age, part in (('young', 1 - old), ('old', old)):
            amounts[f'macrodetails/caucasian-{gender}-{age}'] = share * part
            name = f'macrodetails/universal-{gender}-{age}-averagemuscle-averageweight'
            amounts[name] = share * part
    for name, spread in _SHAPES:
        amount = np.clip(rng.normal(0, spread), -1, 1)
        amounts[f'{name}-{"incr" if amount > 0 else "decr"}'] = abs(amount)
    return amounts


class Hand:
    """A left hand and its arm at rest.

    Attributes:
        vertices (np.ndarray): (V, 3) metres, wrist at the origin.
        triangles (np.ndarray): (T, 3).
        keypoints (np.ndarray): (21, 3).
        radii (np.ndarray): Of the flesh around the keypoints, (21,).
        normals (np.ndarray): Of the vertices, (V, 3).
        distances (np.ndarray): From vertices to keypoints, (V, 21).
        palm (np.ndarray): Axes as columns: towards the thumb, towards the
            fingers, out of the back.
    """

    def __init__(self, amounts: dict[str, float]):
        arm = _arm()
        shaped = makehuman.load().shaped(amounts)
        self.texture, self.triangles = arm.texture, arm.triangles
        self.keypoints, heads = _joints(shaped)
        wrist = self.keypoints[0].copy()
        self.vertices = shaped[arm.chosen] - wrist
        self.keypoints -= wrist
        self._rig, self._heads = arm.rig, heads - wrist
        for finger, bones in enumerate(_BONES):
            self._heads[arm.rig.bones.index(bones[0])] = self.keypoints[1 + 4 * finger]
        self.palm = _palm_frame(self.keypoints)
        self.normals = vertex_normals(self.vertices, self.triangles)
        squared = (self.vertices**2).sum(axis=1)[:, None]
        squared = squared - 2 * self.vertices @ self.keypoints.T
        squared += (self.keypoints**2).sum(axis=1)
        self.distances = np.sqrt(np.maximum(squared, 0))
        # Flesh is wider than what is nearest of it.
        self.radii = np.maximum(1.5 * self.distances.min(axis=0), 0.007)
        self._weights = _knuckle_weights(arm, self)
        self._frames = [self._bone_frames(finger) for finger in range(5)]

    def posed(self, angles: np.ndarray, wrist: np.ndarray):
        """Vertices and keypoints at joint angles (5, 4).

        ``wrist`` holds the flexion and the deviation towards the little
        finger by which the arm leaves the hand.
        """
        rotations = {}
        for finger, bones in enumerate(_BONES):
            rest = self._frames[finger]
            abduction, *flexions = angles[finger]
            if finger == THUMB:
                base = rest[0]
            else:
                fan = self.palm.T @ rest[0][:, 1]
                base = self.palm @ turn(2, -np.degrees(np.arctan2(fan[0], fan[1])))
            above, frame = np.eye(3), base @ turn(2, -abduction)
            for bone, flexion in enumerate(flexions):
                if finger == THUMB and bone:
                    # Relative to how the bones stand to each other at rest.
                    frame = frame @ (rest[bone - 1].T @ rest[bone])
                frame = frame @ turn(0, -flexion)
                moved = frame @ rest[bone].T
                rotations[bones[bone]] = above.T @ moved
                above = moved
        # The hand stays, its arm turns.
        flexion, deviation = wrist
        arm = self.palm @ turn(2, deviation) @ turn(0, flexion) @ self.palm.T
        rotations['lowerarm01.L'] = arm
        rotations['wrist.L'] = arm.T
        rig = self._rig
        vertices, transforms = skin(
            self.vertices, self._heads, rotations, rig, self._weights
        )
        wrist = transforms[rig.bones.index('wrist.L')]
        vertices = (vertices - wrist[:, 3]) @ wrist[:, :3]
        keypoints = self.keypoints.copy()
        for finger, bones in enumerate(_BONES):
            for joint in range(4):
                index = 1 + 4 * finger + joint
                carrier = transforms[rig.bones.index(bones[max(joint - 1, 0)])]
                point = carrier @ np.append(self.keypoints[index], 1)
                keypoints[index] = (point - wrist[:, 3]) @ wrist[:, :3]
        return vertices, keypoints

    def _bone_frames(self, finger):
        """Axes at rest of a finger's bones, as columns: lateral, axis, back."""
        joints = self.keypoints[1 + 4 * finger : 5 + 4 * finger]
        back = self.palm[:, 2]
        if finger == THUMB:
            # A thumb's back is where its nail looks.
            nail = nail_share(self.texture) > 0.5
            nail &= self.distances[:, 4] < 0.02
            back = self.normals[nail].mean(axis=0)
        frames = []
        for axis in np.diff(joints, axis=0):
            axis = axis / np.linalg.norm(axis)
            lateral = np.cross(axis, back)
            lateral /= np.linalg.norm(lateral)
            frames.append(np.stack([lateral, axis, np.cross(lateral, axis)], axis=1))
        return frames


class _Arm:
    """What all left arms share: chosen vertices, triangles and weights."""

    def __init__(self):
        body = makehuman.load()
        names = [
            bone
            for bone in body.rig.bones
            if bone.endswith('.L') and bone.startswith(_MOVED)
        ]
        columns = [body.rig.bones.index(name) for name in names]
        inside = body.rig.weights[:, columns].sum(axis=1) > 0.5
        triangles = body.triangles['body']
        triangles = triangles[inside[triangles].all(axis=1)]
        self.chosen, flat = np.unique(triangles, return_inverse=True)
        self.triangles = flat.reshape(-1, 3)
        self.texture = body.texture[self.chosen]
        weights = body.rig.weights[self.chosen][:, columns]
        weights = weights / weights.sum(axis=1, keepdims=True)
        parents = [body.rig.bones[body.rig.parents[column]] for column in columns]
        parents = [names.index(name) if name in names else -1 for name in parents]
        heads = [body.rig.heads[column] for column in columns]
        self.rig = Rig(names, parents, heads, weights)


@lru_cache(maxsize=1)
def _arm():
    return _Arm()


def _joints(vertices):
    """Keypoints (21, 3) and the joints of the rig's bones (B, 3)."""
    body = makehuman.load()

    def mean(name):
        return vertices[body.landmark_vertices(name)].mean(axis=0)

    keypoints = np.stack(
        [mean('l-hand')]
        + [mean(f'l-finger-{f}-{joint}') for f in range(1, 6) for joint in range(1, 5)]
    )
    scale = np.linalg.norm(np.diff(keypoints[10:13], axis=0), axis=1).sum()
    scale /= _MIDDLE_TO_TIP
    for finger, length in enumerate(_FIRST_BONE):
        root = 1 + 4 * finger
        keypoints[root] = _at_distance(
            keypoints[root], keypoints[0], keypoints[root + 1], scale * length
        )
    heads = np.stack([vertices[head].mean(axis=0) for head in _arm().rig.heads])
    return keypoints, heads


def _at_distance(start, stop, centre, distance):
    """The point of a line from start towards stop that far from a centre."""
    along = (stop - start) / np.linalg.norm(stop - start)
    middle = (centre - start) @ along
    off = np.linalg.norm(centre - start - middle * along)
    return start + along * (middle + np.sqrt(max(distance**2 - off**2, 0)))


def _palm_frame(keypoints):
    """Axes of the palm as columns: to the thumb, to the fingers, out of the back."""
    distal = keypoints[9] - keypoints[0]
    distal = distal / np.linalg.norm(distal)
    radial = keypoints[5] - keypoints[17]
    radial = radial - distal * (radial @ distal)
    radial /= np.linalg.norm(radial)
    return np.stack([radial, distal, np.cross(radial, distal)], axis=1)


def nail_share(texture: np.ndarray) -> np.ndarray:
    """How much places of the texture (..., 2) are fingernail, 0 to 1."""
    mask = _nails()
    size = np.array(mask.shape)[::-1]
    place = np.array(texture) * (1, -1) + (0, 1)
    column, row = np.moveaxis(np.clip(place * size, 0, size - 1).astype(int), -1, 0)
    return mask[row, column]


@lru_cache(maxsize=1)
def _nails():
    path = makehuman.load().folder / 'textures/mpfb_fingernails.jpg'
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255


def _knuckle_weights(arm, hand):
    """The skin's weights with the fingers' first bones begun at the knuckles."""
    weights = arm.rig.weights.copy()
    for finger in range(INDEX, 5):
        knuckle, joint = hand.keypoints[1 + 4 * finger : 3 + 4 * finger]
        axis = (joint - knuckle) / np.linalg.norm(joint - knuckle)
        beyond = (hand.vertices - knuckle) @ axis
        share = np.clip((beyond + 0.008) / 0.022, 0, 1)
        share = share * share * (3 - 2 * share)
        palm = arm.rig.bones.index(f'metacarpal{finger}.L')
        first = arm.rig.bones.index(_BONES[finger][0])
        weights[:, first] += share * weights[:, palm]
        weights[:, palm] *= 1 - share
    return weights
