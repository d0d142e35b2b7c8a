"""Whether one model is better than another, with and without labels."""

from __future__ import annotations

import copy
import json
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmpose.structures.bbox import bbox_overlaps, bbox_xywh2xyxy
from torch import nn

from mmregda.apis.predict import validation_pipeline
from mmregda.codecs.position_space import position_space_of
from mmregda.datasets import UnlabeledImages
from mmregda.datasets.coco_files import arrays_of
from mmregda.datasets.data_files import read_data_file
from mmregda.datasets.keypoint_names import require_same_keypoints
from mmregda.datasets.pipelines import name_of, unlabeled_pipeline
from mmregda.errors import InputError
from mmregda.evaluation import label_free_evidence

Found = Dict[str, Any]
# A label's box is the one that was predicted in if they have so much in common.
_SAME_BOX = 0.5


def displacements(one: Found, other: Found) -> np.ndarray:
    """How far two models put the same keypoints from each other.

    Args:
        one (dict): Of :func:`~mmregda.apis.predict_images`.
        other (dict): The same, of the same dataset.

    Returns:
        np.ndarray: (N, K), in units of the longer side of each of the N boxes.
    """
    (points, boxes), (others, _) = (arrays_of(f['annotations']) for f in (one, other))
    distance = np.linalg.norm(points[..., :2] - others[..., :2], axis=-1)
    return distance / boxes[:, 2:].max(axis=1, keepdims=True)


def evidence(
    network: nn.Module,
    dataset: Sequence[dict],
    num_samples: int = 256,
    progress: str = '',
) -> Dict[str, float]:
    """What can be said of a model on a domain without labels.

    Args:
        network (nn.Module): From :func:`~mmregda.engine.checkpoints.load_network`.
        dataset (Sequence[dict]): With augmentation, as
            :func:`~mmregda.evaluation.label_free_evidence` takes it.
        num_samples (int): Images. Defaults to 256.
        progress (str): What to show beside a progress bar; without it there is none.

    Returns:
        dict[str, float]: ``confidence`` and ``consistency``.
    """
    space = position_space_of(network.head)  # MMPose's own model has none itself.

    def predict(samples: List[dict]) -> Tuple[torch.Tensor, torch.Tensor]:
        data = network.data_preprocessor(pseudo_collate(samples))
        output = network.head(network.extract_feat(data['inputs']))
        maps = space.maps(output)
        largest = torch.stack([z.float().softmax(dim=-1).amax(dim=-1) for z in maps])
        return space.in_input(output), largest.prod(dim=0)

    return label_free_evidence(
        predict, dataset, num_samples=num_samples, progress=progress
    )


def as_seen_by(cfg: Config, dataset: UnlabeledImages) -> UnlabeledImages:
    """The same images as another config's validation reads them.

    Args:
        cfg (Config): The config, which may have another input size.
        dataset (UnlabeledImages): From :func:`~mmregda.apis.images_to_predict`.
    """
    return _read_with(dataset, validation_pipeline(cfg))


def augmented(
    cfg: Config, dataset: UnlabeledImages, seen_by: Optional[Config] = None
) -> Optional[UnlabeledImages]:
    """The same images with the config's target augmentation, for :func:`evidence`.

    Args:
        cfg (Config): The config.
        dataset (UnlabeledImages): From :func:`~mmregda.apis.images_to_predict`.
        seen_by (Config, optional): That of a model with another input size, which is to
            see the same views in that size.

    Returns:
        UnlabeledImages, optional: None if the config trains on no target.
    """
    target = ((cfg.get('train_dataloader') or {}).get('target') or {}).get(
        'dataset'
    ) or {}
    views = list((target.get('views') or {}).values())
    pipeline = [*(target.get('pipeline') or []), *(views[0] if views else [])]
    if not pipeline:
        return None
    if seen_by is not None:
        own = {name_of(t): t for t in validation_pipeline(seen_by)}['TopdownAffine']
        pipeline = [own if name_of(t) == 'TopdownAffine' else t for t in pipeline]
    drawn = _read_with(dataset, pipeline)
    drawn.test_mode = False  # Another image takes the place of a damaged one.
    return drawn


def _read_with(dataset: UnlabeledImages, pipeline: List[dict]) -> UnlabeledImages:
    other = copy.copy(dataset)
    other.pipeline = unlabeled_pipeline(pipeline, None, 'UnlabeledImages')
    return other


class Labels(NamedTuple):
    """Labelled keypoints beside predictions.

    Attributes:
        distance (np.ndarray): (2, N, K), of either model's keypoint from the label, in
            units of the box's longer side; NaN where there is no label.
        images (np.ndarray): (N,), which image each box is of.
    """

    distance: np.ndarray
    images: np.ndarray


def against_labels(path: str, one: Found, other: Found) -> Labels:
    """Compare predictions in labelled boxes with their labels.

    Args:
        path (str): Of a COCO file, whose ``annotations`` have ``keypoints``. A
            visibility of 0 is no label.
        one (dict): Of :func:`~mmregda.apis.predict_images`, with ``boxes=path``.
        other (dict): The same of the other model.

    Raises:
        InputError: If the file is none, has other keypoints, or no label for any of
            the boxes.
    """
    try:
        content = json.loads(read_data_file(path, 'labels'))
        files = {image['id']: image['file_name'] for image in content['images']}
        names = (content['categories'] or [{}])[0].get('keypoints') or []
        labels: Dict[str, List[Tuple[np.ndarray, np.ndarray]]] = {}
        for label in content['annotations']:
            points = np.asarray(label.get('keypoints') or [], float).reshape(-1, 3)
            box = bbox_xywh2xyxy(np.asarray(label['bbox'], float).reshape(1, 4))[0]
            labels.setdefault(files[label['image_id']], []).append((box, points))
    except (KeyError, TypeError, ValueError, AttributeError, LookupError) as error:
        raise InputError(
            f'labels "{path}" are not a COCO file of keypoints '
            f'({type(error).__name__}: {error})'
        ) from error
    (category,) = one['categories']
    require_same_keypoints(
        category['keypoints'], names, 'the model', f'"{path}"', 'Label the same ones.'
    )
    predicted = {image['id']: image['file_name'] for image in one['images']}
    (points, boxes), (others, _) = (arrays_of(f['annotations']) for f in (one, other))
    truth = np.full((*points.shape[:2], 2), np.nan)
    for row, annotation in enumerate(one['annotations']):
        name = predicted[annotation['image_id']]
        candidates = labels.get(name) or labels.get(name.rpartition('/')[2]) or []
        if not candidates:
            continue
        known = np.array([box for box, _ in candidates])
        own = bbox_xywh2xyxy(boxes[row : row + 1])
        share, index = bbox_overlaps(*map(torch.from_numpy, (own, known))).max(dim=1)
        _, label = candidates[int(index)]
        if share >= _SAME_BOX and len(label) == truth.shape[1]:
            truth[row] = np.where(label[:, 2:] > 0, label[:, :2], np.nan)
    if np.isnan(truth).all():
        raise InputError(f'labels "{path}" hold no keypoint in any of the boxes')
    distance = np.linalg.norm(np.stack([points, others])[..., :2] - truth, axis=-1)
    images = np.array([annotation['image_id'] for annotation in one['annotations']])
    return Labels(distance / boxes[:, 2:].max(axis=1, keepdims=True), images)


class Verdict(NamedTuple):
    """Two accuracies and their difference, each with its interval of 95 %.

    Attributes:
        one (tuple[float, float, float]): PCK, and where its interval begins and ends.
        other (tuple[float, float, float]): The same.
        difference (tuple[float, float, float]): The other's less the one's.
        num_images (int): That were labelled.
    """

    one: Tuple[float, float, float]
    other: Tuple[float, float, float]
    difference: Tuple[float, float, float]
    num_images: int

    @property
    def is_real(self) -> bool:
        """bool: Whether the interval of the difference leaves out 0."""
        return self.difference[1] > 0 or self.difference[2] < 0


def paired_bootstrap(
    labels: Labels, thr: float = 0.05, num_draws: int = 2000
) -> Verdict:
    """PCK of two models on the same images, and whether it differs.

    PCK is the mean over keypoints of the fraction that is at most ``thr`` away, as in
    :class:`~mmregda.evaluation.GroupedPCKAccuracy`. Images are drawn with replacement,
    the same ones for both models, and intervals are from the 2.5th to the 97.5th
    percentile (Efron, 1979). Of very few images they come out too narrow.

    Args:
        labels (Labels): From :func:`against_labels`.
        thr (float): In units of the box's longer side. Defaults to 0.05.
        num_draws (int): Defaults to 2000.

    Returns:
        Verdict: As fractions.
    """
    known = ~np.isnan(labels.distance[0])
    kept = known.any(axis=1)
    _, rows = np.unique(labels.images[kept], return_inverse=True)
    num_images = int(rows.max()) + 1
    counts = np.zeros((3, num_images, known.shape[1]))
    correct = _within(labels.distance, thr)[:, kept]
    for total, values in zip(counts, (*correct, known[kept])):
        np.add.at(total, rows, values)
    generator = np.random.default_rng(0)
    weights = np.concatenate(
        [
            np.ones((1, num_images)),
            generator.multinomial(num_images, [1 / num_images] * num_images, num_draws),
        ]
    )
    one, other, labelled = weights @ counts
    with np.errstate(invalid='ignore'):
        pck = np.nanmean(np.stack([one, other]) / labelled, axis=-1)
    return Verdict(
        *(_interval(draws) for draws in (*pck, pck[1] - pck[0])), num_images=num_images
    )


def mean_pck(distance: np.ndarray, thr: float = 0.05) -> float:
    """PCK as in :class:`~mmregda.evaluation.GroupedPCKAccuracy`: of each keypoint, then
    the mean.

    Args:
        distance (np.ndarray): (N, K), in units of the box's longer side; NaN without
            a label.
        thr (float): In the same units. Defaults to 0.05.

    Returns:
        float: A fraction; a keypoint that is never labelled does not count.
    """
    with np.errstate(invalid='ignore'):
        correct = _within(distance, thr).sum(axis=0)
        return float(np.nanmean(correct / (~np.isnan(distance)).sum(axis=0)))


def _within(distance: np.ndarray, thr: float) -> np.ndarray:
    """Which distances are at most the threshold; rounding makes none larger."""
    return distance <= thr + 1e-9


def _interval(draws: np.ndarray) -> Tuple[float, float, float]:
    """The value of all images, and the percentiles of the draws after it."""
    low, high = np.percentile(draws[1:], [2.5, 97.5])
    return float(draws[0]), float(low), float(high)
