"""How validators are judged, by ranks and loops."""

import itertools
import json
import math
import sys

import numpy as np
import pytest

from mmregda import InputError
from mmregda.benchmark import validators
from mmregda.benchmark.validators import (
    ITERATION,
    SOURCE,
    Checkpoint,
    checkpoints_of,
    rank_correlation,
    regret,
    table_of_validators,
)


def checkpoints(score, seeds=3, runs=4, steps=5):
    """Of some runs; ``score`` makes one of PCK."""
    rng = np.random.default_rng(1)
    found = []
    for seed, run in itertools.product(range(seeds), range(runs)):
        level = rng.uniform(20, 60)
        for _ in range(steps):
            pck = float(level + rng.normal(0, 3))
            found.append(Checkpoint(seed, f'run{run}', dict(x=score(pck, rng)), pck))
    return found


def ranks(values):
    """Mean places among all, counted one by one."""
    return [
        sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2
        for v in values
    ]


@pytest.mark.parametrize('noise', [0, 10, 1000])
def test_correlation_is_pearsons_of_the_ranks(noise):
    found = checkpoints(lambda pck, rng: round(pck + rng.normal(0, noise or 1e-9)))
    a, b = ranks([c.scores['x'] for c in found]), ranks([c.pck for c in found])
    covariance = sum((x - np.mean(a)) * (y - np.mean(b)) for x, y in zip(a, b))
    expected = covariance / (len(a) * np.std(a) * np.std(b))
    rho, low, high = rank_correlation(found, 'x', resamples=200)
    assert rho == pytest.approx(expected)
    assert low < rho < high and (low > 0) == (noise < 1000)


def test_interval_is_as_wide_as_whole_runs_allow():
    found = checkpoints(lambda pck, rng: pck + rng.normal(0, 12))
    # As if every checkpoint was a run of its own.
    apart = [c._replace(run=str(i)) for i, c in enumerate(found)]
    same = [copy for c in found for copy in 20 * [c]]
    widths = []
    for sample in (found, apart, same):
        _, low, high = rank_correlation(sample, 'x', resamples=400)
        widths.append(high - low)
    # Copies of a checkpoint in its own run tell nothing new.
    assert widths[2] == pytest.approx(widths[0], rel=0.1)
    assert widths[1] < 1.5 * widths[0]


def test_monotone_score_loses_nothing_and_its_opposite_all():
    found = checkpoints(lambda pck, rng: math.exp(pck / 10))
    assert rank_correlation(found, 'x', 50) == pytest.approx((1, 1, 1))
    assert regret(found, 'x') == regret(found, 'x', within_runs=True) == 0
    worst = [c._replace(scores=dict(x=-c.pck)) for c in found]
    assert rank_correlation(worst, 'x', 50) == pytest.approx((-1, -1, -1))
    spans = []
    for seed in range(3):
        pcks = [c.pck for c in found if c.seed == seed]
        spans.append(max(pcks) - min(pcks))
    assert regret(worst, 'x') == pytest.approx(np.mean(spans))
    spans = []
    for seed, run in itertools.product(range(3), range(4)):
        pcks = [c.pck for c in found if (c.seed, c.run) == (seed, f'run{run}')]
        spans.append(max(pcks) - min(pcks))
    assert regret(worst, 'x', within_runs=True) == pytest.approx(np.mean(spans))


def test_score_that_never_changes_has_no_correlation_and_comes_last():
    found = checkpoints(lambda pck, rng: 1.0)
    assert math.isnan(rank_correlation(found, 'x', 10)[0])
    both = [c._replace(scores=dict(c.scores, y=c.pck, z=float('nan'))) for c in found]
    head, rows = table_of_validators(both)
    assert [row[0] for row in rows] == ['y', 'x']
    assert rows[0] == ['y', '+1.00 (+1.00 to +1.00)', '0.0', '0.0', '60']
    assert len(head) == len(rows[1])


@pytest.fixture
def work_dir(tmp_path):
    """Two runs with logs, one without and the oracle."""
    runs = []
    for number, method in enumerate(['regda', 'dan', 'start', 'oracle']):
        folder = tmp_path / method
        runs.append(dict(method=method, status='done', pair='hands', seed=0))
        runs[-1]['folder'] = str(folder)
        if method == 'start':
            continue
        (folder / 'log/vis_data').mkdir(parents=True)
        lines = [dict(loss=1.0, step=1)]
        for step in (10, 20, 30):
            pck = (number + 1) * step / 100
            line = {'source/PCK/Avg': 0.5, 'target/PCK/Avg': pck, 'step': step}
            lines.append({**line, 'target/validator/snd': -pck})
        text = '\n'.join(map(json.dumps, lines))
        (folder / 'log/vis_data/scalars.json').write_text(text)
    (tmp_path / 'results.json').write_text(json.dumps(dict(runs=runs)))
    return tmp_path


def test_checkpoints_are_read_from_the_logs_of_the_runs(work_dir):
    runs = json.loads((work_dir / 'results.json').read_text())['runs']
    found = checkpoints_of(runs)
    assert [round(c.pck) for c in found] == [10, 20, 30, 20, 40, 60]
    for one in found:
        assert one.scores['snd'] == pytest.approx(-one.pck / 100)
        assert one.scores[SOURCE] == 0.5
    assert [one.scores[ITERATION] for one in found] == 2 * [10, 20, 30]
    with pytest.raises(InputError, match='no run has validated.*hands_validators'):
        checkpoints_of([dict(runs[0], folder=str(work_dir / 'nothing'))])


def test_table_is_printed_with_its_command(work_dir, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['validators.py', str(work_dir)])
    validators.main()
    printed = capsys.readouterr().out
    assert '| snd | -1.00 (-1.00 to -1.00) | 50.0 | 30.0 | 6 |' in printed
    assert '| iteration (the last) | +0.79' in printed
    assert f'python -m mmregda.benchmark.validators {work_dir}' in printed
