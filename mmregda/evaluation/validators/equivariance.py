"""Whether predictions turn with the image."""

from __future__ import annotations

import math

import torch
from mmpose.registry import METRICS
from torch import Tensor, nn

from mmregda.codecs.view_warps import warp_keypoints, warp_maps
from mmregda.evaluation.validators.base import Agreement, predict


@METRICS.register_module()
class Equivariance(Agreement):
    """The part of the keypoints that turn with the image.

    Each image is turned about its centre; what leaves it does not count. It is the
    consistency of :func:`~mmregda.evaluation.validators.label_free_evidence` for any
    validation: that needs a dataset of random views.

    Args:
        angle (float): In degrees. Defaults to 30.
        **kwargs: As in :class:`~mmregda.evaluation.validators.base.Agreement`.
    """

    def __init__(self, angle: float = 30.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.angle = angle

    def look(self, model: nn.Module, inputs: Tensor) -> tuple:
        h, w = inputs.shape[-2:]
        cos, sin = (f(math.radians(self.angle)) for f in (math.cos, math.sin))
        x, y = (w - 1) / 2, (h - 1) / 2
        there, back = (
            torch.tensor(
                [[cos, -s, x - cos * x + s * y], [s, cos, y - s * x - cos * y]],
                device=inputs.device,
            ).expand(len(inputs), 2, 3)
            for s in (sin, -sin)
        )
        turned, _ = warp_maps(inputs, back, (1, 1))
        found = self.space.in_input(predict(model, turned))
        expected = warp_keypoints(self.space.in_input(predict(model, inputs)), there)
        last = torch.tensor((w - 0.5, h - 0.5), device=inputs.device)
        inside = ((expected >= -0.5) & (expected < last)).all(dim=-1, keepdim=True)
        expected = torch.where(inside, expected, torch.nan)
        return self.counted(found, expected, inputs)
