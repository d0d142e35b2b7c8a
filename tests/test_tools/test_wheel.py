"""The wheel, without the checkout; and the tools under one command."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter

import pytest
from conftest import ROOT, tiny_config

from mmregda.__main__ import main


@pytest.mark.slow
def test_wheel_trains_alone(hand_pair, tmp_path):
    built = shutil.ignore_patterns(
        '.*', 'work_dirs', 'data', '*.egg-info', '__pycache__'
    )
    shutil.copytree(ROOT, tmp_path / 'checkout', ignore=built)
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--no-input']
    quietly = dict(check=True, capture_output=True, text=True, timeout=600)
    options = ['--no-deps', '--no-index', '--no-build-isolation']
    wheels = tmp_path / 'wheels'
    source = [tmp_path / 'checkout', '--wheel-dir', wheels]
    subprocess.run([*pip, 'wheel', *options, *source], **quietly)
    (wheel,) = wheels.iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    assert 'mmregda/py.typed' in names
    assert not [name for name in names if name.startswith(('tests/', 'tools/'))]
    # Where `mim train` and `mim test` look.
    mim = 'mmregda/.mim/'
    for name in ('configs/regda_rhd2h3d.py', 'tools/train.py', 'tools/test.py'):
        assert mim + name in names
    site = tmp_path / 'site'
    subprocess.run([*pip, 'install', *options[:2], '--target', site, wheel], **quietly)
    shutil.rmtree(tmp_path / 'checkout')

    cfg = tiny_config(hand_pair, tmp_path / 'run', max_iters=10)
    cfg.custom_hooks = []
    cfg.dump(str(tmp_path / 'tiny.py'))

    def run(*command):
        return subprocess.run(
            list(map(str, command)),
            cwd=tmp_path,
            env=dict(os.environ, PYTHONPATH=str(site), RHD_ROOT='nowhere'),
            capture_output=True,
            text=True,
            timeout=600,
        )

    done = run(sys.executable, '-c', 'import mmregda; print(mmregda.__file__)')
    assert done.stdout.splitlines()[-1].startswith(str(site))
    done = run(sys.executable, '-m', 'mmregda', 'train', 'tiny.py')
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'run/iter_10.pth').exists()
    test = [site / mim / 'tools/test.py', 'tiny.py', 'run/iter_10.pth']
    done = run(sys.executable, *test, '--launcher', 'none')
    assert done.returncode == 0, done.stderr[-3000:]
    done = run(site / 'bin/mmregda', 'export', 'tiny.py', 'run/iter_10.pth')
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(tmp_path.glob('work_dirs/tiny/exported/tiny-*.pth'))
    # The console script, a config that comes with it, and what that builds on.
    done = run(site / 'bin/mmregda', 'train', 'configs/quickstart/regda.py')
    assert done.returncode == 1 and 'error: ' in done.stderr, done.stderr[-3000:]
    assert str(tmp_path / 'nowhere') in done.stderr
    done = run(site / 'bin/mmregda', 'export', '--help')
    assert done.stdout.startswith('usage: mmregda export ')
    assert '\nmmregda export CONFIG CHECKPOINT' in done.stdout


def test_mim_finds_a_config_by_its_name_alone():
    """It looks through the whole package and wants one file of that name."""
    installed = [ROOT / folder for folder in ('mmregda', 'configs', 'tools')]
    names = Counter(path.name for folder in installed for path in folder.rglob('*.py'))
    configs = [*ROOT.glob('configs/*.py'), *ROOT.glob('configs/examples/*.py')]
    assert len(configs) > 20
    assert [path for path in configs if names[path.name] > 1] == []


def test_mim_gives_no_options_that_the_tool_has_not(command):
    # With --gpus in its help MIM would give it, or --device cpu.
    assert '--gpus' not in command('train.py', '--help')


def test_every_tool_is_a_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['mmregda', '--help'])
    main()
    said = capsys.readouterr().out
    tools = [path.stem for path in (ROOT / 'tools').glob('*.py')]
    assert len(tools) > 10
    for tool in (*tools, 'doctor'):
        (line,) = (line for line in said.splitlines() if line.split()[:1] == [tool])
        assert line.endswith('.') or line.endswith(':')


@pytest.mark.parametrize(
    ('command', 'said'), [('trian', 'Did you mean train?'), ('train', 'usage: ')]
)
def test_wrong_command_line_is_one_message(monkeypatch, capsys, command, said):
    monkeypatch.setattr(sys, 'argv', ['mmregda', command, '--nothing'])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and said in capsys.readouterr().err
