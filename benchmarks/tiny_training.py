"""A training of both stages that takes seconds, for the benchmarks of faults."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.config import Config

from mmregda.benchmark.plan import compose
from mmregda.synthetic import write_hand_pair

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def write_tiny_training(
    folder: Path,
    adaptation: str,
    pretraining_iters: int,
    adaptation_iters: int,
    interval: int,
    num_workers: int = 2,
    hook: str = '',
) -> Path:
    """Render a tiny pair and write the configs of both stages.

    Args:
        folder (Path): Receives ``pair/``, ``pretrain.py`` and ``adapt.py``.
        adaptation (str): The name of a fragment in ``configs/_base_/adaptations``.
        pretraining_iters (int): Length of the first stage; 0 for none.
        adaptation_iters (int): Length of the second.
        interval (int): Iterations between checkpoints; validation is at every
            second of them.
        num_workers (int): Of each dataloader.
        hook (str): A hook of ``fault_injection.py`` to add.

    Returns:
        Path: The config to train.
    """
    pair = folder / 'pair'
    if not pair.exists():
        write_hand_pair(
            pair,
            num_source_train=12,
            num_source_test=6,
            num_target=16,
            num_workers=1,
            progress=False,
        )
    os.environ.update(RHD_ROOT=str(pair), H3D_ROOT=str(pair))
    frame = Config.fromfile(str(CONFIGS / 'benchmark/hands.py'))
    fragment = CONFIGS / f'_base_/adaptations/{adaptation}.py'
    cfg = compose(frame, Config.fromfile(str(fragment)))
    if cfg.model.adaptation.type == 'DANN':
        cfg.model.adaptation.hidden_channels = 16
    stage = Config.fromfile(str(CONFIGS / 'benchmark/hands_pretrain.py'))
    lengths = ((cfg, adaptation_iters), (stage, pretraining_iters))
    for config, length in lengths:
        config.model.backbone = dict(
            type='ResNet', depth=18, stem_channels=8, base_channels=8
        )
        config.model.neck.update(in_channels=64, out_channels=(16, 16, 16))
        config.model.head.update(in_channels=16, conv_out_channels=(16,))
        loaders = config.train_dataloader
        loaders = [loaders] if 'dataset' in loaders else list(loaders.values())
        for loader in (*loaders, *config.val_dataloader.values()):
            workers = dict(num_workers=num_workers, persistent_workers=num_workers > 0)
            loader.update(batch_size=2, **workers)
        config.train_cfg.update(max_iters=length, val_interval=2 * interval)
        config.default_hooks.logger.interval = 1
        config.default_hooks.checkpoint.update(interval=interval)
        config.custom_hooks = []
        if hook:
            config.custom_imports = dict(imports=['mmregda', 'fault_injection'])
            config.custom_hooks = [dict(type=hook)]
    cfg.pretrain = None
    if pretraining_iters:
        stage.dump(str(folder / 'pretrain.py'))
        cfg.pretrain = dict(config=str(folder / 'pretrain.py'))
    cfg.dump(str(folder / 'adapt.py'))
    return folder / 'adapt.py'
