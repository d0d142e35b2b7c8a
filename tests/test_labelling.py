"""What is written for labelling tools, and what comes back."""

import json
import sys
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest

from mmregda import InputError
from mmregda.apis import labelling
from mmregda.apis.labelling import (
    cvat_labels,
    first_to_label,
    from_label_studio,
    label_studio_interface,
    to_label_studio,
    write_label_first,
)

NAMES = ['wrist', 'tip & <nail>', 'knuckle']


def predictions(points, boxes, images, size=(200, 100)):
    """As predict_images gives them, of keypoints (N, K, 3)."""
    annotations = [
        dict(
            id=i + 1,
            image_id=image,
            category_id=1,
            bbox=list(map(float, box)),
            area=float(box[2] * box[3]),
            iscrowd=0,
            keypoints=np.ravel(p).tolist(),
            num_keypoints=int((p[:, 2] > 0).sum()),
            keypoint_scores=[0.25] * len(p),
            score=0.25,
        )
        for i, (p, box, image) in enumerate(zip(points, boxes, images))
    ]
    pictures = [
        dict(id=i, file_name=f'day 1/{i}.jpg', width=size[0], height=size[1])
        for i in sorted(set(images))
    ]
    category = dict(id=1, name='hand', keypoints=NAMES, skeleton=[[1, 3], [3, 2]])
    return dict(images=pictures, categories=[category], annotations=annotations)


@pytest.fixture
def found():
    """Two hands on one image, one on another."""
    points = np.random.default_rng(0).uniform(20, 80, (3, 3, 3)).round(2)
    points[..., 2] = [[2, 2, 1], [2, 0, 2], [1, 2, 2]]
    boxes = [(10, 10, 80, 75), (15, 15, 90, 80), (0, 0, 200, 100)]
    return predictions(points, boxes, [0, 0, 5])


# What to label first


def test_the_first_to_label_are_in_doubt_and_differ():
    rng = np.random.default_rng(0)
    kinds = rng.uniform(0, 100, (4, 3, 2))
    kind = np.arange(40) % 4
    points = np.concatenate(
        [kinds[kind] + rng.normal(0, 0.1, (40, 3, 2)), np.full((40, 3, 1), 2.0)], -1
    )
    found = predictions(points, [(0, 0, 100, 100)] * 40, list(range(40)))
    doubt = 1 - np.arange(40) / 100
    chosen = first_to_label(found, doubt, 4)
    assert chosen[0] == 0  # in most doubt
    assert sorted(kind[i] for i in chosen) == [0, 1, 2, 3]
    assert max(chosen) < 20  # of those in doubt
    # A search by hand gives the same.
    pool, expected = list(range(20)), [0]
    while len(expected) < 4:
        gaps = [
            min(np.linalg.norm(points[i, :, :2] - points[j, :, :2]) for j in expected)
            for i in pool
        ]
        expected.append(int(np.argmax(gaps)))
    assert chosen == sorted(expected)


def test_an_image_is_chosen_once_and_alike_ones_too():
    points = np.full((6, 3, 3), 2.0)
    found = predictions(points, [(0, 0, 9, 9)] * 6, [0, 0, 1, 1, 2, 2])
    assert first_to_label(found, [0.1, 0.9, 0.3, 0.2, 0.5, 0.6], 20) == [0, 2, 1]
    assert len(first_to_label(found, [0.5] * 6, 2)) == 2


# CVAT


def test_cvats_label_draws_the_skeleton(found):
    (label,) = cvat_labels(found)
    assert label['name'] == 'hand' and label['type'] == 'skeleton'
    assert [part['name'] for part in label['sublabels']] == NAMES
    assert {part['type'] for part in label['sublabels']} == {'points'}
    svg = ElementTree.fromstring(f'<svg>{label["svg"]}</svg>')
    circles, lines = svg.findall('circle'), svg.findall('line')
    assert [circle.get('data-label-name') for circle in circles] == NAMES
    assert [circle.get('data-node-id') for circle in circles] == ['1', '2', '3']
    ends = [(line.get('data-node-from'), line.get('data-node-to')) for line in lines]
    assert ends == [('1', '3'), ('3', '2')]
    assert lines[0].get('x2') == circles[2].get('cx')
    assert all(0 <= float(c.get(k)) <= 100 for c in circles for k in ('cx', 'cy'))


# Label Studio


def corrected(tasks, change=lambda result: None):
    """The export, after each prediction was accepted as an annotation."""
    exported = json.loads(json.dumps(tasks))
    for number, task in enumerate(exported):
        result = task.pop('predictions')[0]['result']
        change(result)
        annotations = [dict(id=number, was_cancelled=False, result=result)]
        annotations.append(dict(id=99, was_cancelled=True, result=[]))
        task.update(id=number, annotations=annotations)
    return exported


def test_label_studio_gets_regions_in_percent_that_its_interface_knows(found):
    tasks = to_label_studio(found, '/data/photographs')
    view = ElementTree.fromstring(label_studio_interface(found))
    tags = {tag.get('name'): tag for tag in view}
    assert tags['image'].get('value') == '$image'
    assert unquote(tasks[0]['data']['image']) == (
        '/data/local-files/?d=photographs/day 1/0.jpg'
    )
    ids = set()
    for task in tasks:
        (prediction,) = task['predictions']
        assert 0 <= prediction['score'] <= 1
        for region in prediction['result']:
            control, value = tags[region['from_name']], region['value']
            assert control.get('toName') == region['to_name'] == 'image'
            assert region['type'] == control.tag.lower()
            (label,) = value[region['type']]
            assert label in [child.get('value') for child in control]
            assert (region['original_width'], region['original_height']) == (200, 100)
            assert 0 <= value['x'] <= 100 and 0 <= value['y'] <= 100
            assert region['id'] not in ids
            ids.add(region['id'])
            assert region.get('parentID', region['id']) in ids
    x, y, _ = found['annotations'][0]['keypoints'][:3]
    value = tasks[0]['predictions'][0]['result'][1]['value']
    assert (value['x'], value['y']) == pytest.approx((x / 2, y))


def test_what_was_not_changed_in_label_studio_comes_back(found):
    labelled = from_label_studio(corrected(to_label_studio(found, 'x')), found)
    assert labelled['images'] == found['images']
    for one, other in zip(labelled['annotations'], found['annotations']):
        assert {k: one[k] for k in ('id', 'image_id', 'bbox', 'num_keypoints')} == {
            k: other[k] for k in ('id', 'image_id', 'bbox', 'num_keypoints')
        }
        rows = np.reshape(other['keypoints'], (3, 3))
        expected = np.where(rows[:, 2:] > 0, [[1, 1, 0]] * rows + [0, 0, 2], 0)
        np.testing.assert_allclose(np.reshape(one['keypoints'], (3, 3)), expected)


def test_corrections_of_label_studio_are_taken(found):
    def change(result):
        result[1]['value'].update(x=30, y=40)  # moved
        del result[2]  # the second keypoint of the first box
        box = result[0]['value']
        new = dict(result[1], id='aBc12', value=dict(x=box['x'], y=box['y'], width=1))
        new['value']['keypointlabels'] = [NAMES[1]]
        del new['parentID']
        result.append(new)

    tasks = corrected(to_label_studio(found, 'x'), change)
    tasks[1]['annotations'] = []  # was not labelled
    labelled = from_label_studio(tasks, found)
    assert labelled['images'] == found['images'][:1]
    first, second = labelled['annotations']
    assert first['keypoints'][:6] == [60, 40, 2, 10, 10, 2]
    assert first['num_keypoints'] == 3 and second['num_keypoints'] == 2
    tasks[0]['annotations'][0]['result'][-1]['value'].update(x=99)
    with pytest.raises(InputError, match='lies in no box'):
        from_label_studio(tasks, found)
    tasks[0]['data']['file_name'] = 'other.jpg'
    with pytest.raises(InputError, match='of no image that was predicted'):
        from_label_studio(tasks, found)


def test_files_are_written_and_an_export_becomes_a_coco_file(
    found, tmp_path, monkeypatch, capsys
):
    names = write_label_first(str(tmp_path), found, [0.1, 0.2, 0.9], 'photographs')
    assert names == ['day 1/5.jpg', 'day 1/0.jpg']
    assert (tmp_path / 'images.txt').read_text().split('\n')[:2] == names
    few = json.loads((tmp_path / 'coco.json').read_text())
    assert sorted(a['id'] for a in few['annotations']) == [1, 2, 3]
    tasks = json.loads((tmp_path / 'label_studio.json').read_text())
    export = tmp_path / 'export.json'
    export.write_text(json.dumps(corrected(tasks)))
    files = [str(export), str(tmp_path / 'coco.json'), str(tmp_path / 'labels.json')]
    monkeypatch.setattr(sys, 'argv', ['labelling', *files])
    labelling.main()
    assert '3 labels on 2 images' in capsys.readouterr().out
    content = json.loads((tmp_path / 'labels.json').read_text())
    assert len(content['annotations']) == 3
    export.write_text('[{"id": 1}]')
    with pytest.raises(SystemExit, match='no export of Label Studio'):
        labelling.main()
