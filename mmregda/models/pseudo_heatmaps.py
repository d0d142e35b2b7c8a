r"""Pseudo labels as heatmaps, on the device and in closed form.

Notation of the paper: :math:`\mathcal{J}(p)` is the argmax of each keypoint's
heatmap, :math:`\mathcal{H}(y)` the Gaussian heatmap of a keypoint.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmregda.codecs import gaussian_heatmaps

__all__ = [
    'argmax_keypoints',
    'gaussian_heatmaps',
    'ground_false_heatmaps',
]


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
