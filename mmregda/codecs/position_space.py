r"""What a head predicts: for each keypoint, distributions over positions.

A heatmap head predicts one over the pixels of a map, a SimCC head two independent
ones, along x and along y. Methods and losses see *maps*: a tensor of logits
(B, K, P) for each, whose softmax over the P positions is the distribution. Notation
of the paper: :math:`\mathcal{J}(p)` is the most likely position of each keypoint,
:math:`\mathcal{H}(y)` the Gaussian of peak 1 around a position.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmpose.codecs import SimCCLabel
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.models.heads import (
    BaseHead,
    HeatmapHead,
    RTMCCHead,
    RTMWHead,
    SimCCHead,
    ViPNASHead,
)
from mmpose.models.losses.classification_loss import KLDiscretLoss
from mmpose.utils.typing import SampleList
from torch import Tensor, nn

from mmregda.codecs.decoding import (
    ProbabilityDecoder,
    SimCCProbabilityDecoder,
    argmax_keypoints,
    heatmap_confidence,
    relative_probability,
    simcc_confidence,
)
from mmregda.codecs.gaussian_heatmap import GaussianHeatmap, gaussian_heatmaps
from mmregda.errors import InputError

Maps = List[Tensor]
# What a head's forward pass gives: heatmaps (B, K, h, w), or (B, K, W) and (B, K, H).
Output = Union[Tensor, Tuple[Tensor, Tensor]]

SERVING = (
    'HeatmapHead and ViPNASHead with the codec GaussianHeatmap, MSRAHeatmap or '
    'UDPHeatmap (heatmap_type="gaussian"), SimCCHead, RTMCCHead and RTMWHead with '
    'SimCCLabel (smoothing_type="gaussian"), and heads derived from them'
)
_HEATMAP_HEADS = (HeatmapHead, ViPNASHead)
_SIMCC_HEADS = (SimCCHead, RTMCCHead, RTMWHead)


def position_space_of(head: BaseHead) -> PositionSpace:
    """The space of positions in which a head predicts.

    Raises:
        InputError: If the head predicts no distribution over positions, or its
            codec writes labels that are none.
    """
    codec = getattr(head, 'decoder', None)
    # What MMPose has made of it; a head of the user's own is judged by its codec.
    kinds = [c for c in type(head).__mro__ if c.__module__.startswith('mmpose.')]
    kind = kinds[0] if kinds else BaseHead
    own = kind is BaseHead
    if kind in _SIMCC_HEADS or (own and isinstance(codec, SimCCLabel)):
        return SimCCSpace(head)
    if kind in _HEATMAP_HEADS or own:
        return HeatmapSpace(head)
    raise InputError(
        f'model.head: {type(head).__name__} does not predict distributions over '
        f'positions for each keypoint. Heads that do: {SERVING}.'
    )


def _sigma_of(codec: Any) -> Any:
    sigma = getattr(codec, 'sigma', 2.0)
    numbers = np.ravel(sigma)
    if numbers.dtype.kind not in 'if' or not (numbers > 0).all():
        raise InputError(
            f'model.head.decoder: sigma is {sigma!r}, but the Gaussians of labels need '
            'a number above 0. Set it there and in GenerateTarget.'
        )
    return sigma


class PositionSpace(ABC):
    r"""What methods ask about positions, whatever the head.

    An ``output`` is what a head's forward pass gives, ``maps`` are logits (B, K, P) of
    each distribution of a keypoint, and the *grid* is the places that they are over.

    Args:
        head (BaseHead): Of which the codec and the loss are read.

    Raises:
        InputError: If labels that the codec writes are not :math:`\mathcal{H}(y)`.
    """

    def __init__(self, head: Any) -> None:
        self.codec: Optional[BaseKeypointCodec] = getattr(head, 'decoder', None)
        self.loss_module: Optional[nn.Module] = getattr(head, 'loss_module', None)
        if self.codec is not None:
            self.require_labels()

    @property
    def trains_a_softmax(self) -> bool:
        """bool: Whether the head's loss reads maps as logits, and not as values."""
        return trains_a_softmax(self.loss_module)

    # --- of a head's output

    @abstractmethod
    def maps(self, output: Output) -> Maps:
        """The maps of an output, a list of (B, K, P)."""

    @abstractmethod
    def keypoints(self, output: Output) -> Tensor:
        r"""The most likely positions :math:`\mathcal{J}(p)`, (B, K, 2) int64.

        They are x and y on the grid.
        """

    @abstractmethod
    def gaussians(self, keypoints: Tensor, output: Output) -> Maps:
        r"""Gaussians of peak 1 around positions, :math:`\mathcal{H}(y)`.

        Args:
            keypoints (Tensor): (B, K, 2), on the grid.
            output (Tensor | tuple[Tensor]): A head's, whose grid it is.

        Returns:
            list[Tensor]: Each (B, K, P), without a gradient.
        """

    def pseudo_labels(self, output: Output) -> Maps:
        r""":math:`\mathcal{H}(\mathcal{J}(p))`, each (B, K, P), without a gradient."""
        return self.gaussians(self.keypoints(output), output)

    @abstractmethod
    def confidence(self, output: Output) -> Tensor:
        """The probability of being within 3 sigma of the most likely position.

        Returns:
            Tensor: (B, K), between 0 and 1, without a gradient.
        """

    @abstractmethod
    def in_input(self, output: Output) -> Tensor:
        r""":math:`\mathcal{J}(p)` in pixels of the network's input, (B, K, 2).

        A place of the grid lies on the pixel whose keypoint the codec encodes to it.
        """

    @abstractmethod
    def on_grid(self, pixels: Tensor) -> Tensor:
        """The places of the grid (int64) nearest to keypoints in pixels of the input.

        Both are (B, K, 2); of what is outside, the place is beyond the grid.
        """

    @abstractmethod
    def in_box(self, output: Output) -> Tensor:
        r""":math:`\mathcal{J}(p)` in units of the sides of the input's box, (B, K, 2).

        Times the input's size it is where the codec decodes it to, without the
        codec's refinement.
        """

    # --- of a batch

    @abstractmethod
    def labels(self, data_samples: SampleList) -> Output:
        """The labels of B samples, of the shapes of the head's output."""

    def supervised_loss(self, output: Output, data_samples: SampleList) -> Tensor:
        """The head's own loss on labelled samples, without its accuracy on the CPU."""
        return self.loss_module(
            output, self.labels(data_samples), label_weights(data_samples)
        )

    def loss_unit(self, output: Output) -> float:
        """What the head's loss makes of a mean divergence of 1.

        Methods multiply the losses by it that they weigh against the head's: with
        the paper's margin and trade-off, these then weigh what they do in the paper.
        It is 1 for a loss that is a mean over keypoints of sums over positions.
        """
        return 1.0

    # --- of a head and its codec

    @abstractmethod
    def decoder(self) -> BaseKeypointCodec:
        """A codec that decodes what the head's loss trains, whatever its level."""

    def picture_of(self, heatmaps: Tensor) -> Tensor:
        """What the head gives as heatmaps (K, h, w) to be looked at."""
        return heatmaps

    @abstractmethod
    def last_layers(self, head: nn.Module) -> List[nn.Module]:
        """The layers that compute logits, which need all digits."""

    @abstractmethod
    def require_labels(self) -> None:
        """Refuse a codec whose labels are another function than pseudo labels.

        Raises:
            InputError: If it does not write Gaussians, or not where the keypoint is.
        """


class HeatmapSpace(PositionSpace):
    r"""One distribution of each keypoint, over the h w pixels of a heatmap.

    The grid is the heatmap's pixels.

    Args:
        head (BaseHead): A head without a codec can be trained (with a sigma of 2)
            but not decoded.

    Attributes:
        sigma (float): Of :math:`\mathcal{H}(y)`, in heatmap pixels.
        radius (float): Beyond which along an axis it is zero, in heatmap pixels.
    """

    def __init__(self, head: Any) -> None:
        codec = getattr(head, 'decoder', None)
        self.sigma = _sigma_of(codec)
        unbounded = getattr(codec, 'unbiased', False)
        self.radius = float('inf') if unbounded else 3 * self.sigma
        super().__init__(head)

    def maps(self, output: Tensor) -> Maps:
        return [output.flatten(2)]

    def keypoints(self, output: Tensor) -> Tensor:
        return argmax_keypoints(output)

    def gaussians(self, keypoints: Tensor, output: Tensor) -> Maps:
        size = output.shape[-2:]
        heatmaps = gaussian_heatmaps(keypoints, size, self.sigma, self.radius)
        return [heatmaps.flatten(2)]

    def confidence(self, output: Tensor) -> Tensor:
        probability = relative_probability(output.flatten(2)).view(output.shape)
        return heatmap_confidence(probability, 3 * self.sigma)

    def in_input(self, output: Tensor) -> Tensor:
        return _times(self.keypoints(output), self.codec.scale_factor)

    def on_grid(self, pixels: Tensor) -> Tensor:
        return _nearest(_times(pixels, 1 / np.asarray(self.codec.scale_factor)))

    def in_box(self, output: Tensor) -> Tensor:
        size = np.array(output.shape[:-3:-1])
        # UDP lays the corners of the heatmap on those of the box.
        last = np.multiply(getattr(self.codec, 'scale_factor', 0), size - 1)
        if np.allclose(last, np.subtract(getattr(self.codec, 'input_size', 0), 1)):
            size = size - 1
        return _times(self.keypoints(output), 1 / size)

    def labels(self, data_samples: SampleList) -> Tensor:
        return torch.stack([sample.gt_fields.heatmaps for sample in data_samples])

    def decoder(self) -> BaseKeypointCodec:
        own = self.codec is None or isinstance(self.codec, GaussianHeatmap)
        if own or not self.trains_a_softmax:
            return self.codec
        return ProbabilityDecoder(self.codec)

    def picture_of(self, heatmaps: Tensor) -> Tensor:
        if not self.trains_a_softmax:
            return heatmaps
        return relative_probability(heatmaps.flatten(1)).view(heatmaps.shape)

    def last_layers(self, head: nn.Module) -> List[nn.Module]:
        layer = getattr(head, 'final_layer', None)
        return [layer] if isinstance(layer, nn.Conv2d) else []

    def require_labels(self) -> None:
        codec, name = self.codec, type(self.codec).__name__
        combined = getattr(codec, 'heatmap_type', 'gaussian') != 'gaussian'
        needed = ('input_size', 'heatmap_size', 'sigma')
        if combined or not all(hasattr(codec, key) for key in needed):
            raise InputError(
                f'model.head.decoder: {name}{" (combined)" if combined else ""} does '
                'not write one Gaussian heatmap for each keypoint. What serves: '
                f'{SERVING}.'
            )
        own = isinstance(codec, GaussianHeatmap) or self.radius == float('inf')
        if not own and self.radius % 1:
            raise InputError(
                f'model.head.decoder: the labels that {name} writes with sigma='
                f'{self.sigma} are not the Gaussians of the pseudo labels: MMPose cuts '
                '3 sigma to an integer, which moves labels near borders. Use '
                f'dict(type="GaussianHeatmap", input_size={tuple(codec.input_size)}, '
                f'heatmap_size={tuple(codec.heatmap_size)}, sigma={self.sigma}) as '
                'model.head.decoder and as the encoder in GenerateTarget.'
            )


class SimCCSpace(PositionSpace):
    r"""Two distributions of each keypoint: along x and along y.

    The grid is the bins of both axes, ``simcc_split_ratio`` of them in a pixel of the
    input. A map of logits is what MMPose's ``KLDiscretLoss`` takes the softmax of:
    ``beta`` times the head's output. That loss is a sum over the batch and a mean over
    bins, which :meth:`loss_unit` accounts for.

    Args:
        head (BaseHead): Such as ``RTMCCHead``, with a ``SimCCLabel`` as its decoder.

    Attributes:
        sigma (tuple[float, float]): Of :math:`\mathcal{H}(y)` along x and y, in bins.
        beta (float): The inverse temperature of the head's loss.
    """

    def __init__(self, head: Any) -> None:
        codec = getattr(head, 'decoder', None)
        if codec is None:
            raise InputError(
                f'model.head: {type(head).__name__} has no decoder, which says how '
                'wide the Gaussians of labels are. Set model.head.decoder to the codec '
                'of GenerateTarget.'
            )
        self.sigma = tuple(float(sigma) for sigma in np.ravel(_sigma_of(codec)))
        self.beta = getattr(getattr(head, 'loss_module', None), 'beta', 1.0)
        super().__init__(head)

    def maps(self, output: Tuple[Tensor, Tensor]) -> Maps:
        return [logits if self.beta == 1 else self.beta * logits for logits in output]

    def keypoints(self, output: Tuple[Tensor, Tensor]) -> Tensor:
        return torch.stack([x.detach().argmax(dim=-1) for x in output], dim=-1)

    def gaussians(self, keypoints: Tensor, output: Tuple[Tensor, Tensor]) -> Maps:
        axes = zip(keypoints.unbind(dim=-1), output, self.sigma)
        return [_gaussians(places, z.shape[-1], sigma) for places, z, sigma in axes]

    def confidence(self, output: Tuple[Tensor, Tensor]) -> Tensor:
        probabilities = [relative_probability(logits) for logits in self.maps(output)]
        return simcc_confidence(probabilities, [3 * sigma for sigma in self.sigma])

    def in_input(self, output: Tuple[Tensor, Tensor]) -> Tensor:
        return self.keypoints(output) / self.codec.simcc_split_ratio

    def on_grid(self, pixels: Tensor) -> Tensor:
        return _nearest(pixels * self.codec.simcc_split_ratio)

    def in_box(self, output: Tuple[Tensor, Tensor]) -> Tensor:
        size = np.array(self.codec.input_size)
        return _times(self.in_input(output), 1 / size)

    def labels(self, data_samples: SampleList) -> Tuple[Tensor, Tensor]:
        labels = [sample.gt_instance_labels for sample in data_samples]
        return (
            torch.cat([label.keypoint_x_labels for label in labels]),
            torch.cat([label.keypoint_y_labels for label in labels]),
        )

    def loss_unit(self, output: Tuple[Tensor, Tensor]) -> float:
        if not isinstance(self.loss_module, KLDiscretLoss):
            return 1.0
        # Both axes as one: of an input that is not square they differ a little.
        return sum(len(logits) / logits.shape[-1] for logits in output) / 2

    def decoder(self) -> BaseKeypointCodec:
        if not self.trains_a_softmax:
            return self.codec
        return SimCCProbabilityDecoder(self.codec, self.beta)

    def last_layers(self, head: nn.Module) -> List[nn.Module]:
        names = ('cls_x', 'cls_y', 'mlp_head_x', 'mlp_head_y')
        return [getattr(head, name) for name in names if hasattr(head, name)]

    def require_labels(self) -> None:
        codec = self.codec
        ratio = getattr(codec, 'simcc_split_ratio', 0)
        if getattr(codec, 'smoothing_type', None) != 'gaussian' or not ratio:
            raise InputError(
                f'model.head.decoder: {type(codec).__name__} does not write a Gaussian '
                f'along each axis. What serves: {SERVING}.'
            )


def trains_a_softmax(loss: Optional[nn.Module]) -> bool:
    """Whether a head's loss reads maps as logits, and not as values.

    Any but MMPose's says so by an attribute of this name.
    """
    return getattr(loss, 'trains_a_softmax', isinstance(loss, KLDiscretLoss))


def decodes_as_trained(head: nn.Module) -> bool:
    """Whether a head decodes the distribution that its loss trains.

    In a :class:`~mmregda.models.DomainAdaptiveTopdown` every head does. In MMPose's
    own models a head that ``KeypointKLLoss`` trains does with ``GaussianHeatmap``.
    """
    codec = getattr(head, 'decoder', None)
    if codec is None or isinstance(codec, (GaussianHeatmap, ProbabilityDecoder)):
        return True
    heatmaps = isinstance(head, _HEATMAP_HEADS)
    return not (heatmaps and trains_a_softmax(getattr(head, 'loss_module', None)))


def label_weights(data_samples: SampleList) -> Tensor:
    """The weight of each labelled keypoint of a batch, (B, K)."""
    return torch.cat(
        [sample.gt_instance_labels.keypoint_weights for sample in data_samples]
    )


def _gaussians(positions: Tensor, size: int, sigma: float) -> Tensor:
    """Gaussians of peak 1 around positions (B, K) of an axis, (B, K, P)."""
    grid = torch.arange(size, device=positions.device, dtype=torch.float32)
    distance = grid - positions.float().unsqueeze(-1)
    return torch.exp(-distance.square() / (2 * sigma**2))


def _nearest(positions: Tensor) -> Tensor:
    return (positions + 0.5).floor().long()


def _times(keypoints: Tensor, factors: Sequence[float]) -> Tensor:
    """x and y (..., 2), each times its factor, without a copy to the device."""
    x, y = keypoints.unbind(dim=-1)
    return torch.stack((x * float(factors[0]), y * float(factors[1])), dim=-1)
