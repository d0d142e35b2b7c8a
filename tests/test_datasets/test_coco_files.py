"""COCO-style files: what is wrong is named, and what MMPose drops is counted."""

import copy
import json
import logging
import os
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from mmpose.registry import DATASETS
from PIL import Image

from mmregda import InputError
from mmregda.datasets import (
    UnlabeledDataset,
    build_dataset,
    check_config,
    looked_at,
)
from mmregda.datasets.coco_files import other_size
from mmregda.datasets.samplers import build_numbered_dataloader
from mmregda.engine.loops import DomainValLoop

NAMES = ['nose', 'left_eye', 'right_eye', 'chin']
WIDTH, HEIGHT = 48, 32
EXIF_ORIENTATION = 0x0112


def metainfo_of(names=NAMES):
    return dict(
        dataset_name='faces',
        paper_info=dict(author='', title='', container='', year='', homepage=''),
        keypoint_info={
            i: dict(name=name, id=i, color=[0, 255, 0], type='upper', swap='')
            for i, name in enumerate(names)
        },
        skeleton_info={},
        joint_weights=[1.0] * len(names),
        sigmas=[0.05] * len(names),
    )


def write_image(path, size=(WIDTH, HEIGHT), seed=0, orientation=1):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)


class Source:
    """A labelled source of 8 images on disk, whose annotations can be spoilt."""

    def __init__(self, root):
        self.root = root
        rng = np.random.default_rng(0)
        images, annotations = [], []
        for i in range(8):
            write_image(root / f'images/{i}.png', seed=i)
            size = dict(width=WIDTH, height=HEIGHT)
            images.append(dict(id=i + 1, file_name=f'{i}.png', **size))
            points = np.column_stack([rng.uniform(4, 28, (4, 2)).round(1), [2] * 4])
            label = dict(keypoints=points.ravel().tolist(), num_keypoints=4)
            label.update(bbox=[2, 3, 40, 25], area=1000, iscrowd=0, category_id=1)
            annotations.append(dict(id=i + 11, image_id=i + 1, **label))
        category = dict(id=1, name='face', keypoints=NAMES, skeleton=[])
        self.content = dict(
            images=images, annotations=annotations, categories=[category]
        )

    @property
    def path(self):
        return str(self.root / 'train.json')

    def config(self, **changes):
        content = self.content
        if not isinstance(content, (bytes, str)):
            content = json.dumps(content)
        if isinstance(content, str):
            content = content.encode()
        (self.root / 'train.json').write_bytes(content)
        return dict(
            dict(
                type='CocoDataset',
                data_root=str(self.root),
                ann_file='train.json',
                data_prefix=dict(img='images/'),
                metainfo=metainfo_of(),
                serialize_data=False,  # MMEngine collects all garbage before it.
            ),
            **changes,
        )

    def build(self, **changes):
        return build_dataset(self.config(**changes))

    def refused(self, *parts, **changes):
        with pytest.raises(InputError) as error:
            self.build(**changes)
        text = str(error.value)
        for part in (self.path, *parts):
            assert part in text, text
        assert '\n' not in text
        return text


@pytest.fixture
def source(tmp_path):
    return Source(tmp_path / 'source')


@pytest.fixture
def said(monkeypatch):
    """What is said in the log, as (level, message)."""
    lines = []
    monkeypatch.setattr(
        'mmregda.datasets.coco_datasets.print_log',
        lambda message, logger, level: lines.append((level, message)),
    )
    return lines


def warnings_of(said):
    return [message for level, message in said if level == logging.WARNING]


def samples_of(dataset):
    """What training takes of each sample."""
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    keys = ('img_id', 'img_path', 'bbox', 'keypoints', 'keypoints_visible')
    return [{key: np.asarray(info[key]).tolist() for key in keys} for info in infos]


def in_order(dataset):
    return sorted(samples_of(dataset), key=lambda sample: sample['img_path'])


def test_a_sound_file_is_read_as_mmpose_reads_it_and_nothing_is_said(source, said):
    cfg = source.config()
    assert samples_of(build_dataset(cfg)) == samples_of(DATASETS.build(cfg))
    assert said == []


# What is wrong


def annotation(index, **changes):
    def spoil(content):
        entry = content['annotations'][index]
        for key, value in changes.items():
            entry.pop(key) if value is ... else entry.update({key: value})

    return spoil


def image(index, **changes):
    def spoil(content):
        entry = content['images'][index]
        for key, value in changes.items():
            entry.pop(key) if value is ... else entry.update({key: value})

    return spoil


def labels_of(content):
    return content['annotations']


def of_all(name, **changes):
    def spoil(content):
        for entry in content[name]:
            entry.update(changes)

    return spoil


def keypoints(index, start, *values):
    def spoil(content):
        content['annotations'][index]['keypoints'][start : start + len(values)] = values

    return spoil


def put(name, *entries):
    return lambda content: content[name].extend(entries)


def replace(name, value):
    return lambda content: content.update({name: value})


FAULTS = {
    'one id for all annotations': (
        of_all('annotations', id=0),
        ['annotations[0] and annotations[1] (and 6 more) have the id 0. Number the'],
    ),
    'ids that start anew': (
        lambda c: [a.update(id=i % 4) for i, a in enumerate(c['annotations'])],
        ['annotations[0] and annotations[4] (and 3 more) have the id 0'],
    ),
    'one id for two images': (
        image(5, id=1),
        ['images[0] and images[5] have the id 1'],
    ),
    'one id for two categories': (
        put('categories', dict(id=1, name='cat')),
        ['categories[0] and categories[1] have the id 1'],
    ),
    'one id for a category and a part of it': (
        lambda c: c['categories'].append(dict(id=c['categories'][0]['id'])),
        ['categories[0] and categories[1] have the id 1'],
    ),
    'text as id of an image': (image(2, id='3'), ['images[2] has "id": "3"']),
    'text as image_id': (
        lambda c: [a.update(image_id=str(a['image_id'])) for a in c['annotations']],
        ['annotations[0] (and 7 more) has "image_id": "1"'],
    ),
    'text as id of an annotation': (annotation(4, id='x'), ['annotations[4] has "id"']),
    'true as id': (image(0, id=True), ['images[0] has "id": true']),
    'null as id': (annotation(1, id=None), ['annotations[1] has "id": null']),
    'no id': (annotation(1, id=...), ['annotations[1] has no "id"']),
    'no image_id': (annotation(1, image_id=...), ['annotations[1] has no "image_id"']),
    'a list as image_id': (annotation(1, image_id=[1]), ['"image_id": [1]']),
    'a fraction as id': (image(0, id=1.5), ['images[0] has "id": 1.5']),
    'a float too large to be exact': (image(0, id=1e20), ['images[0] has "id": 1e+20']),
    'an id of 80 digits': (image(0, id=10**80), ['images[0] has "id": 1000', '...']),
    'nan as id': (image(0, id=float('nan')), ['images[0] has "id": NaN']),
    'text as category': (
        annotation(3, category_id='face'),
        ['annotations[3] has "category_id": "face"'],
    ),
    'no category': (
        annotation(3, category_id=...),
        ['annotations[3] has no "category_id"'],
    ),
    'a box that is null': (annotation(3, bbox=None), ['id 14', 'TypeError']),
    'a box of text': (annotation(3, bbox=['a'] * 4), ['id 14', 'x, y, width and h']),
    'a box of three': (annotation(3, bbox=[1, 2, 3]), ['id 14', '"bbox": [1, 2, 3]']),
    'a box of null': (annotation(3, bbox=[1, 2, None, 4]), ['id 14', 'TypeError']),
    'a box of nan': (
        annotation(3, bbox=[1, 2, float('nan'), 4]),
        ['id 14 has numbers'],
    ),
    'an infinite box': (annotation(3, bbox=[1, 2, 1e300, 4]), ['id 14 has numbers']),
    'boxes in fractions': (
        of_all('annotations', bbox=[0.1, 0.1, 0.5, 0.6]),
        ['id 11 (and 7 more) lies within a pixel', 'not in fractions'],
    ),
    'keypoints in fractions': (
        of_all('annotations', keypoints=[0.1, 0.4, 2, 0.5, 0.5, 2, 0, 0, 0, 1, 0.9, 2]),
        ['id 11 (and 7 more) lies within a pixel', 'not in fractions'],
    ),
    'keypoints of one in fractions': (
        annotation(3, keypoints=[-0.5, 0.4, 1, 0.5, 0.5, 2, 9, 9, 0, 1, 0.9, 2]),
        ['id 14 lies within a pixel', 'not in fractions'],
    ),
    'keypoints that are null': (
        annotation(3, keypoints=None),
        ['id 14, which has "keypoints": null,'],
    ),
    'keypoints that are text': (annotation(3, keypoints='1 2 2'), ['id 14']),
    'keypoints with a word': (keypoints(3, 4, 'left'), ['id 14', "'left'"]),
    'keypoints without visibility': (
        annotation(3, keypoints=[1, 2] * 4),
        ['id 14, which has "keypoints": [1, 2, 1', 'x, y and visibility'],
    ),
    'a keypoint too few': (
        annotation(3, keypoints=[1, 2, 2] * 3),
        ['id 14 has 3 keypoints, not 4', 'metainfo'],
    ),
    'a keypoint that is nan': (keypoints(3, 4, float('nan')), ['id 14 has numbers']),
    'a keypoint that is null': (keypoints(3, 4, None), ['id 14 has numbers']),
    'a keypoint without a label that is nan': (
        keypoints(3, 3, *[float('nan')] * 2, 0),
        ['id 14 has numbers', '0, 0, 0 for keypoints without a label'],
    ),
    'an integer of 400 digits': (keypoints(3, 4, 10**400), ['id 14']),
    'a score as visibility': (keypoints(3, 5, 0.83), ['id 14 has the visibility 0.83']),
    'visibility -1': (keypoints(3, 2, -1), ['id 14 has the visibility -1']),
    'visibility 3': (keypoints(3, 2, 3), ['id 14 has the visibility 3']),
    'another iscrowd': (annotation(3, iscrowd=2), ['annotations[3] has "iscrowd": 2']),
    'iscrowd of text': (annotation(3, iscrowd='no'), ['has "iscrowd": "no"']),
    'no file_name': (image(6, file_name=...), ['images[6] has "file_name": null']),
    'file_name that is null': (image(6, file_name=None), ['images[6] has']),
    'file_name that is a number': (
        image(6, file_name=6),
        ['images[6] has "file_name"'],
    ),
    'an image that is not there': (
        image(6, file_name='six.png'),
        ['images[6] ("six.png")', 'no such file'],
    ),
    'a negative width': (image(6, width=-5), ['images[6] has "width": -5']),
    'a width in words': (image(6, width='wide'), ['images[6] has "width": "wide"']),
    'a width of 0': (image(6, width=0), ['images[6] has "width": 0']),
    'no width': (image(6, width=...), ['id 17', '"6.png" without a "width"', 'Give']),
    'an accent in another form': (image(6, file_name='a\u0308.png'), ['images[6]']),
    'an image turned': (
        of_all('images', width=HEIGHT, height=WIDTH),
        ['images[0] ("0.png") (and 7 more) is 48 x 32', 'says 32 x 48', 'EXIF'],
    ),
    'an image turned, in text': (
        of_all('images', width=str(HEIGHT), height=str(WIDTH)),
        ['images[0] ("0.png") (and 7 more) is 48 x 32', 'says 32 x 48', 'EXIF'],
    ),
    'no category anywhere': (
        lambda c: (c.pop('categories'), [a.pop('category_id') for a in labels_of(c)]),
        ['id 11, which has no "category_id",', 'Give each one'],
    ),
    'an image scaled': (
        image(6, width=480, height=320),
        ['images[6] ("6.png") is 48 x 32 pixels, and the file says 480 x 320'],
    ),
    'names in another order': (
        lambda c: c['categories'][0].update(keypoints=NAMES[::-1]),
        ['categories[0]', 'number 0 is "chin", not "nose"'],
    ),
    'an image that is a number': (put('images', 3), ['images[8] is 3']),
    'an annotation that is a list': (put('annotations', []), ['annotations[8] is []']),
    'no annotations': (lambda c: c.pop('annotations'), ['no list of "annotations"']),
    'no images': (lambda c: c.pop('images'), ['no list of "images"']),
    'empty annotations': (replace('annotations', []), ['empty list of "annotations"']),
    'images as an object': (replace('images', {'1': 2}), ['no list of "images"']),
    'categories that are null': (replace('categories', None), ['no list of "categori']),
    'nothing but crowds': (
        of_all('annotations', iscrowd=1),
        ['8 of 8 annotations: 8 crowds (iscrowd), such as id 11', 'to 0'],
    ),
}


@pytest.mark.parametrize('kind', FAULTS)
def test_what_is_wrong_is_named_with_its_entry(source, kind):
    spoil, parts = FAULTS[kind]
    spoil(source.content)
    source.refused(*parts)


@pytest.mark.parametrize(
    'content, part',
    [
        (b'', 'is empty'),
        (b' \n', 'is empty'),
        (b'[{"id": 1}]', 'is a list at its top level'),
        (b'null', 'is null at its top level'),
        (b'{"images": [{"id": 1, "file_na', 'not valid JSON'),
        (b'[' * 100_000, 'not valid JSON'),
        (b'\xff\xd8\xff\xe0\x00\x10JFIF', 'not valid JSON'),
        (b'\x80\x04\x95', 'not valid JSON'),
        (b'\xef\xbb\xbf{}', 'no list of "images"'),
        ('{}'.encode('utf-16'), 'no list of "images"'),
    ],
)
def test_a_file_of_another_kind_is_named(source, content, part):
    source.content = content
    source.refused(part)


def test_a_missing_file_and_a_folder_in_its_place_are_named(source):
    cfg = source.config()
    os.remove(source.path)
    with pytest.raises(InputError, match='train.json" does not exist'):
        build_dataset(cfg)
    os.mkdir(source.path)
    with pytest.raises(InputError, match='train.json" cannot be read: it is a fold'):
        build_dataset(cfg)


def test_several_faults_are_told_at_once(source):
    annotation(2, iscrowd='no')(source.content)
    annotation(5, iscrowd='no')(source.content)
    image(3, width=-1)(source.content)
    text = source.refused('annotations[2] (and 1 more) has "iscrowd": "no"')
    assert 'images[3] has "width": -1' in text


# What MMPose reads as it is meant

MEANT = {
    'iscrowd false': of_all('annotations', iscrowd=False),
    'iscrowd null': of_all('annotations', iscrowd=None),
    'iscrowd missing': lambda c: [a.pop('iscrowd') for a in c['annotations']],
    'num_keypoints missing': lambda c: [
        a.pop('num_keypoints') for a in c['annotations']
    ],
    'num_keypoints too many': of_all('annotations', num_keypoints=17),
    'no categories': lambda c: c.pop('categories'),
    'a size of floats': of_all('images', width=48.0, height=32.0),
    'a size of text': of_all('images', width='48', height='32'),
    'num_keypoints of text': of_all('annotations', num_keypoints='4'),
    'an image listed twice': lambda c: c['images'].append(dict(c['images'][0])),
    'a category listed twice': lambda c: c['categories'].append(
        dict(c['categories'][0])
    ),
    'more about a category': lambda c: c['categories'][0].update(keypoints=None),
    'names of others': lambda c: c['categories'][0].update(keypoints=list('abcd')),
    'names in another case': lambda c: c['categories'][0].update(
        keypoints=['Nose', 'left eye', 'RIGHT-EYE', 'chin']
    ),
    'an area of text': of_all('annotations', area='7'),
    'iscrowd as a word': of_all('annotations', iscrowd='0'),
    'ids as pandas writes them': lambda c: [
        entry.update({key: float(entry[key])})
        for name in ('images', 'annotations', 'categories')
        for entry in c[name]
        for key in {'id', 'image_id', 'category_id'} & set(entry)
    ],
    'keypoints one by one': lambda c: [
        a.update(keypoints=np.reshape(a['keypoints'], (-1, 3)).tolist())
        for a in c['annotations']
    ],
}


@pytest.mark.parametrize('kind', MEANT)
def test_what_mmpose_reads_as_it_is_meant_is_no_fault(source, kind):
    expected = in_order(source.build())
    MEANT[kind](source.content)
    assert in_order(source.build()) == expected


@pytest.mark.parametrize('coding', ['utf-8-sig', 'utf-16', 'utf-32-be'])
def test_any_unicode_is_read(source, coding):
    expected = in_order(source.build())
    source.content = json.dumps(source.content).encode(coding)
    assert in_order(source.build()) == expected


def test_mmposes_metrics_are_told_of_the_file_that_was_read(source):
    image(0, id=1.0)(source.content)
    dataset = source.build(test_mode=True)
    told = MessageHub.get_current_instance().runtime_info
    path = told[f'{dataset.metainfo["dataset_name"]}_ann_file']
    with open(path) as file:
        content = json.load(file)
    assert [type(entry['id']) for entry in content['images']] == [int] * 8
    with open(source.path) as file:  # which is as it was
        assert json.load(file)['images'][0]['id'] == 1.0


# Names and sizes of images


@pytest.mark.parametrize(
    'on_disk, named', [('\xe4.png', 'a\u0308.png'), ('a\u0308.png', '\xe4.png')]
)
def test_a_name_in_another_form_is_the_same_name(source, on_disk, named):
    os.rename(source.root / 'images/6.png', source.root / 'images' / on_disk)
    image(6, file_name=named)(source.content)
    paths = [source.build().get_data_info(i)['img_path'] for i in range(8)]
    assert all(map(os.path.isfile, paths))


def test_a_name_with_backslashes_is_a_path_of_windows(source):
    os.mkdir(source.root / 'images/sub')
    os.rename(source.root / 'images/6.png', source.root / 'images/sub/6.png')
    image(6, file_name='sub\\6.png')(source.content)
    assert os.path.isfile(source.build().get_data_info(6)['img_path'])


def test_images_that_none_is_annotated_on_need_not_be_there(source, said):
    size = dict(width=10, height=10)
    put('images', dict(id=99, file_name='gone.png', **size))(source.content)
    assert len(source.build()) == 8
    assert said == []


def test_images_that_are_all_elsewhere_are_left_to_the_pipeline(source):
    assert len(source.build(data_prefix=dict(img='somewhere/'))) == 8


def test_with_indices_the_other_images_need_not_be_there(source):
    image(7, file_name='gone.png')(source.content)
    assert len(source.build(indices=4)) == 4


def test_files_that_are_no_images_are_left_to_the_pipeline(source):
    (source.root / 'images/depth.npy').write_bytes(b'numbers')
    image(2, file_name='depth.npy')(source.content)
    assert len(source.build()) == 8


def test_where_images_are_loaded_all_files_are_images(source):
    (source.root / 'images/photograph.heic').write_bytes(b'ftypheic')
    image(2, file_name='photograph.heic')(source.content)
    with pytest.raises(InputError, match='photograph.heic" cannot be decoded'):
        source.build(pipeline=[dict(type='LoadImage')])


@pytest.mark.parametrize('file_format', ['jpg', 'webp', 'tif', 'avif'])
def test_images_are_loaded_as_their_sizes_are_compared(source, file_format):
    """OpenCV turns some formats alone, and labels would lie elsewhere."""
    if f'.{file_format}' not in Image.registered_extensions():
        pytest.skip(f'this Pillow has no {file_format}')
    image(6, file_name=f'6.{file_format}', width=HEIGHT, height=WIDTH)(source.content)
    write_image(source.root / f'images/6.{file_format}', orientation=6)
    dataset = source.build(pipeline=[dict(type='LoadImage')])
    assert dataset[6]['img'].shape == (WIDTH, HEIGHT, 3)


@pytest.mark.parametrize(
    'changes, missing',
    [
        (dict(ann_file=''), 'needs ann_file'),
        (dict(data_prefix=dict(images='images/')), 'needs data_prefix=dict.img='),
    ],
)
def test_what_a_dataset_does_not_say_is_asked_for(source, changes, missing):
    with pytest.raises(InputError, match=f'CocoDataset with data_root.*{missing}'):
        source.build(**changes)


def test_a_compressed_file_is_to_be_unpacked(source):
    cfg = source.config(ann_file='train.json.gz')
    os.rename(source.path, f'{source.path}.gz')
    with pytest.raises(InputError, match='train.json.gz".*compressed. Unpack it'):
        build_dataset(cfg)


@pytest.mark.parametrize('orientation', [3, 6, 8])
def test_sizes_are_those_of_the_image_upright(source, orientation):
    for i in range(8):
        write_image(source.root / f'images/{i}.png', orientation=orientation)
    if orientation == 3:
        assert len(source.build()) == 8
        return
    source.refused('is 32 x 48 pixels, and the file says 48 x 32', 'EXIF')
    of_all('images', width=HEIGHT, height=WIDTH)(source.content)
    assert len(source.build()) == 8


def test_the_sizes_of_all_images_are_compared(source):
    """However many there are, and whatever their format."""
    size = dict(width=WIDTH, height=HEIGHT)
    for i in range(8, 40):
        os.link(source.root / 'images/0.png', source.root / f'images/{i}.png')
        label = dict(source.content['annotations'][0], id=i + 11, image_id=i + 1)
        put('images', dict(id=i + 1, file_name=f'{i}.png', **size))(source.content)
        put('annotations', label)(source.content)
    assert len(source.build()) == 40
    odd = 39
    for extension in ('jpg', 'webp', 'png', 'bmp', 'tif'):
        image(odd, file_name=f'{odd}.{extension}')(source.content)
        write_image(source.root / f'images/{odd}.{extension}')
        assert len(source.build()) == 40
        path = source.root / f'images/{odd}.{extension}'
        path.unlink()
        write_image(path, (HEIGHT, WIDTH))
        source.refused(f'images[{odd}]', 'is 32 x 48 pixels', 'says 48 x 32')


def test_keypoints_outside_of_their_image_are_counted(source, said):
    for index, place in enumerate([(-1, 5), (WIDTH + 1, 5), (5, HEIGHT + 1), (0, 0.4)]):
        source.content['annotations'][index]['keypoints'][:2] = place
    source.content['annotations'][2]['keypoints'][3:6] = [500, 500, 0]  # No label.
    source.build()
    assert [m for level, m in said if level == logging.WARNING] == [
        f'CocoDataset, annotation file "{source.path}": 3 labelled keypoints are '
        'outside of their image'
    ]


@pytest.mark.parametrize('corners', [False, True])
def test_boxes_that_look_like_corners_are_said(source, said, corners):
    for label in source.content['annotations']:
        x, y, w, h = box = [20, 12, 25, 19]
        label['bbox'] = [x, y, x + w, y + h] if corners else box
    source.build()
    found = [m for level, m in said if level == logging.WARNING]
    assert ['8 of 8 boxes reach out' in m for m in found] == [True] * corners


def test_a_speck_and_a_keypoint_in_the_corner_are_labels(source):
    annotation(1, bbox=[9, 9, 0.5, 0.5])(source.content)
    annotation(2, keypoints=[0.5, 0.5, 2] + [0] * 9)(source.content)
    assert len(source.build()) == 8


def test_a_damaged_image_is_found_before_the_run(source):
    content = (source.root / 'images/2.png').read_bytes()
    (source.root / 'images/2.png').write_bytes(content[:-30])
    with pytest.raises(InputError, match='2.png" is cut short'):
        source.build()


def test_twelve_bits_in_a_file_of_sixteen_are_refused(source):
    pixels = np.random.default_rng(0).integers(0, 4096, (HEIGHT, WIDTH), np.uint16)
    Image.fromarray(pixels).save(source.root / 'images/2.png')
    with pytest.raises(InputError, match=r'2.png" uses 12 of its 16 bits.*by 16'):
        source.build()
    Image.fromarray(pixels * 16).save(source.root / 'images/2.png')
    assert len(source.build()) == 8


@pytest.mark.parametrize('stated', [None, (48, 32), (48.4, 31.6), (49, 32)])
def test_a_size_may_be_rounded_or_left_out(stated):
    assert other_size(stated, 48, 32) == ('', '')


# What MMPose drops


def test_each_reason_is_counted_with_an_example(source, said):
    changes = [
        dict(iscrowd=1),
        dict(num_keypoints=0),
        dict(keypoints=[], bbox=[0, 0, 0, 0], num_keypoints=0),
        dict(bbox=...),
        dict(keypoints=...),
        dict(image_id=77),
        dict(bbox=[10, 10, -5, 5]),
    ]
    for index, change in enumerate(changes):
        annotation(index, **change)(source.content)
    assert len(source.build()) == 1
    (warning,) = warnings_of(said)
    assert 'left out by the reader: 7 of 8 annotations: ' in warning
    assert source.path in warning
    for reason in (
        '1 crowds (iscrowd)',
        '2 without a labelled keypoint',
        '1 without a box',
        '1 without keypoints',
        '1 of an image_id that no image has',
        '1 with a box that is empty or outside of its image, such as id 17',
    ):
        assert reason in warning


def random_label(rng):
    """Changes to an annotation of which MMPose drops some."""
    changes = {}
    if rng.random() < 0.5:
        changes['bbox'] = rng.integers(-60, 90, 4).tolist()
    if rng.random() < 0.3:
        points = np.column_stack([rng.integers(-9, 3, (4, 2)), rng.integers(0, 3, 4)])
        changes['keypoints'] = points.ravel().tolist()
    if rng.random() < 0.2:
        changes['keypoints'] = [0] * 12
    if rng.random() < 0.1:
        changes['keypoints'] = []
    if rng.random() < 0.5:
        changes['num_keypoints'] = rng.choice([..., 0, 1, 2.0])
    if changes.get('keypoints') == []:  # MMPose fails on another number.
        changes['num_keypoints'] = 0
    if rng.random() < 0.3:
        changes['iscrowd'] = int(rng.integers(2))
    for key in ('bbox', 'keypoints'):
        if rng.random() < 0.1:
            changes[key] = ...
    if rng.random() < 0.1:
        changes['image_id'] = int(rng.integers(5, 15))
    return changes


@pytest.mark.parametrize('interval', [1, 3])
def test_what_is_counted_is_what_mmpose_drops(source, interval):
    rng = np.random.default_rng(0)
    labels = source.content['annotations']
    source.content['annotations'] = [
        dict(copy.deepcopy(labels[i % 8]), id=i) for i in range(400)
    ]
    for index in range(400):
        annotation(index, **random_label(rng))(source.content)
    cfg = source.config(sample_interval=interval)
    looks = []
    kept = len(build_dataset(cfg, looks))
    ((file,), _) = looks[0]
    without = file.left_out['of an image_id that no image has']
    drawn = [
        label
        for label in source.content['annotations']
        if label['image_id'] % interval == 0 and label['image_id'] <= 8
    ]
    assert sum(file.left_out.values()) - without == len(drawn) - kept
    assert kept == len(DATASETS.build(cfg))
    assert kept > 10 and len(file.left_out) == 6


@pytest.mark.parametrize('pack', [True, False])
def test_a_dataset_whose_own_rules_leave_nothing_is_refused(source, pack):
    of_all('annotations', iscrowd=1, segmentation=[])(source.content)
    source.refused('has no sample', type='FreiHandDataset', serialize_data=pack)


def test_rules_of_another_dataset_are_counted_too(source, said):
    # It takes the whole image for a box, and counts keypoints itself.
    annotation(1, iscrowd=1)(source.content)
    annotation(2, num_keypoints=0, bbox=...)(source.content)
    for entry in source.content['annotations']:
        entry['segmentation'] = []
    assert len(source.build(type='FreiHandDataset')) == 7
    (warning,) = warnings_of(said)
    assert '1 of 8 annotations: 1 crowds (iscrowd), such as id 12' in warning


def test_what_another_dataset_fails_on_is_named(source):
    for entry in source.content['annotations']:
        entry['segmentation'] = []
    annotation(3, segmentation=...)(source.content)
    source.refused('id 14', "KeyError: 'segmentation'", type='FreiHandDataset')


def test_what_is_wrong_with_what_is_dropped_does_no_harm(source, said):
    annotation(1, iscrowd=1, keypoints=[1, 2, 0.5] * 7)(source.content)
    assert len(source.build()) == 7
    assert '1 crowds (iscrowd)' in warnings_of(said)[0]


def test_other_categories_are_pointed_out(source, said):
    put('categories', dict(id=2, name='cat', keypoints=['nose', 'tail', 'a', 'b']))(
        source.content
    )
    annotation(4, category_id=2)(source.content)
    annotation(5, category_id=9)(source.content)
    source.build()
    (several,) = warnings_of(said)
    assert 'several categories are read: 6 of 1, 1 of 2, 1 of 9' in several


def test_with_a_converter_the_metainfo_may_be_of_the_result(source):
    names = NAMES[1:3]
    convert = dict(type='KeypointConverter', num_keypoints=2, mapping=[(1, 0), (2, 1)])
    pipeline = [convert]
    assert len(source.build(metainfo=metainfo_of(names), pipeline=pipeline)) == 8
    source.refused('has 4 keypoints', metainfo=metainfo_of(names))
    annotation(3, keypoints=[1, 2, 2] * 3)(source.content)
    text = source.refused(metainfo=metainfo_of(names), pipeline=pipeline)
    assert 'id 14 has 3 keypoints, not 4' in text


# Wrappers, boxes of a detector, other datasets


@pytest.mark.parametrize(
    'wrap',
    [
        lambda cfg: dict(
            type='CombinedDataset', metainfo=metainfo_of(), datasets=[cfg, dict(cfg)]
        ),
        lambda cfg: dict(type='RepeatDataset', dataset=cfg, times=2),
        lambda cfg: dict(type='ConcatDataset', datasets=[cfg, dict(cfg)]),
        lambda cfg: dict(type='UnlabeledDataset', dataset=cfg, pipeline=[]),
        lambda cfg: dict(
            type='RepeatDataset',
            times=3,
            dataset=dict(type='ConcatDataset', datasets=[cfg]),
        ),
    ],
)
def test_files_within_wrappers_are_looked_at(source, wrap):
    cfg = ConfigDict(wrap(source.config(pipeline=[])))
    assert len(build_dataset(cfg)) in (8, 16, 24)
    assert cfg == ConfigDict(wrap(source.config(pipeline=[])))
    of_all('annotations', id=0)(source.content)
    source.config()
    with pytest.raises(InputError, match='have the id 0'):
        build_dataset(cfg)


def test_a_dataloader_is_looked_at_like_a_dataset(source):
    loader = dict(batch_size=2, dataset=source.config())
    changed = looked_at(loader)
    assert changed['batch_size'] == 2 and loader['dataset']['type'] == 'CocoDataset'
    assert len(DATASETS.build(changed['dataset'])) == 8
    assert looked_at(changed)['dataset'] == changed['dataset']


def test_the_loops_look_at_what_they_draw_from(source):
    loader = dict(batch_size=2, num_workers=0, dataset=source.config(pipeline=[]))
    shuffled = dict(loader, sampler=dict(type='InfiniteSampler'))
    in_turn = dict(loader, sampler=dict(type='DefaultSampler', shuffle=False))
    runner = SimpleNamespace(build_dataloader=Runner.build_dataloader, seed=0)

    def validation():
        DomainValLoop(runner, dict(source=in_turn), dict(source=[]))

    assert len(build_numbered_dataloader(runner, shuffled, seed=0).dataset) == 8
    of_all('annotations', id=0)(source.content)
    source.config()
    for build in (lambda: build_numbered_dataloader(runner, shuffled, 0), validation):
        with pytest.raises(InputError, match='have the id 0'):
            build()


def test_boxes_without_keypoints_are_for_another_dataset(source):
    for entry in source.content['annotations']:
        del entry['keypoints']
    source.refused('8 without keypoints', 'UnlabeledImages takes the boxes alone')


def test_other_datasets_are_built_as_they_are(tmp_path):
    write_image(tmp_path / 'a.png')
    assert len(build_dataset(dict(type='UnlabeledImages', root=str(tmp_path)))) == 1


def test_labels_of_a_wrapped_target_stay_behind(source):
    dataset = build_dataset(
        dict(type='UnlabeledDataset', dataset=source.config(), pipeline=[])
    )
    assert isinstance(dataset, UnlabeledDataset)
    assert not {'keypoints', 'keypoints_visible'} & set(dataset.get_data_info(0))


def detections(**changes):
    return [
        dict(dict(image_id=i, category_id=1, bbox=[2, 3, 20, 9], score=0.5), **changes)
        for i in range(1, 9)
    ]


def with_detections(source, content):
    path = source.root / 'detections.json'
    path.write_text(json.dumps(content))
    return dict(bbox_file=str(path), test_mode=True)


def test_boxes_of_a_detector_are_looked_at(source, said):
    content = detections()
    content[2].update(category_id=3)
    # The images of a test set have no annotations.
    source.content.pop('annotations')
    dataset = source.build(**with_detections(source, content))
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert [info['img_id'] for info in infos] == [1, 2, 4, 5, 6, 7, 8]
    assert {tuple(info['bbox'][0].tolist()) for info in infos} == {(2, 3, 22, 12)}
    (warning,) = warnings_of(said)
    assert (
        '1 of 8 detections: 1 of a category other than 1, such as detections[2]'
        in warning
    )


@pytest.mark.parametrize(
    'changes, part',
    [
        (dict(image_id='1'), 'detections[0] (and 7 more) has "image_id": "1"'),
        (dict(image_id=77), 'has the image_id 77, which no image has'),
        (dict(bbox=None), 'has "bbox": null'),
        (dict(bbox=[1, 2, 3]), 'has "bbox": [1, 2, 3]'),
        (dict(bbox=[2, 3, 0, 9]), 'has "bbox": [2, 3, 0, 9]'),
        (dict(score='high'), '"score": "high"'),
        (dict(score=float('nan')), '"score": NaN'),
        (dict(category_id=None), 'has "category_id": null'),
        (dict(category_id=2), '8 of a category other than 1'),
    ],
)
def test_what_is_wrong_with_detections_is_named(source, changes, part):
    given = with_detections(source, detections(**changes))
    with pytest.raises(InputError) as error:
        source.build(**given)
    assert part in str(error.value) and given['bbox_file'] in str(error.value)


def test_detections_are_a_list(source):
    given = with_detections(source, source.content)
    with pytest.raises(InputError, match='detections.json" holds no detections'):
        source.build(**given)


def whole_body(source):
    parts = dict(
        keypoints=17, foot_kpts=6, face_kpts=68, lefthand_kpts=21, righthand_kpts=21
    )
    for entry in source.content['annotations']:
        entry.update({key: [5, 6, 0.7] * number for key, number in parts.items()})
        entry.update(keypoints=[5, 6, 2] * 17, num_keypoints=17, segmentation=[])
    source.content['categories'][0].pop('keypoints')
    metainfo = dict(from_file='configs/_base_/datasets/coco_wholebody.py')
    return dict(type='CocoWholeBodyDataset', metainfo=metainfo)


def test_a_whole_body_is_looked_at_part_by_part(source, said):
    cfg = whole_body(source)
    sound = copy.deepcopy(source.content)
    assert len(source.build(**cfg)) == 8
    assert said == []
    for change, part in [
        (dict(face_kpts=[1, 2, 0.5] * 67), 'id 13 has 132 keypoints, not 133'),
        (dict(foot_kpts=...), "KeyError: 'foot_kpts'"),
        (dict(foot_kpts=None), 'id 13'),
    ]:
        source.content = copy.deepcopy(sound)
        annotation(2, **change)(source.content)
        source.refused(part, **cfg)


def test_hands_of_a_whole_body_have_their_ids_looked_at(source):
    cfg = dict(whole_body(source), type='CocoWholeBodyHandDataset')
    cfg['metainfo'] = dict(from_file='configs/_base_/datasets/coco_wholebody_hand.py')
    for entry in source.content['annotations']:
        entry.update(lefthand_valid=True, righthand_valid=False)
        entry.update(lefthand_box=[1, 2, 9, 9])
    assert len(source.build(**cfg)) == 8
    of_all('annotations', id=0)(source.content)
    source.refused('have the id 0', **cfg)


def test_a_dataset_with_a_layout_of_its_own_is_left_alone(source, said):
    source.content = [
        dict(
            image='0.png',
            center=[20, 15],
            scale=0.2,
            joints=[[5, 6]] * 16,
            joints_vis=[1] * 16,
        )
    ]
    metainfo = dict(from_file='configs/_base_/datasets/mpii.py')
    assert len(source.build(type='MpiiDataset', metainfo=metainfo)) == 1
    assert said == []


# The check of a whole config


def check(source, **changes):
    loader = dict(batch_size=2, dataset=source.config(pipeline=[], **changes))
    cfg = dict(train_dataloader=dict(source=loader))
    return check_config(cfg, num_workers=1, progress=False)


def test_the_check_says_what_the_reader_leaves_out(source, said):
    for index in (0, 3, 6):
        annotation(index, iscrowd=1)(source.content)
    report = check(source)
    (finding,) = report.problems
    assert finding.path == source.path and finding.split == 'train/source'
    page = report.to_markdown()
    assert '3 of 8 annotations: 3 crowds (iscrowd), such as id' in page
    assert said == []


def test_the_check_finds_every_image_of_another_size(source):
    for index in range(3, 8):
        image(index, width=HEIGHT, height=WIDTH)(source.content)
    report = check(source)
    paths = [finding.path for finding in report.problems]
    assert [os.path.basename(path) for path in paths] == [
        f'{i}.png' for i in range(3, 8)
    ]
    assert '48 x 32 pixels, and the file says 32 x 48' in report.problems[0].detail


def test_the_check_finds_every_missing_image(source):
    for index in (2, 5):
        image(index, file_name=f'gone{index}.png')(source.content)
    report = check(source)
    assert [finding.kind for finding in report.problems] == ['missing image'] * 2


def test_the_check_names_what_is_wrong_with_a_file(source):
    of_all('annotations', id=0)(source.content)
    with pytest.raises(InputError, match=r'annotations\[0\] and annotations\[1\]'):
        check(source)


def test_the_check_knows_keypoints_that_are_converted(source):
    convert = dict(type='KeypointConverter', num_keypoints=2, mapping=[(1, 0), (2, 1)])
    loader = dict(
        dataset=source.config(metainfo=metainfo_of(NAMES[1:3]), pipeline=[convert])
    )
    report = check_config(dict(train_dataloader=loader), 1, progress=False)
    assert report.findings == []
