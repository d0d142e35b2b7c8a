"""What a head predicts: distributions over positions."""

from __future__ import annotations

from typing import Optional, Tuple

import numpy as np
import torch
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.models.heads import BaseHead, HeatmapHead, ViPNASHead
from mmpose.models.losses import heatmap_loss
from mmpose.utils.typing import SampleList
from torch import Tensor

from mmregda.codecs import (
    GaussianHeatmap,
    ProbabilityDecoder,
    gaussian_heatmaps,
    probability_near,
    relative_probability,
)
from mmregda.errors import InputError
from mmregda.models.pseudo_heatmaps import argmax_keypoints

# They train the values of heatmaps, and no softmax of them.
_REGRESSING_LOSSES = tuple(
    getattr(heatmap_loss, name)
    for name in (
        'KeypointMSELoss',
        'KeypointOHKMMSELoss',
        'CombinedTargetMSELoss',
        'AdaptiveWingLoss',
        'FocalHeatmapLoss',
    )
    if hasattr(heatmap_loss, name)
)
SERVING = (
    'HeatmapHead, ViPNASHead and heads derived from them, with the codec '
    'GaussianHeatmap, MSRAHeatmap or UDPHeatmap (heatmap_type="gaussian")'
)


def position_space_of(head: BaseHead) -> HeatmapSpace:
    """The space of positions in which a head predicts.

    Args:
        head (BaseHead): Of MMPose's, or one of the user's own.

    Returns:
        HeatmapSpace: Of the head's codec.

    Raises:
        InputError: If the head predicts no distribution over positions, or its
            codec writes labels that are none.
    """
    # What MMPose has made of it; a head of the user's own is judged by its codec.
    kinds = [c for c in type(head).__mro__ if c.__module__.startswith('mmpose.')]
    if kinds and kinds[0] not in (HeatmapHead, ViPNASHead, BaseHead):
        raise InputError(
            f'model.head: {type(head).__name__} does not predict one distribution '
            f'over positions for each keypoint. Heads that do: {SERVING}.'
        )
    return HeatmapSpace(getattr(head, 'decoder', None))


class HeatmapSpace:
    r"""Heatmaps: for each keypoint one distribution, over the pixels of a map.

    Args:
        codec (BaseKeypointCodec, optional): The head's; without one it can be
            trained (with a sigma of 2) but not decoded.

    Attributes:
        sigma (float): Of :math:`\mathcal{H}(y)`, in heatmap pixels.
        radius (float): Beyond which along an axis it is zero, in heatmap pixels.

    Raises:
        InputError: If the codec's labels are not :math:`\mathcal{H}(y)`.
    """

    def __init__(self, codec: Optional[BaseKeypointCodec] = None) -> None:
        self.sigma = getattr(codec, 'sigma', 2.0)
        unbounded = getattr(codec, 'unbiased', False)
        self.radius = float('inf') if unbounded else 3 * self.sigma
        if codec is not None:
            self.require_labels_of(codec)

    def require_labels_of(
        self, codec: BaseKeypointCodec, entry: str = 'model.head.decoder'
    ) -> None:
        """Refuse a codec whose labels are another function than pseudo labels.

        Args:
            codec (BaseKeypointCodec): Which writes labels.
            entry (str): Its name in the config.

        Raises:
            InputError: If it does not write Gaussians, or not where the keypoint
                is.
        """
        name = type(codec).__name__
        combined = getattr(codec, 'heatmap_type', 'gaussian') != 'gaussian'
        needed = ('input_size', 'heatmap_size', 'sigma')
        if combined or not all(hasattr(codec, key) for key in needed):
            raise InputError(
                f'{entry}: {name}{" (combined)" if combined else ""} does not write '
                f'one Gaussian heatmap for each keypoint. What serves: {SERVING}.'
            )
        w, h = codec.heatmap_size
        xs, ys = ({0, 1, n // 2, n - 2, n - 1} & set(range(n)) for n in (w, h))
        grid = np.array([[(x, y) for x in xs for y in ys]], dtype=np.float32)
        encoded = codec.encode(grid * codec.scale_factor)['heatmaps']
        expected = self.heatmaps(torch.from_numpy(grid), (h, w))[0].numpy()
        difference = np.abs(encoded - expected).max()
        if not difference < 1e-3:
            raise InputError(
                f'{entry}: the labels that {name} writes with sigma={codec.sigma} '
                'are not the Gaussians of the pseudo labels: they differ by up to '
                f'{difference:.2f} of the peak. (MMPose cuts 3 sigma, '
                f'{3 * codec.sigma:g} heatmap pixels, to an integer, which moves '
                'labels near a border.) Use '
                f'dict(type="GaussianHeatmap", input_size={tuple(codec.input_size)}, '
                f'heatmap_size={(w, h)}, sigma={self.sigma}) as model.head.decoder '
                'and as the encoder in GenerateTarget.'
            )

    def heatmaps(self, keypoints: Tensor, size: Tuple[int, int]) -> Tensor:
        r"""Ground truth heatmaps :math:`\mathcal{H}(y)`.

        Args:
            keypoints (Tensor): (B, K, 2), in heatmap pixels.
            size (tuple[int, int]): Height and width of the heatmaps.

        Returns:
            Tensor: (B, K, h, w).
        """
        return gaussian_heatmaps(keypoints, size, self.sigma, self.radius)

    def pseudo_labels(self, logits: Tensor) -> Tensor:
        r"""Ground truth heatmaps of predictions, :math:`\mathcal{H}(\mathcal{J}(p))`.

        Args:
            logits (Tensor): (B, K, h, w).

        Returns:
            Tensor: Of the same shape, without a gradient.
        """
        return self.heatmaps(argmax_keypoints(logits), logits.shape[-2:])

    def confidence(self, logits: Tensor) -> Tensor:
        """The probability of being within 3 sigma of the maximum, (B, K)."""
        radius = 3 * self.sigma
        return probability_near(
            relative_probability(logits), argmax_keypoints(logits), radius
        )

    def labels(self, data_samples: SampleList) -> Tuple[Tensor, Tensor]:
        """The labels of a batch.

        Args:
            data_samples (list[PoseDataSample]): B labelled samples.

        Returns:
            tuple[Tensor]: Heatmaps (B, K, h, w) and weights (B, K).
        """
        heatmaps = torch.stack([sample.gt_fields.heatmaps for sample in data_samples])
        return heatmaps, label_weights(data_samples)


def label_weights(data_samples: SampleList) -> Tensor:
    """The weight of each labelled keypoint of a batch, (B, K)."""
    return torch.cat(
        [sample.gt_instance_labels.keypoint_weights for sample in data_samples]
    )


def trains_a_softmax(head: BaseHead) -> bool:
    """Whether a head's loss reads its maps as logits (or as values to regress)."""
    return not isinstance(getattr(head, 'loss_module', None), _REGRESSING_LOSSES)


def decode_as_trained(head: BaseHead) -> None:
    """Let a head decode the distribution that its loss trains, in place.

    Args:
        head (BaseHead): With one of MMPose's heatmap codecs, or ours.
    """
    codec = getattr(head, 'decoder', None)
    if codec is None or isinstance(codec, GaussianHeatmap):
        return
    if trains_a_softmax(head):
        head.decoder = ProbabilityDecoder(codec)
