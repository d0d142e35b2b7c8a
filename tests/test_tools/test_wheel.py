"""The wheel, without the checkout; and the tools under one command."""

import os
import shutil
import subprocess
import sys
import zipfile

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
    # The console script, a config that comes with it, and what that builds on.
    done = run(site / 'bin/mmregda', 'train', 'configs/quickstart/regda.py')
    assert done.returncode == 1 and 'error: ' in done.stderr, done.stderr[-3000:]
    assert str(tmp_path / 'nowhere') in done.stderr


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
