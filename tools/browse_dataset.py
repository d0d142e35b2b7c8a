#!/usr/bin/env python
"""Draw augmented training samples of both domains side by side.

Keypoints are read from the training targets (heatmaps and keypoint weights), not from
the annotation, so a wrong codec shows. No display is needed.

python tools/browse_dataset.py configs/regda_rhd2h3d.py
"""

import argparse
import os

from mmregda.command_line import ArgumentParser, add_cfg_options
from mmregda.config_files import read_config
from mmregda.errors import ending_in_one_line
from mmregda.visualization import draw_samples, write_sample_sheet


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--out',
        help='output PNG (default: work_dirs/<config name>/samples.png)',
    )
    parser.add_argument(
        '--num', type=int, default=8, help='samples per domain (default: 8)'
    )
    parser.add_argument(
        '--stage',
        choices=('before', 'after'),
        default='after',
        help='draw before or after augmentation (default: after)',
    )
    parser.add_argument('--seed', type=int, default=0, help='random seed (default: 0)')
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.num < 1:
        parser.error('--num must be at least 1')
    return args


def run(args: argparse.Namespace) -> str:
    cfg = read_config(args.config, args.cfg_options)
    name = os.path.splitext(os.path.basename(args.config))[0]
    samples = draw_samples(cfg, num=args.num, seed=args.seed, stage=args.stage)
    out = args.out or f'work_dirs/{name}/samples.png'
    write_sample_sheet(out, samples)
    return out


def main() -> None:
    args = parse_args()
    with ending_in_one_line():
        print(run(args))


if __name__ == '__main__':
    main()
