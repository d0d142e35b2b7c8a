"""Images of every kind, written by Pillow, against what was drawn."""

import io

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from PIL import Image, ImageFile

from mmregda import InputError
from mmregda.datasets.image_loading import image_size, read_image

HEIGHT, WIDTH = 60, 80


def gradient():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 3, y * 4, (x + y) * 1.7], axis=-1).clip(0, 255).astype('uint8')


RGB = gradient()
OTHER = Image.fromarray(255 - RGB)
# The upper half is transparent.
RGBA = np.dstack([RGB, np.full((HEIGHT, WIDTH), 255, np.uint8)])
RGBA[: HEIGHT // 2, :, 3] = 0
GREY16 = np.linspace(0, 65535, WIDTH)[None].repeat(HEIGHT, axis=0).astype(np.uint16)
# Pillow's weights of red, green and blue.
LUMA = np.repeat((RGB @ [0.299, 0.587, 0.114])[..., None], 3, axis=-1)


def encoded(img, file_format, **kwargs):
    buffer = io.BytesIO()
    (Image.fromarray(img) if isinstance(img, np.ndarray) else img).save(
        buffer, file_format, **kwargs
    )
    return buffer.getvalue()


def converted(mode):
    return Image.fromarray(RGB).convert(mode)


def animation(file_format, **kwargs):
    return encoded(RGB, file_format, save_all=True, append_images=[OTHER], **kwargs)


# What is in the file, what it should look like, and how far a lossy format or a
# palette may be from it on average.
KINDS = {
    'grey.png': (lambda: encoded(converted('L'), 'PNG'), LUMA, 1),
    'grey.jpg': (lambda: encoded(converted('L'), 'JPEG'), LUMA, 2),
    'grey_alpha.png': (lambda: encoded(converted('LA'), 'PNG'), LUMA, 1),
    'rgba.png': (lambda: encoded(RGBA, 'PNG'), RGB, 0),
    'palette.png': (lambda: encoded(converted('P'), 'PNG'), RGB, 20),
    'cmyk.jpg': (lambda: encoded(converted('CMYK'), 'JPEG', quality=95), RGB, 2),
    'cmyk.tif': (lambda: encoded(converted('CMYK'), 'TIFF'), RGB, 1),
    'grey16.png': (lambda: encoded(GREY16, 'PNG'), GREY16[..., None] / 257, 1),
    'grey16.tif': (lambda: encoded(GREY16, 'TIFF'), GREY16[..., None] / 257, 1),
    'animated.gif': (lambda: animation('GIF'), RGB, 5),
    'animated.png': (lambda: animation('PNG'), RGB, 0),
    'animated.webp': (lambda: animation('WEBP', lossless=True), RGB, 1),
    'pages.tif': (lambda: animation('TIFF'), RGB, 0),
    'lossless.webp': (lambda: encoded(RGB, 'WEBP', lossless=True), RGB, 1),
    'plain.bmp': (lambda: encoded(RGB, 'BMP'), RGB, 0),
    'compressed.tif': (lambda: encoded(RGB, 'TIFF', compression='tiff_lzw'), RGB, 0),
    'plain.ppm': (lambda: encoded(RGB, 'PPM'), RGB, 0),
    # Of OpenCV none; Pillow's.
    'plain.tga': (lambda: encoded(RGB, 'TGA'), RGB, 0),
}


@pytest.fixture
def write(tmp_path):
    def write_file(name, content):
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write_file


def assert_shows(img, expected, tolerance):
    assert img.dtype == np.uint8 and img.shape == (HEIGHT, WIDTH, 3)
    expected = np.broadcast_to(expected, img.shape)[..., ::-1]
    assert np.abs(img.astype(float) - expected).mean() <= tolerance


@pytest.mark.parametrize('name', KINDS)
@pytest.mark.parametrize('transform', ['LoadWholeImage', 'read_image'])
def test_every_kind_loads_as_8_bit_bgr(write, name, transform):
    content, expected, tolerance = KINDS[name]
    path = write(name, content())
    if transform == 'read_image':
        img = read_image(path)
    else:
        loader = ROOT_TRANSFORMS.build(dict(type='mmpose.LoadWholeImage'))
        results = loader(dict(img_path=path))
        img = results['img']
        assert results['img_shape'] == results['ori_shape'] == (HEIGHT, WIDTH)
    assert_shows(img, expected, tolerance)
    assert image_size(path) == (HEIGHT, WIDTH)


def test_colours_of_16_bits_keep_their_upper_8(write):
    deep = np.random.default_rng(0).integers(0, 2**16, (HEIGHT, WIDTH, 3), np.uint16)
    path = write('deep.png', cv2.imencode('.png', deep)[1].tobytes())
    np.testing.assert_array_equal(read_image(path), deep >> 8)


@pytest.mark.parametrize('extension', ['.png', '.tif'])
@pytest.mark.parametrize('bits', [8, 10, 12])
@pytest.mark.parametrize('shape', [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 3)])
def test_few_bits_in_a_file_of_16_are_refused(write, extension, bits, shape):
    pixels = np.random.default_rng(0).integers(0, 2**bits, shape, np.uint16)
    pixels[0, 0] = 2**bits - 1
    path = write(f'few{extension}', cv2.imencode(extension, pixels)[1].tobytes())
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=f'uses {bits} of its 16 bits') as error:
            read(path)
        assert path in str(error.value) and str(2 ** (16 - bits)) in str(error.value)
    path = write(
        f'all{extension}', cv2.imencode(extension, pixels << (16 - bits))[1].tobytes()
    )
    expected = np.dstack([pixels] * 3 if pixels.ndim == 2 else [pixels])
    shown = (expected << (16 - bits)) >> 8
    # Of a TIFF, OpenCV rounds.
    assert np.abs(read_image(path).astype(int) - shown).max() <= (extension == '.tif')


def test_few_bits_are_seen_beside_a_full_alpha(write):
    pixels = np.random.default_rng(0).integers(0, 4096, (HEIGHT, WIDTH, 4), np.uint16)
    pixels[..., 3] = 65535
    path = write('alpha.png', cv2.imencode('.png', pixels)[1].tobytes())
    with pytest.raises(InputError, match='of its 16 bits'):
        read_image(path)


def test_what_is_dark_and_meant_so_is_read(write):
    black = np.zeros((HEIGHT, WIDTH), np.uint16)
    star = black.copy()
    star[1, 1] = 4096
    night = np.full((HEIGHT, WIDTH), 3, np.uint8)
    for name, pixels, largest in (('a', black, 0), ('b', star, 16), ('c', night, 3)):
        path = write(f'{name}.png', cv2.imencode('.png', pixels)[1].tobytes())
        assert read_image(path).max() == largest


# What the camera did to the scene, and how it is undone.
UPRIGHT = {
    1: lambda img: img,
    2: lambda img: img[:, ::-1],
    3: lambda img: img[::-1, ::-1],
    4: lambda img: img[::-1],
    5: lambda img: img.transpose(1, 0, 2),
    6: lambda img: img[::-1].transpose(1, 0, 2),
    7: lambda img: img[::-1, ::-1].transpose(1, 0, 2),
    8: lambda img: img[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize('orientation', UPRIGHT)
@pytest.mark.parametrize('file_format', ['JPEG', 'PNG', 'WEBP', 'TIFF', 'AVIF'])
def test_every_exif_orientation_is_turned_upright(write, file_format, orientation):
    if file_format == 'AVIF' and '.avif' not in Image.registered_extensions():
        pytest.skip('this Pillow has no AVIF')
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = dict(lossless=True) if file_format == 'WEBP' else {}
    path = write(f'a.{file_format}', encoded(RGB, file_format, exif=exif, **lossless))
    img = read_image(path)
    expected = UPRIGHT[orientation](RGB[..., ::-1])
    assert img.shape == expected.shape
    assert np.abs(img.astype(int) - expected).mean() < 4
    assert image_size(path) == expected.shape[:2]


@pytest.mark.parametrize('name', [name for name in KINDS if 'pages' not in name])
def test_an_image_cut_in_half_is_named(write, name):
    content = KINDS[name][0]()
    # Of an animation the first frame is wanted, so that must not be whole.
    kept = len(content) // (4 if 'animated' in name else 2)
    path = write(name, content[:kept])
    # Of others the header is read, which is there.
    both = name.endswith(('.jpg', '.png')) and 'animated' not in name
    for read in (read_image, image_size) if both else (read_image,):
        with pytest.raises(InputError, match='cut short|cannot be decoded') as error:
            read(path)
        assert path in str(error.value)


@pytest.mark.parametrize(
    'content',
    [b'', b'\xff', b'RIFF\0\0\0\0WEBPVP8X', b'\0\0\0\x20ftypavif', b'%PDF-1.4 nothing'],
    ids=['empty', 'byte', 'webp', 'avif', 'pdf'],
)
def test_what_is_no_image_is_named_by_both(write, content):
    path = write('a.jpg', content)
    for read in (read_image, image_size):
        with pytest.raises(InputError, match='cannot be decoded') as error:
            read(path)
        assert path in str(error.value)


@pytest.mark.parametrize('dtype', ['int32', 'float32'])
def test_samples_of_32_bits_are_refused_with_a_reason(write, dtype):
    path = write('wide.tif', encoded(GREY16.astype(dtype), 'TIFF'))
    with pytest.raises(InputError, match='32 bits a channel. Save it with 8 or 16'):
        read_image(path)


def test_the_look_at_a_photograph_decodes_nothing(write, monkeypatch):
    paths = [
        write('a.jpg', encoded(RGB, 'JPEG') + b'\0' * 500),
        write('a.png', encoded(RGB, 'PNG')),
    ]
    monkeypatch.setattr('mmregda.datasets.image_loading.read_image', None)
    monkeypatch.setattr(ImageFile.ImageFile, 'load', None)
    assert [image_size(path) for path in paths] == [(HEIGHT, WIDTH)] * 2


def test_a_missing_image_is_named_by_both(tmp_path):
    for read in (read_image, image_size):
        with pytest.raises(InputError, match='"[^"]*none.png" does not exist'):
            read(str(tmp_path / 'none.png'))
