"""Heatmaps of labels and of pseudo labels: one function for both."""

from __future__ import annotations

from typing import Optional, Tuple

import numpy as np
import torch
from mmpose.codecs import MSRAHeatmap
from mmpose.registry import KEYPOINT_CODECS
from torch import Tensor

from mmregda.codecs.decoding import Decoded, DecodedBatch, decode_heatmaps
from mmregda.errors import InputError


def gaussian_heatmaps(
    keypoints: Tensor,
    size: Tuple[int, int],
    sigma: float = 2.0,
    radius: Optional[float] = None,
) -> Tensor:
    r"""Ground truth heatmaps :math:`\mathcal{H}(y_k)`.

    A Gaussian of peak 1 that is zero where x or y is further than ``radius``
    from the keypoint. It is the outer product of its two axes.

    Args:
        keypoints (Tensor): (B, K, 2), x and y in heatmap pixels.
        size (tuple[int, int]): Height and width of the heatmap in pixels.
        sigma (float): Standard deviation in pixels.
        radius (float, optional): In pixels. Defaults to 3 sigma.

    Returns:
        Tensor: (B, K, h, w), float32.
    """
    h, w = size
    radius = 3 * sigma if radius is None else radius
    # Both axes at once, on the longer: these are many operations on few numbers.
    grid = torch.arange(max(size), device=keypoints.device, dtype=torch.float32)
    distance = grid - keypoints.float().unsqueeze(-1)
    axes = torch.exp(-distance.square() / (2 * sigma**2))
    along_x, along_y = (axes * (distance.abs() <= radius)).unbind(dim=-2)
    return along_y[..., :h, None] * along_x[..., None, :w]


@KEYPOINT_CODECS.register_module()
class GaussianHeatmap(MSRAHeatmap):
    r"""MMPose's ``MSRAHeatmap`` for heads that are trained through a softmax.

    It differs in what it writes and in what it reads:

    - A label is :math:`\mathcal{H}(y)` of :func:`gaussian_heatmaps`, as a pseudo
      label is, around the heatmap pixel that is nearest to the keypoint, at every
      sigma. (MMPose's is off by a pixel near the upper and left border where
      3 sigma is no integer.)
    - A keypoint whose nearest heatmap pixel is outside of the heatmap, or which
      is no finite number, has weight 0, as in RegDA's published code. (MMPose
      gives weight 1 as long as a part of the Gaussian is inside.)
    - Keypoints are decoded from the softmax, so that the level of the logits
      does not matter, and a score is a probability: see
      :class:`~mmregda.codecs.decoding.ProbabilityDecoder`.

    For a head that regresses heatmaps (MSE), write labels with it and decode with
    ``MSRAHeatmap``.

    Args:
        input_size (tuple[int, int]): Of the network's input, width and height.
        heatmap_size (tuple[int, int]): Width and height.
        sigma (float): Of the Gaussians, in heatmap pixels. Defaults to 2.
    """

    def __init__(
        self,
        input_size: Tuple[int, int],
        heatmap_size: Tuple[int, int],
        sigma: float = 2.0,
    ) -> None:
        super().__init__(input_size, heatmap_size, sigma)

    def encode(
        self, keypoints: np.ndarray, keypoints_visible: Optional[np.ndarray] = None
    ) -> dict:
        """Encode the keypoints of one instance.

        Args:
            keypoints (np.ndarray): (1, K, 2), in pixels of the input.
            keypoints_visible (np.ndarray, optional): (1, K); below 0.5 there is no
                label. Defaults to all 1.

        Returns:
            dict: ``heatmaps`` (K, h, w), of peak 1 or all zero, and
            ``keypoint_weights`` (1, K): the visibility, or 0 for what has no label
            or is outside. Both float32.

        Raises:
            InputError: If there is another number of instances.
        """
        if len(keypoints) != 1:
            raise InputError(
                f'GaussianHeatmap: top-down models look at one instance in each box, '
                f'but a sample has the keypoints of {len(keypoints)}.'
            )
        if keypoints_visible is None:
            keypoints_visible = np.ones(keypoints.shape[:2], dtype=np.float32)
        w, h = self.heatmap_size
        nearest = np.floor(keypoints[..., :2] / self.scale_factor + 0.5)
        labelled = ((nearest >= 0) & (nearest < (w, h))).all(axis=-1)
        labelled &= keypoints_visible >= 0.5
        nearest = torch.from_numpy(np.where(labelled[..., None], nearest, 0))
        heatmaps = gaussian_heatmaps(nearest, (h, w), self.sigma)[0].numpy()
        return dict(
            heatmaps=heatmaps * labelled[0, :, None, None].astype(np.float32),
            keypoint_weights=np.where(labelled, keypoints_visible, 0).astype(
                np.float32
            ),
        )

    def decode(self, encoded: np.ndarray) -> Decoded:
        """Decode heatmaps of logits, (K, h, w), to (1, K, 2) and (1, K)."""
        keypoints, scores = self.batch_decode(torch.as_tensor(encoded)[None])
        return keypoints[0], scores[0]

    def batch_decode(self, batch_encoded: Tensor) -> DecodedBatch:
        """Decode heatmaps of logits, (B, K, h, w)."""
        return decode_heatmaps(batch_encoded, super().decode, 3 * self.sigma)
