"""A prior over what people do: poses of everyday life and of sports.

Every activity draws the joint angles of one moment and how the whole body
leans; left and right are exchanged at random afterwards. The two domains mix
the activities differently (see ``body_styles``), as motion capture and sports
photographs do.
"""

from __future__ import annotations

import numpy as np

from .body_model import (
    BodyPose,
    BodyShape,
    forward_kinematics,
    interpenetrates,
)

_ATTEMPTS = 40


def sample_pose(rng: np.random.Generator, shape: BodyShape, odds):
    """Draw a pose that does not run through itself.

    Args:
        rng (np.random.Generator): Source of randomness.
        shape (BodyShape): Whose limbs must not meet.
        odds (tuple[tuple[str, float], ...]): Activities and their shares.

    Returns:
        tuple: The pose; and the lean of the whole body in degrees, (2,):
        pitch (90 is flat on the face, 180 upside down) and roll to the left.
    """
    names, shares = zip(*odds)
    name = rng.choice(names, p=np.array(shares) / np.sum(shares))
    mirror = rng.random() < 0.5
    for _ in range(_ATTEMPTS):
        arms, legs, trunk, head, lean = ACTIVITIES[name](rng)
        arms = np.asarray(arms) + rng.normal(0, (7, 6, 9, 8, 14, 9), (2, 6))
        legs = np.asarray(legs) + rng.normal(0, (0, 0, 5, 4, 4), (2, 5))
        trunk = np.asarray(trunk) + rng.normal(0, (5, 4, 5))
        head = np.asarray(head) + rng.normal(0, (9, 5, 14))
        pose = BodyPose.within_limits(arms, legs, trunk, head)
        joints, _ = forward_kinematics(shape, pose)
        if not interpenetrates(shape, joints):
            break
    lean = np.asarray(lean) + rng.normal(0, (3, 2))
    if mirror:
        return pose.mirrored(), lean * (1, -1)
    return pose, lean


def _arm(direction, raised, turn=0, elbow=15, pronation=0, wrist=0):
    return (direction, raised, turn, elbow, pronation, wrist)


def _leg(flexed, spread=4, turn=6, knee=4, ankle=None):
    """A thigh flexed forward (or back, if negative) and spread sideways.

    Unless given, the ankle keeps the sole level where it can.
    """
    if ankle is None:
        ankle = np.clip(flexed - knee, -30, 30)
    return (
        np.degrees(np.arctan2(spread, flexed)),
        np.hypot(flexed, spread),
        turn,
        knee,
        ankle,
    )


def _hanging_arm(rng):
    return _arm(rng.uniform(20, 110), abs(rng.normal(6, 6)) + 4, 10, rng.gamma(2, 9))


def _idle_arm(rng):
    """What an arm does that has nothing to do."""
    kind = rng.choice(5, p=(0.5, 0.14, 0.12, 0.12, 0.12))
    if kind == 0:
        return _hanging_arm(rng)
    if kind == 1:  # A hand on the hip.
        return _arm(115, rng.uniform(35, 48), rng.uniform(52, 75), 95, -20, 10)
    if kind == 2:  # Before the belly.
        return _arm(20, rng.uniform(5, 25), rng.uniform(25, 55), rng.uniform(75, 105))
    if kind == 3:  # Gesturing.
        return _arm(
            rng.uniform(0, 80),
            rng.uniform(10, 55),
            rng.uniform(-40, 30),
            rng.uniform(40, 125),
            rng.uniform(-60, 60),
        )
    # To the head, a telephone or a hat.
    return _arm(rng.uniform(20, 60), rng.uniform(45, 80), -20, rng.uniform(115, 140))


def _stand(rng):
    shift = rng.normal(0, 4)
    legs = [
        _leg(rng.normal(2, 5), rng.uniform(1, 13) + shift, 8, abs(rng.normal(4, 5))),
        _leg(rng.normal(2, 5), rng.uniform(1, 13) - shift, 8, abs(rng.normal(4, 6))),
    ]
    arms = [_idle_arm(rng), _idle_arm(rng)]
    return arms, legs, (3, 0, 0), (rng.normal(5, 12), 0, rng.normal(0, 22)), (0, 0)


def _stride(rng, reach, knee_lift, elbow, swing, lean):
    """A moment of walking or running; the left leg is in front at phase 0."""
    phase = rng.uniform(0, 2 * np.pi)
    legs, arms = [], []
    for offset in (0, np.pi):
        place = phase + offset
        flexed = reach * np.cos(place) + 0.25 * reach
        # The knee bends while the leg swings forward, after it was behind.
        bent = knee_lift * max(np.sin(place - np.pi), 0) ** 1.2 + 8
        legs.append(_leg(flexed, 3, 4, bent))
        arm = -swing * np.cos(place)
        arms.append(
            _arm(30 if arm > 0 else 130, abs(arm) + 5, 15, elbow + 0.35 * max(arm, 0))
        )
    turn = 0.3 * reach * np.cos(phase)
    return arms, legs, (4, 0, turn), (0, 0, -turn), (lean, 0)


def _walk(rng):
    return _stride(
        rng,
        rng.uniform(14, 28),
        rng.uniform(35, 60),
        rng.uniform(10, 35),
        rng.uniform(8, 32),
        2,
    )


def _run(rng):
    return _stride(
        rng,
        rng.uniform(28, 52),
        rng.uniform(70, 115),
        rng.uniform(60, 100),
        rng.uniform(25, 55),
        rng.uniform(4, 18),
    )


def _sit(rng):
    legs = []
    for _ in range(2):
        flexed = rng.uniform(72, 100)
        legs.append(_leg(flexed, rng.uniform(2, 22), 5, rng.uniform(50, 110), 0))
    arms = [
        _arm(15, rng.uniform(15, 45), rng.uniform(0, 40), rng.uniform(25, 85))
        if rng.random() < 0.7
        else _idle_arm(rng)
        for _ in range(2)
    ]
    return arms, legs, (rng.uniform(-8, 30), 0, 0), (5, 0, 0), (rng.uniform(-15, 8), 0)


def _reach(rng):
    _, legs, _, head, lean = _stand(rng)
    arms = [
        _arm(
            rng.uniform(-15, 110),
            rng.uniform(60, 170),
            rng.uniform(-30, 30),
            rng.gamma(1.5, 18),
        ),
        _idle_arm(rng)
        if rng.random() < 0.5
        else _arm(rng.uniform(-15, 110), rng.uniform(50, 170), 0, rng.gamma(1.5, 20)),
    ]
    return (
        arms,
        legs,
        (rng.uniform(-10, 35), rng.normal(0, 10), rng.normal(0, 12)),
        head,
        lean,
    )


def _bend(rng):
    """Picking something up, tying a shoe, a rider's crouch."""
    bend = rng.uniform(25, 75)
    legs = [
        _leg(bend * rng.uniform(0.3, 1.1), rng.uniform(3, 14), 8, rng.uniform(5, 70))
        for _ in range(2)
    ]
    arms = [
        _arm(rng.uniform(-10, 40), rng.uniform(40, 100), 0, rng.uniform(5, 60))
        for _ in range(2)
    ]
    return arms, legs, (bend, 0, rng.normal(0, 12)), (-20, 0, 0), (10, 0)


def _squat(rng):
    depth = rng.uniform(50, 118)
    spread = rng.uniform(8, 35)
    legs = [_leg(depth, spread, 20, 1.08 * depth + rng.normal(0, 8)) for _ in range(2)]
    if rng.random() < 0.5:
        raised = rng.uniform(30, 170)
        arms = [_arm(rng.uniform(0, 60), raised, 0, rng.uniform(5, 90))] * 2
    else:
        arms = [_idle_arm(rng), _idle_arm(rng)]
    return arms, legs, (rng.uniform(10, 50), 0, 0), (-12, 0, 0), (8, 0)


def _lunge(rng):
    """Fencing, forehands, a keeper's step."""
    front = rng.uniform(40, 100)
    legs = [
        _leg(front, rng.uniform(5, 30), 10, front + rng.normal(0, 12)),
        _leg(-rng.uniform(8, 28), rng.uniform(8, 35), 20, rng.uniform(3, 45), 15),
    ]
    arms = [
        _arm(rng.uniform(-10, 90), rng.uniform(30, 120), 0, rng.uniform(5, 90)),
        _arm(rng.uniform(60, 140), rng.uniform(15, 100), 0, rng.uniform(5, 100)),
    ]
    trunk = (rng.uniform(-5, 40), rng.normal(0, 10), rng.normal(0, 18))
    return arms, legs, trunk, (-8, 0, 0), (rng.uniform(-5, 20), rng.normal(0, 8))


def _kick(rng):
    legs = [
        _leg(rng.uniform(20, 110), rng.uniform(0, 40), 10, rng.uniform(0, 60), 30),
        _leg(rng.normal(0, 12), 5, 8, rng.uniform(3, 35)),
    ]
    arms = [
        _arm(rng.uniform(60, 140), rng.uniform(20, 80), 0, rng.uniform(10, 80)),
        _arm(rng.uniform(30, 100), rng.uniform(25, 100), 0, rng.uniform(5, 70)),
    ]
    trunk = (rng.uniform(-20, 25), rng.normal(0, 10), rng.normal(0, 15))
    return arms, legs, trunk, (12, 0, 0), (rng.uniform(-25, 10), rng.normal(0, 10))


def _throw(rng):
    """Pitching, serving, bowling, heaving a javelin."""
    legs = [
        _leg(rng.uniform(5, 65), rng.uniform(3, 25), 8, rng.uniform(5, 60)),
        _leg(-rng.uniform(0, 28), rng.uniform(5, 25), 15, rng.uniform(3, 50), 15),
    ]
    arms = [
        _arm(rng.uniform(0, 80), rng.uniform(40, 160), 0, rng.uniform(5, 60)),
        _arm(
            rng.uniform(60, 108),
            rng.uniform(80, 170),
            rng.uniform(-60, 10),
            rng.uniform(10, 125),
        ),
    ]
    trunk = (rng.uniform(-30, 35), rng.uniform(-20, 25), rng.uniform(-40, 35))
    return (
        arms,
        legs,
        trunk,
        (-8, 0, -trunk[2] / 2),
        (rng.normal(5, 10), rng.normal(0, 8)),
    )


def _swing(rng):
    """Golf, baseball, hockey, tennis: both hands near each other."""
    raised = rng.uniform(25, 105)
    turn = rng.uniform(-45, 45)
    across = np.clip(turn, -35, 35)
    arms = [
        _arm(-25 + 0.7 * across, raised, 10, rng.uniform(10, 60)),
        _arm(-25 - 0.7 * across, raised, 10, rng.uniform(10, 80)),
    ]
    legs = [
        _leg(rng.uniform(0, 40), rng.uniform(8, 28), 12, rng.uniform(8, 50))
        for _ in range(2)
    ]
    trunk = (rng.uniform(0, 40), rng.normal(0, 10), turn)
    return (
        arms,
        legs,
        trunk,
        (5, 0, -0.8 * turn),
        (rng.uniform(0, 10), rng.normal(0, 6)),
    )


def _jump(rng):
    legs = [
        _leg(rng.uniform(-28, 90), rng.uniform(0, 45), 10, rng.uniform(0, 110), 30)
        for _ in range(2)
    ]
    arms = [
        _arm(rng.uniform(0, 110), rng.uniform(40, 175), 0, rng.uniform(0, 90))
        for _ in range(2)
    ]
    trunk = (rng.uniform(-30, 40), rng.normal(0, 12), rng.normal(0, 18))
    return arms, legs, trunk, (-5, 0, 0), (rng.normal(0, 18), rng.normal(0, 15))


def _invert(rng):
    """Handstands, cartwheels, flips."""
    legs = [
        _leg(rng.uniform(-25, 70), rng.uniform(0, 50), 10, rng.uniform(0, 60), 35)
        for _ in range(2)
    ]
    arms = [
        _arm(rng.uniform(20, 90), rng.uniform(140, 178), 0, rng.uniform(0, 25))
        for _ in range(2)
    ]
    if rng.random() < 0.5:
        lean = (rng.uniform(100, 250), rng.normal(0, 15))
    else:
        lean = (rng.normal(0, 20), rng.uniform(60, 180) * rng.choice((-1, 1)))
    return arms, legs, (rng.uniform(-35, 30), 0, 0), (-25, 0, 0), lean


def _fall(rng):
    """Diving for a ball, sliding, floor exercises."""
    legs = [
        _leg(rng.uniform(-20, 90), rng.uniform(0, 40), 8, rng.uniform(0, 100), 20)
        for _ in range(2)
    ]
    arms = [
        _arm(rng.uniform(0, 110), rng.uniform(40, 178), 0, rng.uniform(0, 80))
        for _ in range(2)
    ]
    lean = [
        (rng.uniform(35, 95), rng.normal(0, 12)),
        (rng.normal(0, 15), rng.uniform(35, 95) * rng.choice((-1, 1))),
        (rng.uniform(-80, -25), rng.normal(0, 12)),
    ][rng.integers(3)]
    return arms, legs, (rng.uniform(-15, 40), 0, 0), (-20, 0, 0), lean


ACTIVITIES = dict(
    stand=_stand,
    walk=_walk,
    run=_run,
    sit=_sit,
    reach=_reach,
    bend=_bend,
    squat=_squat,
    lunge=_lunge,
    kick=_kick,
    throw=_throw,
    swing=_swing,
    jump=_jump,
    invert=_invert,
    fall=_fall,
)
"""dict: Name to function of a generator. It returns (arms, legs, trunk, head,
lean) with angles as in ``BodyPose``, before noise and limits.
"""
