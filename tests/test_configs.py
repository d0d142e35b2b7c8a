"""Every config is whole, and what the paper sets is set."""

import json
from pathlib import Path

import pytest
from conftest import ROOT, SIZE
from mmengine.config import Config
from mmpose.registry import MODELS

from mmregda.engine import PlayerOptimWrapperConstructor, stages

CONFIGS = sorted(
    path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts
)


def pipelines(cfg):
    """The pipeline of every dataset of a config."""
    loaders = [cfg.train_dataloader, cfg.val_dataloader]
    datasets = []
    for loader in loaders:
        domains = [loader] if 'dataset' in loader else loader.values()
        datasets += [domain.dataset for domain in domains if domain is not None]
    return [dataset.pipeline for dataset in datasets]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_one_input_and_heatmap_size_goes_through_the_whole_config(path):
    cfg = Config.fromfile(path)
    codec = cfg.model.head.decoder
    for pipeline in pipelines(cfg):
        for transform in pipeline:
            if transform.type == 'TopdownAffine':
                assert tuple(transform.input_size) == tuple(codec.input_size)
            elif transform.type == 'GenerateTarget':
                assert transform.encoder == codec


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_model_and_optimizers_of_the_config_can_be_built(path):
    cfg = Config.fromfile(path)
    cfg.model.backbone.init_cfg = None
    # Depth does not matter for what fits together here, time does.
    if cfg.model.backbone.depth == 101:
        cfg.model.backbone.depth = 50
    model = MODELS.build(cfg.model)
    if 'adaptation' in cfg.model:
        players = dict(cfg.optim_wrapper)
        players.pop('constructor')
        wrappers = PlayerOptimWrapperConstructor(players)(model)
        assert set(wrappers.keys()) == set(model.players())


def test_adaptation_has_the_settings_of_the_paper():
    cfg = Config.fromfile(ROOT / 'configs/regda_rhd2h3d.py')
    assert cfg.model.backbone.depth == 101
    assert cfg.model.neck.out_channels == (256, 256, 256)
    assert cfg.model.head.conv_out_channels == (256,)
    adaptation = cfg.model.adaptation
    assert (adaptation.margin, adaptation.trade_off) == (4, 1)
    assert adaptation.warm_start == dict(hi=0.1, lo=0.0, alpha=1.0, num_iters=1000)
    rates = dict(feature_extractor=0.01, head=0.1, adversary=0.1)
    for player, rate in rates.items():
        assert cfg.optim_wrapper[player].optimizer == dict(
            type='SGD', lr=rate, momentum=0.9, weight_decay=1e-4, nesterov=True
        )
        (decay,) = cfg.param_scheduler[player]
        assert (decay.gamma, decay.power, decay.by_epoch) == (1e-4, 0.75, False)
    assert cfg.train_cfg.max_iters == 30 * 500
    for loader in cfg.train_dataloader.values():
        assert loader.batch_size == 32
        crop, _, jitter, blur = loader.dataset.pipeline[3:7]
        assert (crop.rotation, tuple(crop.area)) == (180, (0.6, 1.0))
        assert (jitter.strength, blur.max_radius) == (0.25, 0.8)


@pytest.mark.parametrize('name', ['source_only_rhd2h3d', 'oracle_h3d'])
def test_source_only_and_oracle_have_the_settings_of_the_paper(name):
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    assert cfg.model.type == 'TopdownPoseEstimator'
    assert cfg.train_cfg.max_iters == 70 * 500
    assert cfg.param_scheduler[0].milestones == [45 * 500, 60 * 500]
    assert cfg.optim_wrapper.optimizer.lr == 0.1
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == 0.1
    dataset = dict(source_only_rhd2h3d='RHDDataset', oracle_h3d='H3DDataset')
    assert cfg.train_dataloader.dataset.type == dataset[name]


def test_baseline_of_the_quickstart_differs_from_regda_by_the_adversary_alone():
    regda = Config.fromfile(ROOT / 'configs/quickstart/regda.py')
    baseline = Config.fromfile(ROOT / 'configs/quickstart/source_only.py')
    for player in ('feature_extractor', 'head'):
        assert regda.optim_wrapper[player] == baseline.optim_wrapper[player]
        assert regda.param_scheduler[player] == baseline.param_scheduler[player]
    assert regda.train_cfg == baseline.train_cfg
    assert regda.pretrain == baseline.pretrain
    assert regda.train_dataloader.source == baseline.train_dataloader.source
    assert baseline.train_dataloader.target is None
    for part in ('backbone', 'neck', 'head'):
        assert regda.model[part] == baseline.model[part]


def write_coco_hands(pair: Path, root: Path) -> None:
    """The rendered target as a COCO-style file of FreiHAND's kind."""
    folder = pair / 'H3D_crop'
    entries = json.loads((folder / 'annotation.json').read_text())
    images, annotations = [], []
    for index, entry in enumerate(entries):
        images.append(
            dict(id=index, file_name=str(folder / entry['name']), width=224, height=224)
        )
        keypoints = [c for x, y in entry['keypoint2d'] for c in (x, y, 2)]
        annotations.append(
            dict(
                id=index,
                image_id=index,
                category_id=1,
                bbox=[0, 0, 224, 224],
                area=224 * 224,
                iscrowd=0,
                segmentation=[],
                num_keypoints=21,
                keypoints=keypoints,
            )
        )
    content = dict(
        images=images, annotations=annotations, categories=[dict(id=1, name='hand')]
    )
    (root / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        path = root / 'annotations' / f'freihand_{split}.json'
        path.write_text(json.dumps(content))


def test_mmpose_config_with_adaptation_added_trains(hand_pair, tmp_path):
    source = tmp_path / 'freihand'
    write_coco_hands(hand_pair, source)
    cfg = Config.fromfile(ROOT / 'configs/examples/regda_res50_freihand2h3d.py')
    cfg.work_dir = str(tmp_path / 'run')
    # Small enough for a test: the images, the network, the number of steps.
    cfg.model.backbone = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8)
    cfg.model.head.update(in_channels=64, deconv_out_channels=(16, 16, 16))
    size = dict(input_size=(SIZE, SIZE), heatmap_size=(SIZE // 4, SIZE // 4))
    cfg.model.head.decoder.update(size)
    for pipeline in pipelines(cfg):
        for transform in pipeline:
            if transform.type == 'TopdownAffine':
                transform.input_size = size['input_size']
            elif transform.type == 'GenerateTarget':
                transform.encoder.update(size)
    for loader in (*cfg.train_dataloader.values(), cfg.val_dataloader):
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.source.dataset.data_root = str(source)
    cfg.val_dataloader.dataset.data_root = str(source)
    cfg.train_dataloader.target.dataset.dataset.data_root = str(hand_pair)
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.default_hooks.checkpoint.interval = 2
    stages.train(cfg)
    assert (tmp_path / 'run' / 'iter_2.pth').is_file()
    assert list((tmp_path / 'run').glob('best_AUC_*.pth'))
