"""What is on the bones: flesh, hair and the shapes of clothes.

All of it is round cones that are attached to places of the rest pose (see
``body_model``), in the metres of an average adult.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .body_model import (
    HEAD,
    LEFT_ANKLE,
    LEFT_COLLAR,
    LEFT_ELBOW,
    LEFT_FOOT,
    LEFT_HAND,
    LEFT_HIP,
    LEFT_KNEE,
    LEFT_SHOULDER,
    LEFT_WRIST,
    MIRROR,
    MIRRORED,
    NECK,
    NUM_JOINTS,
    PELVIS,
    REST,
    RIGHT_HIP,
    RIGHT_WRIST,
    SPINE1,
    SPINE2,
    SPINE3,
    BodyPose,
    BodyShape,
    forward_kinematics,
)
from .renderer import RoundCones

#: Part labels beside the joints': hair, and a thing in the hand.
HAIR, HELD_OBJECT = NUM_JOINTS, NUM_JOINTS + 1
NUM_PARTS = NUM_JOINTS + 2

# Flesh about the joints of an average adult.
_JOINT_RADII = np.array(
    [
        0.110, 0.100, 0.100, 0.110, 0.058, 0.058, 0.115, 0.044, 0.044, 0.115,
        0.036, 0.036, 0.062, 0.070, 0.070, 0.085, 0.062, 0.062, 0.046, 0.046,
        0.034, 0.034, 0.028, 0.028,
    ]
)  # fmt: skip
_OF_TRUNK = np.isin(
    np.arange(NUM_JOINTS), (PELVIS, LEFT_HIP, RIGHT_HIP, SPINE1, SPINE2, SPINE3)
)
_SOFT = 0.022


@dataclass(frozen=True)
class Body:
    """A posed body in some frame.

    Attributes:
        shape (BodyShape): The person.
        joints (np.ndarray): (24, 3).
        top (np.ndarray): Top of the head, (3,).
        frames (np.ndarray): For each joint the rotation from the rest pose,
            (24, 3, 3).
        cones (RoundCones): The flesh and what covers it; a part's label is
            the joint whose frame carries it, or ``HAIR`` or ``HELD_OBJECT``.
    """

    shape: BodyShape
    joints: np.ndarray
    top: np.ndarray
    frames: np.ndarray
    cones: RoundCones

    def moved(self, linear, offset) -> Body:
        """Apply the rigid motion ``x -> linear @ x + offset``."""
        return Body(
            self.shape,
            self.joints @ linear.T + offset,
            self.top @ linear.T + offset,
            linear @ self.frames,
            self.cones.transformed(linear, offset),
        )

    def joint_radii(self, looseness: float = 0.0) -> np.ndarray:
        """Radius of flesh and cloth about each joint, (24,), metres.

        Args:
            looseness (float): How far cloth stands off, metres.
        """
        build = np.where(_OF_TRUNK, max(self.shape.fat, 1), 1)
        return self.shape.scale * (_JOINT_RADII * build + looseness)


@dataclass(frozen=True)
class Covering:
    """The shapes of what is worn: of no colour, since that is painted.

    Attributes:
        sleeve (float): Where sleeves end, as a share of the arm from the
            shoulder (0) to the wrist (1).
        leg (float): Where trousers end, as a share of the leg from the hip
            (0) to the ankle (1).
        looseness (float): How far cloth stands off, metres.
        hem (float): How far a shirt hangs below the pelvis, metres.
        hair (str): ``'short'``, ``'bob'``, ``'long'``, ``'tail'``, ``'bun'``,
            ``'bald'`` or ``'cap'``.
        held (tuple[float, float] | None): Length and radius of a stick in
            the right hand, metres.
    """

    sleeve: float
    leg: float
    looseness: float
    hem: float
    hair: str
    held: tuple[float, float] | None = None


def articulate(shape: BodyShape, pose: BodyPose, covering: Covering) -> Body:
    """Pose a body in its own frame; the pelvis keeps its place and frame."""
    joints, frames = forward_kinematics(shape, pose)

    def carried(joint, place):
        return joints[joint] + frames[joint] @ (place - shape.rest[joint])

    rows = []
    for start_joint, start, end_joint, end, *rest in _flesh(shape, covering):
        rows.append((carried(start_joint, start), carried(end_joint, end), *rest))
    return Body(shape, joints, carried(HEAD, shape.top), frames, RoundCones.stack(rows))


def _flesh(shape, covering):
    """Rows of (joint, place, joint, place, radius, radius, part, softness).

    Both ends are places in the rest pose, each carried by its joint's frame.
    """
    middle, left = _Rows(shape), _Rows(shape)
    _trunk(middle, shape, covering)
    _head(middle, shape, covering)
    _arm(left, shape, covering)
    _leg(left, shape, covering)
    _torso_half(left, shape)
    rows = middle.rows + left.rows + [_mirrored_row(row) for row in left.rows]
    if covering.held is not None:
        length, radius = covering.held
        grip = MIRROR @ (shape.rest[LEFT_HAND] + (0.01, -0.03, 0.0))
        low, high = grip - (0, 0, 0.1), grip + (0, 0, length)
        radii = (0.6 * radius, radius)
        rows.append((RIGHT_WRIST, low, RIGHT_WRIST, high, *radii, HELD_OBJECT, 1e-4))
    return rows


class _Rows:
    """Collects flesh given relative to joints, in an average adult's metres."""

    def __init__(self, shape):
        self._shape = shape
        self.rows = []

    def add(self, start, end, radii, part, softness=_SOFT):
        """``start`` and ``end`` are (joint, (x, y, z) relative to it)."""
        scale = self._shape.scale
        row = []
        for joint, offset in (start, end):
            row += [joint, self._shape.rest[joint] + scale * np.asarray(offset, float)]
        self.rows.append((*row, scale * radii[0], scale * radii[1], part, softness))


def _mirrored_row(row):
    start_joint, start, end_joint, end, *radii, part, softness = row
    return (
        MIRRORED[start_joint],
        MIRROR @ start,
        MIRRORED[end_joint],
        MIRROR @ end,
        *radii,
        MIRRORED[part] if part < NUM_JOINTS else part,
        softness,
    )


def _trunk(rows, shape, covering):
    fat, female = shape.fat, shape.female
    waist = fat * (1 - 0.10 * female)
    rows.add(
        (PELVIS, (-0.068, -0.035, 0)),
        (PELVIS, (0.068, -0.035, 0)),
        (0.098 * fat, 0.098 * fat),
        PELVIS,
        0.03,
    )
    rows.add(
        (SPINE1, (-0.046, 0.0, 0.004)),
        (SPINE1, (0.046, 0.0, 0.004)),
        (0.094 * waist, 0.094 * waist),
        SPINE1,
        0.03,
    )
    if fat > 1.12:
        belly = 0.10 * fat + 0.25 * (fat - 1.12)
        rows.add(
            (SPINE1, (0, -0.02, 0.03)),
            (SPINE2, (0, -0.03, 0.03)),
            (belly, 0.9 * belly),
            SPINE1,
            0.04,
        )
    rows.add(
        (SPINE2, (-0.055, 0, 0.004)),
        (SPINE2, (0.055, 0, 0.004)),
        (0.097 * waist, 0.097 * waist),
        SPINE2,
        0.03,
    )
    chest = 0.5 + 0.5 * fat
    rows.add(
        (SPINE3, (-0.066, 0.055, 0.006)),
        (SPINE3, (0.066, 0.055, 0.006)),
        (0.104 * chest, 0.104 * chest),
        SPINE3,
        0.03,
    )
    rows.add(
        (SPINE3, (-0.082, 0.118, -0.008)),
        (SPINE3, (0.082, 0.118, -0.008)),
        (0.078 * chest, 0.078 * chest),
        SPINE3,
        0.03,
    )
    rows.add(
        (NECK, (0, -0.02, -0.012)),
        (HEAD, (0, 0.03, -0.012)),
        (0.058, 0.053 - 0.006 * female),
        NECK,
        0.015,
    )
    if covering.hem > 0.02:
        # A loose shirt is a skirt of cloth around the hips.
        width = 0.098 * fat + covering.looseness
        for side in (-1, 1):
            rows.add(
                (SPINE1, (side * 0.045, -0.03, 0.0)),
                (PELVIS, (side * 0.066, 0.045 - covering.hem, 0.0)),
                (0.096 * waist + covering.looseness, width),
                PELVIS,
                0.03,
            )


def _torso_half(rows, shape):
    fat, female = shape.fat, shape.female
    # Flank, chest muscle or breast, trapezius, buttock.
    rows.add(
        (PELVIS, (0.066, 0.0, -0.004)),
        (SPINE2, (0.062, 0.0, 0.0)),
        (0.092 * fat, 0.088 * fat * (1 - 0.10 * female)),
        SPINE1,
        0.03,
    )
    rows.add(
        (SPINE2, (0.062, 0, 0)),
        (SPINE3, (0.086, 0.075, -0.004)),
        (0.088 * fat * (1 - 0.08 * female), 0.090),
        SPINE2,
        0.03,
    )
    breast = 0.056 + 0.012 * female
    rows.add(
        (SPINE3, (0.072, 0.055 - 0.02 * female, 0.062 + 0.016 * female)),
        (SPINE3, (0.090, 0.090, 0.045)),
        (breast, breast - 0.01),
        SPINE3,
        0.03,
    )
    rows.add(
        (NECK, (0.018, 0.02, -0.02)),
        (LEFT_SHOULDER, (-0.02, 0.012, -0.005)),
        (0.044, 0.044 * shape.muscle),
        LEFT_COLLAR,
        0.03,
    )
    rows.add(
        (LEFT_COLLAR, (-0.02, -0.035, -0.012)),
        (LEFT_SHOULDER, (-0.012, -0.022, 0.0)),
        (0.062, 0.058 * shape.muscle),
        LEFT_COLLAR,
        0.03,
    )
    rows.add(
        (PELVIS, (0.066, -0.085, -0.042)),
        (LEFT_HIP, (0.006, -0.075, -0.03)),
        (0.086 * fat, 0.074 * fat),
        PELVIS,
        0.03,
    )


def _head(rows, shape, covering):
    # Skull, face, jaw, nose and ears.
    rows.add(
        (HEAD, (0, 0.092, -0.030)),
        (HEAD, (0, 0.092, 0.022)),
        (0.080, 0.074),
        HEAD,
        0.015,
    )
    rows.add(
        (HEAD, (0, 0.060, 0.034)), (HEAD, (0, 0.006, 0.046)), (0.064, 0.044), HEAD, 0.02
    )
    rows.add(
        (HEAD, (0, 0.000, 0.050)),
        (HEAD, (0, -0.014, 0.066)),
        (0.042, 0.026),
        HEAD,
        0.02,
    )
    rows.add(
        (HEAD, (0, 0.066, 0.098)),
        (HEAD, (0, 0.034, 0.112)),
        (0.008, 0.013),
        HEAD,
        0.008,
    )
    for side in (-1, 1):
        rows.add(
            (HEAD, (side * 0.076, 0.065, -0.008)),
            (HEAD, (side * 0.072, 0.035, -0.002)),
            (0.016, 0.012),
            HEAD,
            0.006,
        )
    for start, end, radii, softness in _HAIR_SHAPES[covering.hair]:
        rows.add((HEAD, start), (HEAD, end), radii, HAIR, softness)


# Relative to the head's joint. Beside the painted hairline, hair has volume.
_SCALP = (
    ((0, 0.108, -0.036), (0, 0.116, 0.020), (0.080, 0.070), 0.012),
    ((0, 0.070, -0.046), (0, 0.050, -0.046), (0.070, 0.058), 0.012),
)
_HAIR_SHAPES = {
    'bald': (),
    'short': _SCALP,
    'bob': (
        *_SCALP,
        ((0.052, 0.09, -0.02), (0.060, -0.02, -0.026), (0.038, 0.034), 0.02),
        ((-0.052, 0.09, -0.02), (-0.060, -0.02, -0.026), (0.038, 0.034), 0.02),
        ((0, 0.05, -0.06), (0, -0.03, -0.055), (0.06, 0.05), 0.02),
    ),
    'long': (
        *_SCALP,
        ((0.052, 0.09, -0.02), (0.058, -0.05, -0.05), (0.036, 0.036), 0.02),
        ((-0.052, 0.09, -0.02), (-0.058, -0.05, -0.05), (0.036, 0.036), 0.02),
        ((0, 0.05, -0.06), (0, -0.17, -0.10), (0.06, 0.045), 0.02),
    ),
    'tail': (
        *_SCALP,
        ((0, 0.115, -0.105), (0, 0.02, -0.150), (0.032, 0.030), 0.01),
        ((0, 0.02, -0.150), (0, -0.09, -0.130), (0.030, 0.012), 0.01),
    ),
    'bun': (
        *_SCALP,
        ((0, 0.165, -0.085), (0, 0.170, -0.090), (0.042, 0.042), 0.008),
    ),
    'cap': (
        ((0, 0.112, -0.030), (0, 0.116, 0.020), (0.084, 0.078), 0.012),
        ((0.030, 0.108, 0.085), (0.022, 0.100, 0.150), (0.014, 0.007), 0.02),
        ((-0.030, 0.108, 0.085), (-0.022, 0.100, 0.150), (0.014, 0.007), 0.02),
        ((0, 0.110, 0.085), (0, 0.102, 0.158), (0.014, 0.007), 0.02),
    ),
}


def _arm(rows, shape, covering):
    strong = shape.muscle
    upper = REST[LEFT_ELBOW][0] - REST[LEFT_SHOULDER][0]
    lower = REST[LEFT_WRIST][0] - REST[LEFT_ELBOW][0]
    rows.add(
        (LEFT_SHOULDER, (-0.006, 0.002, 0)),
        (LEFT_SHOULDER, (0.055, -0.002, 0)),
        (0.058 * strong, 0.051 * strong),
        LEFT_SHOULDER,
        0.025,
    )
    rows.add(
        (LEFT_SHOULDER, (0.03, -0.004, 0)),
        (LEFT_ELBOW, (0, 0, 0)),
        (0.050 * strong, 0.038 * strong),
        LEFT_SHOULDER,
        0.015,
    )
    rows.add(
        (LEFT_SHOULDER, (0.40 * upper, 0, 0.010)),
        (LEFT_SHOULDER, (0.70 * upper, 0, 0.008)),
        (0.043 * strong**1.5, 0.039 * strong),
        LEFT_SHOULDER,
        0.02,
    )
    rows.add(
        (LEFT_ELBOW, (0, 0, 0)),
        (LEFT_ELBOW, (0.3 * lower, 0, 0.004)),
        (0.038 * strong, 0.042 * strong),
        LEFT_ELBOW,
        0.015,
    )
    rows.add(
        (LEFT_ELBOW, (0.26 * lower, 0, 0.004)),
        (LEFT_WRIST, (0, 0, 0)),
        (0.042 * strong, 0.027),
        LEFT_ELBOW,
        0.015,
    )
    # Palm down: the hand's breadth lies along z, the thumb in front.
    for front in (-0.014, 0.016):
        rows.add(
            (LEFT_WRIST, (0.006, 0, 0.5 * front)),
            (LEFT_WRIST, (0.082, -0.002, front)),
            (0.024, 0.020),
            LEFT_WRIST,
            0.012,
        )
        rows.add(
            (LEFT_WRIST, (0.085, -0.004, front)),
            (LEFT_WRIST, (0.158, -0.030, 0.9 * front)),
            (0.019, 0.012),
            LEFT_HAND,
            0.008,
        )
    rows.add(
        (LEFT_WRIST, (0.03, -0.006, 0.022)),
        (LEFT_WRIST, (0.088, -0.022, 0.052)),
        (0.018, 0.010),
        LEFT_WRIST,
        0.008,
    )
    loose = covering.looseness
    share = covering.sleeve
    if share > 0.1 and loose > 0.004:
        end = min(share, 0.53) / 0.53
        rows.add(
            (LEFT_SHOULDER, (0.0, -0.002, 0)),
            (LEFT_SHOULDER, (end * upper, -0.3 * loose, 0)),
            (0.057 * strong + 0.3 * loose, (0.052 - 0.012 * end) * strong + loose),
            LEFT_SHOULDER,
            0.015,
        )
        if share > 0.6:
            end = (share - 0.53) / 0.47
            rows.add(
                (LEFT_ELBOW, (0, 0, 0)),
                (LEFT_ELBOW, (end * lower, 0, 0)),
                (0.041 * strong + loose, 0.040 - 0.010 * end + 0.6 * loose),
                LEFT_ELBOW,
                0.015,
            )


def _leg(rows, shape, covering):
    strong, fat = shape.muscle, shape.fat
    thigh = REST[LEFT_HIP][1] - REST[LEFT_KNEE][1]
    shank = REST[LEFT_KNEE][1] - REST[LEFT_ANKLE][1]
    full = 0.5 * (strong + fat) * (1 + 0.05 * shape.female)
    rows.add(
        (LEFT_HIP, (0.008, -0.015, 0)),
        (LEFT_KNEE, (0, 0.02, 0)),
        (0.086 * full, 0.052 * strong),
        LEFT_HIP,
        0.025,
    )
    rows.add(
        (LEFT_HIP, (0, -0.28 * thigh, 0.014)),
        (LEFT_HIP, (0.002, -0.66 * thigh, 0.012)),
        (0.072 * full, 0.058 * strong),
        LEFT_HIP,
        0.025,
    )
    rows.add(
        (LEFT_KNEE, (0, 0.015, 0.006)),
        (LEFT_KNEE, (0, -0.05, 0.002)),
        (0.051 * strong, 0.046 * strong),
        LEFT_KNEE,
        0.02,
    )
    rows.add(
        (LEFT_KNEE, (0, -0.02, 0)),
        (LEFT_ANKLE, (0, 0.01, 0.002)),
        (0.047 * strong, 0.034),
        LEFT_KNEE,
        0.02,
    )
    rows.add(
        (LEFT_KNEE, (0, -0.18 * shank, -0.018)),
        (LEFT_KNEE, (0, -0.56 * shank, -0.018)),
        (0.050 * strong, 0.036 * strong),
        LEFT_KNEE,
        0.02,
    )
    # A shoe: heel, upper and toe; its sole stands on the floor.
    rows.add(
        (LEFT_ANKLE, (0.0, -0.012, -0.004)),
        (LEFT_ANKLE, (0, -0.045, -0.028)),
        (0.040, 0.036),
        LEFT_ANKLE,
        0.015,
    )
    rows.add(
        (LEFT_ANKLE, (0.002, -0.030, 0.01)),
        (LEFT_FOOT, (0.004, 0.006, 0)),
        (0.043, 0.034),
        LEFT_ANKLE,
        0.015,
    )
    rows.add(
        (LEFT_ANKLE, (-0.010, -0.048, 0.05)),
        (LEFT_FOOT, (-0.016, -0.002, 0.036)),
        (0.032, 0.025),
        LEFT_FOOT,
        0.012,
    )
    rows.add(
        (LEFT_FOOT, (0.012, 0, -0.02)),
        (LEFT_FOOT, (0.010, -0.002, 0.024)),
        (0.030, 0.024),
        LEFT_FOOT,
        0.012,
    )
    loose, share = covering.looseness, covering.leg
    if share > 0.1 and loose > 0.004:
        end = min(share, 0.5) / 0.5
        narrow = 0.086 * full + end * (0.052 * strong - 0.086 * full)
        rows.add(
            (LEFT_HIP, (0.008, -0.02, 0)),
            (LEFT_HIP, (0.008, -end * thigh, 0.004)),
            (0.088 * full + 0.3 * loose, narrow + 1.3 * loose),
            LEFT_HIP,
            0.02,
        )
        if share > 0.55:
            end = (share - 0.5) / 0.5
            rows.add(
                (LEFT_KNEE, (0, 0, 0)),
                (LEFT_KNEE, (0, -end * shank, -0.012)),
                (0.055 * strong + loose, 0.056 - 0.014 * end + 0.9 * loose),
                LEFT_KNEE,
                0.02,
            )
