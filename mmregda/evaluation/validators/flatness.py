"""What predictions are worth if weights were a little different."""

from __future__ import annotations

import copy
from typing import Dict, List

import torch
from mmpose.registry import METRICS
from torch import Tensor, nn

from mmregda.evaluation.validators.base import Agreement, predict


@METRICS.register_module()
class Flatness(Agreement):
    r"""The part of the keypoints that stay where they are under noise in the weights.

    Each filter of psi and f is moved by a random direction of ``radius`` times its
    norm, as the loss landscape is drawn by `Li et al.`_ (NeurIPS 2018). A flat minimum
    goes with a model that generalises to other domains (`SWAD`_, NeurIPS 2021). Biases
    and normalisation stay as they are.

    Args:
        radius (float): Defaults to 0.1.
        num_draws (int): Of noise. Defaults to 2.
        seed (int): The same noise for every model. Defaults to 0.
        **kwargs: As in :class:`~mmregda.evaluation.validators.base.Agreement`.

    .. _Li et al.: https://arxiv.org/abs/1712.09913
    .. _SWAD: https://arxiv.org/abs/2102.08604
    """

    def __init__(
        self, radius: float = 0.1, num_draws: int = 2, seed: int = 0, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.radius = radius
        self.num_draws = num_draws
        self.seed = seed
        self._moved: List[nn.Module] = []

    def look(self, model: nn.Module, inputs: Tensor) -> tuple:
        if not self._moved:  # At the first batch of each validation.
            psi = [model.backbone, *([model.neck] if model.with_neck else [])]
            whole = nn.Sequential(*psi, model.head)
            generator = torch.Generator().manual_seed(self.seed)
            for _ in range(self.num_draws):
                self._moved.append(copy.deepcopy(whole))
                move_(self._moved[-1], self.radius, generator)
        expected = self.space.in_input(predict(model, inputs))
        counts = [
            self.counted(self.space.in_input(moved(inputs)), expected, inputs)
            for moved in self._moved
        ]
        return tuple(map(sum, zip(*counts)))

    def evaluate(self, size: int) -> Dict[str, float]:
        self._moved.clear()
        return super().evaluate(size)


def move_(network: nn.Module, radius: float, generator: torch.Generator) -> None:
    """Move each filter by a random direction of ``radius`` times its norm, in place.

    Args:
        network (nn.Module): Whose parameters of two dimensions or more have a filter in
            each entry of the first.
        radius (float): Relative to the filter's norm.
        generator (torch.Generator): On the host.
    """
    for weight in network.parameters():
        if weight.dim() > 1:
            noise = torch.randn(weight.shape, generator=generator).to(weight)
            norms = [x.flatten(1).norm(dim=1) for x in (weight, noise)]
            scale = radius * norms[0] / norms[1].clamp(min=1e-12)
            weight.data += noise * scale.view(-1, *[1] * (weight.dim() - 1))
