"""Leeds Sports Pose, as published."""

from __future__ import annotations

import os
import re
from typing import Iterable, Tuple

import numpy as np
from mmpose.registry import DATASETS

from mmregda.datasets.annotation_files import expecting, load_mat
from mmregda.datasets.keypoints import BODY16, metainfo_of
from mmregda.datasets.published import PublishedDataset, finite_array, names_in

# The place of each of the 14 joints of LSP and LSPET among the 16 keypoints.
_PLACES = [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 8, 9]


@DATASETS.register_module()
class LSPDataset(PublishedDataset):
    """`Leeds Sports Pose`_ (Johnson and Everingham, BMVC 2010).

    The box is the whole image, set when the image is read (see
    :class:`~mmregda.datasets.transforms.WholeImageBox`); cropping a box that is
    not square widens it about its centre, so the image is resized to fit the
    network's square input and padded with black.

    ``keypoints_visible`` is 0 for the pelvis and the thorax, which LSP does not
    label (their coordinates are 0), and for a joint whose third number in
    ``joints.mat`` is 1, which says that it is hidden. Keypoints of visibility 0
    count neither in a loss nor in PCK.

    There is no split: as in RegDA, all images are the target, in training
    (without labels) and in testing.

    Args:
        data_root (str): The folder ``lsp``, or the one that holds it.
        split (str): ``'train'``, ``'test'`` or ``'all'``: the same images.
        **kwargs: As in :class:`PublishedDataset`. With ``labeled=False`` the
            samples are the images in the folder, and ``joints.mat`` is not read.

    .. _Leeds Sports Pose: https://github.com/axelcarlier/lsp
    """

    METAINFO = metainfo_of(BODY16, 'lsp')
    FOLDER = 'lsp'
    MARKS = ('joints.mat', 'images/im0001.jpg')
    TREE = """\
    lsp/
        joints.mat
        images/im0001.jpg ... im2000.jpg"""
    SOURCE = (
        'http://sam.johnson.io/research/lsp.html (also in the keypoint detection '
        'examples of https://github.com/thuml/Transfer-Learning-Library)'
    )

    def load_samples(self, root: str) -> Iterable[dict]:
        if not self.labeled:
            names = names_in(os.path.join(root, 'images'))
            for name in sorted(n for n in names if re.fullmatch(r'im\d{4}\.jpg', n)):
                yield dict(img_path=os.path.join('images', name))
            return
        for index, joints in enumerate(read_joints(root, (3, 14), 'hidden')):
            keypoints, visible = body16_of(joints[:, :2], 1 - joints[:, 2])
            yield dict(
                img_path=os.path.join('images', f'im{index + 1:04d}.jpg'),
                keypoints=keypoints,
                keypoints_visible=visible,
            )


def body16_of(points: np.ndarray, visible: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """LSP's joints as the 16 keypoints of a body.

    Args:
        points (np.ndarray): (14, 2) in pixels.
        visible (np.ndarray): (14,).

    Returns:
        tuple[np.ndarray, np.ndarray]: (16, 2) and (16,), zeros for the pelvis and the
        thorax, which are not labelled.
    """
    keypoints, visibility = np.zeros((16, 2)), np.zeros(16)
    keypoints[_PLACES], visibility[_PLACES] = points, visible
    return keypoints, visibility


def read_joints(root: str, shape: Tuple[int, int], third: str) -> np.ndarray:
    """The joints of ``joints.mat``.

    Args:
        root (str): The folder that holds it.
        shape (tuple[int, int]): As published, before the number of images: ``(3, 14)``
            in LSP, ``(14, 3)`` in LSPET.
        third (str): What the third number of a joint says, for messages.

    Returns:
        np.ndarray: (N, 14, 3), x and y in pixels, and 0 or 1.

    Raises:
        InputError: If the file is missing or damaged, or holds something else.
    """
    path = os.path.join(root, 'joints.mat')
    joints = load_mat(path, 'joints')
    with expecting(
        path,
        f'"joints" of shape ({shape[0]}, {shape[1]}, N): x, y and {third} (0 or 1)',
    ):
        joints = finite_array(joints, (*shape, joints.shape[-1]))
        joints = np.moveaxis(joints, (shape.index(14), shape.index(3), 2), (1, 2, 0))
        if not np.isin(joints[..., 2], (0, 1)).all():
            raise ValueError('the third number of a joint is neither 0 nor 1')
    return joints
