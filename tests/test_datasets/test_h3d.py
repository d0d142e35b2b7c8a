"""H3D's crops as published: split, boxes, broken files."""

import json
import os
import random

import cv2
import numpy as np
import pytest

from mmregda import InputError
from mmregda.datasets import H3DDataset


def entry(number, without_object=1):
    rng = np.random.default_rng(number)
    return dict(
        name=f'part{1 + number % 5}/{number:05d}.jpg',
        keypoint2d=rng.uniform(0, 200, (21, 2)).tolist(),
        keypoint3d=rng.uniform(-1, 1, (21, 3)).tolist(),
        intrinsic_matrix=np.eye(3).tolist(),
        without_object=without_object,
    )


def write_h3d(root, entries, images=True):
    folder = root / 'H3D_crop'
    for part in range(1, 6):
        (folder / f'part{part}').mkdir(parents=True)
    (folder / 'annotation.json').write_text(json.dumps(entries))
    for one in entries if images else ():
        os.close(os.open(folder / one['name'], os.O_CREAT))
    return root


def mixed(number):
    """Every third hand holds an object."""
    return [entry(i, without_object=int(i % 3 > 0)) for i in range(number)]


def published_split(entries):
    """As the published code splits: by the module's generator, in place."""
    entries = list(entries)
    state = random.getstate()
    random.seed(42)
    random.shuffle(entries)
    random.setstate(state)
    num_test = min(int(0.2 * len(entries)), 3200)
    return entries[:num_test], entries[num_test:]


def samples_of(root, **kwargs):
    dataset = H3DDataset(data_root=str(root), **kwargs)
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def names(samples):
    return ['/'.join(s['img_path'].split(os.sep)[-2:]) for s in samples]


def test_split_is_the_published_one_of_hands_that_hold_nothing(tmp_path):
    entries = mixed(100)
    write_h3d(tmp_path, entries)
    chosen = [e for e in entries if e['without_object']]
    test, train = published_split(chosen)
    assert names(samples_of(tmp_path, split='test')) == [e['name'] for e in test]
    assert names(samples_of(tmp_path, split='train')) == [e['name'] for e in train]
    found = names(samples_of(tmp_path, split='all'))
    assert found == [e['name'] for e in test + train]
    assert sorted(found) == sorted(e['name'] for e in chosen)


@pytest.mark.slow
@pytest.mark.parametrize('number', [100, 4, 20000])
def test_validation_split_is_uniframes(tmp_path, monkeypatch, number):
    entries = [dict(entry(0), name=f'part1/{i:05d}.jpg') for i in range(number)]
    write_h3d(tmp_path, entries, images=False)
    listing = [f'{i:05d}.jpg' for i in range(number)]
    monkeypatch.setattr(os, 'listdir', lambda path: listing)
    order = list(entries)
    random.Random(42).shuffle(order)
    n = min(int(len(order) * 0.2), 3200)
    for split, expected in (('val', order[n : 2 * n]), ('train-val', order[2 * n :])):
        if expected:
            found = names(samples_of(tmp_path, split=split))
            assert found == [e['name'] for e in expected]
    if number == 4:
        with pytest.raises(InputError, match='"val" split.*is empty'):
            samples_of(tmp_path, split='val')


def test_train_and_test_are_disjoint_and_complete(hand_pair):
    train, test, all_ = (
        names(samples_of(hand_pair, split=split)) for split in ('train', 'test', 'all')
    )
    assert train and test
    assert not set(train) & set(test)
    assert sorted(train + test) == sorted(all_)
    assert len(set(all_)) == len(all_)


@pytest.mark.slow
def test_at_most_3200_samples_are_the_test(tmp_path, monkeypatch):
    number = 16100
    one = entry(0)
    entries = [dict(one, name=f'part1/{i:05d}.jpg') for i in range(number)]
    write_h3d(tmp_path, entries, images=False)
    listing = [f'{i:05d}.jpg' for i in range(number)]
    monkeypatch.setattr(os, 'listdir', lambda path: listing)
    dataset = H3DDataset(data_root=str(tmp_path), split='test')
    assert len(dataset) == 3200
    found = names([dataset.get_data_info(i) for i in range(0, 3200, 50)])
    assert found == [e['name'] for e in published_split(entries)[0][::50]]


def test_reading_leaves_the_global_random_numbers_alone(tmp_path):
    write_h3d(tmp_path, mixed(30))
    random.seed(7)
    expected = random.random()
    random.seed(7)
    samples_of(tmp_path)
    assert random.random() == expected


def test_keypoints_come_in_the_order_of_the_file(tmp_path):
    entries = mixed(30)
    write_h3d(tmp_path, entries)
    by_name = {e['name']: e for e in entries}
    samples = samples_of(tmp_path, split='all')
    for name, sample in zip(names(samples), samples):
        expected = np.array(by_name[name]['keypoint2d'], np.float32)
        np.testing.assert_array_equal(sample['keypoints'], expected[None])
        np.testing.assert_array_equal(sample['keypoints_visible'], np.ones((1, 21)))


def test_flags_may_be_text(tmp_path):
    write_h3d(tmp_path, [entry(i, str(i % 2)) for i in range(10)])
    assert len(samples_of(tmp_path, split='all')) == 5


def test_box_is_the_whole_image_whatever_the_labels(tmp_path):
    entries = [entry(i) for i in range(5)]
    boxes = []
    for version, scale in (('a', 1), ('b', 0.1)):
        for one in entries:
            one['keypoint2d'] = (scale * np.array(one['keypoint2d'])).tolist()
        root = write_h3d(tmp_path / version, entries)
        for i, one in enumerate(entries):
            img = np.zeros((40 + i, 40 + i, 3), np.uint8)
            cv2.imwrite(str(root / 'H3D_crop' / one['name']), img)
        dataset = H3DDataset(
            data_root=str(root),
            split='all',
            pipeline=[dict(type='LoadWholeImage'), dict(type='WholeImageBox')],
        )
        assert 'bbox' not in dataset.get_data_info(0)
        for i in range(5):
            height, width = dataset[i]['img'].shape[:2]
            assert dataset[i]['bbox'].tolist() == [[0, 0, width, height]]
        boxes.append([dataset[i]['bbox'].tolist() for i in range(5)])
    assert boxes[0] == boxes[1]


def test_root_may_be_the_published_folder_or_the_one_above(tmp_path):
    write_h3d(tmp_path, mixed(10))
    assert [s['img_path'] for s in samples_of(tmp_path)] == [
        s['img_path'] for s in samples_of(tmp_path / 'H3D_crop')
    ]


# Broken input


def refused(match, **kwargs):
    with pytest.raises(InputError, match=match) as error:
        H3DDataset(**kwargs)
    return str(error.value)


def test_a_missing_folder_is_answered_by_the_expected_tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused('is not the published dataset', data_root='nowhere')
    assert str(tmp_path / 'nowhere') in message
    for part in ('H3D_crop/', 'annotation.json', 'part1/', 'https://'):
        assert part in message


def test_a_missing_image_is_named(tmp_path):
    write_h3d(tmp_path, mixed(10))
    path = tmp_path / 'H3D_crop' / 'part2' / '00001.jpg'
    path.unlink()
    message = refused('annotated but missing', data_root=str(tmp_path), split='all')
    assert str(path) in message


def test_an_empty_split_is_named(tmp_path):
    # A fifth of four is none.
    write_h3d(tmp_path, [entry(i) for i in range(4)])
    message = refused('is empty', data_root=str(tmp_path), split='test')
    assert '"test"' in message


def test_a_wrong_split_is_answered_by_the_right_ones(tmp_path):
    message = refused('"dev"', data_root=str(tmp_path), split='dev')
    assert 'train, test, all' in message


@pytest.mark.parametrize(
    'text',
    ['', '[', '[{"name": "part1/0', '{"a": 1', 'null,', '\xff', '[' * 100_000],
    ids=lambda text: repr(text[:10]),
)
def test_json_cut_short_is_named(tmp_path, text):
    write_h3d(tmp_path, [])
    path = tmp_path / 'H3D_crop' / 'annotation.json'
    path.write_bytes(text.encode('latin1'))
    message = refused('is not valid JSON|is empty', data_root=str(tmp_path))
    assert str(path) in message


def without(key):
    one = entry(0)
    del one[key]
    return one


@pytest.mark.parametrize(
    'content',
    [
        None,
        7,
        'text',
        {'name': 'part1/00000.jpg'},
        [None],
        ['text'],
        [[1, 2]],
        [without('name')],
        [without('keypoint2d')],
        [without('without_object')],
        [dict(entry(0), without_object='no')],
        [dict(entry(0), without_object=None)],
        [dict(entry(0), without_object=[1])],
        [dict(entry(0), without_object=float('nan'))],
        [dict(entry(0), without_object=float('inf'))],
        [dict(entry(0), name=5)],
        [dict(entry(0), name=None)],
        [dict(entry(0), keypoint2d=None)],
        [dict(entry(0), keypoint2d=[[1, 2]] * 20)],
        [dict(entry(0), keypoint2d=[[1, 2, 3]] * 21)],
        [dict(entry(0), keypoint2d=[[1, 2]] * 20 + [[1]])],
        [dict(entry(0), keypoint2d=[['a', 'b']] * 21)],
        [dict(entry(0), keypoint2d=[[1, float('nan')]] * 21)],
        [dict(entry(0), keypoint2d=[[1, float('inf')]] * 21)],
    ],
    ids=lambda value: repr(value)[-40:],
)
def test_an_annotation_that_is_not_h3ds_is_named(tmp_path, content):
    write_h3d(tmp_path, [])
    path = tmp_path / 'H3D_crop' / 'annotation.json'
    path.write_text(json.dumps(content))
    message = refused('annotation file', data_root=str(tmp_path), split='all')
    assert str(path) in message
