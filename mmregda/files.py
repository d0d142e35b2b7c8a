"""Files that are whole or not there."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Iterator, Union


@contextmanager
def whole_file(path: Union[str, os.PathLike]) -> Iterator[str]:
    """Yield the name to write a file under, which gets its own at the end.

    Whoever looks for the file finds it complete, or as it was before.

    Args:
        path (str | PathLike): The file.
    """
    partial = f'{os.fspath(path)}.partial'
    yield partial
    os.replace(partial, path)
