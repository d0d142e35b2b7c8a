"""The ablation of RegDA in which psi maximises the ground false loss."""

from __future__ import annotations

from mmpose.registry import MODELS
from torch import Tensor

from mmregda.codecs.position_space import Maps
from mmregda.models.adaptations.adversarial_regression import AdversarialRegression


@MODELS.register_module()
class GroundFalseMinimax(AdversarialRegression):
    r"""Minimax of the ground false loss: an ablation of RegDA (its table 4).

    f' moves to the other keypoints, as in RegDA; psi moves f' away from them,
    wherever that leads, in place of moving it to where f is.

    .. math::
        B.\;& \min_{f'} L_F(p', \mathcal{J}(p)) \\
        C.\;& \max_{\psi} L_F(p', \mathcal{J}(p))

    Steps and arguments are those of
    :class:`~mmregda.models.adaptations.AdversarialRegression`.
    """

    label = 'min L_F, max L_F'

    def adversary_loss(self, maps: Maps, pseudo_labels: Maps) -> Tensor:
        return self.ground_false_loss(maps, pseudo_labels)

    def feature_extractor_loss(self, maps: Maps, pseudo_labels: Maps) -> Tensor:
        return -self.ground_false_loss(maps, pseudo_labels)
