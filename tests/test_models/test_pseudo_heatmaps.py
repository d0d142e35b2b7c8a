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


class _Watch(TorchDispatchMode):
    """Notes what is allocated, and what would wait for a GPU."""

    WAITING = ('_local_scalar_dense', 'nonzero', 'index', 'masked_select', 'equal')

    def __init__(self):
        super().__init__()
        self.sizes, self.waits, self.kept = [], [], {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name in self.WAITING:
            self.waits.append(name)
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.kept:
                self.sizes.append(storage.nbytes())
                # So that no other gets its address.
                self.kept[storage.data_ptr()] = storage
        return result


def watch(num_keypoints, batch_size=2, side=32):
    shape = (batch_size, num_keypoints, side, side)
    logits = torch.randn(shape).requires_grad_()
    watching = _Watch()
    with watching:
        keypoints = argmax_keypoints(logits)
        heatmaps = gaussian_heatmaps(keypoints, logits.shape[-2:])
        loss = KeypointKLLoss()(logits, heatmaps)
        loss = loss + GroundFalseKLLoss()(logits, heatmaps)
        loss.backward()
    return watching, logits.numel() * logits.element_size()


@pytest.mark.parametrize('num_keypoints', [5, 133])
def test_cost_is_linear_and_nothing_waits_for_the_device(num_keypoints):
    watching, size = watch(num_keypoints)
    assert watching.waits == []
    assert max(watching.sizes) == size, 'something is larger than the heatmaps'
    large = [nbytes for nbytes in watching.sizes if nbytes == size]
    # H and H_F; for each loss the distribution, log p, the divergence and three
    # gradients; the sum of both gradients and its copy.
    assert len(large) <= 2 + 2 * 6 + 2
    # All else are sums: over keypoints, positions or pixels of an axis.
    assert sum(watching.sizes) < (len(large) + 2) * size


def test_watch_sees_what_it_is_to_forbid():
    watching = _Watch()
    with watching:
        others = 1 - torch.eye(50)
        (others @ torch.ones(50, 9)).sum().item()
        torch.ones(3)[torch.ones(3) > 0]
    assert {'_local_scalar_dense', 'index'} <= set(watching.waits)
    assert max(watching.sizes) == 50 * 50 * 4
