"""The quickstart's course, with stages of a few iterations."""

import importlib.util
import json
from argparse import Namespace

import pytest
from conftest import ROOT, tiny_config, tiny_model_config, write_pretrain_config
from mmengine.config import Config

from mmregda import InputError


@pytest.fixture
def quickstart(hand_pair, tmp_path, monkeypatch):
    """The tool as a module, with tiny configs in place of its own."""
    spec = importlib.util.spec_from_file_location(
        'quickstart', ROOT / 'tools' / 'quickstart.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    configs = tmp_path / 'configs'
    configs.mkdir()
    cfg = tiny_config(hand_pair, 'unused', max_iters=2)
    cfg.custom_hooks = [dict(type='DisparityStatisticsHook', interval=1, num_samples=4)]
    write_pretrain_config(cfg, configs / 'pretrain.py')
    cfg.pretrain = dict(config='pretrain.py')
    cfg.dump(str(configs / 'regda.py'))
    cfg.model = tiny_model_config(type='SourceOnly')
    cfg.train_dataloader.target = None
    cfg.optim_wrapper.pop('adversary')
    cfg.param_scheduler.pop('adversary')
    cfg.dump(str(configs / 'source_only.py'))
    monkeypatch.setattr(module, 'CONFIGS', configs)
    return module


def arguments_of(hand_pair, work_dir):
    return Namespace(
        source=str(hand_pair),
        target=str(hand_pair),
        work_dir=str(work_dir),
        data_dir=None,
        seed=3,
        oracle=False,
    )


def test_mistake_in_the_adaptation_is_found_before_the_pretraining(
    quickstart, hand_pair, tmp_path
):
    path = quickstart.CONFIGS / 'regda.py'
    cfg = Config.fromfile(path)
    cfg.model.head.out_channels = 20
    cfg.dump(str(path))
    with pytest.raises(InputError, match='out_channels=20'):
        quickstart.run(arguments_of(hand_pair, tmp_path / 'quickstart'))
    assert not list(tmp_path.rglob('*.pth'))


def test_ends_with_results_table_and_figures(quickstart, hand_pair, tmp_path, capsys):
    work_dir = tmp_path / 'quickstart'
    quickstart.run(arguments_of(hand_pair, work_dir))
    results = json.loads((work_dir / 'results.json').read_text())
    groups = {'MCP', 'PIP', 'DIP', 'Fingertip', 'Avg'}
    for method in ('start', 'source_only', 'regda'):
        for domain in ('source', 'target'):
            assert set(results[method][domain]) == groups
            assert all(0 <= v <= 100 for v in results[method][domain].values())
    assert set(results['seconds']) == {'data', 'pretrain', 'source_only', 'regda'}
    assert results['seed'] == 3
    for figure in ('predictions.jpg', 'statistics.png'):
        assert (work_dir / figure).stat().st_size > 20_000
    printed = capsys.readouterr().out
    assert 'PCK@0.05 in percent' in printed
    assert 'points of PCK over as many iterations' in printed
    gain = results['regda']['target']['Avg'] - results['start']['target']['Avg']
    assert f'{gain:+.1f} over the start' in ' '.join(printed.split())
    # Both methods start from the one checkpoint of this seed.
    assert len(list((work_dir / 'pretrain').glob('*/source_only.pth'))) == 1
