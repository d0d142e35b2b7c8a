#!/usr/bin/env python
"""Mean and spread of several quickstarts as a Markdown table.

for seed in 0 1 2; do
    python tools/quickstart.py --seed $seed --work-dir work_dirs/seed_$seed
done
python tools/summarize.py work_dirs/seed_*/results.json
"""

import argparse
import sys

from mmregda import InputError
from mmregda.benchmark.tables import spread, to_markdown
from mmregda.datasets.annotation_files import load_json
from mmregda.errors import message_of

LABELS = dict(
    pretrained='source only: where both start',
    source_only='source only: as many further iterations',
    regda='RegDA',
    oracle='oracle: as many iterations on the labelled target',
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('results', nargs='+', help='results.json of each run')
    try:
        print(summary(list(map(load_results, parser.parse_args().results))))
    except InputError as error:
        sys.exit(f'error: {message_of(error)}')


def load_results(path: str) -> dict:
    """What tools/quickstart.py has written.

    Raises:
        InputError: If it is not that.
    """
    run = load_json(path, 'results file')
    try:
        summary([run])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f'results file "{path}" is not what tools/quickstart.py writes at its end '
            f'({type(error).__name__}: {error}). Give it the results.json of finished '
            'runs.'
        ) from error
    return run


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
