"""Reading a pickle that may hold numpy arrays and nothing else."""

from __future__ import annotations

import io
import pickle
from typing import Any, List, Optional, Sequence

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


def _refuse(_: pickle._Unpickler) -> None:
    raise pickle.UnpicklingError(
        'it is made of more than numpy arrays, numbers, strings, lists, tuples and '
        'dictionaries'
    )


class _ArrayUnpickler(pickle._Unpickler):
    """An unpickler that builds numpy arrays and plain containers.

    A pickle is a program for a small machine. This one has no instruction but
    those that put plain data together, and calls nothing but the methods
    below. It is the machine written in Python: that of C makes room for as
    many values as an instruction of five bytes says that there will be.

    Args:
        content (bytes): The pickle.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding='latin1')
        # An array is in its file byte by byte. One that refers to another's
        # bytes would take memory and no room in the file. (Twice: the bytes of
        # old protocols are text first.)
        self._room = 2 * len(content)

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 renamed numpy.core to numpy._core.
        found = f'{module}.{name}'.replace('numpy._core.', 'numpy.core.')
        if found == 'numpy.ndarray':
            return None  # An argument of _reconstruct, never called.
        if found in self._PLAIN:
            return self._PLAIN[found]
        if found in self._COUNTED:
            return getattr(self, self._COUNTED[found])
        raise pickle.UnpicklingError(
            f'it refers to "{module}.{name}", and only numpy arrays, '
            'numbers, strings and plain containers are admitted'
        )

    _PLAIN = {
        'numpy.dtype': PlainType,
        'numpy.core.multiarray._reconstruct': empty_array,
        '__builtin__.bytes': no_bytes,
    }
    _COUNTED = {
        'numpy.core.multiarray.scalar': '_scalar',
        'numpy.core.numeric._frombuffer': '_frombuffer',
        # With this protocols 0 to 2 write bytes.
        '_codecs.encode': '_encode',
    }

    def _scalar(self, dtype: PlainType, data: Any) -> np.generic:
        return scalar(dtype, self._take_bytes(data))

    def _frombuffer(
        self,
        data: Any,
        dtype: PlainType,
        shape: Sequence[int],
        order: str,
        axis_order: Optional[Sequence[int]] = None,
    ) -> np.ndarray:
        data = self._take_bytes(data)
        if axis_order is not None:
            return array_of(data, dtype, shape, 'C').transpose(axis_order)
        return array_of(data, dtype, shape, order)

    def _encode(self, text: str, _: str) -> bytes:
        self._take(len(text))
        return text.encode('latin1')

    def _take_bytes(self, data: Any) -> Any:
        if isinstance(data, str):  # The bytes of Python 2.
            data = data.encode('latin1')
        if isinstance(data, (bytes, bytearray)):
            self._take(len(data))
        return data

    def _take(self, num_bytes: int) -> None:
        self._room -= num_bytes
        if self._room < 0:
            raise pickle.UnpicklingError('it asks for more memory than it has bytes')

    # --- instructions that differ from the standard ones

    def _build(self) -> None:
        state = self.stack.pop()
        built = self.stack[-1]
        if isinstance(built, PlainArray):
            *others, data = state
            state = (*others, self._take_bytes(data))
            built.__setstate__(state)
        elif isinstance(built, PlainType):
            built.__setstate__(state)
        else:
            _refuse(self)

    def _bytearray8(self) -> None:
        # The standard one makes room before it reads.
        (length,) = np.frombuffer(self.read(8), '<u8').tolist()
        self.append(bytearray(self.read(length)))

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set(items)

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self) -> None:
        self._set(self.pop_mark())

    def _set(self, items: List[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            _refuse(self)
        for key, value in zip(items[::2], items[1::2]):
            # The hash of a tuple of tuples of one tuple takes for ever.
            if isinstance(key, tuple):
                raise pickle.UnpicklingError('it has a key that is a tuple')
            target[key] = value

    dispatch = dict.fromkeys(pickle._Unpickler.dispatch, _refuse)
    dispatch.update(
        (getattr(pickle, name)[0], pickle._Unpickler.dispatch[getattr(pickle, name)[0]])
        for name in (
            *('PROTO', 'FRAME', 'STOP', 'MARK', 'POP', 'POP_MARK', 'DUP', 'REDUCE'),
            *('NONE', 'NEWTRUE', 'NEWFALSE', 'INT', 'BININT', 'BININT1', 'BININT2'),
            *('LONG', 'LONG1', 'LONG4', 'FLOAT', 'BINFLOAT', 'STRING', 'BINSTRING'),
            *('SHORT_BINSTRING', 'BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'UNICODE'),
            *('BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'EMPTY_TUPLE', 'TUPLE'),
            *('TUPLE1', 'TUPLE2', 'TUPLE3', 'EMPTY_LIST', 'LIST', 'APPEND', 'APPENDS'),
            *('EMPTY_DICT', 'PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE', 'GET', 'BINGET'),
            *('LONG_BINGET', 'GLOBAL', 'STACK_GLOBAL'),
        )
    )
    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.BYTEARRAY8[0]] = _bytearray8
    dispatch[pickle.DICT[0]] = _dict
    dispatch[pickle.SETITEM[0]] = _setitem
    dispatch[pickle.SETITEMS[0]] = _setitems


def load_array_pickle(path: str) -> Any:
    """Load a pickle made of numpy arrays, numbers, strings and containers.

    A pickle is a program: the standard loader runs whatever the file says.
    This one admits no reference but those to numpy's own constructors of
    arrays, and validates what it hands to numpy, so a file from elsewhere can
    only be data. It takes memory in proportion to the file, whatever the file
    says of itself.

    Args:
        path (str): The pickle file.

    Returns:
        Any: What the file holds. A list or tuple may hold another many times
        over, so that a file of a few bytes is endless to whoever walks through
        it; look at types before content.

    Raises:
        InputError: If the file is missing, is cut short, is no pickle, refers
            to anything but numpy arrays or asks for more memory than there is.
    """
    content = read_data_file(path)
    try:
        return _ArrayUnpickler(content).load()
    except Exception as error:
        # A damaged pickle can raise nearly anything: EOFError, KeyError,
        # MemoryError, ValueError from numpy, ... The cause is the file in
        # every case.
        raise InputError(
            f'annotation file "{path}" cannot be read as a pickle of numpy '
            f'arrays: {str(error) or type(error).__name__}. Check that it is the '
            'published file and that its download is complete.'
        ) from error
