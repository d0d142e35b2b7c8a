"""The long run's table, of a short one."""

import subprocess
import sys

import pytest
from conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != 'linux', reason='memory is that of Linux'),
]


def test_a_row_stands_for_each_stretch_and_below_it_the_drift():
    code = (
        'import sys, long_run; long_run.EVERY = 4; long_run.INTERVAL = 4; '
        'sys.argv += ["--iterations", "20"]; long_run.main()'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=ROOT / 'benchmarks',
        capture_output=True,
        text=True,
        timeout=300,
    )
    rows = [line for line in done.stdout.splitlines() if line.startswith('| ')]
    steps = [int(row.split()[1]) for row in rows[2:]]
    assert steps == [4, 8, 12, 16, 20], done.stderr[-2000:]
    # Whether so short a run drifts is chance; that it is said is not.
    assert 'Per 1000 iterations' in done.stdout and '- open files:' in done.stdout
