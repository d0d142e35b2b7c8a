"""Predictions to be corrected in labelling tools, and what to correct first."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Dict, List, Sequence
from urllib.parse import quote
from xml.etree import ElementTree as ET

import numpy as np

from mmregda.datasets.coco_files import arrays_of, by_image
from mmregda.datasets.data_files import read_data_file
from mmregda.errors import InputError, ending_in_one_line
from mmregda.files import write_text

Found = Dict[str, Any]
# Of so many times the number that is asked for, those that are most in doubt, the ones
# that differ most are taken.
_POOL = 5
# The size of a keypoint in Label Studio, in percent of the image's width.
_DOT = 0.5


def first_to_label(found: Found, doubt: Sequence[float], num: int = 20) -> List[int]:
    """The images whose labels would tell most.

    Those in most doubt are often the frames of one moment. Of five times as many, each
    next one is the farthest from all that are chosen (greedy k-centre, as `Sener and
    Savarese`_, ICLR 2018), by its predicted pose within the box.

    Args:
        found (dict): Of :func:`~mmregda.apis.predict_images`.
        doubt (Sequence[float]): Of each of its N annotations, more is worse. An image
            has that of its worst.
        num (int): How many. Defaults to 20.

    Returns:
        list[int]: Their ids, the one in most doubt first.

    .. _Sener and Savarese: https://arxiv.org/abs/1708.00489
    """
    annotations = found['annotations']
    images = np.array([a['image_id'] for a in annotations])
    points, boxes = arrays_of(annotations)
    sides = boxes[:, 2:].max(axis=1)[:, None, None]
    poses = (points[..., :2] - boxes[:, None, :2] - boxes[:, None, 2:] / 2) / sides
    order = np.argsort(-np.asarray(doubt, float), kind='stable')
    _, worst = np.unique(images[order], return_index=True)
    pool = order[np.sort(worst)][: _POOL * num]
    chosen = [0]
    distance = np.full(len(pool), np.inf)
    while len(chosen) < min(num, len(pool)):
        apart = poses[pool] - poses[pool[chosen[-1]]]
        distance = np.minimum(distance, np.linalg.norm(apart, axis=(1, 2)))
        distance[chosen] = -1  # Not twice, even if all are alike.
        chosen.append(int(distance.argmax()))
    return images[pool[sorted(chosen)]].tolist()


def write_label_first(
    folder: str, found: Found, doubt: Sequence[float], root: str, num: int = 20
) -> List[str]:
    """Write predictions on the images to label first, for labelling tools.

    - ``images.txt``: their names, the one in most doubt first;
    - ``coco.json``: a COCO file, in CVAT *COCO Keypoints 1.0*;
    - ``cvat_labels.json``: the labels of CVAT's task, *Raw*;
    - ``label_studio.json``: tasks, and ``label_studio.xml``: the labelling interface.

    Args:
        folder (str): Made if it is missing.
        found (dict): Of :func:`~mmregda.apis.predict_images`.
        doubt (Sequence[float]): As in :func:`first_to_label`.
        root (str): The folder of the images.
        num (int): How many images. Defaults to 20.
    """
    chosen = first_to_label(found, doubt, num)
    by_id = {image['id']: image for image in found['images']}
    few = dict(
        images=[by_id[image_id] for image_id in chosen],
        categories=found['categories'],
    )
    wanted = set(chosen)
    few['annotations'] = [a for a in found['annotations'] if a['image_id'] in wanted]
    names = [image['file_name'] for image in few['images']]
    files = {
        'images.txt': '\n'.join(names),
        'coco.json': json.dumps(few, allow_nan=False),
        'cvat_labels.json': json.dumps(cvat_labels(few)),
        'label_studio.json': json.dumps(to_label_studio(few, root)),
        'label_studio.xml': label_studio_interface(few),
    }
    os.makedirs(folder, exist_ok=True)
    for name, text in files.items():
        write_text(os.path.join(folder, name), f'{text}\n')
    return names


def cvat_labels(found: Found) -> List[dict]:
    """A skeleton as the label of a task in CVAT, for its *Raw* tab.

    It is drawn as the keypoints lie in their boxes on average.

    Args:
        found (dict): Of :func:`~mmregda.apis.predict_images`.
    """
    (category,) = found['categories']
    points, boxes = arrays_of(found['annotations'])
    places = (points[..., :2] - boxes[:, None, :2]) / boxes[:, None, 2:].clip(1)
    places = (10 + 80 * places.mean(axis=0).clip(0, 1)).round(2)  # In percent.
    svg = ET.Element('svg')
    for one, other in category['skeleton']:
        (x1, y1), (x2, y2) = (map(str, places[node - 1]) for node in (one, other))
        edge = {'data-node-from': str(one), 'data-node-to': str(other)}
        edge.update({'data-type': 'edge', 'stroke': 'black', 'stroke-width': '0.5'})
        ET.SubElement(svg, 'line', edge, x1=x1, y1=y1, x2=x2, y2=y2)
    for node, (name, (x, y)) in enumerate(zip(category['keypoints'], places), 1):
        circle = {'data-type': 'element node', 'data-label-name': name}
        circle.update({'data-element-id': str(node), 'data-node-id': str(node)})
        circle.update({'stroke': 'black', 'fill': '#b3b3b3', 'stroke-width': '0.1'})
        ET.SubElement(svg, 'circle', circle, r='0.75', cx=str(x), cy=str(y))
    elements = [
        ET.tostring(element, encoding='unicode', short_empty_elements=False)
        for element in svg
    ]
    sublabels = [
        dict(name=name, type='points', attributes=[]) for name in category['keypoints']
    ]
    return [
        dict(
            name=category['name'],
            type='skeleton',
            attributes=[],
            sublabels=sublabels,
            svg=''.join(elements),
        )
    ]


def to_label_studio(found: Found, root: str) -> List[dict]:
    """Tasks with predictions, in Label Studio's JSON.

    Images are served as local files: the document root is the folder in which ``root``
    is. Coordinates are percent of the image. Each keypoint belongs to its box's region;
    those outside of the image are left out.

    Args:
        found (dict): Of :func:`~mmregda.apis.predict_images`.
        root (str): The folder of the images.
    """
    (category,) = found['categories']
    folder = os.path.basename(os.path.abspath(root))
    tasks, on = [], by_image(found)
    for image in found['images']:
        size = image['width'], image['height']
        regions, scores = [], []
        for annotation in on[image['id']]:
            scores.append(annotation['score'])
            box = f'box{annotation["id"]}'
            x, y, w, h = _percent(annotation['bbox'], size)
            value = dict(x=x, y=y, width=w, height=h, rotation=0)
            regions.append(_region('rectanglelabels', category['name'], size, value))
            regions[-1].update(id=box)
            (points,), _ = arrays_of([annotation])
            rows = zip(category['keypoints'], points)
            for index, (name, (x, y, v)) in enumerate(rows):
                if v > 0:
                    x, y = (min(max(z, 0), 100) for z in _percent((x, y), size))
                    value = dict(x=x, y=y, width=_DOT)
                    regions.append(_region('keypointlabels', name, size, value))
                    score = annotation['keypoint_scores'][index]
                    regions[-1].update(id=f'{box}k{index}', parentID=box, score=score)
        name = image['file_name']
        url = f'/data/local-files/?d={quote(f"{folder}/{name}", errors="replace")}'
        prediction = dict(model_version='mmregda', score=float(np.mean(scores)))
        prediction['result'] = regions
        data = dict(image=url, file_name=name)
        tasks.append(dict(data=data, predictions=[prediction]))
    return tasks


def label_studio_interface(found: Found) -> str:
    """The labelling interface of :func:`to_label_studio`'s tasks.

    Args:
        found (dict): Of :func:`~mmregda.apis.predict_images`.
    """
    (category,) = found['categories']
    view = ET.Element('View')
    ET.SubElement(view, 'Image', name='image', value='$image', zoom='true')
    tags = dict(
        RectangleLabels=[category['name']], KeyPointLabels=category['keypoints']
    )
    for tag, labels in tags.items():
        control = ET.SubElement(view, tag, name=tag.lower(), toName='image')
        for label in labels:
            ET.SubElement(control, 'Label', value=label)
    return ET.tostring(view, encoding='unicode')


def from_label_studio(tasks: List[dict], found: Found) -> Found:
    """What was corrected in Label Studio, as a COCO file.

    A keypoint that is there has visibility 2, one that was deleted 0. One that was
    drawn anew belongs to the region that it was put into, or else to the smallest box
    that it lies in.

    Args:
        tasks (list[dict]): Label Studio's export as JSON.
        found (dict): What :func:`to_label_studio` was given.

    Raises:
        InputError: If a task is of another image, or a keypoint of no box.
    """
    (category,) = found['categories']
    images = {image['file_name']: image for image in found['images']}
    labelled: Found = dict(images=[], categories=[category], annotations=[])
    for task in tasks:
        name = task['data'].get('file_name')
        if name not in images:
            raise InputError(f'task {task.get("id")} is of no image that was predicted')
        done = [a for a in task.get('annotations') or () if not a.get('was_cancelled')]
        if done:
            labelled['images'].append(images[name])
            for box in _boxes(done[-1]['result'], images[name], category):
                box['id'] = len(labelled['annotations']) + 1
                labelled['annotations'].append(box)
    return labelled


def _boxes(regions: List[dict], image: dict, category: dict) -> List[dict]:
    """COCO's annotations of an image, from Label Studio's regions."""
    size, names = (image['width'], image['height']), category['keypoints']
    boxes: Dict[str, dict] = {}
    points = []
    for region in regions:
        value = region['value']
        if region['type'] == 'rectanglelabels':
            x, y = _pixels((value['x'], value['y']), size)
            w, h = _pixels((value['width'], value['height']), size)
            boxes[region['id']] = dict(
                image_id=image['id'],
                category_id=category['id'],
                bbox=[x, y, w, h],
                area=round(w * h, 3),
                iscrowd=0,
                segmentation=[],
                num_keypoints=0,
                keypoints=[0.0, 0.0, 0] * len(names),
            )
        elif region['type'] == 'keypointlabels':
            (label,) = value['keypointlabels']
            point = _pixels((value['x'], value['y']), size)
            points.append((label, point, region.get('parentID')))
    for label, point, parent in points:
        box = boxes.get(parent) or _smallest_around(point, list(boxes.values()))
        if box is None or label not in names:
            raise InputError(
                f'"{image["file_name"]}": the keypoint "{label}" lies in no box, or is '
                f'none of {", ".join(names)}. Correct it in Label Studio.'
            )
        first = 3 * names.index(label)
        box['num_keypoints'] += box['keypoints'][first + 2] == 0
        box['keypoints'][first : first + 3] = [*point, 2]
    return list(boxes.values())


def _smallest_around(point: Sequence[float], boxes: List[dict]) -> Any:
    def is_around(box: dict) -> bool:
        (x, y), (left, top, width, height) = point, box['bbox']
        return 0 <= x - left <= width and 0 <= y - top <= height

    return min(filter(is_around, boxes), key=lambda box: box['area'], default=None)


def _region(kind: str, label: str, size: Sequence[int], value: dict) -> dict:
    """A region of an image of (width, height)."""
    return dict(
        from_name=kind,
        to_name='image',
        type=kind,
        original_width=size[0],
        original_height=size[1],
        image_rotation=0,
        value={**value, kind: [label]},
    )


def _percent(pixels: Sequence[float], size: Sequence[int]) -> List[float]:
    """x, y, ... in percent of (width, height)."""
    return [100 * float(z) / size[i % 2] for i, z in enumerate(pixels)]


def _pixels(percent: Sequence[float], size: Sequence[int]) -> List[float]:
    return [round(z * size[i % 2] / 100, 3) for i, z in enumerate(percent)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Turn Label Studio's export (JSON) into a COCO file."
    )
    parser.add_argument('export', help='export of Label Studio, as JSON')
    parser.add_argument('predicted', help='coco.json, beside the tasks it was given')
    parser.add_argument('out', help='the COCO file to write')
    args = parser.parse_args()
    with ending_in_one_line():
        tasks, found = (
            json.loads(read_data_file(path)) for path in (args.export, args.predicted)
        )
        try:
            labelled = from_label_studio(tasks, found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f'"{args.export}" is no export of Label Studio as JSON, or '
                f'"{args.predicted}" no predictions ({type(error).__name__}: {error})'
            ) from error
        write_text(args.out, json.dumps(labelled) + '\n')
    print(f'{len(labelled["annotations"])} labels on {len(labelled["images"])} images')


if __name__ == '__main__':
    main()
