"""Predictions of a trained model, in pixels of the network's input."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Dict, List, Tuple

import numpy as np
import torch
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.structures import PoseDataSample
from torch.utils.data import DataLoader

from mmregda.datasets import build_dataset
from mmregda.datasets.keypoints import visibility_of
from mmregda.datasets.views import in_box
from mmregda.engine.checkpoints import load_network
from mmregda.errors import InputError
from mmregda.progress import track
from mmregda.visualization.runs import Run


@dataclass
class Predictions:
    """A model's predictions on a whole test set.

    Attributes:
        dataset (BaseDataset): The N samples.
        keypoints (np.ndarray): (N, K, 2), ground truth in pixels of the
            network's input; zeros of a sample without labels.
        predicted (np.ndarray): (N, K, 2), in the same pixels.
        visible (np.ndarray): (N, K) bool, which keypoints are labelled.
        input_size (tuple[int, int]): Width and height of the network's input.
    """

    dataset: BaseDataset
    keypoints: np.ndarray
    predicted: np.ndarray
    visible: np.ndarray
    input_size: Tuple[int, int]

    @property
    def distance(self) -> np.ndarray:
        """np.ndarray: (N, K), of each prediction from its keypoint, in units
        of the input's longer side; NaN where the keypoint is not labelled."""
        distance = np.linalg.norm(self.predicted - self.keypoints, axis=-1)
        return np.where(self.visible, distance / max(self.input_size), np.nan)

    @property
    def labeled(self) -> bool:
        """bool: Whether a keypoint of a sample is labelled."""
        return bool(self.visible.any())

    @property
    def files(self) -> List[str]:
        """list[str]: The name of each sample's image file."""
        infos = map(self.dataset.get_data_info, range(len(self.dataset)))
        return [os.path.basename(str(info.get('img_path'))) for info in infos]

    def image(self, index: int) -> np.ndarray:
        """A sample's network input, (H, W, 3) uint8 RGB."""
        return self.dataset[index]['inputs'].permute(1, 2, 0).numpy()[..., ::-1]


@torch.no_grad()
def predict_run(run: Run, domain: str = 'target', progress: str = '') -> Predictions:
    """Predict the test set of a run's domain, on the GPU if there is one.

    Raises:
        InputError: If the config has no such test set, or if the weights are of
            another model.
    """
    init_default_scope(run.cfg.get('default_scope', 'mmpose'))
    loaders = run.cfg.get('val_dataloader') or {}
    if not loaders.get(domain):
        raise InputError(
            f'val_dataloader of "{run.cfg.filename}" has no "{domain}", but '
            f'{sorted(loaders)}'
        )
    dataset = build_dataset(loaders[domain].dataset)
    loader = DataLoader(
        dataset,
        batch_size=loaders[domain].get('batch_size', 64),
        num_workers=loaders[domain].get('num_workers', 0),
        collate_fn=pseudo_collate,
    )
    network = load_network(run.cfg.model, run.checkpoint)
    found: List[Tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for batch in track(loader, progress):
        results = network.test_step(batch)
        found.extend(_in_network_input(result) for result in results)
    keypoints, predicted, visible = (np.stack(column) for column in zip(*found))
    return Predictions(dataset, keypoints, predicted, visible, results[0].input_size)


def require_same_test_set(runs: Dict[str, Predictions]) -> None:
    """Raise :class:`InputError` if predictions are not of the same samples."""
    (first, reference), *others = runs.items()
    for label, predictions in others:
        same = predictions.keypoints.shape == reference.keypoints.shape
        if same:
            one, two = (
                p.keypoints / max(p.input_size) for p in (predictions, reference)
            )
            same = np.allclose(one, two, atol=1e-4)
        if same and not reference.labeled:
            same = predictions.files == reference.files
        if not same:
            raise InputError(
                f'the runs "{first}" and "{label}" were not predicted on the same '
                'test set: number of samples, ground truth or files differ. Compare '
                'runs of one pair of domains.'
            )


def _in_network_input(
    result: PoseDataSample,
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ground truth (K, 2), prediction (K, 2) and visibility (K,) of a sample."""
    truth = result.gt_instances
    box, size = (result.input_center, result.input_scale), result.input_size
    predicted = in_box(result.pred_instances.keypoints[0], *box) * size
    if 'keypoints' not in truth:
        return np.zeros_like(predicted), predicted, np.zeros(len(predicted), bool)
    keypoints = in_box(truth.keypoints[0], *box) * size
    return keypoints, predicted, visibility_of(truth.keypoints_visible) > 0
