#!/usr/bin/env python
"""Mean and spread of several quickstarts as a Markdown table.

for seed in 0 1 2; do
    python tools/quickstart.py --seed $seed --work-dir work_dirs/seed_$seed
done
python tools/summarize.py work_dirs/seed_*/results.json
"""

import argparse
import json

import numpy as np

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
    runs = []
    for path in parser.parse_args().results:
        with open(path, encoding='utf-8') as file:
            runs.append(json.load(file))

    groups = list(runs[0]['regda']['target'])
    print(row(['', *groups, 'Avg on the source']))
    print(row(['---'] + ['--:'] * (len(groups) + 1)))
    for key, label in LABELS.items():
        if all(key in run for run in runs):
            cells = [[run[key]['target'][group] for run in runs] for group in groups]
            cells.append([run[key]['source']['Avg'] for run in runs])
            print(row([label, *map(spread, cells)]))

    gains = [
        run['regda']['target']['Avg'] - run['source_only']['target']['Avg']
        for run in runs
    ]
    seeds = ', '.join(str(run['seed']) for run in runs)
    each = ', '.join(f'{gain:+.1f}' for gain in gains)
    minutes = [sum(run['seconds'].values()) / 60 for run in runs]
    print(
        f'\nPCK@0.05 on the target in percent; mean and standard deviation of '
        f'{len(runs)} seeds ({seeds}).\n'
        f'RegDA over the fair baseline: {spread(gains)} points ({each}).\n'
        f'Minutes a run: {", ".join(f"{m:.1f}" for m in minutes)}.'
    )


def row(cells: list) -> str:
    """One row of a Markdown table."""
    return f'| {" | ".join(cells)} |'


def spread(values: list) -> str:
    """Mean and sample standard deviation."""
    if len(values) < 2:
        return f'{values[0]:.1f}'
    return f'{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}'


if __name__ == '__main__':
    main()
