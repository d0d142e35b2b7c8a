"""People: their build, their joints, their clothes.

A body is posed by ``poses``. Its joints are those of SMPL, by the same names,
where the mesh has its own; its frame is that of ``makehuman``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from . import makehuman
from .makehuman import skin, turn
from .poses import sample_pose
from .raster import vertex_normals
from .styles import Style

#: Of each joint: the landmarks whose mean it is, and the bone it moves with.
#: ``l`` and ``L`` stand for the side.
_MIDDLE = dict(
    pelvis=(('pelvis',), 'root'),
    spine1=(('spine-3',), 'spine04'),
    spine2=(('spine-2',), 'spine03'),
    spine3=(('spine-2', 'spine-1'), 'spine02'),
    neck=(('neck',), 'spine01'),
    head=(('head',), 'head'),
)
_SIDED = dict(
    hip=(('l-upper-leg',), 'root'),
    knee=(('l-knee',), 'upperleg02.L'),
    ankle=(('l-ankle',), 'lowerleg02.L'),
    foot=(('l-foot-1',), 'foot.L'),
    collar=(('l-clavicle', 'l-scapula'), 'clavicle.L'),
    shoulder=(('l-shoulder',), 'clavicle.L'),
    elbow=(('l-elbow',), 'upperarm02.L'),
    wrist=(('l-hand',), 'lowerarm02.L'),
    hand=(('l-finger-3-1',), 'wrist.L'),
)
JOINTS = (
    'pelvis', 'left_hip', 'right_hip', 'spine1', 'left_knee', 'right_knee', 'spine2',
    'left_ankle', 'right_ankle', 'spine3', 'left_foot', 'right_foot', 'neck',
    'left_collar', 'right_collar', 'head', 'left_shoulder', 'right_shoulder',
    'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hand',
    'right_hand', 'top',
)  # fmt: skip
_INDEX = {name: index for index, name in enumerate(JOINTS)}
#: Radii of the flesh around the joints, metres.
_RADII = dict(
    pelvis=0.12, hip=0.09, spine1=0.11, knee=0.06, spine2=0.11, ankle=0.045,
    spine3=0.11, foot=0.035, neck=0.06, collar=0.06, head=0.09, shoulder=0.06,
    elbow=0.045, wrist=0.035, hand=0.025, top=0.03,
)  # fmt: skip
RADII = np.array([_RADII[name.split('_')[-1]] for name in JOINTS])
_ATTEMPTS = 30
_MIRROR = np.diag((-1.0, 1.0, 1.0))
# Groups of the mesh, as the surface knows them.
BODY, EYES, HAIR, SKIRT = range(4)

# Limbs as capsules, to see whether a body runs through itself.
_CAPSULES = [
    (f'{side}_{start}', f'{side}_{end}', radius)
    for start, end, radius in (
        ('elbow', 'wrist', 0.036), ('wrist', 'hand', 0.034), ('hip', 'knee', 0.062),
        ('knee', 'ankle', 0.045), ('elbow', 'elbow', 0.045),
    )
    for side in ('left', 'right')
] + [
    ('pelvis', 'spine2', 0.115), ('spine2', 'spine3', 0.125), ('spine3', 'neck', 0.085),
    ('head', 'top', 0.085),
]  # fmt: skip


@dataclass(frozen=True)
class Person:
    """A dressed body in some frame.

    Attributes:
        vertices (np.ndarray): (V, 3).
        triangles (np.ndarray): (T, 3).
        joints (np.ndarray): As ``JOINTS``, (25, 3).
        surface (np.ndarray): Of each vertex, (V, 6): the place at rest in an
            average body, metres down the arm (negative elsewhere), the share
            of the head, the group.
        texture (np.ndarray): Place of each vertex in the texture, (V, 2).
        outfit (Outfit): What is worn.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    joints: np.ndarray
    surface: np.ndarray
    texture: np.ndarray
    outfit: Outfit

    def moved(self, rotation, offset=(0, 0, 0)) -> Person:
        """Apply ``x -> rotation @ x + offset``."""
        return Person(
            self.vertices @ np.transpose(rotation) + offset,
            self.triangles,
            self.joints @ np.transpose(rotation) + offset,
            self.surface,
            self.texture,
            self.outfit,
        )


@dataclass(frozen=True)
class Outfit:
    """Clothes, as bounds on an average body at rest; heights are metres.

    Attributes:
        neckline (float): Height of the shirt's upper edge.
        waist (float): Height where shirt and trousers meet.
        sleeve (float): Metres of the arm that are covered.
        trousers (float): Height of the trousers' lower edge.
        skirt (float | None): Height of a skirt's lower edge.
        socks (float): Height of the socks' upper edge.
        looseness (float): How far cloth stands off, metres.
        long_hair (bool): Whether hair falls on the shoulders.
        bald (bool): Whether there is none.
        colours (dict): Of shirt, trousers, socks, shoes and hair, (3,).
        patterns (dict): Of shirt and trousers: kind, period, second colour.
    """

    neckline: float
    waist: float
    sleeve: float
    trousers: float
    skirt: float | None
    socks: float
    looseness: float
    long_hair: bool
    bald: bool
    colours: dict = field(default_factory=dict)
    patterns: dict = field(default_factory=dict)


def sample_person(rng: np.random.Generator, style: Style) -> Person:
    """Draw somebody in the frame of ``makehuman``, the pelvis at the origin."""
    female = rng.random() < 0.45
    rest = makehuman.load().shaped(_sample_build(rng, female))
    rest *= np.clip(rng.normal(1.0 if female else 1.04, 0.04), 0.88, 1.14)
    common = _common()
    heads = np.stack([rest[head].mean(axis=0) for head in common.rig.heads])
    landmarks = np.stack([rest[picked].mean(axis=0) for picked in common.landmarks])
    for _ in range(_ATTEMPTS):
        pose = sample_pose(rng, style.activities)
        rotations = _rotations(pose, rest, landmarks, rng.uniform(0, 45))
        _, transforms = skin(
            rest[:1], heads, rotations, common.rig, common.rig.weights[:1]
        )
        moved = transforms[common.carriers]
        joints = np.einsum('jab,jb->ja', moved[..., :3], landmarks) + moved[..., 3]
        if not _interpenetrates(joints):
            break
    outfit = _sample_outfit(rng, style, female)
    triangles, groups = common.dressed(outfit)
    chosen, flat = np.unique(triangles, return_inverse=True)
    triangles = flat.reshape(-1, 3)
    rest, surface = rest[chosen], common.surface[chosen].copy()
    surface[:, 5] = groups[chosen]
    normals = vertex_normals(rest, triangles)
    rest = rest + _thickness(outfit, surface)[:, None] * normals
    weights = common.rig.weights[chosen]
    vertices, _ = skin(rest, heads, rotations, common.rig, weights)
    texture = makehuman.load().texture[chosen]
    person = Person(vertices, triangles, joints, surface, texture, outfit)
    pitch, roll = pose.lean
    lean = turn(0, pitch) @ turn(2, -roll)
    return person.moved(lean, -lean @ joints[0])


class _Common:
    """What all bodies share."""

    def __init__(self):
        body = makehuman.load()
        self.rig = body.rig
        picks, carriers = [], []
        average = body.shaped({'macrodetails/caucasian-male-young': 1})
        for name in JOINTS[:-1]:
            side, _, part = name.rpartition('_')
            landmarks, bone = _SIDED[part] if side else _MIDDLE[part]
            if side == 'right':
                landmarks = [landmark.replace('l-', 'r-', 1) for landmark in landmarks]
                bone = bone.replace('.L', '.R')
            picks.append(
                np.concatenate([body.landmark_vertices(name) for name in landmarks])
            )
            carriers.append(self.rig.bones.index(bone))
        skull = np.unique(body.triangles['body'])
        self.landmarks = [*picks, skull[[np.argmax(average[skull, 1])]]]
        self.carriers = np.array([*carriers, self.rig.bones.index('head')])
        self._average, self._triangles = average, body.triangles
        self.surface = self._surface(average, picks)

    def _surface(self, average, picks):
        shares = {
            part: self.rig.weights[
                :, [bone.startswith(names) for bone in self.rig.bones]
            ].sum(axis=1)
            for part, names in dict(
                arm=('upperarm', 'lowerarm', 'wrist', 'metacarpal', 'finger'),
                head=('head', 'neck'),
            ).items()
        }
        shoulder, elbow, wrist = (
            average[picks[_INDEX[f'left_{name}']]].mean(axis=0)
            for name in ('shoulder', 'elbow', 'wrist')
        )
        place = np.column_stack([np.abs(average[:, 0]), average[:, 1:]])
        upper = np.linalg.norm(elbow - shoulder)
        first = (place - shoulder) @ (elbow - shoulder) / upper
        lower = np.linalg.norm(wrist - elbow)
        second = upper + (place - elbow) @ (wrist - elbow) / lower
        along = np.where(first > upper, np.maximum(second, upper), first)
        along = np.where(shares['arm'] > 0.3, along, -0.1)
        zeros = np.zeros(len(average))
        return np.column_stack([average, along, shares['head'], zeros])

    def dressed(self, outfit):
        """Triangles to draw, and the group of each vertex."""
        groups = np.zeros(len(self._average))
        drawn = [self._triangles['body']]
        for name in ('helper-l-eye', 'helper-r-eye'):
            drawn.append(self._triangles[name])
            groups[self._triangles[name]] = EYES
        if outfit.long_hair:
            hair = self._triangles['helper-hair']
            groups[hair] = HAIR
            middle = self._average[hair].mean(axis=1)
            # The helper covers the face, which is left free.
            eye = self._average[self._triangles['helper-l-eye']].mean(axis=(0, 1))
            face = (middle[:, 2] > 0.3 * eye[2]) & (middle[:, 1] < eye[1] + 0.045)
            drawn.append(hair[~face])
        if outfit.skirt is not None:
            skirt = self._triangles['helper-skirt']
            groups[skirt] = SKIRT
            drawn.append(skirt[self._average[skirt].mean(axis=1)[:, 1] > outfit.skirt])
        return np.concatenate(drawn), groups


@lru_cache(maxsize=1)
def _common():
    return _Common()


def _sample_build(rng, female):
    """Amounts of the mesh's shape targets."""
    gender = 'female' if female else 'male'
    old = max(rng.normal(-0.3, 0.6), 0)
    old = min(old, 1)
    muscle, weight = np.clip(rng.normal((0.2, 0.0), (0.45, 0.45)), -1, 1)
    levels = [
        {'average': 1 - abs(value), 'max' if value > 0 else 'min': abs(value)}
        for value in (muscle, weight)
    ]
    peoples = rng.dirichlet((0.7, 0.7, 0.7))
    amounts = {}
    for age, part in (('young', 1 - old), ('old', old)):
        for people, share in zip(('african', 'asian', 'caucasian'), peoples):
            amounts[f'macrodetails/{people}-{gender}-{age}'] = part * share
        for strength, first in levels[0].items():
            for heaviness, second in levels[1].items():
                name = f'universal-{gender}-{age}-{strength}muscle-{heaviness}weight'
                amounts[f'macrodetails/{name}'] = part * first * second
    return amounts


def _rotations(pose, rest, landmarks, curl):
    """Rotations of the rig's bones, for angles on an upright straight body."""
    joints = dict(zip(JOINTS, landmarks))
    rotations = {}
    for bones, shares, (bend, side, turned) in (
        (
            ('spine04', 'spine03', 'spine02', 'spine01'),
            (0.3, 0.25, 0.25, 0.2),
            pose.trunk,
        ),
        (('neck01', 'neck02', 'neck03', 'head'), (0.25, 0.25, 0.2, 0.3), pose.head),
    ):
        for bone, share in zip(bones, shares):
            rotations[bone] = (
                turn(1, share * turned) @ turn(2, -share * side) @ turn(0, share * bend)
            )
    body = makehuman.load()
    for side, (name, mirror) in enumerate((('L', np.eye(3)), ('R', _MIRROR))):
        word = 'left' if name == 'L' else 'right'
        shoulder, elbow, wrist, hand, hip, knee = (
            mirror @ joints[f'{word}_{part}']
            for part in ('shoulder', 'elbow', 'wrist', 'hand', 'hip', 'knee')
        )
        across = [
            rest[body.landmark_vertices(f'{name.lower()}-finger-{finger}-1')].mean(
                axis=0
            )
            for finger in (2, 5)
        ]
        across = mirror @ (across[0] - across[1])
        own = _arm_rotations(pose.arms[side], elbow - shoulder, wrist - elbow)
        own.update(_finger_rotations(across, hand - wrist, curl))
        own.update(_leg_rotations(pose.legs[side], knee - hip))
        for bone, rotation in own.items():
            rotations[f'{bone}.{name}'] = mirror @ rotation @ mirror
    return rotations


def _arm_rotations(angles, upper, lower):
    """A left arm, from how its bones lie at rest."""
    direction, raised, turned, elbow, pronation = angles
    upper, lower = upper / np.linalg.norm(upper), lower / np.linalg.norm(lower)
    hinge = np.cross(upper, lower)
    bent = np.degrees(np.arctan2(np.linalg.norm(hinge), upper @ lower))
    hinge /= np.linalg.norm(hinge)
    # A hanging arm points down, and its elbow bends it forward.
    own = np.stack([upper, hinge, np.cross(upper, hinge)], axis=1)
    down, left = np.array((0.0, -1, 0)), np.array((-1.0, 0, 0))
    hang = np.stack([down, left, np.cross(down, left)], axis=1) @ own.T
    # Beyond 60 degrees the shoulder blade rises with the arm.
    shrug = turn(2, 0.25 * max(raised - 60, 0))
    # The forearm's bones turn half of the way each.
    half = _about(lower, pronation / 2)
    return {
        'clavicle': shrug,
        'upperarm01': shrug.T @ _swing(direction, raised) @ turn(1, -turned / 2) @ hang,
        'upperarm02': hang.T @ turn(1, -turned / 2) @ hang,
        'lowerarm01': _about(hinge, elbow - bent),
        'lowerarm02': half,
        'wrist': half,
    }


def _finger_rotations(across, axis, curl):
    """A left hand's fingers, curled about what is across it."""
    axis = axis / np.linalg.norm(axis)
    across = across - axis * (across @ axis)
    across /= np.linalg.norm(across)
    return {
        f'finger{finger}-{bone}': _about(across, -share * curl)
        for finger in range(2, 6)
        for bone, share in ((1, 0.7), (2, 1.0), (3, 0.6))
    }


def _leg_rotations(angles, thigh):
    """A left leg, from how its thigh lies at rest."""
    flexed, spread, turned, knee = angles
    thigh = thigh / np.linalg.norm(thigh)
    axis = np.cross(thigh, (0, -1, 0))
    hang = _about(axis, np.degrees(np.arcsin(np.linalg.norm(axis))))
    # Unless the ankle cannot, the sole stays level.
    ankle = np.clip(flexed - knee, -25, 35)
    swing = _swing(np.degrees(np.arctan2(spread, flexed)), np.hypot(flexed, spread))
    return {
        'upperleg01': swing @ turn(1, turned) @ hang,
        'lowerleg01': hang.T @ turn(0, knee) @ hang,
        'foot': hang.T @ turn(0, ankle),
    }


def _swing(direction, raised):
    """Raise a hanging limb towards a direction without turning it."""
    towards = turn(1, direction)
    return towards @ turn(0, -raised) @ towards.T


def _about(axis, degrees):
    """Rotation about any axis (Rodrigues)."""
    x, y, z = axis / max(np.linalg.norm(axis), 1e-12)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _interpenetrates(joints):
    """Whether limbs run through the trunk, the head or one another."""
    steps = np.linspace(0.12, 0.94, 6)[:, None]
    points, radii, owners = [], [], []
    for index, (start, end, radius) in enumerate(_CAPSULES):
        start, end = joints[_INDEX[start]], joints[_INDEX[end]]
        points.append(start + steps * (end - start))
        radii += [radius] * len(steps)
        owners += [index] * len(steps)
    points, radii, owners = np.concatenate(points), np.array(radii), np.array(owners)
    gap = np.linalg.norm(points[:, None] - points, axis=2)
    near = gap < 0.9 * (radii[:, None] + radii)
    return bool((near & _APART[owners[:, None], owners]).any())


def _apart():
    """Which pairs of capsules must not touch."""
    apart = ~np.eye(len(_CAPSULES), dtype=bool)
    for first, (start, end, _) in enumerate(_CAPSULES):
        for second, (other, last, _) in enumerate(_CAPSULES):
            # Neighbours, both thighs, thighs and trunk, and hands in hands.
            kinds = {start.split('_')[-1], other.split('_')[-1]}
            if {start, end} & {other, last} or kinds in (
                {'hip'},
                {'wrist'},
                {'hip', 'pelvis'},
                {'pelvis', 'spine3'},
                {'spine3', 'head'},
            ):
                apart[first, second] = False
    return apart


_APART = _apart()


def _sample_outfit(rng, style, female):
    def colour():
        strong = rng.uniform(0, 1, 3)
        return strong * (1 - style.drab) + style.drab * rng.uniform(0.03, 0.9)

    hair = np.array(
        ((0.06, 0.05, 0.05), (0.18, 0.11, 0.07), (0.34, 0.22, 0.12), (0.72, 0.56, 0.30),
         (0.55, 0.53, 0.50), (0.45, 0.20, 0.10))[rng.choice(6, p=(0.3, 0.3, 0.16, 0.1, 0.08, 0.06))]
    )  # fmt: skip
    shirt = colour()
    trousers = shirt if rng.random() < 0.12 else colour()
    skirt = rng.uniform(-0.45, -0.05) if female and rng.random() < 0.2 else None
    return Outfit(
        neckline=rng.uniform(0.545, 0.605),
        waist=rng.uniform(0.05, 0.17),
        sleeve=rng.choice((-0.03, rng.uniform(0.08, 0.2), 0.47), p=(0.2, 0.5, 0.3)),
        trousers=0.0 if skirt else rng.choice((rng.uniform(-0.4, -0.1), -0.72)),
        skirt=skirt,
        socks=rng.choice((-0.70, -0.45), p=(0.8, 0.2)),
        looseness=rng.uniform(0.002, 0.018),
        long_hair=rng.random() < (0.55 if female else 0.05),
        bald=not female and rng.random() < 0.12,
        colours=dict(
            shirt=shirt, trousers=trousers, socks=colour(), shoes=colour(), hair=hair
        ),
        patterns={
            part: (int(rng.integers(4)), rng.uniform(0.03, 0.09), colour())
            for part in ('shirt', 'trousers')
            if rng.random() < style.patterns * (1 if part == 'shirt' else 0.4)
        },
    )


def _thickness(outfit, surface):
    """How far cloth, shoes and hair stand off the body, (V,) metres."""
    parts = parts_of(outfit, surface)
    thickness = outfit.looseness * (parts['shirt'] | parts['trousers'])
    thickness = thickness + 0.006 * parts['shoes']
    return thickness + np.where(parts['hair'] & (surface[:, 5] == BODY), 0.014, 0)


def parts_of(outfit: Outfit, surface: np.ndarray) -> dict[str, np.ndarray]:
    """What covers places of the surface (M, 6): a mask (M,) for each part."""
    x, y, z, along, head, group = surface.T
    body = group < 0.5
    arm = along > -0.05
    collar = y < outfit.neckline - 0.35 * np.maximum(z - 0.02, 0)
    trunk = body & ~arm & (head < 0.7) & (collar | (np.abs(x) > 0.09))
    shirt = (trunk & (y > outfit.waist)) | (body & arm & (along < outfit.sleeve))
    trousers = trunk & (y <= outfit.waist) & (y > outfit.trousers)
    shoes = body & ~arm & (y < -0.745)
    socks = body & ~arm & (y < outfit.socks) & ~shoes & ~trousers
    # The hairline rises from the neck behind the ears to the forehead.
    line = 0.715 + 0.9 * np.maximum(z + 0.01, 0)
    scalp = body & (head > 0.7) & (y > np.minimum(line, 0.855)) & (not outfit.bald)
    return dict(
        shirt=shirt,
        trousers=trousers | (np.abs(group - SKIRT) < 0.5),
        socks=socks,
        shoes=shoes,
        hair=scalp | (np.abs(group - HAIR) < 0.5),
        eyes=np.abs(group - EYES) < 0.5,
    )
