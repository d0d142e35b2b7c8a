"""How good predictions on a domain seem, without any label of it."""

from __future__ import annotations

import random
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from mmregda.codecs.view_warps import ViewWarp
from mmregda.datasets.samplers import kept_generators
from mmregda.progress import track


@torch.no_grad()
def label_free_evidence(
    predict: Callable[[List[dict]], Tuple[Tensor, Tensor]],
    dataset: Sequence[dict],
    num_samples: int = 256,
    thr: float = 0.05,
    batch_size: int = 32,
    progress: str = '',
) -> Dict[str, float]:
    """Confidence and consistency of a model on unlabelled images.

    Each image is looked at in two random views (the dataset's augmentation), the same
    for every model.

    - ``confidence``: the largest probability of a keypoint's positions, averaged
      over keypoints, images and views. A confident model may be wrong, but one
      that is not sure has not learnt the domain (entropy as evidence: Morerio et
      al., ICLR 2018).
    - ``consistency``: the part of keypoints that both views place at the same
      point of the image, at most ``thr`` of the views' mean longer side apart. A
      keypoint counts if each view's prediction is inside the other view. A
      model that understands the images is equivariant on them; one that
      predicts the same for every image is not, under rotations and crops.

    Args:
        predict (Callable): Takes a list of B samples and returns their keypoints
            (B, K, 2), x and y in pixels of the network's input, and how probable
            each is, (B, K).
        dataset (Sequence[dict]): Gives another random view on each access:
            ``inputs`` and ``data_samples`` with ``input_size`` and
            ``image_to_view``, as
            :class:`~mmregda.datasets.UnlabeledDataset` does. Of an image that is
            mirrored in one of two views, left and right change places by
            ``flip_indices``; without them it does not count.
        num_samples (int): Images, evenly spaced over the dataset.
        thr (float): Defaults to 0.05.
        batch_size (int): Defaults to 32.
        progress (str): What to show beside a progress bar; without it there is none.

    Returns:
        dict[str, float]: Both, as fractions; ``consistency`` is not a number
        if no keypoint counts.

    Raises:
        InputError: If a sample does not know where it lies in its image.
    """
    count = min(num_samples, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    confidence, agree, counted = [], 0, 0
    with kept_generators():
        random.seed(0)
        np.random.seed(0)
        for begin in track(range(0, count, batch_size), progress):
            views, keypoints = [], []
            for _ in range(2):
                view = [dataset[int(i)] for i in indices[begin : begin + batch_size]]
                predicted, probability = predict(view)
                confidence.append(probability.mean(dim=1).cpu())
                views.append([sample['data_samples'] for sample in view])
                keypoints.append(predicted.cpu().float())
            together, same = _compare(*views, *keypoints, thr)
            counted += together
            agree += same
    return dict(
        confidence=float(torch.cat(confidence).mean()),
        consistency=agree / counted if counted else float('nan'),
    )


def _compare(
    first: List[Any], second: List[Any], a: Tensor, b: Tensor, thr: float
) -> Tuple[int, int]:
    """How many of two views' keypoints (B, K) count, and are placed alike."""
    kept = [i for i, pair in enumerate(zip(first, second)) if _comparable(*pair)]
    if not kept:
        return 0, 0
    first, second = ([view[i] for i in kept] for view in (first, second))
    there = ViewWarp.between(first, second)
    moved, inside = there.keypoints(a[kept])
    back, inside_back = there.inverse().keypoints(b[kept])
    # There again, in the order of the second view; no number if it was outside.
    back = torch.where(inside_back[..., None], back, float('nan'))
    distance = (moved - there.keypoints(back)[0]).norm(dim=-1)
    counts = inside & ~distance.isnan()
    # Of the mean side, in pixels of the second view.
    sides = [max(view[0].input_size) for view in (first, second)]
    ratio = _pixel_size(first) / _pixel_size(second)
    mean_side = torch.as_tensor(sides[0] * ratio + sides[1]) / 2
    same = distance <= thr * mean_side[:, None]
    return int(counts.sum()), int((counts & same).sum())


def _comparable(first: Any, second: Any) -> bool:
    """Whether it is known which keypoint of one view is which of the other."""
    maps = [sample.get('image_to_view') for sample in (first, second)]
    if any(matrix is None for matrix in maps):
        return True  # ViewWarp says so.
    mirrored = np.linalg.det(maps[0]) * np.linalg.det(maps[1]) < 0
    return not mirrored or first.get('flip_indices') is not None


def _pixel_size(view: List[Any]) -> np.ndarray:
    """Side of a pixel of the view (B,), in pixels of the image."""
    maps = np.stack([sample.image_to_view for sample in view])
    return np.abs(np.linalg.det(maps)) ** -0.5
