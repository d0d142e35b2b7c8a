"""PCK as the published tables were computed."""

from __future__ import annotations

from typing import Dict, Mapping, Optional, Sequence, Union

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpose.registry import METRICS

from mmregda.datasets.keypoints import visibility_of
from mmregda.datasets.views import in_box
from mmregda.evaluation.grouped_pck import keypoint_groups

_DROPPED = -1.0


@METRICS.register_module()
class PublishedPCK(BaseMetric):
    """PCK as RegDA's code computes it, to compare with the papers' tables.

    It differs from :class:`GroupedPCKAccuracy`, which is exact, in that

    - prediction and truth are both rounded to a pixel of the heatmap, and a
      distance must be *below* ``thr`` of the heatmap's side,
    - a keypoint does not count where its rounded truth is in one of the first two
      columns or rows of the heatmap, or out of it,
    - accuracy is computed batch by batch, in the order of the dataset. Of each
      batch, a keypoint that counts in none of its images has the accuracy -1, and a
      group has the mean of its keypoints. The result is the mean over batches,
      weighted by their sizes. So it depends on the batch size, which is 32 in
      RegDA and UniFrame, whatever the dataloader's is here.

    RegDA's code also moves a prediction to (0, 0) where no logit of a heatmap is
    positive. That is not done here: a softmax leaves the level of the logits free.

    Metrics are named ``PCK_published/{group}``, as fractions.

    Args:
        groups (str | dict[str, Sequence[int]]): As in :class:`GroupedPCKAccuracy`.
        thr (float): In units of the heatmap's side. Defaults to 0.05.
        stride (int): Side of the network's input in units of the heatmap's.
            Defaults to 4.
        batch_size (int): Images whose accuracy is averaged together. Defaults to 32.
        collect_device (str): As in MMEngine's metrics.
        prefix (str, optional): As in MMEngine's metrics.
    """

    default_prefix = 'PCK_published'

    def __init__(
        self,
        groups: Union[str, Mapping[str, Sequence[int]]],
        thr: float = 0.05,
        stride: int = 4,
        batch_size: int = 32,
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.groups = keypoint_groups(groups, type(self).__name__)
        self.thr = thr
        self.stride = stride
        self.batch_size = batch_size

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Keep the distances of each sample.

        Args:
            data_batch (Sequence[dict]): Not used.
            data_samples (Sequence[dict]): With ``pred_instances.keypoints`` and
                ``gt_instances.keypoints``, (1, K, 2) in pixels of the image,
                ``gt_instances.keypoints_visible``, (1, K), and ``input_size``,
                ``input_center`` and ``input_scale``, which say where in the image
                the network's input was (of PackPoseInputs' meta_keys).
        """
        self.results += [self._distances(sample) for sample in data_samples]

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """Compute the metrics."""
        distances = np.stack(results)
        sums = dict.fromkeys(self.groups, 0.0)
        for begin in range(0, len(distances), self.batch_size):
            batch = distances[begin : begin + self.batch_size]
            accuracy = _accuracy(batch, self.thr)
            for name, indices in self.groups.items():
                sums[name] += accuracy[indices].mean() * len(batch)
        return {name: float(total / len(distances)) for name, total in sums.items()}

    def _distances(self, sample: dict) -> np.ndarray:
        """(K,) in units of the heatmap's side, -1 of a keypoint that is dropped."""
        truth = sample['gt_instances']
        predicted = sample['pred_instances']['keypoints']
        box = sample['input_center'], sample['input_scale']
        sides = np.asarray(sample['input_size'], np.float64) / self.stride
        true_pixels = np.floor(in_box(truth['keypoints'][0], *box) * sides + 0.5)
        # The argmax, which decoders refine by less than half a pixel.
        pixels = np.rint(in_box(predicted[0], *box) * sides)
        distances = np.linalg.norm((pixels - true_pixels) / sides, axis=-1)
        visible = visibility_of(truth['keypoints_visible'])
        inside = (true_pixels > 1).all(axis=-1) & (true_pixels < sides).all(axis=-1)
        counts = inside & (visible > 0.5)
        # A prediction that is not a number is wrong.
        return np.where(counts, np.nan_to_num(distances, nan=np.inf), _DROPPED)


def _accuracy(distances: np.ndarray, thr: float) -> np.ndarray:
    """(K,) of a batch's distances, (B, K); -1 where a keypoint never counts."""
    counts = distances >= 0
    correct = counts & (distances < thr)
    number = counts.sum(axis=0)
    return np.where(number > 0, correct.sum(axis=0) / np.maximum(number, 1), -1.0)
