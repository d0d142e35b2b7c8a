#!/usr/bin/env python
"""Train a tiny network for long, and watch what the process holds.

python benchmarks/long_run.py
python benchmarks/long_run.py --adaptation dann --iterations 20000

Every hundred iterations, with two validations and four checkpoints among them, it
notes the training's resident memory, how much of it is MMEngine's history of what
was logged, that of each data worker on average, open files, threads, child processes
and iterations a second, and prints them as a Markdown table. Below it stands the drift
of each, the slope of a straight line with its standard error, without the first
fifth, in which caches fill.

The exit status is 1 if there are more open files, threads or children at the end
than after the first fifth, if memory grows by more than a megabyte in a thousand
iterations, or throughput falls by more than two percent in as many; each by more
than three standard errors.
"""

# ruff: noqa: E402, I001
import os

os.environ.setdefault('OMP_NUM_THREADS', '1')

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import List

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from scipy.stats import linregress
from tiny_training import write_tiny_training

from mmregda.engine import train

EVERY, INTERVAL = 100, 25
COLUMNS = (
    'iteration',
    'memory (MB)',
    'of that, history (MB)',
    'each worker (MB)',
    'open files',
    'threads',
    'children',
    'iterations/s',
)
COUNTS = ('open files', 'threads', 'children')


@HOOKS.register_module()
class ResourceHook(Hook):
    """Notes what the process holds, one row every ``EVERY`` iterations."""

    priority = 'LOWEST'
    rows: List[List[float]] = []

    def before_train(self, runner: Runner) -> None:
        self._since = time.perf_counter()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None):
        # Validation and checkpoint of the iteration before are done by now.
        if runner.iter and runner.iter % EVERY == 0:
            self._note(runner.iter)

    def after_train(self, runner: Runner) -> None:
        self._note(runner.iter)

    def _note(self, iteration: int) -> None:
        now = time.perf_counter()
        children = children_of(os.getpid())
        self.rows.append(
            [
                iteration,
                resident(os.getpid()),
                history(),
                statistics.mean(map(resident, children)),
                len(os.listdir('/proc/self/fd')),
                len(os.listdir('/proc/self/task')),
                len(children),
                EVERY / (now - self._since),
            ]
        )
        self._since = time.perf_counter()


def history() -> float:
    """MB of the logged scalars, of which MMEngine keeps each of every iteration."""
    buffers = MessageHub.get_current_instance().log_scalars.values()
    return sum(sum(x.nbytes for x in buffer.data) for buffer in buffers) / 2**20


def resident(process: int) -> float:
    """Resident memory in MB."""
    pages = int(Path(f'/proc/{process}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def children_of(process: int) -> List[int]:
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            parent = int(stat.read_text().rsplit(')', 1)[1].split()[1])
        except OSError:  # It has just ended.
            continue
        if parent == process:
            found.append(int(stat.parent.name))
    return found


def cells(row: List[float]) -> str:
    texts = (f'{v:.1f}' if isinstance(v, float) else str(v) for v in row)
    return f'| {" | ".join(texts)} |'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--adaptation', default='regda', metavar='NAME')
    parser.add_argument('--iterations', type=int, default=5000, help='(5000)')
    args = parser.parse_args()
    if not Path('/proc/self/statm').exists():
        sys.exit('error: memory is measured on Linux only')
    if args.iterations % EVERY or args.iterations < 5 * EVERY:
        sys.exit(f'error: --iterations has to be a multiple of {EVERY}, 500 or more')
    with tempfile.TemporaryDirectory() as folder:
        path = write_tiny_training(
            Path(folder), args.adaptation, 0, args.iterations, INTERVAL
        )
        cfg = Config.fromfile(str(path))
        cfg.work_dir = os.path.join(folder, 'run')
        cfg.runner_type = 'QuietRunner'
        bar = dict(type='ProgressBarHook', title=args.adaptation)
        cfg.custom_hooks = [dict(type='ResourceHook'), bar]
        train(cfg)
    print(cells(COLUMNS), cells(['--:'] * len(COLUMNS)), sep='\n')
    for row in ResourceHook.rows:
        print(cells(row))
    settled = ResourceHook.rows[len(ResourceHook.rows) // 5 :]
    steps, *columns = zip(*settled)
    problems = []
    print(f'\nPer 1000 iterations, from iteration {steps[0]} on:')
    for name, values in zip(COLUMNS[1:], columns):
        fit = linregress(steps, values)
        drift, error = 1000 * fit.slope, 1000 * fit.stderr
        print(f'- {name}: {drift:+.2f} ± {error:.2f}')
        if name in COUNTS and values[-1] > values[0]:
            problems.append(f'{name}: {values[0]} at first, {values[-1]} at the end')
        if '(MB)' in name and drift > max(1, 3 * error):
            problems.append(f'{name} grow by {drift:.2f} in 1000 iterations')
        if name == 'iterations/s' and -drift > max(0.02 * values[0], 3 * error):
            problems.append(f'{name} fall by {-drift:.2f} in 1000 iterations')
    if problems:
        sys.exit('\n'.join(problems))


if __name__ == '__main__':
    main()
