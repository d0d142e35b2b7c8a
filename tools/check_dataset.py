#!/usr/bin/env python
"""Read all data of a config and report problems.

Finds missing, empty or damaged images; empty boxes and boxes outside of the image;
keypoints outside of the image; images in both training and test; annotations that
MMPose leaves out; and image sizes that differ from the annotation file. For the
training target only images and boxes are checked.

Writes summary.md (also printed) and findings.csv. Exit status: 0 no problem, 1 problems
were found, 2 nothing could be read.

python tools/check_dataset.py configs/regda_rhd2h3d.py
"""

import argparse
import os
import sys

from mmregda.command_line import ArgumentParser, add_cfg_options
from mmregda.config_files import read_config
from mmregda.datasets import check_config
from mmregda.errors import ending_in_one_line


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--out', help='output folder (default: work_dirs/<config name>/check)'
    )
    parser.add_argument('--workers', type=int, help='threads (default: one per CPU)')
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.workers is not None and args.workers < 1:
        parser.error('--workers must be at least 1')
    return args


def run(args: argparse.Namespace) -> bool:
    """Check, print and write; whether nothing is wrong."""
    cfg = read_config(args.config, args.cfg_options)
    name = os.path.splitext(os.path.basename(args.config))[0]
    report = check_config(cfg, args.workers)
    out = args.out or f'work_dirs/{name}/check'
    report.write(out)
    print(report.to_markdown())
    print(f'{out}/: summary.md, findings.csv')
    return not report.problems


def main() -> None:
    args = parse_args()
    with ending_in_one_line(status=2):
        clean = run(args)
    sys.exit(0 if clean else 1)


if __name__ == '__main__':
    main()
