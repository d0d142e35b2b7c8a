"""The benchmark's course, with trainings of two iterations."""

import importlib.util
import json
import os
import shutil
import sys

import numpy as np
import pytest
from conftest import ROOT, tiny_config, tiny_model_config, write_pretrain_config
from mmengine.config import Config

from mmregda import InputError
from mmregda.benchmark import worker
from mmregda.benchmark.plan import compose, load_config, plan
from mmregda.visualization import load_scalars

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location(
        'benchmark', ROOT / 'tools' / 'benchmark.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def pair(hand_pair, tmp_path_factory):
    """A tiny frame, as files."""
    folder = tmp_path_factory.mktemp('pair')
    cfg = tiny_config(hand_pair, 'unused', max_iters=4)
    write_pretrain_config(cfg, folder / 'tiny_pretrain.py')
    cfg.pretrain = dict(config='tiny_pretrain.py')
    cfg.model = tiny_model_config(type='SourceOnly')
    cfg.labeled_target_loader = {
        **cfg.train_dataloader.source,
        'dataset': dict(
            type='H3DDataset',
            data_root=str(hand_pair),
            pipeline=[
                dict(type='LoadWholeImage'),
                dict(type='WholeImageBox'),
                *cfg.train_dataloader.source.dataset.pipeline[2:],
            ],
        ),
    }
    cfg.dump(str(folder / 'tiny.py'))
    return folder / 'tiny.py'


@pytest.fixture
def benchmark(tool, pair, tmp_path, monkeypatch):
    """Runs the tool; its exit status and the results it has written."""

    def run(*arguments, name='results', pair=pair):
        options = ['--work-dir', str(tmp_path / 'work'), '--pretrain-iters', '2']
        options += ['--iters', '2', *map(str, arguments)]
        monkeypatch.setattr(sys, 'argv', ['benchmark.py', str(pair), *options])
        args = tool.parse_args()
        status = tool.run(args)
        path = tmp_path / 'work' / f'{name}.json'
        return status, json.loads(path.read_text())

    return run


def run_jobs_here(jobs, slots, on_change, on_tick):
    """The jobs in this process, one after another."""
    for job in jobs:
        if job.needs:
            job.cfg.pretrain = dict(checkpoint=job.needs.result['checkpoint'])
        job.folder.mkdir(parents=True)
        job.cfg.dump(str(job.folder / 'config.py'))
        worker.work(job.folder)
        assert job.look()
        on_change(job)
        on_tick()


def test_ends_with_tables_and_figures_and_goes_on_after_a_failure(
    benchmark, tmp_path, capsys, monkeypatch
):
    failed, first = benchmark('--methods', 'source_only', 'regda', '--jobs', 2)
    assert not failed
    runs = {run['method']: run for run in first['runs']}
    assert list(runs) == ['start', 'source_only', 'regda']
    for run in runs.values():
        assert run['status'] == 'done' and run['seed'] == 0 and run['seconds'] > 0
        assert run['iterations'] == 2
        for domain in ('source', 'target'):
            assert set(run[domain]) == {'MCP', 'PIP', 'DIP', 'Fingertip', 'Avg'}
        assert 0 < run['evidence']['confidence'] < 1
    # The same number of images of the source for all, and of the target.
    assert runs['source_only']['images'] == dict(source=4)
    assert runs['regda']['images'] == dict(source=4, target=4)
    work = tmp_path / 'work'
    assert len(list(work.rglob('source_only.pth'))) == 1
    assert not list(work.rglob('best_*.pth'))
    assert len(list(work.rglob('iter_*.pth'))) == 2
    markdown = (work / 'results.md').read_text()
    assert f'| {runs["regda"]["target"]["Avg"]:.1f} |' in markdown
    assert 'PCK@0.05 in percent, source' in markdown
    for figure in ('statistics.png', 'predictions.jpg'):
        assert (work / 'figures' / 'tiny' / figure).stat().st_size > 10_000
    assert 'tiny seed_0 regda: done, source' in capsys.readouterr().out

    # Again, with a method that breaks: what has a result keeps it.
    (tmp_path / 'broken_method.py').write_text(
        'from mmpose.registry import MODELS\n'
        'from mmregda.models.adaptations import SourceOnly\n'
        '@MODELS.register_module()\n'
        'class BrokenMethod(SourceOnly):\n'
        '    def step(self, *args, **kwargs):\n'
        '        raise ArithmeticError("nothing adds up")\n'
    )
    base = ROOT / 'configs/_base_/adaptations/source_only.py'
    (tmp_path / 'broken.py').write_text(
        f"_base_ = ['{base}']\n"
        "custom_imports = dict(imports=['broken_method'])\n"
        "adaptation = dict(type='BrokenMethod')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv('PYTHONPATH', str(tmp_path), prepend=':')
    methods = ('source_only', 'regda', tmp_path / 'broken.py')
    written = {path: path.stat().st_mtime_ns for path in work.rglob('result.json')}
    failed, second = benchmark('--methods', *methods, '--no-figures')
    assert failed
    for path in work.rglob('result.json'):
        assert path.stat().st_mtime_ns == written.pop(path)
    assert not written
    (broken,) = (run for run in second['runs'] if run['status'] != 'done')
    assert (broken['method'], broken['status']) == ('broken', 'failed')
    assert 'nothing adds up' in broken['message']
    printed = ''.join(capsys.readouterr().out.split())
    assert f'{broken["folder"]}/worker.log' in printed
    assert 'broken (0 of 1 seeds) | failed' in (work / 'results.md').read_text()


def test_mistake_in_a_method_is_found_before_its_start_trains(benchmark, tmp_path):
    base = ROOT / 'configs/_base_/adaptations/source_only.py'
    (tmp_path / 'still.py').write_text(
        f"_base_ = ['{base}']\n"
        "optim_wrapper = dict(head=dict(optimizer=dict(type='SGD', lr=0.0)))\n"
    )
    with pytest.raises(InputError, match='tiny still: optim_wrapper.head.*rate.* is 0'):
        benchmark('--methods', 'source_only', tmp_path / 'still.py')
    assert not list(tmp_path.rglob('*.pth'))


def test_killed_training_goes_on_from_its_checkpoint(tool, pair, tmp_path):
    frame = load_config(str(pair))
    methods = dict(source_only=compose(frame, tool.load_fragment('source_only')))
    (_, job) = plan(frame, methods, 0, str(tmp_path), 2, 4)
    job.cfg.default_hooks.checkpoint.update(interval=2, max_keep_ckpts=2)
    job.folder.mkdir(parents=True)

    def work():
        job.cfg.dump(str(job.folder / 'config.py'))
        worker.work(job.folder)
        assert job.look()
        (job.folder / 'result.json').unlink()
        return job.result

    assert not work()['resumed']
    # As if it had been killed between the iterations 2 and 4.
    last = job.folder / 'iter_4.pth'
    last.unlink()
    (job.folder / 'last_checkpoint').write_text(str(job.folder / 'iter_2.pth'))
    resumed = work()
    assert resumed['resumed'] and resumed['iterations'] == 4
    steps, _ = load_scalars(str(job.folder))['loss_sup']
    assert steps == [2, 4]
    # As if it had been killed in its last validation: that alone is done again.
    written = last.stat().st_mtime_ns
    evaluated = work()
    assert evaluated['resumed'] and last.stat().st_mtime_ns == written
    assert evaluated['metrics'] == pytest.approx(resumed['metrics'])


def test_tuning_sees_no_label_of_the_target(
    tool, benchmark, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(tool, 'run_jobs', run_jobs_here)
    failed, results = benchmark(
        '--seeds', 9, '--grid', 'dan.trade_off=0.5', name='tuning'
    )
    assert not failed
    runs = results['runs']
    assert [run['method'] for run in runs] == ['start', 'dan trade_off=0.5']
    for run in runs:
        assert run['target'] == {}
        assert not any(name.startswith('target/') for name in run['metrics'])
        assert np.isfinite(run['evidence']['confidence'])
        config = Config.fromfile(f'{run["folder"]}/config.py')
        assert 'target' not in config.val_dataloader
    assert runs[1]['overrides'] == dict(trade_off=0.5)
    printed = capsys.readouterr().out
    assert 'without labels of the target' in printed and 'consistency' in printed
    assert not (tmp_path / 'work' / 'results.json').exists()


def changed(pair, folder, change):
    """A pair with another config, as files."""
    shutil.copytree(pair.parent, folder)
    cfg = Config.fromfile(folder / 'tiny.py')
    change(cfg)
    cfg.dump(str(folder / 'tiny.py'))
    stage = Config.fromfile(folder / 'tiny_pretrain.py')
    stage.val_dataloader, stage.val_evaluator = cfg.val_dataloader, cfg.val_evaluator
    stage.default_hooks.checkpoint.save_best = None
    stage.dump(str(folder / 'tiny_pretrain.py'))
    return folder / 'tiny.py'


def test_tuning_takes_other_packages_metrics(
    tool, benchmark, pair, tmp_path, capsys, monkeypatch
):
    def change(cfg):
        metrics = [dict(type='PCKAccuracy', thr=0.2), dict(type='EPE')]
        cfg.val_evaluator = dict(source=metrics, target=metrics)

    monkeypatch.setattr(tool, 'run_jobs', run_jobs_here)
    own = changed(pair, tmp_path / 'own', change)
    failed, _ = benchmark('--grid', 'dan.trade_off=0.5,1', name='tuning', pair=own)
    assert not failed
    printed = capsys.readouterr().out
    assert 'PCK on the source' in printed and 'source PCK' in printed


def test_target_without_labels_is_benchmarked_to_the_end(
    tool, benchmark, pair, tmp_path, capsys, monkeypatch
):
    def change(cfg):
        cfg.val_dataloader.target.dataset.labeled = False
        cfg.val_evaluator.target = []

    monkeypatch.setattr(tool, 'run_jobs', run_jobs_here)
    own = changed(pair, tmp_path / 'own', change)
    failed, results = benchmark('--methods', 'source_only', 'regda', pair=own)
    assert not failed
    for run in results['runs']:
        assert run['target'] == {} and 'Avg' in run['source']
    work = tmp_path / 'work'
    markdown = (work / 'results.md').read_text()
    assert 'PCK@0.05 in percent, source' in markdown
    assert 'failed' not in markdown and '(0 of 1 seeds)' not in markdown
    figures = {path.name for path in (work / 'figures/tiny').iterdir()}
    assert figures == {'statistics.png', 'predictions.jpg'}


def test_target_that_cannot_be_compared_is_refused_before_anything_trains(
    tool, benchmark, pair, tmp_path, monkeypatch
):
    def change(cfg):
        cfg.train_dataloader.target.dataset = cfg.val_dataloader.target.dataset

    monkeypatch.setattr(tool, 'run_jobs', None)
    own = changed(pair, tmp_path / 'own', change)
    with pytest.raises(InputError, match='UnlabeledDataset'):
        benchmark('--methods', 'regda', pair=own)
    with pytest.raises(InputError, match="RegDA.*'margn'"):
        benchmark('--methods', 'regda', '--set', 'regda.margn=3')
    assert not (tmp_path / 'work').exists()


def test_arguments_that_make_no_sense_are_said_before_data_is_made(
    tool, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    # What it sets for its process is not to stay in this one.
    monkeypatch.setattr(tool.compat, 'refuse_unsafe_checkpoints', lambda: None)
    monkeypatch.setattr(tool.signal, 'signal', lambda *_: None)

    def message(*arguments):
        monkeypatch.setattr(sys, 'argv', ['benchmark.py', *arguments])
        with pytest.raises(SystemExit) as caught:
            tool.main()
        return str(caught.value)

    assert 'nowhere.py' in message('nowhere.py')
    assert 'nowhere.py' in message(
        str(ROOT / 'configs/benchmark/hands.py'), 'nowhere.py'
    )
    assert '"dandy"' in message('--methods', 'dandy')
    assert 'method.setting=value' in message('--set', 'trade_off')
    assert "['mcd'] are not among" in message(
        '--methods', 'dan', '--set', 'mcd.trade_off=1'
    )
    assert 'one name' in message('--methods', 'dan', 'elsewhere/dan.py')
    assert 'Write pairs before the options' in message(
        '--methods', 'regda', str(ROOT / 'configs/benchmark/hands.py')
    )
    assert '--budget' in message('--budget', 'tiny')
    assert 'positive' in message('--iters', '0')
    assert not list(tmp_path.iterdir())


def test_budgets_are_lengths(tool):
    from argparse import Namespace

    def lengths(budget, pretrain=None, iters=None):
        args = Namespace(budget=budget, pretrain_iters=pretrain, iters=iters)
        return tool.lengths(args)

    assert lengths('short') == (900, 400)
    assert lengths('paper') == (None, None)
    assert lengths('0.5') == (0.5, 0.5)
    assert lengths('paper', iters=100) == (None, 100)
    assert lengths('smoke', 7, 8) == (7, 8)


@pytest.mark.parametrize('target', ['hands', 'people'])
def test_source_of_photographs_is_rendered_where_the_environment_names_none(
    tool, target, tmp_path, monkeypatch
):
    def write(root, num_train, num_test, style):
        assert style.noise[1] > 0  # as a camera's
        return root / 'written'

    monkeypatch.setattr(tool, 'write_rhd', write)
    monkeypatch.setattr(tool, 'write_surreal', write)
    variable = dict(hands='RHD_ROOT', people='SURREAL_ROOT')[target]
    monkeypatch.delenv(variable, raising=False)
    path = ROOT / f'configs/benchmark/photographs_of_{target}.py'
    with tool.data_of(Config.fromfile(path), tmp_path):
        written = tmp_path / f'{target}_like_photographs' / 'written'
        assert os.environ[variable] == str(written)
    assert variable not in os.environ
