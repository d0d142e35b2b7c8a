"""A few labelled images of the target."""

from __future__ import annotations

from typing import Dict

from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.models.adaptations.base import labeled_loss
from mmregda.models.adaptations.mean_teacher import MeanTeacher


@MODELS.register_module()
class FewLabels(MeanTeacher):
    r"""A mean teacher that is also taught a handful of labelled target images.

    .. math::
        \min_{\psi, f} L_{sup}(f; \text{source}) + L_{sup}(f; \text{labelled target})
        + \lambda\, L_T(p, \mathcal{J}(p_T); c)

    Each is a mean over its own batch, so a few labels weigh as much as the source, as
    in `Saito et al.`_ (ICCV 2019). Arguments are those of
    :class:`~mmregda.models.adaptations.MeanTeacher`. What it is to be compared with is
    :class:`~mmregda.models.adaptations.FineTuning`, on the same labels alone.

    .. _Saito et al.: https://arxiv.org/abs/1904.06487
    """

    label = 'mean teacher and a few target labels'

    domains = ('source', 'target', 'labeled_target')

    def supervised_losses(
        self, model: nn.Module, batches: Dict[str, dict]
    ) -> Dict[str, Tensor]:
        loss = labeled_loss(model, batches['labeled_target'])
        return dict(super().supervised_losses(model, batches), loss_labeled=loss)
