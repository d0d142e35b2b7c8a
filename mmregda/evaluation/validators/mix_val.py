"""Mixed samples as probes."""

from __future__ import annotations

from mmpose.registry import METRICS
from torch import Tensor, nn

from mmregda.evaluation.validators.base import Agreement, predict


@METRICS.register_module()
class MixVal(Agreement):
    r"""`MixVal`_ (Hu et al., NeurIPS 2023) for keypoints.

    Two images are mixed, :math:`\lambda x_i + (1 - \lambda) x_j`. The score is the part
    of the keypoints that are found in the mixture where they are found in
    :math:`x_i`, of which there is more: a model that knows what it sees finds it in a
    mixture as well. Each image of a batch is mixed with the one before it; a batch of
    one image does not count.

    Args:
        ratio (float): :math:`\lambda`, over 1/2. Defaults to 0.55.
        **kwargs: As in :class:`~mmregda.evaluation.validators.base.Agreement`.

    .. _MixVal: https://openreview.net/forum?id=tSEeRl7ACo
    """

    def __init__(self, ratio: float = 0.55, **kwargs) -> None:
        super().__init__(**kwargs)
        self.ratio = ratio

    def look(self, model: nn.Module, inputs: Tensor) -> tuple:
        if len(inputs) < 2:
            return 0, 0
        mixed = inputs.roll(1, dims=0).lerp(inputs, self.ratio)
        found, expected = (
            self.space.in_input(predict(model, images)) for images in (mixed, inputs)
        )
        return self.counted(found, expected, inputs)
