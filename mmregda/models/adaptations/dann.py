"""Domain-adversarial neural network."""

from __future__ import annotations

from typing import Dict, List, Optional

import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.models.adaptations.base import BaseAdaptation, minimize, pooled
from mmregda.models.adaptations.warm_start import WarmStartGradientScale


@MODELS.register_module()
class DANN(BaseAdaptation):
    r"""`Domain-Adversarial Neural Network`_ (Ganin et al., JMLR 2016).

    A discriminator d tells the domains apart by the pooled features; its
    gradient reaches psi reversed, so that psi makes them alike:

    .. math::
        \min_{\psi, f} \max_d\; L_{sup}(f) - \lambda\,
        \mathrm{BCE}(d(\psi(x)), \text{domain})

    The discriminator itself learns at full rate; the reversal starts slowly,
    as the paper has it.

    Args:
        head (dict): The config of f; its ``in_channels`` are those of the
            features.
        hidden_channels (int): Of the discriminator's two hidden layers.
            Defaults to 1024.
        trade_off (float): Weight of the discriminator's loss. Defaults to 1.
        warm_start (dict): Arguments of :class:`WarmStartGradientScale` for
            the strength of the reversal, which approaches ``hi`` (1 by
            default).

    .. _Domain-Adversarial Neural Network: https://arxiv.org/abs/1505.07818
    """

    def __init__(
        self,
        head: dict,
        hidden_channels: int = 1024,
        trade_off: float = 1.0,
        warm_start: Optional[dict] = None,
    ) -> None:
        super().__init__()
        self.discriminator = nn.Sequential(
            nn.Linear(head['in_channels'], hidden_channels),
            nn.BatchNorm1d(hidden_channels),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_channels, hidden_channels),
            nn.BatchNorm1d(hidden_channels),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_channels, 1),
        )
        self.trade_off = trade_off
        self.warm_start = WarmStartGradientScale(**{'hi': 1.0, **(warm_start or {})})

    def players(self) -> Dict[str, List[nn.Module]]:
        return dict(adversary=[self.discriminator])

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
            vectors = torch.cat((pooled(feats), pooled(target_feats)))
            (vectors,) = self.warm_start.reverse((vectors,))
            logits = self.discriminator(vectors).squeeze(-1).float()
            num_source = len(source['inputs'])
            domains = torch.zeros_like(logits)
            # Slices, not masks, whose sizes the host would have to wait for.
            parts = slice(num_source), slice(num_source, None)
            domains[parts[0]] = 1
            # Each domain weighs the same, whatever the sizes of the batches.
            loss_domain = 0.5 * sum(
                F.binary_cross_entropy_with_logits(logits[part], domains[part])
                for part in parts
            )
        minimize(
            loss_sup + self.trade_off * loss_domain,
            optim_wrapper,
            ('feature_extractor', 'head', 'adversary'),
        )
        self.warm_start.step()
        accuracy = ((logits.detach() > 0) == (domains == 1)).float().mean()
        return dict(
            loss_sup=loss_sup.detach(),
            loss_domain=loss_domain.detach(),
            domain_accuracy=accuracy,
        )
