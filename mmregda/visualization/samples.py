"""What training sees: samples as they leave the pipeline, labels and all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from matplotlib.patches import Rectangle
from mmengine.registry import init_default_scope

from mmregda.datasets.checks import domains_of
from mmregda.datasets.coco_datasets import build_dataset
from mmregda.datasets.samplers import seed_generators
from mmregda.datasets.transforms import LoadWholeImage
from mmregda.datasets.views import views_of
from mmregda.errors import InputError, during
from mmregda.visualization.figures import new_figure, save_figure
from mmregda.visualization.skeletons import draw_image, draw_skeleton

# Samples of each domain in a row of a sheet.
_PER_ROW = 2


@dataclass
class TrainingSample:
    """One sample of one domain, to be drawn.

    Attributes:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        caption (str): The image's folder and file.
        metainfo (dict): The dataset's parsed metainfo.
        keypoints (np.ndarray, optional): (K, 2) in pixels of ``image``; None
            for a sample without labels.
        visible (np.ndarray, optional): (K,) bool, the keypoints that count.
        box (np.ndarray, optional): (4,) x1, y1, x2, y2 in pixels of ``image``.
    """

    image: np.ndarray
    caption: str
    metainfo: dict
    keypoints: Optional[np.ndarray] = None
    visible: Optional[np.ndarray] = None
    box: Optional[np.ndarray] = None


def draw_samples(
    cfg: dict, num: int = 8, seed: int = 0, stage: str = 'after'
) -> Dict[str, List[TrainingSample]]:
    """Draw samples at random from the training data of a config.

    After augmentation, keypoints are read from what the network is trained
    with (heatmaps or SimCC's distributions, over the whole input) and their
    weights: they lie where the loss wants them, not where the annotation has
    them, so that an encoder which does not fit the crop shows.

    Args:
        cfg (dict): A config whose ``train_dataloader`` is of one domain, or
            has one for each.
        num (int): Samples of each domain, fewer if there are not as many.
        seed (int): Of the choice and of the augmentation.
        stage (str): ``'after'`` or ``'before'`` augmentation; before it, the
            whole image with its box and annotated keypoints.

    Returns:
        dict[str, list[TrainingSample]]: By domain; an ordinary training set
        is called ``'train'``. Several views of a target's images are
        ``'target teacher'`` and so on.

    Raises:
        InputError: If the config has no training data, or it cannot be read.
    """
    if stage not in ('before', 'after'):
        raise InputError(f'stage is "{stage}", expected "before" or "after"')
    init_default_scope('mmpose')
    configs = domains_of(cfg.get('train_dataloader'))
    if not configs:
        raise InputError('the config has no train_dataloader with a dataset to draw')
    samples: Dict[str, List[TrainingSample]] = {}
    for offset, (domain, dataset_cfg) in enumerate(configs.items()):
        dataset = _build(dataset_cfg, domain or 'train')
        generator = np.random.default_rng((seed, offset))
        chosen = generator.permutation(len(dataset))[:num]
        seed_generators(int(generator.integers(2**31)))
        read = _before if stage == 'before' else _after
        for index in chosen:
            for view, sample in read(dataset, int(index)).items():
                column = f'{domain or "train"} {view}'.strip()
                samples.setdefault(column, []).append(sample)
    return samples


def write_sample_sheet(path: str, samples: Dict[str, Sequence[TrainingSample]]) -> None:
    """Write samples as one PNG, the domains side by side."""
    domains = list(samples)
    length = max(len(drawn) for drawn in samples.values())
    pairs = max(1, min(_PER_ROW, length))
    rows, columns = max(1, -(-length // pairs)), pairs * len(domains)
    figure = new_figure(2.4 * columns, 2.6 * rows + 0.2)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, domain in enumerate(domains):
        for index, sample in enumerate(samples[domain]):
            row, pair = divmod(index, pairs)
            axes = grid[row, pair * len(domains) + place]
            _draw(axes, sample)
            # The file, under the domain in the first row.
            heading = f'{domain}\n' * (row == 0)
            axes.set_title(heading + sample.caption, fontsize=7)
    save_figure(figure, path)


def encoded_keypoints(
    data_sample: Any, input_size: Tuple[int, int], num_keypoints: Optional[int] = None
) -> Optional[Tuple[np.ndarray, np.ndarray]]:
    """Where a sample's training targets put its keypoints.

    A target is read over the whole input, as the network's output is, and not
    by the codec that wrote it, which would undo its own mistakes.

    Args:
        data_sample (PoseDataSample): A sample as ``PackPoseInputs`` gives it.
        input_size (tuple[int, int]): Width and height of the network's input.
        num_keypoints (int, optional): K; heatmaps of another number are not
            one for each keypoint.

    Returns:
        tuple[np.ndarray, np.ndarray] | None: Keypoints (K, 2) in pixels of the
        input, and (K,) bool whether they have a weight and a target. None if
        there is no target of a kind that is known.
    """
    labels = data_sample.get('gt_instance_labels', {})
    heatmaps = _heatmaps_of(data_sample)
    size = np.array(input_size, dtype=np.float64)
    if heatmaps is not None and num_keypoints in (None, len(heatmaps)):
        height, width = heatmaps.shape[1:]
        flat = heatmaps.reshape(len(heatmaps), -1)
        rows, columns = np.divmod(flat.argmax(axis=1), width)
        cells = np.stack([columns, rows], axis=1)
        keypoints = cells * (size / (width, height))
        present = flat.max(axis=1) > 0
    elif 'keypoint_x_labels' in labels:
        lines = [_array(labels[f'keypoint_{axis}_labels'])[0] for axis in 'xy']
        cells = np.stack([line.argmax(axis=1) for line in lines], axis=1)
        keypoints = cells * (size / [line.shape[1] for line in lines])
        present = np.all([line.max(axis=1) > 0 for line in lines], axis=0)
    else:
        return None
    if 'keypoint_weights' in labels:
        present &= _array(labels['keypoint_weights'])[0] > 0
    return keypoints, present


def _heatmaps_of(data_sample: Any) -> Optional[np.ndarray]:
    """(K, h, w), or None. Of several resolutions, the last."""
    fields = data_sample.get('gt_fields')
    if fields is None or 'heatmaps' not in fields:
        return None
    heatmaps = fields.heatmaps
    return _array(heatmaps[-1] if isinstance(heatmaps, (list, tuple)) else heatmaps)


def _array(values: Any) -> np.ndarray:
    return values.numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _build(dataset_cfg: dict, domain: str) -> Any:
    with during(f'the {domain} dataset cannot be read'):
        dataset = build_dataset(dataset_cfg)
        dataset.full_init()
    return dataset


def _after(dataset: Any, index: int) -> Dict[str, TrainingSample]:
    views = views_of(dataset[index])
    return {view: _packed(sample, dataset.metainfo) for view, sample in views.items()}


def _packed(sample: dict, metainfo: dict) -> TrainingSample:
    inputs, data_sample = sample['inputs'], sample['data_samples']
    # MMPose loads blue first, and the model's preprocessor turns it.
    image = inputs.permute(1, 2, 0).numpy()[..., ::-1]
    image = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8))
    height, width = image.shape[:2]
    found = encoded_keypoints(data_sample, (width, height), _num_labels(data_sample))
    keypoints, visible = found or (None, None)
    caption = _caption(data_sample.metainfo.get('img_path'))
    return TrainingSample(image, caption, metainfo, keypoints, visible)


def _num_labels(data_sample: Any) -> Optional[int]:
    """K of the training targets, which a pipeline may have converted."""
    weights = data_sample.get('gt_instance_labels', {}).get('keypoint_weights')
    return None if weights is None else np.shape(weights)[1]


def _before(dataset: Any, index: int) -> Dict[str, TrainingSample]:
    info = dataset.get_data_info(index)
    loaded = LoadWholeImage().transform(
        {key: info[key] for key in ('img', 'img_path') if key in info}
    )
    image = np.ascontiguousarray(loaded['img'][..., ::-1])
    sample = TrainingSample(image, _caption(info.get('img_path')), dataset.metainfo)
    if info.get('bbox') is not None:
        sample.box = np.asarray(info['bbox'])[0]
    if info.get('keypoints') is not None:
        sample.keypoints = np.asarray(info['keypoints'])[0, :, :2]
        sample.visible = np.asarray(info['keypoints_visible'])[0] > 0
        if sample.visible.ndim == 2:
            sample.visible = sample.visible[:, 0]
    return {'': sample}


def _caption(path: Optional[str]) -> str:
    return '/'.join(str(path or '').split(os.sep)[-2:])


def _draw(axes: Any, sample: TrainingSample) -> None:
    draw_image(axes, sample.image)
    if sample.box is not None:
        x1, y1, x2, y2 = sample.box
        outline = dict(fill=False, edgecolor='white', linewidth=1)
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **outline))
    if sample.keypoints is not None:
        draw_skeleton(axes, sample.keypoints, sample.metainfo, sample.visible)
