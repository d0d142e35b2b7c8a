"""PCK by group of keypoints."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Sequence, Union

import numpy as np
from mmpose.evaluation.functional import keypoint_pck_accuracy
from mmpose.evaluation.metrics import PCKAccuracy
from mmpose.registry import METRICS

from mmregda.datasets.keypoints import KEYPOINT_GROUPS
from mmregda.errors import InputError


@METRICS.register_module()
class GroupedPCKAccuracy(PCKAccuracy):
    """PCK of each group of keypoints, as the adaptation papers report it.

    PCK is computed for each keypoint over all samples in which it is visible,
    then averaged over the keypoints of a group. A distance counts as correct
    if it is *at most* ``thr`` of the larger side of the sample's box, which is
    the side of the network's input if the box is what the network sees.

    Metrics are named ``PCK/{group}``, as fractions. A group of which no
    keypoint is ever visible is not a number.

    Args:
        groups (str | dict[str, Sequence[int]]): The indices of each group's
            keypoints, or the name of a known set (``'hand21'``, ``'body16'``).
        thr (float): In units of the box's side. Defaults to 0.05.
        collect_device (str): As in MMEngine's metrics.
        prefix (str, optional): As in MMEngine's metrics.
    """

    default_prefix = 'PCK'

    def __init__(
        self,
        groups: Union[str, Mapping[str, Sequence[int]]],
        thr: float = 0.05,
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
    ) -> None:
        super().__init__(
            thr=thr, norm_item='bbox', collect_device=collect_device, prefix=prefix
        )
        self.groups = keypoint_groups(groups, type(self).__name__)

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """Compute the metrics."""
        columns = {
            key: np.concatenate([result[key] for result in results])
            for key in ('pred_coords', 'gt_coords', 'mask', 'bbox_size')
        }
        accuracy, _, _ = keypoint_pck_accuracy(
            columns['pred_coords'][..., :2],
            columns['gt_coords'][..., :2],
            columns['mask'],
            # The library counts distances below the threshold.
            np.nextafter(np.float32(self.thr), np.float32(np.inf)),
            columns['bbox_size'],
        )
        # It marks keypoints without a visible sample by -1.
        accuracy = np.where(accuracy < 0, np.nan, accuracy)
        return {name: _mean(accuracy[idx]) for name, idx in self.groups.items()}


def keypoint_groups(
    groups: Union[str, Mapping[str, Sequence[int]]], metric: str
) -> Dict[str, List[int]]:
    """Groups of keypoints by name.

    Raises:
        InputError: If no set has this name.
    """
    if isinstance(groups, str):
        if groups not in KEYPOINT_GROUPS:
            raise InputError(
                f'{metric}: no groups are named "{groups}"; known are '
                f'{sorted(KEYPOINT_GROUPS)}, or give dict(name=[indices])'
            )
        groups = KEYPOINT_GROUPS[groups]
    return {name: list(indices) for name, indices in groups.items()}


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float('nan')
