"""Training from a config: source-only pretraining, then adaptation."""

from __future__ import annotations

import hashlib
import os
from glob import glob
from typing import Any, Dict, Tuple

import torch
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from mmregda.errors import InputError


def train(cfg: Config) -> Dict[str, float]:
    """Train as a config says, its pretraining first.

    A config with ``pretrain = dict(config='source_only_rhd2h3d.py')`` starts
    from the feature extractor that this other config trains on the source (see
    :func:`pretrain`). The heads start anew.

    ``pretrain`` knows the keys

    - ``config``: path of the pretraining's config, relative to this one;
    - ``checkpoint``: weights to start from in place of that, optional;
    - ``work_dir``: where to pretrain and look for finished weights; by
      default a sibling of ``cfg.work_dir`` with the pretraining's name;
    - ``options``: a dict of overrides for the pretraining's config, optional.

    Args:
        cfg (Config): The config, with ``work_dir`` set.

    Returns:
        dict[str, float]: The metrics of the last validation, such as
        ``source/PCK/Avg``.

    Raises:
        InputError: If what the config asks for is missing.
    """
    # A run that is resumed has its weights in its own checkpoint.
    if cfg.get('pretrain') and not cfg.get('resume'):
        checkpoint = cfg.pretrain.get('checkpoint')
        if not checkpoint:
            checkpoint, _ = pretrain(load_pretrain_config(cfg))
        start_from(cfg, checkpoint)
    return run(cfg)


def pretrain(cfg: Config) -> Tuple[str, Dict[str, float]]:
    """Train source-only weights, unless they are there already.

    They are kept in ``cfg.work_dir`` as ``source_only_{fingerprint}.pth``,
    with a fingerprint of all that they depend on: model, data, schedule and
    seed. So every method finds the same weights, and after a change of the
    config none finds those of before.

    Args:
        cfg (Config): The config of the pretraining, with ``work_dir`` set.

    Returns:
        tuple[str, dict[str, float]]: The file, and the metrics of the last
        validation.
    """
    path = os.path.join(cfg.work_dir, f'source_only_{_fingerprint(cfg)}.pth')
    if not os.path.isfile(path):
        print_log(f'Pretraining on the source; keeping {path}', logger='current')
        metrics = run(cfg)
        if is_main_process():
            _keep_weights(_best_or_last(cfg.work_dir), path, metrics)
        barrier()
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    return path, checkpoint['meta']['metrics']


def run(cfg: Config) -> Dict[str, float]:
    """Build the runner, train, and return the last validation's metrics."""
    # The visualizer is a singleton by its name; each stage has its own.
    if cfg.get('visualizer'):
        cfg.visualizer.pop('name', None)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    runner.train()
    scalars = runner.message_hub.log_scalars
    return {
        name[len('val/') :]: float(buffer.current())
        for name, buffer in scalars.items()
        if name.startswith('val/') and name.split('/')[1] in ('source', 'target')
    }


def start_from(cfg: Config, checkpoint: str) -> None:
    """Make the feature extractor start from a checkpoint; the heads start anew.

    Args:
        cfg (Config): The config, changed in place.
        checkpoint (str): A checkpoint with ``backbone.*`` (and ``neck.*``).

    Raises:
        InputError: If the file does not exist.
    """
    if '://' not in checkpoint and not os.path.isfile(checkpoint):
        raise InputError(
            f'checkpoint "{checkpoint}" does not exist. Remove pretrain.checkpoint '
            'from the config to train the source-only weights first.'
        )
    for part in ('backbone', 'neck'):
        if cfg.model.get(part):
            cfg.model[part].init_cfg = dict(
                type='Pretrained', checkpoint=checkpoint, prefix=f'{part}.'
            )


def load_pretrain_config(cfg: Config) -> Config:
    """The config of a config's pretraining stage, ready to run."""
    path = cfg.pretrain.config
    if not os.path.isabs(path):
        path = os.path.join(os.path.dirname(os.path.abspath(cfg.filename)), path)
    if not os.path.isfile(path):
        raise InputError(f'pretrain.config "{path}" of {cfg.filename} does not exist')
    stage = Config.fromfile(path)
    stage.merge_from_dict(dict(cfg.pretrain.get('options') or {}))
    name = os.path.splitext(os.path.basename(path))[0]
    siblings = os.path.dirname(os.path.normpath(cfg.work_dir))
    stage.work_dir = cfg.pretrain.get('work_dir') or os.path.join(siblings, name)
    for key in ('launcher', 'randomness', 'env_cfg'):
        if key in cfg:
            stage[key] = cfg[key]
    return stage


def _fingerprint(cfg: Config) -> str:
    """What the weights depend on, as a short text that can be compared."""
    keys = (
        'model',
        'train_dataloader',
        'train_cfg',
        'optim_wrapper',
        'param_scheduler',
        'randomness',
    )
    relevant = {key: cfg.get(key) for key in keys}
    return hashlib.sha256(repr(_plain(relevant)).encode()).hexdigest()[:8]


def _plain(value: Any) -> Any:
    """A config's value with its keys in one order."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _best_or_last(work_dir: str) -> str:
    best = glob(os.path.join(work_dir, 'best_*.pth'))
    if best:
        return max(best, key=os.path.getmtime)
    with open(os.path.join(work_dir, 'last_checkpoint'), encoding='utf-8') as file:
        return file.read().strip()


def _keep_weights(checkpoint: str, path: str, metrics: Dict[str, float]) -> None:
    """Write a checkpoint's weights as a file that is whole or not there."""
    whole = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    partial = f'{path}.partial'
    torch.save(
        dict(state_dict=whole['state_dict'], meta=dict(metrics=metrics)), partial
    )
    os.replace(partial, path)
