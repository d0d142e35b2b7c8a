"""The model that adapts."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from functools import partial
from typing import ContextManager, Dict, List, Optional, Tuple

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapperDict
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.registry import MODELS
from mmpose.utils.typing import SampleList
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmregda.codecs.position_space import SERVING, Output, position_space_of
from mmregda.errors import InputError
from mmregda.models.batch_norm import (
    counted,
    keep_num_values,
    pass_in_parts,
    require_counting_once,
)
from mmregda.models.precision import keep_precision


@MODELS.register_module()
class DomainAdaptiveTopdown(TopdownPoseEstimator):
    """A top-down model that is trained on two domains.

    It is :class:`mmpose.models.pose_estimators.TopdownPoseEstimator`, with any
    of MMPose's backbones, necks, heatmap and SimCC heads and codecs, and predicts and
    names its weights like one; training is the ``adaptation``'s. In the
    paper's terms, backbone and neck are the feature extractor psi and the head
    is the regressor f.

    Args:
        adaptation (dict): The config of a
            :class:`~mmregda.models.adaptations.BaseAdaptation`. It is given
            the head's config besides.
        backbone (dict): As in ``TopdownPoseEstimator``, and so are all other
            arguments.
        micro_batches (int): In how many parts a training batch goes through
            the feature extractor, for less memory: activations of one part
            are held at a time, and computed again for the gradient. Losses
            are those of the whole batch, so n parts of b images are a batch
            of n b exactly, but for batch normalisation, which sees the parts.
            Defaults to 1; more need PyTorch 2.1.

    Raises:
        InputError: If ``micro_batches`` is no integer of at least 1, the head has
            no position space (:mod:`~mmregda.codecs.position_space`) or no loss
            that fits, or batch normalisation would count batches twice.
    """

    def __init__(
        self,
        adaptation: dict,
        backbone: dict,
        neck: Optional[dict] = None,
        head: Optional[dict] = None,
        micro_batches: int = 1,
        **kwargs,
    ) -> None:
        if not isinstance(micro_batches, int) or micro_batches < 1:
            raise InputError(
                f'DomainAdaptiveTopdown: micro_batches is {micro_batches!r}, but a '
                'batch goes through in one part or several. Set model.micro_batches '
                'to an integer from 1.'
            )
        if head is None:
            raise InputError(
                f'DomainAdaptiveTopdown: there is no model.head. Heads that serve: '
                f'{SERVING}.'
            )
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        self.space = position_space_of(self.head)
        self.head.decoder = self.space.decoder()
        # Weights that f starts from are f's alone.
        init_cfg = head.get('init_cfg')
        if isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained':
            head = {**head, 'init_cfg': None}
        self.adaptation = MODELS.build(adaptation, default_args=dict(head=head))
        self.micro_batches = micro_batches
        self.adaptation.space = self.space
        for regressor in (self.head, self.adaptation.adversarial_regressor):
            # Pseudo labels are the most likely positions of what they compute.
            for layer in self.space.last_layers(regressor):
                keep_precision(layer)
        self._require_fitting_loss(head)
        for entry in ('backbone', 'neck'):
            if getattr(self, entry, None) is not None:
                require_counting_once(getattr(self, entry), f'model.{entry}')
        if micro_batches > 1:
            keep_num_values(*self.features)
        self.adaptation.attach(self)

    @property
    def features(self) -> List[nn.Module]:
        """list[nn.Module]: The parts of the feature extractor psi, in order."""
        return [self.backbone] + ([self.neck] if self.with_neck else [])

    def _require_fitting_loss(self, head: dict) -> None:
        """Refuse or report a supervised loss on another scale than all others."""
        if self.space.trains_a_softmax:
            return
        loss = type(self.head.loss_module).__name__
        remedy = "Set model.head.loss = dict(type='KeypointKLLoss')."
        if 'loss' not in head:
            raise InputError(
                f"DomainAdaptiveTopdown: model.head has no loss, and MMPose's default, "
                f'{loss}, is a thousandth of the losses beside which it would be '
                f'minimised. {remedy}'
            )
        if self.adaptation.adversarial_regressor is not None:
            print_log(
                f'model.head.loss is {loss}, which trains the values of maps. '
                "The adversary's losses read the softmax of the same maps and are "
                f'orders of magnitude larger. {remedy}',
                logger='current',
                level=logging.WARNING,
            )

    def players(self) -> Dict[str, List[nn.Module]]:
        """The modules that each optimiser steps.

        Returns:
            dict[str, list[nn.Module]]: ``feature_extractor`` (psi), ``head``
            (f) and whatever the adaptation adds.
        """
        return dict(
            feature_extractor=self.features,
            head=[self.head],
            **self.adaptation.players(),
        )

    def extract_feat(self, inputs: Tensor) -> Tuple[Tensor, ...]:
        """Compute psi of images, in training by ``micro_batches``.

        Args:
            inputs (Tensor): (B, 3, H, W).

        Returns:
            tuple[Tensor]: Feature maps, each (B, C, h, w).
        """
        psi = super().extract_feat
        if not self.training or self.micro_batches == 1:
            return psi(inputs)
        if torch.is_grad_enabled():
            psi = partial(
                checkpoint, psi, use_reentrant=False, context_fn=self._recomputing
            )
        parts = inputs.chunk(self.micro_batches)
        outputs = pass_in_parts(psi, parts, *self.features)
        return tuple(torch.cat(maps) for maps in zip(*outputs))

    def _recomputing(self) -> Tuple[ContextManager, ContextManager]:
        # Batch normalisation has counted the images the first time.
        return nullcontext(), counted(0, *self.features)

    def train_step(
        self, data: Dict[str, dict], optim_wrapper: OptimWrapperDict
    ) -> Dict[str, Tensor]:
        """Train for one iteration on a batch of each domain.

        Args:
            data (dict): For each of the method's ``domains`` an MMPose batch
                (``inputs``, ``data_samples``), or for the target a dict of one
                for each of its ``views``.
            optim_wrapper (OptimWrapperDict): One optimiser for each player.

        Raises:
            InputError: If there is one optimiser for all, or if the target comes
                in other views than the method takes.
        """
        if not isinstance(optim_wrapper, OptimWrapperDict):
            raise InputError(
                'DomainAdaptiveTopdown needs an optimiser for each of its players '
                f'({", ".join(self.players())}). Set optim_wrapper.constructor = '
                '"PlayerOptimWrapperConstructor" and one entry for each player.'
            )
        batches = {}
        for domain in self.adaptation.domains:
            views = data[domain]
            if 'inputs' in views:
                views = {'': views}
            self._require_views(domain, [view for view in views if view])
            views = {
                view: self.data_preprocessor(batch, training=True)
                for view, batch in views.items()
            }
            batches[domain] = views.get('', views)
        return self.adaptation.step(self, batches, optim_wrapper)

    def _require_views(self, domain: str, found: List[str]) -> None:
        name = type(self.adaptation).__name__
        needed = self.adaptation.views if domain == 'target' else ()
        if set(found) == set(needed):
            return
        if needed:
            hint = f'dict({", ".join(f"{view}=[...]" for view in needed)})'
            hint = f'Set train_dataloader.target.dataset.views = {hint}.'
        else:
            hint = f'Leave views out of train_dataloader.{domain}.dataset.'
        raise InputError(
            f'{name} takes {" and ".join(needed) or "one view"} of each image of the '
            f'{domain}, but its dataset gives {" and ".join(found) or "one view"}. '
            f'{hint}'
        )

    def autocast(self, optim_wrapper: OptimWrapperDict) -> ContextManager:
        """The precision that the optimisers ask for, for a forward pass.

        A forward pass must leave it before an optimiser steps: autocast keeps
        the weights it has cast.
        """
        return optim_wrapper['feature_extractor'].optim_context(self)

    def predict(self, inputs: Tensor, data_samples: SampleList) -> SampleList:
        """Predict, as ``TopdownPoseEstimator`` does.

        Heatmaps, if ``test_cfg.output_heatmaps`` asks for them, are relative
        probabilities of peak 1: the level of logits would be all that a picture shows.

        Args:
            inputs (Tensor): (B, 3, H, W).
            data_samples (list[PoseDataSample]): B samples.

        Returns:
            list[PoseDataSample]: The samples with ``pred_instances`` and, if asked
            for, ``pred_fields``.
        """
        results = super().predict(inputs, data_samples)
        for sample in results:
            if 'pred_fields' in sample:
                fields = sample.pred_fields
                fields.heatmaps = self.space.picture_of(fields.heatmaps)
        return results

    def supervised_loss(self, output: Output, data_samples: SampleList) -> Tensor:
        """The head's own loss, without its accuracy on the CPU.

        Returns:
            Tensor: A scalar.
        """
        return self.space.supervised_loss(output, data_samples)
