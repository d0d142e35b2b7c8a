"""One run at a time in a folder."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from typing import Iterator

from filelock import FileLock, Timeout
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from mmregda.engine.distributed import broadcast_from_main
from mmregda.files import room_to_write


@contextmanager
def only_run_in(folder: str) -> Iterator[None]:
    """Within, no other run is in here with the same folder; wait for one that is.

    A killed run releases its lock when its data workers have ended, some seconds later.

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
    try:
        yield
    finally:
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
