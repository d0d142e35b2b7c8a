"""Transforms, against step-by-step implementations and other libraries."""

import itertools
import math
import random
import struct
import zlib

import cv2
import mmcv
import numpy as np
import pytest
from mmengine.dataset import Compose
from mmpose.registry import TRANSFORMS
from PIL import Image, ImageEnhance
from scipy import ndimage, stats

from mmregda import InputError
from mmregda.datasets import (
    ColorJitter,
    LoadWholeImage,
    MirrorRightHand,
    RandomGaussianBlur,
    RandomRotatedSubCrop,
    WholeImageBox,
    looked_at,
)

INPUT_SIDE = 256
CODECS = dict(
    GaussianHeatmap=(dict(heatmap_size=(16, 12), sigma=1.5), (4, 4), (16, 12)),
    MSRAHeatmap=(dict(heatmap_size=(16, 12), sigma=2), (4, 4), (16, 12)),
    UDPHeatmap=(dict(heatmap_size=(16, 12)), (63 / 15, 47 / 11), (16, 12)),
    SimCCLabel=(dict(simcc_split_ratio=2.0, sigma=4.0), (0.5, 0.5), (128, 96)),
    RegressionLabel=({}, (1, 1), (64, 48)),
)


def noise(seed=0, shape=(60, 80, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def drawn(monkeypatch):
    """Exchanges the random draws, and keeps the ranges that were asked for."""

    def exchange(values, order=None):
        values, asked = iter(values), []

        def uniform(low, high):
            asked.append((low, high))
            return next(values)

        def shuffle(items):
            if order is not None:
                items[:] = [items[i] for i in order]

        monkeypatch.setattr(random, 'uniform', uniform)
        monkeypatch.setattr(random, 'shuffle', shuffle)
        return asked

    return exchange


# LoadWholeImage


@pytest.fixture
def write(tmp_path):
    def write_file(name, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write_file


def encoded(extension, img=None) -> bytes:
    img = cv2.GaussianBlur(noise(shape=(120, 90, 3)), (0, 0), 3) if img is None else img
    return cv2.imencode(extension, img)[1].tobytes()


def load(path, **kwargs):
    return LoadWholeImage(**kwargs).transform(dict(img_path=path))


@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'a.bmp'])
def test_a_whole_image_loads_as_opencv_loads_it(write, name):
    path = write(name, encoded(name[1:]))
    results = load(path)
    np.testing.assert_array_equal(results['img'], cv2.imread(path))
    assert results['img'].dtype == np.uint8
    assert results['img_shape'] == results['ori_shape'] == (120, 90)


def test_a_grey_image_loads_in_three_channels(write):
    path = write('grey.png', encoded('.png', noise(shape=(20, 30))))
    assert load(path)['img'].shape == (20, 30, 3)


def test_options_of_the_librarys_loader_are_kept(write):
    path = write('a.png', encoded('.png'))
    assert load(path, to_float32=True)['img'].dtype == np.float32
    assert load(path, color_type='grayscale')['img'].shape == (120, 90)


def test_an_image_in_memory_passes():
    img = noise()
    results = LoadWholeImage().transform(dict(img=img))
    assert results['img'] is img and results['img_shape'] == (60, 80)


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@pytest.mark.parametrize('count', [100, 100_000])
def test_bytes_behind_the_end_of_an_image_do_no_harm(write, extension, count):
    path = write('a' + extension, encoded(extension) + b'\0' * count)
    np.testing.assert_array_equal(load(path)['img'], cv2.imread(path))


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@pytest.mark.parametrize('kept', [0.05, 0.5, 0.9, 0.999])
def test_an_image_cut_short_is_named(write, extension, kept):
    content = encoded(extension)
    path = write('cut' + extension, content[: int(kept * len(content))])
    assert_names(path, 'cut short')


@pytest.mark.parametrize(
    'content',
    [b'', b'\xff', b'no image', b'<html></html>', bytes(5000)],
    ids=['empty', 'byte', 'text', 'html', 'zeros'],
)
def test_what_is_no_image_is_named(write, content):
    assert_names(write('a.png', content), 'cannot be decoded')


def test_an_image_of_absurd_size_is_named(write):
    def chunk(kind, data):
        crc = struct.pack('>I', zlib.crc32(kind + data))
        return struct.pack('>I', len(data)) + kind + data + crc

    header = struct.pack('>IIBBBBB', 2**30, 2**30, 8, 2, 0, 0, 0)
    png = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IEND', b'')
    assert_names(write('a.png', png), 'too large to be decoded')


def test_a_missing_image_is_named(tmp_path):
    assert_names(str(tmp_path / 'none.png'), 'does not exist')


def test_a_folder_in_the_place_of_an_image_is_named(tmp_path):
    assert_names(str(tmp_path), 'cannot be read')


def assert_names(path, complaint):
    with pytest.raises(InputError, match=complaint) as error:
        load(path)
    assert path in str(error.value)


# WholeImageBox


def test_the_whole_image_becomes_the_box():
    results = WholeImageBox().transform(dict(img_shape=(30, 40)))
    np.testing.assert_array_equal(results['bbox'], [[0, 0, 40, 30]])
    np.testing.assert_array_equal(results['bbox_score'], [1])


def test_a_box_that_is_there_stays():
    box = np.array([[1, 2, 3, 4]], np.float32)
    results = WholeImageBox().transform(dict(img_shape=(30, 40), bbox=box))
    np.testing.assert_array_equal(results['bbox'], [[1, 2, 3, 4]])
    np.testing.assert_array_equal(results['bbox_score'], [1])


# Geometry


def square_sample(center=(150.0, 130.0), side=120.0, **kwargs):
    return dict(
        bbox_center=np.array([center], np.float32),
        bbox_scale=np.array([[side, side]], np.float32),
        **kwargs,
    )


def step_by_step(points, center, crop_side, angle, side, x, y):
    """Rotate the crop about its centre, cut the square out, resize it."""
    turn = math.radians(angle)
    results = []
    for px, py in points:
        # 1. The crop, turned about its centre against the clock.
        dx, dy = px - center[0], py - center[1]
        turned_x = math.cos(turn) * dx + math.sin(turn) * dy + crop_side / 2
        turned_y = -math.sin(turn) * dx + math.cos(turn) * dy + crop_side / 2
        # 2. The square, whose centre is (x, y) from the crop's.
        left = crop_side * (0.5 + x - side / 2)
        upper = crop_side * (0.5 + y - side / 2)
        # 3. To the network's input.
        zoom = INPUT_SIDE / (crop_side * side)
        results.append([(turned_x - left) * zoom, (turned_y - upper) * zoom])
    return np.array(results)


DRAWS = [
    (0, 1, 0, 0),
    (30, 1, 0, 0),
    (0, 0.8, 0.1, -0.05),
    (90, 0.8, 0.1, 0.0),
    (-137, 0.78, -0.11, 0.11),
    (180, 0.9, 0.05, 0.02),
]


@pytest.mark.parametrize('use_udp', [False, True])
@pytest.mark.parametrize('draw', DRAWS)
def test_points_land_where_three_separate_steps_put_them(drawn, draw, use_udp):
    angle, side, x, y = draw
    drawn([angle, side**2, x, y])
    points = np.random.default_rng(0).uniform(60, 220, (21, 2)).astype(np.float32)
    results = square_sample(img=noise(), keypoints=points[None])
    results = crop_and_warp(results, use_udp)
    # UDP turns the other way, and from the first pixel's centre to the last one's.
    draw = (-angle, side, x, y) if use_udp else draw
    expected = step_by_step(points, (150, 130), 120, *draw)
    expected *= (INPUT_SIDE - 1) / INPUT_SIDE if use_udp else 1
    np.testing.assert_allclose(results['transformed_keypoints'][0], expected, atol=2e-3)


def crop_and_warp(results, use_udp=False):
    results = RandomRotatedSubCrop(rotation=180, use_udp=use_udp).transform(results)
    side = (INPUT_SIDE, INPUT_SIDE)
    warp = dict(type='TopdownAffine', input_size=side, use_udp=use_udp)
    return TRANSFORMS.build(warp)(results)


@pytest.mark.parametrize('draw', DRAWS)
def test_pixels_come_from_where_three_separate_steps_take_them(drawn, draw):
    def scene(x, y):
        return 120 + 60 * np.sin(x / 17) + 50 * np.cos(y / 23 + x / 41)

    columns, rows = np.meshgrid(np.arange(320.0), np.arange(300.0))
    img = np.repeat(scene(columns, rows)[..., None], 3, axis=2).astype(np.float32)
    angle, side, x, y = draw
    drawn([angle, side**2, x, y])
    found = crop_and_warp(square_sample(img=img))['img'][..., 0]
    # The map of the points, solved backwards for each pixel of the output.
    origin, right, down = step_by_step([(0, 0), (1, 0), (0, 1)], (150, 130), 120, *draw)
    linear = np.stack([right - origin, down - origin], axis=1)
    columns, rows = np.meshgrid(np.arange(INPUT_SIDE), np.arange(INPUT_SIDE))
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
    source = np.linalg.solve(linear, (pixels - origin).T)
    expected = scene(*source).reshape(INPUT_SIDE, INPUT_SIDE)
    np.testing.assert_allclose(found, expected, atol=0.5)


@pytest.fixture(scope='module')
def crops():
    """Angle, area and relative place of many draws on a crop of side 1000."""
    random.seed(0)
    transform = RandomRotatedSubCrop(rotation=180, area=(0.6, 1.0))
    rows = []
    for _ in range(3000):
        results = transform.transform(square_sample((500.0, 400.0), 1000.0))
        angle = float(results['bbox_rotation'][0])
        side = results['bbox_scale'][0] / 1000
        assert side[0] == side[1]
        turn = math.radians(angle)
        dx, dy = (results['bbox_center'][0] - [500, 400]) / 1000
        # In the frame of the rotated crop.
        x = math.cos(turn) * dx + math.sin(turn) * dy
        y = -math.sin(turn) * dx + math.cos(turn) * dy
        rows.append((angle, float(side[0]), x, y))
    return np.array(rows).T


def test_cut_out_stays_inside_of_the_rotated_crop(crops):
    _, side, x, y = crops
    for place in (x, y):
        assert (np.abs(place) + side / 2 <= 0.5 + 1e-4).all()


@pytest.mark.parametrize('what', ['angle', 'area', 'x', 'y'])
def test_draws_are_uniform(crops, what):
    angle, side, x, y = crops
    room = (1 - side) / 2
    roomy = room > 1e-3
    values, low, high = dict(
        angle=(angle, -180, 180),
        area=(side**2, 0.6, 1.0),
        x=(x[roomy] / room[roomy], -1, 1),
        y=(y[roomy] / room[roomy], -1, 1),
    )[what]
    assert values.min() >= low - 1e-2 * (high - low)
    assert values.max() <= high + 1e-2 * (high - low)
    assert stats.kstest(values, 'uniform', (low, high - low)).pvalue > 0.01


def test_a_box_that_is_not_square_is_cut_as_the_square_around_it(drawn):
    drawn([0, 0.64, 0, 0])
    sample = square_sample()
    sample['bbox_scale'] = np.array([[100, 60]], np.float32)
    results = RandomRotatedSubCrop(rotation=180).transform(sample)
    np.testing.assert_allclose(results['bbox_scale'], [[80, 80]])


def test_no_rotation_and_the_whole_area_change_nothing():
    transform = RandomRotatedSubCrop(rotation=0, area=(1.0, 1.0))
    results = transform.transform(square_sample())
    np.testing.assert_allclose(results['bbox_center'], [[150, 130]])
    np.testing.assert_allclose(results['bbox_scale'], [[120, 120]])
    assert results['bbox_rotation'] == [0]


@pytest.mark.parametrize('area', [(0, 1), (0.8, 0.6), (0.5, 1.1)])
def test_an_area_that_is_no_range_is_refused(area):
    with pytest.raises(ValueError, match='area'):
        RandomRotatedSubCrop(rotation=180, area=area)


def image_with_dots(points, shape=(300, 320)):
    """Grey, with a spot of its own blue at each point, and the spots' blues."""
    columns, rows = np.meshgrid(np.arange(shape[1]), np.arange(shape[0]))
    images = []
    for x, y in points:
        spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
        images.append((255 * spot).astype(np.float32))
    return images


def centroid(img):
    columns, rows = np.meshgrid(np.arange(img.shape[1]), np.arange(img.shape[0]))
    return np.array([(img * columns).sum(), (img * rows).sum()]) / img.sum()


@pytest.mark.parametrize('hand_type', ['left', 'right'])
@pytest.mark.parametrize('seed', range(3))
def test_dots_in_the_image_stay_under_their_keypoints(seed, hand_type):
    points = np.array([[140.0, 120.0], [165.0, 135.0], [150.0, 150.0]], np.float32)
    pipeline = Compose(
        [
            dict(type='MirrorRightHand'),
            dict(type='GetBBoxCenterScale', padding=1.0),
            dict(type='RandomRotatedSubCrop', rotation=180),
            dict(type='TopdownAffine', input_size=(INPUT_SIDE, INPUT_SIDE)),
        ]
    )
    for k, img in enumerate(image_with_dots(points)):
        random.seed(seed)
        results = pipeline(
            dict(
                img=img,
                img_shape=img.shape,
                bbox=np.array([[90, 70, 210, 190]], np.float32),
                keypoints=points[None].copy(),
                keypoints_visible=np.ones((1, 3), np.float32),
                flip_indices=[0, 1, 2],
                hand_type=hand_type,
            )
        )
        keypoint = results['transformed_keypoints'][0, k]
        assert (keypoint > 20).all() and (keypoint < INPUT_SIDE - 20).all()
        np.testing.assert_allclose(centroid(results['img']), keypoint, atol=0.05)


# MirrorRightHand


def handed_sample(hand_type):
    rng = np.random.default_rng(1)
    points = rng.integers(5, 45, (1, 21, 2)).astype(np.float32)
    img = np.zeros((50, 70, 3), np.uint8)
    for k, (x, y) in enumerate(points[0].astype(int)):
        img[y, x] = 10 * (k + 1)
    return dict(
        img=img,
        img_shape=(50, 70),
        bbox=np.array([[3, 4, 33, 34]], np.float32),
        keypoints=points,
        keypoints_visible=rng.integers(0, 2, (1, 21)).astype(np.float32),
        flip_indices=list(range(21)),
        hand_type=hand_type,
    )


def test_a_right_hands_keypoints_mirror_exactly_with_its_image():
    before = handed_sample('right')
    after = MirrorRightHand().transform(handed_sample('right'))
    np.testing.assert_array_equal(after['img'], before['img'][:, ::-1])
    assert after['img'].flags.c_contiguous
    for (x, y), (old_x, old_y) in zip(after['keypoints'][0], before['keypoints'][0]):
        assert (x, y) == (69 - old_x, old_y)
        mark, old_mark = (
            after['img'][int(y), int(x)],
            before['img'][int(old_y), int(old_x)],
        )
        assert (mark == old_mark).all() and (mark > 0).all()
    np.testing.assert_array_equal(
        after['keypoints_visible'], before['keypoints_visible']
    )
    np.testing.assert_array_equal(after['bbox'], [[69 - 33, 4, 69 - 3, 34]])


def test_a_left_hand_stays_as_it_is():
    before = handed_sample('left')
    after = MirrorRightHand().transform(handed_sample('left'))
    for key in ('img', 'keypoints', 'keypoints_visible', 'bbox'):
        np.testing.assert_array_equal(after[key], before[key])


@pytest.mark.parametrize('hand_type', [None, np.array([[1, 0]])])
def test_a_hand_of_unknown_side_stays_as_it_is(hand_type):
    before, sample = handed_sample('left'), handed_sample(hand_type)
    if hand_type is None:
        del sample['hand_type']
    after = MirrorRightHand().transform(sample)
    for key in ('img', 'keypoints', 'keypoints_visible', 'bbox'):
        np.testing.assert_array_equal(after[key], before[key])


def test_a_hand_without_labels_is_mirrored_too():
    sample = handed_sample('right')
    del sample['keypoints'], sample['keypoints_visible']
    after = MirrorRightHand().transform(sample)
    np.testing.assert_array_equal(after['img'], handed_sample('right')['img'][:, ::-1])


# Colours and blur


PIL_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@pytest.mark.parametrize('order', list(itertools.permutations(range(3))))
@pytest.mark.parametrize('factors', [(0.75, 1.1, 1.25), (1.25, 0.8, 0.75), (1, 1, 1)])
def test_colour_jitter_is_pils_brightness_contrast_and_saturation(
    drawn, order, factors
):
    img = cv2.GaussianBlur(noise(2), (0, 0), 2)
    img = cv2.normalize(img, None, 0, 255, cv2.NORM_MINMAX)
    asked = drawn(factors, order)
    found = ColorJitter(strength=0.25).transform(dict(img=img.copy()))['img']
    assert asked == [(0.75, 1.25)] * 3
    expected = Image.fromarray(np.ascontiguousarray(img[..., ::-1]))
    for enhancer, factor in zip([PIL_ENHANCERS[i] for i in order], factors):
        expected = enhancer(expected).enhance(factor)
    expected = np.asarray(expected)[..., ::-1].astype(int)
    assert found.dtype == np.uint8
    # Each of three steps may round to its other side.
    assert np.abs(found - expected).max() <= 3
    assert np.abs(found - expected).mean() < 1


@pytest.mark.parametrize('factor', [0.0, 0.75, 0.9, 1.0, 1.13, 1.25, 2.0])
def test_colour_jitter_is_mmcvs_to_the_bit(factor):
    enhancers = (mmcv.adjust_brightness, mmcv.adjust_contrast, mmcv.adjust_color)
    for seed, sigma in enumerate((0.1, 1, 5)):
        img = cv2.GaussianBlur(noise(seed), (0, 0), sigma)
        for ours, theirs in zip(ColorJitter._ENHANCERS, enhancers):
            np.testing.assert_array_equal(ours(img, factor), theirs(img, factor))


def test_colour_jitter_gives_bytes_for_an_image_of_floats():
    img = noise().astype(np.float32) + 30
    found = ColorJitter(strength=0).transform(dict(img=img))['img']
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.minimum(img, 255))


def test_colour_jitter_shuffles_its_three_changes(monkeypatch):
    seen = []
    recorders = [lambda img, _, i=i: seen.append(i) or img for i in range(3)]
    monkeypatch.setattr(ColorJitter, '_ENHANCERS', tuple(recorders))
    random.seed(0)
    for _ in range(100):
        ColorJitter().transform(dict(img=noise()))
    orders = {tuple(seen[i : i + 3]) for i in range(0, 300, 3)}
    assert orders == set(itertools.permutations(range(3)))


def test_no_strength_changes_no_colour():
    img = noise()
    np.testing.assert_array_equal(
        ColorJitter(strength=0).transform(dict(img=img.copy()))['img'], img
    )


@pytest.mark.parametrize('radius', [0.0, 0.05, 0.15, 0.4, 0.8])
def test_blur_is_a_gaussian_of_the_drawn_radius(drawn, radius):
    img = noise(3)
    asked = drawn([radius])
    found = RandomGaussianBlur(max_radius=0.8).transform(dict(img=img.copy()))['img']
    assert asked == [(0, 0.8)]
    expected = ndimage.gaussian_filter(
        img.astype(float), (radius, radius, 0), mode='mirror', truncate=8
    )
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() < 3
    assert np.abs(found - expected).mean() < 0.6


def test_blur_changes_an_image_in_most_draws():
    random.seed(0)
    img = noise(4)
    changed = [
        (RandomGaussianBlur().transform(dict(img=img.copy()))['img'] != img).any()
        for _ in range(40)
    ]
    assert sum(changed) > 20


@pytest.mark.parametrize('codec', CODECS)
@pytest.mark.parametrize('columns', [None, 2])
def test_keypoints_outside_of_the_crop_weigh_nothing(codec, columns):
    """By the nearest of all places, those beyond the grid included."""
    settings, scale, size = CODECS[codec]
    encoder = dict(type=codec, input_size=(64, 48), **settings)
    target = [dict(type='GenerateTarget', encoder=encoder)]
    nested = dict(type='RandomApply', transforms=target, prob=1.0)
    cfg = looked_at(dict(type='Any', dataset=dict(pipeline=[nested])))
    transform = TRANSFORMS.build(cfg['dataset']['pipeline'][0])
    rng = np.random.default_rng(0)
    points = rng.uniform((-12, -12), (76, 60), (1, 500, 2)).astype(np.float32)
    visible = (rng.random((1, 500)) < 0.9).astype(np.float32)
    expected = visible.copy()
    for k, point in enumerate(points[0]):
        for value, unit, count in zip(point, scale, size):
            places = np.arange(-40, count + 40)
            nearest = places[np.abs(places * unit - value).argmin()]
            expected[0, k] *= 0 <= nearest < count
    given = visible if columns is None else np.stack([visible] * columns, axis=-1)
    results = dict(transformed_keypoints=points, keypoints_visible=given.copy())
    results = transform(results)
    # RegressionLabel of MMPose ends where the last pixel begins.
    borders = codec == 'RegressionLabel' and ((points < 0) | (points > (63, 47))).any(
        axis=-1
    )
    np.testing.assert_array_equal(
        results['keypoint_weights'], np.where(borders, 0, expected)
    )
    np.testing.assert_array_equal(results['keypoints_visible'], visible)
    assert 100 < expected.sum() < 400


def test_other_transforms_stay_as_they_are():
    pipeline = [dict(type='GetBBoxCenterScale'), dict(type='Albumentation')]
    assert looked_at(dict(pipeline=pipeline))['pipeline'] == pipeline
