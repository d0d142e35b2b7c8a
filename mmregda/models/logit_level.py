r"""The level of logits that were trained as the values of a heatmap.

Methods read a head's output :math:`z` as logits. A head that was trained by squared
errors gives a Gaussian of peak 1, whose softmax is nearly uniform: of a perfect one
the divergence from the label is 3.32 nats, where knowing nothing costs 3.81 (48 x 64,
sigma 2). A factor of 7 makes it 1.24 and moves no maximum; training does the rest.
"""

from __future__ import annotations

import math
from typing import List, NamedTuple

import torch
from torch import Tensor, nn

from mmregda.codecs.position_space import Maps
from mmregda.models.losses import KeypointKLLoss

# Bisections of the logarithm between e^-9 and e^9: to 1e-8 of the factor.
_STEPS = 30


class Level(NamedTuple):
    """A factor for logits, and the divergence (nats) without and with it."""

    factor: float
    before: float
    after: float


@torch.no_grad()
def fit_level(logits: Maps, labels: Maps, weights: Tensor) -> Level:
    r"""Fit the factor :math:`b` that minimises :math:`KL(P_T \| softmax(b z))`.

    The divergence is convex in :math:`b`; its slope is the mean of :math:`z` under
    the softmax less that under the label.

    Args:
        logits (list[Tensor]): Each (B, K, P).
        labels (list[Tensor]): Not negative, of the same shapes.
        weights (Tensor): (B, K); keypoints of weight 0 do not count.

    Returns:
        Level: With a factor of 1 if no keypoint counts.
    """
    loss = KeypointKLLoss()
    counted = weights > 0
    for y in labels:
        counted = counted & (y.sum(dim=-1) > 0)
    if not counted.any():
        return Level(1.0, 0.0, 0.0)
    logits, labels = ([m[counted].float()[None] for m in x] for x in (logits, labels))
    pairs = [(z, y / y.sum(dim=-1, keepdim=True)) for z, y in zip(logits, labels)]
    low, high = -9.0, 9.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        factor = math.exp(middle)
        if sum(((torch.softmax(factor * z, -1) - p) * z).sum() for z, p in pairs) < 0:
            low = middle
        else:
            high = middle
    factor = math.exp(high)
    after = loss([factor * z for z in logits], labels)
    return Level(factor, float(loss(logits, labels)), float(after))


@torch.no_grad()
def multiply_logits(layers: List[nn.Module], factor: float) -> None:
    """Have layers that compute logits give them multiplied by a factor.

    Args:
        layers (list[nn.Module]): Convolutions or linear layers; their weights change.
        factor (float): Positive.
    """
    for layer in layers:
        for parameter in (layer.weight, layer.bias):
            if parameter is not None:
                parameter.mul_(factor)
