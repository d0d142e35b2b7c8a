"""Evidence without labels, against predictors whose answers are known."""

import random

import cv2
import numpy as np
import pytest
import torch
from mmpose.registry import DATASETS
from mmpose.structures import PoseDataSample
from mmpose.structures.bbox import get_warp_matrix

from mmregda.evaluation.validators.consistency import label_free_evidence

SIDE, CELLS = 64, 64
#: In pixels of the whole image.
POINTS = np.array([[100.0, 90.0], [110.0, 120.0], [95.0, 105.0], [120.0, 100.0]])


class RandomViews:
    """Images that all hold the same points, seen in random rotated crops."""

    def __init__(self, length=12, turn=180, shift=4.0):
        self.length, self.turn, self.shift = length, turn, shift
        self.accesses = []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.accesses.append(index)
        meta = dict(
            input_size=(SIDE, SIDE),
            input_center=np.array([105.0, 104.0])
            + np.random.uniform(-1, 1, 2) * self.shift,
            input_scale=np.full(2, random.uniform(80, 100)),
            bbox_rotation=np.array([random.uniform(-self.turn, self.turn)]),
            flip=False,
        )
        return dict(inputs=None, data_samples=PoseDataSample(metainfo=meta))


def where(sample, points):
    """The points in a view, as OpenCV warps them: pixels of the input."""
    meta = sample['data_samples']
    matrix = get_warp_matrix(
        meta.input_center, meta.input_scale, meta.bbox_rotation[0], (SIDE, SIDE)
    )
    return cv2.transform(points[None], matrix)[0]


def heatmaps(points, sharpness=8.0):
    """Logits (K, h, w) with their maxima at the points, in pixels."""
    grid = torch.arange(CELLS)
    x, y = torch.as_tensor(np.round(points)).long().T
    logits = torch.zeros(len(points), CELLS, CELLS)
    peaks = (grid == y[:, None])[:, :, None] & (grid == x[:, None])[:, None]
    return logits + sharpness * peaks


def equivariant(samples):
    return torch.stack([heatmaps(where(sample, POINTS)) for sample in samples])


def test_predictor_that_follows_every_view_is_consistent():
    found = label_free_evidence(equivariant, RandomViews())
    assert found['consistency'] == 1
    # One position of 64 x 64 stands out by 8.
    expected = np.exp(8) / (np.exp(8) + CELLS**2 - 1)
    assert found['confidence'] == pytest.approx(expected, rel=1e-4)


def test_half_of_the_keypoints_lost_is_half_the_consistency():
    def half(samples):
        logits = equivariant(samples)
        for i in range(len(samples)):
            # Far apart in any two views, and inside both.
            at = np.random.uniform(12, 52, size=(2, 2))
            logits[i, :2] = heatmaps(at)
        return logits

    found = label_free_evidence(half, RandomViews(length=200))
    # By chance two points meet within 0.05 sides: about a percent of a view.
    assert 0.5 <= found['consistency'] < 0.53


def test_same_prediction_for_every_image_is_not_consistent():
    corner = heatmaps(np.tile([[20.0, 30.0]], (4, 1)))

    def constant(samples):
        return corner.expand(len(samples), -1, -1, -1)

    turned = label_free_evidence(constant, RandomViews())['consistency']
    still = RandomViews(turn=0, shift=0.0)
    assert turned < 0.3
    # Views that hardly differ can not tell.
    assert label_free_evidence(constant, still)['consistency'] > 0.6


def test_prediction_outside_the_other_view_does_not_count():
    class LeftAndRight(RandomViews):
        """Views side by side that overlap by half."""

        def __getitem__(self, index):
            sample = super().__getitem__(index)
            right = self.accesses.count(index) == 2
            sample['data_samples'].set_metainfo(
                dict(
                    input_center=np.array([100.0 + 32 * right, 100.0]),
                    input_scale=np.array([64.0, 64.0]),
                    bbox_rotation=np.array([0.0]),
                )
            )
            return sample

    def predict(samples):
        # At x = 16: outside of the right view if seen in the left one.
        outside = heatmaps(np.tile([[16.0, 30.0]], (4, 1)))
        return outside.expand(len(samples), -1, -1, -1)

    found = label_free_evidence(predict, LeftAndRight(length=3))
    assert np.isnan(found['consistency'])


def test_views_are_the_same_for_every_model_and_leave_no_trace():
    random.seed(7)
    np.random.seed(7)
    expected = random.random(), np.random.rand()
    random.seed(7)
    np.random.seed(7)
    seen = []

    def spy(samples):
        seen.append([where(sample, POINTS) for sample in samples])
        return equivariant(samples)

    label_free_evidence(spy, RandomViews(), batch_size=5)
    assert (random.random(), np.random.rand()) == expected
    first, seen[:] = list(seen), []
    label_free_evidence(spy, RandomViews(), batch_size=5)
    for a, b in zip(first, seen):
        np.testing.assert_array_equal(a, b)


def test_each_chosen_image_is_seen_twice():
    dataset = RandomViews(length=100)
    label_free_evidence(equivariant, dataset, num_samples=5)
    assert sorted(dataset.accesses) == sorted([0, 25, 50, 74, 99] * 2)


def test_projects_own_target_gives_all_that_is_needed(hand_pair):
    from conftest import ROOT
    from mmengine.config import Config

    from mmregda.benchmark.plan import _evidence_dataset

    cfg = Config.fromfile(ROOT / 'configs/benchmark/hands.py')
    loader = cfg.unlabeled_target_loader
    loader.dataset.dataset.data_root = str(hand_pair)
    dataset = DATASETS.build(_evidence_dataset(loader))

    def center(samples):
        """Predicts the middle of the whole image, which any view can find."""
        logits = []
        for sample in samples:
            assert sample['inputs'].shape == (3, 128, 128)
            assert 'keypoints' not in sample['data_samples'].gt_instances
            meta = sample['data_samples']
            matrix = get_warp_matrix(
                meta.input_center, meta.input_scale, meta.bbox_rotation[0], (32, 32)
            )
            # Images of the rendered target have 224 pixels.
            at = cv2.transform(np.full((1, 4, 2), 112.0), matrix)[0]
            logits.append(heatmaps(at)[:, :32, :32])
        return torch.stack(logits)

    found = label_free_evidence(center, dataset)
    assert found['consistency'] > 0.95
