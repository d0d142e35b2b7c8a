"""Adaptive batch normalisation."""

from __future__ import annotations

from typing import Dict

import torch
from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.models.adaptations.base import (
    BaseAdaptation,
    minimize,
    uncounted_source_loss,
)


@MODELS.register_module()
class AdaBN(BaseAdaptation):
    """`Adaptive Batch Normalization`_ (Li et al., 2016).

    Training is supervised on the source; the running statistics, by which the
    model predicts, are those of the target. Other methods that pass target
    batches through the network move the running statistics as well: how much
    of their gain is due to that alone shows beside this one.

    Of several processes the first one's running statistics count, unless
    batch normalisation is synchronised.

    .. _Adaptive Batch Normalization: https://arxiv.org/abs/1603.04779
    """

    def step(
        self,
        model: nn.Module,
        batches: Dict[str, dict],
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        source, target = batches['source'], batches['target']
        with model.autocast(optim_wrapper):
            loss = uncounted_source_loss(model, source)
        minimize(loss, optim_wrapper, ('feature_extractor', 'head'))
        with model.autocast(optim_wrapper), torch.no_grad():
            model.head(model.extract_feat(target['inputs']))
        return dict(loss_sup=loss.detach())
