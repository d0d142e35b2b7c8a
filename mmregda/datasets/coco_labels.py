"""Boxes and keypoints in COCO's layout, looked at before MMPose's datasets read them.

What they would fail on, or read as something else than is meant, is an error. What
they leave out (as MMPose 1.x does it, top-down) is counted by its reason.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import chain
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from mmregda.datasets.coco_files import (
    CROWD,
    LARGEST,
    NO_AREA,
    NO_KEYPOINTS,
    CocoFile,
    Faults,
    number_of,
    shown,
    stated_size,
)

# Annotations are looked at so many at a time, which bounds the memory.
_CHUNK = 4096
_AS_TEXT = 'numbers that are text, null or in lists of their own'
# Of its box, that MMPose takes a person to fill.
_SHARE_OF_BOX = 0.53
# A keypoint on the border of the image, in either convention of pixel centres.
_BORDER = 0.5
_UNLABELED = 'without a labelled keypoint'


class Reader(NamedTuple):
    """What a dataset of MMPose's makes of an annotation.

    Attributes:
        name (str): Its class, for messages.
        parts (dict[str, int | None]): The keys that hold keypoints, and how many
            each has; None where no one says.
        keypoint_names (list[str]): What the metainfo calls them; empty if they
            are mapped to others first.
        is_cocos (bool): Whether its rules are those of COCO: an annotation needs
            ``bbox`` and ``keypoints``, and has visibilities of 0, 1 or 2. What
            rules others follow is not known here.
        needs (tuple[str, ...]): Keys without which it fails, though it can do
            without their values.
        interval (int): It takes only images whose id this divides.
    """

    name: str
    parts: Dict[str, Optional[int]]
    keypoint_names: List[str]
    is_cocos: bool
    needs: Tuple[str, ...] = ()
    interval: int = 1


def look_at_labels(file: CocoFile, reader: Reader) -> None:
    """Look at boxes and keypoints, and count what the reader leaves out.

    Args:
        file (CocoFile): The file, whose entries are in order. It is put right.
        reader (Reader): Who will read it.

    Raises:
        InputError: If the reader would fail, or read what is not meant.
    """
    faults = Faults()
    labels = _Labels(file, reader, faults)
    faults.require_none(file)
    reasons = labels.reasons()
    for index in np.flatnonzero(reasons != ''):
        place = f'annotations[{index}]'
        file.left_out.setdefault(reasons[index], []).append(place)
    # Whatever is wrong with what is left out does no harm.
    taken = np.flatnonzero(labels.parsed & labels.drawn & (reasons == ''))
    labels.look_at(taken, faults)
    used = Counter(file.annotations[index]['category_id'] for index in taken)
    _look_at_names(file, reader, used, faults)
    faults.require_none(file)
    _note_categories(file, used)


class _Labels:
    """The labels of a file as arrays, put right where it is clear how.

    Attributes:
        known (np.ndarray): (N,) whether there is the annotation's image.
        drawn (np.ndarray): (N,) whether the reader takes every such image.
        parsed (np.ndarray): (N,) whether the reader looks at the annotation.
        boxes (np.ndarray): (N, 4) as x, y, w, h.
        counts (np.ndarray): (N,) ``num_keypoints``, or what the reader counts.
        lengths (np.ndarray): (N,) keypoints that are given.
        labelled (np.ndarray): (N,) keypoints with a visibility above 0.
        largest (np.ndarray): (N,) the largest coordinate; -inf without any.
        in_fractions (np.ndarray): (N,) whether all labelled keypoints lie within a
            pixel of the image's corner, and not on whole pixels.
        outside (np.ndarray): (N,) labelled keypoints that are out of the image.
    """

    def __init__(self, file: CocoFile, reader: Reader, faults: Faults) -> None:
        self._file, self._reader = file, reader
        annotations = file.annotations
        ids = {image['id'] for image in file.images}
        self.known = np.array([a['image_id'] in ids for a in annotations], bool)
        self.drawn = np.array(
            [a['image_id'] % reader.interval == 0 for a in annotations], bool
        )
        self.has = {
            key: np.array([key in a for a in annotations], bool)
            for key in ('bbox', 'keypoints')
        }
        self.parsed = self.known & self.has['keypoints']
        self.boxes = np.full((len(annotations), 4), np.nan)
        self.counts, self.lengths, self.labelled = np.zeros((3, len(annotations)), int)
        self.largest = np.full(len(annotations), -np.inf)
        self.in_fractions = np.zeros(len(annotations), bool)
        self.outside = np.zeros(len(annotations), int)
        sizes = {image['id']: stated_size(image) for image in file.images}
        self._sizes = np.array(
            [sizes.get(a['image_id']) or (np.inf, np.inf) for a in annotations], float
        ).reshape(-1, 2)
        self._problems: List[Tuple[int, str, str]] = []
        if reader.is_cocos:
            self.parsed &= self.has['bbox']
            self._read_boxes(faults)
        for part, expected in reader.parts.items():
            self._read_part(part, expected, faults)
        if reader.is_cocos:
            self._read_counts(faults)
            self._mend_areas()
        self._fill_in()

    def reasons(self) -> np.ndarray:
        """(N,) why COCO's readers leave an annotation out; '' if they do not."""
        if not self._reader.is_cocos:
            return np.full(len(self.known), '', object)
        crowd = np.array([bool(a.get('iscrowd')) for a in self._file.annotations], bool)
        rules = [
            (~self.drawn, ''),
            (~self.known, 'of an image_id that no image has'),
            (~self.has['bbox'], 'without a box'),
            (~self.has['keypoints'], NO_KEYPOINTS),
            (crowd, CROWD),
            ((self.counts == 0) & (self.labelled > 0), 'with num_keypoints 0'),
            (self.counts == 0, _UNLABELED),
            (self._are_empty(), NO_AREA),
            (self.largest <= 0, _UNLABELED),
        ]
        return np.select(*zip(*rules), default='').astype(object)

    def look_at(self, taken: np.ndarray, faults: Faults) -> None:
        """Note what is wrong with the annotations of these indices."""
        chosen = set(taken.tolist())
        for index, problem, remedy in self._problems:
            if index in chosen:
                faults.add(f'annotations[{index}]', problem, remedy)
        # One keypoint may be there by chance.
        likely = self.in_fractions[taken]
        likely &= likely.all() | (self.labelled[taken] > 1)
        for index in taken[likely]:
            faults.add(
                f'annotations[{index}]',
                'has keypoints that all lie within a pixel of a corner of the image',
                'Give keypoints in pixels, not in fractions of the image.',
            )
        outside = self.outside[taken]
        if outside.any():
            self._file.notes.append(
                f'{outside.sum()} labelled keypoints in {np.count_nonzero(outside)} of '
                f'{len(taken)} annotations are outside of their image, such as in '
                f'annotations[{taken[outside.argmax()]}]'
            )
        if not self._reader.is_cocos or not len(taken):
            return
        boxes = self.boxes[taken]
        small = (boxes[:, 2:] <= 1).all(axis=1)
        # A lone one may be a speck, unless it is all within the first pixel.
        small &= small.all() | ((boxes >= 0) & (boxes <= 1)).all(axis=1)
        for index in taken[small]:
            faults.add(
                f'annotations[{index}]',
                'has a box that is no larger than a pixel',
                'Give boxes in pixels, not in fractions of the image.',
            )
        border = self._sizes[taken] + 1
        over = (boxes[:, :2] + boxes[:, 2:] > border).any(axis=1)
        corners = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= border)
        if 2 * over.sum() > len(taken) and corners.all():
            self._file.notes.append(
                f'{over.sum()} of {len(taken)} boxes reach out of their image, none of '
                'them as corners (x1, y1, x2, y2): COCO gives x, y, width, height'
            )
        usual = np.bincount(self.lengths[taken]).argmax()
        for index in taken[self.lengths[taken] != usual]:
            faults.add(
                f'annotations[{index}]',
                f'has {self.lengths[index]} keypoints, where most have {usual}',
                'Give the same keypoints in all annotations (0, 0, 0 without a label).',
            )

    def _are_empty(self) -> np.ndarray:
        """(N,) whether nothing is left of a box that MMPose cuts at the border."""
        sizes = {
            image['id']: (image.get('width', 0), image.get('height', 0))
            for image in self._file.images
        }
        border = [sizes.get(a['image_id'], (0, 0)) for a in self._file.annotations]
        last = np.array(border, float).reshape(-1, 2) - 1
        low, high = self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]
        low, high = (np.clip(c, 0, last).astype(np.float32) for c in (low, high))
        return ~(high > low).all(axis=1)

    def _values(self, key: str) -> Tuple[np.ndarray, List[Any]]:
        """Indices of the annotations that have a key, and its values."""
        places = [i for i in np.flatnonzero(self.parsed) if key in self._entry(i)]
        return np.array(places, int), [self._entry(i)[key] for i in places]

    def _entry(self, index: int) -> dict:
        return self._file.annotations[index]

    def _mend(self, index: int, key: str, row: np.ndarray, kind: str) -> None:
        self._entry(index)[key] = row.tolist()
        self._file.mended[kind] += 1

    def _read_boxes(self, faults: Faults) -> None:
        remedy = 'Give it x, y, width and height in pixels, or remove the annotation.'
        places, values = self._values('bbox')
        for within, rows, plain in rows_of_numbers(values):
            if rows is None or rows.shape[1] != 4:
                rows = np.full((len(within), 4), np.nan)
            finite = (np.abs(rows) < LARGEST).all(axis=1)
            for i in np.flatnonzero(~finite):
                problem = f'has "bbox": {shown(values[within[i]])}'
                faults.add(f'annotations[{places[within[i]]}]', problem, remedy)
            self.boxes[places[within]] = rows
            if not plain and finite.all():
                self._mend(places[within[0]], 'bbox', rows[0], _AS_TEXT)

    def _read_part(self, part: str, expected: Optional[int], faults: Faults) -> None:
        """Read the keypoints under one key."""
        places, values = self._values(part)
        for index in np.setdiff1d(np.flatnonzero(self.parsed), places):
            problem = f'has no "{part}", which {self._reader.name} reads'
            self._problems.append((index, problem, f'Give each its "{part}".'))
        remedy = (
            f'Give "{part}" as x, y and visibility of each keypoint, or remove the '
            'annotation.'
        )
        for within, rows, plain in rows_of_numbers(values):
            indices = places[within]
            if rows is not None and rows.shape[1] % 3 == 0:
                self._take_points(part, expected, indices, rows, plain)
                continue
            for i, index in zip(within, indices):
                length = '' if rows is None else f' ({rows.shape[1]} numbers)'
                problem = f'has "{part}": {shown(values[i])}{length}'
                faults.add(f'annotations[{index}]', problem, remedy)

    def _take_points(
        self,
        part: str,
        expected: Optional[int],
        indices: np.ndarray,
        rows: np.ndarray,
        plain: bool,
    ) -> None:
        """Take (n, 3 K) numbers of n annotations."""
        points = rows.reshape(len(rows), rows.shape[1] // 3, 3)
        blank = _are_blank(points)
        points[blank] = 0
        for i in np.flatnonzero(blank.any(axis=1)):
            kind = 'unlabelled keypoints without coordinates'
            self._mend(indices[i], part, rows[i], kind)
        if not plain and not blank.any():
            self._mend(indices[0], part, rows[0], _AS_TEXT)
        self._note_odd(part, indices, points)
        if expected not in (None, points.shape[1]):
            problem = (
                f'has {points.shape[1]} keypoints in "{part}", and '
                f'{self._reader.name} by its metainfo {expected}'
            )
            remedy = (
                'Give the dataset the metainfo of the keypoints in the file; '
                'KeypointConverter maps them to others.'
            )
            self._problems += [(index, problem, remedy) for index in indices]
        if part == 'keypoints' and points.size:
            self.lengths[indices] = points.shape[1]
            self.labelled[indices] = (points[..., 2] > 0).sum(axis=1)
            self.counts[indices] = np.count_nonzero(points[..., :2].max(axis=2), axis=1)
        if points.size:
            xy, seen = points[..., :2], points[..., 2] > 0
            near = (np.abs(xy) <= 1).all(axis=2) | ~seen
            between = ((xy % 1 != 0).any(axis=2) & seen).any(axis=1)
            self.in_fractions[indices] |= near.all(axis=1) & between
            border = self._sizes[indices, None] + _BORDER
            beyond = ((xy < -_BORDER) | (xy > border)).any(axis=2) & seen
            self.outside[indices] += beyond.sum(axis=1)
            largest = points[..., :2].max(axis=(1, 2))
            self.largest[indices] = np.maximum(self.largest[indices], largest)

    def _note_odd(self, part: str, indices: np.ndarray, points: np.ndarray) -> None:
        infinite = ~(np.abs(points) < LARGEST).all(axis=2)
        for i, k in _first_of_each(infinite):
            problem = f'has "{part}" of which number {k} is not finite'
            remedy = 'Set keypoints without a label to 0, 0, 0.'
            self._problems.append((indices[i], problem, remedy))
        if not self._reader.is_cocos or part != 'keypoints':
            return
        seen = points[..., 2]
        for i, k in _first_of_each(~np.isin(seen, (0, 1, 2)) & ~infinite):
            problem = f'has the visibility {seen[i, k]:g} at keypoint {k}'
            remedy = (
                "Give COCO's visibilities: 0 not labelled, 1 hidden, 2 visible (a "
                'score is none).'
            )
            self._problems.append((indices[i], problem, remedy))

    def _read_counts(self, faults: Faults) -> None:
        places, values = self._values('num_keypoints')
        for index, value in zip(places, values):
            count = number_of(value)
            if value is None:
                del self._entry(index)['num_keypoints']
            elif count is None or not (0 <= count < LARGEST and count.is_integer()):
                faults.add(
                    f'annotations[{index}]',
                    f'has "num_keypoints": {shown(value)}',
                    'Give num_keypoints as a number, or leave it out.',
                )
                continue
            else:
                # Without any coordinate MMPose would fail on another number.
                self.counts[index] = count if self.lengths[index] else 0
                self._entry(index)['num_keypoints'] = int(self.counts[index])
            if value is None or self._entry(index)['num_keypoints'] != value:
                self._file.mended['num_keypoints that is no number'] += 1

    def _mend_areas(self) -> None:
        """Give the area that MMPose takes without one where it is no number."""
        places, values = self._values('area')
        for index, value in zip(places, values):
            if not (type(value) in (int, float) and 0 <= value < LARGEST):
                width, height = self.boxes[index, 2:]
                self._entry(index)['area'] = max(1.0, width * height * _SHARE_OF_BOX)
                self._file.mended['areas that are no numbers'] += 1

    def _fill_in(self) -> None:
        """Give annotations the keys without which the reader would fail."""
        for key in self._reader.needs:
            for index in np.flatnonzero(self.parsed):
                if key not in self._entry(index):
                    counted = key == 'num_keypoints'
                    value = int(self.counts[index]) if counted else None
                    self._entry(index)[key] = value
                    self._file.mended[f'annotations without {key}'] += 1


def rows_of_numbers(
    values: Sequence[Any],
) -> Iterator[Tuple[List[int], Optional[np.ndarray], bool]]:
    """Lists of numbers as arrays, as many at once as are alike.

    Yields:
        tuple: Places (n,) among the values; (n, L) float64, or None for what is
        no list of numbers; whether these are plain numbers in a plain list.
    """
    for start in range(0, len(values), _CHUNK):
        chunk = values[start : start + _CHUNK]
        places = list(range(start, start + len(chunk)))
        alike = set(map(type, chunk)) == {list} and len(set(map(len, chunk))) == 1
        if alike and set(map(type, chain.from_iterable(chunk))) <= {int, float}:
            try:
                yield places, np.array(chunk, dtype=np.float64), True
                continue
            except OverflowError:  # An integer of hundreds of digits.
                pass
        for place, value in zip(places, chunk):
            row = _row(value)
            plain = isinstance(value, list) and {*map(type, value)} <= {int, float}
            yield [place], None if row is None else row[None], plain


def _row(value: Any) -> Optional[np.ndarray]:
    """A list of numbers, or of triples of them, as (L,) float64; NaN for null."""
    if not isinstance(value, list):
        return None
    if value and all(isinstance(part, list) and len(part) == 3 for part in value):
        value = list(chain.from_iterable(value))
    numbers = [math.nan if part is None else number_of(part) for part in value]
    return None if None in numbers else np.array(numbers, dtype=np.float64)


def _are_blank(points: np.ndarray) -> np.ndarray:
    """(n, K) whether keypoints have no coordinates and no visibility either.

    So some tools write what is not labelled: x and y null or NaN, and the
    visibility too, or 0.
    """
    nowhere = np.isnan(points[..., :2]).any(axis=2)
    unseen = np.isnan(points[..., 2]) | (points[..., 2] == 0)
    return nowhere & unseen


def _first_of_each(found: np.ndarray) -> Iterator[Tuple[int, int]]:
    """Of (n, K) booleans the rows with any, and the first column of each."""
    rows = np.flatnonzero(found.any(axis=1))
    return zip(rows, found[rows].argmax(axis=1) if len(rows) else rows)


def _look_at_names(
    file: CocoFile, reader: Reader, used: Counter, faults: Faults
) -> None:
    """Note categories that have the metainfo's names in another order."""
    expected = [_plain(name) for name in reader.keypoint_names]
    for index, category in enumerate(file.categories):
        names = category.get('keypoints')
        if category['id'] not in used or not isinstance(names, list):
            continue
        found = [_plain(name) for name in names]
        if found != expected and sorted(found) == sorted(expected):
            k = next(k for k, name in enumerate(found) if name != expected[k])
            faults.add(
                f'categories[{index}]',
                f'has the keypoints of the metainfo in another order: number {k} is '
                f'{shown(names[k])}, not {shown(reader.keypoint_names[k])}',
                "Give the dataset a metainfo in the file's order; KeypointConverter "
                'brings them into another.',
            )


def _plain(name: Any) -> str:
    """A name without case, spaces and dashes."""
    return ''.join(c for c in str(name).lower() if c.isalnum())


def _note_categories(file: CocoFile, used: Counter) -> None:
    names = {category['id']: category.get('name') for category in file.categories}
    unknown = sum(count for category, count in used.items() if category not in names)
    if names and unknown:
        file.notes.append(
            f'{unknown} annotations have a category_id that no category has: they are '
            "read, and left out by COCO's metrics"
        )
    definitions = {json.dumps(c.get('keypoints')) for c in file.categories}
    if len(used) > 1 and len(definitions) > 1:
        counts = ', '.join(
            f'{count} of {category} ({shown(names.get(category))})'
            for category, count in used.most_common(5)
        )
        file.notes.append(f'annotations of several categories are read: {counts}')
