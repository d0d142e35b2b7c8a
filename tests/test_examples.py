"""Recipes for models that users have: each trains for two iterations."""

import copy
import json
import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from mmpose.registry import DATASETS, MODELS
from PIL import Image

from mmregda.config_files import read_config
from mmregda.engine import stages

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / 'configs' / 'examples'
HAND = 'regda_rtmpose-m_hand.py'
BODY = 'regda_rtmpose-m_body.py'
VIT = 'regda_vitpose-s.py'
YOURS = 'regda_from_your_checkpoint.py'
NUM_IMAGES = 4


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Images, labels for any number of keypoints, and boxes without."""
    root = tmp_path_factory.mktemp('data')
    (root / 'images').mkdir()
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


def shrunk(name, folder, work_dir, monkeypatch, **environment):
    """An example, with tiny data and a network of the same kind and few channels."""
    environment = dict(
        IMAGES=folder / 'images', BOXES=folder / 'boxes.csv', **environment
    )
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(value))
    cfg = read_config(str(EXAMPLES / name))
    cfg.work_dir = str(work_dir)
    number = 21 if name == HAND else 17
    loaders = [*cfg.train_dataloader.values(), cfg.val_dataloader]
    for loader in loaders:
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        datasets = loader.dataset.get('datasets')
        if datasets:  # Those that MMPose reads as it does COCO's.
            plain = ('OneHand10KDataset', 'FreiHandDataset')
            datasets[:] = [each for each in datasets if each.type in plain]
        for dataset in datasets or [loader.dataset]:
            if dataset.type != 'UnlabeledImages':
                dataset.update(
                    data_root=str(folder),
                    ann_file=f'{number}.json',
                    data_prefix=dict(img='images/'),
                )
                dataset.pop('bbox_file', None)
    # Of what MMPose's configs want of other packages, MMPose has its own.
    cfg.model.backbone.pop('_scope_', None)
    for pipeline in (loaders[0].dataset.pipeline, loaders[1].dataset.pipeline):
        for transform in pipeline:
            transform.type = transform.type.replace('mmdet.', '')
        if find_spec('albumentations') is None:
            pipeline[:] = [t for t in pipeline if t.type != 'Albumentation']
    if 'ann_file' in cfg.val_evaluator:
        cfg.val_evaluator.ann_file = str(folder / f'{number}.json')
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    for schedule in cfg.param_scheduler:  # A warm-up of one iteration.
        schedule.update({key: 1 for key in ('begin', 'end') if key in schedule})
    cfg.default_hooks.checkpoint.interval = 2
    if cfg.model.backbone.type == 'CSPNeXt':
        cfg.model.backbone.update(deepen_factor=0.167, widen_factor=0.125)
        cfg.model.head.in_channels = 128
        cfg.model.head.gau_cfg.update(hidden_dims=32, s=16)
    elif cfg.model.backbone.type == 'ResNet':
        cfg.model.backbone.update(depth=18, base_channels=8, stem_channels=8)
        cfg.model.head.update(in_channels=64, deconv_out_channels=(16, 16, 16))
    elif cfg.model.backbone.type == 'TimmBackbone':
        cfg.model.backbone.update(pretrained=False)
    cfg.model.backbone.init_cfg = None
    return cfg


def save_start(cfg, path):
    """What MMPose's own model of the config would have as its checkpoint."""
    model = copy.deepcopy(cfg.model.to_dict())
    model.pop('adaptation')
    torch.manual_seed(0)
    init_default_scope('mmpose')
    built = MODELS.build(dict(model, type='TopdownPoseEstimator'))
    built.init_weights()
    torch.save(dict(state_dict=built.state_dict(), meta={}), path)
    cfg.load_from = str(path)
    return built.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize('name', [HAND, BODY, VIT, YOURS])
def test_recipe_trains_from_a_checkpoint_on_unlabelled_photographs(
    name, folder, tmp_path, monkeypatch, capfd
):
    cfg = shrunk(name, folder, tmp_path / 'run', monkeypatch)
    start = save_start(cfg, tmp_path / 'start.pth')
    init_default_scope('mmpose')
    for sample in DATASETS.build(cfg.train_dataloader.target.dataset):
        data_sample = sample['data_samples']
        assert 'keypoints' not in data_sample.gt_instances
        assert not data_sample.gt_instance_labels.keys()
    stages.train(cfg)
    said = capfd.readouterr()
    said = said.out + said.err
    assert 'backbone, head. Anew: adaptation.adversary.' in said
    trained = CheckpointLoader.load_checkpoint(
        str(tmp_path / 'run' / 'iter_2.pth'), map_location='cpu'
    )
    weights = trained.get('ema_state_dict') or trained['state_dict']
    weights = {key.removeprefix('module.'): value for key, value in weights.items()}
    for part in ('backbone', 'head'):
        moved = [
            float((weights[key] - value).abs().max())
            for key, value in start.items()
            if key.startswith(f'{part}.') and key.endswith('.weight')
        ]
        # Warmed up, or at Adam's rate: from the checkpoint, and not far.
        assert 0 < max(moved) < 0.5 and all(map(math.isfinite, moved))
    if name in (HAND, BODY):
        assert 'ema_state_dict' in trained


def test_a_vit_keeps_its_decay_by_layer(folder, tmp_path, monkeypatch):
    cfg = shrunk(VIT, folder, tmp_path, monkeypatch)
    init_default_scope('mmpose')
    from mmengine.optim import build_optim_wrapper

    model = MODELS.build(cfg.model)
    wrappers = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = [g for w in wrappers.values() for g in w.optimizer.param_groups]
    rates = {names[id(p)]: g['lr'] for g in groups for p in g['params']}
    for block in range(12):
        found = {
            rate
            for name, rate in rates.items()
            if f'.blocks.{block}.' in name or f'.layers.{block}.' in name
        }
        (rate,) = found
        assert rate == pytest.approx(5e-4 * 0.8 ** (12 - block))
    assert rates['head.final_layer.weight'] == pytest.approx(5e-4)


def test_a_config_of_ones_own_is_a_base(folder, tmp_path, monkeypatch):
    own = tmp_path / 'own.py'
    base = (
        'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_'
        'coco-256x192.py'
    )
    own.write_text(f'_base_ = ["{base}"]\ntrain_dataloader = dict(batch_size=7)\n')
    monkeypatch.setenv('CONFIG', str(own))
    monkeypatch.setenv('CHECKPOINT', 'own.pth')
    cfg = Config.fromfile(EXAMPLES / YOURS)
    assert cfg.model.backbone.type == 'HRNet' and cfg.load_from == 'own.pth'
    assert cfg.train_dataloader.target.batch_size == 7
    kinds = [t.type for t in cfg.train_dataloader.target.dataset.pipeline]
    assert kinds == [t.type for t in cfg.train_dataloader.source.dataset.pipeline]
