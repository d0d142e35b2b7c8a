"""How the benchmarks print what they found."""

from __future__ import annotations

import os
import platform
import statistics
from pathlib import Path
from typing import List, Sequence

import cv2
import PIL
import torch

from mmregda.evaluation.tables import to_markdown


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first row is its head, the first column its names."""
    head, *body = rows
    return to_markdown((head, body))


def machine() -> str:
    """What the figures depend on, in a line."""
    name = platform.processor() or platform.machine()
    if Path('/proc/cpuinfo').exists():
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        name = next((x.split(': ')[1] for x in lines if 'model name' in x), name)
    if torch.cuda.is_available():
        name += f', {torch.cuda.get_device_name()}'
    load = f', load {os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else ''
    return (
        f'{os.cpu_count()} cores of {name}{load}; Python {platform.python_version()}, '
        f'PyTorch {torch.__version__}, {torch.get_num_threads()} threads; '
        f'OpenCV {cv2.__version__}, Pillow {PIL.__version__}.'
    )


def quartiles(values: List[float]) -> str:
    """The median, and the quartiles behind it."""
    if len(values) < 2:
        return f'{values[0]:.2f}'
    low, middle, high = statistics.quantiles(values, n=4, method='inclusive')
    return f'{middle:.2f} ({low:.2f} to {high:.2f})'
