"""The empirical statistics of adversarial training."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import Tensor, nn

from mmregda.datasets.keypoints import visibility_of
from mmregda.datasets.views import in_box
from mmregda.engine.distributed import unwrap
from mmregda.errors import InputError


@HOOKS.register_module()
class DisparityStatisticsHook(Hook):
    """Follows f and f' on both domains: the statistics figure of RegDA.

    Every ``interval`` iterations, for a fixed sample of each domain's
    validation set and with the model in evaluation mode, it logs to the
    visualizer's backends

    - ``statistics/{domain}/accuracy_f`` and ``.../accuracy_adversary``: PCK at
      ``thr`` of the input's longer side;
    - ``statistics/{domain}/accuracy_difference``: the first less the second;
    - ``statistics/{domain}/prediction_difference``: the part of keypoints that
      the two place more than ``thr`` apart (no labels needed).

    f' is the adaptation's ``adversarial_regressor``; of a method that has none
    the first accuracy alone is logged. All of it is computed on the device;
    nothing happens in other iterations.
    The labels of the target's validation set are used for this log alone; where
    it has none, the accuracies are left out.

    Args:
        interval (int): In iterations. Defaults to 100.
        num_samples (int): Images of each domain. Defaults to 64.
        thr (float): In units of the input's longer side. Defaults to 0.05.
    """

    priority = 'LOW'

    def __init__(
        self, interval: int = 100, num_samples: int = 64, thr: float = 0.05
    ) -> None:
        self.interval = interval
        self.num_samples = num_samples
        self.thr = thr
        self._samples: Dict[str, Tuple[Tensor, Optional[Tuple[Tensor, Tensor]]]] = {}

    def before_train(self, runner: Runner) -> None:
        """Read the fixed samples, once."""
        loops = getattr(runner.val_loop, 'loops', None)
        if loops is None:
            raise InputError(
                'DisparityStatisticsHook needs val_cfg = dict(type="DomainValLoop")'
            )
        model = unwrap(runner.model)
        for domain, loop in loops.items():
            dataset = loop.dataloader.dataset
            count = min(self.num_samples, len(dataset))
            chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int)
            samples = [dataset[int(index)] for index in chosen]
            data = model.data_preprocessor(pseudo_collate(samples))
            inputs = data['inputs']
            labels = None
            if all('keypoints' in s.gt_instances for s in data['data_samples']):
                keypoints, visible = _labels(data['data_samples'])
                labels = keypoints.to(inputs.device), visible.to(inputs.device)
            self._samples[domain] = inputs, labels

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Compute and log, every ``interval`` iterations."""
        if self.every_n_train_iters(runner, self.interval):
            scalars = self.compute(unwrap(runner.model))
            values = {name: float(value) for name, value in scalars.items()}
            runner.visualizer.add_scalars(values, step=runner.iter + 1)

    @torch.no_grad()
    def compute(self, model: nn.Module) -> Dict[str, Tensor]:
        """The statistics at this moment, as scalars on the device."""
        was_training = model.training
        model.eval()
        adversary = model.adaptation.adversarial_regressor
        scalars = {}
        for domain, (inputs, labels) in self._samples.items():
            feats = model.extract_feat(inputs)
            # In units of the longer side of the input, width x height.
            sides = np.array(inputs.shape[:-3:-1])
            unit = torch.as_tensor(sides / sides.max()).to(inputs)
            predicted = model.space.in_box(model.head(feats)) * unit
            found = {}
            if labels is not None:
                found['accuracy_f'] = self._agreement(predicted, *labels)
            if adversary is not None:
                other = model.space.in_box(adversary(feats)) * unit
                if labels is not None:
                    accuracy = self._agreement(other, *labels)
                    found['accuracy_adversary'] = accuracy
                    found['accuracy_difference'] = found['accuracy_f'] - accuracy
                every = torch.ones_like(predicted[..., 0], dtype=torch.bool)
                agreement = self._agreement(other, predicted, every)
                found['prediction_difference'] = 1 - agreement
            scalars.update(
                {f'statistics/{domain}/{key}': value for key, value in found.items()}
            )
        model.train(was_training)
        return scalars

    def _agreement(self, a: Tensor, b: Tensor, counted: Tensor) -> Tensor:
        """Which part of the counted keypoints is at most ``thr`` apart."""
        close = (a - b).norm(dim=-1) <= self.thr
        return (close & counted).sum() / counted.sum().clamp(min=1)


def _labels(data_samples: List) -> Tuple[Tensor, Tensor]:
    """Keypoints (B, K, 2) in units of the input's longer side, and visibility."""
    keypoints, visible = [], []
    for sample in data_samples:
        instances = sample.gt_instances
        # The box has the input's proportions.
        center, scale = sample.input_center, np.asarray(sample.input_scale)
        relative = in_box(instances.keypoints[0], center, scale) * scale / scale.max()
        keypoints.append(torch.as_tensor(relative, dtype=torch.float32))
        flags = visibility_of(instances.keypoints_visible)
        visible.append(torch.as_tensor(flags > 0))
    return torch.stack(keypoints), torch.stack(visible)
