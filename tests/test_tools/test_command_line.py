"""The commands as a user types them: what they say, and when."""

import logging
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import ROOT, tiny_config
from mmengine.config import Config

pytestmark = pytest.mark.slow


def run_tool(name, *arguments, **env):
    command = [sys.executable, str(ROOT / 'tools' / name), *map(str, arguments)]
    return subprocess.run(
        command,
        env=dict(os.environ, **env),
        capture_output=True,
        text=True,
        timeout=300,
    )


def assert_one_message(done, *parts):
    """It failed with a message and no traceback."""
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr, done.stderr[-2000:]
    last = done.stderr[done.stderr.index('error: ') :]
    for part in parts:
        assert part in last, last


@pytest.fixture(scope='module')
def tiny_file(hand_pair, tmp_path_factory):
    """A config file that trains for two iterations."""
    cfg = tiny_config(hand_pair, 'unused', max_iters=2)
    cfg.custom_hooks = []
    # An error must come through from a worker, too.
    cfg.train_dataloader.source.num_workers = 1
    path = tmp_path_factory.mktemp('config') / 'tiny.py'
    cfg.dump(str(path))
    return path


def test_trained_model_is_evaluated_on_the_domain_asked_for(tiny_file, tmp_path):
    done = run_tool('train.py', tiny_file, '--work-dir', tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    checkpoint = tmp_path / 'iter_2.pth'
    done = run_tool(
        'test.py', tiny_file, checkpoint, '--domain', 'target', '--work-dir', tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    bar = done.stdout[done.stdout.index('evaluating') :].splitlines()[0]
    finished, total = re.search(r' (\d+)/(\d+) ', bar).groups()
    assert finished == total
    table = done.stdout[done.stdout.rindex('metrics (PCK') :]
    assert 'Fingertip' in table and 'EPE' in table
    assert 'target' in table and 'source' not in table


def test_selection_by_target_labels_needs_checkpoints(tiny_file, tmp_path):
    cfg = Config.fromfile(tiny_file)
    del cfg.default_hooks['checkpoint']
    cfg.dump(str(tmp_path / 'none.py'))
    options = '--select-by-target-labels', '--work-dir', tmp_path
    done = run_tool('train.py', tmp_path / 'none.py', *options)
    assert_one_message(done, '--select-by-target-labels', 'none.py', 'checkpoint')


def test_progress_bar_has_the_console_and_the_file_the_log(tiny_file, tmp_path):
    cfg = Config.fromfile(tiny_file)
    cfg.runner_type = 'QuietRunner'
    cfg.custom_hooks = [
        dict(type='ProgressBarHook', title='stage one', metric='source/PCK/Avg')
    ]
    cfg.dump(str(tmp_path / 'quiet.py'))
    done = run_tool('train.py', tmp_path / 'quiet.py', '--work-dir', tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    bar = done.stdout[done.stdout.index('stage one') :]
    assert '2/2' in bar and 'source/PCK/Avg' in bar
    assert 'mmengine - INFO' not in done.stdout + done.stderr
    (log,) = tmp_path.glob('*/*.log')
    assert 'Iter(val)' in log.read_text()


def test_seed_reaches_a_config_that_sets_none(tiny_file, tmp_path):
    cfg = Config.fromfile(tiny_file)
    cfg.pop('randomness')
    cfg.dump(str(tmp_path / 'unseeded.py'))
    arguments = ('--seed', 7, '--work-dir', tmp_path / 'run')
    done = run_tool('train.py', tmp_path / 'unseeded.py', *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'randomness' not in Config.fromfile(tmp_path / 'unseeded.py')
    (dumped,) = tmp_path.glob('run/*/vis_data/config.py')
    assert Config.fromfile(dumped).randomness.seed == 7


@pytest.mark.parametrize('seed', [-1, 2**32])
def test_seed_that_numpy_does_not_take_is_refused(tiny_file, seed):
    done = run_tool('train.py', tiny_file, '--seed', seed)
    assert done.returncode == 2 and f'{seed} is not from 0 to' in done.stderr


def test_folder_that_takes_nothing_is_named(tiny_file, tmp_path):
    (tmp_path / 'file').touch()
    for work_dir in (tmp_path / 'file', tmp_path / 'file' / 'runs' / 'run'):
        done = run_tool('train.py', tiny_file, '--work-dir', work_dir)
        assert_one_message(done, str(tmp_path / 'file'), 'cannot be written')


def test_missing_dataset_is_named_before_training(tmp_path):
    done = run_tool(
        'train.py',
        ROOT / 'configs/quickstart/regda.py',
        '--work-dir',
        tmp_path / 'regda',
        RHD_ROOT=str(tmp_path / 'nowhere'),
        H3D_ROOT=str(tmp_path / 'nowhere'),
    )
    assert_one_message(done, str(tmp_path / 'nowhere'), 'anno_training.pickle', 'https')
    assert not list(tmp_path.rglob('*.pth'))


def test_truncated_image_is_named_though_a_worker_met_it(
    tiny_file, hand_pair, tmp_path
):
    import shutil

    pair = tmp_path / 'pair'
    shutil.copytree(hand_pair, pair)
    for path in (pair / 'RHD_published_v2/training/color').iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    cfg = Config.fromfile(tiny_file)
    cfg.train_dataloader.source.dataset.data_root = str(pair)
    cfg.dump(str(tmp_path / 'cut.py'))
    done = run_tool('train.py', tmp_path / 'cut.py', '--work-dir', tmp_path / 'run')
    assert_one_message(done, '.png', 'is cut short')
    assert 'Original Traceback' not in done.stderr


CHILDREN = f'/proc/self/task/{os.getpid()}/children'


@pytest.mark.skipif(not os.path.exists(CHILDREN), reason='asks Linux for processes')
def test_lost_data_worker_is_one_message(tiny_file, tmp_path):
    script = ROOT / 'tools' / 'train.py'
    options = ['--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_iters=100000']
    command = [sys.executable, *map(str, [script, tiny_file, *options])]
    with open(tmp_path / 'errors', 'w') as errors:
        training = subprocess.Popen(command, stdout=errors, stderr=errors)
    children = Path(f'/proc/{training.pid}/task/{training.pid}/children')
    try:
        end = time.monotonic() + 120
        while not list(tmp_path.glob('iter_*.pth')):
            assert training.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        workers = children.read_text().split()
        assert workers
        for worker in workers:  # As the kernel does where memory is short.
            with suppress(ProcessLookupError):
                os.kill(int(worker), signal.SIGKILL)
        code = training.wait(60)
    finally:
        training.kill()
    said = (tmp_path / 'errors').read_text()
    done = subprocess.CompletedProcess([], code, '', said)
    assert_one_message(done, 'DataLoader worker', 'num_workers', '--resume')


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_missing_gpu_is_said_where_one_was_asked_for(tiny_file):
    done = run_tool('train.py', tiny_file, '--device', 'cuda')
    assert_one_message(done, 'no CUDA device')


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_missing_config_is_named(tool):
    arguments = ['nowhere.py'] + ['weights.pth'] * (tool == 'test.py')
    assert_one_message(run_tool(tool, *arguments), 'nowhere.py')


def test_missing_checkpoint_is_named(tiny_file):
    assert_one_message(run_tool('test.py', tiny_file, 'nowhere.pth'), 'nowhere.pth')


def test_hostile_checkpoint_runs_nothing(tiny_file, tmp_path):
    proof = tmp_path / 'proof'

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(proof),)

    path = tmp_path / 'hostile.pth'
    torch.save(dict(state_dict=Hostile()), path)
    done = run_tool('test.py', tiny_file, path, '--work-dir', tmp_path)
    assert_one_message(done, 'hostile.pth')
    assert not proof.exists()


def test_checkpoint_that_is_cut_short_is_named(tiny_file, tmp_path):
    path = tmp_path / 'short.pth'
    torch.save(dict(state_dict=dict(weight=torch.ones(1000))), path)
    path.write_bytes(path.read_bytes()[:2000])
    done = run_tool('test.py', tiny_file, path, '--work-dir', tmp_path)
    assert_one_message(done, 'short.pth')


@pytest.fixture
def typed(monkeypatch, capsys):
    """What a command says that is typed wrongly, in this process."""

    def run(tool, *arguments):
        path = str(ROOT / 'tools' / tool)
        monkeypatch.setattr(sys, 'argv', [path, *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(path, run_name='__main__')
        code = stopped.value.code
        said = capsys.readouterr().err
        return (1, code) if isinstance(code, str) else (code, said)

    # What the tools set for their process is not to stay in this one.
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    monkeypatch.setattr(logging, 'raiseExceptions', True)
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    return run


# What each command needs beside its options; the first argument is a config.
WITH_CONFIG = {
    'train.py': (),
    'test.py': ('weights.pth',),
    'predict.py': ('weights.pth',),
    'compare.py': ('a.pth', 'b.pth'),
    'export.py': ('weights.pth',),
    'browse_dataset.py': (),
    'check_dataset.py': (),
}
WITHOUT_CONFIG = {
    'benchmark.py': (),
    'make_synthetic.py': ('hands', 'nowhere'),
    'plot_predictions.py': ('nowhere',),
    'plot_statistics.py': ('nowhere',),
    'quickstart.py': (),
    'summarize.py': ('nowhere',),
}


def test_every_command_is_tried():
    commands = {path.name for path in (ROOT / 'tools').glob('*.py')}
    assert commands == {*WITH_CONFIG, *WITHOUT_CONFIG}


@pytest.mark.parametrize('tool', [*WITH_CONFIG, *WITHOUT_CONFIG])
def test_unknown_option_is_refused_by_every_command(typed, tool):
    arguments = WITHOUT_CONFIG.get(tool, ('any.py', *WITH_CONFIG.get(tool, ())))
    status, said = typed(tool, *arguments, '--helpp')
    assert status == 2
    assert 'unrecognized arguments: --helpp. Did you mean --help?' in said


@pytest.mark.parametrize(
    ('tool', 'arguments', 'meant'),
    [
        ('benchmark.py', ['--method', 'regda'], '--methods'),
        ('train.py', ['any.py', '--resum'], '--resume'),
        ('train.py', ['any.py', '--channels_last'], '--channels-last'),
        ('make_synthetic.py', ['hands', 'nowhere', '--num-targets', 3], '--num-target'),
    ],
)
def test_option_that_was_meant_is_named(typed, tool, arguments, meant):
    status, said = typed(tool, *arguments)
    assert status == 2 and f'Did you mean {meant}' in said


@pytest.mark.parametrize('tool', WITH_CONFIG)
@pytest.mark.parametrize(
    ('config', 'options', 'parts'),
    [
        ('configs/regda_rhd2h3.py', [], ['does not exist', 'mean regda_rhd2h3d']),
        ('', [], ['line 2: invalid syntax']),
        ('configs/regda_rhd2h3d.py', ['train_cgf.max_iters=5'], ['mean train_cfg?']),
    ],
)
def test_wrong_config_or_override_is_one_message(
    typed, tool, config, options, parts, tmp_path
):
    path = ROOT / config
    if not config:
        path = tmp_path / 'broken.py'
        path.write_text('x = 1\ny = = 2\n')
    arguments = [path, *WITH_CONFIG[tool]]
    status, said = typed(tool, *arguments, *['--cfg-options'] * bool(options), *options)
    assert status == (2 if tool in ('predict.py', 'check_dataset.py') else 1)
    assert said.startswith('error: ') and '\n' not in said.strip()
    for part in parts:
        assert part in said


def test_argument_of_a_loop_that_was_meant_is_named(typed):
    options = ['--cfg-options', 'train_cfg.max_iter=5']
    status, said = typed('train.py', ROOT / 'configs/regda_rhd2h3d.py', *options)
    assert status == 1 and said.startswith('error: ') and 'mean max_iters?' in said
    assert '\n' not in said.strip()


@pytest.mark.parametrize('tool', [*WITH_CONFIG, 'plot_predictions.py'])
@pytest.mark.parametrize('text', ['a', '=3', 'a..b=3', 'a=[1,2'])
def test_override_of_another_form_is_refused(typed, tool, text):
    arguments = WITHOUT_CONFIG.get(tool, ('any.py', *WITH_CONFIG.get(tool, ())))
    status, said = typed(tool, *arguments, '--cfg-options', text)
    assert status == 2 and 'argument --cfg-options: ' in said
    assert text in said or text.partition('=')[2] in said


def test_config_after_overrides_is_said_to_belong_before_them(typed):
    path = ROOT / 'configs/regda_rhd2h3d.py'
    status, said = typed('train.py', '--cfg-options', 'log_level=INFO', path)
    assert status == 2 and f'Write "{path}" before --cfg-options.' in said


@pytest.mark.parametrize(
    'switch', ['--amp', '--amp-dtype=float16', '--compile', '--channels-last']
)
def test_switch_before_the_config_does_not_take_it(typed, switch):
    status, said = typed('train.py', switch, ROOT / 'configs/nowhere.py')
    assert status == 1 and 'nowhere.py" does not exist' in said


def test_error_that_is_no_input_keeps_its_traceback(typed, monkeypatch):
    from mmregda import engine

    def broken(cfg):
        raise ArithmeticError('nothing adds up')

    monkeypatch.setattr(engine, 'train', broken)
    with pytest.raises(ArithmeticError, match='nothing adds up'):
        typed('train.py', ROOT / 'configs/regda_rhd2h3d.py')
