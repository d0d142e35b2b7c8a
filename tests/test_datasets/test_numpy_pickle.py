"""A pickle from elsewhere is data or an InputError, and never a program."""

import builtins
import copyreg
import functools
import io
import os
import pickle
import pickletools
import struct
from pathlib import Path

import numpy as np
import pytest

from mmregda import InputError
from mmregda.compat.plain_numpy import PlainType
from mmregda.datasets.numpy_pickle import _ArrayUnpickler, load_array_pickle

SLOW = pytest.mark.slow
REAL_RHD = Path(__file__).parents[3] / 'shared/data/real/RHD/RHD_published_v2'
PROTOCOLS = [pytest.param(p, marks=() if p in (2, 5) else SLOW) for p in range(6)]
PLAIN_DTYPES = (
    '?',
    *(f'{order}{kind}' for order in '<>' for kind in ('i2', 'u4', 'f4', 'f8', 'c16')),
    'i1',
    'u8',
    'f2',
    'S7',
    '<U3',
    '>U3',
)


@pytest.fixture
def load_bytes(tmp_path):
    path = tmp_path / 'annotation.pickle'

    def load(content: bytes):
        path.write_bytes(content)
        return load_array_pickle(str(path))

    return load


@pytest.fixture
def refused(load_bytes, tmp_path):
    """Asserts that a file is refused by one error that names it."""

    def check(content: bytes, match: str = 'cannot be read'):
        with pytest.raises(InputError, match=match) as error:
            load_bytes(content)
        assert str(tmp_path / 'annotation.pickle') in str(error.value)

    return check


def arrays_of(dtype) -> list:
    numbers = np.arange(12).reshape(3, 4)
    values = (numbers % 2 if np.dtype(dtype).kind == '?' else numbers).astype(dtype)
    return [
        values,
        np.asfortranarray(values),
        values[::2, 1:],
        values[1, 2].reshape(()),
        values[:0],
    ]


def assert_same(found, expected):
    # numpy turns the bytes of an array into the machine's order as it reads it.
    assert found.dtype.newbyteorder('=') == expected.dtype.newbyteorder('=')
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('dtype', PLAIN_DTYPES)
def test_arrays_of_plain_types_come_back(load_bytes, dtype, protocol):
    arrays = arrays_of(dtype)
    found = load_bytes(pickle.dumps(arrays, protocol))
    assert len(found) == len(arrays)
    for one, other in zip(found, arrays):
        assert_same(one, other)


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_scalars_and_plain_containers_come_back(load_bytes, protocol):
    data = {
        3: dict(a=[1, 2.5, None, True, 'é', b'bytes', b'', 10**30]),
        'pair': (np.float32(1.5), np.int64(-7), np.bool_(True), np.str_('x')),
    }
    found = load_bytes(pickle.dumps(data, protocol))
    assert found == data
    for one, other in zip(found['pair'], data['pair']):
        assert type(one) is type(other)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('core', ['core', '_core'])
def test_both_names_of_numpys_core_are_known(load_bytes, protocol, core):
    arrays = [np.arange(6, dtype='f4').reshape(2, 3), np.ones(2)]
    content = pickle.dumps(dict(arrays=arrays, scalar=np.float32(2)), protocol)
    found = load_bytes(with_module_names(content, core))
    assert_same(found['arrays'][0], arrays[0])
    assert_same(found['arrays'][1], arrays[1])
    assert found['scalar'] == 2


def with_module_names(content: bytes, core: str) -> bytes:
    """The same pickle, without frames, its numpy modules spelt in one way."""
    names = [
        argument
        for opcode, argument, _ in pickletools.genops(content)
        if isinstance(argument, str) and argument.startswith('numpy.')
    ]
    assert names, 'the pickle names no module of numpy'
    content = without_frames(content)
    for name in {n.split(' ')[0] for n in names}:
        other = f'numpy.{core}.{name.split(".")[2]}'
        for opcode in (b'\x8c', b'c'):
            length = (
                (bytes([len(name)]), bytes([len(other)]))
                if opcode == b'\x8c'
                else (b'', b'')
            )
            content = content.replace(
                opcode + length[0] + name.encode(), opcode + length[1] + other.encode()
            )
    assert f'numpy.{core}.'.encode() in content
    return content


def without_frames(content: bytes) -> bytes:
    """A frame's length would have to follow every edit."""
    frames = [p for op, _, p in pickletools.genops(content) if op.name == 'FRAME']
    for place in reversed(frames):
        content = content[:place] + content[place + 9 :]
    return content


def test_a_pickle_of_python_2_comes_back(load_bytes):
    # As Python 2 and numpy 1 wrote it: bytes are strings of protocol 2.
    array = np.arange(4, dtype='<f4') - 0.3
    content = (
        b'\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n'
        b'K\x00\x85U\x01b\x87R(K\x01K\x04\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R'
        b'(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89'
        b'U\x10' + array.tobytes() + b'tb.'
    )
    assert_same(load_bytes(content), array)


@pytest.mark.skipif(not REAL_RHD.is_dir(), reason=f'no real RHD in {REAL_RHD}')
@pytest.mark.parametrize('folder', ['training', 'evaluation'])
def test_real_rhd_comes_back_as_the_standard_loader_reads_it(folder):
    path = REAL_RHD / folder / f'anno_{folder}.pickle'
    with open(path, 'rb') as file:
        expected = pickle.load(file, encoding='latin1')
    found = load_array_pickle(str(path))
    assert list(found) == list(expected) != []
    for index, image in expected.items():
        assert set(found[index]) == set(image)
        for key, array in image.items():
            assert_same(found[index][key], array)


class Calls:
    """Pickles into a call of a function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize(
    'function, arguments',
    [
        (os.system, ['touch {mark}']),
        (os.mkdir, ['{mark}']),
        (builtins.eval, ["open({mark!r}, 'w')"]),
        (builtins.exec, ["open({mark!r}, 'w')"]),
        (builtins.open, ['{mark}', 'w']),
        (builtins.getattr, ['{mark}', 'upper']),
        (builtins.__import__, ['os']),
        (functools.partial, [os.mkdir, '{mark}']),
        (functools.reduce, [max, '{mark}']),
        (copyreg._reconstructor, [list, object, None]),
        (np.load, ['{mark}']),
        (np.save, ['{mark}', 1]),
        (np.fromfile, ['{mark}']),
    ],
    ids=lambda value: getattr(value, '__qualname__', None) or '',
)
def test_a_call_is_refused_and_not_made(
    refused, tmp_path, function, arguments, protocol
):
    mark = tmp_path / 'mark'
    arguments = [
        a.replace('{mark!r}', repr(str(mark))).replace('{mark}', str(mark))
        if isinstance(a, str)
        else a
        for a in arguments
    ]
    refused(pickle.dumps([Calls(function, *arguments)], protocol), 'refers to')
    assert not mark.exists()


@pytest.mark.parametrize(
    'name',
    ['ndarray.tofile', 'dtype.__class__', 'load', '_core.multiarray.fromfile', ''],
)
def test_a_dotted_or_unknown_name_of_numpy_is_refused(refused, name):
    for module in ('numpy', 'numpy._core.multiarray', 'numpy.core'):
        content = b'\x80\x04' + short_string(module) + short_string(name) + b'\x93.'
        refused(content, 'refers to')


def short_string(text: str) -> bytes:
    return b'\x8c' + bytes([len(text)]) + text.encode()


@pytest.mark.parametrize(
    'content',
    [
        b'P1\n.',
        b'\x80\x04K\x01Q.',
        b'\x80\x04\x82\x01.',
        b'\x80\x04\x84\x01\x00\x00\x00.',
        # Names of the stack that are no strings.
        b'\x80\x04K\x01K\x02\x93.',
        # numpy.ndarray called; numpy.dtype made without a call.
        b'\x80\x02cnumpy\nndarray\nK\x05\x85R.',
        b'\x80\x02cnumpy\ndtype\n)\x81.',
        b'(inumpy\nndarray\n.',
        # Attributes set on what a name refers to.
        b'\x80\x02cnumpy\ndtype\nN}U\x08__call__K\x01s\x86b.',
        b'\x80\x02cnumpy\nndarray\n}U\x0c__setstate__K\x01sb.',
    ],
    ids=lambda content: repr(content)[2:30],
)
def test_other_ways_to_reach_an_object_are_refused(refused, content):
    refused(content)


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_arrays_of_anything_but_plain_types_are_refused(refused, protocol):
    for array in (
        np.array([None, 'text'], dtype=object),
        np.array([(1, None)], dtype=[('number', 'i4'), ('any', object)]),
        np.array([(1, 2.0)], dtype=[('number', 'i4'), ('other', 'f4')]),
        np.array(['2026-01-01'], dtype='datetime64[D]'),
        np.zeros(2, dtype='V8'),
    ):
        refused(pickle.dumps(array, protocol))


def array_pickle(code='f4', order='<', inner=(None, None, None), flags=0, **state):
    """The program of an array, with any part of it exchanged."""
    state = dict(dict(shape=(2,), data=b'\0' * 8, fortran=False), **state)
    buffer = io.BytesIO()
    pickler = pickle._Pickler(buffer, 2)

    class Name:
        def __init__(self, module, name):
            self.text = f'c{module}\n{name}\n'.encode()

    pickler.dispatch = dict(pickle._Pickler.dispatch)
    pickler.dispatch[Name] = lambda self, name: self.write(name.text)
    # A pickle has no bytes before protocol 3 but those of Python 2.
    pickler.dispatch[bytes] = lambda self, text: self.write(
        b'T' + struct.pack('<i', len(text)) + text
    )
    save, write = pickler.save, pickler.write
    write(b'\x80\x02')
    save(Name('numpy.core.multiarray', '_reconstruct'))
    save((Name('numpy', 'ndarray'), (0,), 'b'))
    write(b'R(K\x01')
    save(state['shape'])
    save(Name('numpy', 'dtype'))
    save((code, 0, 1))
    write(b'R')
    save((3, order, *inner, -1, -1, flags))
    write(b'b')
    save(state['fortran'])
    save(state['data'])
    write(b'tb.')
    return buffer.getvalue()


def test_a_forged_array_is_refused(refused, load_bytes):
    assert_same(load_bytes(array_pickle()), np.zeros(2, '<f4'))
    for forged in (
        dict(code='O'),
        dict(code='O', data=['a', 'b']),
        dict(code='f4,f4', shape=(1,)),
        dict(code='2f4', shape=(1,)),
        dict(code='V8', shape=(1,)),
        dict(code='V8', shape=(1,), flags=63),
        dict(code='no type'),
        dict(code=7),
        dict(order='?'),
        dict(inner=(None, ('x',), {'x': (1, 10**6)})),
        dict(inner=(('f4', (2,)), None, None)),
        dict(shape=(3,)),
        dict(shape=(2**40,)),
        dict(shape=(2**62, 2**62)),
        dict(shape=(-2, -1)),
        dict(shape=('2',)),
        dict(shape=(2.0,)),
        dict(data=b'\0' * 7),
        dict(data=None),
        dict(data=[0.0, 0.0]),
        dict(data={}),
    ):
        refused(array_pickle(**forged))


def test_flags_of_a_forged_type_are_not_believed(load_bytes):
    # 63 marks the elements as pointers to Python objects.
    assert_same(load_bytes(array_pickle(flags=63)), np.zeros(2, '<f4'))


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\x80',
        b'\x80\x04',
        b'.',
        b'not a pickle',
        b'\x89PNG\r\n\x1a\n' + bytes(50),
        b'PK\x03\x04' + bytes(50),
        b'<!DOCTYPE html><html></html>',
        b'{"json": 1}',
        b'\x80\xff.',
        bytes(1000),
    ],
    ids=lambda content: repr(content[:8])[2:-1],
)
def test_what_is_no_pickle_is_refused(refused, content):
    refused(content, 'cannot be read as a pickle')


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_a_pickle_cut_short_anywhere_is_refused(refused, protocol):
    content = pickle.dumps({1: dict(uv_vis=np.ones((4, 3), 'f4'))}, protocol)
    for length in range(0, len(content), 3):
        refused(content[:length])


def is_plain(value) -> bool:
    if isinstance(value, dict):
        return all(is_plain(k) and is_plain(v) for k, v in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(is_plain(v) for v in value)
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in 'biufcSU'
    plain = (int, float, complex, str, bytes, bytearray, type(None))
    # What stands for numpy.dtype and numpy's functions, unused.
    stand_ins = _ArrayUnpickler.PLAIN.values()
    return isinstance(value, (*plain, PlainType)) or value in stand_ins


@pytest.mark.slow
@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_a_damaged_pickle_is_plain_data_or_an_input_error(
    load_bytes, monkeypatch, protocol
):
    for harmful in ('system', 'popen', 'remove', 'mkdir'):
        monkeypatch.setattr(os, harmful, lambda *_: pytest.fail('code was run'))
    data = {
        7: dict(uv_vis=np.ones((3, 3), 'f4'), K=np.eye(2), scalar=np.float32(1)),
        8: dict(text='left', empty=np.zeros((0, 3), 'i2')),
    }
    whole = pickle.dumps(data, protocol)
    rng = np.random.default_rng(protocol)
    outcomes = []
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            place, value = rng.integers(len(damaged)), rng.integers(256)
            how = rng.integers(3)
            if how == 0:
                damaged[place] = value
            elif how == 1:
                del damaged[place]
            else:
                damaged.insert(place, value)
        try:
            outcomes.append(is_plain(load_bytes(bytes(damaged))))
        except InputError:
            outcomes.append(None)
    assert False not in outcomes
    assert True in outcomes and None in outcomes


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    path = str(tmp_path / 'none.pickle')
    with pytest.raises(InputError, match='does not exist') as error:
        load_array_pickle(path)
    assert path in str(error.value)


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path):
    with pytest.raises(InputError, match='cannot be read'):
        load_array_pickle(str(tmp_path))
