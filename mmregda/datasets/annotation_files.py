"""Reading annotation files, which are data from elsewhere."""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from typing import Any, Iterator

import numpy as np
import scipy.io

from mmregda.datasets.data_files import read_data_file
from mmregda.errors import InputError

_MAT_NUMBERS = frozenset(
    ('double', 'single', 'logical')
    + tuple(f'{sign}int{bits}' for sign in ('', 'u') for bits in (8, 16, 32, 64))
)


def load_json(path: str, what: str = 'annotation file') -> Any:
    """Load a JSON file in UTF-8, UTF-16 or UTF-32.

    Python's reader admits ``NaN`` and ``Infinity``, so numbers need a look of their
    own (see :func:`~mmregda.datasets.published.finite_array`). Of a key that is there
    twice the last counts.

    Raises:
        InputError: If the file is missing, is cut short or is not JSON.
    """
    content = read_data_file(path, what)
    if not content or content.isspace():
        raise InputError(f'{what} "{path}" is empty. Fetch or write it again.')
    try:
        return json.loads(decode_text(content))
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(
            f'{what} "{path}" is not valid JSON ({error or type(error).__name__}). '
            'Check that its download is complete.'
        ) from error


def decode_text(content: bytes) -> str:
    """Text in UTF-8, UTF-16 or UTF-32, with a byte order mark or without.

    Raises:
        UnicodeDecodeError: If it is no such text.
    """
    # As the standard library does it, but strictly.
    return content.decode(json.detect_encoding(content))


def load_mat(path: str, variable: str) -> np.ndarray:
    """Load one numeric variable of a MATLAB file (version 7 or older).

    Raises:
        InputError: If the file is missing, cut short, no such file, or has no such
            variable of numbers.
    """
    content = read_data_file(path)
    try:
        # From memory: there a claim of absurd length ends where the data does.
        file = io.BytesIO(content)
        kinds = {name: kind for name, _, kind in scipy.io.whosmat(file)}
        kind = kinds.get(variable)
        if kind in _MAT_NUMBERS:
            file.seek(0)
            return scipy.io.loadmat(file, variable_names=[variable])[variable]
    except Exception as error:
        # A damaged file can raise nearly anything: the reader trusts the
        # lengths that the file states.
        raise InputError(
            f'annotation file "{path}" cannot be read as a MATLAB file: '
            f'{str(error) or type(error).__name__}. Check that its download is '
            'complete.'
        ) from error
    # Cells hold cells, which the reader follows down until the stack is full.
    problem = f'is no array of numbers ({kind})' if kind else 'is not there'
    raise InputError(
        f'annotation file "{path}" has no variable "{variable}" to read: it '
        f'{problem}. Check that it is the published file.'
    )


@contextmanager
def expecting(path: str, expected: str) -> Iterator[None]:
    """Turn a missing key, a wrong type or a wrong count into an :class:`InputError`."""
    try:
        yield
    except (
        TypeError,
        AttributeError,
        LookupError,
        ValueError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        raise InputError(
            f'annotation file "{path}" is not as published: expected {expected} '
            f'({type(error).__name__}: {error})'
        ) from error
