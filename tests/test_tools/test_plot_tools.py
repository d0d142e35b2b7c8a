"""The plotting commands, from trained runs to files."""

import runpy
import sys

import pytest
from conftest import ROOT, tiny_config

from mmregda.engine import train


@pytest.fixture
def run_tool(monkeypatch):
    """Runs a command as if it were typed, but in this process."""

    def run(name, *arguments):
        path = str(ROOT / 'tools' / name)
        monkeypatch.setattr(sys, 'argv', [path, *map(str, arguments)])
        runpy.run_path(path, run_name='__main__')

    # The tools force it for good.
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    return run


@pytest.fixture(scope='module')
def trained(hand_pair, tmp_path_factory):
    """The work directory of a run of two iterations, with statistics."""
    from mmengine.registry import init_default_scope

    init_default_scope('mmpose')
    work_dir = tmp_path_factory.mktemp('plotted') / 'tiny'
    train(tiny_config(hand_pair, work_dir, max_iters=2))
    return work_dir


def test_statistics_of_runs_are_drawn(run_tool, trained, tmp_path):
    out = tmp_path / 'statistics.png'
    run_tool('plot_statistics.py', trained, f'again={trained}', '--out', out)
    assert out.read_bytes().startswith(b'\x89PNG')


def test_predictions_of_runs_are_drawn(run_tool, trained, tmp_path):
    run_tool('plot_predictions.py', trained, f'again={trained}', '--out-dir', tmp_path)
    assert (tmp_path / 'predictions.jpg').read_bytes().startswith(b'\xff\xd8')


def test_target_without_labels_is_drawn_too(run_tool, trained, tmp_path):
    run_tool(
        *('plot_predictions.py', trained, f'again={trained}', '--out-dir', tmp_path),
        *('--cfg-options', 'val_dataloader.target.dataset.labeled=False'),
    )
    assert (tmp_path / 'predictions.jpg').read_bytes().startswith(b'\xff\xd8')


@pytest.mark.parametrize('tool', ['plot_statistics.py', 'plot_predictions.py'])
def test_run_that_has_nothing_to_draw_is_named(run_tool, tool, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        run_tool(tool, tmp_path)
    assert stopped.value.code.startswith('error: ')
    assert str(tmp_path) in stopped.value.code
