"""Files that say where in an image a person or a hand is."""

from __future__ import annotations

import csv
import math
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from mmregda.datasets.annotation_files import decode_text, load_json
from mmregda.datasets.coco_files import (
    Faults,
    mend,
    require_flag,
    require_id,
    require_image,
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
    content = _load(path)
    if isinstance(content, dict):
        images = _images_of(content, path)
        boxes = _entries_of(content, 'annotations', path)
        kind = 'annotations'
    elif images_json is None:
        raise InputError(
            f'boxes file "{path}" is a list of detections, which name their images '
            'by number. Set images_json to the COCO file whose "images" they '
            'speak of.'
        )
    else:
        images = _images_of(_load(images_json), images_json)
        boxes, kind = content, 'detection'
    return _read_coco(boxes, kind, images, path)


def _read_text(path: str) -> str:
    content = read_data_file(path, 'boxes file')
    try:
        return decode_text(content)
    except UnicodeDecodeError as error:
        raise InputError(
            f'boxes file "{path}" is no text in UTF-8 (of Excel\'s, save it as "CSV '
            f'UTF-8"). {EXPECTED}'
        ) from error


def _load(path: str) -> Any:
    content = load_json(path, 'boxes file')
    mend(content)
    return content


def _entries_of(content: Any, key: str, path: str) -> List[dict]:
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise InputError(f'boxes file "{path}" has no list of "{key}". {EXPECTED}')
    return entries


def _images_of(content: Any, path: str) -> Dict[int, dict]:
    """COCO's images by id, with ``file_name``."""
    images: Dict[int, dict] = {}
    faults = Faults()
    for index, image in enumerate(_entries_of(content, 'images', path)):
        place = f'images[{index}]'
        if not (isinstance(image, dict) and isinstance(image.get('file_name'), str)):
            faults.add(
                place,
                f'is {shown(image)}',
                'Each is an object with "id" and "file_name".',
            )
            continue
        require_id(image, 'id', place, faults)
        if type(image.get('id')) is not int:
            continue
        other = images.setdefault(image['id'], image)
        if other['file_name'] != image['file_name']:
            names = shown(other['file_name']), shown(image['file_name'])
            faults.add(
                f'{names[0]} and {names[1]}',
                f'have the id {image["id"]}',
                'Number the images.',
            )
    faults.require_none(f'boxes file "{path}"')
    return images


def _read_coco(
    entries: Sequence[Any], kind: str, images: Dict[int, dict], path: str
) -> List[Box]:
    """Boxes of annotations or detections, of which anything but the box is checked."""
    faults, boxes = Faults(), []
    for index, entry in enumerate(entries):
        place = f'{kind}[{index}]'
        if not isinstance(entry, dict) or 'bbox' not in entry:
            faults.add(
                place,
                f'is {shown(entry)}',
                f'Each is an object with "image_id" and "bbox". {EXPECTED}',
            )
            continue
        require_id(entry, 'image_id', place, faults)
        require_image(entry, images, place, faults)
        if entry.get('category_id') is not None:
            require_id(entry, 'category_id', place, faults)
        require_flag(entry, place, faults)
        if type(entry.get('image_id')) is int:
            image = images.get(entry['image_id'], {})
            box = Box(
                image=image.get('file_name', ''),
                image_id=entry['image_id'],
                xyxy=_from_xywh(_numbers(entry['bbox'], 4)),
                score=_numbers([entry.get('score', 1)], 1)[0],
                category=entry.get('category_id'),
                place=place,
                is_crowd=entry.get('iscrowd') == 1,
                size=stated_size(image),
            )
            boxes.append(box)
    faults.require_none(f'boxes file "{path}"')
    return boxes


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
        content = _load(path)
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
