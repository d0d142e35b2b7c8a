"""One training at a time in a folder."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from typing import IO, Dict, Iterator

from mmengine.dist import is_main_process
from mmengine.logging import print_log

from mmregda.engine.distributed import broadcast_from_main
from mmregda.files import room_to_write

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

# From Linux's prctl.h.
_PR_SET_PDEATHSIG = 1
# What is locked, and by which process.
_held: Dict[IO, int] = {}


@contextmanager
def alone_in(folder: str) -> Iterator[None]:
    """Within, no other training is in here with the same folder.

    It waits for another to be done. Of a process that is killed it is free at
    once: processes that were forked within, such as data workers, do not hold it,
    and on Linux they end with the one that forked them. (PyTorch's workers look
    for that, but not those whose parent is gone before they do so first.)

    Args:
        folder (str): Is made if need be.

    Raises:
        InputError: If it cannot be made.
    """
    with room_to_write(folder):
        os.makedirs(folder, exist_ok=True)
        file = open(os.path.join(folder, 'in_use.lock'), 'a')  # noqa: SIM115
    waiting = False
    with file:
        while not broadcast_from_main(_locked(file)):
            if not waiting:
                message = f'Waiting for another training to be done in "{folder}"'
                print_log(message, logger='current')
            waiting = True
            time.sleep(1)
        _held[file] = os.getpid()
        try:
            yield
        finally:
            _held.pop(file, None)
            # Closing it would not do where something else has it open, too.
            if is_main_process() and fcntl is not None:
                with suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_UN)


def _locked(file: IO) -> bool:
    """Try to lock a file, in the first process for all."""
    if not is_main_process():
        return False
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        # There are file systems that have no locks.
        message = (
            f'"{file.name}" cannot be locked ({error.strerror}): see to it that no '
            'other training is in there meanwhile.'
        )
        print_log(message, logger='current', level=logging.WARNING)
    return True


def _let_go() -> None:
    """In a process that was forked: close what is locked, and end with the parent."""
    parents = set(_held.values())
    for file in _held:
        file.close()
    _held.clear()
    if parents and sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() not in parents:  # It was gone before that.
            os._exit(1)


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_let_go)
