"""The synthetic body pair: layouts, anatomy, visibility, determinism, writing."""

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from mmregda import synthetic
from mmregda.synthetic import body_model, body_pair, output_folder
from mmregda.synthetic.body_flesh import Covering, articulate
from mmregda.synthetic.body_model import (
    ARM_LIMITS,
    HEAD_LIMITS,
    JOINT_NAMES,
    LEG_LIMITS,
    TRUNK_LIMITS,
    BodyPose,
    BodyShape,
    forward_kinematics,
)
from mmregda.synthetic.body_poses import ACTIVITIES, sample_pose
from mmregda.synthetic.body_scenes import (
    TOP_RADIUS,
    VISIBILITY_TOLERANCE,
    picture,
    sample_source_scene,
    sample_target_scene,
)
from mmregda.synthetic.body_styles import CLEAN_BODIES, PHOTO_BODIES
from mmregda.synthetic.image_files import generator
from mmregda.synthetic.renderer import render

NUM_TRAIN, NUM_TEST, NUM_TARGET = 12, 10, 12
NUM_VAL = 2

# Written out from the descriptions of SMPL and LSP.
SMPL = [
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
]
LSP = [
    'right_ankle',
    'right_knee',
    'right_hip',
    'left_hip',
    'left_knee',
    'left_ankle',
    'right_wrist',
    'right_elbow',
    'right_shoulder',
    'left_shoulder',
    'left_elbow',
    'left_wrist',
    'neck',
    'top',
]
BODY16 = [
    'right_ankle',
    'right_knee',
    'right_hip',
    'left_hip',
    'left_knee',
    'left_ankle',
    'pelvis',
    'thorax',
    'neck',
    'head',
    'right_wrist',
    'right_elbow',
    'right_shoulder',
    'left_shoulder',
    'left_elbow',
    'left_wrist',
]


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    return synthetic.write_body_pair(
        tmp_path_factory.mktemp('pair'),
        NUM_TRAIN,
        NUM_TEST,
        NUM_TARGET,
        num_workers=1,
        progress=False,
    )


@pytest.fixture(scope='module')
def scenes():
    """Source and target scenes in turn."""
    generators = [np.random.default_rng(seed) for seed in range(60)]
    return [
        sample_source_scene(rng, CLEAN_BODIES)
        if index % 2
        else sample_target_scene(rng, PHOTO_BODIES)
        for index, rng in enumerate(generators)
    ]


def read_surreal(folder, split):
    """Image path and entry of every sample."""
    return [
        (folder / split / f'run{run}' / entry['name'], entry)
        for run in range(3)
        for entry in json.loads((folder / split / f'run{run}.json').read_text())
    ]


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def pinhole(point, camera):
    """Pixel of one point, spelt out."""
    x, y, z = (float(value) for value in point)
    u = camera[0][0] * x / z + camera[0][1] * y / z + camera[0][2]
    v = camera[1][1] * y / z + camera[1][2]
    return u, v


def leftness(joints):
    """How far the joints called left lie on the person's left, in metres.

    Feet point forward and the neck is above the pelvis; up x forward is left
    in any right-handed frame, such as a camera's (x right, y down, z ahead).
    """
    forward = sum(
        joints[f'{side}_foot'] - joints[f'{side}_ankle'] for side in ('left', 'right')
    )
    up = joints['neck'] - joints['pelvis']
    left = np.cross(up, forward)
    across = joints['left_hip'] - joints['right_hip']
    return across @ left / np.linalg.norm(left)


# Layouts


def test_surreal_layout_reads_back(pair):
    surreal, _ = pair
    names = []
    for split, count in (('train', NUM_TRAIN), ('val', NUM_VAL), ('test', NUM_TEST)):
        samples = read_surreal(surreal, split)
        assert len(samples) == count
        assert len(list((surreal / split).glob('run*/*.jpg'))) == count
        for path, entry in samples:
            assert set(entry) == {
                'name',
                'keypoint2d',
                'keypoint3d',
                'intrinsic_matrix',
            }
            assert np.shape(entry['keypoint2d']) == (24, 2)
            assert np.shape(entry['keypoint3d']) == (24, 3)
            assert np.shape(entry['intrinsic_matrix']) == (3, 3)
            assert cv2.imread(str(path)).shape == (256, 256, 3)
            names.append(path.read_bytes())
    assert len(set(names)) == len(names)


def test_lsp_layout_reads_back(pair):
    _, lsp = pair
    joints = loadmat(lsp / 'joints.mat')['joints']
    assert joints.shape == (3, 14, NUM_TARGET) and joints.dtype == np.float64
    assert set(np.unique(joints[2])) == {0, 1}
    images = sorted((lsp / 'images').iterdir())
    assert [path.name for path in images] == [
        f'im{number:04d}.jpg' for number in range(1, NUM_TARGET + 1)
    ]
    sizes = set()
    for index, path in enumerate(images):
        height, width = cv2.imread(str(path)).shape[:2]
        sizes.add((width, height))
        pixels = joints[:2, :, index]
        assert pixels.min() > 0
        assert np.all(pixels.max(axis=1) < np.array((width, height)) - 1)
        middle = (pixels.min(axis=1) + pixels.max(axis=1)) / 2
        assert np.all(np.abs(middle / (width, height) - 0.5) < 0.2)
        assert 90 < np.ptp(pixels, axis=1).max() < 180
    assert len(sizes) > NUM_TARGET / 2


def test_readers_find_every_keypoint_in_its_place(pair):
    datasets = pytest.importorskip('mmregda.datasets')
    surreal, lsp = pair

    source = datasets.SURREALDataset(data_root=str(surreal.parent), split='all')
    assert len(source) == NUM_TRAIN + NUM_VAL + NUM_TEST
    entries = {
        str(path): entry
        for split in ('train', 'val', 'test')
        for path, entry in read_surreal(surreal, split)
    }
    for sample in map(source.get_data_info, range(len(source))):
        entry = entries[str(Path(sample['img_path']))]
        joints = dict(zip(SMPL, np.array(entry['keypoint3d'])))
        camera = entry['intrinsic_matrix']
        for name, keypoint in zip(BODY16, sample['keypoints'][0]):
            # Anatomy: SURREAL mirrors SMPL, its shoulders are the collars.
            name = dict(thorax='spine3').get(name, name)
            name = name.replace('shoulder', 'collar')
            if name.startswith(('left', 'right')):
                side, rest = name.split('_')
                name = dict(left='right', right='left')[side] + '_' + rest
            assert keypoint == pytest.approx(pinhole(joints[name], camera), abs=1e-2)

    target = datasets.LSPDataset(data_root=str(lsp.parent), split='all')
    assert len(target) == NUM_TARGET
    joints = loadmat(lsp / 'joints.mat')['joints']
    for index, sample in enumerate(map(target.get_data_info, range(NUM_TARGET))):
        named = dict(zip(LSP, joints[..., index].T))
        named['head'] = named['top']
        for name, keypoint, visible in zip(
            BODY16, sample['keypoints'][0], sample['keypoints_visible'][0]
        ):
            if name in ('pelvis', 'thorax'):
                assert visible == 0
                continue
            assert keypoint == pytest.approx(named[name][:2], abs=1e-3)
            assert visible == 1 - named[name][2]


def test_splits_are_those_of_the_reader(pair):
    datasets = pytest.importorskip('mmregda.datasets')
    root = str(pair[0])
    counts = {
        split: len(datasets.SURREALDataset(data_root=root, split=split))
        for split in ('train', 'val', 'test')
    }
    assert counts == dict(
        train=NUM_TRAIN - int(0.2 * NUM_TRAIN), val=NUM_VAL, test=int(0.2 * NUM_TEST)
    )


# Geometry


def test_surreal_pixels_are_projections_inside_the_image(pair):
    surreal, _ = pair
    for split in ('train', 'val', 'test'):
        for _, entry in read_surreal(surreal, split):
            for pixel, point in zip(entry['keypoint2d'], entry['keypoint3d']):
                expected = pinhole(point, entry['intrinsic_matrix'])
                assert pixel == pytest.approx(expected, abs=1e-6)
                assert min(pixel) >= 0 and max(pixel) <= 255
            assert np.ptp(entry['keypoint2d'], axis=0).max() > 0.5 * 256


def test_lsp_pixels_are_projections_of_the_named_joints():
    rng = np.random.default_rng(5)
    scene = sample_target_scene(rng, PHOTO_BODIES)
    named = dict(zip(JOINT_NAMES, scene.body.joints), top=scene.body.top)
    chosen = scene.landmarks[body_pair.LSP_COLUMNS]
    assert np.array_equal(chosen, [named[name] for name in LSP])
    assert list(JOINT_NAMES) == SMPL


def test_left_is_the_persons_left(pair, scenes):
    sides = [leftness(dict(zip(SMPL, scene.body.joints))) for scene in scenes]
    assert np.mean(np.array(sides) > 0) > 0.95
    # In SURREAL's files the sides are those of SMPL's mirrored body.
    mirrored = [
        leftness(dict(zip(SMPL, np.array(entry['keypoint3d']))))
        for _, entry in read_surreal(pair[0], 'train')
    ]
    assert np.mean(np.array(mirrored) < 0) > 0.9


def test_sides_of_the_picture_are_sides_of_the_labels(scenes):
    """Colour comes from parts: what is seen at a left wrist is a left arm."""
    same = other = 0
    for scene in scenes[:20]:
        part = render(scene.body.cones, scene.intrinsics, scene.size).part
        visible = scene.visibility()[:24]
        for name, point, seen in zip(SMPL, scene.body.joints, visible):
            side, _, rest = name.partition('_')
            if not seen or rest not in ('ankle', 'knee', 'wrist', 'elbow'):
                continue
            column, row = np.round(pinhole(point, scene.intrinsics)).astype(int)
            label = part[row, column]
            if 0 <= label < 24 and SMPL[label].startswith(('left', 'right')):
                same += SMPL[label].startswith(side)
                other += not SMPL[label].startswith(side)
    # A limb may cross another one within the tolerance of visibility.
    assert same > 80 and other < 0.1 * same


# Anatomy

LIMBS = [
    ('hip', 'knee', 0.30, 0.55),
    ('knee', 'ankle', 0.30, 0.52),
    ('shoulder', 'elbow', 0.20, 0.36),
    ('elbow', 'wrist', 0.18, 0.33),
]


def test_limbs_are_of_human_length_and_equal_on_both_sides(scenes):
    for scene in scenes:
        joints = dict(zip(SMPL, scene.body.joints))
        for start, end, shortest, longest in LIMBS:
            left, right = (
                np.linalg.norm(joints[f'{side}_{end}'] - joints[f'{side}_{start}'])
                for side in ('left', 'right')
            )
            assert left == pytest.approx(right, rel=1e-9)
            assert shortest < left < longest
    heights = [BodyShape.sample(np.random.default_rng(i)).top[1] for i in range(200)]
    assert 1.4 < min(heights) < 1.65 and 1.8 < max(heights) < 2.05


@pytest.mark.parametrize('activity', sorted(ACTIVITIES))
def test_poses_keep_to_what_joints_can_do(activity):
    rng = np.random.default_rng(6)
    for _ in range(40):
        shape = BodyShape.sample(rng)
        pose, _ = sample_pose(rng, shape, ((activity, 1.0),))
        for values, limits in (
            (pose.arms, ARM_LIMITS),
            (pose.legs, LEG_LIMITS),
            (pose.trunk, TRUNK_LIMITS),
            (pose.head, HEAD_LIMITS),
        ):
            assert np.all(values >= limits[:, 0]) and np.all(values <= limits[:, 1])
        joints, frames = forward_kinematics(shape, pose)
        named, frame = dict(zip(SMPL, joints)), dict(zip(SMPL, frames))
        for side in ('left', 'right'):
            for start, hinge, end in (
                ('shoulder', 'elbow', 'wrist'),
                ('hip', 'knee', 'ankle'),
            ):
                first = named[f'{side}_{hinge}'] - named[f'{side}_{start}']
                second = named[f'{side}_{end}'] - named[f'{side}_{hinge}']
                # The rest pose is forward along z; knees bend backward.
                ahead = (frame[f'{side}_{start}'].T @ second)[2]
                bent = np.arccos(
                    first @ second / np.linalg.norm(first) / np.linalg.norm(second)
                )
                # Joints that are not quite in line at rest add some degrees.
                assert np.degrees(bent) < 155
                if hinge == 'knee':
                    assert ahead < 0.02 + 1e-6
                else:
                    assert ahead > -0.02


def test_a_hanging_arm_is_raised_forward_and_sideways():
    shape = BodyShape.sample(np.random.default_rng(0))

    def wrist(*arm):
        arms = np.zeros((2, 6))
        arms[0, : len(arm)] = arm
        pose = BodyPose.within_limits(arms, np.zeros((2, 5)), np.zeros(3), np.zeros(3))
        joints = dict(zip(SMPL, forward_kinematics(shape, pose)[0]))
        return joints['left_wrist'] - joints['left_shoulder']

    down, ahead, aside = wrist(0, 0), wrist(0, 90), wrist(90, 90)
    length = np.linalg.norm(down)
    assert down[1] < -0.97 * length
    assert ahead[2] > 0.95 * length
    assert aside[0] > 0.95 * length
    # Bent and turned inward, the forearm lies before the belly.
    folded = wrist(0, 0, 80, 90)
    assert folded[0] < -0.15 and folded[1] > -0.9 * length


def test_mirrored_pose_is_the_mirror_image():
    rng = np.random.default_rng(7)
    shape = BodyShape.sample(rng)
    pose, _ = sample_pose(rng, shape, (('throw', 1.0),))
    covering = Covering(sleeve=0.4, leg=0.4, looseness=0.01, hem=0.1, hair='tail')
    body = articulate(shape, pose, covering)
    other = articulate(shape, pose.mirrored(), covering)
    flipped = other.joints[list(body_model.MIRRORED)] * (-1, 1, 1)
    assert flipped == pytest.approx(body.joints, abs=1e-9)


def test_sampled_bodies_rarely_run_through_themselves():
    rng = np.random.default_rng(8)
    through = []
    for _ in range(60):
        shape = BodyShape.sample(rng)
        pose, _ = sample_pose(rng, shape, PHOTO_BODIES.activities)
        joints, _ = forward_kinematics(shape, pose)
        through.append(body_model.interpenetrates(shape, joints))
    assert np.mean(through) < 0.05
    # And the test of that does see a forearm in the belly.
    arms = np.array([(0, 0, 80, 140, 0, 0)] * 2, float)
    arms[:, 1] = -20
    pose = BodyPose(arms, np.zeros((2, 5)), np.zeros(3), np.zeros(3))
    joints, _ = forward_kinematics(shape, pose)
    assert body_model.interpenetrates(shape, joints)


def test_domains_differ_in_pose():
    def lean(sample, style, seed):
        joints = sample(np.random.default_rng(seed), style).body.joints
        trunk = joints[SMPL.index('neck')] - joints[SMPL.index('pelvis')]
        return np.degrees(np.arctan2(abs(trunk[0]), -trunk[1]))

    source = [lean(sample_source_scene, CLEAN_BODIES, seed) for seed in range(80)]
    target = [lean(sample_target_scene, PHOTO_BODIES, seed) for seed in range(80)]
    assert np.percentile(target, 90) > 1.4 * np.percentile(source, 90)


# Rendering


def swept_gap(cones, points, samples):
    """Distance of points (M, 3) to the union of swept spheres, by sampling."""
    steps = np.linspace(0, 1, samples)[:, None, None]
    centres = cones.start + steps * (cones.end - cones.start)
    radii = cones.start_radius + steps[..., 0] * (cones.end_radius - cones.start_radius)
    centres, radii = centres.reshape(-1, 3), radii.reshape(-1)
    squared = (
        np.sum(points**2, axis=1)[:, None]
        - 2 * points @ centres.T
        + np.sum(centres**2, axis=1)
    )
    return (np.sqrt(np.maximum(squared, 0)) - radii).min(axis=1)


def march(cones, directions, start, stop):
    """Depth at which rays of z = 1 first meet the cones, by small steps."""
    depth = np.full(len(directions), start)
    stretch = np.linalg.norm(directions, axis=1)
    for step in range(70):
        samples = 16 if step < 50 else 80
        gap = swept_gap(cones, directions * depth[:, None], samples)
        depth = np.minimum(depth + np.maximum(gap, 0) / stretch, stop)
    return depth


def test_hidden_flags_agree_with_ray_marching(scenes):
    decided = hidden = 0
    for scene in scenes[:16]:
        points = scene.landmarks
        directions = points / points[:, 2:]
        near, far = points[:, 2].min() - 1.5, points[:, 2].max() + 1
        first = march(scene.body.cones, directions, near, far)
        looseness = scene.outfit.covering.looseness
        radii = np.append(scene.body.joint_radii(looseness), TOP_RADIUS)
        slack = first - (points[:, 2] - radii - VISIBILITY_TOLERANCE)
        clear = np.abs(slack) > 0.01
        assert np.array_equal(scene.visibility()[clear], slack[clear] > 0)
        decided += clear.sum()
        hidden += (slack[clear] < 0).sum()
    assert decided > 300 and hidden > 10


def test_written_flags_say_hidden_not_visible(pair):
    flags = loadmat(pair[1] / 'joints.mat')['joints'][2]
    for index, column in enumerate(flags.T):
        rng = generator(0, body_pair._TARGET, 0, index)
        seen = sample_target_scene(rng, PHOTO_BODIES).visibility()
        visible = dict(zip([*SMPL, 'top'], seen))
        assert column.tolist() == [not visible[name] for name in LSP]
    # As in LSP, few are.
    assert 0 < flags.mean() < 0.25


def test_visible_joints_lie_on_the_silhouette(scenes):
    on_body = []
    for scene in scenes[:20]:
        part = render(scene.body.cones, scene.intrinsics, scene.size).part
        for point in scene.landmarks[scene.visibility()]:
            column, row = np.round(pinhole(point, scene.intrinsics)).astype(int)
            # The top of the head is on the edge: look around by a pixel.
            on_body.append(
                part[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].max()
                >= 0
            )
    assert len(on_body) > 350
    assert np.mean(on_body) > 0.99


def test_a_joint_behind_the_trunk_is_hidden():
    shape = BodyShape.sample(np.random.default_rng(1))
    # A wrist behind the back of somebody who faces the camera.
    arms = np.array([(180, 35, 80, 80, 0, 0), (90, 10, 0, 5, 0, 0)], float)
    pose = BodyPose(arms, np.zeros((2, 5)), np.zeros(3), np.zeros(3))
    rng = np.random.default_rng(2)
    scene = sample_target_scene(rng, PHOTO_BODIES)
    body = articulate(shape, pose, scene.outfit.covering)
    for turned, seen in (
        (np.diag((1.0, -1, -1)), False),
        (np.diag((-1.0, -1, 1)), True),
    ):
        placed = body.moved(turned, np.array((0, 1.0, 4.0)))
        camera = np.array([[120.0, 0, 128], [0, 120.0, 128], [0, 0, 1]])
        posed = type(scene)(
            placed, scene.outfit, scene.up, scene.ground, camera, (256, 256)
        )
        assert posed.visibility()[SMPL.index('left_wrist')] == seen


def test_body_stands_out_of_its_background(scenes):
    """The picture shows the body where the geometry says that it is."""
    for index, scene in enumerate(scenes[1:12:2]):
        rng = np.random.default_rng(index)
        flat = type(CLEAN_BODIES)(
            **{
                **vars(CLEAN_BODIES),
                'backgrounds': ('plain',),
                'clutter': (0, 0),
                'background_blur': (0.0, 0.0),
            }
        )
        image = picture(rng, scene, flat).astype(int)
        differs = np.abs(image - image[0, 0]).max(axis=2) > 6
        covered = render(scene.body.cones, scene.intrinsics, scene.size).part >= 0
        eroded = cv2.erode(covered.astype(np.uint8), np.ones((5, 5))) > 0
        dilated = cv2.dilate(covered.astype(np.uint8), np.ones((5, 5))) > 0
        assert not differs[~dilated].any()
        assert differs[eroded].mean() > 0.7


def test_domains_differ_in_appearance(pair):
    """The target is noisy and lossy where the source is smooth."""
    surreal, lsp = pair

    def grain(path):
        # Typical second difference: noise has it everywhere, shading not.
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(float)
        return np.median(np.abs(cv2.Laplacian(image, cv2.CV_64F)))

    source = [grain(path) for path in surreal.glob('train/run*/*.jpg')]
    target = [grain(path) for path in lsp.glob('images/*.jpg')]
    assert np.median(target) > np.median(source) + 1


# Determinism


def test_bytes_depend_on_the_seed_and_not_on_the_workers(pair, tmp_path):
    again = (
        synthetic.write_surreal(
            tmp_path, NUM_TRAIN, NUM_TEST, num_workers=2, progress=False
        ),
        synthetic.write_lsp(tmp_path, NUM_TARGET, num_workers=1, progress=False),
    )
    for folder, first in zip(again, pair):
        assert files_of(folder) == files_of(first)

    other = synthetic.write_lsp(
        tmp_path / 'other', 3, seed=1, num_workers=1, progress=False
    )
    before = files_of(pair[1])
    assert all(data != before[name] for name, data in files_of(other).items())


def test_first_images_do_not_depend_on_how_many_follow(pair, tmp_path):
    _, lsp = pair
    short = synthetic.write_lsp(tmp_path, 2, num_workers=1, progress=False)
    for name in ('im0001.jpg', 'im0002.jpg'):
        assert (short / 'images' / name).read_bytes() == (
            lsp / 'images' / name
        ).read_bytes()


# Writing


def write_few(root, **options):
    return synthetic.write_lsp(root, 2, num_workers=1, progress=False, **options)


def test_failing_writer_leaves_nothing_and_the_next_run_succeeds(tmp_path, monkeypatch):
    calls = []

    def fail_late(*args):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError('disk on fire')
        return write(*args)

    write = body_pair.write_image
    monkeypatch.setattr(body_pair, 'write_image', fail_late)
    for writer in (write_few, write_few_source):
        calls.clear()
        with pytest.raises(RuntimeError, match='disk on fire'):
            writer(tmp_path)
        assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert (write_few(tmp_path) / 'joints.mat').is_file()


def write_few_source(root):
    return synthetic.write_surreal(root, 2, 5, num_workers=1, progress=False)


def test_finished_pair_is_not_written_twice(pair, capsys):
    before = [path.stat().st_mtime_ns for folder in pair for path in folder.rglob('*')]
    capsys.readouterr()
    again = synthetic.write_body_pair(
        pair[0].parent, NUM_TRAIN, NUM_TEST, NUM_TARGET, num_workers=1, progress=False
    )
    assert again == pair
    assert before == [
        path.stat().st_mtime_ns for folder in pair for path in folder.rglob('*')
    ]
    assert len(capsys.readouterr().out.strip().splitlines()) == 2


def test_other_parameters_are_refused_unless_overwritten(tmp_path):
    folder = write_few(tmp_path)
    before = files_of(folder)
    with pytest.raises(FileExistsError, match=str(folder)):
        write_few(tmp_path, seed=1)
    assert files_of(folder) == before
    write_few(tmp_path, seed=1, overwrite=True)
    after = files_of(folder)
    assert set(after) == set(before) and after != before
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize('overwrite', [False, True])
def test_published_data_is_never_touched(tmp_path, overwrite):
    folder = tmp_path / body_pair.LSP_FOLDER
    folder.mkdir()
    (folder / 'joints.mat').write_bytes(b'the real one')
    before = files_of(folder)
    with pytest.raises(FileExistsError, match=output_folder.MANIFEST):
        write_few(tmp_path, overwrite=overwrite)
    assert files_of(folder) == before


def test_more_images_than_lsp_can_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match='9999'):
        synthetic.write_lsp(tmp_path, 10000)
    assert list(tmp_path.iterdir()) == []


def test_command_line_writes_the_pair(tmp_path, monkeypatch):
    tool = str(Path(__file__).parents[2] / 'tools' / 'make_synthetic.py')
    counts = ['--num-source-train=1', '--num-source-test=1', '--num-target=1']
    command = [tool, 'bodies', str(tmp_path), *counts, '--workers=1']
    monkeypatch.setattr(sys, 'argv', command)
    runpy.run_path(tool, run_name='__main__')
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'lsp',
        'surreal_processed',
    ]
    monkeypatch.setattr(sys, 'argv', [*command, '--seed=1'])
    with pytest.raises(SystemExit, match='was generated with other parameters'):
        runpy.run_path(tool, run_name='__main__')


@pytest.mark.parametrize('option', ['--num-target', '--num-source-train', '--workers'])
@pytest.mark.parametrize('value', ['0', '-1', 'many'])
def test_command_line_refuses_what_is_no_number_of_images(
    tmp_path, monkeypatch, capsys, option, value
):
    tool = str(Path(__file__).parents[2] / 'tools' / 'make_synthetic.py')
    command = [tool, 'bodies', str(tmp_path / 'out'), f'{option}={value}']
    monkeypatch.setattr(sys, 'argv', command)
    with pytest.raises(SystemExit):
        runpy.run_path(tool, run_name='__main__')
    assert f'argument {option}: "{value}" is no number' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_command_line_names_a_folder_that_can_not_be_made(tmp_path, monkeypatch):
    tool = str(Path(__file__).parents[2] / 'tools' / 'make_synthetic.py')
    (tmp_path / 'file').touch()
    monkeypatch.setattr(sys, 'argv', [tool, 'bodies', str(tmp_path / 'file')])
    with pytest.raises(SystemExit, match=str(tmp_path / 'file')):
        runpy.run_path(tool, run_name='__main__')
