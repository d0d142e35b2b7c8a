"""A process that is lost stops the others soon, and others go on."""

import os
import signal
import socket
import time

import pytest
import torch
import torch.distributed as dist
from conftest import tiny_config, write_pretrain_config
from mmengine.hooks import Hook
from mmengine.runner.checkpoint import CheckpointLoader
from mmpose.registry import HOOKS
from processes import outcomes, results
from torch.nn.modules.batchnorm import _BatchNorm

from mmregda import InputError
from mmregda.engine import distributed, stages
from mmregda.engine.distributed import joined_processes, share_buffers
from mmregda.engine.start import load_pretrain_config

pytestmark = pytest.mark.slow

LOST = 'InputError: process {} of 2 does not reach the others'


@HOOKS.register_module()
class AccidentHook(Hook):
    """Ends one process, as a machine that fails or an error does."""

    def __init__(self, kind, at):
        self.kind, self.at = kind, at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        # So that a batch can be dealt out in any way.
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        if runner.iter == self.at and runner.rank == 1:
            if self.kind == 'kill':
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.kind == 'raise':
                raise ValueError('an accident')


def train(pair, folder, batch_size, kind='none', resume=False):
    cfg = tiny_config(pair, folder, launcher='pytorch', resume=resume)
    for loader in cfg.train_dataloader.values():
        loader.batch_size = batch_size
    cfg.custom_hooks = [dict(type='AccidentHook', kind=kind, at=3)]
    cfg.visualizer.vis_backends = []
    return stages.train(cfg)


def test_others_go_on_with_the_same_batches_after_a_kill(hand_pair, tmp_path):
    results(train, 1, hand_pair, tmp_path / 'whole', 4)

    parts = tmp_path / 'parts'
    survivor, killed = outcomes(train, 2, hand_pair, parts, 2, 'kill')
    assert killed.exitcode == -signal.SIGKILL
    assert survivor.error.startswith(LOST.format(0)) and survivor.exitcode == 1
    assert '--resume' in survivor.error
    assert (parts / 'last_checkpoint').read_text().endswith('iter_2.pth')

    # In 4 processes what 2 have begun: where 1 would have come to.
    results(train, 4, hand_pair, parts, 1, 'none', True)
    whole, resumed = (
        CheckpointLoader.load_checkpoint(str(folder / 'iter_4.pth'), 'cpu')
        for folder in (tmp_path / 'whole', parts)
    )
    start = CheckpointLoader.load_checkpoint(str(parts / 'iter_2.pth'), 'cpu')
    moved = 0
    for name, expected in whole['state_dict'].items():
        found, before = (c['state_dict'][name] for c in (resumed, start))
        if expected.is_floating_point():
            moved += (found - before).abs().sum()
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        else:
            assert torch.equal(found, expected), name
    assert moved > 0


def test_others_stop_after_an_error_of_one(hand_pair, tmp_path):
    survivor, failed = outcomes(train, 2, hand_pair, tmp_path, 2, 'raise')
    assert failed.error == 'ValueError: an accident'
    assert survivor.error.startswith(LOST.format(0)) and survivor.exitcode == 1


def pretrain(pair, folder, batch_size, kind='none', resume=False):
    cfg = tiny_config(pair, folder / 'run', launcher='pytorch', resume=resume)
    cfg.train_dataloader.source.batch_size = batch_size
    path = folder / f'pretrain_{os.environ["RANK"]}.py'
    write_pretrain_config(cfg, path, max_iters=4)
    cfg.pretrain = dict(config=str(path), work_dir=str(folder / 'pretrain'))
    stage = load_pretrain_config(cfg)
    stage.custom_hooks = [dict(type='AccidentHook', kind=kind, at=3)]
    stage.default_hooks.checkpoint.update(interval=2, save_best=None)
    with joined_processes('pytorch', {}):
        return stages.pretrain(stage)


def test_pretraining_goes_on_in_other_processes_too(hand_pair, tmp_path):
    survivor, _ = outcomes(pretrain, 2, hand_pair, tmp_path, 2, 'kill')
    assert survivor.error.startswith(LOST.format(0)) and survivor.exitcode == 1
    assert not list(tmp_path.rglob('source_only.pth'))
    (path,) = results(pretrain, 1, hand_pair, tmp_path, 4, 'none', True)
    # In the one folder, and from where the others were.
    (folder,) = (tmp_path / 'pretrain').iterdir()
    assert path == str(folder / 'source_only.pth')
    logs = ''.join(path.read_text() for path in folder.glob('*/*.log'))
    assert logs.count('resumed epoch: 0, iter: 2') == 1


def wait(seconds):
    """The second process does not come to where the first waits for it."""
    with joined_processes('pytorch', dict(dist_cfg=dict(timeout=seconds))):
        dist.barrier()
        if dist.get_rank() == 1:
            time.sleep(1.5 * seconds)
        share_buffers(torch.nn.BatchNorm2d(2))


def test_process_that_hangs_is_given_up_after_the_configured_time():
    start = time.monotonic()
    first, second = outcomes(wait, 2, 10)
    assert first.error.startswith(LOST.format(0)) and 'Timed out' in first.error
    # The second finds itself alone then.
    assert second.error.startswith(LOST.format(1))
    assert 10 < time.monotonic() - start < 250


def fail_otherwise():
    with joined_processes('pytorch', {}):
        raise RuntimeError('of another kind')


def test_errors_of_another_kind_stay_what_they_are():
    for outcome in outcomes(fail_otherwise, 2):
        assert outcome.error == 'RuntimeError: of another kind'


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_launcher_that_has_not_started_this_process_is_named(monkeypatch, launcher):
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    error = pytest.raises(InputError, match=rf'--launcher {launcher}.*dist_train.sh')
    with error, joined_processes(launcher, {}):
        pass


def test_processes_of_mpi_know_their_gpu(monkeypatch):
    started = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(distributed, 'init_dist', lambda *args: started.append(args))
    monkeypatch.setattr(dist, 'destroy_process_group', lambda: None)
    monkeypatch.setenv('LOCAL_RANK', '0')  # as tools/train.py sets it
    monkeypatch.setenv('OMPI_COMM_WORLD_LOCAL_RANK', '3')
    with joined_processes('mpi', {}):
        assert os.environ['LOCAL_RANK'] == '3'
    assert started == [('mpi',)]


def test_error_of_a_process_alone_is_no_lost_connection():
    error = pytest.raises(RuntimeError, match='^no gloo in the igloo$')
    with error, joined_processes('none', {}):
        raise RuntimeError('no gloo in the igloo')


def meet(port):
    os.environ['MASTER_PORT'] = str(port)
    with joined_processes('pytorch', {}):
        pass


def test_processes_that_can_not_meet_say_where():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        (outcome,) = outcomes(meet, 1, port)
    where = f'process 0 does not meet the others at 127.0.0.1:{port}'
    assert outcome.error.startswith(f'InputError: --launcher pytorch: {where}')
