"""An ordered parallel map with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait

import cv2

from mmregda.progress import track

# Few enough that an interrupt is noticed soon, many enough that handing
# tasks over costs nothing.
_CHUNK = 8
# A fork would inherit the locks of OpenCV's threads, and a spawned worker
# imports whatever the program does, which for MMPose takes longer than a
# hundred images: a server imports it once, and every worker is its fork.
_START_METHOD = 'forkserver' if sys.platform == 'linux' else 'spawn'


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
            is this process itself. With more, a script must guard its entry by
            ``if __name__ == '__main__':``.
        description (str): Label of the progress bar.
        progress (bool): Whether to show the bar.
    """
    num_workers = min(num_workers or os.cpu_count() or 1, max(len(tasks), 1))
    label = description if progress else ''
    if num_workers == 1:
        return list(track(map(function, tasks), label, len(tasks)))
    context = multiprocessing.get_context(_START_METHOD)
    if _START_METHOD == 'forkserver':
        context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(
        num_workers,
        mp_context=context,
        initializer=_start_worker,
    )
    try:
        # The processes start here, before the bar has a thread.
        with _one_thread_each():
            results = pool.map(function, tasks, chunksize=_CHUNK)
        return list(track(results, label, len(tasks)))
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each():
    """Let processes that start here compute in one thread.

    One process a core is the parallelism; threads within would compete. NumPy's BLAS
    reads the number when it is imported.
    """
    before = os.environ.get('OMP_NUM_THREADS')
    os.environ['OMP_NUM_THREADS'] = '1'
    try:
        yield
    finally:
        if before is None:
            del os.environ['OMP_NUM_THREADS']
        else:
            os.environ['OMP_NUM_THREADS'] = before


def _start_worker():
    cv2.setNumThreads(1)
    # An interrupt is the parent's to handle: it ends the pool in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent():
    """End this worker when its parent is killed and cannot say so."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
