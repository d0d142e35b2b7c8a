"""One run at a time in a folder."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import Iterator, List

from filelock import FileLock, Timeout
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from mmregda.engine.distributed import broadcast_from_main
from mmregda.files import room_to_write

# From Linux's prctl.h.
_PR_SET_PDEATHSIG = 1
# The process that holds a lock, once for each that it holds.
_holders: List[int] = []


@contextmanager
def only_run_in(folder: str) -> Iterator[None]:
    """Within, no other run is in here with the same folder; wait for one that is.

    A killed run releases its lock immediately: data workers share the locked file
    with the process that forked them, and end with it (on Linux; elsewhere they are
    not forked).

    Args:
        folder (str): Is made if need be.

    Raises:
        InputError: If nothing can be written there.
    """
    lock = FileLock(os.path.join(folder, 'in_use.lock'))
    waiting = False
    with room_to_write(folder):
        os.makedirs(folder, exist_ok=True)
        while not broadcast_from_main(_acquired(lock)):
            if not waiting:
                message = (
                    f'Waiting for another run to end in "{folder}". If there is none, '
                    'its file system has no locks: name a work_dir elsewhere.'
                )
                print_log(message, logger='current')
            waiting = True
            time.sleep(1)
    _holders.append(os.getpid())
    try:
        yield
    finally:
        if _holders:
            _holders.pop()
        lock.release()


def _acquired(lock: FileLock) -> bool:
    """Try to lock a file, in the first process for all."""
    if not is_main_process():
        return False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except NotImplementedError as error:
        message = (
            f'"{lock.lock_file}" cannot be locked ({error}): start no other run in '
            'this folder meanwhile.'
        )
        print_log(message, logger='current', level=logging.WARNING)
    return True


def _end_with_parent() -> None:
    """In a process that a run has forked: end when the run does.

    PyTorch's workers look for that themselves, but only every few seconds.
    """
    holders = set(_holders)
    _holders.clear()
    if holders and sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() not in holders:  # It was gone before that.
            os._exit(1)


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_end_with_parent)
