"""Render a synthetic domain pair in the layouts of published datasets."""

import argparse

from mmregda import InputError
from mmregda.command_line import ArgumentParser
from mmregda.synthetic import write_body_pair, write_hand_pair

# Writer, what it writes, and how many images of the source's two splits and
# of the target by default.
PAIRS = dict(
    hands=(
        write_hand_pair,
        'clean (RHD layout) and photograph-like (H3D layout)',
        (1700, 300, 2000),
    ),
    bodies=(
        write_body_pair,
        'clean (SURREAL layout) and photograph-like (LSP layout)',
        (1700, 600, 1600),
    ),
)


def positive(text):
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'"{text}" is no number above 0')
    return int(text)


def parse_args():
    parser = ArgumentParser(description=__doc__)
    pairs = parser.add_subparsers(dest='pair', required=True)
    for name, (_, description, counts) in PAIRS.items():
        pair = pairs.add_parser(
            name,
            help=description,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        pair.add_argument('out', help='output folder for both datasets')
        for part, count in zip(('source-train', 'source-test', 'target'), counts):
            pair.add_argument(
                f'--num-{part}', type=positive, default=count, help='number of images'
            )
        pair.add_argument(
            '--seed',
            type=int,
            default=0,
            help='random seed; the same seed gives the same bytes',
        )
        pair.add_argument(
            '--workers', type=positive, help='processes; one per CPU if not set'
        )
        pair.add_argument(
            '--overwrite',
            action='store_true',
            help='replace data generated with other parameters',
        )
    return parser.parse_args()


def main():
    args = parse_args()
    write, _, _ = PAIRS[args.pair]
    try:
        write(
            args.out,
            num_source_train=args.num_source_train,
            num_source_test=args.num_source_test,
            num_target=args.num_target,
            seed=args.seed,
            num_workers=args.workers,
            overwrite=args.overwrite,
        )
    except (OSError, ValueError, InputError) as error:
        raise SystemExit(f'error: {error}') from None


if __name__ == '__main__':
    main()
