"""Which score without labels knows the best checkpoint?

    python -m mmregda.benchmark.validators work_dirs/benchmark

reads the runs of a benchmark whose config validates the target with validators, several
times in a run, such as configs/benchmark/hands_validators.py. The target's labels judge
the validators here; they choose nothing.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
from scipy.stats import spearmanr

from mmregda.benchmark.tables import Table, to_markdown
from mmregda.datasets.annotation_files import load_json
from mmregda.errors import InputError, ending_in_one_line
from mmregda.visualization.curves import load_scalars

PCK = 'target/PCK/Avg'
ITERATION, SOURCE = 'iteration (the last)', 'PCK on the source'


class Checkpoint(NamedTuple):
    """A moment of a run.

    Attributes:
        seed (int): Of the run.
        run (str): Which run of that seed.
        scores (dict[str, float]): Of each validator; more is better.
        pck (float): On the target's test images, in percent.
    """

    seed: int
    run: str
    scores: Dict[str, float]
    pck: float


def checkpoints_of(runs: Sequence[dict]) -> List[Checkpoint]:
    """Every validation of a benchmark's runs at which the target's PCK was measured.

    Beside the validators there are two scores that anybody has: the number of the
    iteration, by which the last is chosen, and accuracy on the source. Runs that learn
    the target's labels (the oracle) are no candidates.

    Args:
        runs (Sequence[dict]): ``runs`` of a benchmark's ``results.json``.

    Raises:
        InputError: If no run has validated the target with validators.
    """
    found = []
    for run in runs:
        if run['method'] in ('start', 'oracle') or run['status'] != 'done':
            continue
        scalars = {
            name: dict(zip(*columns))
            for name, columns in load_scalars(run['folder']).items()
        }
        known = {
            name.rpartition('/')[2]: values
            for name, values in scalars.items()
            if name.startswith('target/validator/')
        }
        known[SOURCE] = scalars.get('source/PCK/Avg', {})
        for step, value in scalars.get(PCK, {}).items():
            scores = {name: values.get(step) for name, values in known.items()}
            scores = {
                name: score for name, score in scores.items() if score is not None
            }
            scores[ITERATION] = step
            found.append(Checkpoint(run['seed'], run['folder'], scores, 100 * value))
    if not any(set(one.scores) - {ITERATION, SOURCE} for one in found):
        raise InputError(
            'no run has validated the target with validators and PCK. Train with '
            'configs/benchmark/hands_validators.py, or put dict(type="MixVal") and '
            'others into val_evaluator.target and set train_cfg.val_interval.'
        )
    return found


def rank_correlation(
    checkpoints: Sequence[Checkpoint], score: str, resamples: int = 1000
) -> Tuple[float, float, float]:
    """Spearman's rank correlation of a score with PCK.

    Args:
        checkpoints (Sequence[Checkpoint]): With the score.
        score (str): Its name.
        resamples (int): For the interval whole runs are drawn again, since the
            checkpoints of one are alike. Defaults to 1000.

    Returns:
        tuple[float, float, float]: The correlation, and the bounds of its 95 %
        bootstrap interval. It is no number where one of both never changes.
    """
    groups = _grouped(checkpoints, lambda one: (one.seed, one.run))
    runs = [np.array([(c.scores[score], c.pck) for c in group]) for group in groups]
    rng = np.random.default_rng(0)
    draws = [
        _spearman([runs[i] for i in rng.integers(len(runs), size=len(runs))])
        for _ in range(resamples)
    ]
    draws = [rho for rho in draws if np.isfinite(rho)] or [np.nan]
    low, high = np.percentile(draws, (2.5, 97.5))
    return _spearman(runs), float(low), float(high)


def _spearman(runs: Sequence[np.ndarray]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of constants, whose correlation is nan
        return float(spearmanr(np.concatenate(runs)).statistic)


def regret(
    checkpoints: Sequence[Checkpoint], score: str, within_runs: bool = False
) -> float:
    """PCK lost by choosing the checkpoint of the best score, in points.

    Args:
        checkpoints (Sequence[Checkpoint]): With the score.
        score (str): Its name.
        within_runs (bool): Whether one is chosen of each run, and not of all runs of a
            seed, methods included.

    Returns:
        float: The mean over runs or seeds. Of equal scores the first counts.
    """
    groups = _grouped(
        checkpoints, lambda one: (one.seed, one.run) if within_runs else one.seed
    )
    lost = [
        max(one.pck for one in group)
        - max(group, key=lambda one: one.scores[score]).pck
        for group in groups
    ]
    return float(np.mean(lost))


def _grouped(
    checkpoints: Sequence[Checkpoint], key: Callable
) -> List[List[Checkpoint]]:
    groups: Dict = {}
    for one in checkpoints:
        groups.setdefault(key(one), []).append(one)
    return list(groups.values())


def table_of_validators(checkpoints: Sequence[Checkpoint]) -> Table:
    """One row for each score, the one with the highest correlation first.

    A checkpoint at which a score is no number does not count for it.
    """
    rows = []
    for score in dict.fromkeys(name for one in checkpoints for name in one.scores):
        known = [c for c in checkpoints if np.isfinite(c.scores.get(score, np.nan))]
        if not known:
            continue
        rho, low, high = rank_correlation(known, score)
        lost = [regret(known, score), regret(known, score, within_runs=True)]
        shown = [f'{rho:+.2f} ({low:+.2f} to {high:+.2f})', *(f'{x:.1f}' for x in lost)]
        rows.append((np.nan_to_num(rho, nan=-2), [score, *shown, str(len(known))]))
    rows.sort(key=lambda row: -row[0])
    head = ['', 'Spearman (95 %)', 'regret, all runs', 'regret, within runs', 'n']
    return head, [cells for _, cells in rows]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', help='of tools/benchmark.py, with results.json')
    args = parser.parse_args()
    with ending_in_one_line():
        results = load_json(str(Path(args.work_dir) / 'results.json'), 'results')
        for pair in dict.fromkeys(run['pair'] for run in results['runs']):
            runs = [run for run in results['runs'] if run['pair'] == pair]
            table = table_of_validators(checkpoints_of(runs))
            print(f'{pair}: scores without labels, and PCK on the target\n')
            print(to_markdown(table), end='\n\n')
        print(f'    python -m mmregda.benchmark.validators {" ".join(sys.argv[1:])}')


if __name__ == '__main__':
    main()
