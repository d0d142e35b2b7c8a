"""Human3.6M as annotated for 3DMPPE: projection, boxes, split, broken files."""

import json
import os
import random

import cv2
import numpy as np
import pytest
from conftest import ROOT
from layouts import SUBJECTS, h36m_camera, h36m_image, write_human36m

from mmregda import InputError
from mmregda.datasets import BODY16, Human36MDataset

REAL = ROOT.parent / 'shared/data/real/h36m'
MPII = dict(upper_neck='neck', head_top='head')
NAMES = [BODY16['keypoint_info'][i]['name'] for i in range(16)]
NAMES = [MPII.get(name, name) for name in NAMES]
# The published order of the joints; its neck is called neck here too.
H36M17 = [
    *('pelvis', 'right_hip', 'right_knee', 'right_ankle'),
    *('left_hip', 'left_knee', 'left_ankle', 'torso', 'neck', 'nose', 'head'),
    *('left_shoulder', 'left_elbow', 'left_wrist'),
    *('right_shoulder', 'right_elbow', 'right_wrist'),
]


def samples_of(root, **kwargs):
    # Serializing collects garbage, which takes longer than all the rest.
    dataset = Human36MDataset(data_root=str(root), serialize_data=False, **kwargs)
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def names(samples):
    return ['/'.join(s['img_path'].split(os.sep)[-2:]) for s in samples]


def annotation(root, subject, name):
    return root / f'Human36M/annotations/Human36M_subject{subject}_{name}.json'


def expected_keypoints(joints, camera):
    """OpenCV's projection of the joints (17, 3), by name."""
    named = dict(zip(H36M17, np.asarray(joints)))
    named['thorax'] = (named['left_shoulder'] + named['right_shoulder']) / 2
    (fx, fy), (cx, cy) = camera['f'], camera['c']
    projected, _ = cv2.projectPoints(
        np.stack([named[name] for name in NAMES]),
        cv2.Rodrigues(np.array(camera['R']))[0],
        np.array(camera['t']),
        np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]),
        None,
    )
    return projected[:, 0]


@pytest.mark.parametrize(
    'split, subjects',
    [('train', [1, 5, 6, 7, 8]), ('test', [9, 11]), ('all', [1, 5, 6, 7, 8, 9, 11])],
)
def test_every_fifth_image_of_the_splits_subjects(tmp_path, split, subjects):
    write_human36m(tmp_path)
    expected = [
        h36m_image(subject, i, camera=1 + i % 4)['file_name']
        for subject in subjects
        for i in (0, 5, 10)
    ]
    assert names(samples_of(tmp_path, split=split)) == expected


def test_test_images_are_drawn_as_published(tmp_path):
    (tmp_path / 'Human36M/annotations').mkdir(parents=True)
    drawn_from = []
    for subject, number in ((9, 9000), (11, 8000)):
        images = [h36m_image(subject, i, name=f'{i}.jpg') for i in range(number)]
        drawn_from += [f'images/{i}.jpg' for i in range(0, number, 5)]
        boxes = [dict(image_id=image['id'], bbox=[0, 0, 9, 9]) for image in images]
        # Identifiers of one subject do not clash with the other's.
        path = annotation(tmp_path, subject, 'data')
        path.write_text(json.dumps(dict(images=images, annotations=boxes)))
    samples = samples_of(tmp_path, split='test', labeled=False, require_images=False)
    # As the published code draws: by the module's generator.
    state = random.getstate()
    random.seed(42)
    expected = random.choices(drawn_from, k=3200)
    random.setstate(state)
    assert names(samples) == expected
    assert [sample['id'] for sample in samples] == list(range(3200))


def test_keypoints_are_those_that_opencv_projects(tmp_path):
    write_human36m(tmp_path)
    samples = iter(samples_of(tmp_path, split='all'))
    for subject in SUBJECTS:
        path = annotation(tmp_path, subject, 'joint_3d')
        frames = json.loads(path.read_text())['2']['1']
        for i in (0, 5, 10):
            expected = expected_keypoints(frames[str(i)], h36m_camera(1 + i % 4))
            sample = next(samples)
            np.testing.assert_allclose(sample['keypoints'][0], expected, atol=1e-3)
            np.testing.assert_array_equal(
                sample['keypoints_visible'], np.ones((1, 16), np.float32)
            )


def test_box_is_a_square_about_the_annotated_one_whatever_the_labels(tmp_path):
    write_human36m(tmp_path)
    samples = samples_of(tmp_path, split='train')
    for subject in (1, 5, 6, 7, 8):
        content = json.loads(annotation(tmp_path, subject, 'data').read_text())
        boxes = {one['image_id']: one['bbox'] for one in content['annotations']}
        for image in content['images'][::5]:
            x, y, width, height = boxes[image['id']]
            left, upper, right, lower = samples.pop(0)['bbox'][0]
            side = 1.25 * max(width, height)
            np.testing.assert_allclose(right - left, side, rtol=1e-4)
            np.testing.assert_allclose(lower - upper, side, rtol=1e-4)
            np.testing.assert_allclose((left + right) / 2, x + width / 2, rtol=1e-5)
            np.testing.assert_allclose((upper + lower) / 2, y + height / 2, rtol=1e-5)
    assert not samples


def test_without_labels_only_images_and_boxes_are_read(tmp_path):
    write_human36m(tmp_path)
    labeled = samples_of(tmp_path)
    for subject in SUBJECTS:
        annotation(tmp_path, subject, 'camera').unlink()
        annotation(tmp_path, subject, 'joint_3d').write_text('not read')
    samples = samples_of(tmp_path, labeled=False)
    assert names(samples) == names(labeled)
    for one, other in zip(labeled, samples):
        np.testing.assert_array_equal(one['bbox'], other['bbox'])
        assert 'keypoints' not in other and 'keypoints_visible' not in other


# The real frames


@pytest.fixture(scope='module')
def real(tmp_path_factory):
    """The published layout around the four real frames, and their 2D labels.

    Joints in the world are the real ones. The cameras are found from the
    annotated keypoints of each frame (its pose by OpenCV's solvePnP, with a
    focal length and a centre near those of all of Human3.6M's cameras).
    """
    if not REAL.is_dir():
        pytest.skip(f'no real Human3.6M in {REAL}')
    content = json.loads((REAL / 'h36m_coco.json').read_text())
    root = tmp_path_factory.mktemp('real')
    (root / 'Human36M/annotations').mkdir(parents=True)
    (root / 'Human36M/images').symlink_to(REAL)
    labels = {}
    images, annotations, cameras, frames = [], [], {}, {}
    for index, image in enumerate(content['images']):
        (entry,) = (
            one for one in content['annotations'] if one['image_id'] == image['id']
        )
        pixels = np.array(entry['keypoints']).reshape(17, 3)[:, :2].copy()
        joints = 1000 * np.array(entry['keypoints_3d']).reshape(17, 4)[:, :3].copy()
        focal, center = [1147.0, 1146.0], [512.0, 511.0]
        found, rotation, translation = cv2.solvePnP(
            joints,
            pixels,
            np.array([[focal[0], 0, center[0]], [0, focal[1], center[1]], [0, 0, 1]]),
            None,
            flags=cv2.SOLVEPNP_SQPNP,
        )
        assert found
        cameras[str(index + 1)] = dict(
            R=cv2.Rodrigues(rotation)[0].tolist(),
            t=translation.ravel().tolist(),
            f=focal,
            c=center,
        )
        # Each at a place that is read, the others made up of it.
        for place in range(5 * index, 5 * index + 5):
            one = h36m_image(1, place, index + 1, image['file_name'])
            images.append(one)
            annotations.append(dict(image_id=one['id'], bbox=entry['bbox']))
            frames[str(place)] = joints.tolist()
        labels[image['file_name']] = (pixels, entry['bbox'])
    files = dict(
        data=dict(images=images, annotations=annotations),
        camera=cameras,
        joint_3d={'2': {'1': frames}},
    )
    for name, one in files.items():
        annotation(root, 1, name).write_text(json.dumps(one))
    return root, labels


@pytest.fixture
def real_samples(real, monkeypatch):
    root, labels = real
    monkeypatch.setattr(Human36MDataset, 'SUBJECTS', dict(train=(1,)))
    samples = samples_of(root)
    assert len(samples) == len(labels) == 4
    return [(s, *labels[os.path.basename(s['img_path'])]) for s in samples]


def test_real_keypoints_are_projected_onto_the_annotated_ones(real_samples):
    for sample, pixels, _ in real_samples:
        named = dict(zip(H36M17, pixels))
        named['thorax'] = (named['left_shoulder'] + named['right_shoulder']) / 2
        expected = np.stack([named[name] for name in NAMES])
        # A few pixels of a thousand: the cameras' distortion, which the
        # published annotation leaves out, and the made-up focal length.
        error = np.linalg.norm(sample['keypoints'][0] - expected, axis=1)
        assert error.max() < 6 and error.mean() < 3
        assert not np.isclose(expected, expected[:, :1]).all()


def test_real_bodies_have_their_limbs_and_sides(real_samples):
    for sample, _, _ in real_samples:
        body = dict(zip(NAMES, sample['keypoints'][0]))
        middle = (body['left_hip'] + body['right_hip']) / 2
        assert np.linalg.norm(body['pelvis'] - middle) < 8
        # The neck is nearer to the thorax than the head and the pelvis are.
        near = np.linalg.norm(body['neck'] - body['thorax'])
        assert near < np.linalg.norm(body['head'] - body['thorax'])
        assert near < np.linalg.norm(body['pelvis'] - body['thorax'])
        # Hips and shoulders are turned the same way.
        across = [body[f'right_{p}'] - body[f'left_{p}'] for p in ('hip', 'shoulder')]
        assert across[0] @ across[1] > 0
    # Who waits with the arms spread faces the camera: the right is on the left.
    (body,) = (
        dict(zip(NAMES, sample['keypoints'][0]))
        for sample, _, _ in real_samples
        if 'S8_WalkDog' in sample['img_path']
    )
    for part in ('wrist', 'elbow', 'shoulder', 'hip', 'knee', 'ankle'):
        assert body[f'right_{part}'][0] < body[f'left_{part}'][0]
    assert body['head'][1] < body['neck'][1] < body['pelvis'][1] < body['left_knee'][1]


def test_real_crops_hold_the_body_and_a_margin(real_samples):
    for sample, pixels, annotated in real_samples:
        left, upper, right, lower = sample['bbox'][0]
        assert (pixels > [left, upper]).all() and (pixels < [right, lower]).all()
        # These boxes are squares of 1.2 times the joints' extent, as 3DMPPE's.
        extent = np.ptp(pixels, axis=0).max()
        assert annotated[2] == pytest.approx(1.2 * extent, rel=0.01)
        assert right - left == pytest.approx(1.5 * extent, rel=0.01)


# Broken input


def refused(root, match, **kwargs):
    with pytest.raises(InputError, match=match) as error:
        Human36MDataset(data_root=str(root), **kwargs)
    return str(error.value)


def dropped(*keys):
    def apply(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return apply


def put(value, *keys):
    def apply(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return apply


@pytest.mark.parametrize(
    'name, change, match',
    [
        ('data', dropped('annotations'), "KeyError: 'annotations'"),
        ('data', dropped('images'), "KeyError: 'images'"),
        ('data', put(5, 'images'), 'TypeError'),
        ('data', put([[]], 'annotations'), 'TypeError'),
        ('data', put('a', 'images', 0, 'frame_idx'), 'ValueError'),
        ('data', put(None, 'images', 0, 'cam_idx'), 'TypeError'),
        ('data', dropped('images', 0, 'file_name'), "KeyError: 'file_name'"),
        ('data', put([9], 'images', 0, 'file_name'), 'TypeError'),
        ('data', put([9], 'annotations', 0, 'image_id'), 'unhashable'),
        # The last annotation is the first image's.
        ('data', put([1, 2, 3], 'annotations', -1, 'bbox'), 'box of.*finite'),
        ('data', put([1, 2, 0, 5], 'annotations', -1, 'bbox'), 'is empty'),
        ('data', put([1, 2, 5, -5], 'annotations', -1, 'bbox'), 'is empty'),
        ('data', put([1, 2, 5, float('nan')], 'annotations', -1, 'bbox'), 'finite'),
        ('data', put([3e38, 2, 3e38, 3e38], 'annotations', -1, 'bbox'), 'finite'),
        ('data', dropped('annotations', -1), 'KeyError: 1000'),
        ('camera', dropped('1'), "KeyError: '1'"),
        ('camera', dropped('1', 'R'), "KeyError: 'R'"),
        ('camera', put([1, 2], '1', 't'), 't of 1 is not finite'),
        ('camera', put(None, '1', 'f'), 'f of 1 is not finite'),
        ('camera', put([[1] * 3] * 3, '1', 'R'), 'R of 1 is no rotation'),
        ('joint_3d', dropped('2'), "KeyError: '2'"),
        ('joint_3d', dropped('2', '1', '5'), "KeyError: '5'"),
        ('joint_3d', put([[0, 0, 0]] * 16, '2', '1', '5'), r'shape \(17, 3\)'),
        ('joint_3d', put([[0, 0, float('inf')]] * 17, '2', '1', '5'), 'finite'),
        ('joint_3d', put([['a', 0, 0]] * 17, '2', '1', '5'), 'finite'),
    ],
)
def test_a_broken_annotation_is_named(tmp_path, name, change, match):
    write_human36m(tmp_path, number=6, subjects=[1, 5, 6, 7, 8])
    path = annotation(tmp_path, 1, name)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    message = refused(tmp_path, match)
    assert str(path) in message and 'expected' in message


def test_a_camera_turned_the_wrong_way_is_named(tmp_path):
    write_human36m(tmp_path, number=6, subjects=[1, 5, 6, 7, 8])
    path = annotation(tmp_path, 1, 'camera')
    content = json.loads(path.read_text())
    content['1']['t'] = [-value for value in content['1']['t']]
    path.write_text(json.dumps(content))
    refused(tmp_path, 'behind the camera.*R X|R X.*behind the camera')


def test_a_projection_that_is_not_finite_is_named(tmp_path):
    write_human36m(tmp_path, number=6, subjects=[1, 5, 6, 7, 8])
    path = annotation(tmp_path, 1, 'camera')
    content = json.loads(path.read_text())
    content['1']['f'] = [3e38, 3e38]
    content['1']['c'] = [3e38, 3e38]
    path.write_text(json.dumps(content))
    refused(tmp_path, 'the pose of ".*jpg" projects to not finite')


@pytest.mark.parametrize('name', ['data', 'camera', 'joint_3d'])
def test_a_cut_or_missing_annotation_is_named(tmp_path, name):
    write_human36m(tmp_path, number=6, subjects=[1, 5, 6, 7, 8])
    path = annotation(tmp_path, 6, name)
    path.write_text(path.read_text()[:-20])
    assert str(path) in refused(tmp_path, 'not valid JSON')
    path.unlink()
    assert str(path) in refused(tmp_path, 'does not exist')


def test_a_missing_image_is_named(tmp_path):
    write_human36m(tmp_path, number=6, subjects=[1, 5, 6, 7, 8])
    image = tmp_path / 'Human36M/images' / h36m_image(5, 5, 2)['file_name']
    image.unlink()
    assert str(image) in refused(tmp_path, 'annotated but missing')


def test_a_missing_folder_is_answered_by_the_expected_tree(tmp_path):
    message = refused(tmp_path / 'nowhere', 'is not the published dataset')
    assert 'Human36M_subject1_data.json' in message
