"""Recipes for models that users have: each trains for two iterations."""

import math
from importlib.util import find_spec

import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from mmpose.registry import DATASETS, MODELS
from shrunk import save_start, shrink, write_labelled_images

from mmregda.config_files import read_config
from mmregda.engine import stages

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / 'configs' / 'examples'
HAND = 'regda_rtmpose-m_hand.py'
BODY = 'regda_rtmpose-m_body.py'
VIT = 'regda_vitpose-s.py'
YOURS = 'regda_from_your_checkpoint.py'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_labelled_images(tmp_path_factory.mktemp('data'))


def shrunk(name, folder, work_dir, monkeypatch, **environment):
    """An example, with tiny data and a network of the same kind and few channels."""
    environment = dict(
        IMAGES=folder / 'images', BOXES=folder / 'boxes.csv', **environment
    )
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(value))
    cfg = read_config(str(EXAMPLES / name))
    if name in (HAND, BODY):  # It takes nothing of packages that may be missing.
        text = str([cfg.model, cfg.train_dataloader, cfg.custom_hooks])
        assert 'mmdet' not in text
        assert ('Albumentation' in text) == bool(find_spec('albumentations'))
    cfg = shrink(cfg, folder)
    cfg.work_dir = str(work_dir)
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize('name', [HAND, BODY, VIT, YOURS])
def test_recipe_trains_from_a_checkpoint_on_unlabelled_photographs(
    name, folder, tmp_path, monkeypatch, capfd
):
    cfg = shrunk(name, folder, tmp_path / 'run', monkeypatch)
    start = save_start(cfg, tmp_path / 'start.pth')
    cfg.load_from = str(tmp_path / 'start.pth')
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


@pytest.mark.parametrize('line_left_out', [False, True])
def test_an_rtmpose_of_ones_own_serves_with_the_recipe_for_all(
    line_left_out, folder, tmp_path, monkeypatch, capfd
):
    base = 'mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-m_8xb256-420e_coco-256x192.py'
    cfg = shrunk(YOURS, folder, tmp_path / 'run', monkeypatch, CONFIG=base)
    own = Config.fromstring(f'_base_ = ["{base}"]', '.py').model.head.loss
    if line_left_out:
        cfg.model.head.loss = own
    save_start(cfg, tmp_path / 'start.pth')
    cfg.load_from = str(tmp_path / 'start.pth')
    assert [hook.type for hook in cfg.custom_hooks] == ['EMAHook']
    stages.train(cfg)
    assert 'loss_feature_extractor' in ''.join(capfd.readouterr())


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
