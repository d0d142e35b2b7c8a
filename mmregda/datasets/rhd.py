"""Rendered Handpose Dataset, as published."""

from __future__ import annotations

import operator
import os
from typing import Dict, Iterable

import numpy as np
from mmpose.registry import DATASETS

from mmregda.datasets.annotation_files import expecting
from mmregda.datasets.keypoints import HAND21, metainfo_of
from mmregda.datasets.numpy_pickle import load_array_pickle
from mmregda.datasets.published import PublishedDataset, finite_array, hand_box

# A published hand runs from the wrist through each finger from tip to root;
# ours runs from root to tip.
_ROOT_TO_TIP = np.array([0] + [tip - i for tip in (4, 8, 12, 16, 20) for i in range(4)])
_IMAGE_SIDE = 320
_MOST_IMAGES = 10**5  # Their names have five digits.


@DATASETS.register_module()
class RHDDataset(PublishedDataset):
    """`Rendered Handpose Dataset`_ (Zimmermann and Brox, ICCV 2017).

    Reads ``RHD_published_v2/`` as it is unpacked. Each annotated hand is a
    sample if

    - its box (:func:`~mmregda.datasets.published.hand_box`) is larger than 64
      pixels (x2 - x1 > 64),
    - more than 16 of its 21 keypoints are visible,
    - the bounding box of the other hand's keypoints covers less than 0.3 of it.

    Samples carry ``hand_type`` (``'left'`` or ``'right'``), by which
    :class:`~mmregda.datasets.transforms.MirrorRightHand` gives all of them one
    handedness. Split ``'train'`` is the folder ``training``, ``'test'`` is
    ``evaluation``. To choose settings without the test, UniFrame (Kim et al., ECCV
    2022) splits the training samples: every fifth, from the first, is ``'val'``,
    the others are ``'train-val'``.

    Which hands are samples, their boxes and their handedness follow from the
    annotation; this is all that a target takes from it (with
    ``labeled=False``, or inside ``UnlabeledDataset``).

    Args:
        data_root (str): ``RHD_published_v2``, or the folder that holds it.
        split (str): ``'train'``, ``'test'``, ``'all'``, ``'train-val'`` or
            ``'val'``.
        **kwargs: As in :class:`PublishedDataset`.

    .. _Rendered Handpose Dataset: https://lmb.informatik.uni-freiburg.de/
        resources/datasets/RenderedHandposeDataset.en.html
    """

    METAINFO = metainfo_of(HAND21, 'rhd')
    FOLDER = 'RHD_published_v2'
    TREE = """\
    RHD_published_v2/
        training/
            anno_training.pickle
            color/00000.png ...
        evaluation/
            anno_evaluation.pickle
            color/00000.png ..."""
    SOURCE = (
        'https://lmb.informatik.uni-freiburg.de/resources/datasets/'
        'RenderedHandposeDataset.en.html'
    )

    SPLITS = (*PublishedDataset.SPLITS, 'train-val', 'val')

    MARKS = ('*/anno_*.pickle',)

    def load_samples(self, root: str) -> Iterable[dict]:
        folders = dict(all=['training', 'evaluation'], test=['evaluation'])
        samples = [
            sample
            for folder in folders.get(self.split, ['training'])
            for sample in _samples_of(root, folder)
        ]
        if self.split == 'val':
            return samples[::5]
        if self.split == 'train-val':
            return [sample for i, sample in enumerate(samples) if i % 5]
        return samples


def _samples_of(root: str, folder: str) -> Iterable[dict]:
    path = os.path.join(root, folder, f'anno_{folder}.pickle')
    for index, image in _read_annotation(path).items():
        # The file's precision, on which the rounding of a box can turn.
        hands = image.reshape(2, 21, 3)[:, _ROOT_TO_TIP].astype(np.float32)
        boxes = [hand_box(hand[:, :2], _IMAGE_SIDE) for hand in hands]
        for side, hand_type in enumerate(('left', 'right')):
            hand, box, other = hands[side], boxes[side], hands[1 - side]
            if (
                box[2] - box[0] > 64
                and hand[:, 2].sum() > 16
                and _covered_fraction(box, other[:, :2]) < 0.3
            ):
                yield dict(
                    img_path=os.path.join(folder, 'color', f'{index:05d}.png'),
                    bbox=box,
                    keypoints=hand[:, :2],
                    keypoints_visible=hand[:, 2],
                    hand_type=hand_type,
                )


def _read_annotation(path: str) -> Dict[int, np.ndarray]:
    """The ``uv_vis`` arrays, (42, 3), of a published pickle, by image."""
    uv_vis = {}
    with expecting(path, 'a dict of image number to dict(uv_vis=(42, 3), ...)'):
        for index, image in load_array_pickle(path).items():
            number, values = operator.index(index), image['uv_vis']
            if not 0 <= number < _MOST_IMAGES:
                raise ValueError('no image has the number of an entry')
            # A list in a pickle may hold another many times over.
            if not isinstance(values, np.ndarray):
                raise TypeError(f'entry {number} has a {type(values).__name__}')
            uv_vis[number] = finite_array(values, (42, 3), f'entry {number} has')
    return uv_vis


def _covered_fraction(box: np.ndarray, other: np.ndarray) -> float:
    """Which part of a box the bounding box of other keypoints covers.

    As in RegDA's code, corners are pixels: from a to b there are b - a + 1.
    """
    low = np.maximum(box[:2], other.min(axis=0))
    high = np.minimum(box[2:], other.max(axis=0))
    width, height = np.maximum(high - low + 1, 0)
    return width * height / ((box[2] - box[0] + 1) * (box[3] - box[1] + 1))
