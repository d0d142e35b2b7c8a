"""What makes an image harder and moves no keypoint, on the device."""

from __future__ import annotations

import torch
from torch import Tensor


def perturb_(images: Tensor, num_erased: int = 2, jitter: float = 0.3) -> None:
    """Change contrast and brightness and erase rectangles, in place.

    Positions of keypoints stay. Each image has its own draws.

    Args:
        images (Tensor): Normalised, (B, 3, H, W).
        num_erased (int): Rectangles of one random colour, whose sides are
            between 8 and 30 % of the image's.
        jitter (float): Contrast is changed by a factor of 1 +- jitter,
            brightness of each channel by +- jitter standard deviations.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, 1, 1, device=images.device)

    b, c, h, w = images.shape
    images.mul_(1 + jitter * (2 * uniform(b, 1) - 1))
    images.add_(jitter * (2 * uniform(b, c) - 1))
    y = torch.arange(h, device=images.device).view(h, 1) / h
    x = torch.arange(w, device=images.device) / w
    for _ in range(num_erased):
        height, width = (0.08 + 0.22 * uniform(b, 1) for _ in 'hw')
        top, left = uniform(b, 1) * (1 - height), uniform(b, 1) * (1 - width)
        inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
        colour = torch.randn(b, c, 1, 1, device=images.device)
        images.copy_(torch.where(inside, colour, images))
