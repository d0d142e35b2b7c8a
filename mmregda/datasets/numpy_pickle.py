"""Reading a pickle that may hold numpy arrays and nothing else."""

from __future__ import annotations

import pickle
from typing import Any, Optional, Sequence

import numpy as np

from mmregda.errors import InputError


class _Dtype:
    """Stands for ``numpy.dtype``: a plain type of elements, once validated.

    Structured and object types are refused: a structure's offsets may point
    outside of the array, an object's bytes are taken for a pointer.
    """

    def __init__(self, code: str) -> None:
        self.plain = np.dtype(code)
        if self.plain.kind not in 'biufcSU':
            raise pickle.UnpicklingError(f'it holds an array of type "{code}"')

    def __setstate__(self, state: tuple) -> None:
        _, byte_order, subarray, names, fields = state[:5]
        if not subarray is names is fields is None:
            raise pickle.UnpicklingError('it holds a structured array')
        self.plain = self.plain.newbyteorder(byte_order)


class _Array(np.ndarray):
    """An array whose state is validated before numpy sees it."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        array = _array_of(data, dtype, shape, 'F' if is_fortran else 'C')
        super().__setstate__(array.__reduce__()[2])


def _array_of(data: Any, dtype: _Dtype, shape: Sequence[int], order: str) -> np.ndarray:
    if isinstance(data, str):  # The bytes of Python 2.
        data = data.encode('latin1')
    return np.frombuffer(data, dtype.plain).reshape(shape, order=order)


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that builds numpy arrays and plain containers.

    A pickle calls what it refers to by name. These methods are all that can
    be called; bound, they also have no attribute that a pickle could set.
    """

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 renamed numpy.core to numpy._core.
        found = f'{module}.{name}'.replace('numpy._core.', 'numpy.core.')
        if found == 'numpy.ndarray':
            return None  # An argument of _reconstruct, never called.
        if found not in self._CALLABLES:
            raise pickle.UnpicklingError(
                f'it refers to "{module}.{name}", and only numpy arrays, '
                'numbers, strings and plain containers are admitted'
            )
        return getattr(self, self._CALLABLES[found])

    _CALLABLES = {
        'numpy.dtype': '_dtype',
        'numpy.core.multiarray._reconstruct': '_reconstruct',
        'numpy.core.multiarray.scalar': '_scalar',
        'numpy.core.numeric._frombuffer': '_frombuffer',
        # With these protocols 0 to 2 write bytes.
        '_codecs.encode': '_encode',
        '__builtin__.bytes': '_no_bytes',
    }

    def _dtype(self, code: str, *_: Any) -> _Dtype:
        return _Dtype(code)

    def _reconstruct(self, *_: Any) -> _Array:
        return _Array(0)  # Its state follows.

    def _scalar(self, dtype: _Dtype, data: Any) -> np.generic:
        return _array_of(data, dtype, (), 'C')[()]

    def _frombuffer(
        self,
        data: Any,
        dtype: _Dtype,
        shape: Sequence[int],
        order: str,
        axis_order: Optional[Sequence[int]] = None,
    ) -> np.ndarray:
        if axis_order is not None:
            return _array_of(data, dtype, shape, 'C').transpose(axis_order)
        return _array_of(data, dtype, shape, order)

    def _encode(self, text: str, _: str) -> bytes:
        return text.encode('latin1')

    def _no_bytes(self) -> bytes:
        return b''


def load_array_pickle(path: str) -> Any:
    """Load a pickle made of numpy arrays, numbers, strings and containers.

    A pickle is a program: the standard loader runs whatever the file says.
    This one admits no reference but those to numpy's own constructors of
    arrays, and validates what it hands to numpy, so a file from elsewhere can
    only be data.

    Args:
        path (str): The pickle file.

    Returns:
        Any: What the file holds.

    Raises:
        InputError: If the file is missing, is cut short, is no pickle, refers
            to anything but numpy arrays or asks for more memory than there is.
    """
    try:
        with open(path, 'rb') as file:
            return _ArrayUnpickler(file, encoding='latin1').load()
    except FileNotFoundError:
        raise InputError(f'annotation file "{path}" does not exist') from None
    except Exception as error:
        # A damaged pickle can raise nearly anything: EOFError, KeyError,
        # MemoryError, ValueError from numpy, ... The cause is the file in
        # every case.
        raise InputError(
            f'annotation file "{path}" can not be read as a pickle of numpy '
            f'arrays: {str(error) or type(error).__name__}. Check that it is the '
            'published file and that its download is complete.'
        ) from error
