"""Maximum mean discrepancy."""

from __future__ import annotations

from typing import Sequence

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class MultiKernelMMDLoss(nn.Module):
    r"""Squared maximum mean discrepancy with a sum of Gaussian kernels.

    .. math::
        \mathrm{MMD}^2 = \mathbb{E}\,k(s, s') + \mathbb{E}\,k(t, t')
        - 2\,\mathbb{E}\,k(s, t), \qquad
        k(x, y) = \sum_u \exp\left(-\frac{\|x - y\|^2}{2 u \sigma^2}\right)

    in the unbiased estimate, over pairs of different vectors within a sample;
    it can be a little below 0. A sample of one vector has no such pair: the
    vector is then paired with itself. :math:`\sigma^2` is the mean squared
    distance over all pairs of both samples, as of this batch and without a
    gradient; where all vectors are alike the loss is 0 and so is its gradient.

    Source: Gretton et al., JMLR 2012, equation (3); the kernels are those of
    deep adaptation networks (Long et al., ICML 2015).

    Args:
        bandwidths (Sequence[float]): The factors u of the variance. Defaults
            to powers of two from 1/8 to 2.
    """

    def __init__(
        self, bandwidths: Sequence[float] = (0.125, 0.25, 0.5, 1.0, 2.0)
    ) -> None:
        super().__init__()
        self.bandwidths = tuple(bandwidths)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            source (Tensor): (n, C).
            target (Tensor): (m, C).

        Returns:
            Tensor: A scalar.
        """
        n, m = len(source), len(target)
        vectors = torch.cat((source, target)).float()
        # By the differences themselves: |x|^2 + |y|^2 - 2xy loses the digits
        # of vectors that are close.
        squared = (vectors.unsqueeze(1) - vectors.unsqueeze(0)).square().sum(dim=-1)
        total = n + m
        variance = squared.detach().sum() / (total * (total - 1))
        # All vectors alike: every kernel is 1, whatever its width. (Of a smaller
        # number the quotients would overflow, and their gradients be no number.)
        variance = variance.clamp(min=torch.finfo(variance.dtype).eps ** 2)
        kernel = sum(torch.exp(-squared / (2 * u * variance)) for u in self.bandwidths)
        return (
            _mean_of_pairs(kernel[:n, :n])
            + _mean_of_pairs(kernel[n:, n:])
            - 2 * kernel[:n, n:].mean()
        )


def _mean_of_pairs(kernel: Tensor) -> Tensor:
    """Mean of a kernel matrix (n, n) without its diagonal, if there is more."""
    n = len(kernel)
    if n == 1:
        return kernel.mean()
    return (kernel - torch.diag(kernel.diagonal())).sum() / (n * (n - 1))
