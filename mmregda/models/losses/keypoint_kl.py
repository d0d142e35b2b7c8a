"""Kullback-Leibler divergences between distributions over positions."""

from __future__ import annotations

import math
from typing import List, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.errors import InputError

# One map of each keypoint, or several that are independent.
Maps = Union[Tensor, Sequence[Tensor]]


@MODELS.register_module()
class KeypointKLLoss(nn.Module):
    r"""KL divergence of predicted from true keypoint positions.

    .. math::
        L = \frac{1}{BK} \sum_{b,k} w_{bk}\,
        \mathrm{KL}(P_T(y_{bk}) \,\|\, \mathrm{softmax}(z_{bk})),
        \qquad P_T(y) = \mathcal{H}(y) / \sum \mathcal{H}(y)

    over all positions of a keypoint's map, summed over its maps if it has several
    (SimCC's x and y: the divergence of their product). A keypoint of weight 0 adds
    exactly 0, even if its loss is not finite, and so does one whose target is
    all zero. It is called as every heatmap or SimCC loss of MMPose, so any such
    head takes it as its ``loss``.

    Source: the supervised loss and :math:`L_T` of RegDA (CVPR 2021).

    Args:
        epsilon (float): Added to every position of the target before it is
            normalised. Defaults to 0.
        loss_weight (float): Defaults to 1.

    Attributes:
        trains_a_softmax (bool): True: it reads maps as logits.
    """

    trains_a_softmax = True

    def __init__(self, epsilon: float = 0.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.loss_weight = loss_weight

    def forward(
        self, output: Maps, target: Maps, target_weights: Optional[Tensor] = None
    ) -> Tensor:
        """Compute the loss.

        Args:
            output (Tensor | Sequence[Tensor]): Logits, (B, K, P) over any positions
                or (B, K, h, w), or several of them.
            target (Tensor | Sequence[Tensor]): Not negative, of the same shapes.
            target_weights (Tensor, optional): (B, K). Defaults to all 1.

        Returns:
            Tensor: A scalar.

        Raises:
            InputError: If the shapes differ.
        """
        maps = list(zip(_listed(output), _listed(target)))
        divergence = sum(_divergence(z, y, self.epsilon) for z, y in maps)
        if target_weights is not None:
            weights = target_weights.to(divergence)
            # Not a product alone: 0 times infinity is no number.
            divergence = torch.where(
                weights > 0, divergence * weights, torch.zeros_like(divergence)
            )
        return divergence.mean() * self.loss_weight


@MODELS.register_module()
class GroundFalseKLLoss(KeypointKLLoss):
    r"""KL divergence from the *ground false* distribution, equations (3)-(5).

    .. math::
        L_F(p', p) = \frac{1}{K} \sum_k
        \mathrm{KL}(P_F(\mathcal{J}(p))_k \,\|\, p'_k)

    It is smallest where keypoint k is predicted at the other keypoints. The
    target is given as the *ground truth* maps of the pseudo labels; the ground
    false ones are made of it, by :func:`ground_false`.

    Args:
        epsilon (float): Added to every position before normalising, so that
            a lone keypoint (K = 1) has the uniform distribution and nothing
            is divided by zero. Defaults to 1e-7.
        loss_weight (float): Defaults to 1.
        leave_out_own (bool, optional): As in :func:`ground_false`. Defaults to
            doing so where a keypoint has several maps: along one axis another
            keypoint is often where this one is.
    """

    def __init__(
        self,
        epsilon: float = 1e-7,
        loss_weight: float = 1.0,
        leave_out_own: Optional[bool] = None,
    ) -> None:
        super().__init__(epsilon=epsilon, loss_weight=loss_weight)
        self.leave_out_own = leave_out_own

    def forward(
        self, output: Maps, target: Maps, target_weights: Optional[Tensor] = None
    ) -> Tensor:
        """Compute the loss; arguments as in :class:`KeypointKLLoss`."""
        targets = _listed(target)
        leave_out = self.leave_out_own
        if leave_out is None:
            leave_out = len(targets) > 1
        false = [ground_false(maps, leave_out) for maps in targets]
        return super().forward(_listed(output), false, target_weights)


def ground_false(maps: Tensor, leave_out_own: bool = False) -> Tensor:
    r"""Where other keypoints are, equation (3).

    .. math::
        \mathcal{H}_F(y)_k = \sum_{k' \ne k} \mathcal{H}(y_{k'})

    clamped to [0, 1]: where other keypoints are, a wrong prediction of this
    one is likely to fall. The sum without one's own takes no K x K work.

    Args:
        maps (Tensor): (B, K, ...), the ground truth maps, of peak 1.
        leave_out_own (bool): Whether positions within 3 sigma of keypoint k itself
            are 0 for it, although another keypoint is there. Defaults to False.

    Returns:
        Tensor: Of the same shape.
    """
    false = (maps.sum(dim=1, keepdim=True) - maps).clamp_(0, 1)
    if leave_out_own:
        false *= maps < _THREE_SIGMA
    return false


# Of a Gaussian of peak 1. Rounding is not to decide.
_THREE_SIGMA = math.exp(-(3**2) / 2) * (1 - 1e-4)


def _divergence(output: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """KL of softmax(output) from the normalised target, (B, K)."""
    if output.shape != target.shape:
        raise InputError(_differing(output, target))
    # Half precision has too few digits for a sum over thousands of positions.
    log_p = F.log_softmax(output.flatten(2).float(), dim=-1)
    target = target.flatten(2).float() + epsilon
    total = target.sum(dim=-1, keepdim=True)
    target /= total.clamp(min=torch.finfo(target.dtype).tiny)
    # xlogy is 0 where the target is 0. In place: these are the largest tensors
    # after the features.
    terms = torch.xlogy(target, target).addcmul_(target, log_p, value=-1)
    return terms.sum(dim=-1)


def _listed(maps: Maps) -> List[Tensor]:
    return [maps] if isinstance(maps, Tensor) else list(maps)


def _differing(output: Tensor, target: Tensor) -> str:
    """What is wrong with labels of another shape than the prediction."""
    if output.shape[:2] != target.shape[:2]:
        return (
            f'the head predicts {output.shape[1]} keypoints for each of '
            f'{output.shape[0]} images, but there are labels of {target.shape[1]} '
            f'for {target.shape[0]}. Set model.head.out_channels to the number of '
            'keypoints of the source.'
        )
    predicted, labelled = (
        ' x '.join(str(n) for n in reversed(x.shape[2:])) for x in (output, target)
    )
    return (
        f'the head gives heatmaps of {predicted} (width x height), but those of the '
        f'labels are {labelled}. Set heatmap_size, which is (width, height), of '
        'model.head.decoder and of the encoder in GenerateTarget to what the head '
        'gives.'
    )
