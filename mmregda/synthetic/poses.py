"""What people do: joint angles of everyday life and of sports.

Angles are in degrees. An arm has where its upper arm points (0 forward, 90 to
the side, 180 back), how far that is raised from hanging, its turn inward about
itself, the elbow's flexion, the forearm's pronation. A leg has the thigh's
flexion forward, its spread, its turn outward, the knee's flexion. The trunk
and the head have bent forward, bent to the left, turned to the left; the lean
of the whole body has pitch (90 is flat on the face) and roll to the left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ARM_LIMITS = np.array([(-50, 150), (0, 175), (-60, 80), (2, 145), (-70, 70)], float)
_LEG_LIMITS = np.array([(-30, 120), (-8, 55), (-30, 45), (0, 145)], float)
_TRUNK_LIMITS = np.array([(-35, 80), (-30, 30), (-40, 40)], float)
_HEAD_LIMITS = np.array([(-40, 40), (-25, 25), (-65, 65)], float)
# How far an arm can be raised depends on where to.
_DIRECTIONS, _REACH = (-60, 0, 60, 100, 150, 180), (110, 175, 175, 175, 65, 60)


@dataclass(frozen=True)
class Pose:
    """Joint angles of a body, within limits.

    Attributes:
        arms (np.ndarray): Left and right, (2, 5).
        legs (np.ndarray): Left and right, (2, 4).
        trunk (np.ndarray): (3,).
        head (np.ndarray): (3,).
        lean (np.ndarray): (2,).
    """

    arms: np.ndarray
    legs: np.ndarray
    trunk: np.ndarray
    head: np.ndarray
    lean: np.ndarray


# A range for each angle of an arm; what an idle arm does, and how often.
_IDLE = (
    (0.50, ((20, 110), (2, 18), (0, 20), (5, 40), (-10, 20))),
    (0.14, ((115, 115), (35, 48), (52, 75), (90, 100), (-20, -20))),
    (0.12, ((20, 20), (5, 25), (25, 55), (75, 105), (0, 20))),
    (0.12, ((0, 80), (10, 55), (-40, 30), (40, 125), (-60, 60))),
    (0.12, ((20, 60), (45, 80), (-20, -20), (115, 140), (0, 0))),
)


def _arm(direction, raised, turned=(-10, 10), elbow=(5, 60)):
    return (direction, raised, turned, elbow, (-30, 30))


def _leg(flexed, spread, knee, follow=0.0, turned=(0, 15)):
    """``follow`` is how much of the flexion the knee's flexion adds."""
    return (flexed, spread, turned, knee), follow


_LOOSE = _arm((0, 110), (10, 100), (-10, 10), (5, 90))
_STANDING = _leg((-6, 8), (0, 12), (0, 10))
# Arms, legs, trunk, head, lean: ranges. None is an idle arm.
_ACTIVITIES = dict(
    stand=((None, None), (_STANDING, _STANDING), ((-2, 8), (-4, 4), (-5, 5)),
           ((-10, 20), (-4, 4), (-30, 30)), ((-3, 3), (-2, 2))),
    reach=((_arm((-15, 110), (60, 170), (-30, 30)), None), (_STANDING, _STANDING),
           ((-10, 35), (-14, 14), (-16, 16)), ((-10, 20), (0, 0), (-25, 25)),
           ((-3, 3), (-2, 2))),
    sit=((None, _arm((15, 15), (15, 45), (0, 40), (25, 85))),
         (_leg((72, 100), (2, 22), (50, 110)),) * 2, ((-8, 30), (-5, 5), (-8, 8)),
         ((-5, 15), (-5, 5), (-25, 25)), ((-15, 8), (-3, 3))),
    bend=((_arm((-10, 40), (40, 100)),) * 2, (_leg((10, 65), (3, 14), (5, 70)),) * 2,
          ((25, 75), (-6, 6), (-16, 16)), ((-30, -5), (0, 0), (-15, 15)),
          ((0, 20), (-3, 3))),
    squat=((_arm((0, 60), (10, 170), (-5, 5), (5, 90)),) * 2,
           (_leg((50, 115), (8, 35), (-8, 8), 1.08, (10, 30)),) * 2,
           ((10, 50), (-5, 5), (-6, 6)), ((-22, -2), (0, 0), (-15, 15)),
           ((3, 13), (-3, 3))),
    lunge=((_arm((-10, 90), (30, 120)), _arm((60, 140), (15, 100), elbow=(5, 100))),
           (_leg((40, 100), (5, 30), (-12, 12), 1.0),
            _leg((-28, -8), (8, 35), (3, 45), turned=(10, 30))),
           ((-5, 40), (-14, 14), (-24, 24)), ((-16, 0), (0, 0), (-15, 15)),
           ((-5, 20), (-11, 11))),
    kick=((_arm((60, 140), (20, 80)), _arm((30, 100), (25, 100))),
          (_leg((20, 110), (0, 40), (0, 60)), _leg((-14, 14), (2, 8), (3, 35))),
          ((-20, 25), (-14, 14), (-20, 20)), ((4, 20), (0, 0), (-15, 15)),
          ((-25, 10), (-14, 14))),
    throw=((_arm((0, 80), (40, 160)),
            _arm((60, 108), (80, 170), (-60, 10), (10, 125))),
           (_leg((5, 65), (3, 25), (5, 60)), _leg((-28, 0), (5, 25), (3, 50))),
           ((-30, 35), (-20, 25), (-40, 35)), ((-16, 0), (0, 0), (-15, 15)),
           ((-9, 19), (-11, 11))),
    swing=((_arm((-40, 10), (25, 105), (5, 15)),) * 2,
           (_leg((0, 40), (8, 28), (8, 50)),) * 2, ((0, 40), (-14, 14), (-40, 40)),
           ((-5, 15), (0, 0), (-30, 30)), ((0, 10), (-8, 8))),
    jump=((_arm((0, 110), (40, 175), elbow=(0, 90)),) * 2,
          (_leg((-28, 90), (0, 45), (0, 110)),) * 2, ((-30, 40), (-16, 16), (-24, 24)),
          ((-15, 5), (0, 0), (-15, 15)), ((-25, 25), (-20, 20))),
    fall=((_arm((0, 110), (40, 175), elbow=(0, 80)),) * 2,
          (_leg((-20, 90), (0, 40), (0, 100)),) * 2, ((-15, 40), (-8, 8), (-15, 15)),
          ((-28, -10), (0, 0), (-20, 20)), ((35, 95), (-20, 20))),
    invert=((_arm((20, 90), (140, 175), elbow=(0, 25)),) * 2,
            (_leg((-25, 70), (0, 50), (0, 60)),) * 2, ((-35, 30), (-6, 6), (-8, 8)),
            ((-30, -15), (0, 0), (-10, 10)), ((100, 250), (-20, 20))),
)  # fmt: skip
#: Reach of the thighs, lift of the knee, elbow, swing of the arms, pitch.
_STRIDES = dict(
    walk=((14, 28), (35, 60), (10, 35), (8, 32), (-2, 5)),
    run=((28, 52), (70, 115), (60, 100), (25, 55), (4, 18)),
)
ACTIVITIES = (*_ACTIVITIES, *_STRIDES)


def sample_pose(rng: np.random.Generator, odds) -> Pose:
    """Draw a pose; whether it runs through itself is for the body to say.

    Args:
        rng (np.random.Generator): Source of randomness.
        odds (tuple[tuple[str, float], ...]): Activities and their shares.
    """
    names, shares = zip(*odds)
    name = str(rng.choice(names, p=np.array(shares) / np.sum(shares)))
    if name in _STRIDES:
        arms, legs, trunk, head, lean = _stride(rng, *_STRIDES[name])
    else:
        arms, legs, trunk, head, lean = _ACTIVITIES[name]
        arms = [_draw(rng, arm or _idle(rng)) for arm in arms]
        legs = [_draw_leg(rng, *leg) for leg in legs]
        trunk, head, lean = (_draw(rng, part) for part in (trunk, head, lean))
        if name == 'fall':
            # On the face, on a side or on the back.
            lean = (lean, lean[::-1] * rng.choice((-1, 1)), -0.8 * lean)[
                rng.integers(3)
            ]
    arms = np.array(arms) + rng.normal(0, (7, 6, 8, 7, 10), (2, 5))
    legs = np.array(legs) + rng.normal(0, (3, 2, 5, 4), (2, 4))
    trunk = trunk + rng.normal(0, (5, 4, 5))
    head = head + rng.normal(0, (8, 5, 12))
    if rng.random() < 0.5:
        arms, legs = arms[::-1], legs[::-1]
        trunk, head, lean = trunk * (1, -1, -1), head * (1, -1, -1), lean * (1, -1)
    arms = np.clip(arms, *_ARM_LIMITS.T)
    arms[:, 1] = np.minimum(arms[:, 1], np.interp(arms[:, 0], _DIRECTIONS, _REACH))
    return Pose(
        arms,
        np.clip(legs, *_LEG_LIMITS.T),
        np.clip(trunk, *_TRUNK_LIMITS.T),
        np.clip(head, *_HEAD_LIMITS.T),
        lean + rng.normal(0, (3, 2)),
    )


def _draw(rng, ranges):
    return rng.uniform(*np.array(ranges, float).T)


def _draw_leg(rng, ranges, follow):
    leg = _draw(rng, ranges)
    leg[3] += follow * leg[0]
    return leg


def _idle(rng):
    shares = [share for share, _ in _IDLE]
    return _IDLE[rng.choice(len(_IDLE), p=shares)][1]


def _stride(rng, *ranges):
    """A moment of walking or running; the left leg is in front at phase 0."""
    reach, lift, elbow, swing, pitch = _draw(rng, ranges)
    phase = rng.uniform(0, 2 * np.pi)
    arms, legs = [], []
    for place in (phase, phase + np.pi):
        # The knee bends while the leg swings forward, after it was behind.
        bent = lift * max(np.sin(place - np.pi), 0) ** 1.2 + 8
        legs.append((reach * (np.cos(place) + 0.25), 3, 4, bent))
        arm = -swing * np.cos(place)
        direction = 30 if arm > 0 else 130
        arms.append((direction, abs(arm) + 5, 15, elbow + 0.35 * max(arm, 0), 0))
    turned = 0.3 * reach * np.cos(phase)
    return (
        arms,
        legs,
        np.array((4, 0, turned)),
        np.array((0, 0, -turned)),
        np.array((pitch, 0)),
    )
