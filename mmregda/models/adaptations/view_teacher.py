"""What methods share whose teacher and student see an image in views of their own."""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional

import torch
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn

from mmregda.codecs.position_space import Output, PositionSpace
from mmregda.codecs.view_warps import ViewWarp
from mmregda.errors import InputError
from mmregda.models.adaptations.averaged_teacher import AveragedTeacher, student
from mmregda.models.adaptations.base import BaseAdaptation
from mmregda.models.adaptations.perturbation import cover_
from mmregda.models.losses import KeypointKLLoss


class ViewLabels(NamedTuple):
    """Pseudo labels in the student's view.

    Attributes:
        keypoints (Tensor): (B, K, 2), x and y in pixels of that view.
        inside (Tensor): (B, K) bool, whether they lie inside both views.
        confidence (Tensor): (B, K), the teacher's.
    """

    keypoints: Tensor
    inside: Tensor
    confidence: Tensor


class ViewTeacher(BaseAdaptation):
    r"""A teacher that labels one view of the target, for a student of another.

    The labels :math:`y = w(\mathcal{J}(p_T))` are the teacher's most likely positions,
    warped from its view into the student's and rendered there anew. The keypoints of a
    batch with the lowest teacher confidence are masked out (m), and the student learns
    :math:`L_T(p, y; m)`. Some of the others are covered in its view.

    (UniFrame warps both predictions back and compares them in the image as it was. The
    positions are the same; a map is not blurred twice, and axes of SimCC, which do not
    turn, serve as well. Confidence is the probability around the most likely position
    where it takes a map's maximum, of which a softmax knows no scale.)

    Running statistics of batch normalisation are the student's on the target.

    Args:
        head (dict, optional): Not used; no head is added.
        momentum (float): Of the teacher; see
            :class:`~mmregda.models.adaptations.averaged_teacher.AveragedTeacher`.
            Defaults to 0.001.
        mask_ratio (float): The part of a batch's keypoints that is left out. Defaults
            to 0.5.
        occlusion (dict, optional): Arguments of
            :func:`~mmregda.models.adaptations.perturbation.cover_` (``prob``,
            ``side``), and the ``threshold`` of confidence from which on a keypoint may
            be covered (0.9).
    """

    views = ('teacher', 'student')

    def __init__(
        self,
        head: Optional[dict] = None,
        momentum: float = 0.001,
        mask_ratio: float = 0.5,
        occlusion: Optional[dict] = None,
    ) -> None:
        super().__init__()
        if not 0 <= mask_ratio < 1:
            raise InputError(
                f'{type(self).__name__}: mask_ratio is {mask_ratio}, which leaves '
                'nothing to learn. Set model.adaptation.mask_ratio to a number from 0 '
                'to less than 1 (0.5 by default).'
            )
        self.momentum = momentum
        self.mask_ratio = mask_ratio
        self.occlusion = {'threshold': 0.9, **(occlusion or {})}

    def attach(self, model: nn.Module) -> None:
        self.teacher = AveragedTeacher(student(model), self.momentum)

    def teach(
        self, model: nn.Module, target: Dict[str, dict], optim_wrapper: OptimWrapperDict
    ) -> ViewLabels:
        """Label the student's view, and cover some of what is sure in it.

        The teacher is taken as it is: :meth:`step` updates it before.
        """
        images = target['teacher']['inputs']
        with model.autocast(optim_wrapper):
            said = self.teacher(images, model.micro_batches)
        labels = labels_in_view(self.space, said, target['teacher'], target['student'])
        options = dict(self.occlusion)
        sure = labels.confidence >= options.pop('threshold')
        images, places = target['student']['inputs'], labels.keypoints
        cover_(images, places, labels.inside & sure, **options)
        return labels

    def kept(self, labels: ViewLabels) -> Tensor:
        """Which keypoints are learned, (B, K) bool."""
        least = int(self.mask_ratio * labels.confidence.numel())
        if not least:
            return labels.inside
        threshold = labels.confidence.flatten().kthvalue(least).values
        return labels.inside & (labels.confidence > threshold)


def labels_in_view(
    space: PositionSpace, said: Output, origin: dict, destination: dict
) -> ViewLabels:
    """What was predicted of one view, as labels of another.

    Raises:
        InputError: As :meth:`~mmregda.codecs.view_warps.ViewWarp.between`.
    """
    device = destination['inputs'].device
    samples = origin['data_samples'], destination['data_samples']
    warp = ViewWarp.between(*samples, device)
    keypoints, inside = warp.keypoints(space.in_input(said))
    return ViewLabels(keypoints, inside, warp.values(space.confidence(said)))


def taught_loss(
    space: PositionSpace, labels: ViewLabels, kept: Tensor, output: Output
) -> Tensor:
    """L_T of what the student predicts.

    A keypoint whose nearest grid position is outside would be a cut-off Gaussian. It
    gets weight 0, as in the source's labels.

    Args:
        space (PositionSpace): Of the prediction.
        labels (ViewLabels): In the student's view.
        kept (Tensor): (B, K) bool, which of them are learned.
        output (Tensor | tuple[Tensor]): What the student's head gives.

    Returns:
        Tensor: A scalar.
    """
    with torch.no_grad():
        rendered = space.gaussians(space.on_grid(labels.keypoints), output)
        for maps in rendered:
            kept = kept & (maps.amax(dim=-1) == 1)  # The peak is there.
    return KeypointKLLoss()(space.maps(output), rendered, kept)
