"""Reading a pickle that may hold numpy arrays and nothing else."""

from __future__ import annotations

import pickle
from typing import Any

from mmregda.errors import InputError

# Everything that numpy's own pickles of arrays, scalars and dtypes refer to,
# under the module names of numpy 1 (``core``) and numpy 2 (``_core``), and the
# helper with which protocol 2 writes the bytes of an array.
_ALLOWED = {
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    ('_codecs', 'encode'),
    *(
        (f'numpy.{core}.{module}', name)
        for core in ('core', '_core')
        for module, name in (
            ('multiarray', '_reconstruct'),
            ('multiarray', 'scalar'),
            ('numeric', '_frombuffer'),
        )
    ),
}


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that builds numpy arrays and plain containers."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f'it refers to "{module}.{name}", and only numpy arrays, '
                'numbers, strings and plain containers are admitted'
            )
        found = super().find_class(module, name)
        if (module, name) == ('numpy', 'dtype'):
            return _plain_dtype
        return found


def _plain_dtype(*args: Any) -> Any:
    """``numpy.dtype``, but not of Python objects.

    An array of objects would call back into the pickle for each element.
    """
    import numpy as np

    dtype = np.dtype(*args)
    if dtype.hasobject:
        raise pickle.UnpicklingError('it holds an array of Python objects')
    return dtype


def load_array_pickle(path: str) -> Any:
    """Load a pickle made of numpy arrays, numbers, strings and containers.

    A pickle is a program: the standard loader runs whatever the file says.
    This one refuses every reference but those to numpy's own array
    constructors, so a file from elsewhere can only be data.

    Args:
        path (str): The pickle file.

    Returns:
        Any: What the file holds.

    Raises:
        InputError: If the file is cut short, is no pickle, or refers to
            anything but numpy arrays.
    """
    try:
        with open(path, 'rb') as file:
            return _ArrayUnpickler(file, encoding='latin1').load()
    except FileNotFoundError:
        raise InputError(f'annotation file "{path}" does not exist') from None
    except MemoryError:
        raise
    except Exception as error:
        # A damaged pickle can raise nearly anything: EOFError, KeyError,
        # ValueError from numpy, ... The cause is the file in every case.
        raise InputError(
            f'annotation file "{path}" can not be read as a pickle of numpy '
            f'arrays: {error or type(error).__name__}. Check that it is the '
            'published file and that its download is complete.'
        ) from error
