"""Opening what others have written."""

from __future__ import annotations

import os
import stat

from mmregda.errors import InputError

LARGEST = 2**31
"""int: Files of more bytes are not read: the largest published annotation has
a tenth of this, and a sparse file can claim any size."""


def read_data_file(path: str, what: str = 'annotation file') -> bytes:
    """Read a whole file, or what a link leads to.

    Raises:
        InputError: If there is no such file, if it cannot be read, if it is
            no ordinary file (a pipe would wait for a writer, a device never
            end) or if it has more than :data:`LARGEST` bytes.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            problem = 'it is a folder'
        elif not stat.S_ISREG(status.st_mode):
            problem = 'it is a pipe or a device, no ordinary file'
        elif os.fspath(path).lower().endswith(('.gz', '.bz2', '.xz', '.zip')):
            problem = 'it is compressed. Unpack it'
        elif status.st_size > LARGEST:
            problem = f'it has {status.st_size} bytes, and {LARGEST} are the most'
        else:
            with open(path, 'rb') as file:
                return file.read(status.st_size)
    except FileNotFoundError:
        raise InputError(f'{what} "{path}" does not exist') from None
    except (OSError, ValueError, MemoryError) as error:
        # ValueError: no file has such a name.
        problem = str(getattr(error, 'strerror', None) or error)
    raise InputError(f'{what} "{path}" cannot be read: {problem}')
