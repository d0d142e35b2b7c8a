"""Pictures of predictions, domain by domain."""

from __future__ import annotations

import os
from typing import Sequence

import mmcv
import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from mmpose.structures import merge_data_samples

from mmregda.datasets.image_loading import read_image


@HOOKS.register_module()
class DomainVisualizationHook(Hook):
    """Draws the first validation samples of a domain with MMPose's visualizer.

    Ground truth stands on the left, prediction on the right. Pictures go to
    the visualizer's backends as ``{domain}_{index}_{file}``. Samples without
    labels may be among them.

    Args:
        domains (Sequence[str]): Defaults to ('target',).
        num_samples (int): Pictures of each domain and validation.
            Defaults to 4.
        kpt_thr (float): Keypoints of a smaller score, a probability, are not drawn.
            Defaults to minus infinity, which draws all.
    """

    def __init__(
        self,
        domains: Sequence[str] = ('target',),
        num_samples: int = 4,
        kpt_thr: float = -float('inf'),
    ) -> None:
        self.domains = tuple(domains)
        self.num_samples = num_samples
        self.kpt_thr = kpt_thr

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Draw, if the batch holds the domain's first samples."""
        domain = getattr(runner.val_loop, 'domain', None)
        if domain not in self.domains:
            return
        first = batch_idx * (runner.val_loop.dataloader.batch_size or 1)
        visualizer = runner.visualizer
        visualizer.set_dataset_meta(runner.val_evaluator.dataset_meta)
        chosen = outputs[: max(0, self.num_samples - first)]
        # An image may hold several samples, and two images have one name.
        for index, data_sample in enumerate(chosen, start=first):
            path = data_sample.img_path
            image = np.ascontiguousarray(read_image(path)[..., ::-1])
            if data_sample.get('flip'):
                image = mmcv.imflip(image, data_sample.flip_direction)
            visualizer.add_datasample(
                f'{domain}_{index}_{os.path.splitext(os.path.basename(path))[0]}',
                image,
                data_sample=merge_data_samples([data_sample]),
                draw_bbox=False,
                kpt_thr=self.kpt_thr,
                step=runner.iter,
            )
