#!/usr/bin/env python
"""How much of what adaptation costs on the source is batch statistics?

python benchmarks/source_statistics.py work_dirs/benchmark

An adapted model normalises by the statistics of target images, whatever it predicts.
For the runs of tools/benchmark.py this prints PCK on the source's test images: as the
model is, and with statistics of the source's training images in it. No weight differs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Iterator

import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import save_checkpoint
from report import machine, table, track
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from mmregda.benchmark.tables import by_domain, main_metric, spread
from mmregda.config_files import read_config
from mmregda.datasets import build_dataset
from mmregda.datasets.annotation_files import load_json
from mmregda.engine import evaluate
from mmregda.engine.checkpoints import load_network
from mmregda.engine.start import psi_of
from mmregda.errors import InputError, ending_in_one_line

NUM_IMAGES = 512


def batches(model: nn.Module, loader: dict, num_images: int) -> Iterator[Tensor]:
    """Images of a training dataloader's config, augmented and normalised."""
    torch.manual_seed(0)
    dataset = build_dataset(loader['dataset'])
    order = torch.randperm(len(dataset))[:num_images].tolist()
    for part in torch.tensor(order).split(loader['batch_size']):
        batch = pseudo_collate([dataset[int(i)] for i in part])
        yield model.data_preprocessor(batch, training=True)['inputs']


def with_source_statistics(run: dict, source: dict, num_images: int) -> float:
    """PCK on the source's test images, in percent, of a run's last checkpoint.

    Args:
        run (dict): Of a benchmark's ``results.json``.
        source (dict): The config of the source's training dataloader.
        num_images (int): Of how many images the statistics are.
    """
    cfg = read_config(str(Path(run['folder'], 'config.py')))
    init_default_scope(cfg.default_scope)
    model = load_network(cfg.model, run['checkpoint'])
    parts = [getattr(model, part) for part in [*psi_of(model), 'head']]
    update_bn(batches(model, source, num_images), nn.Sequential(*parts))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, 'source_statistics.pth'))
        save_checkpoint(dict(state_dict=model.state_dict(), meta={}), path)
        cfg.work_dir, cfg.log_level = folder, 'WARNING'
        for key in ('val_dataloader', 'val_evaluator'):
            cfg[key] = dict(source=cfg[key].source)
        found = by_domain(evaluate(cfg, path))['source']
    return found[main_metric(found)]


def source_of(runs: list, run: dict) -> dict:
    """The training dataloader's config of the source, as source only has it."""
    for other in runs:
        same = all(other[key] == run[key] for key in ('pair', 'seed'))
        if same and other['method'] == 'source_only':
            cfg = read_config(str(Path(other['folder'], 'config.py')))
            return cfg.train_dataloader.source
    raise InputError(
        f'{run["pair"]}, seed {run["seed"]}: there is no run of source_only, which '
        'knows the source. Add it to --methods of tools/benchmark.py.'
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', help='of tools/benchmark.py, with results.json')
    parser.add_argument('--num-images', type=int, default=NUM_IMAGES)
    args = parser.parse_args()
    with ending_in_one_line():
        path = str(Path(args.work_dir, 'results.json'))
        runs = [r for r in load_json(path, 'results')['runs'] if r['status'] == 'done']
        rows = [['', 'as adapted', "with the source's statistics"]]
        found: dict = {}
        for run in track(runs, 'runs'):
            as_it_is = run['source'][main_metric(run['source'])]
            other = with_source_statistics(run, source_of(runs, run), args.num_images)
            pair = found.setdefault((run['pair'], run['method']), [])
            pair.append((as_it_is, other))
        for (pair, method), values in found.items():
            rows.append([f'{pair}: {method}', *map(spread, zip(*values))])
        print(f'PCK (Avg) on the source, in percent\n\n{table(rows)}\n\n{machine()}')


if __name__ == '__main__':
    main()
