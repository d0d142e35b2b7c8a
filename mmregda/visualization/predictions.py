"""Predictions of a trained model on chosen samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence

import numpy as np
import torch
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.runner import load_checkpoint
from mmpose.registry import MODELS


@dataclass
class DrawnSample:
    """What a figure needs of one sample, in pixels of the network's input.

    Attributes:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        keypoints (np.ndarray): (K, 2), ground truth.
        predicted (np.ndarray): (K, 2).
    """

    image: np.ndarray
    keypoints: np.ndarray
    predicted: np.ndarray


@torch.no_grad()
def predict_samples(
    model: dict, checkpoint: str, dataset: BaseDataset, indices: Sequence[int]
) -> List[DrawnSample]:
    """Predict chosen samples of a dataset.

    Args:
        model (dict): The config of the model.
        checkpoint (str): Its weights.
        dataset (BaseDataset): A dataset with a validation pipeline.
        indices (Sequence[int]): The samples.

    Returns:
        list[DrawnSample]: The samples with their predictions.
    """
    # Its own weights replace those it was trained from.
    network = MODELS.build(
        {**model, 'backbone': {**model['backbone'], 'init_cfg': None}}
    )
    load_checkpoint(network, checkpoint, map_location='cpu', logger='silent')
    network.eval()
    samples = [dataset[int(index)] for index in indices]
    drawn = []
    for sample, result in zip(samples, network.test_step(pseudo_collate(samples))):
        corner = result.input_center - 0.5 * result.input_scale
        factor = np.array(result.input_size) / result.input_scale
        drawn.append(
            DrawnSample(
                image=sample['inputs'].permute(1, 2, 0).numpy()[..., ::-1],
                keypoints=(result.gt_instances.keypoints[0, :, :2] - corner) * factor,
                predicted=(result.pred_instances.keypoints[0] - corner) * factor,
            )
        )
    return drawn
