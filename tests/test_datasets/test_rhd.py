"""RHD as published: selection, order, geometry, mirroring, broken files."""

import itertools
import os
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.dataset import Compose

from mmregda import InputError
from mmregda.datasets import RHDDataset

REAL_RHD = Path(__file__).parents[3] / 'shared/data/real/RHD'
needs_real_rhd = pytest.mark.skipif(
    not REAL_RHD.is_dir(), reason=f'no real RHD in {REAL_RHD}'
)
FOLDER_OF_SPLIT = dict(train='training', test='evaluation')

# Rows of a published hand: wrist, then each finger from tip to root.
ROOT_TO_TIP = [0]
ROOT_TO_TIP += [4, 3, 2, 1]
ROOT_TO_TIP += [8, 7, 6, 5]
ROOT_TO_TIP += [12, 11, 10, 9]
ROOT_TO_TIP += [16, 15, 14, 13]
ROOT_TO_TIP += [20, 19, 18, 17]


def hand(left=100.0, upper=100.0, width=80.0, height=80.0, visible=21, seed=0):
    """Rows of a hand (21, 3) whose keypoints span exactly this rectangle."""
    rng = np.random.default_rng(seed)
    rows = np.ones((21, 3))
    rows[:, :2] = rng.uniform(0.1, 0.9, (21, 2))
    rows[3, 0], rows[7, 0], rows[11, 1], rows[20, 1] = 0, 1, 0, 1
    rows[:, :2] = rows[:, :2] * [width, height] + [left, upper]
    rows[visible:, 2] = 0
    return rows


NO_HAND = np.zeros((21, 3))


def write_rhd(root, train, test=(), images=None):
    """The published tree; ``train`` and ``test`` are lists of (left, right)."""
    for folder, hands in (('training', train), ('evaluation', test)):
        color = root / 'RHD_published_v2' / folder / 'color'
        color.mkdir(parents=True)
        annotation = {
            i: dict(
                uv_vis=np.concatenate(pair).astype(np.float32),
                xyz=np.zeros((42, 3), np.float32),
                K=np.eye(3, dtype=np.float32),
            )
            for i, pair in enumerate(hands)
        }
        with open(color.parent / f'anno_{folder}.pickle', 'wb') as file:
            pickle.dump(annotation, file)
        for i in annotation:
            os.close(os.open(color / f'{i:05d}.png', os.O_CREAT))
    return root


def naive_box(rows):
    """The box (x1, y1, x2, y2) of a hand's rows (21, 3), axis by axis."""
    places = rows[:, :2].astype(np.float32).T.astype(float)
    side = min(round(1.5 * max(max(axis) - min(axis) for axis in places)), 320)
    corners = []
    for axis in places:
        wanted = round((min(axis) + max(axis)) / 2 - side / 2)
        # Of all places in the image, the nearest.
        begin = min(range(320 - side + 1), key=lambda i: abs(i - wanted))
        corners.append((begin, begin + side - 1))
    (x1, x2), (y1, y2) = corners
    return x1, y1, x2, y2


def naive_samples(annotation):
    """Which hands the rules select, rule by rule: (image, hand type)."""
    selected = []
    for number, image in annotation.items():
        halves = dict(left=image['uv_vis'][:21], right=image['uv_vis'][21:])
        for hand_type, other_type in (('left', 'right'), ('right', 'left')):
            x1, y1, x2, y2 = naive_box(halves[hand_type])
            if x2 - x1 <= 64 or np.count_nonzero(halves[hand_type][:, 2]) <= 16:
                continue
            other_x, other_y, _ = halves[other_type].astype(float).T
            overlap_x = min(x2, other_x.max()) - max(x1, other_x.min()) + 1
            overlap_y = min(y2, other_y.max()) - max(y1, other_y.min()) + 1
            covered = max(overlap_x, 0) * max(overlap_y, 0)
            if covered / (x2 - x1 + 1) ** 2 < 0.3:
                selected.append((number, hand_type))
    return selected


def samples_of(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def selection(dataset):
    return [
        (int(Path(s['img_path']).stem), s['hand_type']) for s in samples_of(dataset)
    ]


def annotation_of(root, split):
    folder = FOLDER_OF_SPLIT[split]
    path = root / 'RHD_published_v2' / folder / f'anno_{folder}.pickle'
    with open(path, 'rb') as file:
        return pickle.load(file, encoding='latin1')


# Selection


SELECTED_BY_ANY_BOX = [
    (hand(), NO_HAND, 'left'),
    (NO_HAND, hand(), 'right'),
    (NO_HAND, NO_HAND, ''),
    # The visible keypoints.
    (hand(visible=16), NO_HAND, ''),
    (hand(visible=17), NO_HAND, 'left'),
    (NO_HAND, hand(visible=16), ''),
    (NO_HAND, hand(visible=17), 'right'),
    # Two hands apart.
    (hand(10, 100), hand(200, 100), 'left right'),
    # A large hand swallows a small one, but not the other way round.
    (hand(50, 50, 200, 200), hand(100, 100, 60, 60), 'left'),
]
LARGE = hand(100, 100, 100, 100)
SELECTED_BY_BOX = [
    # The box: 1.5 times the extent, of 66 whole pixels at least.
    (hand(width=43.6, height=20), NO_HAND, ''),
    (hand(width=43.7, height=20), NO_HAND, 'left'),
    (NO_HAND, hand(width=20, height=43.6), ''),
    (NO_HAND, hand(width=20, height=43.7), 'right'),
    # The other hand covers 66 x 101 and 67 x 101 of 150 x 150 pixels, 0.296
    # and 0.301.
    (LARGE, hand(100, 100, 100, 65, visible=0), 'left'),
    (LARGE, hand(100, 100, 100, 66, visible=0), ''),
    (hand(100, 100, 100, 65, visible=0), LARGE, 'right'),
    (hand(100, 100, 100, 66, visible=0), LARGE, ''),
    # Only what lies within the box, 75 to 224 either way, covers it.
    (LARGE, hand(181, 75, 130, 149, visible=0), 'left'),
    (LARGE, hand(179, 75, 130, 149, visible=0), ''),
    # At the border the box is where it was shifted to, 0 to 149, of which
    # the other covers 0.267 and 0.334.
    (hand(0, 100, 100, 100), hand(110, 75, 130, 149, visible=0), 'left'),
    (hand(0, 100, 100, 100), hand(100, 75, 130, 149, visible=0), ''),
]


@pytest.mark.parametrize('left, right, expected', SELECTED_BY_ANY_BOX + SELECTED_BY_BOX)
def test_hands_are_selected_by_each_of_the_rules(tmp_path, left, right, expected):
    # A second image, so that no split is empty.
    write_rhd(tmp_path, [(left, right), (hand(), NO_HAND)])
    found = selection(RHDDataset(data_root=str(tmp_path)))
    assert found == [(0, t) for t in expected.split()] + [(1, 'left')]
    assert found == naive_samples(annotation_of(tmp_path, 'train'))


def test_random_hands_have_the_boxes_and_the_selection_of_naive_rules(tmp_path):
    rng = np.random.default_rng(0)
    pairs = [
        tuple(
            hand(
                # Over all borders; the same corners again in whole pixels, where
                # rounding meets ties.
                *(rng.uniform(-60, 300, 2).round(i % 2)),
                *(rng.uniform(20, 240, 2).round(i % 2)),
                rng.integers(15, 22),
            )
            for _ in range(2)
        )
        for i in range(300)
    ]
    write_rhd(tmp_path, pairs)
    dataset = RHDDataset(data_root=str(tmp_path))
    found = selection(dataset)
    annotation = annotation_of(tmp_path, 'train')
    assert found == naive_samples(annotation)
    assert 50 < len(found) < 550
    shifted = 0
    for (number, hand_type), sample in zip(found, samples_of(dataset)):
        half = slice(21) if hand_type == 'left' else slice(21, 42)
        rows = annotation[number]['uv_vis'][half]
        np.testing.assert_allclose(sample['bbox'][0], naive_box(rows), atol=1e-4)
        places = rows[:, :2]
        middle = (places.min(axis=0) + places.max(axis=0)) / 2
        center = np.reshape(sample['bbox'], (2, 2)).mean(axis=0)
        shifted += np.abs(center - middle).max() > 2
    assert shifted > 50


def test_generated_hands_are_selected_as_by_the_naive_rules(hand_pair):
    for split in FOLDER_OF_SPLIT:
        found = selection(RHDDataset(data_root=str(hand_pair), split=split))
        assert found == naive_samples(annotation_of(hand_pair, split)) != []


def test_no_published_crop_of_a_generated_hand_reaches_out_of_its_image(hand_pair):
    white = np.full((320, 320, 3), 255, np.uint8)
    for sample in samples_of(RHDDataset(data_root=str(hand_pair))):
        assert Compose(CROP)(dict(sample, img=white.copy()))['img'].min() == 255


@needs_real_rhd
@pytest.mark.parametrize(
    'split, expected',
    [('train', [(111, 'left'), (1111, 'left')]), ('test', [(11111, 'right')])],
)
def test_real_hands_are_selected_as_by_the_naive_rules(split, expected):
    found = selection(RHDDataset(data_root=str(REAL_RHD), split=split))
    assert found == naive_samples(annotation_of(REAL_RHD, split)) == expected


def test_splits_are_the_published_folders(tmp_path):
    one, other = hand(10), hand(150)
    write_rhd(tmp_path, [(one, NO_HAND)] * 3, [(other, NO_HAND)] * 2)
    paths = {}
    for split in ('train', 'test', 'all'):
        dataset = RHDDataset(data_root=str(tmp_path), split=split)
        paths[split] = [s['img_path'] for s in samples_of(dataset)]
        assert [s['id'] for s in samples_of(dataset)] == list(range(len(dataset)))
    assert len(paths['train']) == 3 and len(paths['test']) == 2
    assert all('training' in p for p in paths['train'])
    assert all('evaluation' in p for p in paths['test'])
    assert paths['all'] == paths['train'] + paths['test']


def test_validation_split_is_every_fifth_training_hand(tmp_path):
    # Two hands of every other image: hands are counted, not images.
    two, one = (hand(10), hand(200)), (hand(150), NO_HAND)
    write_rhd(tmp_path, [two, one] * 4, [one] * 9)
    everything, val, train_val = (
        selection(RHDDataset(data_root=str(tmp_path), split=split))
        for split in ('train', 'val', 'train-val')
    )
    assert len(everything) == 12
    assert val == [everything[i] for i in (0, 5, 10)]
    assert train_val == [everything[i] for i in (1, 2, 3, 4, 6, 7, 8, 9, 11)]


def test_root_may_be_the_published_folder_or_the_one_above(tmp_path):
    write_rhd(tmp_path, [(hand(), NO_HAND)])
    above = samples_of(RHDDataset(data_root=str(tmp_path)))
    itself = samples_of(RHDDataset(data_root=str(tmp_path / 'RHD_published_v2')))
    assert above[0]['img_path'] == itself[0]['img_path']
    assert os.path.isfile(above[0]['img_path'])


# Samples


def test_a_sample_holds_its_rows_from_root_to_tip(tmp_path):
    left, right = hand(10, 100, visible=19, seed=1), hand(200, 100, visible=18, seed=2)
    write_rhd(tmp_path, [(left, right)])
    found = samples_of(RHDDataset(data_root=str(tmp_path)))
    assert len(found) == 2
    for sample, rows in zip(found, (left, right)):
        assert sample['keypoints'].shape == (1, 21, 2)
        for place, row in enumerate(ROOT_TO_TIP):
            np.testing.assert_allclose(
                sample['keypoints'][0, place], rows[row, :2], rtol=1e-6
            )
            assert sample['keypoints_visible'][0, place] == rows[row, 2]
        left = {10: 0, 200: 180}[rows[:, 0].min()]
        assert sample['bbox'].tolist() == [[left, 80, left + 119, 199]]


def test_a_box_is_at_most_the_image(tmp_path):
    write_rhd(tmp_path, [(hand(0, 0, 300, 200), NO_HAND)])
    (sample,) = samples_of(RHDDataset(data_root=str(tmp_path)))
    np.testing.assert_allclose(sample['bbox'], [[0, 0, 319, 319]])


def real_hands():
    """(sample, its xyz from root to tip, K) of every real hand."""
    for split in FOLDER_OF_SPLIT:
        annotation = annotation_of(REAL_RHD, split)
        for sample in samples_of(RHDDataset(data_root=str(REAL_RHD), split=split)):
            image = annotation[int(Path(sample['img_path']).stem)]
            half = slice(21) if sample['hand_type'] == 'left' else slice(21, 42)
            # Which published row each keypoint is, by its place in the image.
            rows = [
                int(np.abs(image['uv_vis'][half, :2] - point).sum(axis=1).argmin())
                for point in sample['keypoints'][0]
            ]
            assert sorted(rows) == list(range(21))
            yield sample, image['xyz'][half][rows], image['K']


@needs_real_rhd
def test_real_keypoints_are_projections_of_the_real_joints():
    # So the order of the keypoints is that of the joints, below.
    for sample, xyz, K in real_hands():
        projected = xyz @ K.T
        projected = projected[:, :2] / projected[:, 2:]
        # The file is rounded to a tenth of a pixel.
        np.testing.assert_allclose(sample['keypoints'][0], projected, atol=0.1)


@needs_real_rhd
def test_real_joints_run_from_root_to_tip():
    for _, xyz, _ in real_hands():
        for start in (1, 5, 9, 13, 17):
            finger = xyz[start : start + 4]
            # Neighbours in the list are neighbours in the finger,
            shortest = min(
                itertools.permutations(range(4)),
                key=lambda order: sum(bones(finger[list(order)])),
            )
            assert shortest in ((0, 1, 2, 3), (3, 2, 1, 0))
            # and a finger's bones grow shorter towards its tip.
            assert bones(finger)[0] > bones(finger)[2]


@needs_real_rhd
def test_real_fingers_run_from_thumb_to_little_finger():
    for _, xyz, _ in real_hands():
        roots = xyz[[5, 9, 13, 17]]
        shortest = min(
            itertools.permutations(range(4)),
            key=lambda order: sum(bones(roots[list(order)])),
        )
        assert shortest in ((0, 1, 2, 3), (3, 2, 1, 0))
        index, little = np.linalg.norm(xyz[[5, 17]] - xyz[2], axis=1)
        assert index < little
        # The wrist is far from every root but the thumb's.
        from_wrist = np.linalg.norm(xyz - xyz[0], axis=1)
        assert from_wrist[1] < from_wrist[[5, 9, 13, 17]].min()


def bones(chain):
    return np.linalg.norm(np.diff(chain, axis=0), axis=1)


@needs_real_rhd
def test_real_images_pass_the_pipeline():
    dataset = RHDDataset(
        data_root=str(REAL_RHD), split='all', pipeline=CROP, test_mode=True
    )
    for i in range(3):
        results = dataset[i]
        assert results['img'].shape == (256, 256, 3)
        assert results['img'].std() > 10
        keypoints = results['transformed_keypoints'][0]
        assert (keypoints > 0).all() and (keypoints < 256).all()
        # The hand's extent is two thirds of the box, which is rounded.
        assert np.ptp(keypoints, axis=0).max() == pytest.approx(256 / 1.5, rel=0.03)


@needs_real_rhd
def test_real_crops_are_those_that_slicing_the_image_gives():
    for split in FOLDER_OF_SPLIT:
        annotation = annotation_of(REAL_RHD, split)
        dataset = RHDDataset(data_root=str(REAL_RHD), split=split)
        for sample in samples_of(dataset):
            number = int(Path(sample['img_path']).stem)
            is_right = sample['hand_type'] == 'right'
            half = slice(21, 42) if is_right else slice(21)
            rows = annotation[number]['uv_vis'][half][ROOT_TO_TIP]
            x1, y1, x2, y2 = naive_box(rows)
            img = cv2.imread(sample['img_path'])
            keypoints = (rows[:, :2] - [x1, y1]) * 256 / (x2 - x1)
            if is_right:
                img = img[y1:y2, x1 + 1 : x2 + 1][:, ::-1]
                keypoints[:, 0] = 256 - keypoints[:, 0]
            else:
                img = img[y1:y2, x1:x2]
            result = Compose(CROP)(dict(sample))
            found = result['transformed_keypoints'][0]
            np.testing.assert_allclose(found, keypoints, atol=1e-3)
            # The middle of the first pixel stays where it is, for keypoints too.
            resize = np.float32([[256 / (x2 - x1), 0, 0], [0, 256 / (y2 - y1), 0]])
            resized = cv2.warpAffine(np.ascontiguousarray(img), resize, (250, 250))
            difference = np.abs(result['img'][:250, :250].astype(int) - resized)
            assert difference.mean() < 0.5


CROP = [
    dict(type='LoadWholeImage'),
    dict(type='MirrorRightHand'),
    dict(type='GetBBoxCenterScale', padding=1.0),
    dict(type='TopdownAffine', input_size=(256, 256)),
]


@pytest.mark.parametrize('hand_type', ['left', 'right'])
def test_marks_at_the_keypoints_are_found_again_in_the_crop(tmp_path, hand_type):
    places = [(x, y) for y in range(60, 260, 40) for x in range(120, 320, 40)][:21]
    rows = np.array([(x, y, 1) for x, y in places], float)
    img = np.zeros((320, 320, 3), np.uint8)
    for place, row in enumerate(ROOT_TO_TIP):
        x, y = places[row]
        # The red of a mark says which keypoint it is.
        img[y - 4 : y + 5, x - 4 : x + 5] = (0, 255, 10 * (place + 1))
    pair = (rows, NO_HAND) if hand_type == 'left' else (NO_HAND, rows)
    write_rhd(tmp_path, [pair])
    dataset = RHDDataset(data_root=str(tmp_path), pipeline=CROP)
    cv2.imwrite(dataset.get_data_info(0)['img_path'], img)
    results = dataset[0]
    crop, keypoints = results['img'].astype(int), results['transformed_keypoints'][0]
    reds = [crop[int(round(y)), int(round(x)), 2] for x, y in keypoints]
    np.testing.assert_allclose(reds, 10 * np.arange(1, 22), atol=2)
    # The marks' own centres, of the crop's nearest green region.
    _, _, _, centers = cv2.connectedComponentsWithStats(
        (crop[..., 1] > 127).astype(np.uint8)
    )
    assert len(centers) == 22
    for keypoint in keypoints:
        nearest = np.abs(centers[1:] - keypoint).max(axis=1).min()
        assert nearest < 0.5
    # Mirrored: keypoints that were in the image from left to right are so no more.
    runs_left = keypoints[2, 0] - keypoints[1, 0]
    was = rows[ROOT_TO_TIP[2], 0] - rows[ROOT_TO_TIP[1], 0]
    assert np.sign(runs_left) == np.sign(was) * (1 if hand_type == 'left' else -1)


def test_left_and_right_of_one_hand_look_the_same_to_the_network(tmp_path):
    rng = np.random.default_rng(0)
    img = cv2.GaussianBlur(rng.integers(0, 256, (320, 320, 3), np.uint8), (0, 0), 3)
    left = hand(90, 110)
    right = left.copy()
    right[:, 0] = 319 - left[:, 0]
    write_rhd(tmp_path, [(left, NO_HAND), (NO_HAND, right)])
    dataset = RHDDataset(data_root=str(tmp_path))
    found = []
    for sample, pixels in zip(samples_of(dataset), (img, img[:, ::-1])):
        cv2.imwrite(sample['img_path'], pixels)
        found.append(Compose(CROP)(sample))
    one, other = found
    # Of the published box the first pixel is counted, the one after the last not:
    # the mirrored one lies one pixel of the image beside it.
    pixel = 256 / 119
    np.testing.assert_allclose(
        one['transformed_keypoints'] - [pixel, 0],
        other['transformed_keypoints'],
        atol=1e-3,
    )


# Scale


@pytest.mark.slow
def test_an_index_of_the_published_size_is_held_serialised(tmp_path, monkeypatch):
    number = 41258
    write_rhd(tmp_path, [(hand(), NO_HAND)])
    folder = tmp_path / 'RHD_published_v2' / 'training'
    rng = np.random.default_rng(0)
    shift = rng.uniform(-50, 50, (number, 1, 2)).astype(np.float32)
    uv_vis = np.tile(np.concatenate([hand(), NO_HAND])[None], (number, 1, 1))
    uv_vis = uv_vis.astype(np.float32)
    uv_vis[:, :21, :2] += shift
    with open(folder / 'anno_training.pickle', 'wb') as file:
        pickle.dump({i: dict(uv_vis=array) for i, array in enumerate(uv_vis)}, file)
    names = [f'{i:05d}.png' for i in range(number)]
    listings = []
    monkeypatch.setattr(os, 'listdir', lambda path: listings.append(path) or names)
    dataset = RHDDataset(data_root=str(tmp_path))
    assert len(dataset) == number
    assert len(listings) == 1
    # MMEngine keeps the samples in one block of bytes, which workers share.
    assert len(dataset.data_list) == 0
    assert len(dataset.data_bytes) > number
    last = dataset.get_data_info(number - 1)
    assert last['img_path'].endswith('41257.png')
    np.testing.assert_allclose(
        last['keypoints'][0], uv_vis[-1, :21, :2][ROOT_TO_TIP], rtol=1e-6
    )


# Broken input


def refused(match, **kwargs):
    with pytest.raises(InputError, match=match) as error:
        RHDDataset(**kwargs)
    return str(error.value)


def test_a_missing_folder_is_answered_by_the_expected_tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused('is not the published dataset', data_root='nowhere')
    assert str(tmp_path / 'nowhere') in message
    for part in (
        'RHD_published_v2/',
        'training/',
        'anno_training.pickle',
        'evaluation/',
        'anno_evaluation.pickle',
        'color/00000.png',
        'https://lmb.informatik.uni-freiburg.de/',
    ):
        assert part in message


def test_a_missing_annotation_is_named(tmp_path):
    write_rhd(tmp_path, [(hand(), NO_HAND)])
    path = tmp_path / 'RHD_published_v2' / 'training' / 'anno_training.pickle'
    path.unlink()
    assert str(path) in refused('does not exist', data_root=str(tmp_path))


def test_a_missing_image_is_named(tmp_path):
    write_rhd(tmp_path, [(hand(), NO_HAND)] * 3)
    path = tmp_path / 'RHD_published_v2' / 'training' / 'color' / '00001.png'
    path.unlink()
    assert str(path) in refused('annotated but missing', data_root=str(tmp_path))


def test_a_missing_folder_of_images_is_named(tmp_path):
    write_rhd(tmp_path, [(hand(), NO_HAND)])
    shutil.rmtree(tmp_path / 'RHD_published_v2' / 'training' / 'color')
    assert '00000.png' in refused('annotated but missing', data_root=str(tmp_path))


def test_an_empty_split_is_named(tmp_path):
    write_rhd(tmp_path, [(hand(visible=3), NO_HAND)])
    for split in ('train', 'test'):
        message = refused('is empty', data_root=str(tmp_path), split=split)
        assert f'"{split}"' in message


def test_a_wrong_split_is_answered_by_the_splits(tmp_path):
    message = refused('"dev"', data_root=str(tmp_path), split='dev')
    assert 'train, test, all, train-val, val' in message


GOOD = dict(uv_vis=np.zeros((42, 3)))


@pytest.mark.parametrize(
    'annotation',
    [
        [GOOD],
        None,
        'text',
        {0: None},
        {0: [1, 2]},
        {0: np.zeros((42, 3))},
        {0: dict(xyz=np.zeros((42, 3)))},
        {0: dict(uv_vis=np.zeros((21, 3)))},
        {0: dict(uv_vis=np.zeros((42, 2)))},
        {0: dict(uv_vis=None)},
        {0: dict(uv_vis=[[1, 2, 3], [4]])},
        {0: dict(uv_vis=np.full((42, 3), 'x'))},
        {0: dict(uv_vis=np.full((42, 3), np.nan))},
        {0: dict(uv_vis=np.full((42, 3), np.inf))},
        {0: GOOD, 'one': GOOD},
        {0: GOOD, 1.5: GOOD},
        {0: GOOD, None: GOOD},
    ],
    ids=lambda value: repr(value)[:40].replace('\n', ''),
)
def test_a_pickle_that_is_not_rhds_is_named(tmp_path, annotation):
    write_rhd(tmp_path, [(hand(), NO_HAND)])
    path = tmp_path / 'RHD_published_v2' / 'training' / 'anno_training.pickle'
    with open(path, 'wb') as file:
        pickle.dump(annotation, file)
    message = refused('annotation file', data_root=str(tmp_path))
    assert str(path) in message and 'uv_vis' in message
