"""Images of every kind as 8-bit BGR, or one message that names the file.

OpenCV decodes whatever it can. It gives grey images and palettes three
channels, drops alpha, turns CMYK into BGR, keeps the upper 8 of 16 bits, takes
the first frame of an animation, and turns JPEG, PNG and TIFF upright by their
EXIF orientation. Pillow, by way of MMCV, does what is left: formats that the
OpenCV at hand does not know, and WebP and AVIF, which OpenCV does not turn.

An image's size is looked at before any decoder makes room for it: a file of a
few bytes may claim to be of any size. :data:`PIL.Image.MAX_IMAGE_PIXELS` says
how large an image may be, which is twice that number of pixels (179 million).
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import BinaryIO, List, Optional, Sequence, Tuple, Union

import cv2
import mmcv
import numpy as np
from mmengine import fileio
from PIL import Image

from mmregda.datasets.data_files import read_data_file
from mmregda.errors import InputError

IMAGE_EXTENSIONS = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.gif', '.bmp', '.dib'),
    *('.tif', '.tiff', '.avif', '.jp2', '.ppm', '.pgm', '.pbm', '.pnm'),
)
"""tuple[str, ...]: What is taken for an image, by the end of its name."""

_NUM_READERS = 8
_JPEG_START, _JPEG_END = b'\xff\xd8\xff', b'\xff\xd9'
_PNG_START, _PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'
# Some writers append a few bytes after the end marker.
_TAIL_BYTES = 1024
# Samples of 32 bits, whose range nobody but their author knows.
_WIDE_MODES = ('I', 'F')
_EXIF_ORIENTATION = 0x0112
# What OpenCV would leave as the camera was held.
_TURNED_BY_PILLOW = ('WEBP', 'AVIF')
_PNG_BIT_DEPTH = 24  # the byte that has it
# 12 bits in a file of 16 are no more than this in 8.
_DARKEST = 16
# What Pillow may take a file for. It knows others that are programs (EPS, for
# which it starts Ghostscript), containers or of no use here.
_PILLOW_FORMATS = (
    *('JPEG', 'MPO', 'PNG', 'WEBP', 'GIF', 'BMP', 'DIB', 'TIFF', 'AVIF', 'JPEG2000'),
    *('PPM', 'TGA'),
)
# A damaged header leads Pillow's readers to nearly anything, beside OSError.
_PILLOW_ERRORS = (
    *(OSError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError),
    *(AttributeError, EOFError, RuntimeError, NotImplementedError, MemoryError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


def read_image(
    path: str,
    color_type: str = 'color',
    backend: Optional[str] = None,
    backend_args: Optional[dict] = None,
) -> np.ndarray:
    """Read and decode an image.

    Args:
        path (str): The file.
        color_type (str): As in :func:`mmcv.imfrombytes`. Defaults to 'color'.
        backend (str, optional): MMCV's decoder, such as ``'cv2'``.
        backend_args (dict, optional): As in :func:`mmengine.fileio.get`.

    Returns:
        np.ndarray: (h, w, 3) uint8 BGR, upright.

    Raises:
        InputError: If the file is missing, cut short or no image.
    """
    if backend_args is None and '://' not in path:
        content = read_data_file(path, 'image')
    else:
        try:
            content = fileio.get(path, backend_args=backend_args)
        except FileNotFoundError:
            raise InputError(f'image "{path}" does not exist') from None
        except OSError as error:
            raise InputError(f'image "{path}" cannot be read: {error}') from error
    return decode_image(content, path, color_type, backend)


def decode_image(
    content: bytes,
    path: str,
    color_type: str = 'color',
    backend: Optional[str] = None,
) -> np.ndarray:
    """Decode what an image file holds; arguments are those of :func:`read_image`.

    Raises:
        InputError: If the content is cut short, no image, too large, or nearly
            black because it uses few of its 16 bits.
    """
    if _is_cut_short(content):
        raise InputError(
            f'image "{path}" is cut short ({len(content)} bytes). Fetch it again.'
        )
    try:
        with _opened(io.BytesIO(content)) as header:
            file_format, mode = header.format, header.mode
        img = None
        if color_type != 'color' or file_format not in _TURNED_BY_PILLOW:
            with contextlib.suppress(cv2.error, MemoryError):
                img = mmcv.imfrombytes(content, flag=color_type, backend=backend)
        if img is None and mode not in _WIDE_MODES:
            img = mmcv.imfrombytes(content, flag=color_type, backend='pillow')
            img = np.ascontiguousarray(img)
    except Image.DecompressionBombError as error:
        raise InputError(
            f'image "{path}" is too large to be decoded: {error} '
            f'(PIL.Image.MAX_IMAGE_PIXELS = {Image.MAX_IMAGE_PIXELS}). Make it smaller.'
        ) from error
    except _PILLOW_ERRORS as error:
        raise InputError(
            f'image "{path}" cannot be decoded ({len(content)} bytes). '
            'Fetch it again, or save it as JPEG or PNG.'
        ) from error
    if img is None:
        raise InputError(
            f'image "{path}" cannot be decoded: it has 32 bits a channel. Save it '
            'with 8 or 16.'
        )
    if img[::4, ::4].max(initial=0) <= _DARKEST:
        _require_all_bits(content, path)
    return img


def image_size(path: str) -> Tuple[int, int]:
    """Height and width of an image in pixels, upright, at the least expense.

    Of a JPEG or PNG the two ends are read, of others the header, so that damage in
    between is not seen; a TIFF and a PNG of 16 bits are decoded. A process looks once,
    as long as the file does not change.

    Raises:
        InputError: As :func:`read_image`.
    """
    if not os.path.isfile(path):
        read_image(path)  # It says why.
    state = os.stat(path)
    return _size_of_state(path, state.st_size, state.st_mtime_ns)


def image_sizes(paths: Sequence[str]) -> List[Union[Tuple[int, int], InputError]]:
    """:func:`image_size` of many, or in its place the error that it raises."""

    def look(path: str) -> Union[Tuple[int, int], InputError]:
        try:
            return image_size(path)
        except InputError as error:
            return error

    with ThreadPoolExecutor(_NUM_READERS) as readers:
        return list(readers.map(look, paths))


@lru_cache(maxsize=2**18)
def _size_of_state(path: str, num_bytes: int, _: int) -> Tuple[int, int]:
    # Of an error the reader has the message, or another decoder.
    with contextlib.suppress(*_PILLOW_ERRORS), open(path, 'rb') as file:
        head = file.read(_PNG_BIT_DEPTH + 1)
        file.seek(-min(_TAIL_BYTES, num_bytes), os.SEEK_END)
        tail = file.read()
        with _opened(file) as img:
            if img.format in ('JPEG', 'MPO'):
                whole = _JPEG_END in tail
            elif img.format == 'PNG':  # Of 16 bits it may use few.
                whole = _PNG_END in tail and head[_PNG_BIT_DEPTH:] != b'\x10'
            else:
                # Whether a TIFF's size is upright depends on Pillow's version.
                whole = img.format != 'TIFF'
            if whole:
                width, height = img.size
                # A PNG's own method would decode it.
                exif = Image.Image.getexif(img)
                turned = exif.get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
                return (width, height) if turned else (height, width)
    height, width = read_image(path).shape[:2]
    return height, width


def _opened(file: BinaryIO) -> Image.Image:
    """An image whose header alone has been read.

    Raises:
        DecompressionBombError: If it is too large to be decoded.
    """
    Image.init()  # Pillow looks for further formats only if it may take all.
    formats = [name for name in _PILLOW_FORMATS if name in Image.OPEN]
    with warnings.catch_warnings():
        # Pillow warns at half of the size that it refuses.
        warnings.simplefilter('ignore')
        return Image.open(file, formats=formats)


def _is_cut_short(content: bytes) -> bool:
    """Whether the end of a JPEG or PNG file is missing.

    OpenCV decodes what is there and fills the rest with grey, without a word.
    """
    if content.startswith(_PNG_START):
        return _PNG_END not in content
    if content.startswith(_JPEG_START) and _JPEG_END not in content[-_TAIL_BYTES:]:
        # Telephones append whole films. A decoder that complains can tell, and
        # is slower.
        try:
            _opened(io.BytesIO(content)).load()
        except _PILLOW_ERRORS:
            return True
    return False


def _require_all_bits(content: bytes, path: str) -> None:
    """Refuse a dark image whose values are of 12 or fewer bits, kept in 16."""
    try:
        img = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, MemoryError):
        return
    if img is None or img.dtype != np.uint16:
        return
    # Alpha, the fourth channel, may be full where all else is dark.
    largest = int((img[..., :3] if img.ndim == 3 else img).max())
    if 0 < largest < _DARKEST << 8:
        bits = largest.bit_length()
        raise InputError(
            f'image "{path}" uses {bits} of its 16 bits (its largest value is '
            f'{largest}), and as 16 bits it is nearly black. Multiply its values by '
            f'{2 ** (16 - bits)}, or save it with 8 bits.'
        )
