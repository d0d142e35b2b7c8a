"""An ordered parallel map with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait

import cv2
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

# Few enough that an interrupt is noticed soon, many enough that handing
# tasks over costs nothing.
_CHUNK = 8


def parallel_map(
    function: Callable,
    tasks: Sequence,
    num_workers: int | None = None,
    description: str = '',
    progress: bool = True,
) -> list:
    """Apply a picklable function to every task, results in order.

    Args:
        function (Callable): Called with one task; must be importable.
        tasks (Sequence): Picklable tasks.
        num_workers (int | None): Processes; None for one a CPU. One worker
            is this process itself. More are spawned, never forked, since a
            fork would inherit the locks of whatever threads are running.
        description (str): Label of the progress bar.
        progress (bool): Whether to show the bar.
    """
    num_workers = min(num_workers or os.cpu_count() or 1, max(len(tasks), 1))
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not progress) as bar:
        job = bar.add_task(description, total=len(tasks))
        results = []
        for result in _results(function, tasks, num_workers):
            results.append(result)
            bar.advance(job)
    return results


def _results(function, tasks, num_workers):
    if num_workers == 1:
        yield from map(function, tasks)
        return
    pool = ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context('spawn'),
        initializer=_start_worker,
    )
    try:
        yield from pool.map(function, tasks, chunksize=_CHUNK)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker():
    # One process a core is the parallelism; threads within would compete.
    cv2.setNumThreads(1)
    # An interrupt is the parent's to handle: it ends the pool in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent():
    """End this worker when its parent is killed and cannot say so."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
