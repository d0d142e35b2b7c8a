"""The baseline: further training on the source."""

from __future__ import annotations

from typing import Dict

from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.models.adaptations.base import BaseAdaptation, labeled_loss, minimize


@MODELS.register_module()
class SourceOnly(BaseAdaptation):
    """Supervised training on the source in the frame of the adaptations.

    The fair baseline of a method is not the checkpoint that it starts from
    but the same number of further iterations, with the same heads, data,
    optimisers and schedules, without the target. This is that.
    """

    label = 'source only: as many further iterations'

    domains = ('source',)

    def step(
        self,
        model: nn.Module,
        batches: Dict[str, dict],
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        (batch,) = batches.values()
        with model.autocast(optim_wrapper):
            loss = labeled_loss(model, batch)
        minimize(loss, optim_wrapper, ('feature_extractor', 'head'))
        return dict(loss_sup=loss.detach())
