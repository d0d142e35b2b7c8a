"""Predicting on a folder of images, which needs no labels."""

from __future__ import annotations

import copy
import logging
import os
from contextlib import suppress
from typing import Any, Dict, Iterator, List, Optional, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS
from mmpose.structures import PoseDataSample
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmregda.config_files import class_of
from mmregda.datasets import UnlabeledImages
from mmregda.datasets.keypoint_names import keypoint_names, require_same_keypoints
from mmregda.datasets.keypoints import definition_of
from mmregda.datasets.pipelines import NEEDS_KEYPOINTS, name_of, without
from mmregda.engine.checkpoints import load_network
from mmregda.errors import InputError, during
from mmregda.progress import track

# Of a validation pipeline, what makes nothing but labels, or the box that each image
# has here. MMPose, to which the pipeline is exported, does not know the last one.
_NOT_MISSED = {
    *('FilterAnnotations', 'GenerateTarget', 'KeypointConverter', 'WholeImageBox'),
}
# MMPose draws keypoints from this score on.
_SURE = 0.3


def images_to_predict(
    cfg: Config,
    images: Optional[str] = None,
    boxes: Optional[str] = None,
    images_json: Optional[str] = None,
    min_score: Optional[float] = None,
) -> UnlabeledImages:
    """The images that a config's model is to predict on.

    They are read as the config's validation reads those of the target (or, of
    a config with one domain, as its test does): cut out, scaled to the
    network's input, unaugmented. What is damaged is left out and named in
    the dataset's ``left_out``.

    Args:
        cfg (Config): The config of a training.
        images (str, optional): The folder. By default that of the config's own
            target, with its boxes.
        boxes (str, optional): As in :class:`~mmregda.datasets.UnlabeledImages`;
            without them each image of ``images`` is one crop.
        images_json (str, optional): As there.
        min_score (float, optional): As there.

    Raises:
        InputError: If the images or boxes cannot be used, or if the config
            has no folder of its own, no validation pipeline or no description
            of the keypoints.
    """
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    own = _own_folder(cfg)
    if images is None and not own:
        raise InputError(
            f'the target of "{cfg.filename}" is no folder of images '
            '(UnlabeledImages). Name the folder to predict on.'
        )
    kept = ['extensions', 'min_score', 'categories']
    if images is None:  # Another folder's images have other boxes.
        kept += ['root', 'boxes', 'images_json']
    chosen = {key: own[key] for key in kept if key in own}
    given = dict(root=images, boxes=boxes, images_json=images_json, min_score=min_score)
    chosen.update({key: value for key, value in given.items() if value is not None})
    chosen.update(
        type='UnlabeledImages',
        pipeline=validation_pipeline(cfg),
        metainfo=keypoint_definition(cfg),
        test_mode=True,
        skip_corrupt=True,
    )
    dataset = DATASETS.build(chosen)
    _require_working_pipeline(dataset, cfg)
    return dataset


@torch.no_grad()
def predict_images(
    cfg: Config,
    checkpoint: str,
    dataset: UnlabeledImages,
    batch_size: Optional[int] = None,
    device: Optional[str] = None,
    progress: str = '',
) -> Dict[str, Any]:
    """Predict the keypoints in every box of a folder of images.

    Args:
        cfg (Config): The config of the model.
        checkpoint (str): Its weights.
        dataset (UnlabeledImages): From :func:`images_to_predict`.
        batch_size (int, optional): Boxes at once; by default as in the
            config's validation.
        device (str, optional): Such as ``'cuda:1'`` or ``'cpu'``; by default
            the GPU if there is one.
        progress (str): What to show beside a progress bar; without it there
            is none.

    Returns:
        dict: Plain values in the layout of a COCO file. Coordinates are pixels
        of the upright image, turned as its EXIF orientation says.

        - ``images``: a list of ``id``, ``file_name`` relative to the folder,
          ``width`` and ``height``;
        - ``categories``: one, whose ``keypoints`` are the K names and whose
          ``skeleton`` is COCO's, counted from 1;
        - ``annotations``: a list of ``id``, ``image_id``, ``category_id``,
          ``bbox`` (x, y, w, h), ``area``, ``iscrowd`` (0), ``segmentation`` (empty),
          ``keypoints`` (x, y and visibility of each, 3K numbers), ``num_keypoints``,
          ``bbox_score``, ``keypoint_scores`` and ``score``, their mean. The
          visibility is 2 from a score of 0.3 on, 1 below it, and 0 outside of the
          image. A score is the probability of being where the keypoint is drawn
          (within 3 sigma of the labels' Gaussians);
        - ``left_out``: a sentence for whatever was damaged, naming the file.

    Raises:
        InputError: If the checkpoint is missing or of another model, if the
            device is not there, if the keypoints are of another number than
            its, if no image can be read, or if it predicts no finite numbers.
    """
    network = load_network(cfg.model, checkpoint, device)
    require_trained_keypoints(network, dataset, checkpoint)
    category = _category(dataset.metainfo)
    found: Dict[str, Any] = dict(
        images=[], categories=[category], annotations=[], left_out=[]
    )
    # One damaged image is one sentence, however many its boxes are.
    left_out = dict.fromkeys(dataset.left_out)
    seen = set()
    loader = _test_loader(cfg)
    batches = DataLoader(
        _Readable(dataset),
        batch_size=batch_size or loader.get('batch_size', 64),
        num_workers=loader.get('num_workers', 0),
        collate_fn=list,
    )
    for samples in track(batches, progress):
        left_out.update((s, None) for s in samples if isinstance(s, str))
        samples = [sample for sample in samples if not isinstance(sample, str)]
        if not samples:
            continue
        for result in network.test_step(pseudo_collate(samples)):
            if result.img_id not in seen:
                seen.add(result.img_id)
                found['images'].append(_image(result, dataset.root))
            annotation = _annotation(result, checkpoint)
            found['annotations'].append(
                dict(id=len(found['annotations']) + 1, **annotation)
            )
    found['left_out'] = list(left_out)
    if not found['images']:
        raise InputError(
            f'no image of "{os.path.abspath(dataset.root)}" can be read: '
            f'{"; ".join(found["left_out"][:3])}'
        )
    return found


def require_trained_keypoints(
    network: nn.Module, dataset: UnlabeledImages, checkpoint: str
) -> None:
    """Refuse a dataset whose metainfo names other keypoints than the trained ones.

    Args:
        network (nn.Module): From :func:`~mmregda.engine.checkpoints.load_network`.
        dataset (UnlabeledImages): What it is to predict on.
        checkpoint (str): Where it is from, for the message.

    Raises:
        InputError: If they are of another number or in another order.
    """
    names = keypoint_names(dataset.metainfo)
    remedy = (
        "Give the target's UnlabeledImages the metainfo of the labelled data that the "
        'checkpoint was trained on.'
    )
    num_outputs = getattr(network.head, 'out_channels', None)
    if isinstance(num_outputs, int) and num_outputs != len(names):
        raise InputError(
            f'the head has out_channels={num_outputs}, but the metainfo of the target '
            f'has {len(names)} keypoints. {remedy}'
        )
    where = f'checkpoint "{checkpoint}"'
    require_same_keypoints(network.trained_names, names, where, 'the target', remedy)


class _Readable(Dataset):
    """Samples or, of damaged images, the sentence that says what is wrong."""

    def __init__(self, dataset: UnlabeledImages) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Union[dict, str]:
        try:
            return self._dataset[index]
        except InputError as error:
            return str(error)


def _category(metainfo: dict) -> Dict[str, Any]:
    names = metainfo['keypoint_id2name']
    return dict(
        id=1,
        name=metainfo['dataset_name'],
        keypoints=[names[k] for k in range(len(names))],
        skeleton=[[a + 1, b + 1] for a, b in metainfo.get('skeleton_links', ())],
    )


def _image(result: PoseDataSample, root: str) -> Dict[str, Any]:
    path = os.path.relpath(result.img_path, root).replace(os.sep, '/')
    height, width = result.ori_shape
    return dict(id=result.img_id, file_name=path, width=width, height=height)


def _annotation(result: PoseDataSample, checkpoint: str) -> Dict[str, Any]:
    instance = result.pred_instances
    points = np.asarray(instance.keypoints, dtype=np.float64)[0, :, :2]
    scores = np.asarray(instance.keypoint_scores, dtype=np.float64)[0]
    if not (np.isfinite(points).all() and np.isfinite(scores).all()):
        raise InputError(
            f'the model predicts no finite numbers on "{result.img_path}". Has the '
            f'training that wrote "{checkpoint}" diverged?'
        )
    x1, y1, x2, y2 = np.asarray(instance.bboxes, dtype=np.float64)[0]
    height, width = result.ori_shape
    inside = ((points >= -0.5) & (points <= np.array([width, height]) - 0.5)).all(
        axis=1
    )
    visible = np.where(scores < _SURE, 1, 2) * inside
    # A thousandth of a pixel is more than float32 has in a large photograph.
    rows = zip(points.round(3).tolist(), visible.tolist())
    return dict(
        image_id=result.img_id,
        category_id=1,
        bbox=np.round([x1, y1, x2 - x1, y2 - y1], 3).tolist(),
        area=round((x2 - x1) * (y2 - y1), 3),
        iscrowd=0,
        segmentation=[],  # CVAT's reader asks for it.
        keypoints=[number for (x, y), v in rows for number in (x, y, v)],
        num_keypoints=int((visible > 0).sum()),
        bbox_score=round(float(instance.bbox_scores[0]), 5),
        keypoint_scores=scores.round(5).tolist(),
        score=round(float(scores.mean()), 5),
    )


def _own_folder(cfg: Config) -> Dict[str, Any]:
    """The config of a config's own target, if that is a folder of images."""
    loaders = cfg.get('train_dataloader') or {}
    dataset = (loaders.get('target') or {}).get('dataset') or {}
    while 'dataset' in dataset:  # In a wrapper.
        dataset = dataset['dataset']
    return dict(dataset) if dataset.get('type') == 'UnlabeledImages' else {}


def _loaders(cfg: Config) -> Iterator[dict]:
    """All dataloaders of a config, the closest to testing on the target first."""
    places = 'val/target test/target test/ val/ val/source train/source train/'
    for place in places.split():
        phase, _, domain = place.partition('/')
        loader = cfg.get(f'{phase}_dataloader') or {}
        loader = (loader.get(domain) or {}) if domain else loader
        if 'dataset' in loader:
            yield loader


def _test_loader(cfg: Config) -> dict:
    return next(_loaders(cfg), dict(dataset={}))


def validation_pipeline(cfg: Config) -> List[dict]:
    """A config's validation pipeline, without what is about labels.

    Raises:
        InputError: If it has none.
    """
    pipeline = _test_loader(cfg)['dataset'].get('pipeline')
    if 'TopdownAffine' not in map(name_of, pipeline or ()):
        raise InputError(
            f'"{cfg.filename}" has no validation pipeline with TopdownAffine, as '
            'top-down models need it, to read images with'
        )
    kept, dropped = without(
        pipeline, NEEDS_KEYPOINTS | {'MirrorRightHand', 'WholeImageBox'}
    )
    for name in sorted(set(dropped) - _NOT_MISSED):
        print_log(
            f'{name} needs labels and is left out of the validation pipeline: '
            'images are predicted as they are.',
            logger='current',
            level=logging.WARNING,
        )
    return kept


def _require_working_pipeline(dataset: UnlabeledImages, cfg: Config) -> None:
    with during(
        f'the validation pipeline of "{cfg.filename}" does not work on unlabelled '
        'images',
        'Leave out of it what needs labels.',
    ), suppress(InputError):  # An image is damaged, which is said of each.
        dataset[0]


def keypoint_definition(cfg: Config) -> dict:
    """What a config says of the keypoints, its target first.

    Returns:
        dict: MMPose's metainfo, not yet parsed.

    Raises:
        InputError: If it does not say.
    """
    for dataset in (_own_folder(cfg), *(each['dataset'] for each in _loaders(cfg))):
        while not dataset.get('metainfo') and 'dataset' in dataset:
            dataset = dataset['dataset']
        kind = class_of(dataset, DATASETS)
        metainfo = dataset.get('metainfo') or getattr(kind, 'METAINFO', None)
        if metainfo:
            return definition_of(copy.deepcopy(metainfo))
    raise InputError(
        f'"{cfg.filename}" does not say what its keypoints are. Give its '
        'UnlabeledImages a metainfo, such as metainfo="hand21".'
    )
