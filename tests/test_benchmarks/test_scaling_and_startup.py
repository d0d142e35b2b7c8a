"""The benchmarks of growth and of starting."""

import importlib
import math
import os
import subprocess
import sys

import pytest
from conftest import ROOT, tiny_model_config
from mmengine.config import Config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != 'linux', reason='memory is that of Linux'),
]

BENCHMARKS = ROOT / 'benchmarks'


@pytest.fixture(scope='module')
def load():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        # Set by what is imported.
        threads = os.environ.get('OMP_NUM_THREADS', '')
        monkeypatch.setenv('OMP_NUM_THREADS', threads)
        yield importlib.import_module


@pytest.mark.parametrize('power', [0, 1, 1.5])
def test_growth_is_the_power_by_which_costs_grow(load, power):
    amounts = [10, 20, 80, 100]
    costs = [3 * amount**power for amount in amounts]
    first, *found = load('scaling_cost').powers(amounts, costs)
    assert first == ''
    assert all(math.isclose(float(cell), power, abs_tol=0.01) for cell in found)


def test_costs_of_a_tiny_network_and_index(tmp_path):
    model = tiny_model_config()
    model.pop('adaptation')
    network = tmp_path / 'tiny.py'
    Config(dict(model=model), format_python_code=False).dump(network)
    arguments = ['--only', 'size', 'dataset', '--size', 32, 64, '--entries', 50, 500]
    arguments += ['--network', network, '--rounds', 1, '--threads', 1]
    arguments += ['--out', tmp_path / 'costs.png']
    done = subprocess.run(
        [sys.executable, BENCHMARKS / 'scaling_cost.py', *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [x.split('|')[1:-1] for x in done.stdout.splitlines() if x.startswith('|')]
    heads = [[cell.strip() for cell in row] for row in rows]
    assert heads[0] == ['size', 'seconds', 'grows as', 'peak (MB)', 'grows as']
    assert [row[0] for row in heads[2:4]] == ['32', '64']
    assert float(heads[3][1]) > 0 and float(heads[3][3]) > 0
    assert heads[4][0] == 'dataset'
    assert [row[0] for row in heads[6:8]] == ['50', '500']
    assert (tmp_path / 'costs.png').stat().st_size > 1000


def test_import_times_add_up_by_package(load):
    report = subprocess.run(
        [sys.executable, '-X', 'importtime', '-c', 'import json.tool, wave'],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    found = load('startup').packages_of(report)
    assert {'json', 'wave'} <= set(found)
    lines = [line.split('|') for line in report.splitlines() if 'import time:' in line]
    of_json = [
        int(line[0].split(':')[1])
        for line in lines
        if line[2].strip().split('.')[0] == 'json'
    ]
    assert len(of_json) > 2
    assert found['json'] == pytest.approx(sum(of_json) / 1e6)
