"""FreiHAND as published: versions, projection, split, broken files."""

import json
import os
import random

import cv2
import numpy as np
import pytest
from conftest import ROOT
from layouts import freihand_poses, write_freihand
from mmengine.dataset import Compose

from mmregda import InputError
from mmregda.datasets import FreiHANDDataset

REAL = ROOT.parent / 'shared/data/real/freihand'
VERSIONS = ['gs', 'hom', 'sample', 'auto']


def samples_of(root, **kwargs):
    # Serializing collects garbage, which takes longer than all the rest.
    dataset = FreiHANDDataset(data_root=str(root), serialize_data=False, **kwargs)
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def numbers(samples):
    return [int(os.path.basename(s['img_path'])[: -len('.jpg')]) for s in samples]


def published_split(number):
    """As the published code splits one version's images."""
    images = list(range(number))
    state = random.getstate()
    random.seed(42)
    random.shuffle(images)
    random.setstate(state)
    num_test = min(int(number * 0.2), 3200)
    return images[num_test:], images[:num_test]


@pytest.fixture
def root(tmp_path):
    return write_freihand(tmp_path, *freihand_poses(20))


@pytest.mark.parametrize('version', VERSIONS)
def test_each_version_is_split_as_published(root, version):
    offset = 32560 * VERSIONS.index(version)
    for split, expected in zip(('train', 'test'), published_split(20)):
        found = numbers(samples_of(root, split=split, version=version))
        assert found == [pose + offset for pose in expected]
    found = numbers(samples_of(root, split='all', version=version))
    assert found == [pose + offset for pose in range(20)]


def test_no_pose_is_both_in_training_and_in_test(root):
    train, test = (
        {number % 32560 for number in numbers(samples_of(root, split=split))}
        for split in ('train', 'test')
    )
    assert (len(train), len(test)) == (16, 4)
    assert not train & test


def test_several_versions_are_those_one_by_one(root):
    found = numbers(samples_of(root, version=['sample', 'gs']))
    assert found == [
        number
        for version in ('sample', 'gs')
        for number in numbers(samples_of(root, version=version))
    ]
    assert numbers(samples_of(root)) == numbers(samples_of(root, version=VERSIONS))
    assert len(samples_of(root)) == 64


def test_keypoints_are_those_that_opencv_projects(root):
    intrinsics, points = freihand_poses(20)
    for number, sample in enumerate(samples_of(root, split='all', version='hom')):
        expected, _ = cv2.projectPoints(
            points[number], np.zeros(3), np.zeros(3), intrinsics[number], None
        )
        np.testing.assert_allclose(
            sample['keypoints'][0], expected[:, 0], rtol=0, atol=1e-4
        )
        np.testing.assert_array_equal(sample['keypoints_visible'], np.ones((1, 21)))
        assert sample['hand_type'] == 'right'


@pytest.fixture
def at_the_borders(tmp_path):
    """Hands over all borders, large and small."""
    intrinsics, points = freihand_poses(60)
    rng = np.random.default_rng(0)
    points[:, :, :2] += rng.uniform(-0.15, 0.15, (60, 1, 2))
    points[:, :, 2] *= rng.uniform(0.3, 1.5, (60, 1))
    return write_freihand(tmp_path, intrinsics, points)


def test_published_box_is_the_nearest_in_the_image(at_the_borders):
    shifted = 0
    for sample in samples_of(at_the_borders, version='gs', split='all'):
        begins, ends = sample['bbox'][0, :2], sample['bbox'][0, 2:]
        places = sample['keypoints'][0].T.astype(float)
        side = min(round(1.5 * max(p.max() - p.min() for p in places)), 224)
        for place, begin, end in zip(places, begins, ends):
            # Which columns (rows) of pixels it has; of all that fit, the nearest.
            assert end - begin == side - 1
            wanted = (place.min() + place.max()) / 2 - side / 2
            distances = [abs(i - wanted) for i in range(224 - side + 1)]
            assert abs(begin - wanted) <= min(distances) + 1e-3
            shifted += abs(begin - wanted) > 1
    assert shifted > 20


def test_without_labels_the_boxes_stay(root):
    labeled, unlabeled = samples_of(root), samples_of(root, labeled=False)
    for one, other in zip(labeled, unlabeled):
        np.testing.assert_array_equal(one['bbox'], other['bbox'])
        assert set(one) - set(other) == {'keypoints', 'keypoints_visible'}


def test_hands_are_mirrored_to_the_side_of_rhd(root):
    sample = samples_of(root, version='gs')[0]
    before = sample['keypoints'].copy()
    columns = np.arange(224, dtype=np.uint8)[:, None]
    sample['img'] = np.broadcast_to(columns, (224, 224, 3)).copy()
    sample.update(img_shape=(224, 224))
    after = Compose([dict(type='MirrorRightHand')])(sample)
    np.testing.assert_allclose(after['keypoints'][..., 0], 223 - before[..., 0])
    np.testing.assert_array_equal(after['img'][0, :, 0], np.arange(224)[::-1])


# The real images


@pytest.fixture(scope='module')
def real(tmp_path_factory):
    """The published layout around the eight real images, and their labels.

    K and xyz are not at hand: points are put on the rays of the annotated
    keypoints, at depths made up, seen by a made-up camera. That shows that
    images and labels of the four versions are brought together, not that the
    published xyz project onto the hands.
    """
    if not REAL.is_dir():
        pytest.skip(f'no real FreiHAND in {REAL}')
    content = json.loads((REAL / 'test_freihand.json').read_text())
    # By version and pose. Poses are renumbered, for there to be fewer.
    labels = {}
    root = tmp_path_factory.mktemp('real')
    intrinsics, points = freihand_poses(700)
    rng = np.random.default_rng(0)
    for entry in content['annotations']:
        version, pose = divmod(entry['image_id'], 32560)
        pose %= 1000
        keypoints = np.array(entry['keypoints']).reshape(21, 3)[:, :2].copy()
        labels[version, pose] = keypoints
        image = root / f'FreiHAND_pub_v2/training/rgb/{version * 32560 + pose:08d}.jpg'
        image.parent.mkdir(parents=True, exist_ok=True)
        image.symlink_to(REAL / f'{entry["image_id"]:08d}.jpg')
        rays = cv2.undistortPoints(keypoints[:, None], intrinsics[pose], None)
        depth = rng.uniform(0.5, 0.8, (21, 1))
        points[pose] = np.concatenate([rays[:, 0], np.ones((21, 1))], 1) * depth
    write_freihand(root, intrinsics, points, images=[])
    return root, labels


def real_image(root, version, pose):
    path = root / f'FreiHAND_pub_v2/training/rgb/{version * 32560 + pose:08d}.jpg'
    return cv2.imread(str(path)).astype(int)


def test_real_versions_of_a_pose_are_one_pose_on_other_backgrounds(real):
    root, labels = real
    poses = {pose for _, pose in labels}
    assert len(poses) == 2 and len(labels) == 8
    for pose in poses:
        images = [real_image(root, version, pose) for version in range(4)]
        for version in range(1, 4):
            np.testing.assert_array_equal(labels[version, pose], labels[0, pose])
            for other in range(version):
                assert np.abs(images[version] - images[other]).mean() > 3
        # The green screen is green.
        assert images[0].mean(axis=(0, 1)).argmax() == 1


def test_real_images_get_the_labels_of_their_pose(real):
    root, labels = real
    # The images of the other poses are not here.
    dataset = FreiHANDDataset(
        data_root=str(root),
        require_images=False,
        split='all',
        serialize_data=False,
        pipeline=[
            dict(type='LoadWholeImage'),
            dict(type='MirrorRightHand'),
            dict(type='GetBBoxCenterScale', padding=1.0),
            dict(type='TopdownAffine', input_size=(256, 256)),
        ],
    )
    for (version, pose), expected in labels.items():
        index = 700 * version + pose
        info = dataset.get_data_info(index)
        assert numbers([info]) == [32560 * version + pose]
        np.testing.assert_allclose(info['keypoints'][0], expected, atol=1e-3)
        x, y = dataset[index]['transformed_keypoints'][0].T
        # 1.5 times the hand, in whole pixels: it fills two thirds of the crop.
        extent = max(x.max() - x.min(), y.max() - y.min())
        assert extent == pytest.approx(256 / 1.5, rel=0.02)
        # The crop lies within the image.
        white = np.full((224, 224, 3), 255, np.uint8)
        assert dataset.pipeline(dict(info, img=white))['img'].min() == 255


def test_real_skin_lies_under_the_keypoints(real):
    root, labels = real
    for (version, pose), keypoints in labels.items():
        if version == 0:  # Before the green screen skin is told by its hue.
            x, y = keypoints[[0, 5, 9, 13, 17]].round().astype(int).T
            blue, green, red = real_image(root, version, pose)[y, x].T
            assert (red > green).all() and (red > blue).all()


# Broken input


def refused(root, match, **kwargs):
    with pytest.raises(InputError, match=match) as error:
        FreiHANDDataset(data_root=str(root), **kwargs)
    return str(error.value)


def change(root, name, changed):
    path = root / 'FreiHAND_pub_v2' / f'training_{name}.json'
    path.write_text(json.dumps(changed(json.loads(path.read_text()))))
    return path


@pytest.mark.parametrize('version', ['green', [], ['gs', 'green'], ''])
def test_an_unknown_version_is_answered_by_the_right_ones(root, version):
    refused(root, 'gs, hom, sample, auto', version=version)


@pytest.mark.parametrize('name', ['K', 'xyz'])
@pytest.mark.parametrize(
    'changed, match',
    [
        (lambda entries: entries[0], 'entry 0 is not finite numbers'),
        (lambda entries: dict(a=entries), 'entry 0 is not finite numbers'),
        (lambda entries: None, 'TypeError'),
        (lambda entries: [*entries[:7], None, *entries[8:]], 'entry 7 is not'),
        (lambda entries: [*entries[:7], [[float('nan')] * 3] * 3], 'entry 7 is not'),
        (lambda entries: [*entries[:3], entries[3][:2]], 'entry 3 is not finite'),
    ],
)
def test_a_broken_annotation_is_named(root, name, changed, match):
    path = change(root, name, changed)
    assert str(path) in refused(root, match)


@pytest.mark.parametrize('name', ['K', 'xyz'])
def test_a_cut_or_missing_annotation_is_named(root, name):
    path = root / 'FreiHAND_pub_v2' / f'training_{name}.json'
    path.write_text(path.read_text()[:-20])
    assert str(path) in refused(root, 'not valid JSON')
    path.unlink()
    match = 'does not exist' if name == 'K' else 'is not the published dataset'
    refused(root, match)


def test_files_of_different_counts_are_named(root):
    change(root, 'K', lambda entries: entries[:-1])
    message = refused(root, '20 entries, and 19 there')
    assert 'training_K.json' in message and 'training_xyz.json' in message


def test_a_hand_behind_the_camera_is_named(root):
    def flipped(entries):
        entries[6][4][2] *= -1
        return entries

    change(root, 'xyz', flipped)
    refused(root, 'a keypoint of entry 6 is behind the camera')


def test_a_projection_that_is_not_finite_is_named(root):
    def nearer(entries):
        entries[6][4] = [0.1, 0.1, 1e-320]
        return entries

    change(root, 'xyz', nearer)
    refused(root, 'entry 6 projects to not finite')


def test_a_missing_image_is_named(root):
    path = root / 'FreiHAND_pub_v2/training/rgb/00032563.jpg'
    path.unlink()
    assert str(path) in refused(root, 'annotated but missing', split='all')
    samples_of(root, split='all', version='gs')
