"""Reading back what the hooks logged."""

from __future__ import annotations

import json
import math
import os
from glob import escape, glob
from typing import Dict, List, Tuple

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
    scalars: Dict[str, Dict[int, float]] = {}
    for path in sorted(glob(pattern), reverse=True):
        earlier = _read(path)
        for name, values in earlier.items():
            later = scalars.get(name, {})
            first = min(later, default=math.inf)
            kept = {step: value for step, value in values.items() if step < first}
            scalars[name] = {**kept, **later}
        trained = any(max(values) > 0 for values in earlier.values())
        if trained and not _was_resumed(path):
            break
    return {name: (list(v), list(v.values())) for name, v in scalars.items()}


def _read(path: str) -> Dict[str, Dict[int, float]]:
    """The values of one log, by name and iteration."""
    scalars: Dict[str, Dict[int, float]] = {}
    lines = read_data_file(path, 'log').decode('utf-8', 'replace').split('\n')
    for number, line in enumerate(lines, 1):
        try:
            record = dict(json.loads(line.strip() or '{}')).items()
            found = {k: float(v) for k, v in record if isinstance(v, (int, float))}
            step = int(found.pop('step', -1))
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            if number == len(lines):  # A run was stopped while it wrote.
                break
            raise InputError(
                f'log "{path}", line {number}: a JSON object was expected ({error})'
            ) from error
        for name, value in found.items() if step >= 0 else ():
            values = scalars.setdefault(name, {})
            # Parts that began within one second have one log.
            while values and next(reversed(values)) >= step:
                values.popitem()
            values[step] = value
    return scalars


def _was_resumed(scalars_path: str) -> bool:
    """Whether the config beside a log says ``resume = True``."""
    config = os.path.join(os.path.dirname(scalars_path), 'config.py')
    if not os.path.isfile(config):
        return False
    with open(config, encoding='utf-8') as file:
        # Laid out or not.
        return any(''.join(line.split()) == 'resume=True' for line in file)
