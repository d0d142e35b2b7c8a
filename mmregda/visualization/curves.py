"""Reading back what the hooks logged."""

from __future__ import annotations

import json
import os
from glob import glob
from typing import Dict, List, Tuple


def load_scalars(work_dir: str) -> Dict[str, Tuple[List[int], List[float]]]:
    """The scalars that the latest run in a work directory has logged.

    Args:
        work_dir (str): The run's ``work_dir``, where ``LocalVisBackend`` has
            written ``*/vis_data/scalars.json``.

    Returns:
        dict[str, tuple[list[int], list[float]]]: Iterations and values by
        name; empty if nothing was logged.
    """
    files = sorted(glob(os.path.join(work_dir, '*', 'vis_data', 'scalars.json')))
    scalars: Dict[str, Tuple[List[int], List[float]]] = {}
    for path in files[-1:]:
        with open(path, encoding='utf-8') as file:
            for line in file:
                record = json.loads(line)
                step = record.pop('step', None)
                for name, value in record.items():
                    if step is not None and isinstance(value, (int, float)):
                        steps, values = scalars.setdefault(name, ([], []))
                        steps.append(int(step))
                        values.append(float(value))
    return scalars
