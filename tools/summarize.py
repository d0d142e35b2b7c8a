#!/usr/bin/env python
"""Summarize several quickstart runs in a Markdown table.

for seed in 0 1 2; do
    python tools/quickstart.py --seed $seed --work-dir work_dirs/seed_$seed
done
python tools/summarize.py work_dirs/seed_*/results.json
"""

import math

from mmregda import InputError
from mmregda.benchmark.tables import spread, to_markdown
from mmregda.command_line import ArgumentParser
from mmregda.datasets.annotation_files import load_json
from mmregda.errors import ending_in_one_line

LABELS = dict(
    start='source only: where both start',
    source_only='source only: as many further iterations',
    regda='RegDA',
    oracle='oracle: as many iterations on the labelled target',
)


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('results', nargs='+', help='results.json of each run')
    args = parser.parse_args()
    with ending_in_one_line():
        runs = [load_results(path) for path in args.results]
        for path, run in zip(args.results, runs):
            if list(run['regda']['target']) != list(runs[0]['regda']['target']):
                raise InputError(
                    f'"{path}" and "{args.results[0]}" are of different groups of '
                    'keypoints. Summarize runs of one pair.'
                )
        print(summary(runs))


def load_results(path: str) -> dict:
    """What tools/quickstart.py has written.

    Raises:
        InputError: If it is not that.
    """
    run = load_json(path, 'results file')
    try:
        for domains in run.values():
            for groups in domains.values() if 'target' in _keys(domains) else ():
                # What is no number is null in a file.
                groups.update({n: math.nan for n, v in groups.items() if v is None})
        summary([run])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f'results file "{path}" is not what tools/quickstart.py writes at its end '
            f'({type(error).__name__}: {error}). Give it the results.json of finished '
            'runs.'
        ) from error
    return run


def _keys(value: object) -> list:
    return list(value) if isinstance(value, dict) else []


def summary(runs: list) -> str:
    """The table and what stands below it."""
    groups = list(runs[0]['regda']['target'])
    rows = []
    for key, label in LABELS.items():
        if all(key in run for run in runs):
            cells = [[run[key]['target'][group] for run in runs] for group in groups]
            cells.append([run[key]['source']['Avg'] for run in runs])
            rows.append([label, *map(spread, cells)])
    gains = []
    for reference, name in (
        ('source_only', 'the fair baseline'),
        ('start', 'its start'),
    ):
        found = [
            run['regda']['target']['Avg'] - run[reference]['target']['Avg']
            for run in runs
        ]
        each = ', '.join(f'{gain:+.1f}' for gain in found)
        gains.append(f'RegDA over {name}: {spread(found)} points ({each}).')
    seeds = ', '.join(str(run['seed']) for run in runs)
    minutes = [sum(run['seconds'].values()) / 60 for run in runs]
    return '\n'.join(
        [
            to_markdown((['', *groups, 'Avg on the source'], rows)),
            '',
            f'PCK@0.05 on the target in percent; mean and standard deviation of '
            f'{len(runs)} seeds ({seeds}).',
            *gains,
            f'Minutes a run: {", ".join(f"{m:.1f}" for m in minutes)}.',
        ]
    )


if __name__ == '__main__':
    main()
