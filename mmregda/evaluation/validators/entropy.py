"""How sure a model is of the positions it predicts."""

from __future__ import annotations

from typing import Dict, List, Tuple

import torch
from mmpose.registry import METRICS
from torch import Tensor, nn

from mmregda.evaluation.validators.base import Validator, predict


class _OfDistributions(Validator):
    """Of each map: the sum of its distributions, that of their entropies, how many."""

    def look(self, model: nn.Module, inputs: Tensor) -> List[Tuple[Tensor, float, int]]:
        found = []
        for logits in self.space.maps(predict(model, inputs)):
            p = logits.float().softmax(dim=-1)
            found.append(
                (p.sum(dim=0).cpu(), float(_entropy(p).sum()), p[..., 0].numel())
            )
        return found


def _entropy(p: Tensor) -> Tensor:
    """In units of the uniform distribution's."""
    return torch.special.entr(p).sum(dim=-1) / torch.tensor(float(p.shape[-1])).log()


@METRICS.register_module()
class NegativeEntropy(_OfDistributions):
    r"""The entropy of predicted positions, with its sign turned.

    .. math::
        -\frac{1}{NK} \sum_{n,k} H(p_{nk}) / \log P

    and the mean over the maps of a keypoint, between -1 and 0. A model that has not
    learned a domain is not sure there (`Morerio et al.`_, ICLR 2018); one that predicts
    the same for every image may be very sure.

    .. _Morerio et al.: https://arxiv.org/abs/1711.10288
    """

    def compute_metrics(self, results: list) -> Dict[str, float]:
        means = [
            sum(part[1] for part in of_map) / sum(part[2] for part in of_map)
            for of_map in zip(*results)
        ]
        return dict(negative_entropy=-sum(means) / len(means))


@METRICS.register_module()
class MutualInformation(_OfDistributions):
    r"""How much an image tells about where its keypoints are.

    .. math::
        \frac{1}{K} \sum_k \Big[ H\big(\tfrac{1}{N} \sum_n p_{nk}\big) -
        \frac{1}{N} \sum_n H(p_{nk}) \Big] / \log P

    and the mean over the maps of a keypoint. This is what information maximisation
    learns (`SHOT`_, ICML 2020): sure of each image, and not the same for all.

    .. _SHOT: https://arxiv.org/abs/2002.08546
    """

    def compute_metrics(self, results: list) -> Dict[str, float]:
        found = []
        for of_map in zip(*results):
            total, entropy, number = (sum(column) for column in zip(*of_map))
            mean = total / total.sum(dim=-1, keepdim=True)
            found.append(float(_entropy(mean).mean()) - entropy / number)
        return dict(mutual_information=sum(found) / len(found))
