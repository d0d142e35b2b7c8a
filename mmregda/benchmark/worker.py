"""Runs one job of a benchmark: ``python -m mmregda.benchmark.worker FOLDER``."""

from __future__ import annotations

import copy
import gc
import sys
import time
from pathlib import Path
from typing import Dict

import torch
from mmengine.config import Config

from mmregda import compat
from mmregda.apis.compare import evidence
from mmregda.benchmark import progress_hook  # noqa: F401 (registers it)
from mmregda.benchmark.jobs import _PROGRESS, _RESULT, write_json
from mmregda.datasets import build_dataset
from mmregda.engine.checkpoints import NOTE, latest_checkpoint, load_network
from mmregda.engine.stages import evaluate, pretrain, train
from mmregda.errors import ending_in_one_line


def work(folder: Path) -> None:
    """Train, evaluate and write the result of the job in a folder.

    Args:
        folder (Path): Holds ``config.py``; receives ``result.json``. A
            checkpoint in it is gone on from.
    """
    began = time.perf_counter()
    cfg = Config.fromfile(str(folder / 'config.py'))
    cfg.work_dir = str(folder)
    last = latest_checkpoint(cfg.work_dir)
    cfg.resume = True  # Should there be something by the time that it begins.
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or []),
        dict(type='JobProgressHook', path=str(folder / _PROGRESS)),
    ]
    if 'adaptation' not in cfg.model:
        # Beside the folder: these weights serve other evaluations, too.
        cfg.work_dir = str(folder.parents[1] / 'pretrain')
        checkpoint = pretrain(cfg)
        # The weights are kept as a file of their own.
        for left in Path(checkpoint).parent.glob('*_*.pth'):
            if left.name != Path(checkpoint).name:
                left.unlink()
        (Path(checkpoint).parent / NOTE).unlink(missing_ok=True)
        cfg.work_dir = str(folder)
        metrics = evaluate(copy.deepcopy(cfg), checkpoint)
    elif last and Path(last).name == f'iter_{cfg.train_cfg.max_iters}.pth':
        checkpoint = last
        validated = cfg.get('val_dataloader')
        metrics = evaluate(copy.deepcopy(cfg), checkpoint) if validated else {}
    else:
        metrics = train(cfg)
        checkpoint = latest_checkpoint(cfg.work_dir)
    loaders = cfg.train_dataloader
    if 'dataset' in loaders:
        loaders = dict(source=loaders)
    loaders = {domain: loader for domain, loader in loaders.items() if loader}
    write_json(
        folder / _RESULT,
        dict(
            metrics={name: float(value) for name, value in metrics.items()},
            evidence=evidence_of(cfg, checkpoint),
            checkpoint=checkpoint,
            iterations=cfg.train_cfg.max_iters,
            images={
                domain: cfg.train_cfg.max_iters * loader.batch_size
                for domain, loader in loaders.items()
            },
            seconds=round(time.perf_counter() - began, 1),
            resumed=bool(last),
            threads=torch.get_num_threads(),
        ),
    )


def evidence_of(cfg: Config, checkpoint: str) -> Dict[str, float]:
    """What can be said of a checkpoint on the target without labels."""
    dataset = build_dataset(cfg.benchmark.evidence)
    num_samples = cfg.benchmark.get('num_samples', 256)
    return evidence(load_network(cfg.model, checkpoint), dataset, num_samples)


def main() -> None:
    gc.freeze()  # as tools/train.py does
    # Checkpoints are data.
    compat.refuse_unsafe_checkpoints()
    with ending_in_one_line():
        work(Path(sys.argv[1]))


if __name__ == '__main__':
    main()
