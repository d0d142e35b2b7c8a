"""The table over several runs."""

import json
import subprocess
import sys

from conftest import ROOT


def test_mean_and_sample_deviation_over_seeds(tmp_path):
    paths = []
    for seed, (before, after) in enumerate([(20.0, 30.0), (22.0, 31.0), (27.0, 35.0)]):
        run = dict(seed=seed, seconds=dict(data=60.0, regda=120.0))
        for key, value in (('source_only', before), ('regda', after)):
            run[key] = dict(source=dict(Avg=50.0), target=dict(MCP=1.0, Avg=value))
        paths.append(tmp_path / f'{seed}.json')
        paths[-1].write_text(json.dumps(run))
    done = subprocess.run(
        [sys.executable, ROOT / 'tools/summarize.py', *paths],
        capture_output=True,
        text=True,
        check=True,
    )
    # By hand: mean 23, deviations -3 -1 4, variance 26 / 2.
    assert '23.0 ± 3.6' in done.stdout
    assert '32.0 ± 2.6' in done.stdout
    assert '9.0 ± 1.0 points (+10.0, +9.0, +8.0)' in done.stdout
    assert 'Minutes a run: 3.0, 3.0, 3.0' in done.stdout
    assert 'oracle' not in done.stdout
