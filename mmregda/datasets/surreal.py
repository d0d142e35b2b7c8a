"""SURREAL, as preprocessed for RegDA."""

from __future__ import annotations

import os
from typing import Iterable, List

from mmpose.registry import DATASETS

from mmregda.datasets.annotation_files import expecting, load_json
from mmregda.datasets.keypoints import BODY16, metainfo_of
from mmregda.datasets.published import PublishedDataset, finite_array, shuffled_parts

SMPL_TO_BODY16 = [7, 4, 1, 2, 5, 8, 0, 9, 12, 15, 20, 18, 13, 14, 19, 21]
"""list[int]: The SMPL joint behind each of the 16 keypoints.

SURREAL's renderings mirror SMPL's body, so what SMPL calls left is on the right
side of the person in the image. The shoulders are SMPL's collar joints.
"""

_RUNS = ('run0', 'run1', 'run2')


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
    MARKS = ('*/run*.json',)
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

    def load_samples(self, root: str) -> Iterable[dict]:
        folders = self.SPLITS[:3] if self.split == 'all' else (self.split,)
        for folder in folders:
            samples = [
                sample
                for run in _RUNS
                for sample in _samples_of(root, folder, run, self.labeled)
            ]
            if self.split in ('train', 'test'):
                samples = shuffled_parts(samples)[self.split]
            yield from samples


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
                sample['keypoints'] = joints[SMPL_TO_BODY16]
            samples.append(sample)
        return samples
