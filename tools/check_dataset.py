#!/usr/bin/env python
"""Read all data of a config and report what would spoil training.

Images that are missing, empty or damaged; boxes that are empty or outside;
keypoints outside, too few, too many or not finite; images in training and test
alike; annotations that MMPose's readers leave out, and sizes in a file that are not
the images'. Of the training target only images and boxes are looked at.

Writes summary.md (printed too), summary.png and findings.csv. Exit status: 0
clean, 1 problems were found, 2 nothing could be read.

python tools/check_dataset.py configs/regda_rhd2h3d.py
"""

import argparse
import os
import sys

from mmregda.command_line import ArgumentParser, add_cfg_options
from mmregda.config_files import read_config
from mmregda.datasets import check_config
from mmregda.errors import ending_in_one_line
from mmregda.visualization import write_dataset_report


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--out', help='folder of the summary (default: work_dirs/<config name>/check)'
    )
    parser.add_argument('--workers', type=int, help='processes (default: one a CPU)')
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
    write_dataset_report(out, report)
    print(report.to_markdown())
    print(f'{out}/: summary.md, summary.png, findings.csv')
    return not report.problems


def main() -> None:
    args = parse_args()
    with ending_in_one_line(status=2):
        clean = run(args)
    sys.exit(0 if clean else 1)


if __name__ == '__main__':
    main()
