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
    # Which draws from Python's generator.
    turn = dict(type='RandomRotatedSubCrop', rotation=180)

    def loader(**dataset):
        root = str(hand_pair / 'RHD_published_v2')
        return dict(
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='RHDDataset', data_root=root, **dataset),
        )

    train = loader(split='train', pipeline=[*pipeline[:3], turn, *pipeline[3:]])
    test = loader(split='test', test_mode=True, pipeline=pipeline)
    metrics = [dict(type='GroupedPCKAccuracy', groups='hand21', thr=0.05)]
    Config(
        dict(
            default_scope='mmpose',
            model=model,
            train_dataloader=dict(source=train),
            val_dataloader=dict(source=test, target=test),
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
    source = tool.source_of([run], 'hands')
    assert source.dataset.split == 'train'
    tool.with_source_statistics(run, source, 4)
    tool.with_source_statistics(run, source, 4)
    found, again = evaluated
    assert all(torch.equal(again[name], value) for name, value in found.items())
    before = torch.load(run['checkpoint'], weights_only=True)['state_dict']
    for name, value in before.items():
        if 'running' not in name and 'num_batches' not in name:
            assert torch.equal(found[name], value), name
    # The stem's, by hand: the mean of those of each batch.
    weight = before['backbone.conv1.weight']
    maps = [
        torch.nn.functional.conv2d(x, weight, stride=2, padding=weight.shape[-1] // 2)
        for x in seen[:2]
    ]
    assert [len(x) for x in seen] == [2, 2, 2, 2]
    for name, value in (
        ('running_mean', torch.stack([x.mean((0, 2, 3)) for x in maps]).mean(0)),
        ('running_var', torch.stack([x.var((0, 2, 3)) for x in maps]).mean(0)),
    ):
        torch.testing.assert_close(
            found[f'backbone.bn1.{name}'], value, atol=1e-4, rtol=1e-3
        )


def test_frozen_layers_keep_their_statistics(tool):
    cfg = tiny_model_config(21, type='SourceOnly')
    cfg['backbone'].update(frozen_stages=1)
    model = MODELS.build(cfg)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.fill_(7.0)
    tool.take_statistics(model, [torch.randn(2, 3, 64, 64) for _ in range(2)])
    kept = {
        name: bool((value == 7).all())
        for name, value in model.state_dict().items()
        if name.endswith('running_mean')
    }
    assert kept['backbone.bn1.running_mean']
    assert not kept['backbone.layer4.0.bn1.running_mean']


def test_table_has_mean_and_spread_of_each_method_and_pair(tool, monkeypatch, capsys):
    runs = [
        dict(pair=pair, method=method, seed=seed, status='done', source=dict(Avg=score))
        for pair, method, seed, score in [
            ('hands', 'source_only', 0, 70.0),
            ('hands', 'regda', 0, 60.0),
            ('hands', 'regda', 1, 62.0),
            ('bodies', 'source_only', 0, 50.0),
        ]
    ]
    runs += [dict(runs[1], status='failed'), dict(runs[1], source={})]
    monkeypatch.setattr(tool, 'source_of', lambda runs, pair: f'source of {pair}')
    scores = {('source of hands', s): s + 5 for s in (70, 60, 62)}
    scores['source of bodies', 50] = 51
    monkeypatch.setattr(
        tool,
        'with_source_statistics',
        lambda run, source, num_images: scores[source, run['source']['Avg']],
    )
    assert tool.table_of(runs, 4)[1:] == [
        ['hands: source_only', '70.0', '75.0'],
        ['hands: regda', '61.0 ± 1.4', '66.0 ± 1.4'],
        ['bodies: source_only', '50.0', '51.0'],
    ]


def test_table_is_all_that_is_printed(tool, work_dir, monkeypatch, capsys):
    argv = ['source_statistics.py', str(work_dir), '--num-images', '4']
    monkeypatch.setattr(sys, 'argv', argv)
    tool.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'Accuracy on the source'
    (row,) = (line for line in lines if 'source_only' in line)
    name, as_adapted, other = row.strip('| ').split(' | ')
    assert (name, as_adapted) == ('hands: source_only', '12.3')
    assert 0 <= float(other) <= 100
    assert len(lines) == 7


def test_a_pair_whose_source_is_not_known_is_named(tool):
    run = dict(pair='hands', method='regda', seed=3)
    with pytest.raises(InputError, match='hands has no finished run of source_only'):
        tool.source_of([run], 'hands')
