"""The scripts that start several processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, tiny_config
from mmengine.runner.checkpoint import CheckpointLoader
from processes import DEVICE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == 'win32', reason='shell scripts'),
]

HOOK = """
import os, signal
from mmengine.hooks import Hook
from mmpose.registry import HOOKS

@HOOKS.register_module()
class KillHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        with open(f'{runner.work_dir}/pids', 'a') as file:
            file.write(f'{os.getpid()}\\n')
        if runner.rank == 1 and runner.iter == 2:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def environment(folder: Path, **programs: str) -> dict:
    """The environment, with programs that are found first."""
    bin_folder = folder / 'bin'
    bin_folder.mkdir()
    python = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
    for name, text in {'python': python, **programs}.items():
        path = bin_folder / name
        path.write_text(text)
        path.chmod(0o755)
    unset = ('MASTER_ADDR', 'MASTER_PORT', 'PORT', 'NNODES', 'GPUS', 'GPUS_PER_NODE')
    kept = {k: v for k, v in os.environ.items() if k not in unset}
    path = f'{bin_folder}{os.pathsep}{os.environ["PATH"]}'
    pythonpath = os.pathsep.join((str(folder), str(ROOT)))
    if DEVICE == 'cpu':  # also where there is a GPU, but not for each
        kept['CUDA_VISIBLE_DEVICES'] = ''
    return dict(kept, PATH=path, PYTHONPATH=pythonpath, OMP_NUM_THREADS='1')


def write_config(pair: Path, folder: Path) -> str:
    cfg = tiny_config(pair, folder / 'run', max_iters=3)
    cfg.default_hooks.checkpoint.interval = 1
    cfg.visualizer.vis_backends = []
    cfg.custom_hooks = [dict(type='KillHook')]
    (folder / 'kill_hook.py').write_text(HOOK)
    cfg.custom_imports = dict(imports=['mmregda', 'kill_hook'])
    cfg.dump(str(folder / 'cfg.py'))
    return str(folder / 'cfg.py')


def run(script: str, *arguments: str, env: dict, timeout: float = 600):
    process = subprocess.Popen(
        ['bash', str(ROOT / 'tools' / script), *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        # What hangs does not outlive the test.
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def is_running(pid: int) -> bool:
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'


@pytest.mark.skipif(not Path('/proc').exists(), reason='asks Linux for processes')
def test_torchrun_stops_all_when_one_is_killed(hand_pair, tmp_path):
    config = write_config(hand_pair, tmp_path)
    done = run('dist_train.sh', config, '2', env=environment(tmp_path))
    assert done.returncode != 0
    # Which one it was, and by what.
    assert 'rank      : 1' in done.stderr and 'SIGKILL' in done.stderr
    pids = set(map(int, (tmp_path / 'run/pids').read_text().split()))
    assert len(pids) == 2
    deadline = time.monotonic() + 60
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, 'a process is left'
        time.sleep(0.1)
    last = (tmp_path / 'run/last_checkpoint').read_text()
    assert CheckpointLoader.load_checkpoint(last, 'cpu')['meta']['iter'] >= 1


SHOW = """#!/usr/bin/env bash
printf '%s\\n' "$@"
"""


@pytest.mark.parametrize(
    'variables, meeting',
    [
        ({}, ['--standalone']),
        (
            dict(PORT='1234'),
            [
                *('--nnodes=1', '--node_rank=0'),
                *('--master_addr=127.0.0.1', '--master_port=1234'),
            ],
        ),
        (
            dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='host'),
            [
                *('--nnodes=2', '--node_rank=1'),
                *('--master_addr=host', '--master_port=29500'),
            ],
        ),
    ],
)
def test_processes_meet_where_they_are_told_to(tmp_path, variables, meeting):
    env = dict(environment(tmp_path, python=SHOW), **variables)
    done = run('dist_train.sh', 'cfg.py', '3', '--work-dir', 'a b', env=env)
    assert done.stdout.splitlines() == [
        *('-m', 'torch.distributed.run', *meeting, '--nproc_per_node=3'),
        *(str(ROOT / 'tools/train.py'), 'cfg.py', '--launcher', 'pytorch'),
        *('--work-dir', 'a b'),
    ]


@pytest.mark.parametrize(
    'variables, expected',
    [
        ({}, ['--gres=gpu:8', '--ntasks=8', '--ntasks-per-node=8']),
        (dict(GPUS='16'), ['--gres=gpu:8', '--ntasks=16', '--ntasks-per-node=8']),
        (
            dict(GPUS='8', GPUS_PER_NODE='4'),
            ['--gres=gpu:4', '--ntasks=8', '--ntasks-per-node=4'],
        ),
    ],
)
def test_nodes_share_the_processes(tmp_path, variables, expected):
    env = dict(environment(tmp_path, srun=SHOW), **variables)
    done = run('slurm_train.sh', 'part', 'job', 'cfg.py', 'dir', env=env)
    assert done.stdout.splitlines()[2:5] == expected


def test_slurm_is_given_all_that_it_needs(tmp_path):
    env = environment(tmp_path, srun=SHOW)
    env.update(GPUS='2', CPUS_PER_TASK='3', SRUN_ARGS='--time=10 --quiet')
    done = run('slurm_train.sh', 'part', 'job', 'cfg.py', 'a dir', '--seed=3', env=env)
    assert done.stdout.splitlines() == [
        *('--partition=part', '--job-name=job', '--gres=gpu:2', '--ntasks=2'),
        *('--ntasks-per-node=2', '--cpus-per-task=3', '--kill-on-bad-exit=1'),
        *('--time=10', '--quiet', 'python', '-u', str(ROOT / 'tools/train.py')),
        *('cfg.py', '--work-dir', 'a dir', '--launcher', 'slurm', '--seed=3'),
    ]


def test_what_is_missing_is_said(tmp_path):
    env = dict(environment(tmp_path), GPUS='6', GPUS_PER_NODE='4')
    for script, arguments in (
        ('dist_train.sh', ['cfg.py']),
        ('slurm_train.sh', ['part', 'job', 'cfg.py']),
    ):
        done = run(script, *arguments, env=env)
        assert done.returncode == 2 and done.stderr.startswith('usage: bash tools/')
    done = run('dist_train.sh', 'cfg.py', '2', env=dict(env, NNODES='2', NODE_RANK='1'))
    assert done.returncode == 2 and 'set MASTER_ADDR' in done.stderr
    done = run('slurm_train.sh', 'part', 'job', 'cfg.py', 'dir', env=env)
    assert done.returncode == 2 and 'no multiple of GPUS_PER_NODE=4' in done.stderr
