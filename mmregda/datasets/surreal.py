"""SURREAL, as preprocessed for RegDA."""

from __future__ import annotations

import logging
import os
import random
import re
from typing import Iterable, List

import numpy as np
from mmengine.logging import print_log
from mmpose.registry import DATASETS

from mmregda.datasets.annotation_files import expecting, load_json
from mmregda.datasets.keypoints import BODY16, metainfo_of
from mmregda.datasets.published import PublishedDataset, finite_array, names_in
from mmregda.errors import InputError

SMPL_TO_BODY16 = [7, 4, 1, 2, 5, 8, 0, 9, 12, 15, 20, 18, 13, 14, 19, 21]
"""list[int]: The SMPL joint behind each of the 16 keypoints.

SURREAL's renderings mirror SMPL's body, so what SMPL calls left is on the right
side of the person in the image. The shoulders are SMPL's collar joints.
"""

_FOLDERS = ('train', 'val', 'test')
_PUBLISHED_RUNS = ['run0', 'run1', 'run2']


@DATASETS.register_module()
class SURREALDataset(PublishedDataset):
    """`SURREAL`_ (Varol et al., CVPR 2017) in the crops made for RegDA.

    The images are crops already, so a sample's box is its whole image and is
    set when the image is read (see
    :class:`~mmregda.datasets.transforms.WholeImageBox`). Every keypoint is
    labelled, hidden by the body itself or not (``keypoints_visible`` 1).

    The split is RegDA's. Each folder's samples, run by run, are shuffled with
    seed 42; of ``test/`` the first min(20 %, 3200) are split ``'test'``, of
    ``train/`` all but as many are ``'train'``. ``'val'`` is all of ``val/``,
    ``'all'`` is all of the three.

    Args:
        data_root (str): ``surreal_processed``, or the folder that holds it.
        split (str): ``'train'``, ``'val'``, ``'test'`` or ``'all'``.
        **kwargs: As in :class:`PublishedDataset`. With ``labeled=False`` no
            keypoints are read, and the files need not have any.

    .. _SURREAL: https://www.di.ens.fr/willow/research/surreal/data/
    """

    METAINFO = metainfo_of(BODY16, 'surreal')
    FOLDER = 'surreal_processed'
    TREE = """\
    surreal_processed/
        train/
            run0.json run1.json run2.json
            run0/ run1/ run2/
        val/ ...
        test/ ..."""
    SOURCE = (
        'https://www.di.ens.fr/willow/research/surreal/data/ (the crops: see the '
        'keypoint detection examples of '
        'https://github.com/thuml/Transfer-Learning-Library)'
    )
    SPLITS = ('train', 'val', 'test', 'all')

    @classmethod
    def is_root(cls, path: str) -> bool:
        return any(_runs(path, folder) for folder in _FOLDERS)

    def load_samples(self, root: str) -> Iterable[dict]:
        folders = _FOLDERS if self.split == 'all' else (self.split,)
        for folder in folders:
            runs = _runs(root, folder)
            if not runs:
                raise InputError(
                    f'"{os.path.join(root, folder)}" has no annotation: expected '
                    'run0.json run1.json run2.json and the folders of their images'
                )
            if runs != _PUBLISHED_RUNS:
                print_log(
                    f'"{os.path.join(root, folder)}" has {", ".join(runs)}, published '
                    f'are {", ".join(_PUBLISHED_RUNS)}: its splits are others, too',
                    logger='current',
                    level=logging.WARNING,
                )
            samples = [
                sample
                for run in runs
                for sample in _samples_of(root, folder, run, self.labeled)
            ]
            if self.split in ('train', 'test'):
                random.Random(42).shuffle(samples)
                num_test = min(int(0.2 * len(samples)), 3200)
                is_train = self.split == 'train'
                samples = samples[num_test:] if is_train else samples[:num_test]
            yield from samples


def _runs(root: str, folder: str) -> List[str]:
    """Names of a folder's runs, ``run0`` first.

    Images without annotation are a run too: leaving it out would change the
    split.
    """
    names = names_in(os.path.join(root, folder))
    numbers = [re.fullmatch(r'run(\d+)(\.json)?', name) for name in names]
    return [f'run{number}' for number in sorted({int(m[1]) for m in numbers if m})]


def _samples_of(root: str, folder: str, run: str, labeled: bool) -> List[dict]:
    path = os.path.join(root, folder, f'{run}.json')
    expected = 'a list of entries with "name" and "keypoint2d" (24 numbers x 2)'
    with expecting(path, expected):
        samples = []
        for entry in load_json(path):
            name = os.fspath(entry['name'])
            sample = dict(img_path=os.path.join(folder, run, name))
            if labeled:
                joints = finite_array(entry['keypoint2d'], (24, 2), f'"{name}" has')
                sample.update(
                    keypoints=joints[None, SMPL_TO_BODY16].astype(np.float32),
                    keypoints_visible=np.ones((1, 16), dtype=np.float32),
                )
            samples.append(sample)
        return samples
