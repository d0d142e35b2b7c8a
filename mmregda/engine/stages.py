"""Training from a config: source-only pretraining, then adaptation."""

from __future__ import annotations

import hashlib
import os
from glob import glob
from typing import Any, Dict

import torch
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from mmregda.errors import InputError

PRETRAINED_NAME = 'source_only.pth'
"""str: The finished weights of a pretraining stage, in its work directory."""


def train(cfg: Config) -> Dict[str, float]:
    """Train as a config says, its pretraining first.

    A config with ``pretrain = dict(config='source_only_rhd2h3d.py')`` starts
    from the feature extractor that this other config trains on the source. If
    those weights are there from an earlier run, they are used as they are;
    else they are trained now. The heads start anew.

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
        InputError: If the pretrained weights belong to another config, or if
            what the config asks for is missing.
    """
    pretrain = cfg.get('pretrain')
    # A run that is resumed has its weights in its own checkpoint.
    if pretrain and not cfg.get('resume'):
        checkpoint = pretrain.get('checkpoint') or _pretrain(cfg)
        start_from(cfg, checkpoint)
    return run(cfg)


def run(cfg: Config) -> Dict[str, float]:
    """Build the runner, train, and return the last validation's metrics."""
    # The visualizer is a singleton by its name; each stage has its own.
    if cfg.get('visualizer'):
        cfg.visualizer.pop('name', None)
    runner = Runner.from_cfg(cfg)
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


def _pretrain(cfg: Config) -> str:
    """Train the source-only weights unless they are there; return their file."""
    stage = load_pretrain_config(cfg)
    path = os.path.join(stage.work_dir, PRETRAINED_NAME)
    fingerprint = _fingerprint(stage)
    if os.path.isfile(path):
        meta = CheckpointLoader.load_checkpoint(path, map_location='cpu')['meta']
        if meta.get('fingerprint') != fingerprint:
            raise InputError(
                f'"{path}" was trained with another config than '
                f'{stage.filename} is now. Delete it to train anew, or set '
                f'pretrain.checkpoint={path} to start from it all the same.'
            )
        print_log(f'Source-only weights found: {path}', logger='current')
        return path
    run(stage)
    if is_main_process():
        _keep_weights(_last_or_best(stage.work_dir), path, fingerprint)
    barrier()
    return path


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
    return hashlib.sha256(repr(_plain(relevant)).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A config's value with its keys in one order."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _last_or_best(work_dir: str) -> str:
    best = sorted(glob(os.path.join(work_dir, 'best_*.pth')), key=os.path.getmtime)
    if best:
        return best[-1]
    with open(os.path.join(work_dir, 'last_checkpoint'), encoding='utf-8') as file:
        return file.read().strip()


def _keep_weights(checkpoint: str, path: str, fingerprint: str) -> None:
    """Write a checkpoint's weights as a file that is whole or not there."""
    state_dict = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')[
        'state_dict'
    ]
    partial = f'{path}.partial'
    torch.save(dict(state_dict=state_dict, meta=dict(fingerprint=fingerprint)), partial)
    os.replace(partial, path)
