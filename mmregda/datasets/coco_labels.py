"""What MMPose's datasets read of COCO-style annotations, looked at as they read it."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
from mmpose.datasets.datasets import BaseCocoStyleDataset

from mmregda.datasets.coco_files import (
    CROWD,
    NO_KEYPOINTS,
    CocoFile,
    Faults,
    beyond,
    note_on_corners,
    shown,
    stated_size,
)
from mmregda.datasets.keypoint_names import keypoint_names, misplaced
from mmregda.errors import InputError

_FINITE = 'Give numbers in pixels, and 0, 0, 0 for keypoints without a label.'
_FRACTIONS = 'Give boxes and keypoints in pixels, not in fractions of the image.'
_EXPECTED = dict(
    bbox='Give it x, y, width and height in pixels',
    keypoints='Give it x, y and visibility of each keypoint in one list',
)
_VISIBILITIES = (
    "Give COCO's visibilities: 0 not labelled, 1 hidden, 2 visible (a score is none)."
)
_NO_BOX = 'with a box that is empty or outside of its image'
_METAINFO = (
    'Give the dataset the metainfo of the keypoints in the file; KeypointConverter '
    'maps them to others.'
)


class LabelCheck:
    """Looks at each annotation that a dataset parses.

    Args:
        dataset (BaseCocoStyleDataset): The dataset, which has read nothing.
        file (CocoFile): Its annotation file. What is left out is counted there.
        categories (list[dict]): COCO's, of the file.
    """

    def __init__(
        self, dataset: BaseCocoStyleDataset, file: CocoFile, categories: List[dict]
    ) -> None:
        self._dataset, self._file, self._categories = dataset, file, categories
        self._parse = dataset.parse_data_info
        # Another parser may have other rules for flags.
        usual = BaseCocoStyleDataset.parse_data_info
        self._is_cocos = type(dataset).parse_data_info is usual
        self._number: Optional[int] = dataset.metainfo.get('num_keypoints')
        names = [type(t).__name__ for t in dataset.pipeline.transforms]
        self._converts = 'KeypointConverter' in names
        if self._converts:  # The metainfo may be of the result: all are to be alike.
            self._number = None
        self._faults = Faults()
        self._taken: Counter = Counter()  # By category.
        self._seen, self._outside = 0, 0
        self._boxes: List[list] = []
        self._sizes: List[Tuple[float, float]] = []

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Within, the dataset's annotations are looked at as they are parsed.

        Raises:
            InputError: If one cannot be parsed, or says what cannot be meant.
        """
        # MMPose shows nobody what it parses before it leaves some of it out, and the
        # dataset's class is the user's.
        self._dataset.parse_data_info = self._look
        try:
            yield
        finally:
            del self._dataset.parse_data_info
        self._look_at_categories()
        self._faults.require_none(self._file)
        self._note()

    def _look(self, raw: Dict[str, dict]) -> Any:
        """Parse an annotation, given with its image."""
        label, image = raw['raw_ann_info'], raw['raw_img_info']
        try:
            info = self._parse(raw)
            reason = self._reason(label, info)
        except Exception as error:  # Whatever an unexpected value leads it to.
            problem, remedy = _oddity(label, image)
            raise InputError(
                f'{self._file}: the annotation of id {label["id"]}{problem} cannot be '
                f'read by {type(self._dataset).__name__} '
                f'({type(error).__name__}: {error}). {remedy}'
            ) from error
        if reason:
            self._file.leave_out(reason, f'id {label["id"]}')
        elif isinstance(info, dict):
            self._taken[label.get('category_id')] += 1
            self._look_at_label(label, image, info)
        return info

    def _reason(self, label: dict, info: Any) -> str:
        """Why the dataset leaves out an annotation, or ''."""
        if not info:
            return 'without a box' if 'bbox' not in label else NO_KEYPOINTS
        if self._dataset.data_mode != 'topdown' or (
            self._dataset._is_valid_instance(info)
        ):
            return ''
        if label.get('iscrowd'):
            return CROWD
        no_keypoint = not info.get('num_keypoints', 1) or info['keypoints'].max() <= 0
        return 'without a labelled keypoint' if no_keypoint else _NO_BOX

    def _look_at_label(self, label: dict, image: dict, info: dict) -> None:
        place = f'the annotation of id {label["id"]}'
        points = np.asarray(info['keypoints'], dtype=np.float64)[0, :, :2]
        seen = np.asarray(info['keypoints_visible'])[0] > 0
        box = np.asarray(label.get('bbox', ()), dtype=np.float64)
        if not (np.abs(points) < 1e30).all() or not (np.abs(box) < 1e30).all():
            self._faults.add(place, 'has numbers that are not finite', _FINITE)
            return
        self._number = self._number or len(points)
        if len(points) != self._number:
            problem = f'has {len(points)} keypoints, not {self._number}'
            self._faults.add(place, problem, _METAINFO)
        if self._is_cocos:
            self._look_at_flags(place, label['keypoints'])
        labelled = points[seen]
        self._seen += len(labelled)
        in_pixel = (np.abs(labelled) <= 1).all() and (labelled % 1 != 0).any()
        in_corner = box.size and ((box >= 0) & (box <= 1)).all()
        if in_corner or (in_pixel and len(labelled) > 1):
            problem = 'lies within a pixel of a corner of the image'
            self._faults.add(place, problem, _FRACTIONS)
        size = stated_size(image)
        if size is not None:
            self._outside += beyond(labelled, size).sum()
            if box.size == 4:
                self._boxes.append(label['bbox'])
                self._sizes.append(size)

    def _look_at_flags(self, place: str, keypoints: list) -> None:
        flags = np.asarray(keypoints, dtype=np.float64).reshape(-1, 3)[:, 2]
        odd = flags[~np.isin(flags, (0, 1, 2))]
        if odd.size:
            problem = f'has the visibility {odd[0]:g}'
            self._faults.add(place, problem, _VISIBILITIES)

    def _look_at_categories(self) -> None:
        """Refuse the metainfo's names in another order."""
        expected = [] if self._converts else keypoint_names(self._dataset.metainfo)
        for index, category in enumerate(self._categories):
            names = category.get('keypoints')
            if category['id'] not in self._taken or not isinstance(names, list):
                continue
            k = misplaced(list(map(str, names)), expected)
            if len(names) == len(expected) and k is not None:
                self._faults.add(
                    f'categories[{index}]',
                    f'has the keypoints of the metainfo in another order: number {k} '
                    f'is {shown(names[k])}, not {shown(expected[k])}',
                    "Give the dataset a metainfo in the file's order; "
                    'KeypointConverter brings them into another.',
                )

    def _note(self) -> None:
        notes = self._file.notes
        if self._taken and not self._seen:
            notes.append('no keypoint is labelled, as all visibilities are 0')
        if self._outside:
            notes.append(
                f'{self._outside} labelled keypoints are outside of their image'
            )
        corners = note_on_corners(self._boxes, self._sizes)
        notes += [corners] * bool(corners)
        definitions = {shown(c.get('keypoints'), 10_000) for c in self._categories}
        unknown = set(self._taken) - {c['id'] for c in self._categories} - {None}
        if len(self._taken) > 1 and (len(definitions) > 1 or unknown):
            counts = ', '.join(f'{n} of {c}' for c, n in self._taken.most_common(5))
            notes.append(f'annotations of several categories are read: {counts}')


def _oddity(label: dict, image: dict) -> Tuple[str, str]:
    """What readers are likely to stumble over, if anything, and the remedy."""
    for key, expected in _EXPECTED.items():
        value = label.get(key, [])
        numbers = isinstance(value, list) and all(
            isinstance(number, (int, float)) for number in value
        )
        whole = (
            len(value or ()) in (0, 4) if key == 'bbox' else len(value or ()) % 3 == 0
        )
        if not (numbers and whole):
            return (
                f', which has "{key}": {shown(value)},',
                f'{expected}, or leave it out.',
            )
    if 'category_id' not in label:
        return ', which has no "category_id",', 'Give each one, such as 1.'
    for key in ('width', 'height'):
        if key not in image:
            problem = f', which is of "{image["file_name"]}" without a "{key}",'
            return problem, 'Give each of "images" its width and height in pixels.'
    return '', 'Compare it with an annotation that it reads.'
