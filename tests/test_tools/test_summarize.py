"""The table over several runs."""

import json
import runpy
import sys

import pytest
from conftest import ROOT


@pytest.fixture
def summarize(monkeypatch, capsys):
    def run(*paths):
        tool = str(ROOT / 'tools/summarize.py')
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, paths)])
        runpy.run_path(tool, run_name='__main__')
        return capsys.readouterr().out

    return run


def test_mean_and_sample_deviation_over_seeds(summarize, tmp_path):
    paths = []
    for seed, (before, after) in enumerate([(20.0, 30.0), (22.0, 31.0), (27.0, 35.0)]):
        run = dict(seed=seed, seconds=dict(data=60.0, regda=120.0))
        rows = dict(start=after - 2 - seed, source_only=before, regda=after)
        for key, value in rows.items():
            run[key] = dict(source=dict(Avg=50.0), target=dict(MCP=1.0, Avg=value))
        paths.append(tmp_path / f'{seed}.json')
        paths[-1].write_text(json.dumps(run))
    printed = summarize(*paths)
    # By hand: mean 23, deviations -3 -1 4, variance 26 / 2.
    assert '23.0 ± 3.6' in printed
    assert '32.0 ± 2.6' in printed
    assert 'where both start | 1.0 ± 0.0 | 29.0 ± 1.7' in printed
    assert '9.0 ± 1.0 points (+10.0, +9.0, +8.0)' in printed
    assert 'over its start: 3.0 ± 1.0 points (+2.0, +3.0, +4.0)' in printed
    assert 'Minutes a run: 3.0, 3.0, 3.0' in printed
    assert 'oracle' not in printed


def write(path, **target):
    groups = dict(source=dict(Avg=50.0), target=target)
    rows = dict.fromkeys(('start', 'source_only', 'regda'), groups)
    run = dict(seed=0, seconds=dict(data=60.0), **rows)
    path.write_text(json.dumps(run))


def test_what_is_no_number_is_a_dash(summarize, tmp_path):
    write(tmp_path / 'a.json', MCP=None, Avg=20.0)
    assert '| RegDA | - | 20.0 | 50.0 |' in summarize(tmp_path / 'a.json')


def test_runs_of_other_groups_are_named(summarize, tmp_path):
    write(tmp_path / 'a.json', MCP=1.0, Avg=20.0)
    write(tmp_path / 'b.json', Elbow=1.0, Avg=20.0)
    with pytest.raises(SystemExit) as stopped:
        summarize(tmp_path / 'a.json', tmp_path / 'b.json')
    assert 'b.json" and "' in str(stopped.value)


@pytest.mark.parametrize(
    'content', ['', '{"seed": 0', '[]', '{}', '{"regda": {"target": {"Avg": "high"}}}']
)
def test_other_files_are_named(summarize, capsys, tmp_path, content):
    path = tmp_path / 'results.json'
    path.write_text(content)
    with pytest.raises(SystemExit) as stopped:
        summarize(path)
    assert str(stopped.value).startswith(f'error: results file "{path}" is ')
    assert capsys.readouterr().out == ''
