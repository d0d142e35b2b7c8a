"""Hand-3D-Studio, as published in crops for RegDA."""

from __future__ import annotations

import os
from typing import Iterable, List

from mmpose.registry import DATASETS

from mmregda.datasets.annotation_files import expecting, load_json
from mmregda.datasets.keypoints import HAND21, metainfo_of
from mmregda.datasets.published import PublishedDataset, finite_array, shuffled_parts


@DATASETS.register_module()
class H3DDataset(PublishedDataset):
    """`Hand-3D-Studio`_ (Zhao et al., 2020) in the crops made for RegDA.

    Reads ``H3D_crop/`` as it is unpacked. The images are square crops already,
    so a sample's box is its whole image and is set when the image is read (see
    :class:`~mmregda.datasets.transforms.WholeImageBox`): it depends on no label.
    Hands that hold an object are left out, as in the paper.

    The split is RegDA's: the samples shuffled with seed 42, the first n =
    min(20 %, 3200) are ``'test'``, the others ``'train'``. To choose settings
    without the test, UniFrame (Kim et al., ECCV 2022) splits the training samples:
    the first n of them are ``'val'``, the others ``'train-val'``.

    Args:
        data_root (str): ``H3D_crop``, or the folder that holds it.
        split (str): ``'train'``, ``'test'``, ``'all'``, ``'train-val'`` or
            ``'val'``.
        **kwargs: As in :class:`PublishedDataset`.

    .. _Hand-3D-Studio: https://www.yangangwang.com/papers/
        ZHAO-H3S-2020-02.html
    """

    METAINFO = metainfo_of(HAND21, 'h3d')
    FOLDER = 'H3D_crop'
    MARKS = ('annotation.json',)
    TREE = """\
    H3D_crop/
        annotation.json
        part1/ ... part5/"""
    SOURCE = (
        'https://www.yangangwang.com/papers/ZHAO-H3S-2020-02.html (the crops: '
        'see the keypoint detection examples of '
        'https://github.com/thuml/Transfer-Learning-Library)'
    )
    SPLITS = (*PublishedDataset.SPLITS, 'train-val', 'val')

    def load_samples(self, root: str) -> Iterable[dict]:
        path = os.path.join(root, 'annotation.json')
        entries = [e for e in _read_annotation(path) if e['without_object'] == 1]
        for entry in shuffled_parts(entries)[self.split]:
            name = entry['name']
            sample = dict(img_path=name)
            if self.labeled:
                with expecting(path, '"keypoint2d" (21 numbers x 2) in each entry'):
                    points = finite_array(entry['keypoint2d'], (21, 2), f'"{name}" has')
                sample['keypoints'] = points
            yield sample


def _read_annotation(path: str) -> List[dict]:
    expected = 'a list of entries with "name", "keypoint2d", "without_object" (0 or 1)'
    with expecting(path, expected):
        return [
            dict(
                name=os.fspath(entry['name']),
                keypoint2d=entry.get('keypoint2d'),
                without_object=int(entry['without_object']),
            )
            for entry in load_json(path)
        ]
