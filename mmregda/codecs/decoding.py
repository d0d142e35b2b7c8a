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

    Its peak is 1, as a label's is. Where the maximum is infinite, it is the limit: 1
    at the maximum, 0 elsewhere. A map that holds a NaN is NaN.

    Args:
        maps (Tensor): Logits (..., P), of any floating point type.

    Returns:
        Tensor: Of the same shape, at least float32, without a gradient.
    """
    maps = maps.detach()
    maps = maps if maps.dtype == torch.float64 else maps.float()
    # Infinity less itself is no number.
    limit = torch.finfo(maps.dtype).max
    largest = maps.amax(dim=-1, keepdim=True).clamp_(-limit, limit)
    return (maps - largest).exp_().clamp_(max=1)


def heatmap_confidence(probability: Tensor, radius: float) -> Tensor:
    """The probability of being close to the most likely pixel.

    Args:
        probability (Tensor): (B, K, h, w), not negative, in any unit.
        radius (float): What is close along each axis, in heatmap pixels.

    Returns:
        Tensor: (B, K), between 0 and 1; NaN where there is no distribution.
    """
    h, w = probability.shape[-2:]
    x, y = argmax_keypoints(probability).unbind(dim=-1)
    columns, inside_x = _around(x, w, radius)
    rows, inside_y = _around(y, h, radius)
    index = (rows * w).unsqueeze(-1) + columns.unsqueeze(-2)
    inside = inside_y.unsqueeze(-1) & inside_x.unsqueeze(-2)
    near = probability.flatten(2).gather(-1, index.flatten(2)) * inside.flatten(2)
    return near.sum(dim=-1) / probability.sum(dim=(-2, -1))


def simcc_confidence(probabilities: Sequence[Tensor], radii: Sequence[float]) -> Tensor:
    """The probability of being close to the most likely bin of each axis.

    Args:
        probabilities (Sequence[Tensor]): Along x and along y, each (B, K, P), not
            negative, in any unit.
        radii (Sequence[float]): What is close along either, in bins.

    Returns:
        Tensor: (B, K), between 0 and 1; NaN where there is no distribution.
    """
    total = 1.0
    for probability, radius in zip(probabilities, radii):
        peak = probability.argmax(dim=-1)
        index, inside = _around(peak, probability.shape[-1], radius)
        near = probability.gather(-1, index) * inside
        total = total * near.sum(dim=-1) / probability.sum(dim=-1)
    return total


def _around(positions: Tensor, size: int, radius: float) -> Tuple[Tensor, Tensor]:
    """Indices (..., n) around positions on an axis, and which of them exist."""
    radius = int(min(radius + 1e-6, size))
    steps = torch.arange(-radius, radius + 1, device=positions.device)
    index = positions.unsqueeze(-1) + steps
    return index.clamp(0, size - 1), (index >= 0) & (index < size)


class ProbabilityDecoder(BaseKeypointCodec):
    """A heatmap codec of MMPose's that is handed probabilities.

    Keypoints are the codec's, of relative probabilities. A score is the probability
    of being within 3 sigma of the maximum, along each axis; it is NaN if a logit of
    the map is, and the keypoint is the first pixel then. All else is the codec's.

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
    heatmaps = relative_probability(logits.flatten(2)).view(logits.shape)
    scores = heatmap_confidence(heatmaps, radius)
    keypoints = [decode(sample)[0] for sample in _as_arrays(heatmaps, scores)]
    return keypoints, _as_scores(scores)


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
        radii = [3 * float(sigma) for sigma in self.codec.sigma]
        scores = simcc_confidence(probabilities, radii)
        arrays = zip(*(_as_arrays(p, scores) for p in probabilities))
        keypoints = [self.codec.decode(x[None], y[None])[0] for x, y in arrays]
        return keypoints, _as_scores(scores)


def _as_arrays(maps: Tensor, scores: Tensor) -> np.ndarray:
    """Maps that a codec can decode: flat, where there is no distribution."""
    arrays = maps.cpu().numpy()
    arrays[scores.isnan().cpu().numpy()] = 1
    return arrays


def _as_scores(scores: Tensor) -> List[np.ndarray]:
    """Scores (B, K) as MMPose has them: of one instance in each sample."""
    return list(scores.float().cpu().numpy()[:, None])
