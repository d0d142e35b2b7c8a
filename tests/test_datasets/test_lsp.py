"""LSP as published: joint map, the hidden flag, fit and pad, broken files."""

import io
import os
import shutil

import cv2
import numpy as np
import pytest
import scipy.io
from conftest import ROOT
from layouts import LSP14, lsp_joints, write_lsp
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample

from mmregda import InputError
from mmregda.datasets import BODY16, LSPDataset
from mmregda.evaluation import GroupedPCKAccuracy

REAL = ROOT.parent / 'shared/data/real/lsp/joints.mat'
MPII = dict(upper_neck='neck', head_top='head')
NAMES = [BODY16['keypoint_info'][i]['name'] for i in range(16)]
NAMES = [MPII.get(name, name) for name in NAMES]


def samples_of(root, **kwargs):
    # Serializing collects garbage, which takes longer than all the rest.
    dataset = LSPDataset(data_root=str(root), serialize_data=False, **kwargs)
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def names(samples):
    return [os.path.basename(sample['img_path']) for sample in samples]


def test_each_keypoint_is_the_joint_of_its_name(tmp_path):
    joints = lsp_joints(20)
    samples = samples_of(write_lsp(tmp_path, joints))
    assert names(samples) == [f'im{i:04d}.jpg' for i in range(1, 21)]
    for i, sample in enumerate(samples):
        for name, place, visible in zip(
            NAMES, sample['keypoints'][0], sample['keypoints_visible'][0]
        ):
            if name in ('pelvis', 'thorax'):
                assert visible == 0 and not place.any()
            else:
                x, y, hidden = joints[:, LSP14.index(name), i]
                np.testing.assert_array_equal(place, np.float32([x, y]))
                assert visible == 1 - hidden


def test_all_images_are_training_and_test(tmp_path):
    write_lsp(tmp_path, lsp_joints(12))
    everything = names(samples_of(tmp_path, split='all'))
    assert len(everything) == 12
    for split in ('train', 'test'):
        assert names(samples_of(tmp_path, split=split)) == everything


def test_without_labels_joints_mat_is_not_read(tmp_path):
    write_lsp(tmp_path, lsp_joints(12))
    everything = names(samples_of(tmp_path))
    (tmp_path / 'lsp/images/Thumbs.db').touch()
    (tmp_path / 'lsp/joints.mat').write_text('not read')
    samples = samples_of(tmp_path, labeled=False)
    assert names(samples) == everything
    assert 'keypoints' not in samples[0] and 'keypoints_visible' not in samples[0]
    (tmp_path / 'lsp/joints.mat').unlink()
    assert names(samples_of(tmp_path, labeled=False)) == everything


@pytest.mark.parametrize('width, height', [(90, 60), (50, 80), (64, 64)])
def test_an_image_is_fitted_into_the_square_and_padded(tmp_path, width, height):
    joints = lsp_joints(3)
    write_lsp(tmp_path, joints, width, height)
    side = 64
    dataset = LSPDataset(
        data_root=str(tmp_path),
        pipeline=[
            dict(type='LoadWholeImage'),
            dict(type='WholeImageBox'),
            dict(type='GetBBoxCenterScale', padding=1.0),
            dict(type='TopdownAffine', input_size=(side, side)),
        ],
    )
    result = dataset[0]
    assert result['bbox'].tolist() == [[0, 0, width, height]]
    # Pad first, then resize, in two steps.
    img = cv2.imread(result['img_path'])
    longer = max(width, height)
    left, top = (longer - width) // 2, (longer - height) // 2
    padded = np.zeros((longer, longer, 3), np.uint8)
    padded[top : top + height, left : left + width] = img
    expected = cv2.resize(padded, (side, side), interpolation=cv2.INTER_LINEAR)
    inner = np.abs(result['img'].astype(int) - expected)
    # Of the borders a pixel is shared between image and padding.
    assert np.median(inner) <= 2 and inner.mean() < 6
    moved = (joints[:2, LSP14.index('neck'), 0] + [left, top]) * side / longer
    found = result['transformed_keypoints'][0, NAMES.index('neck')]
    np.testing.assert_allclose(found, moved, atol=1)


def test_a_hidden_joint_counts_not_in_pck(tmp_path):
    joints = lsp_joints(8)
    joints[2] = 0
    joints[2, LSP14.index('left_knee')] = 1
    metric = GroupedPCKAccuracy(groups='body16')
    for sample in samples_of(write_lsp(tmp_path, joints)):
        hidden = sample['keypoints_visible'] == 0
        predicted = sample['keypoints'] + 100 * hidden[..., None]
        packed = PoseDataSample(
            gt_instances=InstanceData(
                bboxes=np.array([[0, 0, 50, 50]], np.float32),
                keypoints=sample['keypoints'],
                keypoints_visible=sample['keypoints_visible'],
            ),
            pred_instances=InstanceData(keypoints=predicted),
        )
        metric.process([], [packed.to_dict()])
    found = metric.evaluate(8)
    assert set(found.values()) == {1.0}
    assert len(found) == 7


# The real annotation


@pytest.fixture(scope='module')
def real(tmp_path_factory):
    """Keypoints (2000, 16, 2) and visibility (2000, 16) of the real file."""
    if not REAL.is_file():
        pytest.skip(f'no real LSP annotation in {REAL}')
    root = tmp_path_factory.mktemp('real')
    images = root / 'lsp' / 'images'
    images.mkdir(parents=True)
    (root / 'lsp' / 'joints.mat').write_bytes(REAL.read_bytes())
    for i in range(2000):
        (images / f'im{i + 1:04d}.jpg').touch()
    samples = samples_of(root)
    return (
        np.concatenate([sample['keypoints'] for sample in samples]),
        np.concatenate([sample['keypoints_visible'] for sample in samples]),
    )


def lengths(keypoints, *links):
    """(N, number of links)"""
    ends = [(NAMES.index(a), NAMES.index(b)) for a, b in links]
    return np.stack(
        [np.linalg.norm(keypoints[:, a] - keypoints[:, b], axis=1) for a, b in ends], 1
    )


def test_real_hidden_joints_are_a_minority_and_mostly_of_arms(real):
    keypoints, visible = real
    assert keypoints.shape == (2000, 16, 2)
    labelled = [i for i in range(16) if i not in (6, 7)]
    hidden = 1 - visible[:, labelled].mean(axis=0)
    # Were the flag the other way round, nine in ten would be hidden.
    assert hidden.max() < 0.2 and 0.05 < hidden.mean() < 0.1
    arms = [labelled.index(i) for i in (10, 11, 14, 15)]
    head = [labelled.index(i) for i in (8, 9)]
    assert hidden[arms].min() > 10 * hidden[head].max()
    assert not visible[:, [6, 7]].any()


def test_real_limbs_hang_together(real):
    keypoints, _ = real
    limbs = [
        (f'{side}_{a}', f'{side}_{b}')
        for side in ('left', 'right')
        for a, b in (
            ('ankle', 'knee'),
            ('knee', 'hip'),
            ('wrist', 'elbow'),
            ('elbow', 'shoulder'),
        )
    ]
    height = np.ptp(keypoints[:, [*range(6), *range(8, 16)]], axis=1).max(axis=1)
    found = lengths(keypoints, *limbs) / height[:, None]
    # No limb is near the height of the whole; shuffled joints would be.
    assert np.percentile(found, 99) < 0.5
    # Both sides of a body are alike; the medians of 2,000 are within 5 %.
    median = np.median(found, axis=0)
    np.testing.assert_allclose(median[:4], median[4:], rtol=0.05)
    # Thigh and shank are longer than upper arm and forearm.
    assert median[:2].min() > 1.2 * median[2:4].max()


def test_real_heads_stand_on_necks_between_the_shoulders(real):
    keypoints, _ = real
    neck, head = keypoints[:, NAMES.index('neck')], keypoints[:, NAMES.index('head')]
    assert (head[:, 1] < neck[:, 1]).mean() > 0.85  # Some do handstands.
    shoulders = keypoints[:, [12, 13]].mean(axis=1)
    hips = keypoints[:, [2, 3]].mean(axis=1)
    to_shoulders = np.linalg.norm(neck - shoulders, axis=1)
    assert (to_shoulders < np.linalg.norm(neck - hips, axis=1)).mean() > 0.99
    assert (to_shoulders < np.linalg.norm(head - shoulders, axis=1)).mean() > 0.95


def test_real_sides_agree_between_arms_and_legs(real):
    keypoints, _ = real
    # The person's right hip and right shoulder lie on one side of the body.
    across_hips = keypoints[:, 2] - keypoints[:, 3]
    across_shoulders = keypoints[:, 12] - keypoints[:, 13]
    assert ((across_hips * across_shoulders).sum(axis=1) > 0).mean() > 0.9
    # Most face the camera: upright and facing it, the right is on its left.
    spine = keypoints[:, [2, 3]].mean(axis=1) - keypoints[:, NAMES.index('neck')]
    turn = spine[:, 0] * across_hips[:, 1] - spine[:, 1] * across_hips[:, 0]
    assert (turn > 0).mean() > 0.6


# Broken input


def refused(root, match, **kwargs):
    with pytest.raises(InputError, match=match) as error:
        LSPDataset(data_root=str(root), **kwargs)
    return str(error.value)


def mat_of(**variables):
    file = io.BytesIO()
    scipy.io.savemat(file, variables)
    return file.getvalue()


def poisoned(value):
    joints = lsp_joints(4)
    joints[1, 3, 2] = value
    return joints


def cell(joints):
    content = np.empty(3, dtype=object)
    content[:] = list(joints)
    return content


@pytest.mark.parametrize(
    'content, match',
    [
        (b'', 'cannot be read as a MATLAB file'),
        (b'<html>not found</html>' * 20, 'cannot be read as a MATLAB file'),
        (mat_of(joints=lsp_joints(4))[:-40], 'cannot be read as a MATLAB file'),
        (mat_of(joints=lsp_joints(4))[:300], 'cannot be read as a MATLAB file'),
        (mat_of(annotation=lsp_joints(4)), 'has no variable "joints"'),
        (mat_of(joints=lsp_joints(4)[:2]), r'shape \(3, 14, 4\)'),
        (mat_of(joints=lsp_joints(4)[:, :13]), r'shape \(3, 14, 4\)'),
        (mat_of(joints=lsp_joints(4).transpose(2, 1, 0)), 'shape'),
        (mat_of(joints='text'), r'no array of numbers \(char\)'),
        (mat_of(joints=cell(lsp_joints(4))), r'no array of numbers \(cell\)'),
        (mat_of(joints=dict(a=1)), r'no array of numbers \(struct\)'),
        (mat_of(joints=poisoned(np.nan)), 'finite'),
        (mat_of(joints=poisoned(np.inf)), 'finite'),
        (mat_of(joints=poisoned(1e39)), 'finite'),
        (mat_of(joints=lsp_joints(4) + 0.5), 'neither 0 nor 1'),
    ],
)
def test_a_broken_annotation_is_named(tmp_path, content, match):
    write_lsp(tmp_path, lsp_joints(4))
    path = tmp_path / 'lsp/joints.mat'
    path.write_bytes(content)
    assert str(path) in refused(tmp_path, match)


def test_a_missing_annotation_is_named(tmp_path):
    write_lsp(tmp_path, lsp_joints(4))
    path = tmp_path / 'lsp/joints.mat'
    path.unlink()
    assert str(path) in refused(tmp_path, 'does not exist')


def test_more_joints_than_images_name_the_first_missing(tmp_path):
    write_lsp(tmp_path, lsp_joints(4))
    path = tmp_path / 'lsp/joints.mat'
    path.write_bytes(mat_of(joints=lsp_joints(6)))
    assert 'im0005.jpg' in refused(tmp_path, 'annotated but missing')


@pytest.mark.parametrize('labeled', [True, False])
def test_missing_or_unreadable_images_are_named(tmp_path, labeled):
    images = write_lsp(tmp_path, lsp_joints(4)) / 'lsp/images'
    shutil.rmtree(images)
    match = 'annotated but missing' if labeled else 'is empty.*\\n.*lsp/'
    refused(tmp_path, match, labeled=labeled)
    # A link to itself, because nothing is unreadable to root.
    images.symlink_to(images)
    message = refused(tmp_path, 'cannot be read', labeled=labeled)
    assert str(images) in message


def test_a_missing_folder_is_answered_by_the_expected_tree(tmp_path):
    message = refused(tmp_path / 'nowhere', 'is not the published dataset')
    assert 'joints.mat' in message and 'im2000.jpg' in message
