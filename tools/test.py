#!/usr/bin/env python
"""Evaluate a checkpoint on the source, the target or both.

python tools/test.py configs/regda_rhd2h3d.py CHECKPOINT --domain target
"""

import argparse
import os

from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from mmregda import InputError, compat
from mmregda.command_line import ArgumentParser, add_cfg_options
from mmregda.config_files import read_config
from mmregda.engine import evaluate
from mmregda.errors import ending_in_one_line


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--domain',
        choices=('source', 'target', 'both'),
        default='both',
        help='domain to evaluate (default: both)',
    )
    parser.add_argument('--work-dir', help='folder for the log')
    add_cfg_options(parser)
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='job launcher for several processes, as in tools/train.py (default: none)',
    )
    return parser.parse_args()


def keep_domain(cfg: Config, domain: str) -> None:
    """Leave only one domain to validate on."""
    for key in ('val_dataloader', 'val_evaluator'):
        if not (cfg.get(key) or {}).get(domain):
            raise InputError(f'{key} of {cfg.filename} has no "{domain}"')
        cfg[key] = {domain: cfg[key][domain]}


def print_table(metrics: dict) -> None:
    table = Table(title='metrics (PCK in percent, EPE in pixels)')
    rows = {}
    for name, value in metrics.items():
        domain, _, rest = name.partition('/')
        if domain not in ('source', 'target'):  # a config with one validation set
            domain, rest = 'all', name
        scale = 100 if rest.startswith('PCK') else 1
        rows.setdefault(rest, {})[domain] = f'{scale * value:.2f}'
    domains = sorted({domain for row in rows.values() for domain in row})
    table.add_column('')
    for domain in domains:
        table.add_column(domain, justify='right')
    for name, row in rows.items():
        table.add_row(name, *(row.get(domain, '') for domain in domains))
    Console().print(table)


def main() -> None:
    args = parse_args()
    # Data files are not trusted, and checkpoints are data.
    compat.refuse_unsafe_checkpoints()
    with ending_in_one_line():
        cfg = read_config(args.config, args.cfg_options)
        name = os.path.splitext(os.path.basename(args.config))[0]
        cfg.work_dir = args.work_dir or f'work_dirs/{name}/test'
        cfg.launcher = args.launcher
        if args.domain != 'both':
            keep_domain(cfg, args.domain)
        metrics = evaluate(cfg, args.checkpoint, 'evaluating')
        if os.environ.get('RANK', '0') == '0':
            print_table(metrics)


if __name__ == '__main__':
    main()
