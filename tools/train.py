#!/usr/bin/env python
"""Train a config, after its source-only pretraining if it has one.

python tools/train.py configs/regda_rhd2h3d.py
bash tools/dist_train.sh configs/regda_rhd2h3d.py 8
"""

# ruff: noqa: E402, I001
import mmregda  # noqa: F401 Before torch: it sets how threads wait.

import argparse
import gc
import logging
import os

import torch
from mmengine.config import Config

from mmregda import InputError, compat
from mmregda.command_line import ArgumentParser, add_cfg_options
from mmregda.config_files import read_config
from mmregda.engine import train
from mmregda.errors import ending_in_one_line


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir',
        help='folder for checkpoints and logs (default: work_dirs/<config name>); '
        'pretrained weights go to a folder next to it',
    )
    parser.add_argument(
        '--resume', action='store_true', help='continue from the last checkpoint'
    )
    parser.add_argument(
        '--pretrained',
        metavar='CHECKPOINT',
        help='start from these source-only weights instead of pretraining',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision, also for pretraining',
    )
    parser.add_argument(
        '--amp-dtype',
        choices=('bfloat16', 'float16'),
        help='dtype for mixed precision (implies --amp; default: bfloat16)',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile the feature extractor: takes minutes, then faster on a GPU',
    )
    parser.add_argument(
        '--channels-last',
        action='store_true',
        help='channels-last memory layout: faster convolutions on most devices',
    )
    parser.add_argument(
        '--seed', type=seed, help='random seed; overrides randomness.seed'
    )
    parser.add_argument(
        '--device',
        choices=('auto', 'cuda'),
        default='auto',
        help='cuda: stop if there is no GPU; auto: use the CPU instead (default: auto)',
    )
    parser.add_argument(
        '--select-by-target-labels',
        action='store_true',
        help='keep the checkpoint that is best on the labelled target test set: only '
        'for benchmarks that report an upper bound, never for real adaptation',
    )
    add_cfg_options(
        parser,
        'override config settings, key=value; for the pretraining '
        'pretrain.options.key=value',
    )
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='job launcher (default: none)',
    )
    # torch.distributed.launch gives it, torchrun does not.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**32:  # what NumPy takes
        raise argparse.ArgumentTypeError(f'{number} is not from 0 to 2^32 - 1')
    return number


def load_config(args: argparse.Namespace) -> Config:
    cfg = read_config(args.config, args.cfg_options)
    name = os.path.splitext(os.path.basename(args.config))[0]
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{name}'
    cfg.launcher = args.launcher
    cfg.resume = args.resume or cfg.get('resume', False)
    if args.seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=args.seed)
    if args.amp or args.amp_dtype:
        use_mixed_precision(cfg, args.amp_dtype or 'bfloat16')
    cfg.compile = cfg.get('compile') or args.compile
    cfg.channels_last = cfg.get('channels_last') or args.channels_last
    if args.pretrained:
        parts = (cfg.get('pretrain') or {}).get('parts')
        cfg.pretrain = dict(checkpoint=args.pretrained, parts=parts)
    if args.select_by_target_labels:
        if not (cfg.get('default_hooks') or {}).get('checkpoint'):
            raise InputError(
                f'--select-by-target-labels: "{cfg.filename}" saves no checkpoints to '
                'select from. Set default_hooks.checkpoint = '
                'dict(type="AtomicCheckpointHook", by_epoch=False, '
                'interval=500) in it.'
            )
        cfg.default_hooks.checkpoint.save_best = 'target/PCK/Avg'
    return cfg


def use_mixed_precision(cfg: Config, dtype: str) -> None:
    options = {
        'optim_wrapper.type': 'PlayerAmpOptimWrapper',
        'optim_wrapper.dtype': dtype,
    }
    for entry in cfg.optim_wrapper.values():
        if isinstance(entry, dict) and 'optimizer' in entry:
            # What a player says of itself would count.
            entry.pop('type', None)
            entry.pop('dtype', None)
    cfg.merge_from_dict(options)
    if cfg.get('pretrain'):
        cfg.pretrain.options = {**(cfg.pretrain.get('options') or {}), **options}


def require_cuda() -> None:
    if not torch.cuda.is_available():
        raise InputError(
            f'--device cuda: torch {torch.__version__} sees no CUDA device. '
            'Install a CUDA build of torch, or leave --device out to go on '
            'without.'
        )


def main() -> None:
    args = parse_args()
    gc.freeze()  # MMEngine collects garbage often; what was imported is none.
    logging.raiseExceptions = False  # A full disk is said once, below.
    # Data files are not trusted, and checkpoints are data.
    compat.refuse_unsafe_checkpoints()
    with ending_in_one_line():
        if args.device == 'cuda':
            require_cuda()
        train(load_config(args))


if __name__ == '__main__':
    main()
