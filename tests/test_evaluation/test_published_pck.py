"""PCK as published, against loops over heatmaps, batch by batch."""

import math

import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from mmpose.codecs import MSRAHeatmap
from mmpose.structures import PoseDataSample

from mmregda import InputError
from mmregda.datasets import BODY16, HAND21
from mmregda.datasets.keypoints import KEYPOINT_GROUPS
from mmregda.evaluation import PublishedPCK

HAND = KEYPOINT_GROUPS['hand21']


def peak(heatmap):
    """Column and row of the largest value; (0, 0) of an empty heatmap."""
    best, place = 0, (0, 0)
    for row in range(len(heatmap)):
        for column in range(len(heatmap[row])):
            if heatmap[row][column] > best:
                best, place = heatmap[row][column], (column, row)
    return place


def naive_batch(predicted, truth, groups, thr):
    """Group accuracies of one batch of heatmaps (B, K, side, side)."""
    num_images, num_keypoints, side, _ = truth.shape
    accuracy = []
    for k in range(num_keypoints):
        right = counted = 0
        for i in range(num_images):
            x, y = peak(truth[i, k])
            if x > 1 and y > 1:
                found_x, found_y = peak(predicted[i, k])
                distance = math.hypot(found_x - x, found_y - y)
                counted += 1
                right += distance / (side / 10) < 10 * thr
        accuracy.append(right / counted if counted else -1)
    return {
        name: sum(accuracy[k] for k in indices) / len(indices)
        for name, indices in groups.items()
    }


def naive_pck(predicted, truth, groups, batch_size=32, thr=0.05):
    """A meter over batches, each weighted by its number of images."""
    total, images = dict.fromkeys(groups, 0), 0
    for begin in range(0, len(truth), batch_size):
        batch = slice(begin, begin + batch_size)
        number = len(truth[batch])
        found = naive_batch(predicted[batch], truth[batch], groups, thr)
        for name, value in found.items():
            total[name] += value * number
        images += number
    return {f'PCK_published/{name}': total[name] / images for name in groups}


def drawn(rng, num, side=64, num_keypoints=21, error=3.0):
    """Keypoints in input pixels, visibility, heatmaps of truth and prediction."""
    stride, cells = 4, np.arange(side)
    # Some are out of the input, some at its border.
    keypoints = rng.uniform(-12, 4 * side + 12, (num, num_keypoints, 2))
    visible = rng.random((num, num_keypoints)) < 0.8
    truth = np.zeros((num, num_keypoints, side, side))
    predicted = rng.uniform(0, 0.5, truth.shape)
    for i in range(num):
        for k in range(num_keypoints):
            column, row = (int(c / stride + 0.5) for c in keypoints[i, k])
            inside = 0 <= column < side and 0 <= row < side
            if visible[i, k] and inside:
                square = (cells - column) ** 2 + (cells[:, None] - row) ** 2
                truth[i, k] = np.exp(-square / 8)
            at = np.array([row, column]) + rng.normal(0, error, 2)
            row, column = at.round().clip(0, side - 1).astype(int)
            predicted[i, k, row, column] = 1
    return keypoints, visible, truth, predicted


def packed(keypoints, visible, predicted, rng):
    """Samples whose crops are anywhere in the image, decoded as MMPose does."""
    side = predicted.shape[-1]
    codec = MSRAHeatmap((4 * side, 4 * side), (side, side), sigma=2)
    samples = []
    for i in range(len(keypoints)):
        center = rng.uniform(50, 250, 2).astype(np.float32)
        scale = np.full(2, rng.uniform(60, 400), np.float32)
        decoded, _ = codec.decode(predicted[i])
        sample = PoseDataSample(
            metainfo=dict(
                input_size=(4 * side, 4 * side), input_center=center, input_scale=scale
            )
        )

        def to_image(points, center=center, scale=scale):
            return points / (4 * side) * scale + center - 0.5 * scale

        sample.pred_instances = InstanceData(keypoints=to_image(decoded))
        sample.gt_instances = InstanceData(
            keypoints=to_image(keypoints[i][None]).astype(np.float32),
            keypoints_visible=visible[i][None].astype(np.float32),
        )
        samples.append(sample)
    return samples


def measured(samples, loaded=7, metainfo=HAND21, **kwargs):
    """Through MMEngine's evaluator, in batches of another size."""
    metric = dict(type='PublishedPCK', **dict(dict(groups='hand21'), **kwargs))
    evaluator = Evaluator([metric])
    evaluator.dataset_meta = metainfo
    for begin in range(0, len(samples), loaded):
        evaluator.process(data_samples=samples[begin : begin + loaded], data_batch=None)
    return evaluator.evaluate(len(samples))


@pytest.mark.parametrize('side, thr', [(64, 0.05), (32, 0.05), (40, 0.05), (64, 0.1)])
def test_equals_loops_over_heatmaps_batch_by_batch(side, thr):
    rng = np.random.default_rng(side)
    # The last batch of 32 has 6.
    keypoints, visible, truth, predicted = drawn(rng, 38, side, error=side / 25)
    samples = packed(keypoints, visible, predicted, rng)
    expected = naive_pck(predicted, truth, HAND, thr=thr)
    assert measured(samples, thr=thr) == pytest.approx(expected, abs=1e-12)
    assert 0.1 < expected['PCK_published/Avg'] < 0.99
    # What is drawn tells small batches from large.
    fewer = naive_pck(predicted, truth, HAND, batch_size=3, thr=thr)
    assert fewer != pytest.approx(expected, abs=1e-3)
    assert measured(samples, thr=thr, batch_size=3) == pytest.approx(fewer, abs=1e-12)


def test_bodies_are_grouped_as_published():
    rng = np.random.default_rng(1)
    keypoints, visible, truth, predicted = drawn(rng, 10, num_keypoints=16)
    groups = KEYPOINT_GROUPS['body16']
    samples = packed(keypoints, visible, predicted, rng)
    found = measured(samples, metainfo=BODY16, groups='body16')
    assert found == pytest.approx(naive_pck(predicted, truth, groups), abs=1e-12)


def test_the_loaders_batches_do_not_matter():
    rng = np.random.default_rng(2)
    keypoints, visible, _, predicted = drawn(rng, 20, 32)
    samples = packed(keypoints, visible, predicted, rng)
    assert measured(samples, loaded=1) == measured(samples, loaded=20)


def one(truth, predicted, visible=1.0, batch=1, **kwargs):
    """Avg of one keypoint, in heatmap pixels, of a heatmap of 64."""
    sample = dict(
        input_size=(256, 256),
        input_center=(128, 128),
        input_scale=(256, 256),
        gt_instances=dict(
            keypoints=4 * np.asarray(truth, float).reshape(1, 1, 2),
            keypoints_visible=np.full((1, 1), visible),
        ),
        pred_instances=dict(keypoints=4 * np.asarray(predicted, float)[None, None]),
    )
    metric = PublishedPCK(groups=dict(Avg=[0]), **kwargs)
    metric.process([], [sample])
    return metric.evaluate(1)['PCK_published/Avg']


@pytest.mark.parametrize(
    'truth, predicted, expected',
    [
        # 3.16 pixels are correct, 3.6 are not; both are rounded first.
        ((30, 30), (33, 31), 1),
        ((30, 30), (33, 32), 0),
        ((30.49, 30), (33.4, 31.4), 1),
        ((29.4, 30), (33, 30), 0),
        # The refinement of a decoder changes nothing.
        ((30, 30), (33.25, 31.25), 1),
        # A truth in the first two columns or rows, or out of the heatmap.
        ((1.4, 30), (1, 30), -1),
        ((1.5, 30), (2, 30), 1),
        ((30, 1.4), (30, 1), -1),
        ((63.4, 30), (63, 30), 1),
        ((63.5, 30), (63, 30), -1),
        ((30, -9), (30, 0), -1),
        # Whatever is predicted for a keypoint that counts.
        ((30, 30), (np.nan, 30), 0),
    ],
)
def test_rounding_threshold_and_borders(truth, predicted, expected):
    assert one(truth, predicted) == expected


def test_a_distance_of_exactly_the_threshold_is_wrong():
    # 0.0625 of 64 pixels are 4.
    assert one((30, 30), (34, 30), thr=0.0625) == 0
    assert one((30, 30), (33, 32), thr=0.0625) == 1


def test_an_invisible_keypoint_is_missing():
    assert one((30, 30), (30, 30), visible=0.0) == -1


def test_wrong_groups_are_named():
    with pytest.raises(InputError, match='PublishedPCK.*"hand22".*hand21'):
        PublishedPCK(groups='hand22')
