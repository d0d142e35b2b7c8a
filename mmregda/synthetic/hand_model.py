"""An articulated hand: its bones, its joint limits and its flesh.

Everything here is written for a LEFT hand in the palm's frame: origin at the
wrist, x towards the thumb (radial), y towards the fingertips (distal), z out
of the back of the hand (dorsal). For a left hand this frame is right-handed;
a right hand is the mirror image. Lengths are in metres, angles in degrees.

Keypoints are ordered from root to tip: the wrist, then thumb, index, middle,
ring and little finger with four keypoints each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .renderer import RoundCones

NUM_FINGERS = 5
NUM_KEYPOINTS = 21
THUMB, INDEX, MIDDLE, RING, LITTLE = range(NUM_FINGERS)

# Part labels: the palm, three bones a finger, and what surrounds the hand.
PALM = 0
FOREARM = 16
SLEEVE = 17
HELD_OBJECT = 18
PARTS_PER_HAND = 19

#: Bounds of each finger's angles, (finger, angle, low/high), in degrees. The
#: angles are abduction (towards the thumb; for the thumb, out of the palm's
#: plane) and the flexion of the three joints from root to tip. Negative
#: flexion is hyperextension.
JOINT_LIMITS = np.array(
    [
        [(-15, 35), (-20, 40), (-5, 55), (-10, 75)],
        [(-14, 20), (-18, 90), (-3, 105), (-5, 75)],
        [(-14, 14), (-18, 90), (-3, 105), (-5, 75)],
        [(-18, 14), (-18, 90), (-3, 105), (-5, 75)],
        [(-26, 12), (-18, 90), (-3, 105), (-5, 75)],
    ],
    dtype=float,
)
#: Bounds of the wrist's flexion and radial deviation, in degrees.
WRIST_LIMITS = np.array([(-50, 50), (-22, 14)], dtype=float)

# An average adult hand, from anthropometric tables.
_ROOTS = np.array(
    [
        (0.023, 0.022, -0.008),
        (0.026, 0.090, 0.002),
        (0.005, 0.092, 0.004),
        (-0.015, 0.086, 0.002),
        (-0.033, 0.077, -0.003),
    ]
)
_BONES = np.array(
    [
        (0.044, 0.033, 0.028),
        (0.043, 0.026, 0.023),
        (0.047, 0.030, 0.024),
        (0.044, 0.028, 0.024),
        (0.034, 0.021, 0.021),
    ]
)
_RADII = np.array(
    [
        (0.0150, 0.0122, 0.0106, 0.0086),
        (0.0112, 0.0096, 0.0083, 0.0070),
        (0.0114, 0.0098, 0.0085, 0.0072),
        (0.0109, 0.0092, 0.0080, 0.0067),
        (0.0098, 0.0081, 0.0070, 0.0059),
    ]
)
# Fingers fan out a little even at rest.
_REST_FAN = np.array([0.0, 3.0, 0.0, -3.0, -7.0])
# At rest the thumb points out of the palm's plane and its nail looks
# sideways, so that flexion carries it across the palm.
_THUMB_AXIS = np.array((0.60, 0.72, -0.35))
_THUMB_DORSAL = np.array((0.72, -0.35, 0.58))

_GESTURES = ('open', 'relaxed', 'fist', 'pattern', 'pinch', 'free')
_GESTURE_ODDS = (0.28, 0.24, 0.08, 0.16, 0.10, 0.14)


@dataclass(frozen=True)
class HandShape:
    """One person's hand.

    Attributes:
        roots (np.ndarray): First joint of each finger, (5, 3).
        bones (np.ndarray): Lengths of each finger's bones, (5, 3).
        radii (np.ndarray): Flesh radius at each finger's joints and tip,
            (5, 4).
    """

    roots: np.ndarray
    bones: np.ndarray
    radii: np.ndarray

    @classmethod
    def sample(cls, rng: np.random.Generator) -> HandShape:
        size = np.clip(rng.normal(1, 0.07), 0.82, 1.18)
        slender = np.clip(rng.normal(0, 0.06), -0.12, 0.12)
        breadth = np.array((1 - slender / 2, 1, 1 - slender / 2))
        fingers = np.clip(rng.normal(1, 0.03, (5, 1)), 0.92, 1.08)
        phalanges = np.clip(rng.normal(1, 0.03, (5, 3)), 0.92, 1.08)
        thickness = np.clip(rng.normal(1 - slender, 0.06), 0.84, 1.16)
        return cls(
            roots=_ROOTS * size * breadth,
            bones=_BONES * size * fingers * phalanges * (1 + slender / 2),
            radii=_RADII * size * thickness,
        )


@dataclass(frozen=True)
class HandPose:
    """Joint angles in degrees.

    Attributes:
        fingers (np.ndarray): Abduction and three flexions of each finger,
            (5, 4), within ``JOINT_LIMITS``.
        wrist (np.ndarray): Flexion and radial deviation, (2,), within
            ``WRIST_LIMITS``.
    """

    fingers: np.ndarray
    wrist: np.ndarray

    @classmethod
    def sample(cls, rng: np.random.Generator, grasp: bool = False) -> HandPose:
        """Draw a pose in which neighbouring fingers move together.

        Args:
            rng (np.random.Generator): Source of randomness.
            grasp (bool): Whether the hand closes around something.
        """
        gesture = rng.choice(_GESTURES, p=_GESTURE_ODDS)
        if grasp:
            curl = np.full(5, rng.uniform(0.4, 0.55))
            curl[1:] += rng.normal(0, 0.03, 4)
            curl[THUMB] = rng.uniform(0.2, 0.5)
        else:
            curl = _sample_curl(rng, gesture)
        spread = rng.uniform(-0.3, 1.0) * (1 - 0.8 * np.clip(curl[1:], 0, 1))

        fingers = np.zeros((5, 4))
        noise = rng.normal(0, 1, (5, 4))
        bend = curl[1:]
        fingers[1:, 0] = spread * np.array((12, 2, -7, -15)) + 2 * noise[1:, 0]
        # The knuckle takes part later than the middle joint when a hand
        # closes, and the last joint follows the middle one by its tendon.
        fingers[1:, 1] = -8 + 92 * bend**1.3 + 5 * noise[1:, 1]
        fingers[1:, 2] = 4 + 100 * bend + 5 * noise[1:, 2]
        fingers[1:, 3] = 0.62 * fingers[1:, 2] + 4 * noise[1:, 3]

        opposition = 0.35 if grasp else 0.0
        if gesture == 'pinch':
            opposition = rng.uniform(0.4, 0.9)
        fingers[THUMB] = (
            rng.uniform(-10, 18) + 30 * opposition,
            -10 + 34 * curl[THUMB] + 12 * opposition + 4 * noise[THUMB, 1],
            4 + 38 * curl[THUMB] + 5 * noise[THUMB, 2],
            48 * curl[THUMB] + 7 * noise[THUMB, 3],
        )
        wrist = rng.normal(0, (18, 7))
        return cls(
            np.clip(fingers, JOINT_LIMITS[..., 0], JOINT_LIMITS[..., 1]),
            np.clip(wrist, WRIST_LIMITS[:, 0], WRIST_LIMITS[:, 1]),
        )


@dataclass(frozen=True)
class Hand:
    """A posed hand in some frame.

    Attributes:
        keypoints (np.ndarray): (21, 3), root to tip.
        keypoint_radii (np.ndarray): Flesh radius about each keypoint, (21,).
        cones (RoundCones): The flesh; part labels as in this module.
        frames (np.ndarray): Axes of each part as columns (lateral, axial,
            dorsal), (PARTS_PER_HAND, 3, 3).
        origins (np.ndarray): Where each part's frame sits,
            (PARTS_PER_HAND, 3).
        extents (np.ndarray): Length and radius of each part,
            (PARTS_PER_HAND, 2).
    """

    keypoints: np.ndarray
    keypoint_radii: np.ndarray
    cones: RoundCones
    frames: np.ndarray
    origins: np.ndarray
    extents: np.ndarray

    def moved(self, linear, offset) -> Hand:
        """Apply ``x -> linear @ x + offset``; a mirror changes handedness."""
        return Hand(
            self.keypoints @ linear.T + offset,
            self.keypoint_radii,
            self.cones.transformed(linear, offset),
            linear @ self.frames,
            self.origins @ linear.T + offset,
            self.extents,
        )


def bone_part(finger: int, bone: int) -> int:
    """Part label of a finger's bone, counted from the root."""
    return 1 + 3 * finger + bone


def articulate(
    shape: HandShape,
    pose: HandPose,
    sleeve_start: float = 0.07,
    grip_radius: float | None = None,
) -> Hand:
    """Pose a left hand in the palm's frame.

    Args:
        shape (HandShape): The bones.
        pose (HandPose): The joint angles.
        sleeve_start (float): Bare length of the forearm in metres.
        grip_radius (float | None): Radius of a rod-like object in the hand;
            None for an empty hand.
    """
    joints, finger_frames = _forward_kinematics(shape, pose)
    frames = np.tile(np.eye(3), (PARTS_PER_HAND, 1, 1))
    origins = np.zeros((PARTS_PER_HAND, 3))
    extents = np.tile((shape.roots[MIDDLE, 1], 0.012), (PARTS_PER_HAND, 1))
    for finger in range(NUM_FINGERS):
        for bone in range(3):
            part = bone_part(finger, bone)
            frames[part] = finger_frames[finger, bone]
            origins[part] = joints[finger, bone]
            extents[part] = (
                shape.bones[finger, bone],
                shape.radii[finger, bone : bone + 2].mean(),
            )
    # The palm is what the hand's frame follows; the arm leaves it behind.
    flexion, deviation = np.deg2rad(pose.wrist)
    arm = _about_z(deviation) @ _about_x(flexion)
    frames[FOREARM : SLEEVE + 1] = arm

    rows = _palm_rows(shape, joints)
    rows += _arm_rows(shape, arm, sleeve_start)
    rows += _finger_rows(shape, joints, finger_frames)
    if grip_radius is not None:
        rows.append(_grip_row(shape, joints, grip_radius))

    keypoints = np.concatenate([np.zeros((1, 3)), joints.reshape(-1, 3)])
    wrist_radius = 1.4 * shape.radii[INDEX, 0]
    keypoint_radii = np.concatenate([[wrist_radius], shape.radii.reshape(-1)])
    return Hand(
        keypoints,
        keypoint_radii,
        RoundCones.stack(rows),
        frames,
        origins,
        extents,
    )


def sample_hand(rng: np.random.Generator, grip: bool = False) -> Hand:
    """Draw a hand whose fingers do not run through each other.

    Args:
        rng (np.random.Generator): Source of randomness.
        grip (bool): Whether it holds an object.
    """
    shape = HandShape.sample(rng)
    sleeve_start = rng.uniform(0.03, 0.2)
    grip_radius = rng.uniform(0.008, 0.022) if grip else None
    for _ in range(50):
        pose = HandPose.sample(rng, grasp=grip)
        joints, _ = _forward_kinematics(shape, pose)
        if not _interpenetrates(shape, joints):
            break
    else:
        open_fingers = np.zeros((5, 4))
        pose = HandPose(open_fingers, np.zeros(2))
    return articulate(shape, pose, sleeve_start, grip_radius)


def _sample_curl(rng, gesture):
    """How far each finger is closed, (5,), 0 for straight and 1 for a fist."""
    shared = rng.normal(0, 1)
    own = rng.normal(0, 1, 5)
    # A running mean makes neighbours similar.
    correlated = np.convolve(own, (0.25, 0.5, 0.25), 'same')
    if gesture == 'open':
        curl = 0.05 + 0.05 * shared + 0.06 * correlated
    elif gesture == 'relaxed':
        curl = 0.32 + 0.10 * shared + 0.08 * correlated
        curl[1:] += np.linspace(-0.04, 0.06, 4)
    elif gesture == 'fist':
        curl = 0.86 + 0.08 * shared + 0.05 * correlated
        curl[THUMB] = rng.uniform(0.3, 1.0)
    elif gesture == 'pattern':
        folded = rng.random(5) < 0.5
        curl = np.where(folded, 0.78, 0.06) + 0.06 * correlated
    elif gesture == 'pinch':
        curl = 0.20 + 0.10 * np.abs(shared) + 0.07 * correlated
        curl[INDEX] = rng.uniform(0.38, 0.52)
        curl[THUMB] = rng.uniform(0.2, 0.6)
    else:
        curl = rng.uniform(0, 0.9, 5)
        curl[1:] = 0.6 * curl[1:] + 0.4 * curl[1:].mean()
    return np.clip(curl, 0, 1)


def _about_x(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_z(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _thumb_rest_frame():
    axis = _THUMB_AXIS / np.linalg.norm(_THUMB_AXIS)
    dorsal = _THUMB_DORSAL - axis * (axis @ _THUMB_DORSAL)
    dorsal /= np.linalg.norm(dorsal)
    return np.stack([np.cross(axis, dorsal), axis, dorsal], axis=1)


def _forward_kinematics(shape, pose):
    """Joints (5, 4, 3) and bone frames (5, 3, 3, 3) of all fingers."""
    joints = np.zeros((NUM_FINGERS, 4, 3))
    frames = np.zeros((NUM_FINGERS, 3, 3, 3))
    for finger in range(NUM_FINGERS):
        abduction, *flexions = np.deg2rad(pose.fingers[finger])
        abduction += np.deg2rad(_REST_FAN[finger])
        frame = _thumb_rest_frame() if finger == THUMB else np.eye(3)
        # Turning y towards x is a negative rotation about z, bending y
        # towards the palm (-z) a negative one about x.
        frame = frame @ _about_z(-abduction)
        joints[finger, 0] = shape.roots[finger]
        for bone, flexion in enumerate(flexions):
            frame = frame @ _about_x(-flexion)
            frames[finger, bone] = frame
            joints[finger, bone + 1] = (
                joints[finger, bone] + frame[:, 1] * shape.bones[finger, bone]
            )
    return joints, frames


def _interpenetrates(shape, joints, allowed: float = 0.72):
    """Whether two fingers come closer than their flesh can give way."""
    steps = np.linspace(0.15, 0.85, 4)[:, None]
    points, radii, owner = [], [], []
    for finger in range(NUM_FINGERS):
        for bone in range(3):
            low, high = joints[finger, bone], joints[finger, bone + 1]
            points.append(low + steps * (high - low))
            radii.append(np.full(4, shape.radii[finger, bone : bone + 2].mean()))
            # The web joins the first bones of neighbours, and the thumb's
            # first bone belongs to the palm.
            owner.append(np.full(4, finger))
    # The metacarpals, as one more finger that only the tips can run into.
    for finger in (INDEX, MIDDLE, RING, LITTLE):
        points.append(steps * shape.roots[finger])
        radii.append(np.full(4, shape.radii[finger, 0]))
        owner.append(np.full(4, NUM_FINGERS))
    points, radii = np.concatenate(points), np.concatenate(radii)
    owner = np.concatenate(owner)
    first_bone = np.zeros(len(owner), bool)
    for finger in range(NUM_FINGERS):
        first_bone[finger * 12 : finger * 12 + 4] = True
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    touching = distance < allowed * (radii[:, None] + radii[None])
    touching &= owner[:, None] != owner[None]
    touching &= ~(first_bone[:, None] & first_bone[None])
    touching &= ~(first_bone[:, None] & (owner == NUM_FINGERS)[None])
    touching &= ~((owner == NUM_FINGERS)[:, None] & first_bone[None])
    return bool(touching.any())


def _palm_rows(shape, joints):
    """The slab of the palm, its two eminences and the webs."""
    scale = shape.roots[MIDDLE, 1] / _ROOTS[MIDDLE, 1]
    flesh = shape.radii[MIDDLE, 0] / _RADII[MIDDLE, 0]

    def local(x, y, z):
        return scale * np.array((x, y, z))

    carpals = [local(x, 0.006, -0.002) for x in (0.015, 0.005, -0.006, -0.015)]
    rows = []
    soft = 0.007
    for carpal, finger in zip(carpals, range(INDEX, LITTLE + 1)):
        knuckle = joints[finger, 0]
        radius = shape.radii[finger, 0]
        rows.append((carpal, knuckle, 0.0135 * flesh, radius, PALM, soft))
        if finger < LITTLE:
            between = (knuckle + joints[finger + 1, 0]) / 2
            rows.append(
                (
                    (carpal + carpals[finger]) / 2,
                    between - local(0, 0.002, 0.001),
                    0.0135 * flesh,
                    0.98 * radius,
                    PALM,
                    soft,
                )
            )
    # The pad below the knuckles, which fills the palm's hollow side.
    rows.append(
        (
            joints[INDEX, 0] - local(0.004, 0.012, 0.003),
            joints[LITTLE, 0] - local(-0.004, 0.010, 0.002),
            0.0095 * flesh,
            0.0088 * flesh,
            PALM,
            soft,
        )
    )
    rows.append(
        (
            local(-0.015, 0.012, -0.006),
            local(-0.030, 0.062, -0.005),
            0.0135 * flesh,
            0.0105 * flesh,
            PALM,
            soft,
        )
    )
    thumb_base, thumb_knuckle = joints[THUMB, 0], joints[THUMB, 1]
    ball = thumb_base + 0.55 * (thumb_knuckle - thumb_base)
    rows.append(
        (
            local(0.008, 0.022, -0.010),
            ball + local(-0.004, 0, -0.002),
            0.0125 * flesh,
            0.0125 * flesh,
            PALM,
            soft,
        )
    )
    for along_index, along_thumb, radius in (
        (0.42, 0.45, 0.0095),
        (0.58, 0.68, 0.0075),
        (0.72, 0.84, 0.0058),
    ):
        rows.append(
            (
                along_index * joints[INDEX, 0] - local(0, 0, 0.002),
                thumb_base + along_thumb * (thumb_knuckle - thumb_base),
                1.25 * radius * flesh,
                radius * flesh,
                PALM,
                soft,
            )
        )
    for finger in (INDEX, MIDDLE, RING):
        webs = [
            joints[side, 0] + 0.22 * (joints[side, 1] - joints[side, 0])
            for side in (finger, finger + 1)
        ]
        radius = 0.72 * shape.radii[finger, 0]
        rows.append((webs[0], webs[1], radius, radius, PALM, 0.005))
    return rows


def _arm_rows(shape, arm, sleeve_start):
    flesh = shape.radii[MIDDLE, 0] / _RADII[MIDDLE, 0]
    rows = []
    for side in (-1, 1):
        wrist = np.array((side * 0.012, 0.004, 0)) * flesh
        near = arm @ (np.array((side * 0.012, -0.03, 0)) * flesh)
        far = arm @ np.array((side * 0.018 * flesh, -0.26, 0))
        rows.append((wrist, near, 0.0145 * flesh, 0.0165 * flesh, FOREARM, 0.008))
        rows.append((near, far, 0.0165 * flesh, 0.027 * flesh, FOREARM, 0.008))
    cuff = arm @ np.array((0, -sleeve_start, 0))
    end = arm @ np.array((0, -0.26, 0))
    cuff_radius = (0.031 + 0.07 * sleeve_start) * flesh
    rows.append((cuff, end, cuff_radius, 0.052 * flesh, SLEEVE, 0.001))
    return rows


def _finger_rows(shape, joints, frames):
    rows = []
    for finger in range(NUM_FINGERS):
        for bone in range(3):
            end = joints[finger, bone + 1]
            radius = shape.radii[finger, bone + 1]
            if bone == 2:
                # The keypoint of the tip lies just under the skin.
                end = end - 0.6 * radius * frames[finger, bone, :, 1]
            rows.append(
                (
                    joints[finger, bone],
                    end,
                    shape.radii[finger, bone],
                    radius,
                    bone_part(finger, bone),
                    0.004,
                )
            )
    return rows


def _grip_row(shape, joints, radius):
    """A rod across the palm, under the curled fingers."""
    palm_side = np.array((0, 0, -1.0))
    reach = shape.radii[MIDDLE, 0] + radius + 0.002
    offset = palm_side * reach - np.array((0, 0.012, 0))
    index, little = joints[INDEX, 0] + offset, joints[LITTLE, 0] + offset
    along = (index - little) / np.linalg.norm(index - little)
    return (
        little - 0.03 * along,
        index + 0.05 * along,
        radius,
        0.9 * radius,
        HELD_OBJECT,
        0.0005,
    )
