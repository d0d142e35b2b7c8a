"""A teacher and its student on target images alone."""

from __future__ import annotations

from typing import Dict

import torch
from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor

from mmregda.codecs.position_space import Output
from mmregda.models.adaptations.averaged_teacher import student
from mmregda.models.adaptations.base import minimize
from mmregda.models.adaptations.view_teacher import ViewLabels, ViewTeacher, taught_loss


@MODELS.register_module()
class SourceFreeTeacher(ViewTeacher):
    r"""Adaptation without the source's images: a checkpoint and the target.

    .. math::
        \min_{\psi, f} L_T(p, w(\mathcal{J}(p_T)); m)

    on the target, with the labels, the mask m and the occlusion of
    :class:`~mmregda.models.adaptations.view_teacher.ViewTeacher`. What keeps a model
    that labels its own images from drifting is a stand-in for the source: the tenth of
    the images whose prediction agrees best with the teacher's label in the other view.
    All of their keypoints are learned, whatever the mask says.

    (`MAPS`_ draws the tenth of the whole set, and another tenth twice later on. Here
    it is that of each batch, at least one image.)

    Args:
        consistent (float): The part of the images that stands in for the source.
            Defaults to 0.1; with 0 there are none.
        **kwargs: As in ``ViewTeacher``.

    .. _MAPS: https://arxiv.org/abs/2302.04589
    """

    label = 'source-free teacher'

    domains = ('target',)

    def __init__(self, consistent: float = 0.1, **kwargs) -> None:
        super().__init__(**kwargs)
        self.consistent = consistent

    def step(
        self,
        model: torch.nn.Module,
        batches: Dict[str, dict],
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        target, space = batches['target'], self.space
        self.teacher.update(student(model))
        labels = self.teach(model, target, optim_wrapper)
        with model.autocast(optim_wrapper):
            p = model.head(model.extract_feat(target['student']['inputs']))
            kept = self.kept(labels) | (self.stand_ins(labels, p) & labels.inside)
            loss_self = taught_loss(space, labels, kept, p)
        loss = space.loss_unit(p) * loss_self
        minimize(loss, optim_wrapper, ('feature_extractor', 'head'))
        return dict(
            loss_self=loss_self.detach(),
            confidence=labels.confidence.mean(),
            kept=kept.float().mean(),
        )

    def stand_ins(self, labels: ViewLabels, p: Output) -> Tensor:
        """Which images take the source's place, (B, 1) bool."""
        inside = labels.inside
        distance = (self.space.in_input(p) - labels.keypoints).norm(dim=-1)
        mean = (distance * inside).sum(dim=1) / inside.sum(dim=1)  # nan if none is
        number = round(self.consistent * len(mean))
        number = max(1, number) if self.consistent else 0
        first = mean.nan_to_num(float('inf')).argsort()[:number]
        chosen = torch.zeros_like(mean, dtype=torch.bool)
        return chosen.index_fill(0, first, True).unsqueeze(1)
