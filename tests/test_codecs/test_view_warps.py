"""Keypoints and maps between views, against OpenCV, SciPy and MMPose's codecs."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmpose.codecs import MSRAHeatmap, SimCCLabel, UDPHeatmap
from mmpose.structures import PoseDataSample
from mmpose.structures.bbox import get_udp_warp_matrix, get_warp_matrix
from scipy.ndimage import map_coordinates

from mmregda import InputError
from mmregda.codecs import GaussianHeatmap
from mmregda.codecs.position_space import HeatmapSpace, SimCCSpace
from mmregda.codecs.view_warps import ViewWarp, warp_keypoints, warp_maps

WIDTH, HEIGHT = 192, 256
# Pixels of the input for a cell, and the cells of a map, in x and y.
GRIDS = {
    'corner at 0': ((4.0, 4.0), (48, 64)),
    'corner on corner': ((191 / 47, 255 / 63), (48, 64)),
    'one axis finer': ((2.0, 4.0), (96, 64)),
}


def affine(angle=0.0, scale=(1.0, 1.0), shear=(0.0, 0.0), shift=(0.0, 0.0), flip=''):
    """About the middle of a view, (3, 3); angles in degrees."""
    angle, *shear = np.radians([angle, *shear])
    cos, sin = np.cos(angle), np.sin(angle)
    linear = (
        np.array([[cos, -sin], [sin, cos]])
        @ np.array([[1, np.tan(shear[0])], [np.tan(shear[1]), 1]])
        @ np.diag(scale)
        @ np.diag([-1 if 'x' in flip else 1, -1 if 'y' in flip else 1])
    )
    middle = np.array([WIDTH, HEIGHT]) / 2
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = middle + shift - linear @ middle
    return matrix


AFFINES = dict(
    same=affine(),
    rotation=affine(angle=37),
    half_turn=affine(angle=-180),
    scale=affine(scale=(1.3, 1.3)),
    one_axis=affine(scale=(0.7, 1.2)),
    shear=affine(shear=(30, -12)),
    translation=affine(shift=(10.25, -7.5)),
    flip=affine(flip='x'),
    upside_down=affine(flip='y'),
    everything=affine(-143, (0.6, 0.8), (20, 10), (-9.6, 12.8), 'x'),
)


def samples(matrices, flip_indices=None):
    metainfo = dict(input_size=(WIDTH, HEIGHT), flip_indices=flip_indices)
    return [
        PoseDataSample(metainfo=dict(metainfo, image_to_view=matrix))
        for matrix in matrices
    ]


def points(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, [WIDTH - 1, HEIGHT - 1], (count, 2))


def smooth_maps(count, height=64, width=48):
    """Noise without detail, in whose borders something is, too."""
    rng = np.random.default_rng(count)
    noise = rng.uniform(size=(count, height, width)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(m, (0, 0), 3) for m in noise])


@pytest.mark.parametrize('name', AFFINES)
def test_keypoints_go_where_opencv_takes_them(name):
    # Views lie anywhere in an image of thousands of pixels.
    image = affine(25, (0.11, 0.11), shift=(-2100, 1700))
    warp = ViewWarp.between(samples([image]), samples([AFFINES[name] @ image]))
    expected = cv2.transform(points(50)[None], AFFINES[name][:2])
    if 'flip' in name or name in ('upside_down', 'everything'):
        with pytest.raises(InputError, match='flip_indices of 50 keypoints'):
            warp.keypoints(torch.tensor(points(50)[None]))
        same = list(range(50))
        warp = ViewWarp.between(
            samples([image], same), samples([AFFINES[name] @ image], same)
        )
    found, inside = warp.keypoints(torch.tensor(points(50)[None], dtype=torch.float32))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    x, y = expected[0].T
    within = (x >= -0.5) & (x < WIDTH - 0.5) & (y >= -0.5) & (y < HEIGHT - 0.5)
    np.testing.assert_array_equal(inside[0], within)
    back, _ = warp.inverse().keypoints(found)
    np.testing.assert_allclose(back[0], points(50), atol=1e-3)


def test_each_image_of_a_batch_has_its_own_map():
    left = [affine(k * 40.0, (0.8, 0.8)) for k in range(9)]
    right = [affine(-k * 17.0, (1.1, 1.1), shift=(k, -k)) for k in range(9)]
    keypoints = np.stack([points(6, seed) for seed in range(9)])
    warp = ViewWarp.between(samples(left), samples(right))
    found, _ = warp.keypoints(torch.tensor(keypoints))
    for index in range(9):
        matrix = right[index] @ np.linalg.inv(left[index])
        expected = cv2.transform(keypoints[index : index + 1], matrix[:2])[0]
        np.testing.assert_allclose(found[index], expected, atol=1e-3)


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('name', AFFINES)
def test_maps_are_sampled_as_by_opencv_and_scipy(name, grid):
    stride, (width, height) = GRIDS[grid]
    maps = smooth_maps(5, height, width)
    inverse = np.linalg.inv(AFFINES[name])
    found, inside = warp_maps(
        torch.from_numpy(maps)[None], torch.tensor(inverse[None, :2]), stride
    )
    # Cell by cell, in double precision.
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns.ravel() * stride[0], rows.ravel() * stride[1]])
    x, y = inverse[:2, :2] @ pixels + inverse[:2, 2:]
    u, v = x / stride[0], y / stride[1]
    # Of a cell just outside, the nearer half is seen, as by OpenCV.
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    expected = [map_coordinates(m, [v + 1, u + 1], order=1) for m in padded]
    np.testing.assert_allclose(found[0].flatten(1), expected, atol=2e-5)
    near = 2e-3
    far = np.array([width, height])[:, None] - 1
    certain = ((np.stack([u, v]) > near) & (np.stack([u, v]) < far - near)).all(0)
    beyond = ((np.stack([u, v]) < -near) | (np.stack([u, v]) > far + near)).any(0)
    assert inside[0].flatten()[certain].all() and certain.sum() > 500
    assert not inside[0].flatten()[beyond].any()
    # OpenCV takes positions to a 32nd of a cell.
    to_pixels = np.diag([*stride, 1])
    cells = (np.linalg.inv(to_pixels) @ AFFINES[name] @ to_pixels)[:2]
    by_opencv = np.stack([cv2.warpAffine(m, cells, (width, height)) for m in maps])
    step = max(np.abs(np.gradient(maps, axis=(1, 2))).max(), maps.max())
    np.testing.assert_allclose(found[0], by_opencv, atol=step / 16)
    assert np.abs(found[0].numpy() - by_opencv).mean() < step / 300


@pytest.mark.parametrize('name', AFFINES)
def test_maps_come_back_to_bilinear_accuracy(name):
    maps = torch.from_numpy(smooth_maps(3))[None]
    matrix = torch.tensor(AFFINES[name][None, :2])
    inverse = torch.tensor(np.linalg.inv(AFFINES[name])[None, :2])
    there, inside = warp_maps(maps, inverse, (4, 4))
    back, seen = warp_maps(there, matrix, (4, 4))
    # What left the view is not there to come back, nor what leans on it.
    whole = warp_maps(inside.float(), matrix, (4, 4))[0] > 0.999
    whole = (whole & seen).expand_as(maps)
    assert whole.float().mean() > 0.3
    # Twice the largest error of linear interpolation, h^2 / 8 of each axis' curve.
    curve = max(
        np.abs(np.diff(maps.numpy(), n=2, axis=axis)).max() for axis in (-2, -1)
    )
    coarser = max(1, np.linalg.norm(AFFINES[name][:2, :2], 2)) ** 2
    coarser *= max(1, np.linalg.norm(inverse[0, :, :2], 2)) ** 2
    assert (back - maps)[whole].abs().max() < 2 * 2 * curve / 8 * coarser


CODECS = {
    'msra': (
        MSRAHeatmap((WIDTH, HEIGHT), (48, 64), sigma=2, unbiased=True),
        get_warp_matrix,
    ),
    'udp': (UDPHeatmap((WIDTH, HEIGHT), (48, 64), sigma=2), get_udp_warp_matrix),
}


def centre_of(heatmaps):
    """Of mass, (K, 2), x and y in cells."""
    rows, columns = np.mgrid[: heatmaps.shape[1], : heatmaps.shape[2]]
    weights = heatmaps / heatmaps.sum(axis=(1, 2), keepdims=True)
    return np.stack([(weights * columns).sum((1, 2)), (weights * rows).sum((1, 2))], 1)


@pytest.mark.parametrize('name', CODECS)
def test_heatmap_of_one_view_lies_on_the_labels_of_the_other(name):
    codec, warp_of = CODECS[name]
    views = []
    for center, scale, angle in (((320, 250), 1.0, 25), ((310, 262), 1.25, -40)):
        box = np.array([WIDTH, HEIGHT]) * scale
        matrix = warp_of(np.array(center, float), box, angle, (WIDTH, HEIGHT))
        views.append(np.vstack([matrix, [0, 0, 1]]))
    keypoints = np.random.default_rng(0).uniform([285, 215], [345, 295], (20, 2))
    cells = []
    for view in views:
        seen = cv2.transform(keypoints[None], view[:2]).astype(np.float32)
        # MMPose cuts its Gaussians around the nearest cell, which shifts them a bit.
        labels = codec.encode(seen)['heatmaps']
        cells.append(seen[0] / codec.scale_factor)
        np.testing.assert_allclose(centre_of(labels), cells[-1], atol=0.012)
    rows, columns = np.mgrid[:64, :48]
    u, v = cells[0].T[:, :, None, None]
    heatmaps = np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 8)
    warp = ViewWarp.between(samples(views[:1]), samples(views[1:]))
    found, _ = warp.maps(torch.from_numpy(heatmaps)[None], codec.scale_factor)
    # In cells. Half a pixel of the input would be an eighth of one.
    np.testing.assert_allclose(centre_of(found[0].numpy()), cells[1], atol=5e-3)
    positions = torch.from_numpy(cells[0] * codec.scale_factor)[None]
    taken, inside = warp.keypoints(positions)
    assert inside.all()
    np.testing.assert_allclose(taken[0], cells[1] * codec.scale_factor, atol=1e-3)


SPACES = {
    'heatmaps': (HeatmapSpace, GaussianHeatmap((WIDTH, HEIGHT), (48, 64), sigma=1.5)),
    'udp': (HeatmapSpace, CODECS['udp'][0]),
    'simcc': (
        SimCCSpace,
        SimCCLabel((WIDTH, HEIGHT), sigma=(4.9, 5.66), normalize=False),
    ),
}


@pytest.mark.parametrize('name', SPACES)
def test_keypoints_of_another_view_are_placed_where_their_labels_would_be(name):
    kind, codec = SPACES[name]
    space = kind(SimpleNamespace(decoder=codec))
    pixels = points(40).astype(np.float32)
    # MMPose rounds a half to the even place, of SimCC.
    pixels = pixels[np.abs(pixels * 2 % 1 - 0.5).min(axis=1) > 1e-3]
    found = space.on_grid(torch.from_numpy(pixels[None]))[0].numpy()
    encoded = codec.encode(pixels[None])
    if name == 'simcc':
        labels = [encoded[f'keypoint_{axis}_labels'][0] for axis in 'xy']
        expected = np.stack([label.argmax(axis=1) for label in labels], axis=1)
    else:
        flat = encoded['heatmaps'].reshape(len(pixels), -1)
        expected = np.stack(np.divmod(flat.argmax(axis=1), 48)[::-1], axis=1)
    # Of the last pixels, the nearest cell is beyond the map.
    inside = (found < ((384, 512) if name == 'simcc' else (48, 64))).all(axis=1)
    assert inside.mean() > 0.9
    np.testing.assert_array_equal(found[inside], expected[inside])


def test_left_and_right_change_places_where_a_view_is_mirrored():
    flip_indices = [0, 2, 1, 3]
    views = [affine(), affine()], [affine(flip='x'), affine(angle=20)]
    warp = ViewWarp.between(*(samples(view, flip_indices) for view in views))
    keypoints = torch.tensor(np.stack([points(4), points(4)]))
    maps = torch.from_numpy(np.stack([smooth_maps(4)] * 2))
    plain = ViewWarp.between(*(samples(view, range(4)) for view in views))
    (found, inside), (expected, expected_inside) = (
        w.keypoints(keypoints) for w in (warp, plain)
    )
    assert torch.equal(found[0], expected[0, flip_indices])
    assert torch.equal(inside[0], expected_inside[0, flip_indices])
    assert torch.equal(found[1], expected[1])
    (found, _), (expected, _) = (w.maps(maps, (4, 4)) for w in (warp, plain))
    assert torch.equal(found[0], expected[0, flip_indices])
    assert torch.equal(found[1], expected[1])
    back, _ = warp.inverse().keypoints(warp.keypoints(keypoints)[0])
    torch.testing.assert_close(back, keypoints, atol=1e-3, rtol=0)


def test_samples_that_do_not_know_where_they_lie_are_refused():
    unknown = [PoseDataSample(metainfo=dict(input_size=(WIDTH, HEIGHT)))]
    with pytest.raises(InputError, match='image_to_view.*UnlabeledDataset'):
        ViewWarp.between(unknown, unknown)


def test_gradients_are_those_of_finite_differences():
    matrix = torch.tensor(AFFINES['everything'][None, :2])
    maps = torch.rand(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    stride = (WIDTH / 4, HEIGHT / 5)
    assert torch.autograd.gradcheck(lambda m: warp_maps(m, matrix, stride)[0], maps)
    keypoints = torch.rand(1, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda k: warp_keypoints(k, matrix), keypoints)


def test_autocast_takes_no_digit_of_a_position():
    warp = ViewWarp.between(samples([affine(13)]), samples([affine(-29)]))
    keypoints = torch.tensor(points(10)[None], dtype=torch.float32)
    maps = torch.from_numpy(smooth_maps(2))[None].bfloat16()
    expected = warp.keypoints(keypoints)[0], warp.maps(maps.float(), (4, 4))[0]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = warp.keypoints(keypoints)[0], warp.maps(maps, (4, 4))[0]
    for tensor, other in zip(found, expected):
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, other, atol=1e-4, rtol=0)
    # An argmax is whole.
    whole = warp.keypoints(keypoints.long())[0]
    assert torch.equal(whole, warp.keypoints(keypoints.long().float())[0])


def test_everything_is_computed_on_the_device_and_nothing_is_waited_for():
    """Of a meta tensor there are no values that the host could look at."""
    mirrored = [affine(5), affine(9, flip='x')]
    warp = ViewWarp.between(
        samples([affine(), affine()], range(3)), samples(mirrored, range(3)), 'meta'
    )
    for way in (warp, warp.inverse()):
        keypoints, inside = way.keypoints(torch.empty(2, 3, 2, device='meta'))
        assert keypoints.is_meta and keypoints.shape == (2, 3, 2)
        assert inside.is_meta and inside.shape == (2, 3)
        maps, inside = way.maps(torch.empty(2, 3, 8, 6, device='meta'), (32, 32))
        assert maps.is_meta and maps.shape == (2, 3, 8, 6)
        assert inside.is_meta and inside.shape == (2, 1, 8, 6)


def test_a_map_of_one_column_is_no_division_by_zero():
    maps = torch.rand(1, 1, 5, 1)
    same = torch.eye(3)[None, :2]
    found, inside = warp_maps(maps, same, (4, 4))
    torch.testing.assert_close(found, maps)
    assert inside.all()
