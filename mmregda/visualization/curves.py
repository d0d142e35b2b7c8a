"""Reading back what the hooks logged."""

from __future__ import annotations

import json
import math
import os
from glob import escape, glob
from typing import Dict, List, Tuple, Union

from mmregda.datasets.data_files import read_data_file
from mmregda.errors import InputError

Scalars = Dict[str, Tuple[List[int], List[float]]]


def load_scalars(work_dir: str) -> Scalars:
    """The scalars that the latest training in a work directory has logged.

    A training that was interrupted and resumed is one: what a later part has
    logged takes the place of what an earlier one logged from there on.

    Args:
        work_dir (str): The run's ``work_dir``, where ``LocalVisBackend`` has
            written ``*/vis_data/scalars.json``.

    Returns:
        dict[str, tuple[list[int], list[float]]]: Iterations and values by
        name; empty if nothing was logged.

    Raises:
        InputError: If a log is damaged.
    """
    pattern = os.path.join(escape(work_dir), '*', 'vis_data', 'scalars.json')
    scalars: Scalars = {}
    for path in sorted(glob(pattern), reverse=True):
        earlier = _read(path)
        for name, (steps, values) in earlier.items():
            later_steps, later_values = scalars.get(name, ([], []))
            kept = [
                i
                for i, step in enumerate(steps)
                if not later_steps or step < later_steps[0]
            ]
            scalars[name] = (
                [steps[i] for i in kept] + later_steps,
                [values[i] for i in kept] + later_values,
            )
        trained = any(steps[-1] > 0 for steps, _ in earlier.values())
        if trained and not _was_resumed(path):
            break
    return scalars


def _read(path: str) -> Scalars:
    scalars: Scalars = {}
    lines = read_data_file(path, 'log').decode('utf-8', 'replace').split('\n')
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = dict(json.loads(line))
            step = record.pop('step', None)
        except (ValueError, TypeError, RecursionError) as error:
            if number == len(lines):  # A run was stopped while it wrote.
                break
            raise InputError(
                f'log "{path}", line {number}: a JSON object was expected ({error})'
            ) from error
        for name, value in record.items():
            if isinstance(step, int) and isinstance(value, (int, float)):
                steps, values = scalars.setdefault(name, ([], []))
                # Parts that began within one second have one log.
                while steps and steps[-1] >= step:
                    del steps[-1], values[-1]
                steps.append(step)
                values.append(_float(value))
    return scalars


def _float(value: Union[int, float]) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _was_resumed(scalars_path: str) -> bool:
    """Whether the config beside a log says ``resume = True``."""
    config = os.path.join(os.path.dirname(scalars_path), 'config.py')
    if not os.path.isfile(config):
        return False
    with open(config, encoding='utf-8') as file:
        # Laid out or not.
        return any(''.join(line.split()) == 'resume=True' for line in file)
