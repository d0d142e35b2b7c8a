"""Disparity discrepancy for keypoint regression."""

from __future__ import annotations

from mmpose.registry import MODELS
from torch import Tensor

from mmregda.codecs.position_space import Maps
from mmregda.models.adaptations.adversarial_regression import AdversarialRegression


@MODELS.register_module()
class DisparityDiscrepancy(AdversarialRegression):
    r"""Minimax of the `disparity discrepancy`_ (Zhang et al., ICML 2019).

    DD, as RegDA's paper writes it for heatmaps: f' maximises and psi
    minimises the same disparity. In the space of all positions, f' finds it
    easy to disagree in ways that teach psi nothing.

    .. math::
        B.\;& \max_{f'} L_T(p', \mathcal{J}(p)) \\
        C.\;& \min_{\psi} L_T(p', \mathcal{J}(p))

    Steps and arguments are those of
    :class:`~mmregda.models.adaptations.AdversarialRegression`. The loss that
    is maximised has no bound; what f' has to keep on the source, with weight
    ``margin``, is what holds it.

    .. _disparity discrepancy: https://arxiv.org/abs/1904.05801
    """

    label = 'DD (max L_T, min L_T)'

    def adversary_loss(self, maps: Maps, pseudo_labels: Maps) -> Tensor:
        return -self.ground_truth_loss(maps, pseudo_labels)

    def feature_extractor_loss(self, maps: Maps, pseudo_labels: Maps) -> Tensor:
        return self.ground_truth_loss(maps, pseudo_labels)
