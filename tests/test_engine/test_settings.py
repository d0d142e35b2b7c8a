"""Settings of MMEngine's and MMPose's: each works here, or is refused by name."""

import copy
import json
import runpy
import sys
from pathlib import Path

import mmpose
import pytest
import torch
from conftest import ROOT, tiny_config
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from mmpose.registry import HOOKS, MODELS

from mmregda import InputError
from mmregda.engine import PlayerOptimWrapperConstructor, evaluate, stages
from mmregda.engine.settings import require_iterations, require_settings

CONFIGS = [
    path
    for path in sorted((ROOT / 'configs').rglob('*.py'))
    if '_base_' not in path.parts
]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_mean_what_they_say(path):
    require_settings(Config.fromfile(path))


def adaptation_config(**changes):
    cfg = Config.fromfile(ROOT / 'configs/regda_rhd2h3d.py')
    cfg.merge_from_dict(changes)
    return cfg


def pretraining_config(**changes):
    cfg = Config.fromfile(ROOT / 'configs/source_only_rhd2h3d.py')
    cfg.merge_from_dict(changes)
    return cfg


def replaced(**parts):
    """A config some of whose parts are others altogether."""
    cfg = adaptation_config()
    for name, part in parts.items():
        cfg[name] = part
    return cfg


LOADER = dict(batch_size=4, dataset=dict(type='A'), sampler=dict(type='B'))
EPOCHS = dict(by_epoch=True, max_epochs=5, val_interval=1)
STEPS = dict(type='MultiStepLR', milestones=[2], by_epoch=True)
PLATEAU = dict(type='ReduceOnPlateauLR', monitor='source/EPE')
REFUSED = {
    'epochs': (replaced(train_cfg=EPOCHS), 'max_epochs.*DomainAdaptTrainLoop'),
    'loop of epochs': (
        replaced(train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=5)),
        'EpochBasedTrainLoop.*DomainAdaptTrainLoop',
    ),
    "MMEngine's loop of iterations": (
        replaced(train_cfg=dict(by_epoch=False, max_iters=5)),
        'max_iters.*DomainAdaptTrainLoop',
    ),
    'epochs beside iterations': (
        adaptation_config(**{'train_cfg.max_epochs': 5}),
        'train_cfg has max_epochs',
    ),
    'loop of another model': (
        pretraining_config(**{'train_cfg.type': 'DomainAdaptTrainLoop'}),
        'model.type is "TopdownPoseEstimator"',
    ),
    'schedule by epoch': (
        replaced(param_scheduler=[STEPS]),
        r'param_scheduler\[0\] \(MultiStepLR\) counts epochs',
    ),
    'schedule by epoch, converted': (
        replaced(param_scheduler=dict(STEPS, convert_to_iter_based=True)),
        r'param_scheduler \(MultiStepLR\).*convert_to_iter_based',
    ),
    'schedule by default': (
        replaced(param_scheduler=dict(head=[dict(type='LinearLR', end=50)])),
        r'param_scheduler.head\[0\] \(LinearLR\)',
    ),
    'plateau without an end': (
        replaced(param_scheduler=[PLATEAU]),
        r'param_scheduler\[0\].end',
    ),
    'schedule of pretraining': (
        pretraining_config(param_scheduler=[dict(STEPS)]),
        r'param_scheduler\[0\] \(MultiStepLR\) counts epochs',
    ),
    'scaling without a base': (
        adaptation_config(auto_scale_lr=dict(enable=True)),
        'auto_scale_lr.base_batch_size.*None',
    ),
    'scaling that is a switch': (
        replaced(auto_scale_lr=True),
        r'auto_scale_lr is True: write auto_scale_lr = dict',
    ),
    'a batch of no size': (
        adaptation_config(**{'train_dataloader.target.batch_size': None}),
        'train_dataloader.target.batch_size is None: set it to an integer',
    ),
    'no sampler': (
        adaptation_config(**{'train_dataloader.target.sampler': None}),
        'train_dataloader.target.sampler is missing',
    ),
    'scaling by two sizes': (
        adaptation_config(
            **{
                'auto_scale_lr': dict(enable=True, base_batch_size=64),
                'train_dataloader.target.batch_size': 16,
            }
        ),
        "auto_scale_lr.*'source': 32, 'target': 16",
    ),
    'batches of a sampler': (
        replaced(train_dataloader=dict(source=dict(LOADER, batch_sampler={}))),
        'train_dataloader.source.batch_sampler',
    ),
    'part of an epoch': (
        replaced(train_dataloader=dict(source=dict(LOADER, num_batch_per_epoch=2))),
        'train_dataloader.source.num_batch_per_epoch.*indices=N',
    ),
    'two domains for one model': (
        pretraining_config(
            train_dataloader=dict(_delete_=True, source=LOADER, target=LOADER)
        ),
        r"train_dataloader has the keys \['source', 'target'\]",
    ),
    'validation of one': (
        replaced(val_dataloader=LOADER),
        'val_dataloader is one dataloader, but val_cfg.type is "DomainValLoop"',
    ),
    'validation of two': (replaced(val_cfg={}), 'val_cfg = dict.type="DomainValLoop"'),
    "MMEngine's wrapper": (
        replaced(launcher='pytorch', model_wrapper_cfg=dict(static_graph=True)),
        'PlayerDistributedDataParallel',
    ),
    'no wrapper': (
        replaced(launcher='pytorch', model_wrapper_cfg=None),
        'PlayerDistributedDataParallel',
    ),
    'channels last in a loop that does not know it': (
        dict(pretraining_config(), train_cfg=EPOCHS, channels_last=True),
        'channels_last=True.*SeededTrainLoop',
    ),
    'second spelling of compile': (
        adaptation_config(custom_hooks=[dict(type='CompileHook', mode='default')]),
        'CompileHook.*write compile = True',
    ),
}


@pytest.mark.parametrize('name', REFUSED)
def test_what_would_not_be_done_is_refused_by_name(name):
    cfg, message = REFUSED[name]
    with pytest.raises(InputError, match=f'(?s){message}'):
        require_settings(cfg)


@pytest.mark.parametrize(
    ('hook', 'refused'),
    [
        (dict(type='EMAHook', begin_iter=100), ''),
        (dict(type='EarlyStoppingHook', monitor='source/EPE', rule='less'), ''),
        (dict(type='ProfilerHook', by_epoch=False, profile_times=5), ''),
        (dict(type='LoggerHook'), ''),
        (dict(type='AtomicCheckpointHook', by_epoch=False), ''),
        (dict(type='CheckpointHook'), 'by_epoch=True.*AtomicCheckpointHook'),
        (dict(type='EMAHook', begin_epoch=3), 'begin_epoch=3.*begin_iter'),
        (dict(type='ProfilerHook'), 'by_epoch=True'),
        (dict(type='YOLOXPoseModeSwitchHook'), 'num_last_epochs=20'),
    ],
)
def test_hooks_that_count_epochs_are_refused(hook, refused):
    hooks = [HOOKS.build(hook)]
    if not refused:
        return require_iterations(hooks)
    with pytest.raises(InputError, match=f'(?s){hook["type"]}.{refused}'):
        require_iterations(hooks)


def test_all_that_is_to_be_changed_is_said_at_once():
    cfg = replaced(val_dataloader=LOADER, param_scheduler=[STEPS])
    with pytest.raises(InputError) as error:
        require_settings(cfg)
    lines = str(error.value).splitlines()
    assert lines[0] == '2 settings are to be changed:'
    assert [line.split()[1].split('[')[0] for line in lines[1:]] == [
        *('param_scheduler', 'val_dataloader')
    ]


def test_a_config_that_is_all_mmposes_keeps_its_epochs():
    cfg = Config.fromfile(
        Path(mmpose.__path__[0]) / '.mim/configs/hand_2d_keypoint/topdown_heatmap'
        '/freihand2d/td-hm_res50_8xb64-100e_freihand2d-224x224.py'
    )
    require_settings(cfg)


# --- what works, in a run -----------------------------------------------------


def short_run(pair, work_dir, max_iters=1, **changes):
    """A run that neither validates nor draws."""
    cfg = tiny_config(pair, work_dir, max_iters, **changes)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    cfg.default_hooks.checkpoint.save_best = None
    cfg.custom_hooks = []
    return cfg


def test_rates_of_all_players_are_scaled_by_the_batch(hand_pair, tmp_path):
    rates = {}

    class Look(Hook):
        def before_train(self, runner):
            for player, wrapper in runner.optim_wrapper.items():
                rates[player] = wrapper.optimizer.param_groups[0]['initial_lr']

    cfg = short_run(hand_pair, tmp_path)
    cfg.custom_hooks = [Look()]
    cfg.auto_scale_lr = dict(enable=True, base_batch_size=8)
    stages.train(cfg)
    # Batches of 2: a quarter.
    assert rates == pytest.approx(
        dict(feature_extractor=0.0025, head=0.025, adversary=0.025)
    )


@pytest.mark.slow
def test_log_counts_iterations_whatever_it_was_to_count(hand_pair, tmp_path):
    cfg = tiny_config(hand_pair, tmp_path, max_iters=2)
    cfg.custom_hooks = []
    cfg.log_processor.by_epoch = True
    cfg.default_hooks.logger.log_metric_by_epoch = True
    stages.train(cfg)
    (path,) = tmp_path.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line['step'] for line in lines if 'source/EPE' in line] == [2]
    (log,) = tmp_path.glob('*/*.log')
    assert 'Iter(train) [2/2]' in log.read_text()


@pytest.mark.slow
def test_early_stopping_stops_and_what_was_learnt_is_kept(hand_pair, tmp_path):
    cfg = tiny_config(hand_pair, tmp_path, max_iters=6)
    cfg.train_cfg.val_interval = 1
    cfg.custom_hooks = [
        # Nothing is better by so much.
        dict(
            type='EarlyStoppingHook',
            monitor='source/EPE',
            rule='less',
            min_delta=1e9,
            patience=2,
        )
    ]
    cfg.default_hooks.checkpoint.interval = 1
    stages.train(cfg)
    assert (tmp_path / 'iter_3.pth').exists()
    assert not (tmp_path / 'iter_4.pth').exists()


class Interrupt(Hook):
    """Ends a run after three iterations, as a kill would."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_moving_average_is_kept_and_gone_on_with(hand_pair, tmp_path):
    def run(name, *hooks, **changes):
        cfg = short_run(hand_pair, tmp_path / name, max_iters=4, **changes)
        cfg.custom_hooks = [dict(type='EMAHook', momentum=0.3, begin_iter=1), *hooks]
        stages.train(cfg)
        path = str(tmp_path / name / 'iter_4.pth')
        return CheckpointLoader.load_checkpoint(path, logger='silent')

    whole = run('whole')
    with pytest.raises(KeyboardInterrupt):
        run('parts', Interrupt())
    parts = run('parts', resume=True)
    name = 'backbone.conv1.weight'
    averaged, last = whole['state_dict'], whole['ema_state_dict']
    assert not torch.equal(averaged[name], last[f'module.{name}'])
    for key in ('state_dict', 'ema_state_dict'):
        for name, value in whole[key].items():
            assert torch.equal(value, parts[key][name]), name


@pytest.mark.parametrize(
    'entries, message',
    [
        (dict(head=[], feature_extractor=[]), "'feature_extractor', 'head'.*RegDA are"),
        (dict(head=[], feature_extractor=[], adversary=[], critic=[]), 'critic'),
    ],
)
def test_schedules_that_are_not_the_players_are_refused(
    hand_pair, tmp_path, entries, message
):
    cfg = short_run(hand_pair, tmp_path)
    cfg.param_scheduler = entries
    with pytest.raises(InputError, match=f'param_scheduler.*{message}'):
        stages.train(cfg)


@pytest.mark.parametrize('value', [2, 'sum'])
def test_setting_beside_the_players_that_is_none_is_refused(value):
    from conftest import tiny_model_config

    sgd = dict(optimizer=dict(type='SGD', lr=0.1))
    settings = dict(feature_extractor=sgd, head=sgd, adversary=sgd)
    model = MODELS.build(tiny_model_config())
    constructor = PlayerOptimWrapperConstructor(dict(settings, norm=value))
    with pytest.raises(InputError, match=f'optim_wrapper.norm={value!r}.*clip_grad'):
        constructor(model)
    constructor = PlayerOptimWrapperConstructor(dict(settings, accumulative_counts=2))
    with pytest.raises(InputError, match='accumulative_counts must be 1.*micro_batch'):
        constructor(model)


def test_players_are_asked_of_a_model_that_has_them():
    model = MODELS.build(pretraining_config(**{'model.backbone.init_cfg': None}).model)
    constructor = PlayerOptimWrapperConstructor(dict(optimizer=dict(type='SGD')))
    with pytest.raises(InputError, match='TopdownPoseEstimator has no players'):
        constructor(model)


# --- MMPose's own tools -------------------------------------------------------


def run_tool_of_mmpose(monkeypatch, name, *arguments):
    path = Path(mmpose.__path__[0]) / '.mim' / 'tools' / f'{name}.py'
    if not path.is_file():
        pytest.skip('MMPose is installed without its tools')
    monkeypatch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
    monkeypatch.setenv('LOCAL_RANK', '0')
    return runpy.run_path(str(path), run_name='__main__')


@pytest.mark.slow
def test_mmposes_own_test_tool_tests_what_is_validated(
    hand_pair, tmp_path, monkeypatch
):
    from mmengine.fileio import load

    cfg = tiny_config(hand_pair, tmp_path / 'run')
    cfg.custom_hooks = []
    cfg.dump(str(tmp_path / 'config.py'))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    weights = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), weights)
    run_tool_of_mmpose(
        monkeypatch,
        *('test', tmp_path / 'config.py', weights),
        *('--work-dir', tmp_path / 'test', '--out', tmp_path / 'metrics.json'),
        *('--dump', tmp_path / 'found.pkl'),
    )
    expected = evaluate(copy.deepcopy(cfg), str(weights))
    assert 'target/PCK/Avg' in expected
    metrics = load(str(tmp_path / 'metrics.json'))
    assert metrics == pytest.approx(expected, nan_ok=True)
    for domain in ('source', 'target'):
        found = load(str(tmp_path / f'found_{domain}.pkl'))
        assert len(found) == len(
            Runner.build_dataloader(cfg.val_dataloader[domain]).dataset
        )


@pytest.mark.slow
def test_mmposes_own_train_tool_knows_the_switches(hand_pair, tmp_path, monkeypatch):
    cfg = short_run(hand_pair, tmp_path / 'run')
    cfg.compile, cfg.channels_last = dict(backend='eager'), True
    cfg.custom_imports = dict(imports=['mmregda'])
    cfg.dump(str(tmp_path / 'config.py'))
    tool = run_tool_of_mmpose(
        monkeypatch,
        *('train', tmp_path / 'config.py', '--work-dir', tmp_path / 'run'),
    )
    assert tool['Runner'] is Runner
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert (tmp_path / 'run' / 'iter_1.pth').is_file()
    # MMEngine has not compiled the whole iteration.
    assert 'Model has been "compiled"' not in log.read_text()


@pytest.mark.parametrize('name', ['max_iters', 'val_interval'])
@pytest.mark.parametrize('given', ['abc', None, 10.5, 0, -1])
def test_lengths_are_integers_from_1(name, given):
    cfg = adaptation_config()
    cfg['train_cfg'][name] = given
    with pytest.raises(InputError, match=rf'train_cfg\.{name} is .*integer from 1'):
        require_settings(cfg)


def test_a_schedule_that_begins_after_the_run_is_refused(hand_pair, tmp_path):
    cfg = short_run(hand_pair, tmp_path)
    later = dict(type='InverseDecayLR', by_epoch=False, begin=500)
    cfg.param_scheduler = [later]
    with pytest.raises(InputError, match=r'param_scheduler\[0\].*begins at 500, but'):
        stages.train(cfg)
