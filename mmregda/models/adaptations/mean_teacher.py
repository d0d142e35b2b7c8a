"""Mean teacher."""

from __future__ import annotations

from typing import Dict, Optional

from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.models.adaptations.averaged_teacher import AveragedTeacher, student
from mmregda.models.adaptations.base import (
    BaseAdaptation,
    minimize,
    uncounted_source_loss,
)
from mmregda.models.adaptations.perturbation import perturb_
from mmregda.models.losses import KeypointKLLoss


@MODELS.register_module()
class MeanTeacher(BaseAdaptation):
    r"""`Mean teacher`_ (Tarvainen & Valpola, NeurIPS 2017) for keypoints.

    The teacher, an exponential moving average of psi and f, labels the target images
    as they are: :math:`\mathcal{J}(p_T)`. The student learns these labels on the same
    images, perturbed, weighted by the teacher's confidence c:

    .. math::
        \min_{\psi, f} L_{sup}(f) + \lambda\, L_T(p, \mathcal{J}(p_T); c)

    (The paper uses the squared difference of probabilities. For maps, which are
    background almost everywhere, that loss is smallest if nothing is predicted.)
    Running statistics of batch normalisation are those of the perturbed target.

    Args:
        head (dict, optional): Not used; no head is added.
        trade_off (float): :math:`\lambda`. Defaults to 1.
        momentum (float): Of the teacher; see
            :class:`~mmregda.models.adaptations.averaged_teacher.AveragedTeacher`.
            Defaults to 0.01.
        perturbation (dict, optional): Arguments of
            :func:`~mmregda.models.adaptations.perturbation.perturb_`.

    .. _Mean teacher: https://arxiv.org/abs/1703.01780
    """

    label = 'mean teacher'

    def __init__(
        self,
        head: Optional[dict] = None,
        trade_off: float = 1.0,
        momentum: float = 0.01,
        perturbation: Optional[dict] = None,
    ) -> None:
        super().__init__()
        self.trade_off = trade_off
        self.momentum = momentum
        self.perturbation = perturbation or {}
        self.ground_truth_loss = KeypointKLLoss()

    def attach(self, model: nn.Module) -> None:
        self.teacher = AveragedTeacher(student(model), self.momentum)

    def step(
        self,
        model: nn.Module,
        batches: Dict[str, dict],
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        images, space = batches['target']['inputs'], self.space
        p = self.teacher.say(model, images, optim_wrapper)
        pseudo_labels, confidence = space.pseudo_labels(p), space.confidence(p)

        perturb_(images, **self.perturbation)
        with model.autocast(optim_wrapper):
            losses = self.supervised_losses(model, batches)
            p = model.head(model.extract_feat(images))
            loss_self = self.ground_truth_loss(space.maps(p), pseudo_labels, confidence)
            loss = self.trade_off * space.loss_unit(p) * loss_self
        minimize(
            sum(losses.values()) + loss, optim_wrapper, ('feature_extractor', 'head')
        )
        return dict(
            **{name: value.detach() for name, value in losses.items()},
            loss_self=loss_self.detach(),
            confidence=confidence.mean(),
        )

    def supervised_losses(
        self, model: nn.Module, batches: Dict[str, dict]
    ) -> Dict[str, Tensor]:
        """What is learned of labels; arguments are those of :meth:`step`."""
        return dict(loss_sup=uncounted_source_loss(model, batches['source']))
