"""Reading annotation files, which are data from elsewhere."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import Any, Iterator

import numpy as np
import scipy.io

from mmregda.errors import InputError


def load_json(path: str) -> Any:
    """Load a JSON file.

    Args:
        path (str): The file.

    Returns:
        Any: What the file holds. Python's reader admits ``NaN`` and
        ``Infinity``, so numbers need a look of their own (see
        :func:`~mmregda.datasets.published.finite_array`).

    Raises:
        InputError: If the file is missing, is cut short or is not JSON.
    """
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except FileNotFoundError:
        raise InputError(f'annotation file "{path}" does not exist') from None
    except OSError as error:
        raise InputError(
            f'annotation file "{path}" can not be read: {error.strerror}'
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f'annotation file "{path}" is not valid JSON ({error}). Check that '
            'its download is complete.'
        ) from error


def load_mat(path: str, variable: str) -> np.ndarray:
    """Load one variable of a MATLAB file (version 7 or older).

    Args:
        path (str): The file.
        variable (str): Name of the variable.

    Returns:
        np.ndarray: Its value.

    Raises:
        InputError: If the file is missing, cut short, no such file, or has no
            such variable.
    """
    try:
        with open(path, 'rb') as file:
            content = scipy.io.loadmat(file, variable_names=[variable])
    except FileNotFoundError:
        raise InputError(f'annotation file "{path}" does not exist') from None
    except Exception as error:
        # A damaged file can raise nearly anything: the reader trusts the
        # lengths that the file states.
        raise InputError(
            f'annotation file "{path}" can not be read as a MATLAB file: '
            f'{str(error) or type(error).__name__}. Check that its download is '
            'complete.'
        ) from error
    if variable not in content:
        raise InputError(
            f'annotation file "{path}" has no variable "{variable}". Check that it '
            'is the published file.'
        )
    return content[variable]


@contextmanager
def expecting(path: str, expected: str) -> Iterator[None]:
    """Turn what goes wrong on unexpected content into an :class:`InputError`.

    Args:
        path (str): The annotation file.
        expected (str): What should have been there, for the message.

    Raises:
        InputError: In place of the errors that a missing key, a wrong type or a
            wrong count causes.
    """
    try:
        yield
    except (
        TypeError,
        AttributeError,
        LookupError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        raise InputError(
            f'annotation file "{path}" is not as published: expected {expected} '
            f'({type(error).__name__}: {error})'
        ) from error
