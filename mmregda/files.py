"""Files that are whole or not there, and those that come with the package."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import Iterator, Union

from mmregda.errors import InputError

# Read-only, somebody else's, or a file where a folder is to be.
_FORBIDDEN = (
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
)


def shipped(folder: str) -> str:
    """Where the package, or else the checkout, has its ``configs`` or ``tools``."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, '.mim')
    parent = installed if os.path.isdir(installed) else os.path.dirname(package)
    return os.path.join(parent, folder)


@contextmanager
def atomic_write(path: Union[str, os.PathLike]) -> Iterator[str]:
    """Yield the name to write a file under, which gets its own at the end.

    Whoever looks for the file finds it complete, or as it was before, even
    after the machine has lost its power. If writing fails, nothing is left.

    Raises:
        InputError: If the disk is full, or nothing can be written there.
    """
    # Two that write it at once have each their own, and the last one's is kept.
    partial = f'{os.fspath(path)}.{token_hex(4)}.partial'
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


def write_text(path: str, text: str) -> None:
    """Write a text file that is whole or not there."""
    # The name of an image need not be UTF-8.
    content = text.encode('utf-8', errors='backslashreplace')
    with atomic_write(path) as partial, open(partial, 'wb') as file:
        file.write(content)


def _on_one_path(place: str, other: object) -> bool:
    """Whether one of two files or folders is, or is within, the other."""
    if not isinstance(other, str):
        return False
    one, two = (os.path.join(os.path.abspath(path), '') for path in (place, other))
    return one.startswith(two) or two.startswith(one)


@contextmanager
def room_to_write(path: Union[str, os.PathLike]) -> Iterator[None]:
    """Turn the errors of a disk that takes nothing into an :class:`InputError`."""
    try:
        yield
    except OSError as error:
        place = os.fspath(path)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f'"{place}" cannot be written: {error.strerror}. What was there '
                'before is as it was. Make room and try again (a training goes on '
                'from its last checkpoint with --resume).'
            ) from error
        if error.errno in _FORBIDDEN and _on_one_path(place, error.filename):
            raise InputError(
                f'"{error.filename}" cannot be written: {error.strerror}. Name a '
                'folder that can.'
            ) from error
        raise
