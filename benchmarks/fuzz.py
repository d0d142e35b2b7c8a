#!/usr/bin/env python
"""Damaged and hostile files for every reader, for as long as you like.

python benchmarks/fuzz.py --minutes 60

Valid files are made, mutated and read, each reader in a process of its own with
little memory. A reader may return or raise InputError with the file's name.
Everything else is a finding: another error, a crash, a file that took longer
than 20 seconds or more memory than there is, and whatever an audit hook sees of
programs started, files written and connections opened. Findings are kept in
--work-dir, with the traceback, and make the exit status 1.

python benchmarks/fuzz.py --minutes 60 --guided

With --guided (and `pip install atheris`, where there is a wheel of it) files that
reach new branches of the readers are kept and mutated further.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import multiprocessing
import os
import pickle
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import scipy.io
import torch
from mmengine.registry import init_default_scope
from PIL import Image

GUIDED = '--guided' in sys.argv
if GUIDED:
    import atheris

# Branches are watched in what is imported within.
with atheris.instrument_imports(['mmregda']) if GUIDED else nullcontext():
    from mmregda import InputError, compat
    from mmregda.benchmark.jobs import Job
    from mmregda.datasets import (
        BODY16,
        FreiHANDDataset,
        H3DDataset,
        Human36MDataset,
        LSPDataset,
        RHDDataset,
        SURREALDataset,
        UnlabeledImages,
        build_dataset,
    )
    from mmregda.datasets.image_loading import image_size, read_image
    from mmregda.engine.checkpoints import read_checkpoint, weights_of
    from mmregda.visualization.curves import load_scalars

SECONDS, MEMORY = 20, 2**30
HOSTILE_VALUES = [
    *(None, True, -1, 0, 2**31, 2**63, 10**400, 1e308, -1e-308, float('nan')),
    *(float('inf'), '', 'x', '1', '\0', '\ud800', '\x1b[2J', 'é' * 300, [], {}, [[]]),
    *('../../etc/passwd', '/etc/passwd', '/dev/zero', 'a/../../..', [None], {'': 0}),
    *([1, 2, 3, 4], [[1, 2]] * 21, [[0.5] * 3] * 21, list(range(500))),
]


@dataclass
class Reader:
    """One way that a file from elsewhere is read.

    Attributes:
        path (str): Of the file, below a folder of its own.
        content (bytes): A valid file.
        read (Callable): Reads it; given the folder and the file.
        others (dict[str, bytes]): What is in the folder besides.
    """

    path: str
    content: bytes
    read: Callable[[Path, Path], Any]
    others: Dict[str, bytes]


# --- valid files --------------------------------------------------------------


def _dataset(kind: type, **kwargs: Any) -> Callable:
    def read(root: Path, _: Path) -> None:
        kind(str(root), require_images=False, split='all', **kwargs)

    return read


def _images(root: Path, path: Path) -> None:
    if path.parent.name == 'boxes':
        path = path.parent
    UnlabeledImages(str(root / 'images'), boxes=str(path), skip_corrupt=True)


def _coco(root: Path, path: Path) -> None:
    build_dataset(
        dict(
            type='CocoDataset',
            data_root=str(root),
            ann_file=path.name,
            data_prefix=dict(img='images/'),
            metainfo=BODY16,
        )
    )


def _image(_: Path, path: Path) -> None:
    for read in (image_size, read_image):
        read(str(path))


def _encoded(kind: str, **kwargs: Any) -> bytes:
    y, x = np.mgrid[:40, :48]
    pixels = np.stack([x * 5, y * 6, x + y], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(pixels).convert(kwargs.pop('mode', 'RGB'))
    exif = Image.Exif()
    exif[0x0112] = 6
    if kind in ('JPEG', 'PNG', 'WEBP'):
        kwargs['exif'] = exif
    image.save(buffer, kind, **kwargs)
    return buffer.getvalue()


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()


def _mat(joints: np.ndarray, **kwargs: Any) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, dict(joints=joints), **kwargs)
    return buffer.getvalue()


def _checkpoint() -> bytes:
    buffer = io.BytesIO()
    state = {'head.weight': torch.rand(3, 4), 'head.bias': torch.rand(3)}
    meta = dict(iter=3, colors=np.zeros((2, 3), np.uint8), scale=np.float32(1))
    torch.save(dict(state_dict=state, meta=meta), buffer)
    return buffer.getvalue()


def readers() -> Dict[str, Reader]:
    """Every reader of data from elsewhere, with a valid file of each kind."""
    rng = np.random.default_rng(0)
    hand = np.column_stack([rng.uniform(50, 200, (42, 2)), np.ones(42)])
    hand[21:, :2] += 400  # The other hand is elsewhere.
    rhd = {0: dict(uv_vis=hand, xyz=rng.random((42, 3)), K=np.eye(3))}
    h3d = [
        dict(name=f'part1/{i}.png', keypoint2d=hand[:21, :2].tolist(), without_object=1)
        for i in range(6)
    ]
    surreal = [dict(name='0.jpg', keypoint2d=hand[:24, :2].tolist())]
    cameras = {'1': dict(R=np.eye(3).tolist(), t=[0, 0, 5000], f=[1e3, 1e3], c=[5, 5])}
    pose = dict(action_idx=2, subaction_idx=1, frame_idx=0, cam_idx=1)
    frames = dict(
        images=[dict(id=1, file_name='a.jpg', **pose)],
        annotations=[dict(image_id=1, bbox=[1, 2, 30, 40])],
    )
    joints_3d = {'2': {'1': {'0': rng.uniform(-900, 900, (17, 3)).tolist()}}}
    human = {
        f'annotations/Human36M_subject{n}_{name}.json': _json(content)
        for n in Human36MDataset.SUBJECTS['all']
        for name, content in dict(
            data=frames, camera=cameras, joint_3d=joints_3d
        ).items()
    }
    freihand = {
        'training_K.json': _json([np.eye(3).tolist()] * 3),
        'training_xyz.json': _json((rng.random((3, 21, 3)) + 1).tolist()),
    }
    coco = dict(
        images=[dict(id=1, file_name='a.png'), dict(id=2, file_name='sub/b.png')],
        annotations=[dict(image_id=i, bbox=[1, 2, 9, 9], score=0.9) for i in (1, 2)],
    )
    size = dict(width=40, height=48)  # turned upright
    source = dict(
        images=[dict(image, **size) for image in coco['images']],
        categories=[dict(id=1, name='person')],
        annotations=[
            dict(
                label,
                **dict(id=i, category_id=1, iscrowd=0, num_keypoints=16),
                keypoints=[5, 6, 2] * 16,
            )
            for i, label in enumerate(coco['annotations'])
        ],
    )
    images = {name: _encoded('PNG') for name in ('images/a.png', 'images/sub/b.png')}
    joints = np.concatenate([rng.uniform(2, 40, (2, 14, 9)), np.zeros((1, 14, 9))])
    joints_v4 = _mat(joints[0], format='4')
    anno = 'training/anno_training.pickle'
    rhd_test = {'evaluation/anno_evaluation.pickle': pickle.dumps(rhd)}
    logs = b''.join(_json(dict(step=i, loss=0.5)) + b'\n' for i in range(3))
    found = {
        f'RHD, protocol {p}': Reader(
            anno, pickle.dumps(rhd, p), _dataset(RHDDataset), rhd_test
        )
        for p in (0, 2, 5)
    }
    for name in human:
        if 'subject1_' in name:
            found[f'Human3.6M, {name.rpartition("subject1_")[2]}'] = Reader(
                name, human[name], _dataset(Human36MDataset), human
            )
    for name in freihand:
        found[f'FreiHAND, {name}'] = Reader(
            name, freihand[name], _dataset(FreiHANDDataset), freihand
        )
    found.update(
        {
            'H3D': Reader('annotation.json', _json(h3d), _dataset(H3DDataset), {}),
            'SURREAL': Reader(
                'train/run0.json',
                _json(surreal),
                _dataset(SURREALDataset),
                {
                    f'{folder}/run{run}.json': b'[]'
                    for folder in ('train', 'val', 'test')
                    for run in range(3)
                },
            ),
            'LSP, version 5': Reader(
                'joints.mat', _mat(joints), _dataset(LSPDataset), {}
            ),
            'LSP, compressed': Reader(
                'joints.mat',
                _mat(joints, do_compression=True),
                _dataset(LSPDataset),
                {},
            ),
            'LSP, version 4': Reader('joints.mat', joints_v4, _dataset(LSPDataset), {}),
            'boxes, COCO': Reader('boxes.json', _json(coco), _images, images),
            'COCO': Reader('source.json', _json(source), _coco, images),
            'boxes, CSV': Reader(
                'boxes.csv',
                b'path,x,y,w,h,score\na.png,1,2,9,9,0.5\nb.png,2,2,8,8,1\n',
                _images,
                images,
            ),
            'boxes, MMPose': Reader(
                'boxes/a.json',
                _json([dict(bbox=[[1, 2, 30, 30]], bbox_score=0.8)]),
                _images,
                images,
            ),
            'boxes, MMDetection': Reader(
                'boxes/a.json',
                _json(dict(bboxes=[[1, 2, 30, 30]], scores=[0.9], labels=[0])),
                _images,
                images,
            ),
            'checkpoint': Reader(
                'weights.pth',
                _checkpoint(),
                lambda _, path: weights_of(read_checkpoint(str(path)), str(path)),
                {},
            ),
            'result of a training': Reader(
                'result.json',
                _json(dict(target=dict(Avg=3.0))),
                lambda root, _: Job('', root, None),
                {},
            ),
            'log of a training': Reader(
                '1/vis_data/scalars.json',
                logs,
                lambda root, _: load_scalars(str(root)),
                {},
            ),
        }
    )
    kinds = dict(
        JPEG={},
        PNG={},
        WEBP={},
        GIF={},
        BMP={},
        TIFF=dict(compression='tiff_lzw'),
        PPM={},
    )
    for kind, options in kinds.items():
        found[f'image, {kind}'] = Reader('a.bin', _encoded(kind, **options), _image, {})
    found['image, JPEG, CMYK'] = Reader(
        'a.bin', _encoded('JPEG', mode='CMYK'), _image, {}
    )
    return found


# --- mutations ----------------------------------------------------------------


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A file that is nearly the given one, or that says what it should not."""
    if content[:1] in (b'[', b'{') and rng.random() < 0.7:
        return _mutated_json(content, rng)
    if b'MATLAB' in content[:20] and rng.random() < 0.5:
        content = _recompressed(content, rng)
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(len(content) + 1)
        how = rng.randrange(7)
        if how == 0:
            content[place : place + 1] = bytes([rng.randrange(256)])
        elif how == 1:
            del content[place : place + rng.choice((1, 1, 4, 64))]
        elif how == 2:
            content[place:place] = rng.randbytes(rng.choice((1, 2, 8)))
        elif how == 3:
            number = rng.choice((0, 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1))
            order = rng.choice('<>')
            content[place : place + 4] = struct.pack(f'{order}I', number)
        elif how == 4:
            end = place + rng.randrange(64)
            content[place:place] = content[place:end] * rng.choice((1, 2, 50))
        elif how == 5 and rng.random() < 0.3:
            del content[place:]
        elif place < len(content):
            content[place] ^= 1 << rng.randrange(8)
        if not content:
            break
    return bytes(content)


def _recompressed(content: bytes, rng: random.Random) -> bytes:
    """A MATLAB file whose variable is mutated, then compressed."""
    (kind, size) = struct.unpack_from('<II', content, 128)
    body = content[136 : 136 + size]
    body = zlib.decompress(body) if kind == 15 else content[128 : 136 + size]
    body = mutated(body, rng)
    if rng.random() < 0.1:
        body += bytes(rng.choice((10**6, 10**8)))
    packed = zlib.compress(body)
    return content[:128] + struct.pack('<II', 15, len(packed)) + packed


def _mutated_json(content: bytes, rng: random.Random) -> bytes:
    """A JSON file with a hostile value, another shape or another encoding."""
    lines = content.decode().split('\n')
    line = rng.randrange(len(lines))
    tree = [json.loads(lines[line] or 'null')]
    places = list(_places(tree))
    for _ in range(rng.choice((1, 1, 3))):
        holder, key = rng.choice(places)
        try:
            if rng.random() < 0.2 and holder is not tree:
                del holder[key]
            else:
                holder[key] = rng.choice(HOSTILE_VALUES)
        except (LookupError, TypeError):
            continue  # An earlier change took it away.
    text = json.dumps(tree[0])
    if rng.random() < 0.05:
        depth = rng.choice((100, 10_000, 1_000_000))
        text = text.replace('1', '[' * depth + ']' * depth, 1)
    if rng.random() < 0.05:
        text = text.replace('{', '{"name": 1, ', 1)  # A key that is there twice.
    lines[line] = text
    coding = rng.choice(['utf-8'] * 8 + ['utf-8-sig', 'utf-16', 'utf-32'])
    return '\n'.join(lines).encode(coding)


def _places(node: Any) -> List[Tuple[Any, Any]]:
    keys = list(node) if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from _places(node[key])


# --- watching -----------------------------------------------------------------

_HARMFUL = (
    *('os.system', 'os.exec', 'os.posix_spawn', 'os.spawn', 'os.fork', 'subprocess.'),
    *('os.remove', 'os.rename', 'os.mkdir', 'os.rmdir', 'os.chmod', 'os.symlink'),
    *('shutil.', 'socket.', 'ctypes.', 'pty.', 'webbrowser.'),
)
# What MMPose reads in place of a file that was put right.
_COPY = os.path.join(tempfile.gettempdir(), 'mmregda-')
_seen: List[str] = []
_armed = [False]


def _audit(event: str, arguments: tuple) -> None:
    if not _armed[0]:
        return
    if any(_COPY in str(argument) for argument in arguments):
        return
    flags = arguments[2] if event == 'open' and isinstance(arguments[2], int) else 0
    if event.startswith(_HARMFUL) or flags & (os.O_WRONLY | os.O_RDWR):
        _seen.append(f'{event}{arguments!r:.200}')


class _TooSlow(BaseException):
    """No reader takes it for an error of the file."""


def _too_slow(*_: Any) -> None:
    raise _TooSlow(f'it took more than {SECONDS} seconds')


def _ran_out_of_memory(error: Optional[BaseException]) -> bool:
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__ or error.__context__
    return error is not None


def outcome(reader: Reader, root: Path, content: bytes) -> Tuple[str, str]:
    """Read one file.

    Returns:
        tuple[str, str]: ``'read'``, ``'refused'`` or ``'FOUND'``, and what.
    """
    path = root / reader.path
    path.write_bytes(content)
    _seen.clear()
    signal.alarm(SECONDS)
    _armed[0] = True
    try:
        reader.read(root, path)
        result = 'read', ''
    except InputError as error:
        result = 'refused', ''
        if str(root) not in str(error):
            result = 'FOUND', f'names no file: {error}'
        # An image may have as many pixels as docs/security.md says.
        elif _ran_out_of_memory(error) and reader.read is not _image:
            result = 'FOUND', traceback.format_exc()
    except BaseException:
        result = 'FOUND', traceback.format_exc()
    finally:
        _armed[0] = False
        signal.alarm(0)
    return ('FOUND', f'it did {_seen}') if _seen else result


def _peak() -> int:
    """The most memory that this process has had, in bytes."""
    with open('/proc/self/status') as file:
        (line,) = [line for line in file if line.startswith('VmHWM')]
    return int(line.split()[1]) * 1024


def _child(
    folder: str, name: str, seed: int, seconds: float, most: int, pipe: Any
) -> None:
    """Mutate and read until the time is over; send what came of it."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # What decoders print.
        os.dup2(null, stream)
    init_default_scope('mmpose')
    compat.refuse_unsafe_checkpoints()
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _too_slow)
    sys.addaudithook(_audit)
    reader = readers()[name]
    root = Path(folder) / 'files'
    os.chdir(folder)
    for other, content in {**reader.others, reader.path: b''}.items():
        (root / other).parent.mkdir(parents=True, exist_ok=True)
        (root / other).write_bytes(content)
    gc.freeze()  # MMEngine collects what is left over from every dataset.
    valid = outcome(reader, root, reader.content)
    with open('/proc/self/statm') as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    before, end, number = _peak(), time.monotonic() + seconds, 0
    pipe.send((valid[0], valid[1], 0, 0, reader.content))

    def one(content: bytes) -> None:
        nonlocal number
        number += 1
        pipe.send(('reads', '', number, 0, content))
        kind, what = outcome(reader, root, content)
        pipe.send((kind, what, number, _peak() - before, content))

    if GUIDED:
        return _guided(one, reader.content, seed, end - time.monotonic(), most)
    while time.monotonic() < end and number < most:
        one(mutated(reader.content, random.Random(f'{seed} {number + 1}')))


def _guided(
    one: Callable[[bytes], None], valid: bytes, seed: int, seconds: float, most: int
) -> None:
    """Have atheris choose the files; it ends the process."""

    def mutator(content: bytes, largest: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < 0.5:
            return atheris.Mutate(content, largest)
        try:
            return mutated(content, rng)[:largest]
        except (ValueError, struct.error, zlib.error):  # no longer of its format
            return atheris.Mutate(content, largest)

    Path('corpus').mkdir()
    Path('corpus/valid').write_bytes(valid)
    limits = dict(
        max_total_time=max(1, round(seconds)),
        runs=most if most < sys.maxsize else -1,
        seed=seed + 1,  # 0 is any
        max_len=4 * len(valid) + 4096,
        rss_limit_mb=0,  # as are memory and time, by `outcome`
        timeout=0,
    )
    options = [f'-{name}={value}' for name, value in limits.items()]
    atheris.Setup(['fuzz', *options, 'corpus'], one, custom_mutator=mutator)
    atheris.Fuzz()


def fuzz(
    name: str, seed: int, seconds: float, most: int = sys.maxsize
) -> Tuple[Counter, int, List[Tuple[str, bytes]]]:
    """Fuzz one reader in a process of its own.

    Returns:
        tuple[Counter, int, list[tuple[str, bytes]]]: Outcomes, the peak of
        memory in bytes beyond what the process had at the start, and findings
        with the files.
    """
    context = multiprocessing.get_context('fork')
    pipe, far = context.Pipe(duplex=False)
    counts: Counter = Counter()
    peak, findings, last = 0, [], b''
    with tempfile.TemporaryDirectory() as folder:
        arguments = (folder, name, seed, seconds, most, far)
        process = context.Process(target=_child, args=arguments)
        process.start()
        far.close()
        while True:
            try:
                kind, what, number, memory, last = pipe.recv()
            except EOFError:
                break
            peak = max(peak, memory)
            if kind == 'reads':
                continue
            counts[kind] += number > 0
            if kind == 'FOUND' or (number == 0 and kind != 'read' and '4' not in name):
                findings.append((what or 'the valid file is refused', last))
        process.join()
    if process.exitcode:
        counts['FOUND'] += 1
        findings.append((f'the process died ({process.exitcode})', last))
    return counts, peak, findings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--minutes', type=float, default=10)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--guided', action='store_true', help='by atheris')
    parser.add_argument('--readers', nargs='+', help='parts of their names')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/fuzz'))
    args = parser.parse_args()
    names = [
        name
        for name in readers()
        if not args.readers or any(part in name for part in args.readers)
    ]
    seconds = 60 * args.minutes / len(names)
    print(f'{len(names)} readers, {seconds:.0f} s each', file=sys.stderr, flush=True)
    print('| reader | files | read | refused | found | peak memory |')
    print('| --- | --: | --: | --: | --: | --: |')
    failed = False
    for name in names:
        counts, peak, findings = fuzz(name, args.seed, seconds)
        cells = [sum(counts.values()), counts['read'], counts['refused']]
        cells += [len(findings), f'{peak / 2**20:.0f} MiB']
        print(f'| {name} | {" | ".join(map(str, cells))} |', flush=True)
        for number, (what, content) in enumerate(findings[:20]):
            failed = True
            args.work_dir.mkdir(parents=True, exist_ok=True)
            stem = args.work_dir / f'{name.replace(" ", "_")}_{number}'
            stem.with_suffix('.file').write_bytes(content)
            stem.with_suffix('.txt').write_text(what, errors='replace')
    sys.exit(int(failed))


if __name__ == '__main__':
    main()
