#!/usr/bin/env python
"""How long it takes to start: importing, and until the first iteration.

python benchmarks/startup.py
python benchmarks/startup.py --runs 5

Prints two Markdown tables, medians over processes of their own.

Importing: what ``import mmregda`` takes, by package. A package's time is that of
its own modules, without what they import from others (Python's -X importtime).

Starting: the quickstart's training on rendered hands, from the start of the process
to its first iteration, by what it waits for.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List

from report import machine, table

ROOT = Path(__file__).resolve().parents[1]
OPENMMLAB = ('mmpose', 'mmengine', 'mmcv', 'mmdet')


def import_times() -> Dict[str, float]:
    """Seconds that the modules of each package took by themselves."""
    done = subprocess.run(
        [sys.executable, '-X', 'importtime', '-c', 'import mmregda'],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    return packages_of(done.stderr)


def packages_of(report: str) -> Dict[str, float]:
    """What -X importtime printed, added up by package."""
    seconds: Dict[str, float] = {}
    for microseconds, module in re.findall(r'time:\s+(\d+) \|[^|]+\|\s+(\S+)', report):
        package = module.partition('.')[0]
        seconds[package] = seconds.get(package, 0.0) + int(microseconds) / 1e6
    return seconds


def benchmark_imports(runs: int, shown: int = 12) -> str:
    times = [import_times() for _ in range(runs)]
    names = {name for seconds in times for name in seconds}
    median = {n: statistics.median(t.get(n, 0.0) for t in times) for n in names}
    largest = sorted(median, key=median.get, reverse=True)[:shown]
    rows = [['package', 'seconds'], ['all', f'{sum(median.values()):.2f}']]
    rows.append(['mmregda: ours', f'{median["mmregda"]:.2f}'])
    theirs = sum(median.get(name, 0.0) for name in OPENMMLAB)
    rows.append([f'{", ".join(OPENMMLAB)}', f'{theirs:.2f}'])
    rows += [[name, f'{median[name]:.2f}'] for name in largest if name != 'mmregda']
    return table(rows)
