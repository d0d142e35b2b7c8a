"""Memory of the host that is freed and taken again."""

from __future__ import annotations

import ctypes
import sys
from typing import Optional

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Have this process keep the memory it frees, for what it takes next.

    Every iteration on a CPU frees all activations and takes them again. Left to
    itself, the C library hands blocks of that size back to the kernel, which
    clears them page by page when they are taken again: a tenth of the time of an
    iteration. The process then holds the most that it has used, as PyTorch's own
    allocator does on a GPU. Where the C library is another than glibc, nothing
    is done.
    """
    library = _glibc()
    if library is not None:
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def release_freed_memory() -> None:
    """Hand back what :func:`keep_freed_memory` has kept so far.

    It is for the moment before processes are forked. They would go on holding
    each of these pages after this process has written to it anew.
    """
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> Optional[ctypes.CDLL]:
    if sys.platform != 'linux':
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, 'gnu_get_libc_version') else None
