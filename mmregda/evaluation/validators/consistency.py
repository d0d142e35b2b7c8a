"""How good predictions on a domain seem, without any label of it."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np
import torch
from mmpose.structures.bbox import get_warp_matrix
from torch import Tensor


@torch.no_grad()
def label_free_evidence(
    predict: Callable[[List[dict]], Tensor],
    dataset: Sequence[dict],
    num_samples: int = 256,
    thr: float = 0.05,
    batch_size: int = 32,
    seed: int = 0,
) -> Dict[str, float]:
    """Confidence and consistency of a model on unlabelled images.

    Each image is looked at in two random views (the dataset's augmentation).

    - ``confidence``: the largest value of a keypoint's heatmap after softmax,
      averaged over keypoints, images and views. A confident model may be
      wrong, but one that is not sure has not learnt the domain (entropy as
      evidence: Morerio et al., ICLR 2018).
    - ``consistency``: the part of keypoints that both views place at the same
      point of the image, at most ``thr`` of the views' mean side apart. A
      keypoint counts if each view's prediction is inside the other view. A
      model that understands the images is equivariant on them; one that
      predicts the same for every image is not, under rotations and crops.

    Args:
        predict (Callable): Takes a list of samples and returns their heatmaps
            as logits, (B, K, h, w).
        dataset (Sequence[dict]): Gives another random view on each access:
            ``inputs`` and ``data_samples`` with ``input_size``,
            ``input_center``, ``input_scale`` and, if views are rotated,
            ``bbox_rotation`` (in degrees).
        num_samples (int): Images, evenly spaced over the dataset.
        thr (float): Defaults to 0.05.
        batch_size (int): Defaults to 32.
        seed (int): Of the views: the same for every model.

    Returns:
        dict[str, float]: Both, as fractions; ``consistency`` is not a number
        if no keypoint counts.
    """
    count = min(num_samples, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    confidence, agree, counted = [], 0, 0
    with _seeded(seed):
        for begin in range(0, count, batch_size):
            views, keypoints = [], []
            for _ in range(2):
                view = [dataset[int(i)] for i in indices[begin : begin + batch_size]]
                logits = predict(view)
                confidence.append(logits.flatten(2).softmax(-1).amax(-1).mean(1).cpu())
                views.append([_to_image(sample) for sample in view])
                keypoints.append(_relative_argmax(logits))
            for first, second, a, b in zip(*views, *keypoints):
                together, same = _compare(first, second, a, b, thr)
                counted += together.sum()
                agree += (together & same).sum()
    return dict(
        confidence=float(torch.cat(confidence).mean()),
        consistency=float(agree / counted) if counted else float('nan'),
    )


def _to_image(sample: dict) -> Tuple[np.ndarray, float, bool]:
    """From units of a view's sides to image pixels; a view's side; mirrored."""
    meta: Any = sample['data_samples']
    angle = float(np.ravel(meta.get('bbox_rotation', 0))[0])
    matrix = get_warp_matrix(
        np.asarray(meta.input_center),
        np.asarray(meta.input_scale),
        angle,
        output_size=(1, 1),
        inv=True,
    )
    square = np.vstack([matrix, [0, 0, 1]])
    return square, float(np.max(meta.input_scale)), bool(meta.get('flip', False))


def _relative_argmax(logits: Tensor) -> np.ndarray:
    """The maxima's positions (B, K, 2) in units of the heatmap's sides."""
    height, width = logits.shape[-2:]
    position = logits.flatten(2).argmax(-1).cpu().numpy()
    return np.stack([position % width / width, position // width / height], axis=-1)


def _compare(
    first: Tuple, second: Tuple, a: np.ndarray, b: np.ndarray, thr: float
) -> Tuple[np.ndarray, np.ndarray]:
    """Which keypoints (K,) count, and which of all are placed alike."""
    in_image, other = _apply(first[0], a), _apply(second[0], b)
    inside = _inside(_apply(np.linalg.inv(second[0]), in_image)) & _inside(
        _apply(np.linalg.inv(first[0]), other)
    )
    distance = np.linalg.norm(in_image - other, axis=-1)
    same = distance <= thr * (first[1] + second[1]) / 2
    return inside & (first[2] == second[2]), same


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def _inside(points: np.ndarray) -> np.ndarray:
    return ((points >= 0) & (points < 1)).all(axis=-1)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Within, augmentation draws from a seed; after it, as if nothing was."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
