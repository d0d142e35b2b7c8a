"""Decoding the distribution that a softmax trains.

A softmax leaves the level of its logits free: adding a constant to a heatmap
changes no probability, and no loss of one. MMPose's decoders read heatmaps that
are trained to have values between 0 and 1, and take a keypoint whose heatmap is
nowhere positive for missing.
"""

from __future__ import annotations

from typing import Any, Callable, List, Tuple

import numpy as np
import torch
from mmpose.codecs.base import BaseKeypointCodec
from torch import Tensor


def relative_probability(logits: Tensor) -> Tensor:
    r"""The softmax over positions, in units of its largest value.

    .. math::
        \exp(z - \max z)

    Its peak is 1, as a label's is. NaN counts as the smallest logit. Where the
    maximum is infinite, it is the limit: 1 at the maximum, 0 elsewhere.

    Args:
        logits (Tensor): (..., h, w), of any floating point type.

    Returns:
        Tensor: Of the same shape, at least float32, without a gradient.
    """
    logits = logits.detach()
    logits = logits if logits.dtype == torch.float64 else logits.float()
    logits = logits.masked_fill(logits.isnan(), -float('inf'))
    largest = logits.amax(dim=(-2, -1), keepdim=True)
    # Infinity less itself is no number.
    return (logits - largest).masked_fill_(logits == largest, 0).exp_()


def probability_near(probability: Tensor, keypoints: Tensor, radius: float) -> Tensor:
    """The probability of being close to a position.

    Args:
        probability (Tensor): Not negative, (..., h, w), of any positive sum.
        keypoints (Tensor): (..., 2), x and y in heatmap pixels.
        radius (float): How far x and y may be from it, each, in heatmap pixels.

    Returns:
        Tensor: (...), between 0 and 1.
    """
    h, w = probability.shape[-2:]
    grid = torch.arange(max(h, w), device=probability.device)
    near = (grid - keypoints.unsqueeze(-1)).abs() <= radius
    near_x, near_y = near.to(probability.dtype).unbind(dim=-2)
    rows = (probability * near_x[..., None, :w]).sum(dim=-1)
    return (rows * near_y[..., :h]).sum(dim=-1) / probability.sum(dim=(-2, -1))


def decode_probability(
    logits: Tensor,
    decode: Callable[[np.ndarray], Tuple[np.ndarray, np.ndarray]],
    radius: float,
) -> Tuple[List[np.ndarray], List[np.ndarray]]:
    """Decode a batch of heatmaps of logits, whatever their level.

    A score is the probability of being close to the maximum. It is not a number
    if a logit of the map is not.

    Args:
        logits (Tensor): (B, K, h, w).
        decode (Callable): Decodes heatmaps of peak 1, (K, h, w), as the method of
            MMPose's codecs; it is handed relative probabilities.
        radius (float): What is close, in heatmap pixels along each axis.

    Returns:
        tuple: As of ``batch_decode`` in MMPose: B arrays (1, K, 2) of keypoints
        in pixels of the input, and B arrays (1, K) of scores.
    """
    probability = relative_probability(logits)
    w = probability.shape[-1]
    position = probability.flatten(-2).argmax(dim=-1)
    y = torch.div(position, w, rounding_mode='floor')
    peak = torch.stack((position - y * w, y), dim=-1)
    scores = probability_near(probability, peak, radius)
    scores = scores.masked_fill(logits.isnan().flatten(-2).any(dim=-1), float('nan'))
    keypoints = [decode(heatmaps)[0] for heatmaps in probability.cpu().numpy()]
    return keypoints, list(scores.float().cpu().numpy()[:, None])


class ProbabilityDecoder(BaseKeypointCodec):
    """A heatmap codec of MMPose's that is handed probabilities.

    It decodes as :func:`decode_probability` says, with the codec's refinement;
    scores are the probability of being within 3 sigma. All else is the codec's.

    Args:
        codec (BaseKeypointCodec): Such as ``MSRAHeatmap`` or ``UDPHeatmap``.
    """

    def __init__(self, codec: BaseKeypointCodec) -> None:
        super().__init__()
        self.codec = codec
        # What the base class has a value for, and __getattr__ is not asked.
        self.auxiliary_encode_keys = codec.auxiliary_encode_keys
        self.field_mapping_table = codec.field_mapping_table
        self.instance_mapping_table = codec.instance_mapping_table
        self.label_mapping_table = codec.label_mapping_table

    def __getattr__(self, name: str) -> Any:
        if name == 'codec':  # of a copy that is not yet made
            raise AttributeError(name)
        return getattr(self.codec, name)

    def encode(self, *args: Any, **kwargs: Any) -> dict:
        """As the codec encodes."""
        return self.codec.encode(*args, **kwargs)

    def decode(self, encoded: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Decode heatmaps of logits, (K, h, w), to (1, K, 2) and (1, K)."""
        keypoints, scores = self.batch_decode(torch.as_tensor(encoded)[None])
        return keypoints[0], scores[0]

    def batch_decode(
        self, batch_encoded: Tensor
    ) -> Tuple[List[np.ndarray], List[np.ndarray]]:
        """Decode heatmaps of logits, (B, K, h, w)."""
        return decode_probability(
            batch_encoded, self.codec.decode, 3 * self.codec.sigma
        )
