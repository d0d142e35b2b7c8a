"""The slow start of the gradient between adversary and feature extractor."""

from __future__ import annotations

from typing import Any, Tuple

import torch
from torch import Tensor, nn


class _ScaleGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a scalar tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, None]:
        (scale,) = ctx.saved_tensors
        return grad * scale.to(grad.dtype), None


class WarmStartGradientScale(nn.Module):
    r"""Passes features on and scales the gradient that comes back.

    .. math::
        \gamma(i) = \frac{2 (hi - lo)}{1 + \exp(-\alpha i / N)} - (hi - lo) + lo

    after ``i`` iterations, so that an adversary that still knows nothing does
    not move the feature extractor. The counter is a buffer: it is saved and
    resumed with the model, and reading it does not stop the device.

    Args:
        hi (float): The scale that is approached. Defaults to 0.1.
        lo (float): The scale at the first iteration. Defaults to 0.
        alpha (float): Steepness. Defaults to 1.
        num_iters (int): N, the time scale in iterations. Defaults to 1000.
    """

    def __init__(
        self,
        hi: float = 0.1,
        lo: float = 0.0,
        alpha: float = 1.0,
        num_iters: int = 1000,
    ) -> None:
        super().__init__()
        self.hi = hi
        self.lo = lo
        self.alpha = alpha
        self.num_iters = num_iters
        self.register_buffer('iteration', torch.zeros((), dtype=torch.long))

    @property
    def scale(self) -> Tensor:
        """Tensor: The present gamma, a scalar on the device."""
        progress = torch.exp(-self.alpha * self.iteration.float() / self.num_iters)
        span = self.hi - self.lo
        return 2 * span / (1 + progress) - span + self.lo

    def forward(self, feats: Tuple[Tensor, ...]) -> Tuple[Tensor, ...]:
        """Pass feature maps on; their gradients are scaled on the way back."""
        scale = self.scale
        return tuple(_ScaleGradient.apply(feat, scale) for feat in feats)

    def reverse(self, feats: Tuple[Tensor, ...]) -> Tuple[Tensor, ...]:
        """Pass feature maps on; gradients come back scaled and reversed."""
        scale = -self.scale
        return tuple(_ScaleGradient.apply(feat, scale) for feat in feats)

    def step(self) -> None:
        """Count one iteration."""
        self.iteration += 1
