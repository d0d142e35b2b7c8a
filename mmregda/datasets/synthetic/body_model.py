"""An articulated human body: its skeleton, its joint limits and its flesh.

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

from .renderer import RoundCones

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
#: Part labels beside the joints': hair, and a thing in the hand.
HAIR, HELD_OBJECT = NUM_JOINTS, NUM_JOINTS + 1
NUM_PARTS = NUM_JOINTS + 2

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

# Joints of an average adult at rest, the left half.
_HEIGHT = 1.72
_REST = {
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
_MIRROR = np.diag((-1.0, 1.0, 1.0))
_SOFT = 0.022

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
        for joint, place in _REST.items():
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
                rest[joint] = _MIRROR @ rest[MIRRORED[joint]]
        top = rest[HEAD] + (0, _HEIGHT - _REST[HEAD][1], -0.01)
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


def _about(axis, degrees):
    """Rotation matrix about one of the axes 0, 1, 2."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = c
    matrix[first, second], matrix[second, first] = -s, s
    return matrix


def _swing(direction, raised):
    """Raise a hanging limb towards a direction without turning it."""
    turn = _about(1, direction)
    return turn @ _about(0, -raised) @ turn.T


def _local_rotations(pose):
    """Each joint's rotation relative to its parent's, (24, 3, 3)."""
    local = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    for joints, (bend, side, turn), shares in (
        ((SPINE1, SPINE2, SPINE3), pose.trunk, (0.4, 0.35, 0.25)),
        ((NECK, HEAD), pose.head, (0.5, 0.5)),
    ):
        for joint, share in zip(joints, shares):
            local[joint] = (
                _about(1, share * turn)
                @ _about(2, -share * side)
                @ _about(0, share * bend)
            )
    down = _about(2, -90)
    for side, mirror in enumerate((np.eye(3), _MIRROR)):
        direction, raised, turn, elbow, pronation, wrist = pose.arms[side]
        # Beyond 60 degrees the shoulder blade rises with the arm.
        shrug = _about(2, 0.16 * max(raised - 60, 0))
        # The joints turn a hanging arm; at rest it is stretched out.
        hanging = shrug.T @ _swing(direction, raised) @ _about(1, -turn) @ down
        forearm = down.T @ _about(0, -elbow) @ down
        hand = down.T @ _about(1, -pronation) @ _about(2, -wrist) @ down
        rotations = [
            (LEFT_COLLAR, shrug),
            (LEFT_SHOULDER, hanging),
            (LEFT_ELBOW, forearm),
            (LEFT_WRIST, hand),
        ]
        direction, raised, turn, knee, ankle = pose.legs[side]
        rotations += [
            (LEFT_HIP, _swing(direction, raised) @ _about(1, turn)),
            (LEFT_KNEE, _about(0, knee)),
            (LEFT_ANKLE, _about(0, ankle)),
        ]
        for joint, rotation in rotations:
            target = MIRRORED[joint] if side else joint
            local[target] = mirror @ rotation @ mirror
    return local


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
        grip = _MIRROR @ (shape.rest[LEFT_HAND] + (0.01, -0.03, 0.0))
        low, high = grip - (0, 0, 0.1), grip + (0, 0, length)
        rows.append(
            (
                RIGHT_WRIST,
                low,
                RIGHT_WRIST,
                high,
                0.6 * radius,
                radius,
                HELD_OBJECT,
                1e-4,
            )
        )
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
        _MIRROR @ start,
        MIRRORED[end_joint],
        _MIRROR @ end,
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
    upper = (_REST[LEFT_ELBOW][0] - _REST[LEFT_SHOULDER][0]) * 1.0
    lower = _REST[LEFT_WRIST][0] - _REST[LEFT_ELBOW][0]
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
    thigh = _REST[LEFT_HIP][1] - _REST[LEFT_KNEE][1]
    shank = _REST[LEFT_KNEE][1] - _REST[LEFT_ANKLE][1]
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
