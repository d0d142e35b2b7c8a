#!/usr/bin/env python
"""Export a trained model to plain MMPose (without mmregda) and to ONNX.

python tools/export.py CONFIG CHECKPOINT --out exported

Writes NAME.py and NAME-HASH.pth: a config for prediction and the weights of backbone,
neck and head, which MMPose's inferencers load like its own models. Writes NAME.onnx if
onnx and onnxruntime are installed (pip install "mmregda[export]"). docs/export.md
describes its inputs and outputs.
"""

import argparse
import os
from importlib.util import find_spec

from mmregda import InputError, compat
from mmregda.apis.export import plain_mmpose, write_mmpose, write_onnx
from mmregda.command_line import ArgumentParser, add_cfg_options
from mmregda.config_files import read_config
from mmregda.errors import ending_in_one_line
from mmregda.progress import ProgressBars


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out', help='output folder (default: work_dirs/<config name>/exported)'
    )
    add_cfg_options(parser)
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    cfg = read_config(args.config, args.cfg_options)
    name = os.path.splitext(os.path.basename(args.config))[0]
    out = args.out or f'work_dirs/{name}/exported'
    if os.path.realpath(f'{out}/{name}.py') == os.path.realpath(cfg.filename):
        raise InputError(
            f'--out {out}: "{cfg.filename}" is there, which the config for prediction '
            'would replace. Name another folder.'
        )
    missing = [package for package in ('onnx', 'onnxruntime') if not find_spec(package)]
    with ProgressBars() as bars:
        bar = bars.add_task('plain model', total=3 - bool(missing))
        plain, weights = plain_mmpose(cfg, args.checkpoint)
        needed = (plain.get('custom_imports') or {}).get('imports')
        if needed:
            print(
                f'MMPose lacks parts of it: the config imports {", ".join(needed)}, '
                'which has to be installed where it is used. The ONNX file does not '
                'need it.'
            )
        bars.update(bar, advance=1, description='checkpoint')
        config, checkpoint = write_mmpose(plain, weights, out, name)
        print(f'{config}\n{checkpoint}: {os.path.getsize(checkpoint) / 2**20:.1f} MB')
        bars.update(bar, advance=1, description='ONNX')
        if not missing:
            path = os.path.join(out, f'{name}.onnx')
            difference = write_onnx(plain, weights, path)
            size = os.path.getsize(path) / 2**20
            of = f"PyTorch's logits to {difference:.1e} of their range"
            print(f'{path}: {size:.1f} MB, {of}')
            bars.update(bar, advance=1, description='exported')
    if missing:
        print(f'No ONNX file, which needs: pip install {" ".join(missing)}')


def main() -> None:
    args = parse_args()
    # Data files are not trusted, and checkpoints are data.
    compat.refuse_unsafe_checkpoints()
    with ending_in_one_line():
        run(args)


if __name__ == '__main__':
    main()
