"""Hands: where their joints are, how they move, and their skin.

Everything is a LEFT hand with its arm; a right one is its mirror image.
Keypoints go from root to tip: the wrist, then thumb, index, middle, ring and
little finger with four each. Angles are in degrees.

The mesh has its knuckles where fingers part, 15 mm too far out. They are put
where the bones end: the first bones have the lengths that Buryanov and Kotiuk
measured (Proportions of hand segments, Int. J. Morphol. 28(3), 2010, 755-758),
relative to the mesh's own middle finger, which is scaled to theirs. All else is
the mesh's.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from . import makehuman
from .makehuman import bone_transforms, skin, turn
from .raster import vertex_normals
from .shading import rough
from .styles import Style

NUM_KEYPOINTS = 21
#: Millimetres: the thumb's metacarpal, the others' proximal phalanges, and
#: from the middle finger's second joint to its tip.
FIRST_BONES = (46.22, 39.78, 44.63, 41.37, 32.74)
MIDDLE_TO_TIP = 26.33 + 17.40 + 3.95
#: Bounds of each finger's angles, (finger, angle, low/high): abduction towards
#: the thumb, and the flexion of three joints from root to tip. Those of the
#: thumb are relative to its rest.
JOINT_LIMITS = np.array(
    [
        [(-25, 20), (-15, 25), (-15, 45), (-15, 70)],
        [(-12, 18), (-20, 88), (-3, 105), (-5, 70)],
        [(-12, 12), (-20, 88), (-3, 105), (-5, 70)],
        [(-16, 12), (-20, 88), (-3, 105), (-5, 70)],
        [(-24, 12), (-20, 88), (-3, 105), (-5, 70)],
    ]
)
# How far fingers are closed, from 0 to 1: the mean, what all share, what each
# has of its own.
GESTURES = dict(
    open=(0.06, 0.05, 0.06), relaxed=(0.30, 0.10, 0.08), fist=(0.88, 0.08, 0.05),
    pattern=(0.06, 0.0, 0.06), free=(0.45, 0.25, 0.3),
)  # fmt: skip
_FINGERS = [[f'finger{f}-{bone}.L' for bone in (1, 2, 3)] for f in range(1, 6)]
_ARM = ('upperarm', 'lowerarm', 'wrist', 'metacarpal', 'finger')


def sample_angles(rng: np.random.Generator, odds: dict[str, float]) -> np.ndarray:
    """Draw joint angles (5, 4) in which neighbouring fingers move together.

    Args:
        rng (np.random.Generator): Source of randomness.
        odds (dict): Of ``GESTURES``, by name.
    """
    gesture = rng.choice(list(odds), p=list(odds.values()))
    mean, shared, own = GESTURES[gesture]
    curl = np.convolve(rng.normal(size=7), (0.25, 0.5, 0.25), 'valid')
    curl = mean + shared * rng.normal() + own * curl
    if gesture == 'pattern':
        curl += 0.76 * (rng.random(5) < 0.5)
    curl = np.clip(curl, 0, 1)
    bend = curl[1:]
    angles = np.zeros((5, 4))
    angles[1:, 0] = rng.uniform(-0.3, 1) * (1 - 0.9 * bend) * (10, 2, -6, -13)
    # The knuckle takes part later than the middle joint when a hand closes,
    # and the last joint follows the middle one by its tendon.
    angles[1:, 1] = -6 + 88 * bend**1.3
    angles[1:, 2] = 4 + 98 * bend
    angles[1:, 3] = 0.62 * angles[1:, 2]
    angles[0, 0] = rng.uniform(-10, 18) - 18 * bend.mean()
    angles[0, 1:] = -8 + np.array((30, 45, 60)) * curl[0]
    angles += rng.normal(size=(5, 4)) * (2, 4, 4, 3)
    return np.clip(angles, JOINT_LIMITS[..., 0], JOINT_LIMITS[..., 1])


def sample_hand(rng: np.random.Generator) -> Hand:
    """Draw somebody's hand at rest."""
    gender = ('male', 'female')[rng.integers(2)]
    old = max(rng.uniform(-2, 1), 0)
    amounts = {}
    for age, share in (('young', 1 - old), ('old', old)):
        build = f'universal-{gender}-{age}-averagemuscle-averageweight'
        amounts[f'macrodetails/{build}'] = share
        amounts[f'macrodetails/caucasian-{gender}-{age}'] = share
    for part, spread in (('length', 0.05), ('diameter', 0.4), ('distance', 0.3)):
        amount = np.clip(rng.normal(0, spread), -1, 1)
        way = 'incr' if amount > 0 else 'decr'
        amounts[f'hands/l-hand-fingers-{part}-{way}'] = abs(amount)
    return Hand(amounts, np.clip(rng.normal(1, 0.06), 0.84, 1.16))


class Hand:
    """A left hand and its arm at rest, the wrist at the origin.

    Args:
        amounts (dict): Of the mesh's shape targets.
        size (float): In units of an average adult's.

    Attributes:
        vertices (np.ndarray): (V, 3) metres.
        triangles (np.ndarray): (T, 3).
        keypoints (np.ndarray): (21, 3).
        radii (np.ndarray): Of the flesh around the keypoints, (21,).
        palm (np.ndarray): Axes as columns: towards the thumb, towards the
            fingers, out of the back.
        surface (np.ndarray): What the skin's colour depends on, (V, 6): the
            place in the texture, how much it looks out of the palm, joints and
            fingertips close by, metres up the arm.
    """

    def __init__(self, amounts: dict[str, float], size: float = 1.0):
        body = makehuman.load()
        chosen, self.triangles = _arm()
        shaped = body.shaped(amounts)
        shaped = shaped - shaped[body.landmark('l-hand')].mean(axis=0)
        middle = np.diff(_keypoints(shaped)[9:13], axis=0)
        length = (FIRST_BONES[2] + MIDDLE_TO_TIP) / 1000
        shaped *= size * length / np.linalg.norm(middle, axis=1).sum()
        self.vertices, self.keypoints = shaped[chosen], _keypoints(shaped)
        self._heads = np.stack([shaped[head].mean(axis=0) for head in body.heads])
        for bones, root in zip(_FINGERS, self.keypoints[1::4]):
            self._heads[body.bones.index(bones[0])] = root
        distal, radial = self.keypoints[9], self.keypoints[5] - self.keypoints[17]
        back = np.cross(radial, distal)
        self.palm = np.stack([np.cross(distal, back), distal, back], axis=1)
        self.palm /= np.linalg.norm(self.palm, axis=0)

        gaps = np.linalg.norm(self.vertices[:, None] - self.keypoints, axis=2)
        # Flesh is wider than what is nearest of it.
        self.radii = np.maximum(1.5 * gaps.min(axis=0), 0.007)
        normals = vertex_normals(self.vertices, self.triangles)
        joints = np.exp(-((gaps[:, 1:] / 0.007) ** 2)).sum(axis=1)
        tips = np.exp(-((gaps[:, 4::4] / 0.015) ** 2)).sum(axis=1)
        palmar, up_arm = -normals @ self.palm[:, 2], -self.vertices @ self.palm[:, 1]
        texture = body.texture[chosen]
        self.surface = np.column_stack([texture, palmar, joints, tips, up_arm])
        # A thumb's back is where its nail looks.
        nail = normals[(_nail_share(texture) > 0.5) & (gaps[:, 4] < 0.02)].mean(axis=0)
        self._frames = [
            [_frame(axis, back) for axis in np.diff(joints, axis=0)]
            for joints, back in zip(
                self.keypoints[1:].reshape(5, 4, 3), [nail] + 4 * [self.palm[:, 2]]
            )
        ]
        self._weights = self._knuckle_weights(body.weights[chosen])

    def posed(self, angles: np.ndarray, flexion: float, deviation: float):
        """Vertices and keypoints at joint angles (5, 4) and a bent wrist."""
        rotations = {}
        for finger, (bones, rest) in enumerate(zip(_FINGERS, self._frames)):
            base = rest[0]
            if finger:
                # Straight, but for how the finger is fanned at rest.
                across, along, _ = self.palm.T @ rest[0][:, 1]
                base = self.palm @ turn(2, -np.degrees(np.arctan2(across, along)))
            above, frame = np.eye(3), base @ turn(2, -angles[finger, 0])
            for bone, name in enumerate(bones):
                if finger == 0 and bone:
                    frame = frame @ rest[bone - 1].T @ rest[bone]
                frame = frame @ turn(0, -angles[finger, 1 + bone])
                rotations[name] = above.T @ frame @ rest[bone].T
                above = frame @ rest[bone].T
        # The hand stays, its arm turns about the elbow.
        arm = self.palm @ turn(2, deviation) @ turn(0, flexion) @ self.palm.T
        rotations['lowerarm01.L'], rotations['wrist.L'] = arm, arm.T
        transforms = bone_transforms(self._heads, rotations)
        bones = makehuman.load().bones
        hold = transforms[bones.index('wrist.L')]
        vertices = skin(self.vertices, self._weights, transforms)
        carriers = ['wrist.L']
        for names in _FINGERS:
            carriers += [names[0], *names]
        moved = transforms[[bones.index(name) for name in carriers]]
        keypoints = np.einsum('kij,kj->ki', moved[..., :3], self.keypoints)
        keypoints += moved[..., 3]
        return (vertices - hold[:, 3]) @ hold[:, :3], (keypoints - hold[:, 3]) @ hold[
            :, :3
        ]

    def _knuckle_weights(self, weights):
        """The skin's weights with the fingers' first bones begun at the knuckles."""
        bones = makehuman.load().bones
        weights = weights.copy()
        for finger in range(1, 5):
            knuckle, joint = self.keypoints[1 + 4 * finger : 3 + 4 * finger]
            axis = (joint - knuckle) / np.linalg.norm(joint - knuckle)
            share = np.clip(((self.vertices - knuckle) @ axis + 0.008) / 0.022, 0, 1)
            share = share * share * (3 - 2 * share)
            palm = bones.index(f'metacarpal{finger}.L')
            weights[:, bones.index(_FINGERS[finger][0])] += share * weights[:, palm]
            weights[:, palm] *= 1 - share
        return weights


@lru_cache(maxsize=1)
def _arm():
    """Vertices of the left arm (V,), and its triangles (T, 3) among them."""
    body = makehuman.load()
    columns = [name.endswith('.L') and name.startswith(_ARM) for name in body.bones]
    inside = body.weights[:, columns].sum(axis=1) > 0.5
    triangles = body.triangles('body')
    triangles = triangles[inside[triangles].all(axis=1)]
    chosen, flat = np.unique(triangles, return_inverse=True)
    return chosen, flat.reshape(-1, 3)


def _keypoints(vertices):
    body = makehuman.load()
    names = ['l-hand']
    names += [f'l-finger-{f}-{joint}' for f in range(1, 6) for joint in range(1, 5)]
    keypoints = np.stack([vertices[body.landmark(name)].mean(axis=0) for name in names])
    scale = np.linalg.norm(np.diff(keypoints[10:13], axis=0), axis=1).sum()
    for root, length in zip(range(1, 21, 4), FIRST_BONES):
        # So far from the next joint: behind the mesh's root on the straight bone
        # of a thumb, on the way to the wrist for a finger.
        start, joint = keypoints[root], keypoints[root + 1]
        along = start - joint if root == 1 else keypoints[0] - start
        along = along / np.linalg.norm(along)
        middle = (joint - start) @ along
        off = np.linalg.norm(joint - start - middle * along)
        reach = (length * scale / MIDDLE_TO_TIP) ** 2 - off**2
        keypoints[root] = start + along * (middle + np.sqrt(max(reach, 0)))
    return keypoints


def _frame(axis, back):
    """Axes of a bone as columns: lateral, along it, out of its back."""
    lateral = np.cross(axis, back)
    frame = np.stack([lateral, axis, np.cross(lateral, axis)], axis=1)
    return frame / np.linalg.norm(frame, axis=0)


@lru_cache(maxsize=1)
def _nails():
    path = makehuman.load().folder / 'textures/mpfb_fingernails.jpg'
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255


def _nail_share(texture):
    """How much places of the texture (M, 2) are fingernail, (M,)."""
    size = np.array(_nails().shape)[::-1]
    column, row = (texture * size).astype(np.int32).T
    row = np.clip(size[1] - 1 - row, 0, size[1] - 1)
    return _nails()[row, column]


def paint(rng: np.random.Generator, style: Style, skin, sleeve: float, surface):
    """Colours of skin, nails and sleeve.

    Args:
        rng (np.random.Generator): Source of randomness.
        style (Style): How uneven they are.
        skin (np.ndarray): (3,).
        sleeve (float): Metres from the wrist to the sleeve.
        surface (np.ndarray): As ``Hand.surface``, at M samples.

    Returns:
        tuple: Colours (M, 3), and how far normals are tilted there (M, 1).
    """
    texture, (palmar, joints, tips, up_arm) = surface[:, :2], surface[:, 2:6].T
    detail = style.detail
    pale = skin * (1, 0.93, 0.92) + 0.25 * (1 - skin)
    red = detail * skin[0] * np.array((0.06, -0.05, -0.05))
    nails = 0.55 * skin + (0.42, 0.33, 0.32)
    dye = rng.uniform(0, 1, 3) * (1 - style.drab) + style.drab * rng.uniform(0.05, 0.8)
    skin, pale, red, nails, dye = np.float32((skin, pale, red, nails, dye))
    palmar = np.float32(0.3 + 0.4 * detail) * np.clip(palmar, 0, 1)
    redness = np.clip(0.5 * joints + tips + 0.5 * rough(rng, texture, 10), -1, 1)
    colour = skin + palmar[:, None] * (pale - skin) + redness[:, None] * red
    # Folds over the joints.
    folds = np.clip(joints, 0, 1) * np.clip(rough(rng, texture, 45) - 0.6, 0, 1)
    tone = 1 + detail * (0.05 * rough(rng, texture, 24) - 0.35 * folds)
    nail = _nail_share(texture)[:, None] * (1 - 0.35 * detail)
    colour = colour * tone[:, None] * (1 - nail) + nail * nails
    edge = sleeve + 0.006 * detail * rough(rng, texture, 6)
    cloth = dye * (1 + 0.1 * detail * rough(rng, texture, 14)[:, None])
    colour = np.where((up_arm > edge)[:, None], cloth, colour)
    tilt = 0.06 * detail * rough(rng, texture, 60)[:, None]
    return np.clip(colour, 0.01, 1), tilt
