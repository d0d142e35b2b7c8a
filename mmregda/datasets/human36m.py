"""Human3.6M, in the annotation files made for 3DMPPE."""

from __future__ import annotations

import os
import random
from typing import Iterable, List, Tuple

import numpy as np
from mmpose.registry import DATASETS

from mmregda.datasets.annotation_files import expecting, load_json
from mmregda.datasets.keypoints import BODY16, metainfo_of
from mmregda.datasets.published import PublishedDataset, finite_array, projected

# The joint behind each of the 16 keypoints; the thorax is put between the
# shoulders.
_R_SHOULDER, _L_SHOULDER, _NECK, _THORAX = 14, 11, 8, 7
_TO_BODY16 = [3, 2, 1, 4, 5, 6, 0, _NECK, _NECK, 10, 16, 15, 14, 11, 12, 13]
# An annotated box is 1.2 times the joints' extent.
_CROP_OF_BOX = 1.5 / 1.2


@DATASETS.register_module()
class Human36MDataset(PublishedDataset):
    """`Human3.6M`_ (Ionescu et al., TPAMI 2014).

    Reads the frames and the annotation files of 3DMPPE (Moon et al., ICCV
    2019): for each subject the images and boxes (``_data.json``), the cameras
    (``_camera.json``: ``R``, ``t`` in mm, ``f``, ``c``) and the joints in the
    world (``_joint_3d.json``: 17 x 3 in mm). Every fifth image is a sample.

    A keypoint is f (x / z) + c of R X + t. The thorax is the middle of the
    shoulders, which the 17 joints lack. Each keypoint is labelled, hidden or not
    (``keypoints_visible`` 1).

    The box is a square of 1.5 times the body, about the centre of the annotated
    box: 1.25 times its longer side, because annotated boxes are 1.2 times the
    joints' extent. (The reference takes the extent of the keypoints themselves.
    Here no keypoint decides what is seen of a target.)

    Subjects 1, 5, 6, 7 and 8 are ``'train'``; of 9 and 11, 3,200 samples are
    drawn with seed 42, with replacement as in the reference, and are ``'test'``
    (all, where there are no more).

    Args:
        data_root (str): The folder ``Human36M``, or the one that holds it.
        split (str): ``'train'``, ``'test'``, or ``'all'``: every fifth image of
            all subjects.
        **kwargs: As in :class:`PublishedDataset`. With ``labeled=False`` only
            ``_data.json`` is read.

    .. _Human3.6M: http://vision.imar.ro/human3.6m/
    """

    METAINFO = metainfo_of(BODY16, 'human36m')
    FOLDER = 'Human36M'
    MARKS = ('annotations/Human36M_subject*_data.json',)
    TREE = """\
    Human36M/
        annotations/
            Human36M_subject1_data.json
            Human36M_subject1_camera.json
            Human36M_subject1_joint_3d.json
            ... of subjects 1, 5, 6, 7, 8, 9, 11
        images/s_01_act_02_subact_01_ca_01/ ..."""
    SOURCE = (
        'http://vision.imar.ro/human3.6m/ (frames and annotation files as in '
        'https://github.com/mks0601/3DMPPE_ROOTNET_RELEASE)'
    )
    SUBJECTS = dict(train=(1, 5, 6, 7, 8), test=(9, 11), all=(1, 5, 6, 7, 8, 9, 11))

    def load_samples(self, root: str) -> Iterable[dict]:
        samples = [
            sample
            for subject in self.SUBJECTS[self.split]
            for sample in _samples_of(root, subject, self.labeled)
        ]
        if self.split == 'test' and len(samples) > 3200:
            samples = random.Random(42).choices(samples, k=3200)
        return samples


def _samples_of(root: str, subject: int, labeled: bool) -> List[dict]:
    stem = os.path.join(root, 'annotations', f'Human36M_subject{subject}')
    images = _images_of(f'{stem}_data.json')
    samples = [
        dict(img_path=os.path.join('images', image['file_name']), bbox=box)
        for image, box in images
    ]
    if labeled:
        keypoints = _keypoints_of(stem, [image for image, _ in images])
        for sample, one in zip(samples, keypoints):
            sample['keypoints'] = one
    return samples


def _images_of(path: str) -> List[Tuple[dict, np.ndarray]]:
    """Every fifth image's entry and its box, (4,) x1, y1, x2, y2 in pixels."""
    content = load_json(path)
    expected = (
        '"images" with "id", "file_name", "action_idx", "subaction_idx", '
        '"frame_idx" and "cam_idx", and "annotations" with "image_id" and "bbox" '
        '(x, y, width, height in pixels)'
    )
    with expecting(path, expected):
        boxes = {entry['image_id']: entry['bbox'] for entry in content['annotations']}
        images = []
        for entry in content['images'][::5]:
            image = dict(
                file_name=os.fspath(entry['file_name']),
                pose=tuple(
                    str(int(entry[key]))
                    for key in ('action_idx', 'subaction_idx', 'frame_idx')
                ),
                camera=str(int(entry['cam_idx'])),
            )
            name = f'the box of "{image["file_name"]}" is'
            x, y, width, height = finite_array(boxes[entry['id']], (4,), name)
            if min(width, height) <= 0:
                raise ValueError(f'{name} empty')
            center = np.array([x + width / 2, y + height / 2])
            half = _CROP_OF_BOX * max(width, height) / 2
            box = finite_array([*(center - half), *(center + half)], (4,), name)
            images.append((image, box))
    return images


def _keypoints_of(stem: str, images: List[dict]) -> List[np.ndarray]:
    """The keypoints of each image, (16, 2) in pixels."""
    path = f'{stem}_camera.json'
    content = load_json(path)
    with expecting(path, 'cameras with R (3 x 3), t (3), f (2) and c (2)'):
        cameras = {
            number: [
                finite_array(content[number][key], shape, f'{key} of {number} is')
                for key, shape in dict(R=(3, 3), t=(3,), f=(2,), c=(2,)).items()
            ]
            for number in sorted({image['camera'] for image in images})
        }
        for number, (rotation, *_) in cameras.items():
            if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
                raise ValueError(f'R of {number} is no rotation')
    path = f'{stem}_joint_3d.json'
    content = load_json(path)
    expected = (
        'joints (17 x 3 in mm) by action, subaction and frame, which a camera sees '
        'at R X + t'
    )
    with expecting(path, expected):
        keypoints = []
        for image in images:
            action, subaction, frame = image['pose']
            name = f'the pose of "{image["file_name"]}"'
            joints = content[action][subaction][frame]
            body = _body16(finite_array(joints, (17, 3), f'{name} is'))
            rotation, translation, focal, center = cameras[image['camera']]
            intrinsic = np.diag([*focal, 1])
            intrinsic[:2, 2] = center
            keypoints.append(
                projected(body @ rotation.T + translation, intrinsic, name)
            )
    return keypoints


def _body16(joints: np.ndarray) -> np.ndarray:
    """The 16 keypoints, (16, 3), of 17 joints, (17, 3)."""
    body = joints[_TO_BODY16]
    body[_THORAX] = (joints[_R_SHOULDER] + joints[_L_SHOULDER]) / 2
    return body
