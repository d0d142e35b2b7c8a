"""Pseudo heatmaps against loops written from the formulas."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmregda.codecs import argmax_keypoints, gaussian_heatmaps
from mmregda.models.losses import GroundFalseKLLoss, KeypointKLLoss, ground_false


def naive_heatmap(x, y, height, width, sigma):
    heatmap = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            dx, dy = column - x, row - y
            if abs(dx) <= 3 * sigma and abs(dy) <= 3 * sigma:
                heatmap[row, column] = math.exp(-(dx * dx + dy * dy) / (2 * sigma**2))
    return heatmap


def test_argmax_is_the_position_of_the_largest_logit_also_if_all_are_negative():
    logits = -torch.rand(2, 3, 5, 7) - 1
    for b in range(2):
        for k in range(3):
            row, column = (b + k) % 5, (3 * b + k) % 7
            logits[b, k, row, column] = -0.5
    found = argmax_keypoints(logits)
    for b in range(2):
        for k in range(3):
            assert found[b, k].tolist() == [(3 * b + k) % 7, (b + k) % 5]


@pytest.mark.parametrize('sigma', [1.0, 1.5, 2.0])
def test_gaussians_equal_the_double_loop_in_the_middle_and_on_every_border(sigma):
    height, width = 12, 17
    positions = [(8, 6), (0, 0), (16, 11), (0, 11), (16, 0), (1, 5), (15, 10)]
    heatmaps = gaussian_heatmaps(torch.tensor([positions]), (height, width), sigma)
    for k, (x, y) in enumerate(positions):
        expected = naive_heatmap(x, y, height, width, sigma)
        np.testing.assert_allclose(heatmaps[0, k], expected, atol=1e-6)


def test_gaussians_are_those_with_which_mmpose_encodes_labels():
    from mmpose.codecs import MSRAHeatmap

    codec = MSRAHeatmap(input_size=(64, 64), heatmap_size=(64, 64), sigma=2)
    keypoints = np.array([[[0, 0], [63, 63], [10, 40], [3, 60]]], dtype=np.float32)
    encoded = codec.encode(keypoints)['heatmaps']
    ours = gaussian_heatmaps(torch.from_numpy(keypoints), (64, 64), sigma=2.0)[0]
    np.testing.assert_allclose(ours, encoded, atol=1e-6)


def test_ground_false_is_the_clamped_sum_of_all_others():
    torch.manual_seed(0)
    keypoints = torch.randint(0, 12, (3, 6, 2))
    keypoints[0, 1] = keypoints[0, 0]  # two on one pixel
    heatmaps = gaussian_heatmaps(keypoints, (12, 12), 2.0)
    found = ground_false(heatmaps)
    for b in range(3):
        for k in range(6):
            expected = sum(heatmaps[b, other] for other in range(6) if other != k)
            torch.testing.assert_close(
                found[b, k], expected.clamp(0, 1), atol=1e-6, rtol=0
            )


def test_a_lone_keypoint_has_an_empty_ground_false_heatmap():
    heatmaps = gaussian_heatmaps(torch.tensor([[[3, 3]]]), (8, 8), 2.0)
    assert ground_false(heatmaps).abs().max() == 0


class Waits(TorchDispatchMode):
    """Notes what would wait for a GPU."""

    NAMES = ('_local_scalar_dense', 'nonzero', 'index', 'masked_select', 'equal')

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.found += [name] if name in self.NAMES else []
        return function(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device():
    logits = torch.randn(2, 5, 32, 32).requires_grad_()
    with Waits() as waits:
        heatmaps = gaussian_heatmaps(argmax_keypoints(logits), logits.shape[-2:])
        loss = KeypointKLLoss()(logits, heatmaps)
        (loss + GroundFalseKLLoss()(logits, heatmaps)).backward()
        assert waits.found == []
        torch.ones(1).item()
        assert waits.found == ['_local_scalar_dense']
