"""Files in COCO's layout, looked at before another reader trusts them.

pycocotools, and MMPose's datasets on top of it, index entries by whatever ids they
have: of annotations that share an id the last one labels every image, ids and
numbers of an unexpected type end in a traceback, and what is not wanted is dropped
without a word. Here what is wrong becomes one
:class:`~mmregda.errors.InputError` with file, entry and remedy, and what can only
be meant one way is put right in memory; the file stays as it is.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Container, Dict, List, Optional, Sequence, Tuple

import numpy as np

from mmregda.errors import InputError

NUM_IMAGES = 64
"""int: Images of a dataset that are decoded, if need be, before a run."""
CROWD = 'crowds (iscrowd)'
"""str: What an entry with a true ``iscrowd`` is counted as."""
NO_KEYPOINTS = 'without keypoints'
NO_AREA = 'with a box of no area in the image'
REMEDIES = {
    CROWD: 'Set iscrowd to 0 where a single person or hand is annotated.',
    NO_KEYPOINTS: 'Of a target, UnlabeledImages takes the boxes alone.',
}
"""dict: What to do where this is why nothing is left."""
LARGEST = float(np.finfo(np.float32).max)
"""float: A larger number is infinite where it is used."""

_FLAGS = {'0': 0, '1': 1, 'false': 0, 'true': 1}
_ENTRIES = dict(
    images='an object with "id", "file_name", "width" and "height"',
    annotations='an object with "id", "image_id", "category_id", "bbox", "keypoints"',
    categories='an object with "id" and "name"',
)


class Faults:
    """What is wrong with a file, counted by kind, each with its first place."""

    def __init__(self) -> None:
        self._kinds: Dict[str, List[Any]] = {}

    def add(self, place: str, problem: str, remedy: str, count: int = 1) -> None:
        """Note a fault.

        Args:
            place (str): The entry, such as ``annotations[3]``.
            problem (str): The rest of the sentence, such as ``has no "id"``.
            remedy (str): What to do. Faults with one remedy are one kind, of
                which the first is shown.
            count (int): How many entries have it.
        """
        kind = self._kinds.setdefault(remedy, [place, problem, 0])
        kind[2] += count

    def require_none(self, file: Any) -> None:
        """Raise :class:`InputError` with everything that was noted.

        Args:
            file (Any): What to call the file.
        """
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
        content (Any): What it holds, put right.
        what (str): What it is, for messages.
        entries (str): What it is a list of, for messages.
        mended (Counter): What was put right, and how often.
        left_out (dict[str, list[str]]): By reason, the entries that MMPose will
            leave out, such as ``annotations[3]``.
        num_entries (int): Annotations, or detections.
        notes (list[str]): What is odd and may not be meant.
        asides (list[str]): What does no harm.
    """

    path: str
    content: Any
    what: str = 'annotation file'
    entries: str = 'annotations'
    mended: Counter = field(default_factory=Counter)
    left_out: Dict[str, List[str]] = field(default_factory=dict)
    num_entries: int = 0
    notes: List[str] = field(default_factory=list)
    asides: List[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f'{self.what} "{self.path}"'

    @property
    def images(self) -> List[dict]:
        """list[dict]: COCO's images."""
        return self.content['images']

    @property
    def annotations(self) -> List[dict]:
        """list[dict]: COCO's annotations; none in a file without."""
        return self.content.get('annotations', [])

    @property
    def categories(self) -> List[dict]:
        """list[dict]: COCO's categories; none in a file without."""
        return self.content.get('categories', [])

    def num_left_out(self) -> int:
        """How many entries the reader leaves out."""
        return sum(map(len, self.left_out.values()))

    def summary_of_left_out(self) -> str:
        """One line on what the reader leaves out, or ''."""
        count = self.num_left_out()
        if not count:
            return ''
        reasons = ', '.join(
            f'{len(places)} {reason}' + f', such as {places[0]}' * bool(places[0])
            for reason, places in self.left_out.items()
        )
        return (
            f'left out by the reader: {count} of {self.num_entries} {self.entries} '
            f'({reasons})'
        )


def look_at_entries(file: CocoFile, needed: Sequence[str]) -> None:
    """Look at the lists of a file, and at ids, names, sizes and flags in them.

    Args:
        file (CocoFile): The file, which is put right.
        needed (Sequence[str]): The lists that have to be there, such as
            ``images``.

    Raises:
        InputError: If anything is wrong.
    """
    _require_lists(file, needed)
    faults = Faults()
    for name in _ENTRIES:
        _look_at_ids(file, name, faults)
    faults.require_none(file)
    for name in _ENTRIES:
        _look_for_doubled_ids(file.content.get(name, []), name, faults)
    _look_at_images(file, faults)
    _look_at_annotations(file, faults)
    faults.require_none(file)
    file.num_entries = len(file.annotations)
    used = {annotation['image_id'] for annotation in file.annotations}
    bare = sum(image['id'] not in used for image in file.images)
    if bare and used:
        file.asides.append(f'{bare} of {len(file.images)} images have no annotation')


def look_at_detections(file: CocoFile, image_ids: Container[int]) -> None:
    """Look at detected boxes in COCO's format for results, for MMPose's datasets.

    Args:
        file (CocoFile): The file, which is put right.
        image_ids (Container[int]): The ids that images have.

    Raises:
        InputError: If anything is wrong.
    """
    if not (isinstance(file.content, list) and file.content):
        raise InputError(
            f'{file} holds no detections. Expected COCO\'s [{{"image_id", "bbox", '
            '"score", "category_id"}, ...].'
        )
    faults, taken = Faults(), []
    for index, entry in enumerate(file.content):
        place = f'detections[{index}]'
        if not isinstance(entry, dict):
            faults.add(place, f'is {shown(entry)}', 'Each is an object.')
            continue
        reason = _look_at_detection(entry, place, image_ids, faults, file.mended)
        if reason:
            file.left_out.setdefault(reason, []).append(place)
        else:
            taken.append(entry)
    faults.require_none(file)
    file.num_entries = len(file.content)
    if NO_AREA in file.left_out:  # MMPose would take them.
        file.mended['detections of no area'] += len(file.left_out[NO_AREA])
        file.content = taken


def shown(value: Any, most: int = 40) -> str:
    """A value of a file for a message: as JSON, short, on one line."""
    text = json.dumps(value)
    return text if len(text) <= most else text[: most - 3] + '...'


def number_of(value: Any) -> Optional[float]:
    """A number, also one that is written as text; None for what is none."""
    if not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def integer_id(value: Any) -> Optional[int]:
    """An id as an integer, or None for what is none.

    A float is taken if it is whole and small enough to be exact: so pandas writes
    ids. Text is not, since predictions go by the ids of the file, where "7" is
    not 7.
    """
    if type(value) is int:
        return value if -(2**63) <= value < 2**63 else None
    if type(value) is float and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    return None


def mend_id(
    entry: dict, key: str, place: str, faults: Faults, mended: Optional[Counter] = None
) -> None:
    """Make an entry's id an integer, or note a fault.

    Args:
        entry (dict): An image, annotation or category.
        key (str): Such as ``image_id``.
        place (str): The entry, for messages.
        faults (Faults): Where it is noted that the id is none.
        mended (Counter, optional): Where it is counted that it was put right.
    """
    found = integer_id(entry.get(key))
    if found is None:
        value = f'"{key}": {shown(entry[key])}' if key in entry else f'no "{key}"'
        faults.add(place, f'has {value}', f'Give each an integer as "{key}".')
    elif type(entry[key]) is not int:
        entry[key] = found
        if mended is not None:
            mended['ids with a decimal point, such as 1.0'] += 1


def as_flag(value: Any) -> Optional[int]:
    """``iscrowd`` as 0 or 1, or None for what is neither."""
    if isinstance(value, str):
        return _FLAGS.get(value.strip().lower())
    if value is None:
        return 0
    return int(value) if isinstance(value, (int, float)) and value in (0, 1) else None


def stated_size(image: dict) -> Optional[Tuple[float, float]]:
    """Width and height that an image's entry states, or None."""
    width, height = (number_of(image.get(key)) for key in ('width', 'height'))
    if width is None or height is None:
        return None
    return (width, height) if min(width, height) > 0 else None


def other_size(
    stated: Optional[Tuple[float, float]], width: int, height: int
) -> Tuple[str, str]:
    """What is wrong with the size that a file states for an image, and the remedy.

    Args:
        stated (tuple[float, float], optional): Width and height in the file.
        width (int): Of the image, upright.
        height (int): Of the image, upright.

    Returns:
        tuple[str, str]: Both empty if the sizes agree, up to a pixel of rounding.
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


def evenly(items: Sequence[Any], count: int) -> List[Any]:
    """At most so many of the items, evenly spread over them."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _is_about(stated: Sequence[float], size: Sequence[int]) -> bool:
    return all(abs(a - b) <= 1 for a, b in zip(stated, size))


def _require_lists(file: CocoFile, needed: Sequence[str]) -> None:
    content = file.content
    layout = 'Expected COCO\'s {"images": [...], "annotations": [...]}.'
    if not isinstance(content, dict):
        kind = 'a list' if isinstance(content, list) else shown(content)
        raise InputError(f'{file} is {kind} at its top level. {layout}')
    for name in _ENTRIES:
        is_there = name in content or name in needed
        if is_there and not isinstance(content.get(name), list):
            raise InputError(f'{file} has no list of "{name}". {layout}')
    for name in needed:
        if not content[name]:
            raise InputError(f'{file} has an empty list of "{name}". {layout}')


def _look_at_ids(file: CocoFile, name: str, faults: Faults) -> None:
    keys = ('id', 'image_id') if name == 'annotations' else ('id',)
    for index, entry in enumerate(file.content.get(name, [])):
        place = f'{name}[{index}]'
        if not isinstance(entry, dict):
            faults.add(place, f'is {shown(entry)}', f'Each is {_ENTRIES[name]}.')
            continue
        for key in keys:
            mend_id(entry, key, place, faults, file.mended)


def _look_for_doubled_ids(entries: List[dict], name: str, faults: Faults) -> None:
    first: Dict[int, int] = {}
    doubled: Dict[int, List[int]] = {}
    for index, entry in enumerate(entries):
        other = first.setdefault(entry['id'], index)
        if other != index and not _are_one(name, entries[other], entry):
            doubled.setdefault(entry['id'], [other]).append(index)
    if doubled:
        number, (a, b, *more) = next(iter(doubled.items()))
        others = f' (and {len(doubled) - 1} other ids are not unique)'
        faults.add(
            f'{name}[{a}] and {name}[{b}]',
            f'have the id {number}{others * (len(doubled) > 1)}',
            'Number them.',
            1 + len(more),
        )


def _are_one(name: str, one: dict, other: dict) -> bool:
    """Whether what is there twice is one thing, as in files that were joined."""
    if name == 'images':
        keys = ('file_name', 'width', 'height')
        return all(one.get(key) == other.get(key) for key in keys)
    return name == 'categories' and one == other


def _look_at_images(file: CocoFile, faults: Faults) -> None:
    for index, image in enumerate(file.images):
        place, name = f'images[{index}]', image.get('file_name')
        if not (isinstance(name, str) and name):
            value = f'"file_name": {shown(name)}' if name is not None else 'no name'
            faults.add(
                place, f'has {value}', 'Give each the name of its file as "file_name".'
            )
        for key in ('width', 'height'):
            if key in image:
                _mend_side(file, image, key, place, faults)


def _mend_side(
    file: CocoFile, image: dict, key: str, place: str, faults: Faults
) -> None:
    """Make a width or height a number, and remove one that states nothing."""
    value = image[key]
    if type(value) is int and 0 < value < LARGEST:
        return
    side = number_of(value)
    if value is None or side == 0:
        del image[key]
    elif side is None or not 0 < side < LARGEST:
        faults.add(
            place,
            f'has "{key}": {shown(value)}',
            'Give the size of the image in pixels, or leave it out.',
        )
    else:
        image[key] = int(side) if side.is_integer() else side
        file.mended['sizes that are text'] += isinstance(value, str)


def _look_at_annotations(file: CocoFile, faults: Faults) -> None:
    known = {category['id'] for category in file.categories}
    for index, annotation in enumerate(file.annotations):
        place = f'annotations[{index}]'
        if annotation.get('category_id') is None and len(known) <= 1:
            annotation['category_id'] = next(iter(known), 1)
            file.mended['annotations without a category_id'] += 1
        mend_id(annotation, 'category_id', place, faults, file.mended)
        value = annotation.get('iscrowd', 0)
        if type(value) is int and 0 <= value <= 1:
            continue
        flag = as_flag(value)
        if flag is None:
            faults.add(
                place, f'has "iscrowd": {shown(value)}', 'Set iscrowd to 0 or 1.'
            )
        annotation['iscrowd'] = flag
        file.mended['iscrowd that is text or null'] += type(value) in (str, type(None))


def _look_at_detection(
    entry: dict,
    place: str,
    image_ids: Container[int],
    faults: Faults,
    mended: Counter,
) -> str:
    """Look at one detection.

    Returns:
        str: Why it is left out, or ''.
    """
    for key in ('image_id', 'category_id'):
        mend_id(entry, key, place, faults, mended)
    image_id = entry.get('image_id')
    if type(image_id) is int and image_id not in image_ids:
        faults.add(
            place,
            f'has the image_id {image_id}, which no image has',
            'Give the detections that were made on these images.',
        )
    box = entry.get('bbox')
    sides = [number_of(v) for v in box[:4]] if isinstance(box, list) else []
    values = [number_of(entry.get('score')), *sides]
    if len(values) != 5 or not all(v is not None and abs(v) < LARGEST for v in values):
        found = f'"bbox": {shown(box)} and "score": {shown(entry.get("score"))}'
        remedy = 'Give x, y, width and height in pixels, and a number as score.'
        faults.add(place, f'has {found}', remedy)
        return ''
    if any(isinstance(v, str) for v in (entry['score'], *box)):
        entry.update(bbox=sides, score=values[0])
        mended['numbers that are text'] += 1
    if entry.get('category_id') != 1:
        return 'of a category other than 1'
    return NO_AREA if min(sides[2:]) <= 0 else ''
