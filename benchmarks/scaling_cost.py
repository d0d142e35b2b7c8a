#!/usr/bin/env python
"""How the cost grows: with the batch, the keypoints, the input and the dataset.

python benchmarks/scaling_cost.py --out work_dirs/scaling_cost.png
python benchmarks/scaling_cost.py --only dataset --entries 1000 10000

Prints a Markdown table for each and draws them. "grows as" is the power of n, what
is varied, by which a cost has grown since the row before: 1 is linear, 0 does not
grow. The input's n is its area.

Batch, keypoints, input: median time and peak memory of one iteration, as
benchmarks/step.py measures them. Dataset: seconds to read an index of so many
images (made-up annotations of SURREAL), its memory, and what each of two workers
holds for itself when it has read every sample, as benchmarks/data.py measures them
(Linux).
"""

from __future__ import annotations

# ruff: noqa: I001
import argparse
import math
import multiprocessing
import statistics
import tempfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

# Before torch: it sets how threads wait.
from step import Setup, measure, prepare

import torch
from mmregda.visualization.figures import new_figure, save_figure

from data import make_up_surreal, measure_index
from report import machine, table, track


class Sweep(NamedTuple):
    """What is varied, and what it costs."""

    name: str
    values: Sequence[int]
    amounts: Sequence[float]
    costs: Dict[str, List[float]]


def sweep_step(name: str, values: Sequence[int], args: argparse.Namespace) -> Sweep:
    """Vary one setting of an iteration."""
    common = Setup(naive=False, method=args.method, network=args.network)
    setups = [common._replace(**{name: value}) for value in values]
    seconds, memory = [], []
    for setup in setups:
        cost = measure([setup], args.rounds, args.threads)[setup]
        seconds.append(statistics.median(cost.seconds))
        memory.append(cost.memory)
    amounts = [value**2 if name == 'size' else value for value in values]
    return Sweep(name, values, amounts, {'seconds': seconds, 'peak (MB)': memory})


def sweep_dataset(values: Sequence[int]) -> Sweep:
    """Vary the number of images that a dataset lists."""
    rows = [index_cost(count) for count in track(values, 'dataset')]
    names = ('seconds', 'peak (MB)', 'index (MB)', "a worker's own (MB)")
    return Sweep('dataset', values, values, dict(zip(names, map(list, zip(*rows)))))


def index_cost(count: int, workers: int = 2) -> Tuple[float, ...]:
    server = multiprocessing.get_context('forkserver')
    server.set_forkserver_preload(['mmregda'])
    receiver, sender = server.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        root = make_up_surreal(Path(folder), count)
        cfg = dict(type='SURREALDataset', data_root=str(root), require_images=False)
        process = server.Process(target=measure_index, args=(cfg, workers, sender))
        process.start()
        sender.close()
        _, *cells = receiver.recv()
        process.join()
    return tuple(map(float, cells))


def powers(amounts: Sequence[float], costs: Sequence[float]) -> List[str]:
    """By which power of the amount each cost has grown since the one before."""
    found = ['']
    for i in range(1, len(costs)):
        # Costs are printed in MB and tenths of seconds: there are zeros.
        if min(costs[i - 1 : i + 1]) <= 0:
            found.append('')
            continue
        growth = math.log(costs[i] / costs[i - 1])
        found.append(f'{growth / math.log(amounts[i] / amounts[i - 1]):.2f}')
    return found


def table_of(sweep: Sweep) -> str:
    head, columns = [sweep.name], [[f'{value:,}' for value in sweep.values]]
    for name, costs in sweep.costs.items():
        head += [name, 'grows as']
        columns += [[f'{cost:.3g}' for cost in costs], powers(sweep.amounts, costs)]
    return table([head, *map(list, zip(*columns))])


def draw(sweeps: Sequence[Sweep], path: Path) -> None:
    """A panel for each, on logarithmic axes."""
    figure = new_figure(4.2 * len(sweeps), 3.6)
    for axes, sweep in zip(figure.subplots(1, len(sweeps), squeeze=False)[0], sweeps):
        for name, costs in sweep.costs.items():
            axes.plot(sweep.values, costs, marker='o', label=name)
        axes.set(xscale='log', yscale='log', xlabel=sweep.name)
        axes.set_xticks(sweep.values, [f'{value:,}' for value in sweep.values])
        axes.minorticks_off()
        axes.legend(fontsize='small')
    save_figure(figure, str(path))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    names = ('batch', 'keypoints', 'size', 'dataset')
    add('--only', nargs='+', choices=names, default=names)
    add('--network', default='resnet18', help='as in step.py (resnet18)')
    add('--method', default='regda', help='as in step.py (regda)')
    add('--batch', type=int, nargs='+', default=[2, 4, 8, 16, 32])
    add('--keypoints', type=int, nargs='+', default=[5, 16, 21, 42, 68, 133])
    add('--size', type=int, nargs='+', default=[64, 96, 128, 192, 256])
    add(
        '--entries',
        type=int,
        nargs='+',
        default=[1000, 10_000, 100_000, 1_000_000],
        help='of the index',
    )
    add('--rounds', type=int, default=7, help='(7)')
    add('--threads', type=int, default=torch.get_num_threads())
    add('--out', type=Path, default=Path('work_dirs/scaling_cost.png'))
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    prepare(args.threads)
    print(machine(), flush=True)
    sweeps = []
    for name in args.only:
        if name == 'dataset':
            sweeps.append(sweep_dataset(args.entries))
        else:
            sweeps.append(sweep_step(name, getattr(args, name), args))
        print(f'\n{table_of(sweeps[-1])}', flush=True)
    draw(sweeps, args.out)
    print(f'\n{args.out}')


if __name__ == '__main__':
    main()
