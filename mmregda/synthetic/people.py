"""People: how they are built, how they move, what they wear.

Their joints are those of SMPL, by the same names, where the mesh has its own;
the frame is that of ``makehuman``. Angles are degrees. An arm has where its
upper arm points (0 forward, 90 to the side), how far that is raised from
hanging, its turn inward about itself, the elbow's flexion, the forearm's
pronation; a leg the thigh's flexion forward, its spread, its turn outward, the
knee's flexion; trunk and head are bent forward, bent to the left, turned to
the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from . import makehuman
from .makehuman import bone_transforms, skin, turn
from .raster import vertex_normals
from .shading import rough
from .styles import Style

#: Of each joint: the landmarks whose mean it is, the bone that carries it, and
#: the radius of the flesh around it in metres. ``l`` and ``L`` are the side.
_LANDMARKS = dict(
    pelvis=('pelvis', 'root', 0.14),
    hip=('l-upper-leg', 'root', 0.11),
    spine1=('spine-3', 'spine04', 0.14),
    knee=('l-knee', 'upperleg02.L', 0.06),
    spine2=('spine-2', 'spine03', 0.14),
    ankle=('l-ankle', 'lowerleg02.L', 0.045),
    spine3=('spine-2 spine-1', 'spine02', 0.14),
    foot=('l-foot-1', 'foot.L', 0.035),
    neck=('neck', 'spine01', 0.08),
    collar=('l-clavicle l-scapula', 'clavicle.L', 0.08),
    head=('head', 'head', 0.09),
    shoulder=('l-shoulder', 'clavicle.L', 0.08),
    elbow=('l-elbow', 'upperarm02.L', 0.045),
    wrist=('l-hand', 'lowerarm02.L', 0.035),
    hand=('l-finger-3-1', 'wrist.L', 0.025),
)
#: SMPL's joints in its order, and the top of the head.
JOINTS = [
    name
    for part, (landmark, _, _) in _LANDMARKS.items()
    for name in ((f'left_{part}', f'right_{part}') if landmark[:2] == 'l-' else (part,))
] + ['top']
RADII = np.array([_LANDMARKS[name.split('_')[-1]][2] for name in JOINTS[:-1]] + [0.03])
POSES = ('stand', 'stride', 'crouch', 'free', 'tumble')
_ARM_LIMITS = np.array([(-50, 150), (2, 175), (-60, 80), (2, 145), (-70, 70)])
_LEG_LIMITS = np.array([(-30, 118), (-8, 55), (-30, 45), (0, 145)])
_TRUNK_LIMITS = np.array([(-30, 75), (-30, 30), (-40, 40)])
_HEAD_LIMITS = np.array([(-40, 40), (-25, 25), (-65, 65)])
# What an arm does that has nothing to do: hang, on the hip, before the belly,
# gesture, to the head. Means and deviations of its angles.
_IDLE = (
    ((65, 9, 10, 18, 5), (30, 5, 8, 12, 15)),
    ((65, 9, 10, 18, 5), (30, 5, 8, 12, 15)),
    ((115, 42, 62, 95, -20), (4, 4, 7, 4, 8)),
    ((20, 14, 40, 90, 10), (8, 7, 10, 10, 10)),
    ((40, 32, -5, 80, 0), (25, 14, 20, 25, 30)),
    ((40, 62, -20, 125, 0), (14, 12, 5, 8, 8)),
)
_ATTEMPTS = 30
_HAIR_COLOURS = (
    (0.06, 0.05, 0.05), (0.06, 0.05, 0.05), (0.18, 0.11, 0.07), (0.18, 0.11, 0.07),
    (0.34, 0.22, 0.12), (0.72, 0.56, 0.30), (0.55, 0.53, 0.50), (0.45, 0.20, 0.10),
)  # fmt: skip
_EYES, _HAIR = 1, 2


@dataclass(frozen=True)
class Person:
    """A dressed body in some frame.

    Attributes:
        vertices (np.ndarray): (V, 3).
        triangles (np.ndarray): (T, 3).
        joints (np.ndarray): As ``JOINTS``, (25, 3).
        surface (np.ndarray): What colour depends on, (V, 8): the place in an
            average body, metres down the arm, the share of the head, what of
            the mesh it is, the place in the texture.
        outfit (dict): What is worn.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    joints: np.ndarray
    surface: np.ndarray
    outfit: dict

    def moved(self, rotation, offset=(0, 0, 0)) -> Person:
        """Apply ``x -> rotation @ x + offset``."""
        vertices = self.vertices @ np.transpose(rotation) + offset
        joints = self.joints @ np.transpose(rotation) + offset
        return Person(vertices, self.triangles, joints, self.surface, self.outfit)


def sample_person(rng: np.random.Generator, style: Style) -> Person:
    """Draw somebody, dressed and posed, the pelvis at the origin."""
    body, average = makehuman.load(), _surface()
    female = rng.random() < 0.45
    rest = body.shaped(_sample_build(rng, 'female' if female else 'male'))
    rest *= np.clip(rng.normal(1.0 if female else 1.04, 0.04), 0.88, 1.14)
    heads = np.stack([rest[head].mean(axis=0) for head in body.heads])
    picked, carriers = _joints()
    joints = np.stack([rest[vertices].mean(axis=0) for vertices in picked])
    for _ in range(_ATTEMPTS):
        angles, lean = sample_pose(rng, style.poses)
        transforms = bone_transforms(heads, _rotations(angles, joints))
        moved = transforms[carriers]
        posed = np.einsum('jab,jb->ja', moved[..., :3], joints) + moved[..., 3]
        if not _interpenetrates(posed):
            break
    outfit = _sample_outfit(rng, style, female)
    triangles, kinds = _dressed(outfit)
    chosen, flat = np.unique(triangles, return_inverse=True)
    triangles = flat.reshape(-1, 3)
    surface = np.column_stack([average[chosen], kinds[chosen], body.texture[chosen]])
    # Cloth, shoes and hair stand off the body.
    parts = _parts(outfit, surface)
    thick = outfit['looseness'] * (parts['shirt'] | parts['trousers'])
    thick = (
        thick + 0.006 * parts['shoes'] + 0.014 * (parts['hair'] & (kinds[chosen] == 0))
    )
    rest = rest[chosen]
    rest = rest + thick[:, None] * vertex_normals(rest, triangles)
    vertices = skin(rest, body.weights[chosen], transforms)
    person = Person(vertices, triangles, posed, surface, outfit)
    lean = turn(0, lean[0]) @ turn(2, -lean[1])
    return person.moved(lean, -lean @ posed[0])


def sample_pose(rng: np.random.Generator, odds: dict[str, float]):
    """Draw angles of what people do.

    Args:
        rng (np.random.Generator): Source of randomness.
        odds (dict[str, float]): Of ``POSES``.

    Returns:
        tuple: A dict of ``arms`` (2, 5) and ``legs`` (2, 4), left and right,
        ``trunk`` (3,) and ``head`` (3,); and the lean of the whole body:
        pitch (90 is flat on the face) and roll to the left.
    """
    kind = rng.choice(list(odds), p=np.array(list(odds.values())) / sum(odds.values()))
    arms = np.stack([rng.normal(*_IDLE[rng.integers(len(_IDLE))]) for _ in range(2)])
    legs = rng.normal((2, 5, 8, 4), (5, 4, 5, 5), (2, 4))
    trunk, lean = rng.normal((3, 0, 0), (5, 4, 5)), rng.normal(0, (3, 2))
    if kind != 'stand':
        # An arm or both do something.
        busy = rng.random(2) < 0.75
        free = rng.uniform((-20, 20, -40, 0, -40), (110, 175, 30, 100, 40), (2, 5))
        arms[busy] = free[busy]
    if kind == 'stride':
        phase = rng.uniform(0, 2 * np.pi) + np.array((0, np.pi))
        reach, vigour = rng.uniform(14, 50), rng.uniform(0, 1)
        legs[:, 0] = reach * (np.cos(phase) + 0.25)
        # The knee bends while the leg swings forward, after it was behind.
        legs[:, 3] = 8 + 2.2 * reach * np.maximum(-np.sin(phase), 0) ** 1.2
        if vigour < 0.8:
            swing = -reach * np.cos(phase)
            arms[:, 0], arms[:, 1] = np.where(swing > 0, 30, 130), 5 + abs(swing)
            arms[:, 3] = 15 + 80 * vigour + 0.3 * swing
        trunk[2], lean[0] = 0.3 * legs[0, 0], lean[0] + rng.uniform(0, 0.35 * reach)
    elif kind == 'crouch':
        legs[:, 0] = rng.uniform(20, 112) + rng.normal(0, 6, 2)
        legs[:, 1] += rng.uniform(0, 25)
        legs[:, 3] = rng.uniform(0.1, 1.15) * legs[:, 0] + rng.normal(0, 6, 2)
        trunk[0] = rng.uniform(5, 65)
    elif kind in ('free', 'tumble'):
        legs = rng.uniform((-28, 0, -5, 0), (110, 45, 25, 60), (2, 4))
        legs[:, 3] += rng.uniform(0, 0.8, 2) * np.maximum(legs[:, 0], 0)
        trunk = rng.normal((10, 0, 0), (22, 10, 16))
        lean = rng.normal(0, (18, 12))
    if kind == 'tumble':
        # On the face, on a side, on the back, on the hands.
        lean = rng.uniform((-180, -90), (180, 90))
    head = rng.normal((4, 0, -0.5 * trunk[2]), (12, 6, 18))
    angles = dict(arms=arms, legs=legs, trunk=trunk, head=head)
    limits = (_ARM_LIMITS, _LEG_LIMITS, _TRUNK_LIMITS, _HEAD_LIMITS)
    for (part, values), bounds in zip(list(angles.items()), limits):
        angles[part] = np.clip(values, *bounds.T)
    # Backward an arm cannot be raised far.
    reach = np.interp(angles['arms'][:, 0], (100, 150), (175, 65))
    angles['arms'][:, 1] = np.minimum(angles['arms'][:, 1], reach)
    return angles, lean


def _sample_build(rng, gender):
    """Amounts of the mesh's shape targets."""
    old = np.clip(rng.normal(-0.3, 0.6), 0, 1)
    muscle, weight = (
        {'average': 1 - abs(value), 'max' if value > 0 else 'min': abs(value)}
        for value in np.clip(rng.normal((0.2, 0.0), 0.45), -1, 1)
    )
    peoples = dict(zip(('african', 'asian', 'caucasian'), rng.dirichlet((0.7,) * 3)))
    amounts = {}
    for age, part in (('young', 1 - old), ('old', old)):
        for people, share in peoples.items():
            amounts[f'macrodetails/{people}-{gender}-{age}'] = part * share
        for strong, first in muscle.items():
            for heavy, second in weight.items():
                name = f'universal-{gender}-{age}-{strong}muscle-{heavy}weight'
                amounts[f'macrodetails/{name}'] = part * first * second
    return amounts


def _rotations(angles, joints):
    """Rotations of the mesh's bones, from how they lie at rest."""
    rotations = {}
    for bones, shares, (bend, side, turned) in (
        ('spine04 spine03 spine02 spine01', (0.3, 0.25, 0.25, 0.2), angles['trunk']),
        ('neck01 neck02 neck03 head', (0.25, 0.25, 0.2, 0.3), angles['head']),
    ):
        for bone, share in zip(bones.split(), shares):
            twist = turn(1, share * turned) @ turn(2, -share * side)
            rotations[bone] = twist @ turn(0, share * bend)
    place = dict(zip(JOINTS, joints))
    for index, (side, letter, sign) in enumerate(
        (('left', 'L', 1), ('right', 'R', -1))
    ):
        mirror = np.diag((sign, 1, 1))
        own = {
            name.partition('_')[2]: mirror @ place[name]
            for name in JOINTS
            if side in name
        }
        limbs = _arm(angles['arms'][index], own)
        limbs.update(_leg(angles['legs'][index], own['knee'] - own['hip']))
        for bone, rotation in limbs.items():
            rotations[f'{bone}.{letter}'] = mirror @ rotation @ mirror
    return rotations


def _arm(angles, place):
    """A left arm."""
    direction, raised, turned, elbow, pronation = angles
    upper = place['elbow'] - place['shoulder']
    lower = place['wrist'] - place['elbow']
    hinge = np.cross(upper, lower)
    bent = np.degrees(np.arctan2(np.linalg.norm(hinge), upper @ lower))
    # A hanging arm points down, and its elbow bends it forward.
    own = np.stack([upper, hinge, np.cross(upper, hinge)], axis=1)
    own /= np.linalg.norm(own, axis=0)
    hang = np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1.0]]) @ own.T
    # Beyond 60 degrees the shoulder blade rises with the arm.
    shrug = turn(2, 0.25 * max(raised - 60, 0))
    # Twists are shared by the two bones of each half of the arm.
    twist, half = turn(1, -turned / 2), turn(lower, pronation / 2)
    return dict(
        clavicle=shrug,
        upperarm01=shrug.T @ _swing(direction, raised) @ twist @ hang,
        upperarm02=hang.T @ twist @ hang,
        lowerarm01=turn(hinge, elbow - bent),
        lowerarm02=half,
        wrist=half,
    )


def _leg(angles, thigh):
    """A left leg."""
    flexed, spread, turned, knee = angles
    axis = np.cross(thigh, (0, -1, 0)) / np.linalg.norm(thigh)
    hang = turn(axis, np.degrees(np.arcsin(np.linalg.norm(axis))))
    swing = _swing(np.degrees(np.arctan2(spread, flexed)), np.hypot(flexed, spread))
    # Unless the ankle cannot, the sole stays level.
    ankle = np.clip(flexed - knee, -25, 35)
    return dict(
        upperleg01=swing @ turn(1, turned) @ hang,
        lowerleg01=hang.T @ turn(0, knee) @ hang,
        foot=hang.T @ turn(0, ankle),
    )


def _swing(direction, raised):
    """Raise a hanging limb towards a direction without turning it."""
    towards = turn(1, direction)
    return towards @ turn(0, -raised) @ towards.T


def _interpenetrates(joints):
    """Whether an arm runs through the trunk, the head or a thigh."""

    def sampled(*bones):
        ends = [[joints[JOINTS.index(name)] for name in bone.split()] for bone in bones]
        start, end = np.moveaxis(np.array(ends), 1, 0)[:, :, None]
        return (start + np.linspace(0, 1, 6)[:, None] * (end - start)).reshape(-1, 3)

    for side in ('left', 'right'):
        arm = sampled(f'{side}_elbow {side}_wrist', f'{side}_wrist {side}_hand')
        trunk = sampled('pelvis spine2', 'spine2 neck', 'head top')
        thighs = sampled('left_hip left_knee', 'right_hip right_knee')
        for others, apart in ((trunk, 0.13), (thighs, 0.09)):
            if np.linalg.norm(arm[:, None] - others, axis=2).min() < apart:
                return True
    shins = sampled('left_knee left_ankle'), sampled('right_knee right_ankle')
    return np.linalg.norm(shins[0][:, None] - shins[1], axis=2).min() < 0.08


@lru_cache(maxsize=1)
def _joints():
    """Vertices whose mean is each joint, and the bones that carry them."""
    body, picked, carriers = makehuman.load(), [], []
    for name in JOINTS[:-1]:
        landmarks, bone, _ = _LANDMARKS[name.split('_')[-1]]
        if name.startswith('right'):
            landmarks, bone = landmarks.replace('l-', 'r-'), bone.replace('.L', '.R')
        landmarks = [body.landmark(landmark) for landmark in landmarks.split()]
        picked.append(np.concatenate(landmarks))
        carriers.append(body.bones.index(bone))
    scalp = np.unique(body.triangles('body'))
    picked.append(scalp[[np.argmax(body.vertices[scalp, 1])]])
    return picked, [*carriers, body.bones.index('head')]


@lru_cache(maxsize=1)
def _surface():
    """Of each vertex of an average body, (V, 5): its place, metres down the
    arm, the share of the head."""
    body = makehuman.load()
    average = body.shaped({'macrodetails/caucasian-male-young': 1})
    arm, head = (
        body.weights[:, [bone.startswith(names) for bone in body.bones]].sum(axis=1)
        for names in (
            ('upperarm', 'lowerarm', 'wrist', 'metacarpal', 'finger'),
            ('head', 'neck'),
        )
    )
    shoulder, elbow, wrist = (
        average[body.landmark(name)].mean(axis=0)
        for name in ('l-shoulder', 'l-elbow', 'l-hand')
    )
    place = np.column_stack([abs(average[:, 0]), average[:, 1:]])
    upper, lower = elbow - shoulder, wrist - elbow
    length = np.linalg.norm(upper)
    along = (place - shoulder) @ upper / length
    beyond = length + (place - elbow) @ lower / np.linalg.norm(lower)
    along = np.where(along > length, np.maximum(beyond, length), along)
    return np.column_stack([average, np.where(arm > 0.3, along, -0.1), head])


def _dressed(outfit):
    """Triangles to draw, and what of the mesh each vertex is."""
    body, average = makehuman.load(), _surface()[:, :3]
    kinds, drawn = np.zeros(len(average)), [body.triangles('body')]
    eyes = [body.triangles(f'helper-{side}-eye') for side in 'lr']
    parts = [(_EYES, triangles) for triangles in eyes]
    if outfit['long_hair']:
        hair = body.triangles('helper-hair')
        eye, middle = average[eyes[0]].mean(axis=(0, 1)), average[hair].mean(axis=1)
        # The helper covers the face, which is left free.
        face = (middle[:, 2] > 0.3 * eye[2]) & (middle[:, 1] < eye[1] + 0.045)
        parts.append((_HAIR, hair[~face]))
    for kind, triangles in parts:
        kinds[triangles] = kind
        drawn.append(triangles)
    return np.concatenate(drawn), kinds


def _sample_outfit(rng, style, female):
    """Clothes as heights and lengths on an average body at rest, metres."""
    colours = rng.uniform(0, 1, (6, 3)) * (1 - style.drab)
    colours += style.drab * rng.uniform(0.03, 0.9, (6, 1))
    return dict(
        neckline=rng.uniform(0.545, 0.605),
        waist=rng.uniform(0.05, 0.17),
        sleeve=(-0.03, rng.uniform(0.08, 0.2), 0.47)[rng.choice(3, p=(0.2, 0.5, 0.3))],
        trousers=(rng.uniform(-0.4, -0.1), -0.72)[rng.integers(2)],
        socks=-0.70 if rng.random() < 0.8 else -0.45,
        looseness=rng.uniform(0.002, 0.018),
        long_hair=rng.random() < (0.55 if female else 0.05),
        bald=not female and rng.random() < 0.12,
        colours=dict(
            shirt=colours[0],
            trousers=colours[0 if rng.random() < 0.12 else 1],
            socks=colours[2],
            shoes=colours[3],
            hair=np.array(_HAIR_COLOURS[rng.integers(len(_HAIR_COLOURS))]),
            eyes=np.full(3, 0.08),
        ),
        # Kind, period and second colour.
        patterns={
            part: (int(rng.integers(4)), rng.uniform(0.03, 0.09), colours[4 + index])
            for index, part in enumerate(('shirt', 'trousers'))
            if rng.random() < style.patterns / (1 + index)
        },
    )


def _parts(outfit, surface):
    """What covers places of the surface (M, 8): a mask (M,) for each part."""
    x, y, z, along, head, kind = surface.T[:6]
    body, arm = kind < 0.5, along > -0.05
    collar = y < outfit['neckline'] - 0.35 * np.maximum(z - 0.02, 0)
    trunk = body & ~arm & (head < 0.7) & (collar | (abs(x) > 0.09))
    trousers = trunk & (y <= outfit['waist']) & (y > outfit['trousers'])
    shoes = body & ~arm & (y < -0.745)
    # The hairline rises from the neck behind the ears to the forehead.
    line = np.minimum(0.715 + 0.9 * np.maximum(z + 0.01, 0), 0.855)
    scalp = body & (head > 0.7) & (y > line) & (not outfit['bald'])
    return dict(
        shirt=(trunk & (y > outfit['waist']))
        | (body & arm & (along < outfit['sleeve'])),
        trousers=trousers,
        socks=body & ~arm & (y < outfit['socks']) & ~shoes & ~trousers,
        shoes=shoes,
        hair=scalp | (abs(kind - _HAIR) < 0.5),
        eyes=abs(kind - _EYES) < 0.5,
    )


def paint(rng: np.random.Generator, style: Style, skin, outfit: dict, surface):
    """Colours of skin, hair and clothes.

    Args:
        rng (np.random.Generator): Source of randomness.
        style (Style): How uneven they are.
        skin (np.ndarray): (3,).
        outfit (dict): What is worn.
        surface (np.ndarray): As ``Person.surface``, at M samples.

    Returns:
        tuple: Colours (M, 3), and how far normals are tilted there (M, 3).
    """
    x, y, z, along = surface.T[:4]
    texture = surface[:, 6:]
    blush = 0.05 * style.detail * rough(rng, texture, 12)[:, None]
    colour = np.float32(skin) * (1 + blush * np.float32((1.4, 0.8, 0.8)))
    parts = _parts(outfit, surface)
    for part, dye in outfit['colours'].items():
        dye = np.float32(dye)
        if part in outfit['patterns']:
            kind, period, second = outfit['patterns'][part]
            rows = np.floor(np.where(along > 0, along, y) / period) % 2
            columns = np.floor(np.where(along > 0, z, x) / period) % 2
            spots = rough(rng, texture, 20) > 0.3
            odd = (rows, columns, rows != columns, spots)[kind]
            dye = np.where(odd[:, None] > 0, np.float32(second), dye)
        grain = (0.25 if part == 'hair' else 0.06) * (0.3 + style.detail)
        dye = dye * (1 + grain * rough(rng, texture, 40)[:, None])
        colour = np.where(parts[part][:, None], dye, colour)
    # Folds of cloth tilt what the light sees.
    folds = (0.12 + 0.3 * style.detail) * (parts['shirt'] | parts['trousers'])
    tilt = np.stack([rough(rng, texture, cells) for cells in (9, 16, 9)], axis=1)
    return np.clip(colour, 0.01, 1), folds[:, None].astype(np.float32) * tilt
