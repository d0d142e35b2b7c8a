"""What methods with an adversarial regressor share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Dict, List, Optional

import torch
from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.codecs.position_space import Maps, label_weights
from mmregda.models.adaptations.base import BaseAdaptation, frozen, minimize
from mmregda.models.adaptations.warm_start import WarmStartGradientScale
from mmregda.models.batch_norm import counted


class AdversarialRegression(BaseAdaptation):
    r"""An adversarial regressor f' against the feature extractor psi.

    f' learns to agree with the regressor f on the source. On the target it
    looks for images on which it can disagree, and psi learns features on
    which it cannot. With the pseudo label :math:`\mathcal{J}(p)` of f, one
    iteration is

    .. math::
        A.\;& \min_{\psi, f, f'} L_{sup}(f) + \eta\,\lambda\,
              L_T(p', \mathcal{J}(p)) && \text{on the source} \\
        B.\;& \min_{f'} \lambda\, L_{f'}(p', \mathcal{J}(p))
              && \text{on the target} \\
        C.\;& \min_{\psi} \lambda\, L_{\psi}(p', \mathcal{J}(p))
              && \text{on the target, with the new } f'

    with the margin :math:`\eta` and the trade-off :math:`\lambda`. On the source a
    keypoint weighs in :math:`L_T` what its label weighs. A method
    says what :math:`L_{f'}` (:meth:`adversary_loss`) and :math:`L_{\psi}`
    (:meth:`feature_extractor_loss`) are. B needs no gradient of psi, and psi
    is the same in B and C: its features of the target are computed once. The
    gradient that f' sends into psi, in A and C, is scaled by :math:`\gamma` of
    :class:`WarmStartGradientScale`.

    Args:
        head (dict): The config of f; f' is drawn from the same.
        adversary (dict, optional): The config of f', if it is another.
        margin (float): Weight of the adversary on the source. Defaults to 4.
        trade_off (float): Weight of the adaptation. Defaults to 1.
        warm_start (dict): Arguments of :class:`WarmStartGradientScale`, which
            scales the gradient that f' sends into psi.
        leave_out_own (bool, optional): Of the ground false distributions, as in
            :class:`~mmregda.models.losses.GroundFalseKLLoss`.
        source_statistics (bool): Whether source batches enter the running
            statistics of batch normalisation, as published. No parameter
            depends on it, but what the model predicts does; without them it
            predicts as :class:`~mmregda.models.adaptations.AdaBN` does.
            Defaults to True.
    """

    def __init__(
        self,
        head: dict,
        adversary: Optional[dict] = None,
        margin: float = 4.0,
        trade_off: float = 1.0,
        warm_start: Optional[dict] = None,
        leave_out_own: Optional[bool] = None,
        source_statistics: bool = True,
    ) -> None:
        super().__init__()
        self.adversary = MODELS.build(head if adversary is None else adversary)
        self.margin = margin
        self.trade_off = trade_off
        self.warm_start = WarmStartGradientScale(**(warm_start or {}))
        self.source_statistics = source_statistics
        self.ground_truth_loss = MODELS.build(dict(type='KeypointKLLoss'))
        self.ground_false_loss = MODELS.build(
            dict(type='GroundFalseKLLoss', leave_out_own=leave_out_own)
        )

    @abstractmethod
    def adversary_loss(self, maps: Maps, pseudo_labels: Maps) -> Tensor:
        """What f' minimises on the target.

        Args:
            maps (list[Tensor]): p' of f' as logits, each (B, K, P).
            pseudo_labels (list[Tensor]): H(J(p)) of f, of the same shapes.

        Returns:
            Tensor: A scalar.
        """

    @abstractmethod
    def feature_extractor_loss(self, maps: Maps, pseudo_labels: Maps) -> Tensor:
        """What psi minimises on the target; arguments as above."""

    @property
    def adversarial_regressor(self) -> nn.Module:
        return self.adversary

    def players(self) -> Dict[str, List[nn.Module]]:
        return dict(adversary=[self.adversary])

    def step(
        self,
        model: nn.Module,
        batches: Dict[str, dict],
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        source, target = batches['source'], batches['target']
        psi, f_adv, maps = model.extract_feat, self.adversary, self.space.maps

        # A. All players learn the source.
        source_losses = self.learn_source(model, source, optim_wrapper)

        # B. On the target, f' moves to where it differs from f.
        with model.autocast(optim_wrapper):
            with counted(2, *model.features):
                feats = psi(target['inputs'])
            detached_feats = tuple(feat.detach() for feat in feats)
            # Once for B and C, in which nothing of f changes.
            with torch.no_grad(), counted(2, model.head):
                p = model.head(detached_feats)
            pseudo_labels = self.space.pseudo_labels(p)
            trade_off = self.trade_off * self.space.loss_unit(p)
            loss_adversary = self.adversary_loss(
                maps(f_adv(detached_feats)), pseudo_labels
            )
        minimize(trade_off * loss_adversary, optim_wrapper, ('adversary',))

        # C. On the same features, psi moves against it.
        with model.autocast(optim_wrapper), frozen(f_adv):
            loss_psi = self.feature_extractor_loss(
                maps(f_adv(self.warm_start(feats))), pseudo_labels
            )
        minimize(trade_off * loss_psi, optim_wrapper, ('feature_extractor',))

        self.warm_start.step()
        return dict(
            **source_losses,
            loss_adversary=loss_adversary.detach(),
            loss_feature_extractor=loss_psi.detach(),
        )

    def learn_source(
        self, model: nn.Module, source: dict, optim_wrapper: OptimWrapperDict
    ) -> Dict[str, Tensor]:
        """Step A; arguments and what is returned are as of :meth:`step`."""
        times = 1 if self.source_statistics else 0
        with model.autocast(optim_wrapper):
            with counted(times, *model.features, model.head):
                feats = model.extract_feat(source['inputs'])
                p = model.head(feats)
            loss_sup = model.supervised_loss(p, source['data_samples'])
            # A keypoint without a label, hidden or outside of the image, has no place
            # that f could know, and none for f' to learn.
            loss_source = self.ground_truth_loss(
                self.space.maps(self.adversary(self.warm_start(feats))),
                self.space.pseudo_labels(p),
                label_weights(source['data_samples']),
            )
            trade_off = self.trade_off * self.space.loss_unit(p)
            loss = loss_sup + self.margin * trade_off * loss_source
        minimize(loss, optim_wrapper, ('feature_extractor', 'head', 'adversary'))
        return dict(loss_sup=loss_sup.detach(), loss_source=loss_source.detach())
