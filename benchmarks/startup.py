#!/usr/bin/env python
"""How long it takes to start: importing, and up to the first iteration.

python benchmarks/startup.py

Prints two Markdown tables, medians over processes of their own.

Importing: what ``import mmregda`` takes, by package. A package's time is that of
its own modules, without what they import from others (Python's -X importtime).

Starting: tools/train.py with the quickstart's config on rendered hands, from the
start of the process to the end of its first iteration.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict

from report import machine, table, track

ROOT = Path(__file__).resolve().parents[1]
# The clock starts before the process does.
TRAINING = """
import os, sys, time
phases = [('starting Python', time.time())]
started, tools = float(sys.argv.pop(1)), sys.argv.pop(1)
sys.path.insert(0, tools)
import train
phases.append(('importing', time.time()))
from mmengine.runner import Runner
from mmregda.engine import stages
from mmregda.models import DomainAdaptiveTopdown

def note(owner, name, phase):
    method = getattr(owner, name)
    def noting(*args, **kwargs):
        result = method(*args, **kwargs)
        phases.append((phase, time.time()))
        if phase == 'the first iteration':
            for text, moment in phases:
                print('phase', moment - started, text, flush=True)
            os._exit(0)
        return result
    setattr(owner, name, noting)

note(train, 'load_config', 'reading the config')
note(stages, 'build_runner', 'building the runner and the model')
note(Runner, 'build_train_loop', 'reading the training annotations')
note(Runner, 'build_val_loop', 'reading the validation annotations')
note(Runner, 'load_or_resume', 'first weights')
note(DomainAdaptiveTopdown, 'train_step', 'the first iteration')
train.main()
"""


def import_times() -> Dict[str, float]:
    """Seconds that the modules of each package took by themselves."""
    command = [sys.executable, '-X', 'importtime', '-c', 'import mmregda']
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment()
    )
    return packages_of(done.stderr)


def packages_of(report: str) -> Dict[str, float]:
    """What -X importtime printed, added up by package."""
    seconds: Dict[str, float] = {}
    for microseconds, module in re.findall(r'time:\s+(\d+) \|[^|]+\|\s+(\S+)', report):
        package = module.partition('.')[0]
        seconds[package] = seconds.get(package, 0.0) + int(microseconds) / 1e6
    return seconds


def benchmark_imports(runs: int, shown: int) -> str:
    import_times()  # The first compiles what has no bytecode yet.
    times = [import_times() for _ in track(range(runs), 'importing')]
    names = {name for seconds in times for name in seconds}
    median = {n: statistics.median(t.get(n, 0.0) for t in times) for n in names}
    largest = sorted(median, key=median.__getitem__, reverse=True)[:shown]
    ours = median.pop('mmregda')
    rows = [['package', 'seconds'], ['**ours**: mmregda', f'{ours:.2f}']]
    rows += [[name, f'{median[name]:.2f}'] for name in largest if name in median]
    others = sum(seconds for name, seconds in median.items() if name not in largest)
    rows.append([f'{len(median) - len(largest)} others', f'{others:.2f}'])
    rows.append(['all', f'{ours + sum(median.values()):.2f}'])
    return table(rows)


def benchmark_start(runs: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        render = (
            'import sys; from mmregda.synthetic import write_hand_pair; '
            'write_hand_pair(sys.argv[1], 64, 8, 96, num_workers=1, progress=False)'
        )
        command = [sys.executable, '-c', render, folder]
        subprocess.run(command, check=True, env=environment())
        starts = [start(folder) for _ in track(range(runs), 'starting')]
    rows = [['from the command to the first iteration', 'seconds']]
    for phase in starts[0]:
        seconds = statistics.median(found[phase] for found in starts)
        rows.append([phase, f'{seconds:.2f}'])
    total = statistics.median(sum(found.values()) for found in starts)
    rows.append(['all', f'{total:.2f}'])
    return table(rows)


def start(folder: str) -> Dict[str, float]:
    """Seconds of each phase of one start, in their order."""
    now = time.time()
    command = [sys.executable, '-c', TRAINING, str(now), str(ROOT / 'tools')]
    command += [str(ROOT / 'configs' / 'quickstart' / 'regda.py')]
    # Pretraining is another start.
    options = ['--cfg-options', 'pretrain=None', '--work-dir', f'{folder}/work_dir']
    done = subprocess.run(
        command + options,
        capture_output=True,
        text=True,
        env=dict(environment(), RHD_ROOT=folder, H3D_ROOT=folder),
    )
    moments = re.findall(r'^phase (\S+) (.*)$', done.stdout, re.M)
    if not moments:
        sys.exit(f'error: the training failed:\n{done.stderr[-2000:]}')
    phases, before = {}, 0.0
    for moment, phase in moments:
        phases[phase], before = float(moment) - before, float(moment)
    return phases


def environment() -> Dict[str, str]:
    """Ours, with this checkout in the path."""
    paths = [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(paths))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--runs', type=int, default=5, help='(5)')
    parser.add_argument('--shown', type=int, default=10, help='packages (10)')
    args = parser.parse_args()
    print(f'{machine()}\n\n{benchmark_imports(args.runs, args.shown)}', flush=True)
    print(f'\n{benchmark_start(args.runs)}')


if __name__ == '__main__':
    main()
