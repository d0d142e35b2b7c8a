"""Render a synthetic domain pair into the layouts of published datasets."""

import argparse

from mmregda.datasets.synthetic import write_hand_pair


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    pairs = parser.add_subparsers(dest='pair', required=True)
    hands = pairs.add_parser(
        'hands', help='clean (RHD layout) and photograph-like (H3D layout)'
    )
    hands.add_argument('out', help='folder that receives both datasets')
    hands.add_argument('--num-source-train', type=int, default=1700)
    hands.add_argument('--num-source-test', type=int, default=300)
    hands.add_argument('--num-target', type=int, default=2000)
    hands.add_argument('--seed', type=int, default=0)
    hands.add_argument('--workers', type=int, help='processes (default: one a CPU)')
    hands.add_argument(
        '--overwrite',
        action='store_true',
        help='replace data that was generated with other parameters',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        write_hand_pair(
            args.out,
            num_source_train=args.num_source_train,
            num_source_test=args.num_source_test,
            num_target=args.num_target,
            seed=args.seed,
            num_workers=args.workers,
            overwrite=args.overwrite,
        )
    except FileExistsError as error:
        raise SystemExit(f'error: {error}') from None


if __name__ == '__main__':
    main()
