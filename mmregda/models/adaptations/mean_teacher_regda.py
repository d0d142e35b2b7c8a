"""Regressive Domain Adaptation with an averaged teacher: not the paper's."""

from __future__ import annotations

from typing import Dict, Optional

from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.models.adaptations.averaged_teacher import AveragedTeacher, student
from mmregda.models.adaptations.base import frozen, minimize
from mmregda.models.adaptations.perturbation import perturb_
from mmregda.models.adaptations.regda import RegDA
from mmregda.models.batch_norm import counted


@MODELS.register_module()
class MeanTeacherRegDA(RegDA):
    r"""RegDA whose pseudo labels are an averaged teacher's, and teach f as well.

    A teacher, the exponential moving average of psi and f, labels the target
    images as they are: :math:`\mathcal{J}(p_T)`. psi, f and f' see them
    perturbed, and f learns the teacher's labels on the target, weighted by the
    teacher's confidence c:

    .. math::
        A.\;& \min_{\psi, f, f'} L_{sup}(f) + \eta\,\lambda\,
              L_T(p', \mathcal{J}(p)) && \text{on the source} \\
        B.\;& \min_{f'} \lambda\, L_F(p', \mathcal{J}(p_T))
              && \text{on the target} \\
        C.\;& \min_{\psi, f} \lambda\, L_T(p', \mathcal{J}(p_T)) +
              \mu\, L_T(p, \mathcal{J}(p_T); c) && \text{on the target}

    Unless asked otherwise, the running statistics of batch normalisation are
    those of the perturbed target alone. An iteration passes the target through
    psi once more than RegDA's, without a gradient. Without the adversary it is
    :class:`~mmregda.models.adaptations.MeanTeacher`, which was as good on the
    rendered hands (docs/benchmark.md).

    Args:
        head (dict): As in RegDA, and so are ``kwargs``.
        self_training (float): :math:`\mu`. Defaults to 1.
        momentum (float): Of the teacher; see
            :class:`~mmregda.models.adaptations.averaged_teacher.AveragedTeacher`.
            Defaults to 0.01.
        perturbation (dict, optional): Arguments of :func:`perturb_`.
        source_statistics (bool): As in RegDA. Defaults to False.
    """

    label = 'RegDA with a mean teacher'

    def __init__(
        self,
        head: dict,
        self_training: float = 1.0,
        momentum: float = 0.01,
        perturbation: Optional[dict] = None,
        source_statistics: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(head=head, source_statistics=source_statistics, **kwargs)
        self.self_training = self_training
        self.momentum = momentum
        self.perturbation = perturbation or {}

    def attach(self, model: nn.Module) -> None:
        self.teacher = AveragedTeacher(student(model), self.momentum)

    def step(
        self,
        model: nn.Module,
        batches: Dict[str, dict],
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        source, target = batches['source'], batches['target']
        psi, f, f_adv = model.extract_feat, model.head, self.adversary
        maps = self.space.maps
        target_inputs = target['inputs']

        # A. All players learn the source.
        source_losses = self.learn_source(model, source, optim_wrapper)

        # The teacher labels the target.
        p = self.teacher.say(model, target_inputs, optim_wrapper)
        pseudo_labels = self.space.pseudo_labels(p)
        confidence = self.space.confidence(p)
        unit = self.space.loss_unit(p)

        # B. On the target, f' moves to where it differs from the teacher.
        perturb_(target_inputs, **self.perturbation)
        with model.autocast(optim_wrapper):
            with counted(2, student(model)):  # As often as by RegDA.
                feats = psi(target_inputs)
                p = f(feats)
            detached_feats = tuple(feat.detach() for feat in feats)
            loss_adversary = self.adversary_loss(
                maps(f_adv(detached_feats)), pseudo_labels
            )
        minimize(unit * self.trade_off * loss_adversary, optim_wrapper, ('adversary',))

        # C. On the same features, psi moves against it, and f learns.
        with model.autocast(optim_wrapper), frozen(f_adv):
            loss_psi = self.feature_extractor_loss(
                maps(f_adv(self.warm_start(feats))), pseudo_labels
            )
            loss_self = self.ground_truth_loss(maps(p), pseudo_labels, confidence)
            loss = self.trade_off * loss_psi + self.self_training * loss_self
        minimize(unit * loss, optim_wrapper, ('feature_extractor', 'head'))

        self.warm_start.step()
        return dict(
            **source_losses,
            loss_adversary=loss_adversary.detach(),
            loss_feature_extractor=loss_psi.detach(),
            loss_self=loss_self.detach(),
            confidence=confidence.mean(),
        )
