"""Files that say where in an image a person or a hand is."""

from __future__ import annotations

import csv
import math
import os
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from mmregda.datasets.annotation_files import decode_text, load_json
from mmregda.datasets.coco_files import (
    CocoFile,
    Faults,
    look_at_images,
    objects_of,
    require_image,
    require_lists,
    shown,
    stated_size,
)
from mmregda.datasets.data_files import read_data_file
from mmregda.errors import InputError

EXPECTED = """\
Expected one of
    COCO's JSON: {"images": [...], "annotations": [{"image_id", "bbox"}, ...]}
    detections as JSON: [{"image_id", "bbox", "score", "category_id"}, ...],
        with images_json=... for COCO's "images"
    a CSV with the columns path,x,y,w,h and, with a header, score
    the folder of predictions that an inferencer of MMPose or MMDetection wrote"""

_COLUMNS = ('path', 'x', 'y', 'w', 'h')


class Box(NamedTuple):
    """A box as a file gives it, its numbers unchecked.

    Attributes:
        image (str): What the file calls the image; without extension from a
            folder of predictions.
        image_id (int, optional): COCO's.
        xyxy (tuple[float, ...]): x1, y1, x2, y2 in pixels of the upright
            image; NaN where the file has no numbers.
        score (float): 1 where the file has none.
        category (int, optional): COCO's category, or the detector's label.
        place (str): Where in the file, for messages.
        is_crowd (bool): Whether it is around many (COCO's ``iscrowd``).
        size (tuple[float, float], optional): Width and height that the file
            states for the image.
    """

    image: str
    image_id: Optional[int]
    xyxy: Tuple[float, ...]
    score: float
    category: Optional[int]
    place: str
    is_crowd: bool = False
    size: Optional[Tuple[float, float]] = None


def read_boxes(path: str, images_json: Optional[str] = None) -> List[Box]:
    """Read a file of boxes, or a folder of predictions, in their order.

    Args:
        path (str): COCO's annotations (of which the box alone is read) or detections
            as JSON, a CSV, or a folder with a JSON of each image, as the inferencers
            of MMPose and MMDetection write it.
        images_json (str, optional): The COCO file whose ``images`` the
            detections speak of.

    Raises:
        InputError: If a file is missing, damaged or of another kind.
    """
    if os.path.isdir(path):
        return list(_read_predictions(path))
    text = _read_text(path)
    if text.lstrip()[:1] not in ('{', '['):
        return list(_read_csv(text, path))
    return list(_read_coco(path, images_json))


def _read_text(path: str) -> str:
    content = read_data_file(path, 'boxes file')
    try:
        return decode_text(content)
    except UnicodeDecodeError as error:
        raise InputError(
            f'boxes file "{path}" is no text in UTF-8 (of Excel\'s, save it as "CSV '
            f'UTF-8"). {EXPECTED}'
        ) from error


def _read_coco(path: str, images_json: Optional[str]) -> Iterator[Box]:
    """Boxes of annotations or detections, of which anything but the box is checked."""
    file = of_images = CocoFile(path, 'boxes file')
    content = file.load()
    kind, needed = 'annotations', ['images', 'annotations']
    entries = content.get(kind) if isinstance(content, dict) else content
    if isinstance(content, list):
        if images_json is None:
            raise InputError(
                f'{file} is a list of detections, which name their images by number. '
                'Set images_json to the COCO file whose "images" they speak of.'
            )
        of_images = CocoFile(images_json, 'boxes file')
        content = of_images.load()
        kind, needed = 'detections', ['images']
    require_lists(of_images, content, needed, EXPECTED)
    faults = Faults()
    look_at_images(content['images'], faults)
    faults.require_none(of_images)
    images = {image['id']: image for image in content['images']}
    boxes = list(objects_of(entries, kind, ('image_id',), faults))
    for place, entry in boxes:
        if 'bbox' not in entry:
            faults.add(place, f'has no "bbox": {shown(entry)}', EXPECTED)
        require_image(entry, images, place, faults)
    faults.require_none(file)
    for place, entry in boxes:
        image = images[entry['image_id']]
        yield Box(
            image=image['file_name'],
            image_id=image['id'],
            xyxy=_from_xywh(_numbers(entry['bbox'], 4)),
            score=_numbers([entry.get('score', 1)], 1)[0],
            category=entry.get('category_id'),
            place=place,
            is_crowd=entry.get('iscrowd') == 1,
            size=stated_size(image),
        )


def _read_csv(text: str, path: str) -> Iterator[Box]:
    try:
        rows = list(csv.reader(text.splitlines(), strict=True))
    except csv.Error as error:
        raise InputError(f'boxes file "{path}" is no CSV ({error})') from error
    columns: List[str] = []
    for number, row in enumerate(rows, start=1):
        row = [cell.strip() for cell in row]
        if not any(row):
            continue
        if not columns:
            columns = list(_COLUMNS)
            if not any(map(_is_number, row[1:])):
                # Taken for a row, names of other columns, such as xmin and
                # xmax, would cost no more than that row.
                columns = [cell.lower() for cell in row]
                if any(columns.count(key) != 1 for key in _COLUMNS):
                    raise InputError(
                        f'boxes file "{path}" has the columns {", ".join(columns)}; '
                        f'expected {", ".join(_COLUMNS)}, separated by commas. '
                        f'{EXPECTED}'
                    )
                continue
        if len(row) < len(columns):
            raise InputError(
                f'boxes file "{path}": line {number} has {len(row)} of '
                f'{len(columns)} values ({", ".join(columns)}). Is the file '
                f'complete? {EXPECTED}'
            )
        cells = dict(zip(columns, row))
        yield Box(
            image=cells['path'],
            image_id=None,
            xyxy=_from_xywh(_numbers([cells[key] for key in 'xywh'], 4)),
            score=_numbers([cells.get('score', 1)], 1)[0],
            category=None,
            place=f'line {number}',
        )


def _read_predictions(folder: str) -> Iterator[Box]:
    names = sorted(name for name in os.listdir(folder) if name.endswith('.json'))
    if not names:
        raise InputError(
            f'folder "{folder}" holds no JSON file of predictions. {EXPECTED}'
        )
    for name in names:
        path = os.path.join(folder, name)
        content = load_json(path, 'boxes file')
        try:
            for bbox, score, category in _instances(content):
                yield Box(
                    image=name[: -len('.json')],
                    image_id=None,
                    xyxy=_numbers(bbox, 4),
                    score=_numbers([score], 1)[0],
                    category=_category(category),
                    place=name,
                )
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise InputError(
                f'boxes file "{path}" is no prediction of MMPose\'s or '
                f"MMDetection's inferencer ({type(error).__name__}: {error})"
            ) from error


def _instances(content: Any) -> Iterator[Tuple[Any, Any, Optional[int]]]:
    if isinstance(content, dict):  # MMDetection
        bboxes, scores, labels = (content[k] for k in ('bboxes', 'scores', 'labels'))
        if not len(bboxes) == len(scores) == len(labels):
            raise ValueError('bboxes, scores and labels differ in number')
        yield from zip(bboxes, scores, labels)
    else:  # MMPose
        for instance in content:
            # Its box is a list of one box.
            (bbox,) = instance['bbox']
            yield bbox, instance.get('bbox_score', 1), None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _category(value: Any) -> Optional[int]:
    if isinstance(value, (list, dict)):
        raise TypeError(f'the category {value!r} is no number')
    return value


def _numbers(values: Any, count: int) -> Tuple[float, ...]:
    """So many floats, or as many NaN."""
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    return numbers if len(numbers) == count else (math.nan,) * count


def _from_xywh(box: Tuple[float, ...]) -> Tuple[float, ...]:
    x, y, w, h = box
    return x, y, x + w, y + h
