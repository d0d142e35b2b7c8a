"""Regressive Domain Adaptation."""

from __future__ import annotations

from typing import Dict, List, Optional

import torch
from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.models.adaptations.base import (
    BaseAdaptation,
    counted_twice,
    frozen,
    minimize,
)
from mmregda.models.adaptations.warm_start import WarmStartGradientScale
from mmregda.models.pseudo_heatmaps import argmax_keypoints, gaussian_heatmaps


@MODELS.register_module()
class RegDA(BaseAdaptation):
    r"""`Regressive Domain Adaptation`_ (Jiang et al., CVPR 2021).

    An adversarial regressor f' looks for target images on which it can
    disagree with the regressor f *in a plausible way*, that is by predicting
    a keypoint where f sees the other ones. The feature extractor psi learns
    features on which it can not. Both minimise; the minimax of disparity
    discrepancy becomes two opposite goals. With the pseudo label
    :math:`\mathcal{J}(p)` of f, one iteration is

    .. math::
        A.\;& \min_{\psi, f, f'} L_{sup}(f) + \eta\,\lambda\,
              L_T(p', \mathcal{J}(p)) && \text{on the source} \\
        B.\;& \min_{f'} \lambda\, L_F(p', \mathcal{J}(p))
              && \text{on the target} \\
        C.\;& \min_{\psi} \lambda\, L_T(p', \mathcal{J}(p))
              && \text{on the target, with the new } f'

    with the margin :math:`\eta` and the trade-off :math:`\lambda`. B needs no
    gradient of psi, and psi is the same in B and C: its features of the target
    are computed once.

    Args:
        head (dict): The config of f; f' is drawn from the same.
        adversary (dict, optional): The config of f', if it is another.
        margin (float): Weight of the adversary on the source. Defaults to 4.
        trade_off (float): Weight of the adaptation. Defaults to 1.
        sigma (float): Of the pseudo labels' Gaussians, in heatmap pixels.
            Defaults to 2.
        warm_start (dict): Arguments of :class:`WarmStartGradientScale`, which
            scales the gradient that f' sends into psi.

    .. _Regressive Domain Adaptation: https://arxiv.org/abs/2103.06175
    """

    def __init__(
        self,
        head: dict,
        adversary: Optional[dict] = None,
        margin: float = 4.0,
        trade_off: float = 1.0,
        sigma: float = 2.0,
        warm_start: Optional[dict] = None,
    ) -> None:
        super().__init__()
        self.adversary = MODELS.build(head if adversary is None else adversary)
        self.margin = margin
        self.trade_off = trade_off
        self.sigma = sigma
        self.warm_start = WarmStartGradientScale(**(warm_start or {}))
        self.ground_truth_loss = MODELS.build(dict(type='KeypointKLLoss'))
        self.ground_false_loss = MODELS.build(dict(type='GroundFalseKLLoss'))

    def players(self) -> Dict[str, List[nn.Module]]:
        return dict(adversary=[self.adversary])

    def step(
        self,
        model: nn.Module,
        source: dict,
        target: dict,
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        psi, f, f_adv = model.extract_feat, model.head, self.adversary

        # A. All players learn the source.
        with model.autocast(optim_wrapper):
            feats = psi(source['inputs'])
            logits = f(feats)
            loss_sup = model.supervised_loss(logits, source['data_samples'])
            loss_source = self.ground_truth_loss(
                f_adv(self.warm_start(feats)), self.pseudo_heatmaps(logits)
            )
            loss = loss_sup + self.margin * self.trade_off * loss_source
        minimize(loss, optim_wrapper, ('feature_extractor', 'head', 'adversary'))

        # B. On the target, f' moves to where it could plausibly be wrong.
        with model.autocast(optim_wrapper):
            with counted_twice(*model.players()['feature_extractor']):
                feats = psi(target['inputs'])
            detached_feats = tuple(feat.detach() for feat in feats)
            with torch.no_grad(), counted_twice(f):
                pseudo_heatmaps = self.pseudo_heatmaps(f(detached_feats))
            loss_false = self.ground_false_loss(f_adv(detached_feats), pseudo_heatmaps)
        minimize(self.trade_off * loss_false, optim_wrapper, ('adversary',))

        # C. On the same features, psi makes f' agree with f.
        with model.autocast(optim_wrapper), frozen(f_adv):
            loss_truth = self.ground_truth_loss(
                f_adv(self.warm_start(feats)), pseudo_heatmaps
            )
        minimize(self.trade_off * loss_truth, optim_wrapper, ('feature_extractor',))

        self.warm_start.step()
        return dict(
            loss_sup=loss_sup.detach(),
            loss_source=loss_source.detach(),
            loss_ground_false=loss_false.detach(),
            loss_ground_truth=loss_truth.detach(),
        )

    def pseudo_heatmaps(self, logits: Tensor) -> Tensor:
        """Ground truth heatmaps H(J(p)) of the predictions, (B, K, h, w)."""
        keypoints = argmax_keypoints(logits)
        return gaussian_heatmaps(keypoints, logits.shape[-2:], self.sigma)
