"""Maximum classifier discrepancy."""

from __future__ import annotations

from typing import Dict, List

import torch
from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.codecs.position_space import Maps
from mmregda.errors import InputError
from mmregda.models.adaptations.base import BaseAdaptation, frozen, minimize
from mmregda.models.batch_norm import counted


@MODELS.register_module()
class MCD(BaseAdaptation):
    r"""`Maximum Classifier Discrepancy`_ (Saito et al., CVPR 2018).

    Two heads f and f' of equal standing learn the source. On the target they
    move apart, and psi brings them together again. With the discrepancy d of
    :func:`discrepancy`, one iteration is

    .. math::
        A.\;& \min_{\psi, f, f'} L_{sup}(f) + L_{sup}(f')
              && \text{on the source} \\
        B.\;& \min_{f, f'} L_{sup}(f) + L_{sup}(f') - \lambda\, d(p, p')
              && \text{on both domains} \\
        C.\;& \min_{\psi} \lambda\, d(p, p')
              && \text{on the target, } n \text{ times}

    f is the one that predicts.

    Args:
        head (dict): The config of f; f' is drawn from the same.
        trade_off (float): :math:`\lambda`. Defaults to 1.
        num_steps (int): n of step C, at least 1. Defaults to 4.

    Raises:
        InputError: If ``num_steps`` is no such number.

    .. _Maximum Classifier Discrepancy: https://arxiv.org/abs/1712.02560
    """

    def __init__(self, head: dict, trade_off: float = 1.0, num_steps: int = 4) -> None:
        super().__init__()
        # Without step C the heads move apart on the target, and nothing else.
        if not isinstance(num_steps, int) or num_steps < 1:
            raise InputError(
                f'MCD: num_steps is {num_steps!r}, but step C is made at least once. '
                'Set model.adaptation.num_steps to an integer from 1 (4 by default).'
            )
        self.adversary = MODELS.build(head)
        self.trade_off = trade_off
        self.num_steps = num_steps

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
        psi, f, f_adv = model.extract_feat, model.head, self.adversary
        samples, maps = source['data_samples'], self.space.maps

        # A. All players learn the source.
        with model.autocast(optim_wrapper):
            feats = psi(source['inputs'])
            loss_sup = model.supervised_loss(f(feats), samples)
            loss_sup_adversary = model.supervised_loss(f_adv(feats), samples)
        minimize(
            loss_sup + loss_sup_adversary,
            optim_wrapper,
            ('feature_extractor', 'head', 'adversary'),
        )

        # B. The heads keep the source and move apart on the target. psi does
        # not move, so the first pass of C can do with the same features.
        with model.autocast(optim_wrapper), torch.no_grad():
            feats = psi(source['inputs'])
        with model.autocast(optim_wrapper):
            with counted(2, *model.features):
                target_feats = psi(target['inputs'])
            detached_feats = tuple(feat.detach() for feat in target_feats)
            p = f(detached_feats)
            apart = discrepancy(maps(p), maps(f_adv(detached_feats)))
            trade_off = self.trade_off * self.space.loss_unit(p)
            loss = (
                model.supervised_loss(f(feats), samples)
                + model.supervised_loss(f_adv(feats), samples)
                - trade_off * apart
            )
        minimize(loss, optim_wrapper, ('head', 'adversary'))

        # C. psi brings them together.
        for i in range(self.num_steps):
            with model.autocast(optim_wrapper), frozen(f, f_adv):
                if i > 0:
                    target_feats = psi(target['inputs'])
                loss = discrepancy(maps(f(target_feats)), maps(f_adv(target_feats)))
            minimize(trade_off * loss, optim_wrapper, ('feature_extractor',))

        return dict(
            loss_sup=loss_sup.detach(),
            loss_sup_adversary=loss_sup_adversary.detach(),
            discrepancy_heads=apart.detach(),
            discrepancy_feature_extractor=loss.detach(),
        )


def discrepancy(maps: Maps, others: Maps) -> Tensor:
    r"""How far two predicted distributions over positions are apart.

    .. math::
        d(p, p') = \frac{1}{BK} \sum_{b,k} \sum_x |p_{bk}(x) - p'_{bk}(x)|

    and the mean over the maps of a keypoint, if it has several. It is 0 for equal
    and 2 for disjoint distributions. (A mean over positions as well, as MCD has it
    over classes, is this divided by P; a trade-off would then depend on the size
    of the maps.)

    Args:
        maps (list[Tensor]): Logits, each (B, K, P).
        others (list[Tensor]): Of the same shapes.

    Returns:
        Tensor: A scalar.
    """
    total = 0.0
    for logits, other in zip(maps, others):
        p, q = (x.float().softmax(dim=-1) for x in (logits, other))
        total = total + (p - q).abs().sum(dim=-1).mean()
    return total / len(maps)
