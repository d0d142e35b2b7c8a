"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import Iterator, Union

from mmregda.errors import InputError


@contextmanager
def whole_file(path: Union[str, os.PathLike]) -> Iterator[str]:
    """Yield the name to write a file under, which gets its own at the end.

    Whoever looks for the file finds it complete, or as it was before, even
    after the machine has lost its power. If writing fails, nothing is left.

    Args:
        path (str | PathLike): The file.

    Raises:
        InputError: If the disk is full.
    """
    partial = f'{os.fspath(path)}.partial'
    with room_to_write(path):
        try:
            yield partial
            with open(partial, 'r+b') as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                os.remove(partial)
            raise


@contextmanager
def room_to_write(path: Union[str, os.PathLike]) -> Iterator[None]:
    """Turn the error of a full disk into an :class:`InputError`.

    Args:
        path (str | PathLike): The file or folder that is written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f'"{os.fspath(path)}" can not be written: {error.strerror}. What was '
            'there before is as it was. Make room and try again (a training goes on '
            'from its last checkpoint with --resume).'
        ) from error
