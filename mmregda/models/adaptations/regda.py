"""Regressive Domain Adaptation."""

from __future__ import annotations

from mmpose.registry import MODELS
from torch import Tensor

from mmregda.codecs.position_space import Maps
from mmregda.models.adaptations.adversarial_regression import AdversarialRegression


@MODELS.register_module()
class RegDA(AdversarialRegression):
    r"""`Regressive Domain Adaptation`_ (Jiang et al., CVPR 2021).

    The adversarial regressor f' looks for target images on which it can
    disagree with f *in a plausible way*, that is by predicting a keypoint
    where f sees the other ones. Both f' and psi minimise; the minimax of
    disparity discrepancy becomes two opposite goals:

    .. math::
        B.\;& \min_{f'} L_F(p', \mathcal{J}(p)) \\
        C.\;& \min_{\psi} L_T(p', \mathcal{J}(p))

    Steps and arguments are those of
    :class:`~mmregda.models.adaptations.AdversarialRegression`.

    .. _Regressive Domain Adaptation: https://arxiv.org/abs/2103.06175
    """

    label = 'RegDA (min L_F, min L_T)'

    def adversary_loss(self, maps: Maps, pseudo_labels: Maps) -> Tensor:
        return self.ground_false_loss(maps, pseudo_labels)

    def feature_extractor_loss(self, maps: Maps, pseudo_labels: Maps) -> Tensor:
        return self.ground_truth_loss(maps, pseudo_labels)
