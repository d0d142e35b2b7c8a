"""An articulated human body: its skeleton, its build and its joint limits.

The skeleton is SMPL's: 24 joints in its order. Everything is written in the
body's frame in the rest pose, a T with the arms stretched out sideways and
the palms down: x to the person's left, y up, z forward, in metres, the origin
on the floor below the pelvis. Flesh, clothes and their colours are attached
to places of the rest pose; a joint's frame carries them to where they are.
Angles are in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

JOINT_NAMES = (
    'pelvis',
    'left_hip',
    'right_hip',
    'spine1',
    'left_knee',
    'right_knee',
    'spine2',
    'left_ankle',
    'right_ankle',
    'spine3',
    'left_foot',
    'right_foot',
    'neck',
    'left_collar',
    'right_collar',
    'head',
    'left_shoulder',
    'right_shoulder',
    'left_elbow',
    'right_elbow',
    'left_wrist',
    'right_wrist',
    'left_hand',
    'right_hand',
)
NUM_JOINTS = len(JOINT_NAMES)
(
    PELVIS,
    LEFT_HIP,
    RIGHT_HIP,
    SPINE1,
    LEFT_KNEE,
    RIGHT_KNEE,
    SPINE2,
    LEFT_ANKLE,
    RIGHT_ANKLE,
    SPINE3,
    LEFT_FOOT,
    RIGHT_FOOT,
    NECK,
    LEFT_COLLAR,
    RIGHT_COLLAR,
    HEAD,
    LEFT_SHOULDER,
    RIGHT_SHOULDER,
    LEFT_ELBOW,
    RIGHT_ELBOW,
    LEFT_WRIST,
    RIGHT_WRIST,
    LEFT_HAND,
    RIGHT_HAND,
) = range(NUM_JOINTS)
#: Each joint's parent in the kinematic tree; the pelvis has none.
PARENTS = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21
)  # fmt: skip
#: Joint on the other side of the body, or the joint itself.
MIRRORED = (
    0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20,
    23, 22,
)  # fmt: skip
#: Bounds of an arm's angles: where the upper arm points (0 forward, 90 to the
#: side, 180 back) and how far it is raised from hanging, its turn inward about
#: itself, the elbow's flexion, the forearm's pronation, the wrist's flexion.
ARM_LIMITS = np.array(
    [(-50, 150), (0, 178), (-60, 80), (0, 148), (-80, 80), (-60, 60)], dtype=float
)
#: Bounds of a leg's angles: where the thigh points and how far it is raised
#: from standing, its turn outward, the knee's flexion, the ankle's plantar
#: flexion.
LEG_LIMITS = np.array([(-40, 180), (0, 125), (-35, 50), (0, 145), (-25, 50)])
#: Bounds of the trunk's and of the head's angles: bent forward, bent to the
#: left, turned to the left.
TRUNK_LIMITS = np.array([(-40, 85), (-35, 35), (-45, 45)], dtype=float)
HEAD_LIMITS = np.array([(-45, 45), (-30, 30), (-70, 70)], dtype=float)
# How far a limb can be raised depends on where to: directions of the circle
# and the limits there.
_DIRECTIONS = (-60, 0, 60, 100, 150, 180)
_ARM_REACH = (110, 178, 178, 178, 65, 60)
_LEG_REACH = (35, 125, 95, 60, 35, 28)

_HEIGHT = 1.72
#: Joints of an average adult at rest, the left half.
REST = {
    PELVIS: (0, 0.940, 0),
    LEFT_HIP: (0.082, 0.895, 0),
    SPINE1: (0, 1.045, -0.005),
    LEFT_KNEE: (0.094, 0.485, 0.006),
    SPINE2: (0, 1.165, -0.010),
    LEFT_ANKLE: (0.098, 0.083, -0.022),
    SPINE3: (0, 1.240, -0.010),
    LEFT_FOOT: (0.112, 0.028, 0.100),
    NECK: (0, 1.440, -0.022),
    LEFT_COLLAR: (0.088, 1.392, -0.014),
    HEAD: (0, 1.535, 0.006),
    LEFT_SHOULDER: (0.176, 1.402, -0.022),
    LEFT_ELBOW: (0.452, 1.398, -0.030),
    LEFT_WRIST: (0.700, 1.398, -0.022),
    LEFT_HAND: (0.782, 1.392, -0.018),
}
#: Exchanges the sides of the body's frame.
MIRROR = np.diag((-1.0, 1.0, 1.0))
# The body as a few capsules, to see whether it runs through itself: joints at
# their ends, and radii. The last stands for the skull.
_CAPSULES = np.array(
    [
        (LEFT_ELBOW, LEFT_WRIST),
        (RIGHT_ELBOW, RIGHT_WRIST),
        (LEFT_WRIST, LEFT_HAND),
        (RIGHT_WRIST, RIGHT_HAND),
        (LEFT_HIP, LEFT_KNEE),
        (RIGHT_HIP, RIGHT_KNEE),
        (LEFT_KNEE, LEFT_ANKLE),
        (RIGHT_KNEE, RIGHT_ANKLE),
        (LEFT_ELBOW, LEFT_ELBOW),
        (RIGHT_ELBOW, RIGHT_ELBOW),
        (PELVIS, SPINE2),
        (SPINE2, SPINE3),
        (SPINE3, NECK),
        (HEAD, HEAD),
    ]
).T
_CAPSULE_RADII = np.array(
    [
        0.036, 0.036, 0.034, 0.034, 0.062, 0.062, 0.045, 0.045, 0.045, 0.045,
        0.115, 0.125, 0.085, 0.095,
    ]
)  # fmt: skip
_CAPSULE_STEPS = np.linspace(0.12, 0.94, 6)[:, None]
# Neighbours, and the hands, which may hold each other.
_MAY_TOUCH = (
    (0, 2), (1, 3), (0, 8), (1, 9), (2, 8), (3, 9), (4, 6), (5, 7), (4, 5),
    (4, 10), (5, 10), (10, 11), (11, 12), (10, 12), (12, 13), (2, 3),
)  # fmt: skip


def _must_not_touch():
    """Pairs of sample points of the capsules that must stay apart."""
    apart = ~np.eye(len(_CAPSULE_RADII), dtype=bool)
    for first, second in _MAY_TOUCH:
        apart[first, second] = apart[second, first] = False
    count = len(_CAPSULE_STEPS)
    return apart.repeat(count, axis=0).repeat(count, axis=1)


_MUST_NOT_TOUCH = _must_not_touch()


@dataclass(frozen=True)
class BodyShape:
    """One person's build.

    Attributes:
        rest (np.ndarray): Joints in the rest pose, (24, 3), symmetric.
        top (np.ndarray): Top of the head in the rest pose, (3,).
        fat (float): Factor on the radii of trunk and thighs.
        muscle (float): Factor on the radii of the limbs.
        female (float): 0 to 1: breasts and hips against shoulders.
        scale (float): Height in units of an average adult's.
    """

    rest: np.ndarray
    top: np.ndarray
    fat: float
    muscle: float
    female: float
    scale: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> BodyShape:
        female = float(rng.random() < 0.4) * rng.uniform(0.6, 1)
        scale = np.clip(rng.normal(1.02 - 0.06 * female, 0.045), 0.86, 1.14)
        legs, trunk, arms = np.clip(rng.normal(1, 0.025, 3), 0.94, 1.06)
        shoulders = np.clip(rng.normal(1.02 - 0.10 * female, 0.03), 0.84, 1.1)
        hips = np.clip(rng.normal(1 + 0.06 * female, 0.03), 0.92, 1.14)
        rest = np.zeros((NUM_JOINTS, 3))
        for joint, place in REST.items():
            rest[joint] = place
        floor = rest[PELVIS, 1]
        for joint in (LEFT_HIP, LEFT_KNEE, LEFT_ANKLE, LEFT_FOOT):
            rest[joint, 0] *= hips
        for joint in range(NUM_JOINTS):
            rest[joint, 1] = np.where(
                rest[joint, 1] > floor,
                legs * floor + trunk * (rest[joint, 1] - floor),
                legs * rest[joint, 1],
            )
        wider = (shoulders - 1) * rest[LEFT_SHOULDER, 0]
        rest[LEFT_COLLAR, 0] *= shoulders
        for joint in (LEFT_ELBOW, LEFT_WRIST, LEFT_HAND):
            offset = rest[joint, 0] - rest[LEFT_SHOULDER, 0]
            rest[joint, 0] += wider + (arms - 1) * offset
        rest[LEFT_SHOULDER, 0] += wider
        for joint in range(NUM_JOINTS):
            if joint > MIRRORED[joint]:
                rest[joint] = MIRROR @ rest[MIRRORED[joint]]
        top = rest[HEAD] + (0, _HEIGHT - REST[HEAD][1], -0.01)
        heavy, strong = rng.normal((0, 1.02), (0.08, 0.05))
        return cls(
            rest=scale * rest,
            top=scale * top,
            fat=float(np.clip(0.99 + heavy + max(heavy, 0), 0.86, 1.3)),
            muscle=float(
                np.clip(
                    1.02 - 0.09 * female + 0.5 * heavy + rng.normal(0, 0.05), 0.82, 1.2
                )
            ),
            female=float(female),
            scale=float(scale),
        )


@dataclass(frozen=True)
class BodyPose:
    """Joint angles in degrees.

    Attributes:
        arms (np.ndarray): Left and right arm, (2, 6), within ``ARM_LIMITS``.
        legs (np.ndarray): Left and right leg, (2, 5), within ``LEG_LIMITS``.
        trunk (np.ndarray): (3,), within ``TRUNK_LIMITS``.
        head (np.ndarray): (3,), within ``HEAD_LIMITS``.
    """

    arms: np.ndarray
    legs: np.ndarray
    trunk: np.ndarray
    head: np.ndarray

    @classmethod
    def within_limits(cls, arms, legs, trunk, head) -> BodyPose:
        """The nearest pose that a person can take."""
        arms, legs, trunk, head = (
            np.clip(np.asarray(values, float), limits[:, 0], limits[:, 1])
            for values, limits in (
                (arms, ARM_LIMITS),
                (legs, LEG_LIMITS),
                (trunk, TRUNK_LIMITS),
                (head, HEAD_LIMITS),
            )
        )
        for limbs, reach in ((arms, _ARM_REACH), (legs, _LEG_REACH)):
            highest = np.interp(limbs[:, 0], _DIRECTIONS, reach)
            limbs[:, 1] = np.minimum(limbs[:, 1], highest)
        return cls(arms, legs, trunk, head)

    def mirrored(self) -> BodyPose:
        """The pose with left and right exchanged."""
        flip = np.array((1, -1, -1))
        return BodyPose(
            self.arms[::-1], self.legs[::-1], self.trunk * flip, self.head * flip
        )


def forward_kinematics(shape: BodyShape, pose: BodyPose):
    """Joints (24, 3) and their frames (24, 3, 3), without any flesh."""
    local = _local_rotations(pose)
    joints = np.zeros((NUM_JOINTS, 3))
    frames = np.zeros((NUM_JOINTS, 3, 3))
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            joints[joint], frames[joint] = shape.rest[joint], local[joint]
            continue
        bone = shape.rest[joint] - shape.rest[parent]
        joints[joint] = joints[parent] + frames[parent] @ bone
        frames[joint] = frames[parent] @ local[joint]
    return joints, frames


def interpenetrates(shape: BodyShape, joints: np.ndarray) -> bool:
    """Whether limbs run through the trunk, the head or one another.

    Args:
        shape (BodyShape): The person.
        joints (np.ndarray): Posed joints, (24, 3).
    """
    starts, ends = joints[_CAPSULES[0]], joints[_CAPSULES[1]]
    points = starts[:, None] + _CAPSULE_STEPS * (ends - starts)[:, None]
    points[-1] += 0.07 * shape.scale * _unit(joints[HEAD] - joints[NECK])
    points = points.reshape(-1, 3)
    radii = np.repeat(_CAPSULE_RADII, _CAPSULE_STEPS.shape[0])
    gap = points[:, None] - points
    near = np.einsum('ijk,ijk->ij', gap, gap) < np.square(
        0.9 * shape.scale * (radii[:, None] + radii)
    )
    return bool((near & _MUST_NOT_TOUCH).any())


def _unit(vector):
    return vector / np.linalg.norm(vector)


def rotation_about(axis, degrees):
    """Rotation matrix about one of the axes 0, 1, 2."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = c
    matrix[first, second], matrix[second, first] = -s, s
    return matrix


def _swing(direction, raised):
    """Raise a hanging limb towards a direction without turning it."""
    turn = rotation_about(1, direction)
    return turn @ rotation_about(0, -raised) @ turn.T


def _local_rotations(pose):
    """Each joint's rotation relative to its parent's, (24, 3, 3)."""
    local = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    for joints, (bend, side, turn), shares in (
        ((SPINE1, SPINE2, SPINE3), pose.trunk, (0.4, 0.35, 0.25)),
        ((NECK, HEAD), pose.head, (0.5, 0.5)),
    ):
        for joint, share in zip(joints, shares):
            local[joint] = (
                rotation_about(1, share * turn)
                @ rotation_about(2, -share * side)
                @ rotation_about(0, share * bend)
            )
    down = rotation_about(2, -90)
    for side, mirror in enumerate((np.eye(3), MIRROR)):
        direction, raised, turn, elbow, pronation, wrist = pose.arms[side]
        # Beyond 60 degrees the shoulder blade rises with the arm.
        shrug = rotation_about(2, 0.16 * max(raised - 60, 0))
        # The joints turn a hanging arm; at rest it is stretched out.
        hanging = shrug.T @ _swing(direction, raised) @ rotation_about(1, -turn) @ down
        forearm = down.T @ rotation_about(0, -elbow) @ down
        hand = down.T @ rotation_about(1, -pronation) @ rotation_about(2, -wrist) @ down
        rotations = [
            (LEFT_COLLAR, shrug),
            (LEFT_SHOULDER, hanging),
            (LEFT_ELBOW, forearm),
            (LEFT_WRIST, hand),
        ]
        direction, raised, turn, knee, ankle = pose.legs[side]
        rotations += [
            (LEFT_HIP, _swing(direction, raised) @ rotation_about(1, turn)),
            (LEFT_KNEE, rotation_about(0, knee)),
            (LEFT_ANKLE, rotation_about(0, ankle)),
        ]
        for joint, rotation in rotations:
            target = MIRRORED[joint] if side else joint
            local[target] = mirror @ rotation @ mirror
    return local
