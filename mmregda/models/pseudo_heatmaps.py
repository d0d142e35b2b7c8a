r"""Pseudo labels as heatmaps, on the device and in closed form.

Notation of the paper: :math:`\mathcal{J}(p)` is the argmax of each keypoint's
heatmap, :math:`\mathcal{H}(y)` the Gaussian heatmap of a keypoint.
"""

from __future__ import annotations

from typing import Tuple

import torch
from torch import Tensor


def argmax_keypoints(logits: Tensor) -> Tensor:
    r"""The position of each heatmap's maximum, :math:`\mathcal{J}(p)`.

    The softmax keeps the order, so logits serve as well as probabilities.

    Args:
        logits (Tensor): (B, K, h, w).

    Returns:
        Tensor: (B, K, 2), x and y in heatmap pixels, int64.
    """
    width = logits.shape[-1]
    position = logits.detach().flatten(2).argmax(dim=-1)
    y = torch.div(position, width, rounding_mode='floor')
    return torch.stack((position - y * width, y), dim=-1)


def gaussian_heatmaps(
    keypoints: Tensor, size: Tuple[int, int], sigma: float = 2.0
) -> Tensor:
    r"""Ground truth heatmaps :math:`\mathcal{H}(y_k)`.

    A Gaussian of peak 1 that is zero where x or y is further than 3 sigma
    from the keypoint, as MMPose's ``MSRAHeatmap`` encodes labels. It is the
    outer product of its two axes.

    Args:
        keypoints (Tensor): (B, K, 2), x and y in heatmap pixels.
        size (tuple[int, int]): Height and width of the heatmap in pixels.
        sigma (float): Standard deviation in pixels.

    Returns:
        Tensor: (B, K, h, w), float32.
    """
    h, w = size
    # Both axes at once, on the longer: these are many operations on few numbers.
    grid = torch.arange(max(size), device=keypoints.device, dtype=torch.float32)
    distance = grid - keypoints.float().unsqueeze(-1)
    axes = torch.exp(-distance.square() / (2 * sigma**2))
    along_x, along_y = (axes * (distance.abs() <= 3 * sigma)).unbind(dim=-2)
    return along_y[..., :h, None] * along_x[..., None, :w]


def confidence_of(logits: Tensor, heatmaps: Tensor) -> Tensor:
    r"""The probability of being where a pseudo label's heatmap is not zero.

    Args:
        logits (Tensor): (B, K, h, w), read as a distribution of each keypoint.
        heatmaps (Tensor): :math:`\mathcal{H}(y_k)`, of the same shape.

    Returns:
        Tensor: (B, K), between 0 and 1, without a gradient.
    """
    probability = logits.detach().flatten(2).float().softmax(dim=-1)
    return (probability * (heatmaps.flatten(2) > 0)).sum(dim=-1)


def ground_false_heatmaps(heatmaps: Tensor) -> Tensor:
    r"""Ground false heatmaps, equation (3).

    .. math::
        \mathcal{H}_F(y)_k = \sum_{k' \ne k} \mathcal{H}(y_{k'})

    clamped to [0, 1]: where other keypoints are, a wrong prediction of this
    one is likely to fall. The sum without one's own takes no K x K work.

    Args:
        heatmaps (Tensor): (B, K, h, w), the ground truth heatmaps.

    Returns:
        Tensor: (B, K, h, w).
    """
    return (heatmaps.sum(dim=1, keepdim=True) - heatmaps).clamp_(0, 1)
