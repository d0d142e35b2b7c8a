"""Soft neighbourhood density."""

from __future__ import annotations

from typing import Dict

import torch
from mmpose.registry import METRICS
from torch import Tensor, nn

from mmregda.evaluation.validators.base import Validator


@METRICS.register_module()
class SoftNeighborhoodDensity(Validator):
    r"""`Soft neighbourhood density`_ (Saito et al., ICCV 2021) of keypoints.

    With the features :math:`z_n` at the predicted place of a keypoint in each of N
    images, of length 1,

    .. math::
        \frac{1}{N} \sum_n H\big(\mathrm{softmax}_{m \ne n}(z_n^\top z_m / \tau)\big)

    and the mean over keypoints. It is large where many features are near each other.
    (The paper compares probabilities of classes, which here would be places.)

    The work grows with the square of N: a few thousand images are enough.

    Args:
        temperature (float): :math:`\tau`. Defaults to 0.05.
        **kwargs: As in :class:`~mmregda.evaluation.validators.base.Validator`.

    .. _Soft neighbourhood density: https://arxiv.org/abs/2108.10860
    """

    def __init__(self, temperature: float = 0.05, **kwargs) -> None:
        super().__init__(**kwargs)
        self.temperature = temperature

    def look(self, model: nn.Module, inputs: Tensor) -> Tensor:
        feats = model.extract_feat(inputs)
        pixels = self.space.in_input(model.head(feats)).float()
        last = feats[-1].float()
        h, w = last.shape[-2:]
        # The cell of the map whose part of the input the pixel's centre lies in.
        x, y = (
            ((pixels[..., i] + 0.5) * cells / size).long().clamp(0, cells - 1)
            for i, (cells, size) in enumerate(
                ((w, inputs.shape[3]), (h, inputs.shape[2]))
            )
        )
        index = (y * w + x).unsqueeze(1).expand(-1, last.shape[1], -1)
        found = last.flatten(2).gather(2, index)  # (B, C, K)
        return nn.functional.normalize(found, dim=1).permute(2, 0, 1).cpu()

    def compute_metrics(self, results: list) -> Dict[str, float]:
        densities = []
        for z in torch.cat(results, dim=1):  # (N, C) of each keypoint
            similarity = z @ z.T / self.temperature
            similarity.fill_diagonal_(-torch.inf)
            densities.append(
                torch.special.entr(similarity.softmax(dim=1)).sum(1).mean()
            )
        return dict(snd=float(torch.stack(densities).mean()))
