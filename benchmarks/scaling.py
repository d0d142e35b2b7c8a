#!/usr/bin/env python
"""What several processes say to each other, and how much slower that makes them.

python benchmarks/scaling.py
python benchmarks/scaling.py --only volume --methods regda mcd

Prints three Markdown tables.

Volume: the bytes of one iteration of each method, with the paper's network, counted
as they are handed to torch.distributed by a real iteration. Gradients are averaged
(all-reduce), running statistics and counters are sent by the first process
(broadcast).

Computed: what that takes at a given bandwidth, if nothing is hidden behind the
computation: an all-reduce in a ring of n processes moves 2 (n - 1) / n of the bytes
through each link, and a broadcast all of them.

Measured: iterations a second of one and of two processes over gloo on this machine,
with one thread and a batch of its own for each (weak scaling), of a small network on
images of noise that are in memory. They take turns within one run: only the ratio,
the efficiency, carries over to other machines.
"""

# ruff: noqa: E402, I001
import os

# A process has one core.
os.environ['OMP_NUM_THREADS'] = '1'

import argparse
import multiprocessing
import socket
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Dict, List

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS

from mmregda.engine import (
    PlayerDistributedDataParallel,
    PlayerOptimWrapperConstructor,
    player_optim_wrappers,
)
from mmregda.engine.distributed import joined_processes

from report import machine, table, track
from step import Setup, made_up_batch

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
METHODS = (
    *('source_only', 'adabn', 'dan', 'dann'),
    *('mcd', 'dd', 'regda', 'mean_teacher_regda'),
)
PAPER, SMALL = 'regda_rhd2h3d.py', 'benchmark/hands.py'


class Training:
    """Iterations of a method, as one process of several.

    Args:
        network (str): The config that has the network.
        method (str): A fragment of ``configs/_base_/adaptations``.
        batch_size (int): Of each domain.
        side (int): Of the images, in pixels.
    """

    def __init__(self, network: str, method: str, batch_size: int, side: int) -> None:
        fragment = Config.fromfile(CONFIGS / f'_base_/adaptations/{method}.py')
        cfg = Config.fromfile(CONFIGS / network).model
        cfg.backbone.init_cfg = None
        # In place of what the config has, not merged into it.
        cfg.pop('adaptation')
        cfg.adaptation = fragment.adaptation
        torch.manual_seed(0)
        self.model = MODELS.build(cfg).train()
        self._wrapped = PlayerDistributedDataParallel(self.model)
        optimizers = fragment.optim_wrapper.to_dict()
        optimizers.pop('constructor')
        self._optim_wrapper = PlayerOptimWrapperConstructor(optimizers)(self.model)
        setup = Setup(
            naive=False, batch=batch_size, size=side, keypoints=cfg.head.out_channels
        )
        self._batch, _ = made_up_batch(setup, seed=0)
        if 'target' not in self.model.adaptation.domains:
            del self._batch['target']

    def step(self) -> None:
        """One iteration."""
        self._wrapped.train_step(self._batch, self._optim_wrapper)


# --- volume ------------------------------------------------------------------


def volume(network: str, method: str) -> Dict[str, int]:
    """Bytes and messages of one iteration, by kind.

    Counted in a group of one process, in which messages are as large.
    """
    counts = Counter()

    def counting(kind, call):
        def counted(sent, *args, **kwargs):
            tensors = [sent] if isinstance(sent, torch.Tensor) else sent
            counts[kind] += sum(t.numel() * t.element_size() for t in tensors)
            counts['messages'] += 1
            return call(sent, *args, **kwargs)

        return counted

    training = Training(network, method, batch_size=2, side=64)
    reduce, broadcast = player_optim_wrappers.all_reduce_params, dist.broadcast
    player_optim_wrappers.all_reduce_params = counting('all_reduce', reduce)
    dist.broadcast = counting('broadcast', broadcast)
    try:
        training.step()
    finally:
        player_optim_wrappers.all_reduce_params = reduce
        dist.broadcast = broadcast
    return dict(counts)


def volumes(methods: List[str]) -> Dict[str, Dict[str, int]]:
    """What :func:`volume` finds, with the paper's network."""
    stand_alone()
    with joined_processes('pytorch', {}):
        return {method: volume(PAPER, method) for method in track(methods, 'volume')}


def stand_alone() -> None:
    name_process(0, 1, free_port())


def name_process(rank: int, world_size: int, port: int) -> None:
    """Set what a launcher sets."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def table_of_volumes(found: Dict[str, Dict[str, int]]) -> str:
    rows = [
        ['method', 'gradients (MB)', 'buffers (MB)', 'messages'],
    ]
    for method, counts in found.items():
        gradients, buffers = counts['all_reduce'], counts['broadcast']
        cells = [f'{gradients / 1e6:.1f}', f'{buffers / 1e6:.2f}', counts['messages']]
        rows.append([method, *map(str, cells)])
    return table(rows)


def seconds_of(counts: Dict[str, int], processes: int, bandwidth: float) -> float:
    """What the messages of an iteration take, at bytes a second."""
    ring = 2 * (processes - 1) / processes * counts['all_reduce']
    return (ring + counts['broadcast']) / bandwidth


def table_of_seconds(
    found: Dict[str, Dict[str, int]], gigabytes: List[float], processes: List[int]
) -> str:
    rows = [
        ['method', 'processes', *(f'at {g:g} GB/s (ms)' for g in gigabytes)],
    ]
    for method, counts in found.items():
        for number in processes:
            times = [1e3 * seconds_of(counts, number, 1e9 * g) for g in gigabytes]
            rows.append(
                [method, str(number), *(f'{float(f"{t:.3g}"):g}' for t in times)]
            )
    return table(rows)


# --- measured ----------------------------------------------------------------


def table_of_rates(methods: List[str], rounds: int, iterations: int) -> str:
    """Iterations a second of one and two processes, in turns."""
    rows = [
        ['method', '1 process (it/s)', '2 processes (it/s)', 'efficiency'],
    ]
    for method in methods:
        rates = {1: [], 2: []}
        for number in track(range(rounds), f'{method:<12}'):
            for size in (1, 2) if number % 2 else (2, 1):
                rates[size].append(rate(size, method, iterations))
        ratios = [two / one for one, two in zip(rates[1], rates[2])]
        medians = [f'{statistics.median(rates[size]):.2f}' for size in (1, 2)]
        spread = f'{min(ratios):.2f} to {max(ratios):.2f}'
        rows.append([method, *medians, f'{statistics.median(ratios):.2f} ({spread})'])
    return table(rows)


def rate(world_size: int, method: str, iterations: int) -> float:
    """Iterations a second of so many processes, by the clock of the first."""
    server = multiprocessing.get_context('forkserver')
    server.set_forkserver_preload(['mmregda'])
    receiver, sender = server.Pipe(duplex=False)
    port = free_port()
    processes = [
        server.Process(
            target=measure, args=(rank, world_size, port, method, iterations, sender)
        )
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        sys.exit('error: a process has ended before it was done; see above')
    finally:
        for process in processes:
            process.join()


def measure(
    rank: int, world_size: int, port: int, method: str, iterations: int, sender
) -> None:
    """Time iterations, as one of several processes."""
    name_process(rank, world_size, port)
    multiprocessing.set_start_method('fork', force=True)
    init_default_scope('mmpose')
    torch.set_num_threads(1)
    with joined_processes('pytorch', {}):
        training = Training(SMALL, method, batch_size=8, side=128)
        # What is done once (memory, kernels) belongs to no iteration.
        training.step()
        dist.barrier()
        start = time.perf_counter()
        for _ in range(iterations):
            training.step()
        dist.barrier()
        seconds = time.perf_counter() - start
    if rank == 0:
        sender.send(iterations / seconds)


# --- face --------------------------------------------------------------------


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--only', choices=('volume', 'measured'))
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=METHODS)
    parser.add_argument('--rounds', type=int, default=7, help='measured (7)')
    parser.add_argument('--iterations', type=int, default=10, help='of a round (10)')
    parser.add_argument(
        '--bandwidths',
        nargs='+',
        type=float,
        default=[1.25, 12.5, 200],
        help='in GB/s: 10 and 100 Gb/s of a network, NVLink (1.25 12.5 200)',
    )
    parser.add_argument(
        '--processes', nargs='+', type=int, default=[2, 8], help='computed (2 8)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    init_default_scope('mmpose')
    torch.set_num_threads(1)
    if args.only != 'measured':
        found = volumes(list(args.methods))
        print(table_of_volumes(found), end='\n\n')
        print(table_of_seconds(found, args.bandwidths, args.processes), end='\n\n')
    if args.only != 'volume':
        print(table_of_rates(list(args.methods), args.rounds, args.iterations))
        print(f'\n{machine()}')


if __name__ == '__main__':
    main()
