"""SURREAL's crops as preprocessed: runs, split, joint map, broken files."""

import json
import os
import random
import shutil

import cv2
import numpy as np
import pytest
from layouts import surreal_entry, write_image, write_surreal
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from mmregda import InputError
from mmregda.datasets import SURREALDataset

# SMPL's names, in SMPL's order.
SMPL = [
    *('pelvis', 'left_hip', 'right_hip', 'spine1', 'left_knee', 'right_knee'),
    *('spine2', 'left_ankle', 'right_ankle', 'spine3', 'left_foot', 'right_foot'),
    *('neck', 'left_collar', 'right_collar', 'head', 'left_shoulder'),
    *('right_shoulder', 'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist'),
    *('left_hand', 'right_hand'),
]


def samples_of(root, **kwargs):
    # Serializing collects garbage, which takes longer than all the rest.
    dataset = SURREALDataset(data_root=str(root), serialize_data=False, **kwargs)
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def names(samples):
    return ['/'.join(s['img_path'].split(os.sep)[-3:]) for s in samples]


def published_split(folder, runs, number):
    """As the published code splits: by the module's generator, in place."""
    entries = [
        f'{folder}/run{run}/{run}_{i:06d}.jpg' for run in runs for i in range(number)
    ]
    state = random.getstate()
    random.seed(42)
    random.shuffle(entries)
    random.setstate(state)
    num_test = min(int(len(entries) * 0.2), 3200)
    return entries[:num_test], entries[num_test:]


def test_split_is_the_published_one(tmp_path):
    write_surreal(tmp_path, number=7)
    train, test = (names(samples_of(tmp_path, split=s)) for s in ('train', 'test'))
    assert train == published_split('train', range(3), 7)[1]
    assert test == published_split('test', range(3), 7)[0]
    assert (len(train), len(test)) == (17, 4)


def test_val_and_all_leave_nothing_out(tmp_path):
    write_surreal(tmp_path, number=3)
    everything = [
        f'{folder}/run{run}/{run}_{i:06d}.jpg'
        for folder in ('train', 'val', 'test')
        for run in range(3)
        for i in range(3)
    ]
    assert names(samples_of(tmp_path, split='all')) == everything
    assert names(samples_of(tmp_path, split='val')) == everything[9:18]


def test_at_most_3200_samples_are_the_test(tmp_path, monkeypatch):
    folder = tmp_path / 'surreal_processed' / 'test'
    (folder / 'run0').mkdir(parents=True)
    entries = [dict(name=f'0_{i:06d}.jpg') for i in range(16100)]
    for run, content in enumerate((entries, [], [])):
        (folder / f'run{run}.json').write_text(json.dumps(content))
    listdir = os.listdir
    listing = [entry['name'] for entry in entries]
    monkeypatch.setattr(
        os, 'listdir', lambda p: listing if str(p).endswith('run0') else listdir(p)
    )
    dataset = SURREALDataset(data_root=str(tmp_path), split='test', labeled=False)
    assert len(dataset) == 3200
    found = names([dataset.get_data_info(i) for i in range(0, 3200, 50)])
    assert found == published_split('test', [0], 16100)[0][::50]


def test_keypoints_are_the_joints_of_the_same_name_on_the_other_side(tmp_path):
    # SURREAL's images mirror SMPL's bodies; collars stand for shoulders.
    write_surreal(tmp_path, number=1)
    meta = parse_pose_metainfo(SURREALDataset.METAINFO)
    renamed = dict(thorax='spine3', upper_neck='neck', head_top='head')
    for sample in samples_of(tmp_path, split='val'):
        run = int(sample['img_path'].split(os.sep)[-2][len('run') :])
        joints = np.float32(surreal_entry(run, 0)['keypoint2d'])
        assert sample['keypoints'].shape == (1, 16, 2)
        np.testing.assert_array_equal(sample['keypoints_visible'], np.ones((1, 16)))
        for i, found in enumerate(sample['keypoints'][0]):
            name = meta['keypoint_id2name'][i].replace('shoulder', 'collar')
            name = renamed.get(name, name)
            swapped = dict(left='right', right='left')
            side, _, part = name.rpartition('_')
            name = f'{swapped[side]}_{part}' if side else name
            np.testing.assert_array_equal(found, joints[SMPL.index(name)], name)


def test_box_is_the_whole_image(tmp_path):
    write_surreal(tmp_path, number=1)
    image = tmp_path / 'surreal_processed/val/run0/0_000000.jpg'
    write_image(image, 60, 60)
    dataset = SURREALDataset(
        data_root=str(tmp_path),
        split='val',
        pipeline=[dict(type='LoadWholeImage'), dict(type='WholeImageBox')],
    )
    assert 'bbox' not in dataset.get_data_info(0)
    assert dataset[0]['bbox'].tolist() == [[0, 0, 60, 60]]
    np.testing.assert_array_equal(dataset[0]['img'], cv2.imread(str(image)))


def test_without_labels_none_need_exist(tmp_path):
    write_surreal(tmp_path, number=4)
    labeled = samples_of(tmp_path, split='train')
    for path in tmp_path.rglob('*.json'):
        entries = [dict(name=entry['name']) for entry in json.loads(path.read_text())]
        path.write_text(json.dumps(entries))
    samples = samples_of(tmp_path, split='train', labeled=False)
    assert names(samples) == names(labeled)
    assert not any('keypoint' in key and 'weights' not in key for key in samples[0])


def test_root_may_be_the_published_folder_or_the_one_above(tmp_path):
    write_surreal(tmp_path)
    inner = samples_of(tmp_path / 'surreal_processed')
    assert names(samples_of(tmp_path)) == names(inner)


# Broken input


def refused(root, match, **kwargs):
    with pytest.raises(InputError, match=match) as error:
        SURREALDataset(data_root=str(root), **kwargs)
    return str(error.value)


def test_a_missing_folder_is_answered_by_the_expected_tree(tmp_path):
    message = refused(tmp_path / 'nowhere', 'is not the published dataset')
    assert 'surreal_processed/' in message and 'run0.json' in message


def test_a_missing_image_is_named(tmp_path):
    write_surreal(tmp_path)
    path = tmp_path / 'surreal_processed/val/run1/1_000003.jpg'
    path.unlink()
    assert str(path) in refused(tmp_path, 'annotated but missing', split='val')


@pytest.mark.parametrize(
    'name', ['/etc/hostname', '../../../elsewhere.jpg', 'http://elsewhere/a.jpg']
)
def test_an_image_outside_of_the_dataset_is_refused(tmp_path, name):
    write_surreal(tmp_path, number=1)
    path = tmp_path / 'surreal_processed/val/run0.json'
    path.write_text(json.dumps(broken(ENTRY, name=name)))
    (tmp_path.parent / 'elsewhere.jpg').touch()
    refused(tmp_path, f'{name}" is annotated but lies outside', split='val')


def test_images_without_their_annotation_are_not_left_out(tmp_path):
    write_surreal(tmp_path)
    path = tmp_path / 'surreal_processed/train/run1.json'
    path.unlink()
    assert str(path) in refused(tmp_path, 'does not exist', split='train')
    samples_of(tmp_path, split='test')


def test_a_run_without_a_trace_is_missing(tmp_path):
    write_surreal(tmp_path, runs=(0, 2))
    assert 'train/run1.json' in refused(tmp_path, 'does not exist')


def test_a_split_that_was_not_unpacked_is_named(tmp_path):
    write_surreal(tmp_path)
    path = tmp_path / 'surreal_processed/test'
    shutil.rmtree(path)
    assert str(path / 'run0.json') in refused(tmp_path, 'does not exist', split='test')
    samples_of(tmp_path, split='train')


def broken(entry, **changes):
    return [dict(entry, **changes)]


ENTRY = surreal_entry(0, 0)


@pytest.mark.parametrize(
    'content, match',
    [
        ('', 'not valid JSON|is empty'),
        (json.dumps([ENTRY])[:-9], 'not valid JSON|is empty'),
        ('[' * 100_000, 'not valid JSON|is empty'),
        (b'\xff\xfe\x00', 'not valid JSON|is empty'),
        ('null', 'expected a list of entries'),
        ('7', 'expected a list of entries'),
        ('{"name": 1}', 'expected a list of entries'),
        ('[[["a"]]]', 'expected a list of entries'),
        (json.dumps(broken(ENTRY, name=None)), 'expected a list of entries'),
        (json.dumps([dict(name='0_000000.jpg')]), "KeyError: 'keypoint2d'"),
        (json.dumps(broken(ENTRY, keypoint2d=[[1, 2]] * 23)), '"0_000000.jpg" has'),
        (json.dumps(broken(ENTRY, keypoint2d=[[1, 2, 3]] * 24)), r'\(24, 2\)'),
        (json.dumps(broken(ENTRY, keypoint2d=[[1, float('nan')]] * 24)), 'finite'),
        (json.dumps(broken(ENTRY, keypoint2d=[[1, float('inf')]] * 24)), 'finite'),
        (json.dumps(broken(ENTRY, keypoint2d=[[1, 10**400]] * 24)), 'finite'),
        (json.dumps(broken(ENTRY, keypoint2d=[[1, 1e39]] * 24)), 'finite'),
        (json.dumps(broken(ENTRY, keypoint2d=[[1, {}]] * 24)), 'finite'),
        (json.dumps(broken(ENTRY, keypoint2d='a' * 48)), 'finite'),
    ],
)
def test_a_broken_annotation_is_named(tmp_path, content, match):
    write_surreal(tmp_path, number=1)
    path = tmp_path / 'surreal_processed/val/run0.json'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    message = refused(tmp_path, match, split='val')
    assert str(path) in message and len(message) < 1000


def test_a_folder_in_place_of_an_annotation_is_named(tmp_path):
    write_surreal(tmp_path, runs=(0,))
    path = tmp_path / 'surreal_processed/val/run0.json'
    path.unlink()
    path.mkdir()
    assert str(path) in refused(tmp_path, 'cannot be read', split='val')


def test_an_unknown_split_is_answered_by_the_right_ones(tmp_path):
    refused(tmp_path, 'train, val, test, all', split='training')
