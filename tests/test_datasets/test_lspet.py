"""LSP Extended as published: joints, boxes, blocks, broken files."""

import os

import numpy as np
import pytest
import scipy.io
from conftest import ROOT
from layouts import LSP14, lspet_joints, write_lspet

from mmregda import InputError
from mmregda.datasets import BODY16, LSPExtendedDataset

REAL = ROOT.parent / 'shared/data/real/lspet'
MPII = dict(upper_neck='neck', head_top='head')
NAMES = [BODY16['keypoint_info'][i]['name'] for i in range(16)]
NAMES = [MPII.get(name, name) for name in NAMES]


def samples_of(root, **kwargs):
    # Serializing collects garbage, which takes longer than all the rest.
    dataset = LSPExtendedDataset(data_root=str(root), serialize_data=False, **kwargs)
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def numbers(samples):
    return [int(os.path.basename(s['img_path'])[2:-4]) for s in samples]


def test_each_keypoint_is_the_joint_of_its_name(tmp_path):
    joints = lspet_joints(10)
    joints[3, :2] = -50  # As joints without a label are, outside the image.
    joints[3, 2] = 0
    samples = samples_of(write_lspet(tmp_path, joints))
    assert numbers(samples) == list(range(1, 11))
    for i, sample in enumerate(samples):
        for name, place, visible in zip(
            NAMES, sample['keypoints'][0], sample['keypoints_visible'][0]
        ):
            if name in ('pelvis', 'thorax'):
                assert visible == 0 and not place.any()
                continue
            x, y, labelled = joints[LSP14.index(name), :, i]
            assert visible == labelled
            if labelled:
                np.testing.assert_array_equal(place, np.float32([x, y]))


def test_the_box_holds_the_labelled_joints_and_no_others(tmp_path):
    joints = lspet_joints(10)
    joints[3, :2] = 1000
    joints[3, 2] = 0
    for i, sample in enumerate(samples_of(write_lspet(tmp_path, joints))):
        points = np.array([j[:2] for j in joints[..., i] if j[2]])
        low, high = points.min(axis=0), points.max(axis=0)
        margin = 0.15 * (high - low)
        expected = [*np.maximum(low - margin, 0), *(high + margin)]
        np.testing.assert_allclose(sample['bbox'], [expected], rtol=1e-5)


@pytest.mark.parametrize('labeled', [True, False])
def test_every_fifth_block_of_200_is_the_test(tmp_path, labeled):
    joints = np.tile(lspet_joints(11), 100)[..., :1100]
    # Too few labels to make a box of.
    joints[:, 2, 7], joints[:5, 2, 7] = 0, 1
    root = write_lspet(tmp_path, joints)
    of = {
        split: numbers(samples_of(root, split=split, labeled=labeled))
        for split in ('train', 'test', 'all')
    }
    assert of['test'] == list(range(801, 1001))
    assert of['train'] == [n for n in [*range(1, 801), *range(1001, 1101)] if n != 8]
    assert of['all'] == sorted(of['train'] + of['test'])


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        (lambda joints: joints.transpose(1, 0, 2), r'shape \(14, 3'),  # as LSP's
        (lambda joints: joints[:, :2], r'shape \(14, 3'),
        (lambda joints: joints + 0.5, 'neither 0 nor 1'),
        (lambda joints: joints * np.nan, 'finite'),
    ],
)
def test_a_broken_annotation_is_named(tmp_path, change, match):
    write_lspet(tmp_path, lspet_joints(4))
    path = tmp_path / 'lspet/joints.mat'
    scipy.io.savemat(path, dict(joints=change(lspet_joints(4))))
    with pytest.raises(InputError, match=match) as error:
        LSPExtendedDataset(data_root=str(tmp_path))
    assert str(path) in str(error.value)


def test_the_real_annotation_is_of_people():
    if not REAL.is_dir():
        pytest.skip(f'no real LSPET in {REAL}')
    samples = samples_of(REAL, split='all')
    keypoints = np.concatenate([s['keypoints'] for s in samples])
    visible = np.concatenate([s['keypoints_visible'] for s in samples])

    def length(a, b):
        a, b = NAMES.index(a), NAMES.index(b)
        found = np.linalg.norm(keypoints[:, a] - keypoints[:, b], axis=1)
        return np.median(found[(visible[:, a] > 0) & (visible[:, b] > 0)])

    # Nine joints in ten are labelled; were the flag the other way round, one in ten.
    assert 0.8 < visible.sum() / (14 * len(samples)) < 0.95
    for one, other in (('knee', 'ankle'), ('elbow', 'wrist'), ('shoulder', 'elbow')):
        left = length(f'left_{one}', f'left_{other}')
        right = length(f'right_{one}', f'right_{other}')
        assert left == pytest.approx(right, rel=0.05)
        # Hips are less than a limb apart.
        assert left > length('left_hip', 'right_hip') > 0
