"""Configs as users have them, small enough for a test; data and weights for them."""

import copy
import json
import os

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from PIL import Image

from mmregda.datasets import mmpose_alone

NUM_IMAGES = 4


def write_labelled_images(root):
    """Images, labels for 17 and for 21 keypoints, and boxes without."""
    (root / 'images').mkdir(parents=True)
    rng = np.random.default_rng(0)
    boxes = ['path,x,y,w,h']
    for i in range(NUM_IMAGES):
        coarse = rng.integers(0, 256, (8, 6, 3), np.uint8)
        Image.fromarray(coarse).resize((90, 120)).save(root / 'images' / f'{i}.jpg')
        boxes.append(f'{i}.jpg,10,5,60,100')
    (root / 'boxes.csv').write_text('\n'.join(boxes))
    for number in (17, 21):
        points = rng.uniform((15, 20), (65, 95), (NUM_IMAGES, number, 2))
        labels = [np.insert(p, 2, 2, axis=1).ravel().tolist() for p in points]
        names = [f'k{k}' for k in range(number)]
        category = dict(id=1, name='person', keypoints=names, skeleton=[])
        content = dict(
            images=[
                dict(id=i, file_name=f'{i}.jpg', width=90, height=120)
                for i in range(NUM_IMAGES)
            ],
            annotations=[
                dict(
                    id=i,
                    image_id=i,
                    category_id=1,
                    iscrowd=0,
                    bbox=[10, 5, 60, 100],
                    area=6000,
                    segmentation=[],
                    num_keypoints=number,
                    keypoints=label,
                )
                for i, label in enumerate(labels)
            ],
            categories=[category],
        )
        (root / f'{number}.json').write_text(json.dumps(content))
    return root


def shrink(cfg, folder):
    """A network of the same kind and few channels, two iterations, no workers.

    Args:
        cfg (Config): Of a run, changed in place.
        folder (Path): Of :func:`write_labelled_images`, which is what datasets in
            COCO's layout read if their own files are not there.

    Returns:
        Config: The same.
    """
    number = cfg.model.head.out_channels
    for node in _dicts_in(cfg._cfg_dict):
        if 'batch_size' in node and 'dataset' in node:
            node.update(batch_size=2, num_workers=0, persistent_workers=False)
        if node.get('datasets'):  # Those that MMPose reads as it does COCO's.
            plain = ('OneHand10KDataset', 'FreiHandDataset')
            node.datasets = [one for one in node.datasets if one.type in plain]
        labels = node.get('ann_file')
        if isinstance(labels, str) and not os.path.exists(
            os.path.join(node.get('data_root') or '', labels)
        ):
            found = f'{number}.json'
            if 'data_prefix' in node:
                node.update(data_root=str(folder), data_prefix=dict(img='images/'))
                node.pop('bbox_file', None)
            else:  # a metric's
                found = str(folder / found)
            node['ann_file'] = found
        for key, value in node.items():
            if key.endswith('pipeline') and isinstance(value, list):
                node[key] = mmpose_alone(value)
        if node.get('type') == 'DisparityStatisticsHook':
            node.update(interval=1, num_samples=2)
        if str(node.get('type')).endswith('LR'):  # A warm-up of one iteration.
            node.update({key: 1 for key in ('begin', 'end') if key in node})
    if 'max_iters' in cfg.get('train_cfg', ()):
        cfg.train_cfg.update(max_iters=2, val_interval=2)
    if not cfg.get('default_hooks', {}).get('checkpoint', {}).get('by_epoch', True):
        cfg.default_hooks.checkpoint.interval = 2
    _shrink_model(cfg.model)
    return cfg


def _dicts_in(node):
    if isinstance(node, dict):
        yield node
        for value in list(node.values()):
            yield from _dicts_in(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _dicts_in(value)


def _shrink_model(model):
    backbone, head, neck = model.backbone, model.head, model.get('neck')
    backbone.pop('_scope_', None)
    if backbone.type == 'CSPNeXt':
        backbone.update(deepen_factor=0.167, widen_factor=0.125, init_cfg=None)
        head.in_channels = 128
        head.gau_cfg.update(hidden_dims=32, s=16)
    elif backbone.type == 'ResNet':
        backbone.update(depth=18, base_channels=8, stem_channels=8, init_cfg=None)
        if neck:
            neck.update(in_channels=64, out_channels=(16, 16, 16))
            head.in_channels = 16
            if head.get('conv_out_channels'):
                head.conv_out_channels = (16,)
        else:
            head.update(in_channels=64, deconv_out_channels=(16, 16, 16))
    elif backbone.type == 'TimmBackbone' and 'lite' not in backbone.model_name:
        backbone.update(pretrained=False, init_cfg=None)


def save_start(cfg, path, trained=False):
    """What MMPose's own model of the config would have as its checkpoint.

    Args:
        trained (bool): Whether the model has seen images, and its heatmaps tell places
            apart. Defaults to False.
    """
    model = copy.deepcopy(cfg.model.to_dict())
    model.pop('adaptation', None)
    torch.manual_seed(0)
    init_default_scope('mmpose')
    built = MODELS.build(dict(model, type='TopdownPoseEstimator'))
    built.init_weights()
    if trained and model['head']['type'] == 'HeatmapHead':
        for layer in built.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None
        with torch.no_grad():
            built.head.final_layer.weight.normal_()
            built.head(built.extract_feat(torch.randn(8, 3, 128, 128)))
    torch.save(dict(state_dict=built.state_dict(), meta={}), path)
    return built.state_dict()
