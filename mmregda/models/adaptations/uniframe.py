"""A unified framework for domain adaptive pose estimation."""

from __future__ import annotations

import random
from contextlib import nullcontext
from typing import ContextManager, Dict, List, Optional

import torch
from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.errors import InputError
from mmregda.models.adaptations.averaged_teacher import student
from mmregda.models.adaptations.base import minimize, uncounted_source_loss
from mmregda.models.adaptations.fda import restyle_
from mmregda.models.adaptations.feature_style import FeatureStyle
from mmregda.models.adaptations.view_teacher import ViewTeacher, taught_loss
from mmregda.models.batch_norm import recomputes


@MODELS.register_module()
class UniFrame(ViewTeacher):
    r"""`UniFrame`_ (Kim et al., ECCV 2022): a teacher, geometric views and masks.

    .. math::
        \min_{\psi, f} L_{sup}(f) + \lambda\, L_T(p, w(\mathcal{J}(p_T)); m)

    on source and target, with the labels, the mask m and the occlusion of
    :class:`~mmregda.models.adaptations.view_teacher.ViewTeacher`. The paper's losses
    are squared differences of maps; here they are the head's own, and L_T.

    The source takes the style of the target, and the teacher's view that of the source.
    The paper does this by AdaIN in VGG-19 and a decoder that is trained for the pair.
    Here there are two ways without either, both off by default: exchanged spectra of
    the images (``style``), and AdaIN in the backbone that learns (``feature_style``).

    Args:
        trade_off (float): :math:`\lambda`. Defaults to 1.
        style (dict, optional): ``beta`` (0.01) of the spectra
            (:func:`~mmregda.models.adaptations.fda.restyle_`), and how often (``prob``,
            0.5, in each direction) those of a batch are exchanged, by an ``alpha`` of
            U(0, 1). Defaults to none.
        feature_style (dict, optional): The ``layer`` of the backbone
            (:class:`~mmregda.models.adaptations.feature_style.FeatureStyle`) whose
            features take the other domain's style, and how many images (``prob``, 0.5,
            in each direction) take it, each by an ``alpha`` of U(0, 1). This costs two
            more forward passes of the backbone. Defaults to none.
        **kwargs: As in ``ViewTeacher``.

    Raises:
        InputError: If the backbone has no such layer, or with ``feature_style`` and
            micro-batches or gradient checkpointing.

    .. _UniFrame: https://arxiv.org/abs/2204.00172
    """

    label = 'UniFrame'

    def __init__(
        self,
        trade_off: float = 1.0,
        style: Optional[dict] = None,
        feature_style: Optional[dict] = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.trade_off = trade_off
        self.style = style
        self.feature_style = feature_style

    def attach(self, model: nn.Module) -> None:
        super().attach(model)
        if self.feature_style is None:
            return
        if model.micro_batches > 1 or recomputes(model.backbone):
            raise InputError(
                'UniFrame: feature_style goes with neither micro-batches nor gradient '
                'checkpointing: what they compute again for the gradient would not be '
                'restyled. Set model.micro_batches = 1 and switch checkpointing off '
                'in model.backbone, or use style.'
            )
        options = {'prob': 0.5, **self.feature_style}
        self.feature_prob = options.pop('prob')
        # Only the teacher, which is never compiled, is asked for styles.
        self.student_features, self.teacher_features = (
            FeatureStyle(backbone, **options)
            for backbone in (model.backbone, self.teacher.network[0])
        )

    def step(
        self,
        model: nn.Module,
        batches: Dict[str, dict],
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        source, target, space = batches['source'], batches['target'], self.space
        self.teacher.update(student(model))
        # Of the images as they are, whatever their spectra take.
        as_target, as_source = self.restyled_features(model, batches, optim_wrapper)
        if self.style is not None:
            images, views = source['inputs'], target['teacher']['inputs']
            originals = images.clone(), views.clone()
            self.restyle_(model, images, originals[1], **self.style)
            self.restyle_(model, views, originals[0], **self.style)
        with as_source:
            labels = self.teach(model, target, optim_wrapper)
        kept = self.kept(labels)

        with model.autocast(optim_wrapper):
            with as_target:
                loss_sup = uncounted_source_loss(model, source)
            p = model.head(model.extract_feat(target['student']['inputs']))
            loss_self = taught_loss(space, labels, kept, p)
            loss = loss_sup + self.trade_off * space.loss_unit(p) * loss_self
        minimize(loss, optim_wrapper, ('feature_extractor', 'head'))
        return dict(
            loss_sup=loss_sup.detach(),
            loss_self=loss_self.detach(),
            confidence=labels.confidence.mean(),
            kept=kept.float().mean(),
        )

    def restyled_features(
        self,
        model: nn.Module,
        batches: Dict[str, dict],
        optim_wrapper: OptimWrapperDict,
    ) -> List[ContextManager]:
        """Within the first, the student's features look like the target's; within the
        second, the teacher's like the source's. Or they stay as they are."""
        if self.feature_style is None:
            return [nullcontext(), nullcontext()]
        source = batches['source']['inputs']
        target = batches['target']['teacher']['inputs']
        contexts = []
        for features, images, others in (
            (self.student_features, source, target),
            (self.teacher_features, target, source),
        ):
            # In every process, which synchronised batch normalisation waits for.
            with model.autocast(optim_wrapper):
                style = self.teacher_features.of(others)
            draws, alpha = torch.rand(2, len(images), device=images.device)
            contexts.append(features.given(style, alpha * (draws < self.feature_prob)))
        return contexts

    @staticmethod
    def restyle_(
        model: nn.Module,
        images: Tensor,
        styles: Tensor,
        beta: float = 0.01,
        prob: float = 0.5,
    ) -> None:
        """Restyle all images of a batch, or none."""
        # Of the host, which need not wait for the device.
        if random.random() < prob:
            restyle_(model, images, styles, beta, alpha=random.random())
