"""A folder of photographs: what is found, what is said, what is left out."""

import csv
import io
import json
import logging
import os
import re
import unicodedata

import numpy as np
import pytest
from mmpose.registry import DATASETS
from PIL import Image

from mmregda import InputError
from mmregda.datasets import UnlabeledDataset, UnlabeledImages

PIPELINE = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.0),
    dict(type='TopdownAffine', input_size=(64, 64)),
    dict(type='PackPoseInputs'),
]


def photograph(seed=0, size=(40, 30)):
    """Noise of (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / 'photographs'
    for index, name in enumerate(['b.png', 'a.jpg', 'sub/c.bmp', 'sub/deep/D.JPEG']):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(index).save(path)
    return root


@pytest.fixture
def said(monkeypatch):
    """What the dataset says in the log, as (level, message)."""
    lines = []
    monkeypatch.setattr(
        'mmregda.datasets.unlabeled_images.print_log',
        lambda message, logger, level: lines.append((level, message)),
    )
    return lines


def warnings_of(said):
    return [message for level, message in said if level == logging.WARNING]


def names_of(dataset):
    root = dataset.root
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [os.path.relpath(info['img_path'], root) for info in infos]


def boxes_of(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [
        (os.path.relpath(i['img_path'], dataset.root), *i['bbox'][0].tolist())
        for i in infos
    ]


def write_csv(path, rows):
    with open(path, 'w', newline='') as file:
        csv.writer(file).writerows(rows)
    return str(path)


def write_json(path, content):
    path.write_text(json.dumps(content))
    return str(path)


def assert_refused(message, *named, **kwargs):
    with pytest.raises(InputError) as error:
        UnlabeledImages(**kwargs)
    text = str(error.value)
    for part in (message, *map(str, named)):
        assert part in text, text
    return text


# The folder


def test_images_of_all_folders_come_in_the_order_of_their_paths(root):
    dataset = UnlabeledImages(root)
    assert names_of(dataset) == ['a.jpg', 'b.png', 'sub/c.bmp', 'sub/deep/D.JPEG']
    infos = [dataset.get_data_info(i) for i in range(4)]
    assert [i['id'] for i in infos] == [i['img_id'] for i in infos] == [0, 1, 2, 3]


@pytest.mark.parametrize('pipeline', [PIPELINE, PIPELINE[1:]])
def test_a_crop_is_its_own_box_with_any_pipeline(root, pipeline):
    sample = UnlabeledImages(root, pipeline=pipeline)[0]
    assert sample['inputs'].shape == (3, 64, 64)
    found = sample['data_samples']
    assert found.gt_instances.bboxes.tolist() == [[0, 0, 40, 30]]
    assert found.gt_instances.bbox_scores.tolist() == [1]
    assert found.img_shape == found.ori_shape == (30, 40)
    # MMPose's warp makes up the visibility of what has no keypoints.
    assert set(found.gt_instances.keys()) == {
        *('bboxes', 'bbox_scores', 'bbox_scales', 'keypoints_visible')
    }
    assert not found.gt_instance_labels.keys()


def test_an_upright_photograph_is_its_own_box(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph().save(root / 'a.jpg', exif=exif)
    sample = UnlabeledImages(root, pipeline=PIPELINE)[0]
    assert sample['data_samples'].gt_instances.bboxes.tolist() == [[0, 0, 30, 40]]


def test_what_lies_beside_the_images_is_counted_and_left_alone(root, said):
    (root / 'notes.txt').write_text('no image')
    (root / 'sub' / 'labels.json').write_text('{}')
    (root / '.thumbnails').mkdir()
    photograph().save(root / '.thumbnails' / 'x.png')
    photograph().save(root / '._a.jpg', 'JPEG')
    assert len(UnlabeledImages(root)) == 4
    ((level, message),) = said
    assert level == logging.INFO
    assert '4 samples of 4 images' in message
    # What is hidden is not looked into.
    assert '4 files that are no images (2 hidden, 1 .txt, 1 .json)' in message


def test_other_extensions_can_be_asked_for(root):
    photograph().save(root / 'x.tga')
    dataset = UnlabeledImages(root, extensions=['.TGA'], pipeline=PIPELINE)
    assert names_of(dataset) == ['x.tga']
    assert dataset[0]['inputs'].shape == (3, 64, 64)


def test_a_folder_without_images_is_named_with_what_it_holds(tmp_path):
    (tmp_path / 'a.heic').touch()
    (tmp_path / 'b.heic').touch()
    assert_refused('holds no image', tmp_path, '2 .heic', '.jpg', root=str(tmp_path))


def test_a_missing_folder_and_a_file_in_its_place_are_named(root):
    assert_refused('does not exist', root / 'none', root=root / 'none')
    assert_refused('is a file', root / 'a.jpg', root=root / 'a.jpg')


@pytest.mark.skipif(
    not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may read anything'
)
def test_an_unreadable_folder_is_named(root):
    (root / 'sub').chmod(0)
    try:
        assert_refused('cannot be read', root / 'sub', root=root)
    finally:
        (root / 'sub').chmod(0o700)


def test_an_unreadable_folder_of_any_user_is_named(root, monkeypatch):
    function = os.scandir

    def refuse(path, *args, **kwargs):
        if str(path).endswith('deep'):
            raise PermissionError(13, 'Permission denied', path)
        return function(path, *args, **kwargs)

    monkeypatch.setattr(os, 'scandir', refuse)
    assert_refused('Permission denied', root / 'sub' / 'deep', root=root)


def test_links_are_followed_and_a_loop_of_links_ends(root, tmp_path):
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    photograph().save(elsewhere / 'far.png')
    (elsewhere / 'back').symlink_to(root)
    (root / 'link').symlink_to(elsewhere)
    (root / 'sub' / 'self').symlink_to(root / 'sub')
    assert names_of(UnlabeledImages(root)) == [
        *('a.jpg', 'b.png', 'link/far.png', 'sub/c.bmp', 'sub/deep/D.JPEG')
    ]


def test_fewer_images_may_be_used(root):
    assert names_of(UnlabeledImages(root, indices=2)) == ['a.jpg', 'b.png']


# Keypoint definitions


def test_keypoints_are_named_only_where_they_are_given(root):
    assert UnlabeledImages(root).metainfo == {}
    hand = UnlabeledImages(root, metainfo='hand21')
    assert hand.metainfo['num_keypoints'] == 21
    assert hand.get_data_info(0)['flip_indices'] == list(range(21))
    coco = dict(from_file='configs/_base_/datasets/coco.py')
    body = DATASETS.build(dict(type='UnlabeledImages', root=str(root), metainfo=coco))
    assert body.get_data_info(0)['flip_indices'][:3] == [0, 2, 1]


@pytest.mark.parametrize(
    'name, dataset, number',
    [
        ('coco17', 'CocoDataset', 17),
        ('coco_wholebody', 'CocoWholeBodyDataset', 133),
        ('mpii', 'MpiiDataset', 16),
        ('freihand2d', 'FreiHandDataset', 21),
    ],
)
def test_mmposes_keypoints_have_names(root, name, dataset, number):
    found = UnlabeledImages(root, metainfo=name).metainfo
    expected = DATASETS.get(dataset)._load_metainfo(DATASETS.get(dataset).METAINFO)
    assert found['num_keypoints'] == number
    for key in ('keypoint_id2name', 'flip_indices', 'skeleton_links'):
        assert found[key] == expected[key]


def test_an_unknown_name_of_keypoints_is_refused(root):
    assert_refused('Did you mean coco17', root=root, metainfo='coco_17')
    assert_refused(
        'metainfo is "../coco", which is not known', root=root, metainfo='../coco'
    )


def test_wrapped_like_any_dataset_it_gives_the_same_samples(root):
    load = [dict(type='LoadWholeImage'), dict(type='WholeImageBox')]
    wrapped = UnlabeledDataset(UnlabeledImages(root), [*load, *PIPELINE[1:]])
    for one, other in zip(wrapped, UnlabeledImages(root, pipeline=PIPELINE)):
        assert (one['inputs'] == other['inputs']).all()


# Boxes files

ROWS = [
    ('b.png', 1, 2, 10, 12),
    ('sub/c.bmp', 0, 0, 40, 30),
    ('b.png', 20, 5.5, 12, 14),
]
EXPECTED = [
    ('b.png', 1, 2, 11, 14),
    ('sub/c.bmp', 0, 0, 40, 30),
    ('b.png', 20, 5.5, 32, 19.5),
]


def coco_of(rows, **kwargs):
    names = sorted({row[0] for row in rows})
    images = [dict(id=70 + i, file_name=name) for i, name in enumerate(names)]
    annotations = [
        dict(id=i, image_id=70 + names.index(row[0]), bbox=row[1:], **kwargs)
        for i, row in enumerate(rows)
    ]
    return dict(images=images, annotations=annotations)


def predictions_of(rows, kind):
    """What the inferencers of MMPose and MMDetection write, by image."""
    found = {}
    for name, x, y, w, h in rows:
        stem = os.path.splitext(os.path.basename(name))[0]
        found.setdefault(stem, []).append([x, y, x + w, y + h])
    if kind == 'mmdet':
        return {
            stem: dict(bboxes=boxes, scores=[0.9] * len(boxes), labels=[0] * len(boxes))
            for stem, boxes in found.items()
        }
    return {
        stem: [
            dict(keypoints=[[0, 0]], keypoint_scores=[1], bbox=[box], bbox_score=0.9)
            for box in boxes
        ]
        for stem, boxes in found.items()
    }


def write_boxes(kind, folder, rows):
    """A boxes file of any kind, as the arguments of the dataset."""
    if kind in ('mmpose', 'mmdet'):
        predictions = folder / 'predictions'
        predictions.mkdir()
        for stem, content in predictions_of(rows, kind).items():
            write_json(predictions / f'{stem}.json', content)
        return dict(boxes=str(predictions))
    if kind == 'coco':
        return dict(boxes=write_json(folder / 'coco.json', coco_of(rows)))
    if kind == 'detections':
        coco = coco_of(rows, category_id=1, score=0.9)
        detections = coco.pop('annotations')
        return dict(
            boxes=write_json(folder / 'detections.json', detections),
            images_json=write_json(folder / 'images.json', coco),
        )
    if kind == 'csv':
        return dict(boxes=write_csv(folder / 'boxes.csv', rows))
    header = ('score', 'h', 'w', 'y', 'x', 'Path')
    rows = [(0.9, *row[:0:-1], row[0]) for row in rows]
    path = folder / 'excel.csv'
    write_csv(path, [header, *rows])
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    return dict(boxes=str(path))


KINDS = ['coco', 'detections', 'csv', 'csv with a header', 'mmpose', 'mmdet']


@pytest.mark.parametrize('kind', KINDS)
def test_boxes_of_every_kind_of_file_are_the_same(root, tmp_path, said, kind):
    boxes = write_boxes(kind, tmp_path, ROWS)
    dataset = UnlabeledImages(root, **boxes, pipeline=PIPELINE)
    assert sorted(boxes_of(dataset)) == sorted(EXPECTED)
    ((_, message),) = said
    assert '3 samples of 2 images' in message and '2 images without a box' in message
    sample = dataset[0]['data_samples']
    assert tuple(sample.gt_instances.bboxes[0]) == EXPECTED[0][1:]
    # The centre and size of the box, made square.
    np.testing.assert_allclose(sample.input_center, [6, 8])
    np.testing.assert_allclose(sample.input_scale, [12, 12])


def test_an_image_stays_with_its_folder_and_has_one_id(root, tmp_path):
    photograph(9).save(root / 'sub-2.jpg')
    names = ['sub/c.bmp', 'sub-2.jpg', 'sub/c.bmp']
    boxes = write_csv(tmp_path / 'boxes.csv', [(name, 1, 2, 3, 4) for name in names])
    dataset = UnlabeledImages(root, boxes)
    first, second, third = (dataset.get_data_info(i)['img_id'] for i in range(3))
    assert first == third != second
    # By the whole path, "-" would come before "/".
    assert names_of(UnlabeledImages(root))[-1] == 'sub-2.jpg'


def test_cocos_image_ids_are_kept(root, tmp_path):
    dataset = UnlabeledImages(root, **write_boxes('coco', tmp_path, ROWS))
    assert [dataset.get_data_info(i)['img_id'] for i in range(3)] == [70, 71, 70]


@pytest.mark.parametrize('kind', KINDS)
def test_boxes_that_are_no_boxes_are_refused_or_counted(root, tmp_path, said, kind):
    bad = [
        ('a.jpg', 1, 1, 0, 5),
        ('a.jpg', 1, 1, 5, -3),
        ('a.jpg', float('nan'), *'123'),
    ]
    bad[2] = ('a.jpg', float('nan'), 1, 2, 3)
    boxes = write_boxes(kind, tmp_path, [*ROWS, *bad])
    text = assert_refused(
        '3 entries that are no boxes', boxes['boxes'], 'a', root=root, **boxes
    )
    assert '0 x 5 pixels' in text and 'finite' in text and 'skip_corrupt=True' in text
    dataset = UnlabeledImages(root, **boxes, skip_corrupt=True)
    assert sorted(boxes_of(dataset)) == sorted(EXPECTED)
    (warning,) = warnings_of(said)
    assert '3 entries that are no boxes' in warning
    assert 'Left out: 3 entries that are no boxes' in said[-1][1]


def test_boxes_in_fractions_of_the_image_are_refused(root, tmp_path):
    boxes = write_csv(tmp_path / 'boxes.csv', [('a.jpg', 0.25, 0.25, 0.5, 0.75)])
    assert_refused('is 0.5 x 0.75 pixels', boxes, root=root, boxes=boxes)


@pytest.mark.parametrize('kind', KINDS)
def test_images_that_are_not_there_are_refused_or_counted(root, tmp_path, said, kind):
    missing = [(f'gone{i}.jpg', 1, 1, 9, 9) for i in range(5)]
    boxes = write_boxes(kind, tmp_path, [*missing, *ROWS])
    text = assert_refused(
        '5 boxes of missing images', boxes['boxes'], root, root=root, **boxes
    )
    assert '"gone0' in text and '"gone2' in text and 'gone3' not in text
    dataset = UnlabeledImages(root, **boxes, skip_corrupt=True)
    assert sorted(boxes_of(dataset)) == sorted(EXPECTED)
    assert '5 boxes of missing images' in warnings_of(said)[0]
    assert '5 boxes of missing images' in said[-1][1]


@pytest.mark.parametrize('kind', ['detections', 'csv with a header', 'mmpose', 'mmdet'])
def test_boxes_of_a_small_score_are_left_out_and_counted(root, tmp_path, said, kind):
    boxes = write_boxes(kind, tmp_path, ROWS)
    assert len(UnlabeledImages(root, **boxes, min_score=0.9)) == 3
    assert_refused('3 boxes of a score below 0.95', root=root, **boxes, min_score=0.95)


def test_categories_are_chosen_and_several_are_pointed_out(root, tmp_path, said):
    coco = coco_of(ROWS, category_id=1)
    coco['annotations'][1]['category_id'] = 3
    boxes = write_json(tmp_path / 'coco.json', coco)
    assert len(UnlabeledImages(root, boxes)) == 3
    (warning,) = warnings_of(said)
    assert '2 of 1, 1 of 3' in warning and 'categories=[' in warning
    dataset = UnlabeledImages(root, boxes, categories=[1])
    assert boxes_of(dataset) == [EXPECTED[0], EXPECTED[2]]
    assert '1 boxes of another category' in said[-1][1]


def test_a_crowd_is_no_sample(root, tmp_path):
    coco = coco_of(ROWS, iscrowd=0)
    coco['annotations'][0]['iscrowd'] = 1
    dataset = UnlabeledImages(root, write_json(tmp_path / 'coco.json', coco))
    assert boxes_of(dataset) == EXPECTED[1:]


@pytest.mark.parametrize('flag', [0, 0.0, False, None, '0'])
def test_no_crowd_is_written_in_several_ways(root, tmp_path, flag):
    boxes = write_json(tmp_path / 'coco.json', coco_of(ROWS, iscrowd=flag))
    assert boxes_of(UnlabeledImages(root, boxes)) == EXPECTED


@pytest.mark.parametrize('flag', [1, 1.0, True, '1'])
def test_crowds_are_counted_and_nothing_but_crowds_is_an_error(
    root, tmp_path, said, flag
):
    coco = coco_of(ROWS, iscrowd=flag)
    boxes = write_json(tmp_path / 'coco.json', coco)
    text = assert_refused(
        'Left out: 3 crowds (iscrowd), 2 images', boxes, root=root, boxes=boxes
    )
    assert 'Set iscrowd to 0' in text
    coco['annotations'][1]['iscrowd'] = 0
    boxes = write_json(tmp_path / 'coco.json', coco)
    assert boxes_of(UnlabeledImages(root, boxes)) == EXPECTED[1:2]
    # Its image is not one without a box.
    assert 'Left out: 2 crowds (iscrowd), 2 images without a box' in said[-1][1]


@pytest.mark.parametrize('flag', [2, 'no', [], 0.5])
def test_a_crowd_is_0_or_1(root, tmp_path, flag):
    boxes = write_json(tmp_path / 'coco.json', coco_of(ROWS, iscrowd=flag))
    assert_refused('annotations[0] (and 2 more) has "iscrowd"', root=root, boxes=boxes)


def with_ids(coco, to_id):
    for image in coco['images']:
        image['id'] = to_id(image['id'])
    for annotation in coco['annotations']:
        annotation['image_id'] = to_id(annotation['image_id'])
    return coco


@pytest.mark.parametrize(
    'to_id', [str, lambda i: i + 0.5, lambda i: None, bool, 'x{}'.format]
)
def test_ids_that_are_no_integers_are_refused(root, tmp_path, to_id):
    boxes = write_json(tmp_path / 'coco.json', with_ids(coco_of(ROWS), to_id))
    shown = json.dumps(to_id(70))
    assert_refused(
        f'images[0] (and 1 more) has "id": {shown}', boxes, root=root, boxes=boxes
    )


def test_whole_floats_are_the_ids_that_they_are(root, tmp_path):
    boxes = write_json(tmp_path / 'coco.json', with_ids(coco_of(ROWS), float))
    dataset = UnlabeledImages(root, boxes)
    ids = [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))]
    assert json.dumps(ids) == json.dumps(
        [a['image_id'] for a in coco_of(ROWS)['annotations']]
    )


def test_an_id_of_another_kind_among_others_is_named(root, tmp_path):
    coco = coco_of(ROWS)
    coco['annotations'][1]['image_id'] = '71'
    boxes = write_json(tmp_path / 'coco.json', coco)
    assert_refused('annotations[1] has "image_id": "71"', boxes, root=root, boxes=boxes)


def test_ids_of_annotations_mean_nothing(root, tmp_path):
    boxes = write_json(tmp_path / 'coco.json', coco_of(ROWS))
    for number in (0, 'a', None):
        coco = coco_of(ROWS)
        for annotation in coco['annotations']:
            annotation['id'] = number
        write_json(tmp_path / 'coco.json', coco)
        assert boxes_of(UnlabeledImages(root, boxes)) == EXPECTED


@pytest.mark.parametrize('coding', ['utf-8-sig', 'utf-16', 'utf-16-be', 'utf-32'])
def test_json_may_be_of_any_unicode(root, tmp_path, coding):
    path = tmp_path / 'coco.json'
    path.write_bytes(json.dumps(coco_of(ROWS)).encode(coding))
    assert boxes_of(UnlabeledImages(root, str(path))) == EXPECTED


def with_sizes(coco, width, height):
    for image in coco['images']:
        image.update(width=width, height=height)
    return coco


@pytest.mark.parametrize(
    'size', [(40, 30), (40.0, 30.0), ('40', '30'), (None, None), (0, 0)]
)
def test_a_file_may_state_the_sizes_of_its_images(root, tmp_path, size):
    boxes = write_json(tmp_path / 'coco.json', with_sizes(coco_of(ROWS), *size))
    dataset = UnlabeledImages(root, boxes, pipeline=PIPELINE)
    assert boxes_of(dataset) == EXPECTED
    assert len([dataset[i] for i in range(3)]) == 3


@pytest.mark.parametrize(
    'size, remedy',
    [((30, 40), 'EXIF'), (('30', '40'), 'EXIF'), ((80, 60), 'Scale boxes')],
)
def test_boxes_on_images_of_another_size_are_refused(root, tmp_path, size, remedy):
    boxes = write_json(tmp_path / 'coco.json', with_sizes(coco_of(ROWS), *size))
    text = assert_refused(
        f'40 x 30 pixels, and the file says {size[0]} x {size[1]}',
        root=root,
        boxes=boxes,
    )
    assert remedy in text and 'b.png' in text
    text = assert_refused('do not fit', root=root, boxes=boxes, skip_corrupt=True)
    assert 'Left out: 2 images without a box, 3 boxes that do not fit' in text


def test_boxes_of_a_photograph_that_is_turned_are_upright(tmp_path):
    root = tmp_path / 'turned'
    root.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph().save(root / 'a.jpg', exif=exif)
    rows = [('a.jpg', 1, 2, 10, 12)]
    boxes = write_json(tmp_path / 'coco.json', with_sizes(coco_of(rows), 40, 30))
    assert_refused(
        'is 30 x 40 pixels, and the file says 40 x 30', root=root, boxes=boxes
    )
    write_json(tmp_path / 'coco.json', with_sizes(coco_of(rows), 30, 40))
    assert len(UnlabeledImages(root, boxes)) == 1


def test_one_image_of_another_size_is_refused_or_left_out(tmp_path, said):
    root = tmp_path / 'photographs'
    root.mkdir()
    for name, size in (('a.png', (40, 30)), ('b.png', (20, 15))):
        photograph(size=size).save(root / name)
    rows = [('a.png', 1, 2, 10, 12), ('b.png', 1, 2, 10, 12)]
    boxes = write_json(tmp_path / 'coco.json', with_sizes(coco_of(rows), 40, 30))
    with pytest.raises(InputError, match='b.png" is 20 x 15 pixels'):
        UnlabeledImages(root, boxes, pipeline=PIPELINE)
    dataset = UnlabeledImages(root, boxes, skip_corrupt=True)
    assert names_of(dataset) == ['a.png']
    assert '1 boxes that do not fit' in warnings_of(said)[0]
    assert len(dataset.left_out) == 1


def test_a_box_is_cut_at_the_border_of_its_image(root, tmp_path):
    boxes = write_csv(tmp_path / 'boxes.csv', [('a.jpg', -10, 20, 30, 100)])
    sample = UnlabeledImages(root, boxes, pipeline=PIPELINE)[0]['data_samples']
    assert sample.gt_instances.bboxes.tolist() == [[0, 20, 20, 30]]


@pytest.mark.parametrize('corners', [False, True])
def test_boxes_that_look_like_corners_are_said(root, tmp_path, said, corners):
    x, y, w, h = 25, 15, 14, 12
    box = (x, y, x + w, y + h) if corners else (x, y, w, h)
    boxes = write_csv(tmp_path / 'boxes.csv', [('a.jpg', *box), ('b.png', *box)])
    UnlabeledImages(root, boxes)
    found = warnings_of(said)
    assert ['2 of 2 boxes reach out' in m for m in found] == [True] * corners


@pytest.mark.parametrize('nowhere', [None, ''])
def test_a_folder_that_is_not_named_is_asked_for(nowhere):
    assert_refused('UnlabeledImages.root is', root=nowhere)


def test_a_box_outside_of_its_image_is_refused_or_counted(root, tmp_path, said):
    rows = [*ROWS, ('a.jpg', 40, 0, 10, 10), ('a.jpg', 1, -20, 10, 10)]
    boxes = write_csv(tmp_path / 'boxes.csv', rows)
    assert_refused('2 boxes that do not fit', 'a.jpg', root=root, boxes=boxes)
    dataset = UnlabeledImages(root, boxes, pipeline=PIPELINE, require_images=False)
    for index in (3, 4):
        with pytest.raises(InputError, match='40 x 30 pixels.*lies outside') as error:
            dataset[index]
        assert str(root / 'a.jpg') in str(error.value)
    dataset = UnlabeledImages(root, boxes, skip_corrupt=True, test_mode=True)
    assert boxes_of(dataset) == EXPECTED
    (warning,) = warnings_of(said)
    assert '2 boxes that do not fit' in warning and str(root / 'a.jpg') in warning


# Names


def test_a_bare_name_finds_an_image_of_a_subfolder(root, tmp_path):
    boxes = write_csv(tmp_path / 'boxes.csv', [('c.bmp', 1, 2, 3, 4)])
    assert names_of(UnlabeledImages(root, boxes)) == ['sub/c.bmp']


@pytest.mark.parametrize(
    'name', ['./sub/c.bmp', 'sub\\c.bmp', './sub\\c.bmp', 'sub/deep/../c.bmp']
)
def test_ways_to_write_a_path_find_the_same_image(root, tmp_path, name):
    boxes = write_csv(tmp_path / 'boxes.csv', [(name, 1, 2, 3, 4)])
    assert names_of(UnlabeledImages(root, boxes)) == ['sub/c.bmp']


@pytest.mark.parametrize('form', ['NFC', 'NFD'])
@pytest.mark.parametrize('name', ['sub/caf\u00e9.png', 'caf\u00e9.png'])
def test_an_accent_is_found_in_either_form(tmp_path, form, name):
    other = dict(NFC='NFD', NFD='NFC')[form]
    path = tmp_path / 'photographs/sub' / unicodedata.normalize(form, 'caf\u00e9.png')
    path.parent.mkdir(parents=True)
    photograph().save(path)
    root = str(path.parent.parent)
    rows = [(unicodedata.normalize(other, name), 1, 2, 10, 12)]
    boxes = write_csv(tmp_path / 'boxes.csv', rows)
    assert os.path.samefile(
        UnlabeledImages(root, boxes).get_data_info(0)['img_path'], path
    )


def test_an_absolute_path_finds_its_image(root, tmp_path):
    boxes = write_csv(tmp_path / 'boxes.csv', [(root / 'b.png', 1, 2, 3, 4)])
    assert names_of(UnlabeledImages(root, boxes)) == ['b.png']


@pytest.fixture
def twins(root):
    for folder in ('one', 'two'):
        (root / folder).mkdir()
        photograph().save(root / folder / 'twin.png')
    return root


def test_two_images_of_one_name_are_told_apart_by_their_folders(twins, tmp_path):
    rows = [('two/twin.png', 0, 0, 5, 5), ('one/twin.png', 1, 1, 5, 5)]
    boxes = write_csv(tmp_path / 'boxes.csv', rows)
    assert names_of(UnlabeledImages(twins, boxes)) == ['two/twin.png', 'one/twin.png']


def test_a_name_that_two_images_have_is_refused_with_both(twins, tmp_path):
    boxes = write_csv(tmp_path / 'boxes.csv', [('twin.png', 1, 1, 5, 5)])
    both = ('"one/twin.png"', '"two/twin.png"', boxes, 'line 1')
    assert_refused('may be', *both, root=twins, boxes=boxes)
    folder = write_boxes('mmdet', tmp_path, [('twin.png', 1, 1, 5, 5)])
    assert_refused('may be', *both[:2], 'twin.json', root=twins, **folder)


def test_an_image_that_is_named_twice_may_be(root, tmp_path):
    coco = coco_of(ROWS[:1])
    coco['images'].append(dict(id=5, file_name='b.png'))
    coco['annotations'].append(dict(image_id=5, bbox=[0, 0, 9, 9]))
    dataset = UnlabeledImages(root, write_json(tmp_path / 'coco.json', coco))
    assert boxes_of(dataset) == [EXPECTED[0], ('b.png', 0, 0, 9, 9)]


def test_only_what_is_read_of_an_image_counts(root, tmp_path):
    coco = coco_of(ROWS[:1])
    # Joined files name an image twice, and entries hold more than COCO's keys.
    coco['images'].append(dict(coco['images'][0], license=3, category_id='hand'))
    coco['categories'] = {}
    dataset = UnlabeledImages(root, write_json(tmp_path / 'coco.json', coco))
    assert boxes_of(dataset) == [EXPECTED[0]]


def test_an_annotation_without_a_box_is_named_and_no_damage(root, tmp_path):
    coco = coco_of(ROWS)
    coco['annotations'][1].pop('bbox')
    boxes = write_json(tmp_path / 'coco.json', coco)
    told = r'annotations[1] has no "bbox"'
    assert_refused(told, boxes, root=root, boxes=boxes)
    assert_refused(told, boxes, root=root, boxes=boxes, skip_corrupt=True)
    boxes = write_json(tmp_path / 'none.json', dict(annotations=[]))
    assert_refused('with images_json=...', boxes, root=root, boxes=boxes)


def test_an_id_of_two_images_is_refused_with_both(root, tmp_path):
    coco = coco_of(ROWS)
    coco['images'][1]['id'] = coco['images'][0]['id']
    boxes = write_json(tmp_path / 'coco.json', coco)
    both = 'images[0] and images[1] have the id 70'
    assert_refused(both, boxes, root=root, boxes=boxes)


# Files that are no boxes files


@pytest.mark.parametrize(
    'content, complaint',
    [
        ('{"images": [{"id": 1, "file_na', 'not valid JSON'),
        ('[' * 100_000, 'not valid JSON'),
        ('{"images": []}', 'no list of "annotations"'),
        ('{"annotations": []}', 'no list of "images"'),
        ('{"images": [{"id": 1}], "annotations": []}', 'images[0]'),
        ('{"images": [3], "annotations": []}', 'images[0]'),
        ('{"images": [], "annotations": [{"bbox": []}]}', 'annotations[0]'),
        ('{"images": [], "annotations": [[]]}', 'annotations[0]'),
        (
            '{"images": [], "annotations": [{"bbox": [1, 1, 2, 2], "image_id": 9}]}',
            'image_id 9',
        ),
        ('[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', 'Set images_json'),
        ('a.jpg,1,2,3,4\nb.png,1,2', 'line 2 has 3 of 5 values'),
        ('path,x,y\na.jpg,1,2', 'has the columns path, x, y'),
        ('just a text', 'expected path, x, y, w, h, separated by commas'),
        ('a.jpg;1;2;3;4', 'separated by commas'),
        ('name,x,y,w,h\na.jpg,1,2,3,4', 'has the columns name, x, y, w, h'),
        ('\nname,xmin,ymin,xmax,ymax\na.jpg,1,2,3,4', 'columns name, xmin, ymin'),
        ('path,x,y,w,h,x\na.jpg,1,2,3,4,5', 'has the columns path, x, y, w, h, x'),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": '
            '[{"bbox": [1, 1, 2, 2], "image_id": 1, "category_id": [1]}]}',
            '"category_id": [1]',
        ),
        ('path,x\n'.encode('utf-16'), 'has the columns path, x;'),
        ('path,\xe9\n'.encode('latin1'), 'no text in UTF-8'),
        ('"a.jpg,1,2,3,4', 'no CSV'),
        (b'\x89PNG\r\n\x1a\n\xff\xff', 'no text'),
        ('', 'no sample is left of the 4 images'),
    ],
)
def test_a_damaged_boxes_file_is_named_with_what_was_expected(
    root, tmp_path, content, complaint
):
    path = tmp_path / 'boxes.any'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_refused(complaint, path, root=root, boxes=str(path))


def test_a_missing_boxes_file_is_named(root, tmp_path):
    boxes = str(tmp_path / 'none.csv')
    assert_refused('does not exist', boxes, root=root, boxes=boxes)


@pytest.mark.parametrize(
    'content, complaint',
    [
        ('{"bboxes": [[1, 2, 3, 4]], "scores": [], "labels": []}', 'differ in number'),
        ('{"bboxes": [[1, 2, 3, 4]]}', "KeyError: 'scores'"),
        ('{"bboxes": [[1, 2, 3, 4]], "scores": [1], "labels": [{}]}', 'category {}'),
        ('[{"keypoints": []}]', "KeyError: 'bbox'"),
        ('[{"bbox": [1, 2', 'not valid JSON'),
        ('3', 'no prediction of'),
    ],
)
def test_a_damaged_prediction_is_named(root, tmp_path, content, complaint):
    path = tmp_path / 'predictions' / 'a.json'
    path.parent.mkdir()
    path.write_text(content)
    assert_refused(complaint, path, root=root, boxes=str(path.parent))
    path.unlink()
    assert_refused('no JSON file', path.parent, root=root, boxes=str(path.parent))


def test_labels_in_the_boxes_file_change_no_bit(root, tmp_path):
    def samples(name, **labels):
        boxes = write_json(tmp_path / name, coco_of(ROWS, **labels))
        dataset = UnlabeledImages(root, boxes, pipeline=PIPELINE, metainfo='hand21')
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        return infos, [dataset[i] for i in range(len(dataset))]

    infos, plain = samples('plain.json')
    labelled_infos, labelled = samples(
        'labelled.json', keypoints=[7, 8, 2] * 21, num_keypoints=0, area=3
    )
    assert str(infos) == str(labelled_infos)
    for pair in zip(plain, labelled):
        assert (pair[0]['inputs'] == pair[1]['inputs']).all()
        # Without the addresses of the objects.
        one, other = (re.sub('0x[0-9a-f]+', '', str(s['data_samples'])) for s in pair)
        assert one == other


# Damaged images


@pytest.fixture
def damaged(root):
    content = (root / 'a.jpg').read_bytes()
    (root / 'a_cut.jpg').write_bytes(content[: len(content) // 2])
    (root / 'a_empty.png').touch()
    (root / 'a_page.webp').write_text('<html>not found</html>')
    (root / 'a_broken.jpg').symlink_to(root / 'gone.jpg')
    return root


def test_damaged_images_are_refused_before_training(damaged):
    text = assert_refused('of the 8 images', '4 damaged images', root=damaged)
    assert 'a_cut.jpg' in text and 'skip_corrupt=True' in text


def test_damaged_images_that_were_not_looked_at_stop_training(damaged):
    dataset = UnlabeledImages(damaged, pipeline=PIPELINE, require_images=False)
    assert len(dataset) == 8
    complaints = []
    for index, name in enumerate(names_of(dataset)):
        try:
            dataset[index]
        except InputError as error:
            assert str(damaged / name) in str(error)
            assert 'skip_corrupt=True' in str(error)
            complaints.append(name)
    assert complaints == ['a_broken.jpg', 'a_cut.jpg', 'a_empty.png', 'a_page.webp']


def test_damaged_images_can_be_left_out_with_a_count(damaged, said):
    dataset = UnlabeledImages(damaged, pipeline=PIPELINE, skip_corrupt=True)
    assert names_of(dataset) == ['a.jpg', 'b.png', 'sub/c.bmp', 'sub/deep/D.JPEG']
    (warning,) = warnings_of(said)
    assert '4 damaged images' in warning and 'of the 8 images' in warning
    assert str(damaged / 'a_cut.jpg') in warning
    assert 'Left out: 4 damaged images' in said[-1][1]
    assert all(dataset[i] is not None for i in range(4))


def test_nothing_but_damaged_images_is_an_error(tmp_path):
    (tmp_path / 'a.jpg').touch()
    assert_refused('no sample is left', tmp_path, root=tmp_path, skip_corrupt=True)


def test_damage_inside_of_an_image_costs_a_warning_and_another_image(root, said):
    photograph(size=(200, 200)).save(root / 'b.png')
    content = bytearray((root / 'b.png').read_bytes())
    content[200:4000] = bytes(3800)  # Both ends are whole.
    (root / 'b.png').write_bytes(content)
    dataset = UnlabeledImages(root, pipeline=PIPELINE, skip_corrupt=True)
    assert len(dataset) == 4 and not warnings_of(said)
    np.random.seed(0)
    sample = dataset[1]
    assert sample['data_samples'].img_path != str(root / 'b.png')
    warnings = warnings_of(said)
    assert warnings and all(str(root / 'b.png') in message for message in warnings)
    # A prediction has nothing to put in its place.
    dataset.test_mode = True
    with pytest.raises(InputError, match=r'b\.png'):
        dataset[1]


def test_images_of_odd_kinds_are_ordinary_samples(tmp_path):
    frames = [photograph(seed) for seed in range(2)]
    frames[0].convert('L').save(tmp_path / 'grey.png')
    frames[0].convert('RGBA').save(tmp_path / 'rgba.png')
    frames[0].convert('CMYK').save(tmp_path / 'cmyk.jpg')
    frames[0].save(tmp_path / 'moving.gif', save_all=True, append_images=frames[1:])
    deep = np.full((30, 40), 40_000, np.uint16)
    Image.fromarray(deep).save(tmp_path / 'deep.png')
    dataset = UnlabeledImages(tmp_path, pipeline=PIPELINE)
    assert len(dataset) == 5
    for sample in dataset:
        assert sample['inputs'].shape == (3, 64, 64)
        assert str(sample['inputs'].dtype) == 'torch.uint8'


def test_the_first_frame_is_taken_of_an_animation(tmp_path):
    black, white = Image.new('RGB', (40, 30)), Image.new('RGB', (40, 30), 'white')
    buffer = io.BytesIO()
    black.save(buffer, 'GIF', save_all=True, append_images=[white])
    (tmp_path / 'moving.gif').write_bytes(buffer.getvalue())
    (sample,) = list(UnlabeledImages(tmp_path, pipeline=PIPELINE))
    assert sample['inputs'].max() == 0
