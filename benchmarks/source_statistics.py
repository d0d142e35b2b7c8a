#!/usr/bin/env python
"""How much of the accuracy lost on the source is due to batch statistics?

python benchmarks/source_statistics.py work_dirs/benchmark

After most methods a model normalises by statistics of the target, source images too.
For the runs of tools/benchmark.py this prints accuracy on the source's test images: as
the model is, and with statistics of the source's training images in it. No weight
differs. The runs need one of source_only, whose config knows the source.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Sequence, Tuple

import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import save_checkpoint
from report import machine, table, track
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmregda.benchmark.tables import by_domain, main_metric, spread
from mmregda.config_files import read_config
from mmregda.datasets import build_dataset
from mmregda.datasets.annotation_files import load_json
from mmregda.datasets.samplers import seed_generators
from mmregda.engine import evaluate
from mmregda.engine.checkpoints import load_network
from mmregda.engine.start import psi_of
from mmregda.errors import InputError, ending_in_one_line


def batches(model: nn.Module, loader: dict, num_images: int) -> Iterator[Tensor]:
    """Images of a training dataloader's config, augmented and normalised.

    They are the same for every run.
    """
    seed_generators(0)
    dataset = build_dataset(loader['dataset'])
    order = torch.randperm(len(dataset))[:num_images].tolist()
    size = loader['batch_size']
    for begin in range(0, len(order), size):
        batch = pseudo_collate([dataset[i] for i in order[begin : begin + size]])
        yield model.data_preprocessor(batch, training=True)['inputs']


@torch.no_grad()
def take_statistics(model: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Let batch normalisation count these batches alone, each as much as the others.

    What is frozen (``norm_eval``, ``frozen_stages``) stays.
    """
    parts = [getattr(model, part) for part in [*psi_of(model), 'head']]
    network = nn.Sequential(*parts).train()
    for norm in network.modules():
        if isinstance(norm, _BatchNorm) and norm.training:
            norm.reset_running_stats()
            norm.momentum = None  # The mean of all batches.
    for images in inputs:
        network(images)


def with_source_statistics(run: dict, source: dict, num_images: int) -> float:
    """The main metric on the source's test images of a run's last checkpoint.

    Args:
        run (dict): Of a benchmark's ``results.json``.
        source (dict): The config of the source's training dataloader.
        num_images (int): How many images to compute the statistics from.
    """
    cfg = read_config(str(Path(run['folder'], 'config.py')))
    init_default_scope(cfg.default_scope)
    model = load_network(cfg.model, run['checkpoint'])
    take_statistics(model, batches(model, source, num_images))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, 'source_statistics.pth'))
        save_checkpoint(dict(state_dict=model.state_dict(), meta={}), path)
        cfg.update(work_dir=folder, log_level='WARNING', runner_type='QuietRunner')
        for key in ('val_dataloader', 'val_evaluator'):
            cfg[key] = dict(source=cfg[key].source)
        found = by_domain(evaluate(cfg, path))['source']
    return found[main_metric(found)]


def source_of(runs: Sequence[dict], pair: str) -> dict:
    """The config of a pair's training dataloader of the source."""
    for run in runs:
        if (run['pair'], run['method']) == (pair, 'source_only'):
            cfg = read_config(str(Path(run['folder'], 'config.py')))
            return cfg.train_dataloader.source
    raise InputError(
        f'{pair} has no finished run of source_only, whose config knows the source. '
        'Add it to --methods of tools/benchmark.py.'
    )


def table_of(runs: Sequence[dict], num_images: int) -> List[List[str]]:
    """One row for each pair and method, mean and spread over seeds."""
    runs = [run for run in runs if run['status'] == 'done' and run['source']]
    sources = {pair: source_of(runs, pair) for pair in {run['pair'] for run in runs}}
    found: Dict[Tuple[str, str], List[Tuple[float, float]]] = {}
    for run in track(runs, 'runs'):
        as_adapted = run['source'][main_metric(run['source'])]
        other = with_source_statistics(run, sources[run['pair']], num_images)
        figures = found.setdefault((run['pair'], run['method']), [])
        figures.append((as_adapted, other))
    rows = [['', 'as adapted', "with the source's statistics"]]
    for (pair, method), figures in found.items():
        rows.append([f'{pair}: {method}', *map(spread, zip(*figures))])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', help='of tools/benchmark.py, with results.json')
    parser.add_argument(
        '--num-images',
        type=int,
        default=512,
        help='images to compute the statistics from (default: 512)',
    )
    args = parser.parse_args()
    if args.num_images < 1:
        parser.error('--num-images is to be at least 1')
    with ending_in_one_line():
        path = str(Path(args.work_dir, 'results.json'))
        rows = table_of(load_json(path, 'results')['runs'], args.num_images)
    print(f'Accuracy on the source\n\n{table(rows)}\n\n{machine()}')


if __name__ == '__main__':
    main()
