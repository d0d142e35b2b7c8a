"""Deep adaptation network."""

from __future__ import annotations

from typing import Dict, Optional, Sequence

from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.models.adaptations.base import BaseAdaptation, minimize, pooled


@MODELS.register_module()
class DAN(BaseAdaptation):
    r"""`Deep Adaptation Network`_ (Long et al., ICML 2015).

    psi is to give both domains the same distribution of features, in the
    sense of the multi-kernel maximum mean discrepancy of the pooled features:

    .. math::
        \min_{\psi, f} L_{sup}(f) + \lambda\,
        \mathrm{MMD}^2(\psi(x_s), \psi(x_t))

    Of several processes each compares its own batches, of which each domain
    needs two images at least, and the mean of their discrepancies is
    minimised. Unlike a mean over samples this is not the discrepancy of all
    batches together: its bandwidth is of a smaller sample, and its variance
    larger.

    Args:
        head (dict, optional): Not used; no head is added.
        trade_off (float): :math:`\lambda`. Defaults to 1.
        bandwidths (Sequence[float]): As in
            :class:`~mmregda.models.losses.MultiKernelMMDLoss`.

    .. _Deep Adaptation Network: https://arxiv.org/abs/1502.02791
    """

    def __init__(
        self,
        head: Optional[dict] = None,
        trade_off: float = 1.0,
        bandwidths: Sequence[float] = (0.125, 0.25, 0.5, 1.0, 2.0),
    ) -> None:
        super().__init__()
        self.trade_off = trade_off
        self.mmd_loss = MODELS.build(
            dict(type='MultiKernelMMDLoss', bandwidths=bandwidths)
        )

    def step(
        self,
        model: nn.Module,
        batches: Dict[str, dict],
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        source, target = batches['source'], batches['target']
        with model.autocast(optim_wrapper):
            feats = model.extract_feat(source['inputs'])
            target_feats = model.extract_feat(target['inputs'])
            loss_sup = model.supervised_loss(model.head(feats), source['data_samples'])
            loss_mmd = self.mmd_loss(pooled(feats), pooled(target_feats))
        minimize(
            loss_sup + self.trade_off * loss_mmd,
            optim_wrapper,
            ('feature_extractor', 'head'),
        )
        return dict(loss_sup=loss_sup.detach(), loss_mmd=loss_mmd.detach())
