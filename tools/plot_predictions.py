#!/usr/bin/env python
"""Draw the same test images under several trained models.

python tools/plot_predictions.py 'source only=work_dirs/source_only' \\
    RegDA=work_dirs/regda --out-dir figures

Writes predictions.jpg. A rule chooses the images, by the errors of two of the runs.
"""

import argparse
import os

from mmregda import compat
from mmregda.command_line import ArgumentParser, add_cfg_options
from mmregda.config_files import merge_options
from mmregda.errors import ending_in_one_line
from mmregda.visualization import (
    labeled,
    load_run,
    plot_predictions,
    predict_run,
)


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        'runs',
        nargs='+',
        help='work directories or config.py:weights.pth, each optionally with label= '
        'in front; baseline first',
    )
    parser.add_argument('--out-dir', default='.', help='output folder (default: .)')
    parser.add_argument(
        '--domain',
        choices=('source', 'target'),
        default='target',
        help='whose test images to draw (default: target)',
    )
    parser.add_argument(
        '--baseline',
        metavar='LABEL',
        help='run whose errors select the images (default: the first)',
    )
    parser.add_argument(
        '--compared',
        metavar='LABEL',
        help='run that is compared with it to select images (default: the last)',
    )
    parser.add_argument(
        '--per-case', type=int, default=2, help='images per kind of case (default: 2)'
    )
    add_cfg_options(
        parser,
        "override settings of all runs' configs, such as "
        'val_dataloader.target.dataset.data_root=FOLDER',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Data files are not trusted, and checkpoints are data.
    compat.refuse_unsafe_checkpoints()
    with ending_in_one_line():
        run(args)


def run(args: argparse.Namespace) -> None:
    runs = {label: load_run(place) for label, place in labeled(args.runs).items()}
    predictions = {}
    for label, found in runs.items():
        merge_options(found.cfg, args.cfg_options or {}, '--cfg-options')
        predictions[label] = predict_run(found, args.domain, progress=label)
    images = os.path.join(args.out_dir, 'predictions.jpg')
    plot_predictions(
        images, predictions, args.baseline, args.compared, per_case=args.per_case
    )
    print(images)


if __name__ == '__main__':
    main()
