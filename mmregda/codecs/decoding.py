"""Decoding the distributions that a softmax trains.

A softmax leaves the level of its logits free: adding a constant to a map changes
no probability, and no loss of one. MMPose's decoders read maps that are trained to
have values between 0 and 1, and take a keypoint whose map is nowhere positive for
missing.
"""

from __future__ import annotations

from typing import Any, Callable, List, Sequence, Tuple

import numpy as np
import torch
from mmpose.codecs.base import BaseKeypointCodec
from torch import Tensor

# What MMPose's codecs decode to, and decode a batch to.
Decoded = Tuple[np.ndarray, np.ndarray]
DecodedBatch = Tuple[List[np.ndarray], List[np.ndarray]]


def argmax_keypoints(heatmaps: Tensor) -> Tensor:
    r"""The position of each heatmap's maximum, :math:`\mathcal{J}(p)`.

    The softmax keeps the order, so logits serve as well as probabilities.

    Args:
        heatmaps (Tensor): (B, K, h, w).

    Returns:
        Tensor: (B, K, 2), x and y in heatmap pixels, int64.
    """
    width = heatmaps.shape[-1]
    position = heatmaps.detach().flatten(2).argmax(dim=-1)
    y = torch.div(position, width, rounding_mode='floor')
    return torch.stack((position - y * width, y), dim=-1)


def relative_probability(maps: Tensor) -> Tensor:
    r"""The softmax over positions, in units of its largest value.

    .. math::
        \exp(z - \max z)

    Its peak is 1, as a label's is. NaN counts as the smallest logit. Where the
    maximum is infinite, it is the limit: 1 at the maximum, 0 elsewhere.

    Args:
        maps (Tensor): Logits (..., P), of any floating point type.

    Returns:
        Tensor: Of the same shape, at least float32, without a gradient.
    """
    maps = maps.detach()
    maps = maps if maps.dtype == torch.float64 else maps.float()
    maps = maps.masked_fill(maps.isnan(), -float('inf'))
    largest = maps.amax(dim=-1, keepdim=True)
    # Infinity less itself is no number.
    return (maps - largest).masked_fill_(maps == largest, 0).exp_()


def window(positions: Tensor, size: int, radius: float) -> Tensor:
    """Which places of an axis are close to a position.

    Args:
        positions (Tensor): (...), on the axis.
        size (int): P, the number of its places.
        radius (float): What is close.

    Returns:
        Tensor: (..., P), bool.
    """
    grid = torch.arange(size, device=positions.device)
    return (grid - positions.unsqueeze(-1)).abs() <= radius


def heatmap_window(keypoints: Tensor, size: Tuple[int, int], radius: float) -> Tensor:
    """Which pixels of a heatmap are close to a position along both axes.

    Args:
        keypoints (Tensor): (..., 2), x and y in heatmap pixels.
        size (tuple[int, int]): Height and width.
        radius (float): What is close, in heatmap pixels.

    Returns:
        Tensor: (..., h w), bool.
    """
    h, w = size
    near_x = window(keypoints[..., 0], w, radius)
    near_y = window(keypoints[..., 1], h, radius)
    return (near_y.unsqueeze(-1) & near_x.unsqueeze(-2)).flatten(-2)


def probability_within(
    probabilities: Sequence[Tensor], windows: Sequence[Tensor]
) -> Tensor:
    """The probability that a keypoint is within a window.

    Args:
        probabilities (Sequence[Tensor]): The maps of a keypoint, each (B, K, P), in
            any unit; several are independent.
        windows (Sequence[Tensor]): One for each map, (B, K, P), bool.

    Returns:
        Tensor: (B, K), between 0 and 1.
    """
    found = [(p * w).sum(-1) / p.sum(-1) for p, w in zip(probabilities, windows)]
    return torch.stack(found).prod(dim=0)


class ProbabilityDecoder(BaseKeypointCodec):
    """A heatmap codec of MMPose's that is handed probabilities.

    Keypoints are the codec's, of relative probabilities. A score is the probability
    of being within 3 sigma of the maximum, along each axis; it is not a number if a
    logit of the map is not. All else is the codec's.

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

    def decode(self, *encoded: np.ndarray) -> Decoded:
        """Decode the logits of one sample to (1, K, 2) and (1, K)."""
        maps = (torch.as_tensor(array)[None] for array in encoded)
        keypoints, scores = self.batch_decode(*maps)
        return keypoints[0], scores[0]

    def batch_decode(self, batch_encoded: Tensor) -> DecodedBatch:
        """Decode heatmaps of logits, (B, K, h, w)."""
        return decode_heatmaps(batch_encoded, self.codec.decode, 3 * self.codec.sigma)


def decode_heatmaps(
    logits: Tensor, decode: Callable[[np.ndarray], Decoded], radius: float
) -> DecodedBatch:
    """Decode heatmaps, whatever their level; see :class:`ProbabilityDecoder`.

    Args:
        logits (Tensor): (B, K, h, w).
        decode (Callable): Decodes heatmaps of peak 1, (K, h, w), as the method of
            MMPose's codecs.
        radius (float): What is close to the maximum, in heatmap pixels.

    Returns:
        tuple: As of ``batch_decode`` in MMPose: B arrays (1, K, 2) of keypoints
        in pixels of the input, and B arrays (1, K) of scores.
    """
    probability = relative_probability(logits.flatten(2))
    heatmaps = probability.view(logits.shape)
    near = heatmap_window(argmax_keypoints(heatmaps), logits.shape[-2:], radius)
    scores = probability_within([probability], [near])
    keypoints = [decode(sample)[0] for sample in heatmaps.cpu().numpy()]
    return keypoints, _as_scores(scores, [logits.flatten(2)])


class SimCCProbabilityDecoder(ProbabilityDecoder):
    """The same of MMPose's ``SimCCLabel``, of which a keypoint has two maps.

    It decodes no visibility: MMPose takes the score for it then.

    Args:
        codec (BaseKeypointCodec): A ``SimCCLabel``.
        beta (float): The inverse temperature with which the head's loss reads the
            maps. Defaults to 1.
    """

    def __init__(self, codec: BaseKeypointCodec, beta: float = 1.0) -> None:
        super().__init__(codec)
        self.beta = beta

    def decode(self, simcc_x: np.ndarray, simcc_y: np.ndarray) -> Decoded:
        """Decode the logits of one sample, (K, W) and (K, H) or (1, K, ...)."""
        return super().decode(*(x.reshape(x.shape[-2:]) for x in (simcc_x, simcc_y)))

    def batch_decode(self, simcc_x: Tensor, simcc_y: Tensor) -> DecodedBatch:
        """Decode logits along x, (B, K, W), and along y, (B, K, H)."""
        maps = [self.beta * simcc.float() for simcc in (simcc_x, simcc_y)]
        probabilities = [relative_probability(logits) for logits in maps]
        windows = [
            window(p.argmax(dim=-1), p.shape[-1], 3 * float(sigma))
            for p, sigma in zip(probabilities, self.codec.sigma)
        ]
        scores = probability_within(probabilities, windows)
        arrays = zip(*(p.cpu().numpy() for p in probabilities))
        keypoints = [self.codec.decode(x[None], y[None])[0] for x, y in arrays]
        return keypoints, _as_scores(scores, maps)


def _as_scores(scores: Tensor, maps: Sequence[Tensor]) -> List[np.ndarray]:
    """Scores (B, K) as MMPose has them, and none for what has no distribution."""
    for logits in maps:
        scores = scores.masked_fill(logits.isnan().any(dim=-1), float('nan'))
    return list(scores.float().cpu().numpy()[:, None])
