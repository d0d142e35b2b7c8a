#!/usr/bin/env python
"""Draw the accuracies of f and f' and their disagreement for each run.

python tools/plot_statistics.py DD=work_dirs/dd RegDA=work_dirs/regda \\
    --out statistics.png
"""

import argparse

from mmregda.command_line import ArgumentParser
from mmregda.errors import ending_in_one_line
from mmregda.visualization import labeled, plot_statistics


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        'runs', nargs='+', help='work directories, each as work_dir or label=work_dir'
    )
    parser.add_argument(
        '--out',
        default='statistics.png',
        help='output .png, .pdf or .svg (default: statistics.png)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with ending_in_one_line():
        plot_statistics(args.out, labeled(args.runs))
    print(args.out)


if __name__ == '__main__':
    main()
