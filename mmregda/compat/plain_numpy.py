"""Stand-ins for numpy's constructors, for pickles from elsewhere.

numpy believes what a pickled type says of itself, and reads memory that is not
its own where it lies. These take what plain arrays and numbers are made of, and
validate it before numpy sees it.
"""

from __future__ import annotations

import pickle
from typing import Any, Sequence

import numpy as np


class PlainType:
    """Stands for ``numpy.dtype``: a plain type of elements.

    Structured and object types are refused: a structure's offsets may point
    outside of the array, an object's bytes are taken for a pointer.

    Args:
        code (str): As of ``numpy.dtype``, ``'f4'`` for example.

    Raises:
        pickle.UnpicklingError: If it is another.
    """

    def __init__(self, code: str, *_: Any) -> None:
        if not isinstance(code, str):
            raise pickle.UnpicklingError('it names a type by something else than text')
        self.plain = np.dtype(code)
        if self.plain.kind not in 'biufcSU':
            raise pickle.UnpicklingError(f'it holds an array of type "{code}"')

    def __setstate__(self, state: tuple) -> None:
        if not isinstance(state, tuple) or len(state) < 5:
            raise pickle.UnpicklingError('it holds a type that is none')
        _, byte_order, subarray, names, fields = state[:5]
        if not subarray is names is fields is None:
            raise pickle.UnpicklingError('it holds a structured array')
        self.plain = self.plain.newbyteorder(byte_order)


class PlainArray(np.ndarray):
    """Stands for ``numpy.ndarray``: empty, until it is given its state.

    Pickled again it is an ordinary array.

    Raises:
        pickle.UnpicklingError: If its state is not that of a plain array.
    """

    def __new__(cls, *_: Any) -> PlainArray:
        return super().__new__(cls, 0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        order = 'F' if is_fortran else 'C'
        super().__setstate__(array_of(data, dtype, shape, order).__reduce__()[2])

    def __reduce_ex__(self, protocol: int) -> tuple:
        return np.asarray(self).__reduce_ex__(protocol)


def array_of(
    data: bytes, dtype: PlainType, shape: Sequence[int], order: str
) -> np.ndarray:
    """An array over the bytes of its elements.

    Raises:
        pickle.UnpicklingError: If type or bytes are something else.
        ValueError: If there are not as many bytes as the shape asks for.
    """
    if not isinstance(dtype, PlainType):
        raise pickle.UnpicklingError('it holds an array without a type')
    if isinstance(data, str):  # The bytes of Python 2.
        data = data.encode('latin1')
    # No other buffer: an array's would move when the array is filled anew.
    if not isinstance(data, (bytes, bytearray)):
        raise pickle.UnpicklingError('it holds an array without bytes')
    return np.frombuffer(data, dtype.plain).reshape(shape, order=order)


def scalar(dtype: PlainType, data: bytes) -> np.generic:
    """Stands for numpy's ``scalar``."""
    return array_of(data, dtype, (), 'C')[()]


def no_bytes() -> bytes:
    """Stands for ``bytes``, as which old protocols write ``b''``.

    The builtin would make as many as it is asked for.
    """
    return b''


def empty_array(*_: Any) -> PlainArray:
    """Stands for numpy's ``_reconstruct``, after which the state follows."""
    return PlainArray()
