"""MMEngine's EMAHook, which RTMPose's configs bring with them."""

import pytest
import torch
from conftest import tiny_config
from mmengine.runner.checkpoint import CheckpointLoader

from mmregda.engine import stages

MOMENTUM = 0.25


def config(pair, work_dir, **changes):
    cfg = tiny_config(pair, work_dir, **changes)
    ema = dict(type='EMAHook', ema_type='ExpMomentumEMA', update_buffers=True)
    cfg.custom_hooks = [dict(ema, momentum=MOMENTUM, gamma=1, priority=49)]
    cfg.default_hooks.checkpoint.update(interval=1, save_best=None)
    return cfg


def read(path):
    return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


@pytest.fixture(scope='module')
def trained(hand_pair, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('ema') / 'run'
    cfg = config(hand_pair, work_dir, max_iters=4)
    cfg.train_cfg.val_interval = 2
    return work_dir, stages.train(cfg)


def test_checkpoints_hold_the_average_of_the_weights(trained):
    work_dir, _ = trained
    saved = [read(work_dir / f'iter_{i}.pth') for i in (1, 2, 3, 4)]
    for name, average in saved[-1]['state_dict'].items():
        # MMEngine keeps what was trained beside it.
        values = [each['ema_state_dict'][f'module.{name}'] for each in saved]
        if not average.is_floating_point():
            continue
        expected = values[0].double()
        for step, value in enumerate(values[1:], start=1):
            # Exponential momentum, as documented by MMEngine.
            weight = (1 - MOMENTUM) * torch.exp(torch.tensor(-(1.0 + step))) + MOMENTUM
            expected = (1 - weight) * expected + weight * value.double()
        torch.testing.assert_close(average.double(), expected, atol=1e-5, rtol=1e-4)
    name = 'backbone.conv1.weight'
    raw = saved[-1]['ema_state_dict'][f'module.{name}']
    assert not torch.equal(raw, saved[-1]['state_dict'][name])


def test_metrics_are_of_the_average_that_is_saved(hand_pair, trained):
    work_dir, metrics = trained
    cfg = config(hand_pair, work_dir / 'evaluated')
    evaluated = stages.evaluate(cfg, str(work_dir / 'iter_4.pth'))
    for name in ('source/EPE', 'target/EPE', 'target/PCK/Avg'):
        assert evaluated[name] == pytest.approx(metrics[name], rel=1e-4), name


@pytest.mark.slow
def test_a_resumed_average_is_that_of_a_run_at_one_go(hand_pair, trained, tmp_path):
    cfg = config(hand_pair, tmp_path / 'run', max_iters=2)
    cfg.train_cfg.val_interval = 2
    stages.train(cfg)
    cfg = config(hand_pair, tmp_path / 'run', max_iters=4, resume=True)
    cfg.train_cfg.val_interval = 2
    stages.train(cfg)
    one, other = (read(d / 'iter_4.pth') for d in (trained[0], tmp_path / 'run'))
    for key in ('state_dict', 'ema_state_dict'):
        for name, value in one[key].items():
            assert torch.equal(value, other[key][name]), f'{key} {name}'
