"""No file from elsewhere runs code, takes the memory or breaks off without a word."""

import importlib.util
import io
import json
import os
import pickle
import re
import resource
import signal
import struct
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer
from PIL import Image

from mmregda import InputError, compat
from mmregda.datasets import H3DDataset, RHDDataset, UnlabeledImages
from mmregda.datasets.annotation_files import load_json, load_mat
from mmregda.datasets.image_loading import image_size, read_image
from mmregda.datasets.numpy_pickle import load_array_pickle
from mmregda.datasets.published import finite_array
from mmregda.engine.checkpoints import read_checkpoint, weights_of
from mmregda.errors import message_of

spec = importlib.util.spec_from_file_location('fuzz', ROOT / 'benchmarks' / 'fuzz.py')
fuzz = importlib.util.module_from_spec(spec)
sys.modules['fuzz'] = fuzz
spec.loader.exec_module(fuzz)

DETERMINISTIC = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NAMES = list(fuzz.readers())
FEW_BYTES = 2**16


@pytest.fixture
def write(tmp_path):
    def write_file(content: bytes, name: str = 'a.file') -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write_file


@pytest.fixture
def little_memory():
    """On Linux, no more than 256 MiB beyond what the process has."""
    if sys.platform != 'linux':
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limit = pages * resource.getpagesize() + 2**28
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def refused(path, read, match):
    with pytest.raises(InputError, match=match) as error:
        read(path)
    assert os.path.basename(path) in str(error.value)


# --- every reader, a few mutations of a valid file; the benchmark goes on for hours


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='memory is measured in /proc')
@pytest.mark.parametrize('name', NAMES)
def test_mutations_of_a_valid_file_are_read_or_refused(name):
    counts, peak, findings = fuzz.fuzz(name, seed=1, seconds=20, most=25)
    assert not findings, findings[0][0]
    assert sum(counts.values()) == 25 and counts['refused']
    assert peak < 2**29


def test_the_fuzz_sees_what_it_looks_for(tmp_path, monkeypatch, request):
    def reads(read):
        reader = fuzz.Reader('a', b'', read, {})
        return fuzz.outcome(reader, tmp_path, b'x')

    def raises(error):
        raise error

    def refuses(path, read):
        try:
            read()
        except Exception as error:
            raise InputError(f'{path}') from error

    monkeypatch.setattr(fuzz, 'SECONDS', 1)
    before = signal.signal(signal.SIGALRM, fuzz._too_slow)
    request.addfinalizer(lambda: signal.signal(signal.SIGALRM, before))
    sys.addaudithook(fuzz._audit)
    assert reads(lambda root, path: None) == ('read', '')
    assert reads(lambda root, path: raises(InputError(f'{path}')))[0] == 'refused'
    assert reads(lambda root, path: raises(InputError('a file')))[0] == 'FOUND'
    assert reads(lambda root, path: raises(KeyError()))[0] == 'FOUND'
    # What readers turn into a refusal.
    for read in (lambda: time.sleep(5), lambda: raises(MemoryError())):
        assert reads(lambda root, path, r=read: refuses(path, r))[0] == 'FOUND'
    assert 'os.system' in reads(lambda root, path: os.system('true'))[1]
    assert 'open' in reads(lambda root, path: (root / 'b').write_text(''))[1]


# --- pickles


def array_program(data: bytes, code: bytes = b'f4') -> bytes:
    """Pushes an array of such bytes; the next one is its state again."""
    return (
        b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR'
        + state_program(data, code)
    )


def state_program(data: bytes, code: bytes = b'f4') -> bytes:
    dtype = (
        b'cnumpy\ndtype\n(U'
        + bytes([len(code)])
        + code
        + b'K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb'
    )
    length = struct.pack('<i', len(data) // 4)
    content = b'B' + struct.pack('<I', len(data)) + data
    return b'(K\x01(J' + length + b't' + dtype + b'\x89' + content + b'tb'


def test_an_array_over_the_memory_of_another_is_refused(write):
    # The first one's memory is given back when it is filled for a second time.
    first = array_program(bytes(4096)) + b'q\x01'
    dtype = b'cnumpy\ndtype\n(U\x02f4K\x00K\x01tR'
    view = b'cnumpy.core.numeric\n_frombuffer\n(h\x01' + dtype + b'(M\x00\x04tU\x01CtR'
    again = b'h\x01' + state_program(bytes(8)) + b'0'
    program = b'\x80\x04(' + first + view + again + b'l.'
    refused(write(program), load_array_pickle, 'an array without bytes')


def rhd_of(folder: Path, content: bytes):
    path = folder / 'training' / 'anno_training.pickle'
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        RHDDataset(str(folder), require_images=False)
    assert str(path) in str(error.value)
    return str(error.value)


def test_a_list_of_lists_of_one_list_is_not_walked_through(tmp_path, little_memory):
    lists = b'](K\x01K\x02e' + b'q\x010](h\x01h\x01e' * 60
    program = b'\x80\x02}K\x00}U\x06uv_vis' + lists + b'ss.'
    assert 'entry 0 has a list' in rhd_of(tmp_path, program)


@pytest.mark.parametrize(
    'number', [-1, 10**5, 10**30, pytest.param(2**80_000, id='huge')]
)
def test_a_number_that_no_image_has_is_refused(tmp_path, number):
    entry = dict(uv_vis=np.ones((42, 3)))
    assert 'no image has the number' in rhd_of(tmp_path, pickle.dumps({number: entry}))


# --- JSON

HOSTILE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([10**400, float('nan'), '../../etc/passwd', '/etc/passwd', '\0']),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=12,
)


@pytest.mark.slow
@settings(DETERMINISTIC, max_examples=25)
@given(HOSTILE, st.sampled_from(['name', 'keypoint2d', 'without_object', None]))
def test_any_json_is_read_or_refused_by_h3d(tmp_path, value, key):
    entry = dict(name='a.png', keypoint2d=[[1, 2]] * 21, without_object=1)
    content = value if key is None else [dict(entry, **{key: value})]
    (tmp_path / 'annotation.json').write_text(json.dumps(content))
    try:
        dataset = H3DDataset(str(tmp_path), split='all', require_images=False)
    except InputError as error:
        assert str(tmp_path) in str(error)
    else:
        info = dataset.get_data_info(0)
        assert np.isfinite(info['keypoints']).all()
        assert os.path.abspath(info['img_path']).startswith(str(tmp_path))


@DETERMINISTIC
@given(HOSTILE)
def test_numbers_are_finite_and_of_their_shape_or_refused(value):
    try:
        found = finite_array(value, (2, 2))
    except ValueError:
        return
    assert found.shape == (2, 2) and np.isfinite(found).all()


@pytest.mark.parametrize('coding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32', 'latin1'])
def test_json_is_unicode_with_a_mark_or_without(write, coding):
    path = write('{"é": [1]}'.encode(coding))
    if coding.startswith('utf'):
        assert load_json(path) == {'é': [1]}
    else:
        refused(path, load_json, 'not valid JSON')


def test_of_a_key_that_is_there_twice_the_last_counts(write):
    assert load_json(write(b'{"a": 1, "a": 2}')) == {'a': 2}


@pytest.mark.parametrize('depth', [2_000, 10**6])
def test_json_without_end_is_refused(write, depth):
    refused(write(b'[' * depth + b']' * depth), load_json, 'not valid JSON')


# --- names of images


@pytest.mark.parametrize('require_images', [True, False])
@pytest.mark.parametrize('name', ['/dev/zero', '../a.png', 'part1/../../a.png', '..'])
def test_an_annotation_can_not_point_outside(tmp_path, name, require_images):
    root = tmp_path / 'H3D_crop'
    root.mkdir()
    (tmp_path / 'a.png').touch()
    entry = dict(name=name, keypoint2d=[[1, 2]] * 21, without_object=1)
    (root / 'annotation.json').write_text(json.dumps([entry]))
    with pytest.raises(InputError, match='lies outside of'):
        H3DDataset(str(root), split='all', require_images=require_images)


@pytest.mark.parametrize('name', ['../out.png', '{out}', 'sub/../../out.png'])
@pytest.mark.parametrize('skip_corrupt', [True, False])
def test_a_box_can_not_point_outside(tmp_path, name, skip_corrupt):
    root = tmp_path / 'images'
    (root / 'sub').mkdir(parents=True)
    for path in (tmp_path / 'out.png', root / 'a.png'):
        Image.new('RGB', (20, 20)).save(path)
    boxes = tmp_path / 'boxes.csv'
    boxes.write_text(f'{name.format(out=tmp_path / "out.png")},1,1,9,9\n')
    with pytest.raises(InputError, match='lies outside of.*images') as error:
        UnlabeledImages(str(root), boxes=str(boxes), skip_corrupt=skip_corrupt)
    assert str(boxes) in str(error.value)


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes here')
@pytest.mark.parametrize('read', [read_image, image_size, load_json, load_array_pickle])
def test_a_pipe_or_device_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'endless').symlink_to('/dev/zero')
    for name in ('pipe', 'endless'):
        refused(str(tmp_path / name), read, 'no ordinary file')


def test_a_file_that_claims_to_be_endless_is_not_read(tmp_path):
    path = tmp_path / 'sparse'
    with open(path, 'wb') as file:
        file.truncate(2**40)
    refused(str(path), load_json, f'{2**40} bytes')


def test_what_a_terminal_would_obey_is_not_printed():
    message = message_of(InputError('image "\x1b[2J\u202e.png"\nnot é'))
    assert message == 'image "\\x1b[2J\\u202e.png"\nnot é'


# --- MATLAB files


def element(kind: int, content: bytes, size: int = -1) -> bytes:
    return struct.pack('<II', kind, len(content) if size < 0 else size) + content


def mat_file(*elements: bytes) -> bytes:
    head = b'MATLAB 5.0 MAT-file'.ljust(124) + b'\0\1IM'
    return head + b''.join(elements)


def matrix(kind: int, name: bytes, dims, *content: bytes) -> bytes:
    shape = struct.pack(f'<{len(dims)}i', *dims)
    shape += bytes(-len(shape) % 8)
    return element(
        14,
        element(6, struct.pack('<II', kind, 0))
        + element(5, shape, 4 * len(dims))
        + element(1, name.ljust(8, b'\0'), len(name))
        + b''.join(content),
    )


DOUBLE, CELL = 6, 1


def test_a_matlab_file_by_hand_is_read(write):
    numbers = element(9, np.arange(6.0).tobytes())
    content = mat_file(matrix(DOUBLE, b'joints', (2, 3), numbers))
    assert load_mat(write(content), 'joints').tolist() == [[0, 2, 4], [1, 3, 5]]
    packed = zlib.compress(content[128:])
    assert load_mat(write(content[:128] + element(15, packed)), 'joints').shape == (
        2,
        3,
    )


def test_cells_in_cells_do_not_fill_the_stack(write):
    cell = b''
    for _ in range(20_000):
        cell = matrix(CELL, b'', (1, 1), cell) if len(cell) < 2**20 else cell
    content = mat_file(matrix(CELL, b'joints', (1, 1), cell))
    refused(write(content), lambda path: load_mat(path, 'joints'), 'cell')


def test_version_7_3_is_named_as_what_is_not_read(write):
    content = b'MATLAB 7.3 MAT-file'.ljust(124) + b'\0\2IM' + b'\x89HDF\r\n\x1a\n'
    refused(write(content), lambda path: load_mat(path, 'joints'), 'HDF')


# --- images


def png_of(width: int, height: int) -> bytes:
    def chunk(kind, data):
        body = kind + data
        return struct.pack('>I', len(data)) + body + struct.pack('>I', zlib.crc32(body))

    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    start = b'\x89PNG\r\n\x1a\n'
    return start + chunk(b'IHDR', head) + chunk(b'IDAT', data) + chunk(b'IEND', b'')


def claims(kind: str) -> bytes:
    """A small file that says it has 60,000 x 60,000 pixels, or all it can."""
    if kind == 'PNG':
        return png_of(60_000, 60_000)
    buffer = io.BytesIO()
    Image.new('RGB', (16, 8)).save(buffer, kind)
    content, side = buffer.getvalue(), 60_000
    if kind in ('JPEG', 'cut JPEG'):
        place = content.index(b'\xff\xc0') + 5
        content = (
            content[:place] + struct.pack('>HH', side, side) + content[place + 4 :]
        )
    elif kind == 'GIF':
        content = content[:6] + struct.pack('<HH', side, side) + content[10:]
    elif kind == 'BMP':
        content = content[:18] + struct.pack('<ii', side, side) + content[26:]
    elif kind == 'PPM':
        content = content.replace(b'16 8', b'60000 60000')
    elif kind == 'TIFF':
        for tag, old in ((256, 16), (257, 8)):
            entry = struct.pack('<HHI', tag, 4, 1) + struct.pack('<I', old)
            assert entry in content
            content = content.replace(entry, entry[:8] + struct.pack('<I', side))
    return content


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'GIF', 'BMP', 'PPM', 'TIFF'])
@pytest.mark.parametrize('cut', [0, 2], ids=['whole', 'cut'])
def test_an_image_that_claims_to_be_huge_is_refused(write, little_memory, kind, cut):
    content = claims(kind)
    path = write(content[: len(content) - cut] + b'tail' * bool(cut))
    for read in (read_image, image_size):
        refused(path, read, 'too large to be decoded.*Make it smaller|cut short')


def test_the_largest_image_is_pillows(write, monkeypatch):
    for kind in ('PNG', 'JPEG'):
        buffer = io.BytesIO()
        Image.new('RGB', (200, 101)).save(buffer, kind)
        path = write(buffer.getvalue())
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100 * 101)
        assert read_image(path).shape == (101, 200, 3)
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100 * 101 - 1)
        refused(path, read_image, 'too large')


def test_a_program_among_the_image_formats_is_not_run(write, monkeypatch):
    # Pillow hands Encapsulated PostScript to Ghostscript.
    called = []
    monkeypatch.setattr('subprocess.check_call', lambda *_, **__: called.append(1))
    monkeypatch.setattr('subprocess.Popen', lambda *_, **__: called.append(1))
    content = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n'
    for name in ('a.eps', 'a.png'):
        refused(write(content, name), read_image, 'cannot be decoded')
    assert not called


# --- checkpoints


@pytest.fixture
def plain_checkpoints(monkeypatch):
    """As in a program that has called ``refuse_unsafe_checkpoints``."""
    from mmengine.runner.checkpoint import CheckpointLoader

    monkeypatch.setattr(CheckpointLoader, '_schemes', {**CheckpointLoader._schemes})
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    compat.refuse_unsafe_checkpoints()


def forged(content, pattern, replacement):
    """A checkpoint in whose pickle something is replaced."""
    buffer, changed = io.BytesIO(), io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(changed, 'w') as new:
        for item in old.infolist():
            file = old.read(item)
            if item.filename.endswith('data.pkl'):
                file, count = re.subn(pattern, lambda _: replacement, file)
                assert count
            new.writestr(item.filename, file)
    return changed.getvalue()


FORGED = {
    # Of four numbers it makes 2^30.
    'size': (torch.zeros(4), rb'K\x04', b'J\0\0\0\x40'),
    # A type is made a second time, of False, or of too little: numpy ends by an
    # internal error, or a crash.
    'type of False': (np.float32(1), rb'(?<=K\x00tq.)b', b'b\x89b'),
    'type of too little': (np.float32(1), rb'NNNJ', b'NNJ'),
    # Numbers for which numpy would take pointers, and pieces of other memory.
    'objects': (np.zeros(3), rb'f8', b'O8'),
    'structure': (np.zeros(3), rb'NNNJ', b'NX\x01\0\0\0a\x85}J'),
    'shape': (np.zeros(3), rb'K\x03\x85', b'M\0\x10\x85'),
    'room for bytes': (np.zeros(0), rb'(?<=bytes\n)(q.)?\)', b'J\0\0\0\x40\x85'),
    # The way from any object to all there is.
    'attribute': (HistoryBuffer(), b'\x04\0\0\0mean', b'\x08\0\0\0__init__'),
}


@pytest.mark.parametrize('name', FORGED)
def test_a_forged_checkpoint_is_refused(write, plain_checkpoints, little_memory, name):
    value, pattern, replacement = FORGED[name]
    path = write(forged(dict(value=value), pattern, replacement))
    refused(path, read_checkpoint, 'cannot be loaded')


def test_a_checkpoint_is_read_as_it_was_written(write, plain_checkpoints, monkeypatch):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    colors = np.arange(6, dtype='u1').reshape(2, 3)
    values = dict(
        arrays=[colors, colors.T, np.zeros(0), np.array(1 + 2j), np.array(['ab'])],
        numbers=[np.float32(0.1), np.int64(-3), np.bool_(True)],
        other_order=np.arange(3, dtype='>i2'),
        history=history,
    )
    first, second = io.BytesIO(), io.BytesIO()
    torch.save(values, first)
    loaded = read_checkpoint(write(first.getvalue()))
    for key in ('arrays', 'numbers'):
        for old, new in zip(values[key], loaded[key]):
            assert old.dtype == new.dtype and np.array_equal(old, new)
    assert loaded['history'].mean() == 1.5
    # What was resumed is saved as what it stands for.
    torch.save(loaded, second)
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD')
    again = torch.load(io.BytesIO(second.getvalue()), weights_only=False)
    for old, new in zip(values['arrays'], again['arrays']):
        assert type(new) is np.ndarray and np.array_equal(old, new)
    assert type(again['history'].data[0]) is np.ndarray


@pytest.mark.parametrize('weights', [dict(weight=3), {5: torch.zeros(1)}])
def test_what_are_no_weights_is_refused(write, plain_checkpoints, weights):
    buffer = io.BytesIO()
    torch.save(dict(state_dict=weights), buffer)
    refused(
        write(buffer.getvalue()),
        lambda path: weights_of(read_checkpoint(path), path),
        'no state_dict of tensors',
    )
