#!/usr/bin/env python
"""Compare two models on photographs, with or without labels.

python tools/compare.py CONFIG A.pth B.pth
python tools/compare.py CONFIG A.pth B.pth --images photographs --labels few.json

Prints the confidence of both models and their consistency under augmentation on the
target, their PCK on the source, and how many keypoints moved. Writes an HTML page that
needs no network and shows the images with the largest differences first, with both
skeletons, filters and arrow keys. Beside it, label_first/ holds 20 images where they
differ, with B's predictions, for CVAT and Label Studio. With --labels, also prints PCK
of both with 95 % intervals and whether they differ.
"""

import argparse
import os
from typing import List, Tuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmregda import InputError, compat
from mmregda.apis import images_to_predict, predict_images
from mmregda.apis.compare import (
    against_labels,
    as_seen_by,
    augmented,
    displacements,
    evidence,
    mean_pck,
    paired_bootstrap,
)
from mmregda.apis.labelling import write_label_first
from mmregda.command_line import ArgumentParser, add_cfg_options
from mmregda.config_files import read_config
from mmregda.engine.checkpoints import load_network
from mmregda.errors import ending_in_one_line, message_of
from mmregda.visualization import Run, predict_run
from mmregda.visualization.comparison_page import write_comparison

Row = Tuple[str, str, str, str]


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoints', nargs=2, metavar='CHECKPOINT', help='A, B')
    parser.add_argument('--config-a', help='config of A, if its model differs')
    parser.add_argument('--images', help="image folder (default: the config's target)")
    parser.add_argument('--boxes', help='box file, as in tools/predict.py')
    parser.add_argument('--labels', help='COCO file with keypoints of some images')
    parser.add_argument(
        '--thr',
        type=float,
        default=0.05,
        help='distance threshold relative to the box (default: 0.05)',
    )
    parser.add_argument(
        '--out', help='output page (default: work_dirs/<config name>/comparison.html)'
    )
    parser.add_argument(
        '--device', help='device, such as cpu or cuda:1 (default: GPU if available)'
    )
    add_cfg_options(parser)
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    cfg = read_config(args.config, args.cfg_options)
    first = read_config(args.config_a, args.cfg_options) if args.config_a else cfg
    runs = list(zip((first, cfg), args.checkpoints))

    def predict(boxes, progress):
        dataset = images_to_predict(cfg, args.images, boxes)
        found = [
            predict_images(
                *(each, checkpoint, as_seen_by(each, dataset), None, args.device),
                progress=f'{progress} {name}',
            )
            for name, (each, checkpoint) in zip('AB', runs)
        ]
        return dataset, found

    dataset, found = predict(args.boxes, 'images,')
    moved = displacements(*found)
    rows = evidence_rows(runs, dataset, args.device) + source_rows(runs, args.thr)
    if args.labels:
        _, labelled = predict(args.labels, 'labelled images,')
        rows += labelled_rows(args.labels, labelled, args.thr)
    table = Table('', 'A', 'B', '')
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console()
    console.print(table)
    console.print(
        f'{100 * (moved > args.thr).mean():.1f} % of {moved.size} keypoints moved by '
        f'more than {100 * args.thr:g} % of the box'
    )
    name = os.path.splitext(os.path.basename(args.config))[0]
    path = args.out or f'work_dirs/{name}/comparison.html'
    title = f'{name}: two models on {os.path.basename(os.path.abspath(dataset.root))}'
    size = write_comparison(
        *(path, title, tuple(args.checkpoints), tuple(found), moved, dataset.root),
        scores=rows,
        thr=args.thr,
        progress='pictures',
    )
    print(f'{path}: {size / 2**20:.1f} MB')
    first = os.path.join(os.path.dirname(path), 'label_first')
    names = write_label_first(first, found[1], moved.mean(axis=1), dataset.root)
    print(f'{len(names)} images to label first: {first}/')


def evidence_rows(runs, dataset, device) -> List[Row]:
    # Both see the same views, those of CONFIG if it trains on a target.
    chosen = next((cfg for cfg, _ in runs[::-1] if augmented(cfg, dataset)), None)
    if chosen is None:
        return [('without labels', '', '', 'the config trains on no target')]
    views = [augmented(chosen, dataset, cfg) for cfg, _ in runs]
    both = [
        evidence(
            load_network(cfg.model, path, device), seen, progress=f'two views, {name}'
        )
        for name, (cfg, path), seen in zip('AB', runs, views)
    ]
    notes = dict(
        confidence='probability of the most likely position',
        consistency='keypoints placed alike in two views',
    )
    return [
        (name, *(f'{100 * each[name]:.1f} %' for each in both), note)
        for name, note in notes.items()
    ]


def source_rows(runs, thr: float) -> List[Row]:
    try:
        both = [
            predict_run(Run(*each), 'source', f'source, {name}')
            for name, each in zip('AB', runs)
        ]
    except InputError as error:
        return [('PCK on the source', '', '', f'not measured: {message_of(error)}')]
    pck = [mean_pck(each.distance, thr) for each in both]
    note = f'{len(both[0].visible)} samples'
    return [('PCK on the source', *(f'{100 * value:.1f} %' for value in pck), note)]


def labelled_rows(path: str, found, thr: float) -> List[Row]:
    verdict = paired_bootstrap(against_labels(path, *found), thr)
    cells = [
        f'{100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f})'
        for value, low, high in (verdict.one, verdict.other)
    ]
    value, low, high = (100 * number for number in verdict.difference)
    word = 'a real difference' if verdict.is_real else 'may be chance'
    return [
        ('PCK by the labels', *cells, f'{verdict.num_images} images'),
        ('B minus A', '', f'{value:+.1f} ({low:+.1f} to {high:+.1f})', word),
    ]


def main() -> None:
    args = parse_args()
    # Data files are not trusted, and checkpoints are data.
    compat.refuse_unsafe_checkpoints()
    with ending_in_one_line():
        run(args)


if __name__ == '__main__':
    main()
