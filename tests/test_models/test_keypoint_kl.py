"""The losses against loops written from the formulas."""

import math

import pytest
import torch

from mmregda.codecs import gaussian_heatmaps
from mmregda.models.losses import GroundFalseKLLoss, KeypointKLLoss


def softmax(values):
    largest = max(values)
    exponentials = [math.exp(value - largest) for value in values]
    return [e / sum(exponentials) for e in exponentials]


def naive_kl(target, logits, epsilon=0.0):
    """KL of one keypoint: lists of heatmap values and of logits."""
    target = [value + epsilon for value in target]
    target = [value / sum(target) for value in target]
    return sum(t * math.log(t / p) for t, p in zip(target, softmax(logits)) if t > 0)


def naive_loss(logits, heatmaps, weights, epsilon=0.0):
    total, (batch, keypoints) = 0.0, logits.shape[:2]
    for b in range(batch):
        for k in range(keypoints):
            if weights[b, k] > 0:
                divergence = naive_kl(
                    heatmaps[b, k].flatten().tolist(),
                    logits[b, k].flatten().tolist(),
                    epsilon,
                )
                total += float(weights[b, k]) * divergence
    return total / (batch * keypoints)


@pytest.fixture
def case():
    torch.manual_seed(1)
    # With corners and borders among the keypoints.
    keypoints = torch.tensor(
        [[[0, 0], [8, 6], [4, 3], [8, 0]], [[0, 6], [4, 6], [5, 6], [2, 2]]]
    )
    heatmaps = gaussian_heatmaps(keypoints, (7, 9), 2.0).double()
    return torch.randn(2, 4, 7, 9, dtype=torch.double) * 3, heatmaps


def test_keypoint_kl_equals_the_loop(case):
    logits, heatmaps = case
    weights = torch.tensor([[1.0, 0.5, 0.0, 1.0], [1.0, 2.0, 1.0, 0.0]])
    expected = naive_loss(logits, heatmaps, weights)
    assert KeypointKLLoss()(logits, heatmaps, weights).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_ground_false_kl_equals_the_loop(case):
    logits, heatmaps = case
    ones = torch.ones(2, 4)
    false = torch.stack(
        [sum(heatmaps[:, j] for j in range(4) if j != k).clamp(0, 1) for k in range(4)],
        dim=1,
    )
    expected = naive_loss(logits, false, ones, epsilon=1e-7)
    found = GroundFalseKLLoss()(logits, heatmaps).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_kl_is_zero_for_the_prediction_that_is_the_target(case):
    _, heatmaps = case
    logits = (heatmaps + 1e-30).log()
    assert KeypointKLLoss()(logits, heatmaps).item() == pytest.approx(0, abs=1e-6)


def test_gradient_is_softmax_minus_target(case):
    logits, heatmaps = case
    logits.requires_grad_()
    KeypointKLLoss()(logits, heatmaps).backward()
    target = heatmaps / heatmaps.sum(dim=(2, 3), keepdim=True)
    expected = (logits.detach().flatten(2).softmax(-1) - target.flatten(2)) / 8
    torch.testing.assert_close(logits.grad.flatten(2), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize('loss', [KeypointKLLoss(), GroundFalseKLLoss()])
@pytest.mark.parametrize('poison', [float('nan'), float('inf'), 0.0])
def test_invisible_keypoint_adds_exactly_zero(case, loss, poison):
    logits, heatmaps = case
    weights = torch.ones(2, 4)
    weights[0, 2] = weights[1, 0] = 0
    poisoned = logits.clone()
    poisoned[0, 2] = poison
    poisoned[1, 0] = 1e4 * torch.randn(7, 9)
    assert loss(poisoned, heatmaps, weights) == loss(logits, heatmaps, weights)


def test_invisible_keypoint_with_an_empty_heatmap_is_no_nan(case):
    logits, heatmaps = case
    heatmaps[0, 1] = 0  # as MMPose encodes a keypoint outside the image
    weights = torch.ones(2, 4)
    weights[0, 1] = 0
    logits.requires_grad_()
    loss = KeypointKLLoss()(logits, heatmaps, weights)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad[0, 1].abs().max() == 0
    assert torch.isfinite(logits.grad).all()


def test_batch_with_no_visible_keypoint_is_zero_with_zero_gradient(case):
    logits, heatmaps = case
    logits.requires_grad_()
    loss = KeypointKLLoss()(logits, torch.zeros_like(heatmaps), torch.zeros(2, 4))
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().max() == 0


def test_lone_keypoint_has_the_uniform_ground_false_distribution():
    heatmaps = gaussian_heatmaps(torch.tensor([[[3, 3]]]), (8, 8), 2.0)
    uniform = GroundFalseKLLoss()(torch.zeros(1, 1, 8, 8), heatmaps)
    assert uniform.item() == pytest.approx(0, abs=1e-6)


def test_half_precision_logits_lose_nothing_in_the_sum(case):
    logits, heatmaps = case
    half = logits.half()
    expected = KeypointKLLoss()(half.double(), heatmaps)
    torch.testing.assert_close(
        KeypointKLLoss()(half, heatmaps).double(), expected.double(), rtol=1e-5, atol=0
    )
