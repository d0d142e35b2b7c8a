"""Every config is whole, and what the paper sets is set."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, SIZE
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmpose.registry import DATASETS, MODELS

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
    if cfg.model.head.loss.type == 'KeypointMSELoss':
        # The level of a heatmap that is regressed has a meaning.
        assert codec.type == 'MSRAHeatmap'
        codec = dict(codec, type='GaussianHeatmap')
    for pipeline in pipelines(cfg):
        for transform in pipeline:
            if transform.type == 'TopdownAffine':
                assert tuple(transform.input_size) == tuple(codec['input_size'])
            elif transform.type == 'GenerateTarget':
                assert transform.encoder == codec


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_model_and_optimizers_of_the_config_can_be_built(path):
    cfg = Config.fromfile(path)
    cfg.model.backbone.init_cfg = None
    cfg.model.backbone.pop('_scope_', None)  # MMPose has mmdet's CSPNeXt, too.
    # Depth does not matter for what fits together here, time does.
    if cfg.model.backbone.get('depth') == 101:
        cfg.model.backbone.depth = 50
    model = MODELS.build(cfg.model)
    if 'adaptation' in cfg.model:
        players = dict(cfg.optim_wrapper)
        players.pop('constructor')
        wrappers = PlayerOptimWrapperConstructor(players)(model)
        assert set(wrappers.keys()) == set(model.players())


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_gpu_does_not_wait_for_its_batches(path):
    preprocessor = Config.fromfile(path).model.data_preprocessor
    assert preprocessor.type == 'PromptPoseDataPreprocessor'
    assert preprocessor.non_blocking and preprocessor.bgr_to_rgb


PAIRS = dict(
    rhd2h3d=('RHDDataset', 'H3DDataset', 21),
    freihand2rhd=('FreiHANDDataset', 'RHDDataset', 21),
    surreal2lsp=('SURREALDataset', 'LSPDataset', 16),
    surreal2human36m=('SURREALDataset', 'Human36MDataset', 16),
    rhd2freihand=('RHDDataset', 'FreiHANDDataset', 21),
)


def transform_of(pipeline, kind):
    (found,) = (one for one in pipeline if one.type == kind)
    return found


@pytest.mark.parametrize('pair', PAIRS)
def test_adaptation_has_the_settings_of_the_paper(pair):
    source, target, num_keypoints = PAIRS[pair]
    cfg = Config.fromfile(ROOT / f'configs/regda_{pair}.py')
    assert cfg.pretrain.config == f'source_only_{pair}.py'
    assert cfg.pretrain.parts == ('backbone', 'neck')
    assert cfg.model.backbone.depth == 101
    assert cfg.model.neck.out_channels == (256, 256, 256)
    assert cfg.model.head.conv_out_channels == (256,)
    assert cfg.model.head.out_channels == num_keypoints
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
    epochs = 10 if pair == 'surreal2human36m' else 30
    assert cfg.train_cfg.max_iters == epochs * 500
    for loader in cfg.train_dataloader.values():
        assert loader.batch_size == 32
    for pipeline in (
        cfg.train_dataloader.source.dataset.pipeline,
        cfg.unlabeled_pipeline,
    ):
        crop = transform_of(pipeline, 'RandomRotatedSubCrop')
        rotation = 180 if num_keypoints == 21 else 30
        assert (crop.rotation, tuple(crop.area)) == (rotation, (0.6, 1.0))
        assert transform_of(pipeline, 'ColorJitter').strength == 0.25
        assert transform_of(pipeline, 'RandomGaussianBlur').max_radius == 0.8
    assert cfg.train_dataloader.source.dataset.type == source
    unlabeled = cfg.train_dataloader.target.dataset
    assert unlabeled.type == 'UnlabeledDataset'
    assert unlabeled.dataset.type == target and not unlabeled.dataset.labeled
    groups = 'hand21' if num_keypoints == 21 else 'body16'
    for domain, kind in dict(source=source, target=target).items():
        dataset = cfg.val_dataloader[domain].dataset
        assert (dataset.type, dataset.split) == (kind, 'test')
        exact, published = cfg.val_evaluator[domain][:2]
        assert exact == dict(type='GroupedPCKAccuracy', groups=groups, thr=0.05)
        assert published == dict(type='PublishedPCK', groups=groups, thr=0.05)


READING = dict(
    hands=['LoadWholeImage', 'MirrorRightHand', 'WholeImageBox', 'GetBBoxCenterScale'],
    bodies=['LoadWholeImage', 'WholeImageBox', 'GetBBoxCenterScale'],
)


@pytest.mark.parametrize('pair', PAIRS)
def test_a_dataset_is_read_in_one_way_with_labels_and_without(pair):
    cfg = Config.fromfile(ROOT / f'configs/regda_{pair}.py')
    augment = ['RandomRotatedSubCrop', 'TopdownAffine', 'ColorJitter']
    augment += ['RandomGaussianBlur']
    labeled = [*augment, 'GenerateTarget', 'PackPoseInputs']
    unlabeled = [*augment, 'PackPoseInputs']
    test = ['TopdownAffine', 'PackPoseInputs']
    fixed = pair == 'surreal2lsp'
    for loader, rest in (
        (cfg.labeled_source_loader, labeled),
        (cfg.labeled_target_loader, labeled),
        (cfg.train_dataloader.source, labeled),
        (cfg.train_dataloader.target, test if fixed else unlabeled),
        (cfg.val_dataloader.source, test),
        (cfg.val_dataloader.target, test),
    ):
        dataset = loader.dataset
        kind = 'hands' if PAIRS[pair][2] == 21 else 'bodies'
        assert [one.type for one in dataset.pipeline] == READING[kind] + rest
        assert transform_of(dataset.pipeline, 'GetBBoxCenterScale').padding == 1


@pytest.mark.parametrize('frame', ['regda_surreal2lsp', 'benchmark/bodies'])
def test_lsp_is_augmented_as_the_source_where_a_config_says_so(tmp_path, frame):
    path = tmp_path / 'augmented.py'
    path.write_text(
        f"_base_ = ['{ROOT}/configs/{frame}.py']\n"
        'augmented = dict(dataset=dict(pipeline=_base_.unlabeled_pipeline))\n'
        'train_dataloader = dict(target=augmented)\n'
    )
    cfg = Config.fromfile(path)
    target = cfg.train_dataloader.target
    source = cfg.train_dataloader.source.dataset.pipeline
    kept = [one for one in source if one.type != 'GenerateTarget']
    assert target.dataset.pipeline == kept
    # All else is as without, where training sees what the test sees.
    without = Config.fromfile(ROOT / f'configs/{frame}.py').train_dataloader.target
    fixed = without.dataset.pipeline
    assert (
        fixed == cfg.val_dataloader.target.dataset.pipeline != target.dataset.pipeline
    )
    target.dataset.pipeline = fixed
    assert target == without


@pytest.mark.parametrize('pair', PAIRS)
@pytest.mark.parametrize('trained_on', ['source', 'target'])
def test_source_only_and_oracle_have_the_settings_of_the_paper(pair, trained_on):
    source, target, num_keypoints = PAIRS[pair]
    oracle = dict(zip(PAIRS, ('h3d', 'rhd', 'lsp', 'human36m', 'freihand')))[pair]
    name = f'source_only_{pair}' if trained_on == 'source' else f'oracle_{oracle}'
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    assert cfg.model.type == 'TopdownPoseEstimator'
    assert cfg.model.head.out_channels == num_keypoints
    assert cfg.train_cfg.max_iters == 70 * 500
    assert cfg.param_scheduler[0].milestones == [45 * 500, 60 * 500]
    assert cfg.optim_wrapper.optimizer.lr == 0.1
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == 0.1
    dataset = cfg.train_dataloader.dataset
    assert dataset.type == dict(source=source, target=target)[trained_on]
    assert dataset.split == 'train'
    assert dataset.pipeline[-2].type == 'GenerateTarget'
    best = cfg.default_hooks.checkpoint.save_best
    assert best == f'{trained_on}/PCK/Avg'


@pytest.mark.parametrize('pair', PAIRS)
def test_data_is_looked_for_where_the_environment_says(pair, monkeypatch):
    variables = dict(
        RHDDataset='RHD_ROOT',
        H3DDataset='H3D_ROOT',
        FreiHANDDataset='FREIHAND_ROOT',
        SURREALDataset='SURREAL_ROOT',
        LSPDataset='LSP_ROOT',
        Human36MDataset='H36M_ROOT',
    )

    def roots():
        cfg = Config.fromfile(ROOT / f'configs/regda_{pair}.py')
        val = {d: cfg.val_dataloader[d].dataset for d in ('source', 'target')}
        assert cfg.train_dataloader.source.dataset.data_root == val['source'].data_root
        unlabeled = cfg.train_dataloader.target.dataset.dataset
        assert unlabeled.data_root == val['target'].data_root
        return [val['source'].data_root, val['target'].data_root]

    kinds = PAIRS[pair][:2]
    for variable in variables.values():
        monkeypatch.delenv(variable, raising=False)
    folders = [DATASETS.get(kind).FOLDER for kind in kinds]
    assert roots() == [f'data/{folder}' for folder in folders]
    for kind in kinds:
        monkeypatch.setenv(variables[kind], f'/elsewhere/{kind}')
    assert roots() == [f'/elsewhere/{kind}' for kind in kinds]


@pytest.mark.parametrize(
    'pair', ['rhd2h3d', 'surreal2lsp', 'surreal2lspet', 'rhd2photographs']
)
def test_a_pair_at_128_pixels_differs_in_sizes_alone(pair):
    small, full = (
        Config.fromfile(ROOT / f'configs/_base_/pairs/{name}.py')
        for name in (f'{pair}_128px', pair)
    )

    def restored(loader):
        """The loader with the sizes of the full pair put back."""
        batch_size = 32 if loader.sampler.type == 'InfiniteSampler' else 64
        assert loader.num_workers == 1
        loader.update(batch_size=batch_size, num_workers=4)
        for transform in loader.dataset.pipeline:
            if transform.type == 'TopdownAffine':
                assert transform.input_size == (128, 128)
                transform.input_size = (256, 256)
            elif transform.type == 'GenerateTarget':
                encoder = transform.encoder
                assert (encoder.input_size, encoder.sigma) == ((128, 128), 1.5)
                assert encoder.heatmap_size == (32, 32)
                encoder.update(input_size=(256, 256), heatmap_size=(64, 64), sigma=2)
        return loader

    assert small.train_dataloader.source.batch_size == 16
    for domain in ('source', 'target'):
        for loaders in ('train_dataloader', 'val_dataloader'):
            assert restored(small[loaders][domain]) == full[loaders][domain]
    for name in (
        'labeled_source_loader',
        'labeled_target_loader',
        'unlabeled_target_loader',
    ):
        assert restored(small[name]) == full[name]
    assert small.val_evaluator == full.val_evaluator


@pytest.mark.parametrize(
    'fragment',
    [
        'experiments/embedded',
        'experiments/embedded_pretrain',
        'experiments/regda',
        'experiments/source_only',
        'experiments/erm',
    ],
)
def test_hands_and_bodies_differ_in_the_number_of_keypoints_alone(fragment):
    hand, body = (
        Config.fromfile(ROOT / f'configs/_base_/{fragment}_{kind}.py')
        for kind in ('hand21', 'body16')
    )
    assert (hand.model.head.out_channels, body.model.head.out_channels) == (21, 16)
    body.model.head.out_channels = 21
    assert body._cfg_dict == hand._cfg_dict


def test_the_page_of_regda_says_what_the_other_pairs_share():
    page = Config.fromfile(ROOT / 'configs/regda_rhd2h3d.py')._cfg_dict
    shared = Config.fromfile(ROOT / 'configs/_base_/experiments/regda_hand21.py')
    pair = Config.fromfile(ROOT / 'configs/_base_/pairs/rhd2h3d.py')
    assert page.pop('pretrain') == dict(
        config='source_only_rhd2h3d.py', parts=('backbone', 'neck')
    )
    assert page == dict(shared._cfg_dict, **pair._cfg_dict)


@pytest.mark.parametrize('pair', PAIRS)
def test_published_baseline_trains_as_its_script(pair):
    cfg = Config.fromfile(ROOT / f'configs/erm_{pair}.py')
    # The script's loop: the scheduler steps, then 500 iterations follow.
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [45, 60], 0.1)
    drops, rate = [], 1e-3
    for epoch in range(70):
        optimizer.step()
        scheduler.step()
        if optimizer.param_groups[0]['lr'] != rate:
            drops.append(500 * epoch)
            rate = optimizer.param_groups[0]['lr']
    assert cfg.train_cfg.max_iters == 70 * 500
    (steps,) = cfg.param_scheduler
    assert (steps.milestones, steps.gamma) == (drops, 0.1)
    assert drops == [22000, 29500]
    assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=1e-3)
    source, _, num_keypoints = PAIRS[pair]
    assert cfg.model.head.out_channels == num_keypoints
    assert cfg.train_dataloader.dataset.type == source
    assert cfg.train_dataloader.batch_size == 32
    # One rate for the whole network.
    cfg.model.backbone.update(depth=18, init_cfg=None)
    cfg.model.neck.in_channels = 512
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    (group,) = wrapper.optimizer.param_groups
    assert len(group['params']) == len(list(model.parameters()))
    assert (group['lr'], group['weight_decay']) == (1e-3, 0)
    assert group['betas'] == (0.9, 0.999)


def test_published_baselines_loss_is_half_the_mean_squared_error():
    cfg = Config.fromfile(ROOT / 'configs/erm_rhd2h3d.py')
    loss = MODELS.build(cfg.model.head.loss)
    rng = np.random.default_rng(0)
    output, target = rng.random((2, 2, 3, 4, 5))
    weights = np.array([[1, 0, 1], [0.5, 1, 0]])
    total = 0.0
    for b, k, row, column in np.ndindex(2, 3, 4, 5):
        error = output[b, k, row, column] - target[b, k, row, column]
        total += weights[b, k] * 0.5 * error**2
    found = loss(*map(torch.from_numpy, (output, target, weights)))
    assert float(found) == pytest.approx(total / (2 * 3 * 4 * 5))
    without = loss(*map(torch.from_numpy, (output, target)))
    assert float(without) == pytest.approx(((output - target) ** 2).mean() / 2)


def test_settings_are_chosen_on_a_part_of_the_training_set():
    cfg = Config.fromfile(ROOT / 'configs/regda_rhd2h3d_val.py')
    plain = Config.fromfile(ROOT / 'configs/regda_rhd2h3d.py')
    target, test = cfg.train_dataloader.target.dataset, cfg.val_dataloader.target
    assert (target.dataset.split, test.dataset.split) == ('train-val', 'val')
    target.dataset.split, test.dataset.split = 'train', 'test'
    assert cfg._cfg_dict == plain._cfg_dict


def test_baseline_of_the_quickstart_differs_from_regda_by_the_adversary_alone():
    regda = Config.fromfile(ROOT / 'configs/quickstart/regda.py')
    baseline = Config.fromfile(ROOT / 'configs/quickstart/source_only.py')
    for player in ('feature_extractor', 'head'):
        assert regda.optim_wrapper[player] == baseline.optim_wrapper[player]
        assert regda.param_scheduler[player] == baseline.param_scheduler[player]
    assert regda.train_cfg == baseline.train_cfg
    assert regda.pretrain == baseline.pretrain
    # Of which the baseline reads the source alone.
    assert regda.train_dataloader == baseline.train_dataloader
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
