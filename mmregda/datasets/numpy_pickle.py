"""Reading a pickle that may hold numpy arrays and nothing else."""

from __future__ import annotations

import io
import pickle
from typing import Any, Optional, Sequence

import numpy as np

from mmregda.compat.plain_numpy import (
    PlainArray,
    PlainType,
    array_of,
    empty_array,
    no_bytes,
    scalar,
)
from mmregda.datasets.data_files import read_data_file
from mmregda.errors import InputError


def _frombuffer(
    data: Any,
    dtype: PlainType,
    shape: Sequence[int],
    order: str,
    axis_order: Optional[Sequence[int]] = None,
) -> np.ndarray:
    """Stands for the function by which protocol 5 writes arrays."""
    if axis_order is not None:
        return array_of(data, dtype, shape, 'C').transpose(axis_order)
    return array_of(data, dtype, shape, order)


def _encode(text: str, _: str) -> bytes:
    """Stands for ``_codecs.encode``, with which protocols 0 to 2 write bytes."""
    return text.encode('latin1')


class _ArrayUnpickler(pickle._Unpickler):
    """Calls nothing but what stands for numpy's own constructors of arrays."""

    PLAIN = {
        'numpy.ndarray': None,  # An argument of _reconstruct, never called.
        'numpy.dtype': PlainType,
        'numpy.core.multiarray._reconstruct': empty_array,
        'numpy.core.multiarray.scalar': scalar,
        'numpy.core.numeric._frombuffer': _frombuffer,
        '__builtin__.bytes': no_bytes,
        '_codecs.encode': _encode,
    }
    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 renamed numpy.core to numpy._core.
        found = f'{module}.{name}'.replace('numpy._core.', 'numpy.core.')
        if found not in self.PLAIN:
            raise pickle.UnpicklingError(
                f'it refers to "{module}.{name}", and only numpy arrays, '
                'numbers, strings and plain containers are admitted'
            )
        return self.PLAIN[found]

    def load_build(self) -> None:
        # The standard one sets attributes of whatever there is.
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (PlainArray, PlainType)):
            raise pickle.UnpicklingError('it sets attributes of what is no array')
        self.stack[-1].__setstate__(state)

    def load_obj(self) -> None:
        raise pickle.UnpicklingError('it is made of more than numpy arrays')

    dispatch[pickle.BUILD[0]] = load_build
    for _code in (pickle.OBJ, pickle.INST, pickle.NEWOBJ, pickle.NEWOBJ_EX):
        dispatch[_code[0]] = load_obj


def load_array_pickle(path: str) -> Any:
    """Load a pickle made of numpy arrays, numbers, strings and containers.

    A pickle is a program: the standard loader runs whatever the file says. This one
    admits no reference but those to numpy's own constructors of arrays, and validates
    what it hands to numpy, so that a file from elsewhere can only be data.

    Returns:
        Any: What the file holds. A list may hold another many times over, so that a
        file of a few bytes is endless to whoever walks through it.

    Raises:
        InputError: If the file is missing, is cut short, is no pickle, or refers
            to anything but numpy arrays.
    """
    content = read_data_file(path)
    try:
        return _ArrayUnpickler(io.BytesIO(content), encoding='latin1').load()
    except Exception as error:  # A damaged pickle can raise nearly anything.
        raise InputError(
            f'annotation file "{path}" cannot be read as a pickle of numpy '
            f'arrays: {str(error) or type(error).__name__}. Check that it is the '
            'published file and that its download is complete.'
        ) from error
