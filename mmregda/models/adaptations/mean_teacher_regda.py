"""Regressive Domain Adaptation with an averaged teacher: not the paper's."""

from __future__ import annotations

import copy
from typing import Dict, Optional

import torch
from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.models.adaptations.base import frozen, minimize
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
    psi once more than RegDA's, without a gradient. The averaged teacher is that
    of `Tarvainen & Valpola`_ (NeurIPS 2017). What is gained over RegDA is
    gained by f's learning of the teacher's labels: with :math:`\lambda = 0` it
    is a mean teacher alone, and as good on the rendered hands
    (docs/benchmark.md).

    Args:
        head (dict): As in RegDA, and so are ``kwargs``.
        self_training (float): :math:`\mu`. Defaults to 1.
        momentum (float): Of the teacher; see :class:`AveragedTeacher`.
            Defaults to 0.01.
        perturbation (dict, optional): Arguments of :func:`perturb_`.
        source_statistics (bool): As in RegDA. Defaults to False.

    .. _Tarvainen & Valpola: https://arxiv.org/abs/1703.01780
    """

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
        self.teacher.update(student(model))
        with model.autocast(optim_wrapper):
            p = self.teacher(target_inputs, model.micro_batches)
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


class AveragedTeacher(nn.Module):
    """The exponential moving average of psi and f, as they are in training.

    With the first update it is the student. (MMEngine's averages wait for the
    device, once for each parameter.)

    Args:
        network (nn.Sequential): What is averaged; see :func:`student`.
        momentum (float): The part of an update that is new. In the n-th it is
            max(momentum, 9 / (8 + n)), so that in a training of less than
            9 / momentum iterations the average is over a ninth of them.
    """

    def __init__(self, network: nn.Sequential, momentum: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.momentum = momentum
        self.register_buffer('num_updates', torch.zeros(()))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network as it is now."""
        new = (9 / (9 + self.num_updates)).clamp(min=self.momentum)
        for average, parameter in zip(self.network.parameters(), network.parameters()):
            average.lerp_(parameter, new)
        # Frozen batch normalisation predicts with them.
        for average, buffer in zip(self.network.buffers(), network.buffers()):
            average.copy_(buffer)
        self.num_updates += 1

    @torch.no_grad()
    def forward(self, inputs: Tensor, micro_batches: int = 1) -> Tensor:
        """What f predicts of images (B, 3, H, W), which pass psi in parts."""
        *psi, f = self.network
        parts = [nn.Sequential(*psi)(part) for part in inputs.chunk(micro_batches)]
        return f(tuple(torch.cat(maps) for maps in zip(*parts)))


def student(model: nn.Module) -> nn.Sequential:
    """psi and f as one module, which maps images to f's predictions."""
    return nn.Sequential(*model.features, model.head)


def perturb_(images: Tensor, num_erased: int = 2, jitter: float = 0.3) -> None:
    """Change contrast and brightness and erase rectangles, in place.

    Positions of keypoints stay. Each image has its own draws.

    Args:
        images (Tensor): Normalised, (B, 3, H, W).
        num_erased (int): Rectangles of one random colour, whose sides are
            between 8 and 30 % of the image's.
        jitter (float): Contrast is changed by a factor of 1 +- jitter,
            brightness of each channel by +- jitter standard deviations.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, 1, 1, device=images.device)

    b, c, h, w = images.shape
    images.mul_(1 + jitter * (2 * uniform(b, 1) - 1))
    images.add_(jitter * (2 * uniform(b, c) - 1))
    y = torch.arange(h, device=images.device).view(h, 1) / h
    x = torch.arange(w, device=images.device) / w
    for _ in range(num_erased):
        height, width = (0.08 + 0.22 * uniform(b, 1) for _ in 'hw')
        top, left = uniform(b, 1) * (1 - height), uniform(b, 1) * (1 - width)
        inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
        colour = torch.randn(b, c, 1, 1, device=images.device)
        images.copy_(torch.where(inside, colour, images))
