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

from mmengine.config import Config, DictAction

from mmregda import InputError
from mmregda.datasets import check_config
from mmregda.errors import message_of
from mmregda.visualization import write_dataset_report


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--out', help='folder of the summary (default: work_dirs/<config name>/check)'
    )
    parser.add_argument('--workers', type=int, help='processes (default: one a CPU)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='overrides, key=value'
    )
    args = parser.parse_args()
    if args.workers is not None and args.workers < 1:
        parser.error('--workers must be at least 1')
    return args


def run(args: argparse.Namespace) -> bool:
    """Check, print and write; whether nothing is wrong."""
    if not os.path.isfile(args.config):
        raise InputError(f'config "{args.config}" does not exist')
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    name = os.path.splitext(os.path.basename(args.config))[0]
    report = check_config(cfg, args.workers)
    out = args.out or f'work_dirs/{name}/check'
    write_dataset_report(out, report)
    print(report.to_markdown())
    print(f'{out}/: summary.md, summary.png, findings.csv')
    return not report.problems


def main() -> None:
    try:
        clean = run(parse_args())
    except InputError as error:
        print(f'error: {message_of(error)}', file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if clean else 1)


if __name__ == '__main__':
    main()
