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


def cover_(
    images: Tensor,
    keypoints: Tensor,
    candidates: Tensor,
    prob: float = 0.5,
    side: float = 20 / 256,
) -> None:
    """Hide one keypoint of some images behind another part of the same image, in place.

    UniFrame's occlusion (ECCV 2022): a keypoint that is known has to be found by what
    is around it.

    Args:
        images (Tensor): (B, 3, H, W).
        keypoints (Tensor): (B, K, 2), x and y in pixels.
        candidates (Tensor): (B, K) bool, which of them may be hidden. An image that
            has none stays as it is.
        prob (float): How many of the others are changed.
        side (float): Of the square that covers, as a part of the image's shorter side.
    """
    b, c, h, w = images.shape
    device, size = images.device, max(1, round(side * min(h, w)))
    draws = torch.rand(candidates.shape, device=device) * candidates
    chosen = draws.argmax(dim=1).view(b, 1, 1).expand(b, 1, 2)
    centre = keypoints.gather(1, chosen)
    covers = candidates.any(dim=1) & (torch.rand(b, device=device) < prob)
    inside = covers.view(b, 1, 1)
    sources = []
    for axis, length in enumerate((w, h)):
        # The square around the keypoint, as far as it lies within the image.
        begin = (centre[..., axis : axis + 1] - size / 2).round().long()
        begin = begin.clamp(0, length - size)
        other = (torch.rand(b, 1, 1, device=device) * (length - size + 1)).long()
        place = torch.arange(length, device=device)
        place = place if axis == 0 else place.view(length, 1)
        inside = inside & (place >= begin) & (place < begin + size)
        sources.append((place, place - begin + other))
    columns, rows = (torch.where(inside, new, old) for old, new in sources)
    index = (rows * w + columns).view(b, 1, h * w).expand(b, c, h * w)
    images.copy_(images.flatten(2).gather(2, index).view(b, c, h, w))
