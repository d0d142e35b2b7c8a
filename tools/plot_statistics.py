#!/usr/bin/env python
"""Draw the accuracies of f and f' of runs, and how they differ.

python tools/plot_statistics.py DD=work_dirs/dd RegDA=work_dirs/regda \\
    --out statistics.png
"""

import argparse
import sys

from mmregda import InputError
from mmregda.errors import message_of
from mmregda.visualization import labeled, plot_statistics


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'runs', nargs='+', help='work directories, each as label=work_dir or work_dir'
    )
    parser.add_argument(
        '--out', default='statistics.png', help='.png, .pdf or .svg (statistics.png)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        plot_statistics(args.out, labeled(args.runs))
    except InputError as error:
        sys.exit(f'error: {message_of(error)}')
    print(args.out)


if __name__ == '__main__':
    main()
