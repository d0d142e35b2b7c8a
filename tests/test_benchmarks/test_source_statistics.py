"""What benchmarks/source_statistics.py changes in a model, and that it runs."""

import json
import sys

import pytest
import torch
from conftest import ROOT, tiny_model_config
from mmengine.config import Config
from mmengine.runner import save_checkpoint
from mmpose.registry import MODELS

from mmregda import InputError

pytestmark = pytest.mark.slow


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'benchmarks'))
    import source_statistics

    return source_statistics


@pytest.fixture
def work_dir(hand_pair, tmp_path):
    """A benchmark's folder with one run, whose statistics are of no data at all."""
    pipeline = [
        dict(type='LoadWholeImage'),
        dict(type='WholeImageBox'),
        dict(type='GetBBoxCenterScale', padding=1.0),
        dict(type='TopdownAffine', input_size=(64, 64)),
        dict(type='PackPoseInputs'),
    ]
    model = tiny_model_config(21, type='SourceOnly')
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='RHDDataset',
            data_root=str(hand_pair / 'RHD_published_v2'),
            split='test',
            test_mode=True,
            pipeline=pipeline,
        ),
    )
    metrics = [dict(type='GroupedPCKAccuracy', groups='hand21', thr=0.05)]
    Config(
        dict(
            default_scope='mmpose',
            model=model,
            train_dataloader=dict(source=loader),
            val_dataloader=dict(source=loader, target=loader),
            val_evaluator=dict(source=metrics, target=[dict(type='NoSuchMetric')]),
            val_cfg=dict(type='DomainValLoop'),
            custom_imports=dict(imports=['mmregda']),
        )
    ).dump(str(tmp_path / 'config.py'))
    torch.manual_seed(0)
    network = MODELS.build(model)
    network.init_weights()
    state = network.state_dict()
    for name, value in state.items():
        if name.endswith(('running_mean', 'running_var')):
            value.fill_(100.0)
    save_checkpoint(dict(state_dict=state, meta={}), str(tmp_path / 'last.pth'))
    run = dict(pair='hands', method='source_only', seed=0, status='done')
    run.update(folder=str(tmp_path), checkpoint=str(tmp_path / 'last.pth'))
    run.update(source=dict(Avg=12.34))
    (tmp_path / 'results.json').write_text(json.dumps(dict(runs=[run])))
    return tmp_path


def test_statistics_are_the_sources_and_nothing_else_changes(
    tool, work_dir, monkeypatch
):
    seen, evaluated = [], []
    batches, evaluate = tool.batches, tool.evaluate

    def seeing(*args):
        for inputs in batches(*args):
            seen.append(inputs)
            yield inputs

    def evaluating(cfg, path):
        evaluated.append(torch.load(path, weights_only=True)['state_dict'])
        return evaluate(cfg, path)

    monkeypatch.setattr(tool, 'batches', seeing)
    monkeypatch.setattr(tool, 'evaluate', evaluating)
    (run,) = json.loads((work_dir / 'results.json').read_text())['runs']
    score = tool.with_source_statistics(run, tool.source_of([run], run), 4)
    assert 0 <= score <= 100
    (found,) = evaluated
    before = torch.load(run['checkpoint'], weights_only=True)['state_dict']
    for name, value in before.items():
        if 'running' not in name and 'num_batches' not in name:
            assert torch.equal(found[name], value), name
    # The stem's, by hand: the mean of those of each batch.
    weight = before['backbone.conv1.weight']
    maps = [
        torch.nn.functional.conv2d(x, weight, stride=2, padding=weight.shape[-1] // 2)
        for x in seen
    ]
    assert [len(x) for x in seen] == [2, 2]
    for name, value in (
        ('running_mean', torch.stack([x.mean((0, 2, 3)) for x in maps]).mean(0)),
        ('running_var', torch.stack([x.var((0, 2, 3)) for x in maps]).mean(0)),
    ):
        torch.testing.assert_close(
            found[f'backbone.bn1.{name}'], value, atol=1e-4, rtol=1e-3
        )


def test_table_has_a_row_for_each_method(tool, work_dir, monkeypatch, capsys):
    argv = ['source_statistics.py', str(work_dir), '--num-images', '4']
    monkeypatch.setattr(sys, 'argv', argv)
    tool.main()
    (row,) = (
        line for line in capsys.readouterr().out.splitlines() if 'source_only' in line
    )
    assert row.startswith('| hands: source_only | 12.3 | ')


def test_a_run_whose_source_is_not_known_is_named(tool):
    run = dict(pair='hands', method='regda', seed=3)
    with pytest.raises(
        InputError, match='hands, seed 3: there is no run of source_only'
    ):
        tool.source_of([run], run)
