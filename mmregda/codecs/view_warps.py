r"""Keypoints and maps of one view of an image, seen in another view of it.

All coordinates are MMPose's. A *view* is the network's input, W x H pixels;
whole numbers are the centres of its pixels, as in OpenCV, so that it covers
:math:`[-1/2, W - 1/2) \times [-1/2, H - 1/2)`. An affine map takes x and y in one
view to x and y in another; that of MMPose's ``TopdownAffine`` is the matrix that
it gives to ``cv2.warpAffine``, with ``use_udp`` or without.

A *map* has h x w cells, of which the one in column u and row v lies at
:math:`(u s_x, v s_y)` of the view. The strides s are the ``scale_factor`` of the
codec: W / w for ``MSRAHeatmap``, (W - 1) / (w - 1) for ``UDPHeatmap``, which
encodes corner on corner. (Cells are points, not areas: the first cell lies on
the first pixel of the input, although the convolutions that computed it look
at an area.) What ``UDPHeatmap`` *decodes* is u / (w - 1) W, which MMPose takes
back to the image by another formula; to be warped, keypoints have to be u s_x.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmregda.errors import InputError

# In cells: what lies on a border is not to be lost to rounding.
_SLACK = 1e-3


class ViewWarp:
    """From one view of each image of a batch into another view; see :meth:`between`.

    Where one of two views is mirrored, left and right change places: keypoint k of one
    is keypoint ``flip_indices[k]`` of the other.

    Args:
        matrices (np.ndarray): (B, 3, 3) float64, from pixels of the view that is
            left to pixels of the one that is entered.
        sizes (tuple): Width and height of the one and of the other.
        flip_indices (Sequence): Of each image's dataset, (K,) or None.
        device (str | torch.device): Where keypoints and maps are.
    """

    def __init__(
        self,
        matrices: np.ndarray,
        sizes: Tuple[Tuple[int, int], Tuple[int, int]],
        flip_indices: List[Optional[Sequence[int]]],
        device: Any = 'cpu',
    ) -> None:
        self._matrices, self._sizes = matrices, sizes
        self._flip_indices = flip_indices
        self._mirrored = np.linalg.det(matrices[:, :2, :2]) < 0
        self._forward = _on(device, matrices)
        self._backward = _on(device, np.linalg.inv(matrices))

    @classmethod
    def between(
        cls, origin: Sequence[Any], destination: Sequence[Any], device: Any = 'cpu'
    ) -> ViewWarp:
        """From one view of a batch into another.

        Args:
            origin (Sequence[PoseDataSample]): B samples of the view that is left,
                as :class:`~mmregda.datasets.UnlabeledDataset` gives them.
            destination (Sequence[PoseDataSample]): The same B images in the view
                that is entered.
            device (str | torch.device): Where keypoints and maps are.

        Raises:
            InputError: If a sample does not know where it lies in its image.
        """
        matrices = _from_image(destination) @ np.linalg.inv(_from_image(origin))
        sizes = tuple(origin[0].input_size), tuple(destination[0].input_size)
        return cls(matrices, sizes, _flip_indices(origin), device)

    def inverse(self) -> ViewWarp:
        """The way back."""
        return ViewWarp(
            np.linalg.inv(self._matrices),
            self._sizes[::-1],
            self._flip_indices,
            self._forward.device,
        )

    def keypoints(self, keypoints: Tensor) -> Tuple[Tensor, Tensor]:
        """Take keypoints along.

        Args:
            keypoints (Tensor): (B, K, 2), x and y in pixels of the view that is
                left.

        Returns:
            tuple[Tensor, Tensor]: (B, K, 2) in pixels of the view that is
            entered, with gradients; and (B, K) bool, whether the keypoint lies
            inside both views.

        Raises:
            InputError: If one of the views is mirrored, and the dataset has no
                ``flip_indices`` for so many keypoints.
        """
        warped = warp_keypoints(keypoints, self._forward)
        inside = _within(keypoints, self._sizes[0]) & _within(warped, self._sizes[1])
        order = self._order(keypoints)
        if order is not None:
            warped = warped.gather(1, order[..., None].expand_as(warped))
            inside = inside.gather(1, order)
        return warped, inside

    def values(self, values: Tensor) -> Tensor:
        """Take what is known of each keypoint along, such as a confidence.

        Args:
            values (Tensor): (B, K) of the view that is left.

        Returns:
            Tensor: (B, K), in the order of :meth:`keypoints`.

        Raises:
            InputError: As :meth:`keypoints`.
        """
        order = self._order(values)
        return values if order is None else values.gather(1, order)

    def maps(self, maps: Tensor, stride: Sequence[float]) -> Tuple[Tensor, Tensor]:
        """Take maps along.

        Args:
            maps (Tensor): (B, K, h, w) of the view that is left.
            stride (Sequence[float]): Pixels of the input from one cell to the
                next, in x and y: the ``scale_factor`` of the head's codec.

        Returns:
            tuple[Tensor, Tensor]: (B, K, h, w) of the view that is entered, as
            :func:`warp_maps` says; and (B, 1, h, w) bool, which of its cells lie
            inside both views.

        Raises:
            InputError: As :meth:`keypoints`.
        """
        warped, inside = warp_maps(maps, self._backward, stride)
        order = self._order(maps)
        if order is not None:
            warped = warped.gather(1, order[..., None, None].expand_as(warped))
        return warped, inside

    def _order(self, values: Tensor) -> Optional[Tensor]:
        """Which keypoint becomes each of (B, K); None if all stay themselves."""
        if not self._mirrored.any():
            return None
        num_keypoints = values.shape[1]
        order = np.tile(np.arange(num_keypoints), (len(values), 1))
        for index in np.flatnonzero(self._mirrored):
            flip_indices = self._flip_indices[index]
            if flip_indices is None or len(flip_indices) != num_keypoints:
                found = 'none' if flip_indices is None else len(flip_indices)
                raise InputError(
                    'one of two views of an image is mirrored, for which its dataset '
                    f'has to have flip_indices of {num_keypoints} keypoints (it has '
                    f'{found}). Give the target the metainfo of the keypoints that '
                    'the model predicts, or leave RandomFlip out of its views.'
                )
            order[index] = flip_indices
        return torch.as_tensor(order).to(values.device, non_blocking=True)


def warp_keypoints(keypoints: Tensor, matrices: Tensor) -> Tensor:
    """Apply affine maps to points.

    Args:
        keypoints (Tensor): (B, K, 2), x and y; what has less than 32 bits, or is
            whole, becomes float32.
        matrices (Tensor): (B, 2, 3), one for each image.

    Returns:
        Tensor: (B, K, 2).
    """
    keypoints = keypoints.to(torch.promote_types(keypoints.dtype, torch.float32))
    matrices = matrices.to(keypoints.dtype).unsqueeze(1)
    # Not a matrix product, which autocast would compute in 16 bits.
    x, y = keypoints[..., :1], keypoints[..., 1:]
    return x * matrices[..., 0] + y * matrices[..., 1] + matrices[..., 2]


def warp_maps(
    maps: Tensor, inverses: Tensor, stride: Sequence[float]
) -> Tuple[Tensor, Tensor]:
    """Sample maps where affine maps put their cells, bilinearly.

    Values are taken along as they are. What comes from outside is 0, so maps are
    to be of a kind for which 0 means nothing (heatmaps, probabilities, not
    logits), and a distribution whose scale changes no longer sums to 1.

    Args:
        maps (Tensor): (B, K, h, w); what has less than 32 bits becomes float32.
        inverses (Tensor): (B, 2, 3), from pixels of the view that is entered to
            pixels of the view that is left.
        stride (Sequence[float]): Pixels from one cell to the next, in x and y,
            which are the same in both views.

    Returns:
        tuple[Tensor, Tensor]: (B, K, h, w), with gradients for ``maps``; and
        (B, 1, h, w) bool, whether a cell lies among those of the view that is
        left.
    """
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    (h, w), (stride_x, stride_y) = maps.shape[-2:], map(float, stride)
    x, y = (torch.arange(n, device=maps.device, dtype=maps.dtype) for n in (w, h))
    x, y = (x * stride_x).expand(h, w), (y * stride_y).unsqueeze(1).expand(h, w)
    cells = torch.stack((x, y), dim=-1).view(1, h * w, 2)
    x, y = warp_keypoints(cells, inverses).view(-1, h, w, 2).unbind(dim=-1)
    u, v = x / stride_x, y / stride_y
    # The units of grid_sample, in which -1 and 1 are the outer edges of cells.
    grid = torch.stack(((2 * u + 1) / w - 1, (2 * v + 1) / h - 1), dim=-1)
    inside = (u.clamp(0, w - 1) - u).abs() <= _SLACK
    inside &= (v.clamp(0, h - 1) - v).abs() <= _SLACK
    return F.grid_sample(maps, grid, align_corners=False), inside.unsqueeze(1)


def _from_image(samples: Sequence[Any]) -> np.ndarray:
    """The affine maps (B, 3, 3) of samples, from their images to their views."""
    found = [sample.get('image_to_view') for sample in samples]
    if any(matrix is None for matrix in found):
        raise InputError(
            'a sample of the target has no image_to_view: UnlabeledDataset and '
            'UnlabeledImages give it to their samples'
        )
    return np.stack(found)


def _flip_indices(samples: Sequence[Any]) -> List[Optional[Sequence[int]]]:
    return [sample.get('flip_indices') for sample in samples]


def _on(device: Any, matrices: np.ndarray) -> Tensor:
    # In double precision so far, and on the host: images have thousands of pixels.
    rows = torch.as_tensor(matrices[:, :2], dtype=torch.float32)
    return rows.to(device, non_blocking=True)


def _within(points: Tensor, size: Tuple[int, int]) -> Tensor:
    x, y = points.unbind(dim=-1)
    inside_x = (x >= -0.5) & (x < size[0] - 0.5)
    return inside_x & (y >= -0.5) & (y < size[1] - 0.5)
