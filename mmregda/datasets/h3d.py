"""Hand-3D-Studio, as published in crops for RegDA."""

from __future__ import annotations

import json
import os
import random
from typing import Iterable, List

import numpy as np
from mmpose.registry import DATASETS

from mmregda.datasets.keypoints import HAND21, metainfo_of
from mmregda.datasets.published import PublishedDataset, finite_array
from mmregda.errors import InputError


@DATASETS.register_module()
class H3DDataset(PublishedDataset):
    """`Hand-3D-Studio`_ (Zhao et al., 2020) in the crops made for RegDA.

    Reads ``H3D_crop/`` as it is unpacked. The images are square crops already,
    so a sample's box is its whole image and is set when the image is read (see
    :class:`~mmregda.datasets.transforms.WholeImageBox`): it depends on no label.

    The split is RegDA's: the samples shuffled with seed 42, the first
    min(20 %, 3200) are ``'test'``, the others ``'train'``.

    Args:
        data_root (str): ``H3D_crop``, or the folder that holds it.
        split (str): ``'train'``, ``'test'`` or ``'all'``.
        labeled (bool): With False no keypoints are read, and the file need not
            have any: for a target inside ``UnlabeledDataset``.
        task (str): ``'noobject'`` (hands that hold nothing, as in the paper),
            ``'object'`` or ``'all'``.
        **kwargs: As in :class:`PublishedDataset`.

    .. _Hand-3D-Studio: https://www.yangangwang.com/papers/
        ZHAO-H3S-2020-02.html
    """

    METAINFO = metainfo_of(HAND21, 'h3d')
    FOLDER = 'H3D_crop'
    TREE = """\
    H3D_crop/
        annotation.json
        part1/ ... part5/"""
    SOURCE = (
        'https://www.yangangwang.com/papers/ZHAO-H3S-2020-02.html (the crops: '
        'see the keypoint detection examples of '
        'https://github.com/thuml/Transfer-Learning-Library)'
    )
    TASKS = dict(noobject=(1,), object=(0,), all=(0, 1))

    def __init__(
        self, data_root: str, task: str = 'noobject', labeled: bool = True, **kwargs
    ) -> None:
        if task not in self.TASKS:
            raise InputError(
                f'H3DDataset: task is "{task}", expected one of {", ".join(self.TASKS)}'
            )
        self.task = task
        self.labeled = labeled
        super().__init__(data_root=data_root, **kwargs)

    @classmethod
    def is_root(cls, path: str) -> bool:
        return os.path.isfile(os.path.join(path, 'annotation.json'))

    def load_samples(self, root: str) -> Iterable[dict]:
        path = os.path.join(root, 'annotation.json')
        entries = _read_annotation(path)
        chosen = self.TASKS[self.task]
        entries = [e for e in entries if e['without_object'] in chosen]
        random.Random(42).shuffle(entries)
        num_test = min(int(0.2 * len(entries)), 3200)
        parts = dict(train=entries[num_test:], test=entries[:num_test], all=entries)
        for entry in parts[self.split]:
            sample = dict(img_path=entry['name'])
            if self.labeled:
                sample.update(_labels(entry, path))
            yield sample


def _labels(entry: dict, path: str) -> dict:
    try:
        keypoints = finite_array(entry.get('keypoint2d'), (21, 2))
    except ValueError as error:
        raise InputError(
            f'annotation file "{path}": "keypoint2d" of "{entry["name"]}" is {error}'
        ) from error
    return dict(
        keypoints=keypoints[None].astype(np.float32),
        keypoints_visible=np.ones((1, 21), dtype=np.float32),
    )


def _read_annotation(path: str) -> List[dict]:
    try:
        with open(path, encoding='utf-8') as file:
            entries = json.load(file)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f'annotation file "{path}" is not valid JSON ({error}). Check that '
            'its download is complete.'
        ) from error
    try:
        return [
            dict(
                name=os.fspath(entry['name']),
                keypoint2d=entry.get('keypoint2d'),
                without_object=int(entry['without_object']),
            )
            for entry in entries
        ]
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise InputError(
            f'annotation file "{path}" is not H3D_crop\'s: a list of entries with '
            f'"name", "keypoint2d" and "without_object" (0 or 1) was expected '
            f'({type(error).__name__}: {error})'
        ) from error
