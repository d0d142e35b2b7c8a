#!/usr/bin/env python
"""Adapt a hand model from scratch and compare it with a baseline.

Renders a domain pair (or uses yours), trains on the labelled source, adapts to the
unlabelled target with RegDA, and trains a fair baseline on the source alone for as many
iterations. Prints a table (start, baseline, RegDA) and writes results.json,
predictions.jpg and statistics.png.

    python tools/quickstart.py
    python tools/quickstart.py --source path/to/RHD --target path/to/H3D
"""

# ruff: noqa: E402, I001
import mmregda  # noqa: F401 Before torch: it sets how threads wait.

import argparse
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from rich.console import Console
from rich.table import Table

from mmregda import compat
from mmregda.synthetic import write_hand_pair
from mmregda.engine import evaluate, pretrain, rehearse, train
from mmregda.engine.checkpoints import noted_checkpoint
from mmregda.benchmark.jobs import write_json
from mmregda.engine.runner import quiet_console
from mmregda.command_line import ArgumentParser
from mmregda.errors import ending_in_one_line
from mmregda.benchmark.tables import by_domain
from mmregda.visualization import (
    Run,
    plot_predictions,
    plot_statistics,
    predict_run,
)

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / 'quickstart'
LABELS = dict(
    start='the start of both',
    source_only='source only, continued',
    regda='RegDA',
    oracle='oracle (labelled target)',
)
# Fewer than the benchmark's, to save time.
NUM_IMAGES = dict(num_source_train=1300, num_source_test=200, num_target=1400)


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--source', help='RHD folder (default: rendered images)')
    parser.add_argument('--target', help='H3D_crop folder (default: rendered images)')
    parser.add_argument(
        '--work-dir',
        default='work_dirs/quickstart',
        help='folder for runs and results (default: work_dirs/quickstart)',
    )
    parser.add_argument(
        '--data-dir',
        default='data/quickstart',
        help='folder for rendered images (default: data/quickstart)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='random seed of training (default: 0)'
    )
    parser.add_argument(
        '--oracle',
        action='store_true',
        help='also train an upper bound on the labelled target',
    )
    args = parser.parse_args()
    if bool(args.source) != bool(args.target):
        parser.error('--source and --target go together')
    return args


def main() -> None:
    args = parse_args()
    # Data files are not trusted, and checkpoints are data.
    compat.refuse_unsafe_checkpoints()
    try:
        with ending_in_one_line():
            run(args)
    except FileExistsError as error:
        sys.exit(f'error: {error}')


def run(args: argparse.Namespace) -> None:
    console = Console()
    quiet_console(MMLogger.get_current_instance())
    seconds = {}
    work_dir = Path(args.work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)

    with timed(seconds, 'data'):
        if not args.source:
            console.print(
                '[bold]1[/] Two domains of rendered hands: clean and photograph-like'
            )
            args.source, args.target = write_hand_pair(args.data_dir, **NUM_IMAGES)
    # The configs read where the data is from here, in every stage.
    os.environ.update(RHD_ROOT=str(args.source), H3D_ROOT=str(args.target))

    console.print('[bold]2[/] Training: on the source, then on to the target')
    metrics = {}
    names = ['source_only', 'regda'] + ['oracle'] * args.oracle
    with timed(seconds, 'pretrain'):
        for name in names:  # A mistake in what comes after is found before it.
            rehearse(load_config(name, work_dir, args.seed))
        weights = pretrain(load_config('pretrain', work_dir, args.seed))
        # Anew: weights from an earlier run may meet another target.
        stage = load_config('pretrain', work_dir, args.seed)
        metrics['start'] = evaluate(stage, weights)
    for name in names:
        with timed(seconds, name):
            metrics[name] = train(load_config(name, work_dir, args.seed))

    console.print('[bold]3[/] What it was worth')
    results = {name: by_domain(metrics[name]) for name in ['start', *names]}
    results['seconds'] = {key: round(value, 1) for key, value in seconds.items()}
    results['seed'] = args.seed
    write_json(work_dir / 'results.json', results)
    print_table(console, results)
    for path, what in draw(work_dir, args.seed):
        console.print(f'{path}: {what}')
    minutes = sum(seconds.values()) / 60
    console.print(
        f'{work_dir / "results.json"}: these figures; {minutes:.1f} minutes in all'
    )


@contextmanager
def timed(seconds: dict, name: str):
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def load_config(name: str, work_dir: Path, seed: int) -> Config:
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.work_dir = str(work_dir / name)
    cfg.randomness = dict(seed=seed)
    if cfg.get('pretrain'):
        cfg.pretrain.work_dir = str(work_dir / 'pretrain')
    return cfg


def print_table(console: Console, results: dict) -> None:
    table = Table(title='PCK@0.05 in percent, on the unlabelled target')
    groups = list(results['regda']['target'])
    for column in ('', *groups, 'Avg on the source'):
        table.add_column(column, justify='left' if not column else 'right')
    for key, label in LABELS.items():
        if key in results:
            row = results[key]
            values = [row['target'][group] for group in groups]
            values.append(row['source']['Avg'])
            table.add_row(label, *(f'{value:.1f}' for value in values))
    console.print(table)
    start, before, after = (
        results[key]['target']['Avg'] for key in ('start', 'source_only', 'regda')
    )
    console.print(
        f'RegDA: {after - before:+.1f} points of PCK over as many iterations on the '
        f'source, {after - start:+.1f} over the start'
    )


def draw(work_dir: Path, seed: int):
    """Write the figures; yields each with what it shows."""
    configs = {
        LABELS[name]: load_config(name, work_dir, seed)
        for name in ('source_only', 'regda')
    }
    path = str(work_dir / 'predictions.jpg')
    runs = {
        label: Run(cfg, noted_checkpoint(cfg.work_dir))
        for label, cfg in configs.items()
    }
    plot_predictions(
        path, {label: predict_run(run, progress=label) for label, run in runs.items()}
    )
    yield path, 'the same images of the target by both'
    path = str(work_dir / 'statistics.png')
    plot_statistics(path, {label: cfg.work_dir for label, cfg in configs.items()})
    yield path, 'accuracy during training'


if __name__ == '__main__':
    main()
