"""FreiHAND, as published."""

from __future__ import annotations

import os
from typing import Iterable, List, Sequence, Union

import numpy as np
from mmpose.registry import DATASETS

from mmregda.datasets.annotation_files import expecting, load_json
from mmregda.datasets.keypoints import HAND21, metainfo_of
from mmregda.datasets.published import (
    PublishedDataset,
    finite_array,
    hand_box,
    projected,
    shuffled_parts,
)

_VERSIONS = ('gs', 'hom', 'sample', 'auto')
_NUM_POSES = 32560
_IMAGE_SIDE = 224


@DATASETS.register_module()
class FreiHANDDataset(PublishedDataset):
    """`FreiHAND`_ (Zimmermann et al., ICCV 2019), its training set.

    Reads ``FreiHAND_pub_v2/`` as it is unpacked. Keypoints are the projections
    K xyz, in the published order, which is ours; each is labelled, hidden or
    not (``keypoints_visible`` 1). The box is that of
    :func:`~mmregda.datasets.published.hand_box`. All hands are right hands
    (``hand_type``), so that
    :class:`~mmregda.datasets.transforms.MirrorRightHand` gives them RHD's
    handedness.

    Each pose was published in four versions, which differ in the background:
    green screen (``'gs'``), and three ways of filling it in (``'hom'``,
    ``'sample'``, ``'auto'``).

    Labels of the evaluation set do not belong to the published archive, so the
    split is RegDA's for a single version: the poses shuffled with seed 42, the
    first min(20 %, 3200) are ``'test'``, the others ``'train'``. Of several
    versions a pose's images are all on one side of it. (The reference shuffles
    images, so that most of its test poses are also in training.)

    Args:
        data_root (str): ``FreiHAND_pub_v2``, or the folder that holds it.
        split (str): ``'train'``, ``'test'`` or ``'all'``.
        version (str | Sequence[str]): ``'gs'``, ``'hom'``, ``'sample'``,
            ``'auto'``, several of these, or ``'all'``.
        **kwargs: As in :class:`PublishedDataset`. With ``labeled=False`` the
            keypoints are read for the sake of the boxes, then dropped.

    .. _FreiHAND: https://lmb.informatik.uni-freiburg.de/projects/freihand/
    """

    METAINFO = metainfo_of(HAND21, 'freihand')
    FOLDER = 'FreiHAND_pub_v2'
    MARKS = ('training_xyz.json',)
    TREE = """\
    FreiHAND_pub_v2/
        training_K.json
        training_xyz.json
        training/rgb/00000000.jpg ... 00130239.jpg"""
    SOURCE = (
        'https://lmb.informatik.uni-freiburg.de/resources/datasets/FreihandDataset.'
        'en.html'
    )

    def __init__(
        self,
        data_root: str,
        version: Union[str, Sequence[str]] = 'all',
        **kwargs,
    ) -> None:
        if version == 'all':
            version = _VERSIONS
        self.versions = [version] if isinstance(version, str) else list(version)
        for each in self.versions or ['']:
            self.require_known('version', each, _VERSIONS)
        super().__init__(data_root=data_root, **kwargs)

    def load_samples(self, root: str) -> Iterable[dict]:
        keypoints = _read_keypoints(root)
        boxes = [hand_box(one, _IMAGE_SIDE) for one in keypoints]
        poses = range(len(keypoints))
        if self.split != 'all':
            poses = shuffled_parts(poses)[self.split]
        for version in self.versions:
            offset = _NUM_POSES * _VERSIONS.index(version)
            for pose in poses:
                yield dict(
                    img_path=os.path.join(
                        'training', 'rgb', f'{pose + offset:08d}.jpg'
                    ),
                    bbox=boxes[pose],
                    keypoints=keypoints[pose],
                    hand_type='right',
                )


def _read_keypoints(root: str) -> List[np.ndarray]:
    """The keypoints of each pose, (21, 2) in pixels."""
    arrays = {}
    for name, shape in dict(K=(3, 3), xyz=(21, 3)).items():
        path = os.path.join(root, f'training_{name}.json')
        numbers = ' x '.join(map(str, shape))
        with expecting(path, f'a list of {_NUM_POSES} entries of {numbers} numbers'):
            arrays[name] = [
                finite_array(values, shape, f'entry {index} is')
                for index, values in enumerate(load_json(path))
            ]
    intrinsics, points = arrays['K'], arrays['xyz']
    with expecting(path, f'an entry for each of training_K.json, {_NUM_POSES} at most'):
        if not len(intrinsics) == len(points) <= _NUM_POSES:
            raise ValueError(f'{len(points)} entries, and {len(intrinsics)} there')
        return [
            projected(one, intrinsic, f'entry {index}')
            for index, (one, intrinsic) in enumerate(zip(points, intrinsics))
        ]
