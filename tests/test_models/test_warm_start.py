"""The warm start's schedule and its gradient."""

import math

import pytest
import torch

from mmregda.models.adaptations import WarmStartGradientScale


def test_schedule_is_the_formula():
    scale = WarmStartGradientScale(hi=0.3, lo=0.05, alpha=2.0, num_iters=10)
    for i in range(50):
        span = 0.3 - 0.05
        expected = 2 * span / (1 + math.exp(-2.0 * i / 10)) - span + 0.05
        assert scale.scale.item() == pytest.approx(expected, abs=1e-6)
        scale.step()


def test_paper_settings_start_at_zero_and_approach_a_tenth():
    scale = WarmStartGradientScale()
    assert scale.scale == 0
    scale.iteration.fill_(15000)
    assert scale.scale.item() == pytest.approx(0.1, abs=1e-6)


def test_values_pass_and_gradients_are_scaled_not_reversed():
    warm_start = WarmStartGradientScale()
    warm_start.iteration.fill_(700)
    x = torch.randn(3, 4, requires_grad=True)
    (passed,) = warm_start((x,))
    assert torch.equal(passed, x)
    (passed.square().sum()).backward()
    torch.testing.assert_close(x.grad, 2 * x.detach() * warm_start.scale)
    assert warm_start.scale > 0


def test_counter_is_saved_with_the_model():
    warm_start = WarmStartGradientScale()
    for _ in range(3):
        warm_start.step()
    other = WarmStartGradientScale()
    other.load_state_dict(warm_start.state_dict())
    assert other.iteration == 3
