"""How the benchmarks print what they found."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from typing import Iterable, Sequence

import cv2
import PIL
import torch
from rich.console import Console

from mmregda.benchmark.plan import processor_name
from mmregda.benchmark.tables import to_markdown
from mmregda.progress import ProgressBars


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first row is its head, the first column its names."""
    head, *body = rows
    return to_markdown((head, body))


def track(sequence: Iterable, title: str) -> Iterable:
    """Iterate and show progress, on stderr: tables on stdout go into a file."""
    console, is_shown = Console(stderr=True), sys.stdout.isatty()
    with ProgressBars(console=console, redirect_stdout=is_shown) as bars:
        yield from bars.track(sequence, description=title)


def machine() -> str:
    """What the figures depend on, in a line."""
    name = processor_name()
    if torch.cuda.is_available():
        name += f', {torch.cuda.get_device_name()}'
    load = f', load {os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else ''
    return (
        f'{os.cpu_count()} cores of {name}{load}; Python {platform.python_version()}, '
        f'PyTorch {torch.__version__}, {torch.get_num_threads()} threads; '
        f'OpenCV {cv2.__version__}, Pillow {PIL.__version__}.'
    )


def quartiles(values: Sequence[float], digits: str = '.2f') -> str:
    """The median, and the quartiles behind it."""
    if len(values) < 2:
        return f'{values[0]:{digits}}'
    low, middle, high = statistics.quantiles(values, n=4, method='inclusive')
    return f'{middle:{digits}} ({low:{digits}} to {high:{digits}})'
