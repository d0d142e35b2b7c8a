#!/usr/bin/env python
"""Predict keypoints for a folder of images.

python tools/predict.py CONFIG CHECKPOINT
python tools/predict.py CONFIG CHECKPOINT photographs --boxes boxes.csv --draw all

The default for IMAGES is the config's target. Writes

- predictions.json, a COCO file: images (file_name relative to IMAGES), categories
  (keypoint names) and annotations (bbox as x, y, w, h; keypoints as x, y, visibility;
  keypoint_scores), in pixels of the upright image (EXIF orientation applied). The
  visibility is 2 for scores from 0.3, 1 for lower scores, and 0 outside of the image;
- pictures/, the images with skeletons;
- label_first/, the images to label first (least confidence, different poses), as
  pre-annotations for CVAT and Label Studio (docs/own_data.md).

Damaged images are skipped, counted and named, also as left_out in predictions.json.
Exit status: 0 all images were predicted, 1 some were skipped, 2 none was predicted.
"""

import argparse
import os
import sys
from typing import Optional

from mmregda import compat
from mmregda.apis import images_to_predict, predict_images
from mmregda.apis.labelling import write_label_first
from mmregda.command_line import ArgumentParser, add_cfg_options
from mmregda.config_files import read_config
from mmregda.errors import ending_in_one_line, printable
from mmregda.visualization import draw_predictions, write_predictions


def how_many(text: str) -> Optional[int]:
    """``--draw``: a number, or None for all."""
    if text in ('all', 'none'):
        return None if text == 'all' else 0
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f'"{text}" is no number, "all" or "none"')
    return int(text)


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is no positive number')
    return int(text)


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        'images',
        nargs='?',
        help="image folder with any subfolders (default: the config's target)",
    )
    parser.add_argument(
        '--boxes',
        help='boxes of people or hands: a COCO file, a CSV of path,x,y,w,h, or '
        'detections; without it each image of IMAGES is one crop',
    )
    parser.add_argument(
        '--images-json', help='COCO file that a list of detections refers to'
    )
    parser.add_argument(
        '--min-score', type=float, help='skip boxes with a lower score (default: 0.3)'
    )
    parser.add_argument(
        '--out', help='output folder (default: work_dirs/<config name>/predictions)'
    )
    parser.add_argument(
        '--draw',
        type=how_many,
        default=16,
        metavar='N|all|none',
        help='images to draw, evenly spread over the folder (default: 16)',
    )
    parser.add_argument(
        '--label-first',
        type=how_many,
        default=20,
        metavar='N|all|none',
        help='images to write for labelling tools (default: 20)',
    )
    parser.add_argument(
        '--batch-size',
        type=positive,
        help="boxes per batch (default: that of the config's validation)",
    )
    parser.add_argument(
        '--device', help='device, such as cpu or cuda:1 (default: GPU if available)'
    )
    add_cfg_options(parser)
    return parser.parse_args()


def run(args: argparse.Namespace) -> bool:
    """Predict, write and draw; whether nothing was left out."""
    cfg = read_config(args.config, args.cfg_options)
    name = os.path.splitext(os.path.basename(args.config))[0]
    out = args.out or f'work_dirs/{name}/predictions'
    dataset = images_to_predict(
        cfg, args.images, args.boxes, args.images_json, args.min_score
    )
    found = predict_images(
        *(cfg, args.checkpoint, dataset, args.batch_size, args.device),
        progress='predicting',
    )
    path = os.path.join(out, 'predictions.json')
    write_predictions(path, found)
    num_images, num_boxes = len(found['images']), len(found['annotations'])
    print(f'{num_boxes} predictions on {num_images} images: {path}')
    if args.draw != 0:
        pictures = os.path.join(out, 'pictures')
        drawn = draw_predictions(
            *(pictures, found, dataset.root, dataset.metainfo, args.draw),
            progress='drawing',
        )
        print(f'{len(drawn)} pictures: {pictures}/')
    if args.label_first != 0:
        first = os.path.join(out, 'label_first')
        doubt = [1 - annotation['score'] for annotation in found['annotations']]
        names = write_label_first(
            first, found, doubt, dataset.root, args.label_first or num_images
        )
        print(f'{len(names)} images to label first: {first}/')
    left_out = found['left_out']
    if left_out:
        lines = map(printable, left_out)
        print(f'{len(left_out)} left out:', *lines, sep='\n  ', file=sys.stderr)
    return not left_out


def main() -> None:
    args = parse_args()
    # Data files are not trusted, and checkpoints are data.
    compat.refuse_unsafe_checkpoints()
    with ending_in_one_line(status=2):
        complete = run(args)
    sys.exit(0 if complete else 1)


if __name__ == '__main__':
    main()
