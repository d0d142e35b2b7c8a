"""Files in COCO's layout, looked at before another reader trusts them.

pycocotools, and MMPose's datasets on top of it, index entries by whatever ids they
have: of annotations that share an id the last one labels every image, and ids and
numbers of an unexpected type end in a traceback. Here what is wrong becomes one
:class:`~mmregda.errors.InputError` with file, entry and remedy.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import (
    Any,
    Container,
    Dict,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np

from mmregda.datasets.annotation_files import load_json
from mmregda.errors import InputError
from mmregda.files import write_text

CROWD = 'crowds (iscrowd)'
"""str: What an entry with a true ``iscrowd`` is counted as."""
NO_KEYPOINTS = 'without keypoints'
REMEDIES = {
    CROWD: 'Set iscrowd to 0 where a single person or hand is annotated.',
    NO_KEYPOINTS: 'Of a target, UnlabeledImages takes the boxes alone.',
}
"""dict: What to do where this is why nothing is left."""

# A larger number is infinite where it is used.
_LARGEST = float(np.finfo(np.float32).max)
_LAYOUT = 'Expected COCO\'s {"images": [...], "annotations": [...]}.'
_MAKES_AN_IMAGE = ('file_name', 'width', 'height')
_INTEGERS = dict(
    images=('id', 'width', 'height'),
    annotations=('id', 'image_id', 'category_id', 'iscrowd', 'num_keypoints'),
    categories=('id',),
)
# Of these, text is a number and a float is left; the text of an id is another name.
_COUNTS = ('width', 'height', 'num_keypoints')
_ENTRIES = dict(
    images='an object with "id", "file_name", "width" and "height"',
    annotations='an object with "id", "image_id", "category_id", "bbox", "keypoints"',
    categories='an object with "id" and "name"',
    detections='an object with "image_id", "bbox", "score" and "category_id"',
)


class Faults:
    """What is wrong with a file, counted by kind, each with its first place."""

    def __init__(self) -> None:
        self._kinds: Dict[str, List[Any]] = {}

    def add(self, place: str, problem: str, remedy: str) -> None:
        """Note a fault.

        Args:
            place (str): The entry, such as ``annotations[3]``.
            problem (str): The rest of the sentence, such as ``has no "id"``.
            remedy (str): What to do. Faults with one remedy are one kind, of
                which the first is shown.
        """
        kind = self._kinds.setdefault(remedy, [place, problem, 0])
        kind[2] += 1

    def require_none(self, file: Any) -> None:
        """Raise :class:`InputError` with everything that was noted."""
        sentences = [
            f'{place}{f" (and {count - 1} more)" * (count > 1)} {problem}. {remedy}'
            for remedy, (place, problem, count) in self._kinds.items()
        ]
        if sentences:
            raise InputError(f'{file}: {" ".join(sentences)}')


@dataclass
class CocoFile:
    """A file in COCO's layout, or of COCO's detections, and what there is to say.

    Attributes:
        path (str): The file.
        what (str): What it is, for messages.
        entries (str): What its entries are, for messages.
        left_out (Counter): How many entries MMPose leaves out, by reason.
        num_entries (int): Annotations, or detections.
        notes (list[str]): What is odd and may not be meant.
        mended (bool): Whether its content was changed to be read right.
    """

    path: str
    what: str = 'annotation file'
    entries: str = 'annotations'
    left_out: Counter = field(default_factory=Counter)
    num_entries: int = 0
    notes: List[str] = field(default_factory=list)
    mended: bool = False
    _examples: Dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f'{self.what} "{self.path}"'

    def load(self) -> Any:
        """What the file holds, ids and flags mended (see :func:`mend`).

        Raises:
            InputError: If it is missing or damaged.
        """
        content = load_json(self.path, self.what)
        with open(self.path, 'rb') as head:
            plain = json.detect_encoding(head.read(4)) == 'utf-8'
        self.mended = mend(content) or not plain
        return content

    def written(self, content: Any) -> str:
        """The path of a file that holds the content, for pycocotools and MMPose.

        If any of it was mended it is a copy, there as long as this process.
        """
        if not self.mended:
            return self.path
        folder = tempfile.mkdtemp(prefix='mmregda-')
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        path = os.path.join(folder, os.path.basename(self.path))
        write_text(path, json.dumps(content))
        return path

    def leave_out(self, reason: str, example: str) -> None:
        """Count an entry that MMPose leaves out."""
        self.left_out[reason] += 1
        self._examples.setdefault(reason, example)

    def summary_of_left_out(self) -> str:
        """One line on what the reader leaves out, or ''."""
        if not self.left_out:
            return ''
        reasons = '; '.join(
            f'{n} {reason}, such as {self._examples[reason]}'
            for reason, n in self.left_out.items()
        )
        count = f'{sum(self.left_out.values())} of {self.num_entries} {self.entries}'
        return f'left out by the reader: {count}: {reasons}'


def mend(content: Any) -> bool:
    """Make integers of ids such as 1.0 (pandas) and of sizes such as "96", in place.

    Returns:
        bool: Whether there were any.
    """
    mended = False
    lists = content if isinstance(content, dict) else dict(annotations=content)
    for name, keys in _INTEGERS.items():
        entries = lists.get(name)
        for entry in entries if isinstance(entries, list) else ():
            for key in keys if isinstance(entry, dict) else ():
                value = entry.get(key)
                exact = type(value) is float and abs(value) < 2**53
                if key in _COUNTS:
                    whole = isinstance(value, str) and value.isdecimal()
                elif key == 'iscrowd' and value in ('0', '1'):
                    whole = True
                else:
                    whole = exact and value.is_integer()
                if whole:
                    entry[key], mended = int(value), True
    return mended


def arrays_of(annotations: Sequence[dict]) -> Tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, K, 3), x, y and visibility, and boxes (N, 4), x, y, w and h."""
    points = np.array([a['keypoints'] for a in annotations], dtype=np.float64)
    boxes = np.array([a['bbox'] for a in annotations], dtype=np.float64)
    return points.reshape(len(annotations), -1, 3), boxes


def by_image(content: Dict[str, Any]) -> Dict[Any, List[dict]]:
    """The annotations of each image, by its id."""
    groups: Dict[Any, List[dict]] = defaultdict(list)
    for annotation in content['annotations']:
        groups[annotation['image_id']].append(annotation)
    return groups


def look_at_entries(file: CocoFile, content: Any, needed: Sequence[str]) -> None:
    """Look at the lists of a file, and at ids, names, sizes and flags in them.

    Raises:
        InputError: If anything is wrong, or one of the needed lists is not there.
    """
    there = content if isinstance(content, dict) else ()
    require_lists(file, content, [n for n in _INTEGERS if n in needed or n in there])
    for name in needed:
        if not content[name]:
            raise InputError(f'{file} has an empty list of "{name}". {_LAYOUT}')
    faults = Faults()
    for place, image in look_at_images(content['images'], faults):
        for key in ('width', 'height'):
            if key in image and not (_is_finite(image[key]) and image[key] > 0):
                remedy = 'Give the size of the image in pixels.'
                faults.add(place, f'has "{key}": {shown(image[key])}', remedy)
    ids = ('id', 'image_id', *['category_id'] * ('categories' in content))
    for name, keys in dict(annotations=ids, categories=('id',)).items():
        entries = content.get(name, [])
        list(objects_of(entries, name, keys, faults))
        _look_for_doubled_ids(entries, name, faults)
    faults.require_none(file)


def look_at_images(images: List[Any], faults: Faults) -> List[Tuple[str, dict]]:
    """The entries of images, each after its place; what is wrong is noted."""
    entries = list(objects_of(images, 'images', ('id',), faults))
    for place, image in entries:
        name = image.get('file_name')
        if not (isinstance(name, str) and name):
            remedy = 'Give each the name of its file as "file_name".'
            faults.add(place, f'has "file_name": {shown(name)}', remedy)
    _look_for_doubled_ids(images, 'images', faults)
    return entries


def look_at_detections(file: CocoFile, content: Any, image_ids: Container[int]) -> None:
    """Look at detected boxes in COCO's format for results, for MMPose's datasets.

    Raises:
        InputError: If anything is wrong.
    """
    if not (isinstance(content, list) and content):
        raise InputError(
            f'{file} holds no detections. Expected COCO\'s [{{"image_id", "bbox", '
            '"score", "category_id"}, ...].'
        )
    faults = Faults()
    ids = ('image_id', 'category_id')
    for place, entry in objects_of(content, 'detections', ids, faults):
        require_image(entry, image_ids, place, faults)
        box, score = entry.get('bbox'), entry.get('score')
        numbers = [*box[:4], score] if isinstance(box, list) else []
        if len(numbers) != 5 or not all(map(_is_finite, numbers)) or min(box[2:4]) <= 0:
            faults.add(
                place,
                f'has "bbox": {shown(box)} and "score": {shown(score)}',
                'Give x, y, width and height in pixels, and a number as score.',
            )
        if entry.get('category_id') != 1:
            file.leave_out('of a category other than 1', place)
    faults.require_none(file)
    file.num_entries = len(content)


def require_lists(
    file: CocoFile, content: Any, needed: Sequence[str], layout: str = _LAYOUT
) -> None:
    """Refuse a file without the lists of COCO's that are needed."""
    if not isinstance(content, dict):
        kind = 'a list' if isinstance(content, list) else shown(content)
        raise InputError(f'{file} is {kind} at its top level. {layout}')
    for name in needed:
        if not isinstance(content.get(name), list):
            raise InputError(f'{file} has no list of "{name}". {layout}')


def objects_of(
    entries: List[Any], name: str, ids: Sequence[str], faults: Faults
) -> Iterator[Tuple[str, dict]]:
    """The entries of a list that are objects, each after its place.

    Note those that are none, an ``iscrowd`` that is no flag (to pycocotools text is
    true), and ids that are no integers of at most 64 bits. Text is none: predictions
    go by the ids of the file, where "7" is not 7.
    """
    has_boxes = name in ('annotations', 'detections')
    for index, entry in enumerate(entries):
        place = f'{name}[{index}]'
        if not isinstance(entry, dict):
            faults.add(place, f'is {shown(entry)}', f'Each is {_ENTRIES[name]}.')
            continue
        keys = dict.fromkeys(ids)
        if has_boxes and entry.get('category_id') is not None:
            keys['category_id'] = None
        for key in keys:
            if not _is_id(entry.get(key)):
                found = f'no "{key}"'
                if key in entry:
                    found = f'"{key}": {shown(entry[key])}'
                faults.add(place, f'has {found}', f'Give each an integer as "{key}".')
        flag = entry.get('iscrowd')
        if has_boxes and flag not in (None, 0, 1):
            problem = f'has "iscrowd": {shown(flag)}'
            faults.add(place, problem, 'Set iscrowd to 0 or 1.')
        yield place, entry


def shown(value: Any, most: int = 40) -> str:
    """A value of a file for a message: as JSON, short, on one line."""
    text = json.dumps(value)
    return text if len(text) <= most else text[: most - 3] + '...'


def require_image(
    entry: dict, image_ids: Container[int], place: str, faults: Faults
) -> None:
    """Note an ``image_id`` that no image has."""
    image_id = entry.get('image_id')
    if type(image_id) is int and image_id not in image_ids:
        problem = f'has the image_id {image_id}, which no image has'
        faults.add(place, problem, 'Are these the boxes of other images?')


def stated_size(image: dict) -> Optional[Tuple[float, float]]:
    """Width and height that an image's entry states, or None."""
    size = image.get('width'), image.get('height')
    return size if all(map(_is_finite, size)) and min(size) > 0 else None


def beyond(points: np.ndarray, size: Sequence[float]) -> np.ndarray:
    """(...) whether points (..., 2) are outside of an image of (width, height).

    One on its border is not, in either convention of pixel centres.
    """
    return ((points < -0.5) | (points > np.add(size, 0.5))).any(axis=-1)


def other_size(
    stated: Optional[Tuple[float, float]], width: int, height: int
) -> Tuple[str, str]:
    """How a stated (width, height) differs from the upright image's, and the remedy.

    Both are empty if the sizes agree, up to a pixel of rounding.
    """
    if stated is None or _is_about(stated, (width, height)):
        return '', ''
    problem = (
        f'is {width} x {height} pixels, and the file says {stated[0]:g} x {stated[1]:g}'
    )
    if _is_about(stated, (height, width)):
        return problem, (
            'Images are read upright, as their EXIF orientation says: turn boxes and '
            'keypoints too, or save the images without an orientation. If width and '
            'height are merely exchanged in the file, correct them.'
        )
    return problem, (
        'Scale boxes and keypoints to the image, or use the images that they were '
        'made on. If the file merely states a wrong size, correct it.'
    )


def note_on_corners(boxes: Sequence[Sequence], sizes: Sequence[Sequence]) -> str:
    """What to say where boxes look like corners (x1, y1, x2, y2), or ''.

    Args:
        boxes (Sequence): x, y, width and height of each.
        sizes (Sequence): Width and height of the image of each.
    """
    if not len(boxes):
        return ''
    first, last = np.hsplit(np.asarray(boxes, dtype=np.float64), 2)
    border = np.add(sizes, 1)
    over = (first + last > border).any(axis=1).sum()
    if 2 * over <= len(boxes) or not ((last > first) & (last <= border)).all():
        return ''
    return (
        f'{over} of {len(boxes)} boxes reach out of their image, none of them as '
        'corners (x1, y1, x2, y2): COCO gives x, y, width, height'
    )


def _is_about(stated: Sequence[float], size: Sequence[int]) -> bool:
    return all(abs(a - b) <= 1 for a, b in zip(stated, size))


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _LARGEST


def _is_id(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _look_for_doubled_ids(entries: List[Any], name: str, faults: Faults) -> None:
    first: Dict[int, int] = {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or not _is_id(entry.get('id')):
            continue
        other = first.setdefault(entry['id'], index)
        if other != index and not _are_one(name, entry, entries[other]):
            place = f'{name}[{other}] and {name}[{index}]'
            faults.add(place, f'have the id {entry["id"]}', f'Number the {name}.')


def _are_one(name: str, entry: dict, other: dict) -> bool:
    """Files that were joined may have one image or category twice."""
    if name == 'images':
        return all(entry.get(key) == other.get(key) for key in _MAKES_AN_IMAGE)
    return name == 'categories' and entry == other
