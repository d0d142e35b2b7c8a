"""Keypoint definitions: names, skeletons, colours and groups.

One definition serves every dataset of the same body part, in the order that
the adaptation papers use (root to tip).
"""

from __future__ import annotations

import copy
import os
from typing import Union

import mmpose
from mmengine.config import Config

from mmregda.errors import InputError, close_matches

_FINGERS = {
    'thumb': [255, 128, 0],
    'index': [255, 153, 255],
    'middle': [102, 178, 255],
    'ring': [255, 51, 51],
    'little': [0, 255, 0],
}


def _hand_metainfo() -> dict:
    keypoints = {0: dict(name='wrist', id=0, color=[255, 255, 255], type='', swap='')}
    skeleton = {}
    for finger, color in _FINGERS.items():
        parent = 'wrist'
        for joint in range(1, 5):
            name = f'{finger}{joint}'
            keypoint_id = len(keypoints)
            keypoints[keypoint_id] = dict(
                name=name, id=keypoint_id, color=color, type='', swap=''
            )
            link_id = len(skeleton)
            skeleton[link_id] = dict(link=(parent, name), id=link_id, color=color)
            parent = name
    return dict(
        dataset_name='hand21',
        keypoint_info=keypoints,
        skeleton_info=skeleton,
        joint_weights=[1.0] * 21,
        sigmas=[0.025] * 21,
    )


HAND21 = _hand_metainfo()
"""dict: The 21-keypoint hand as MMPose's metainfo.

0 wrist; 1-4 thumb, 5-8 index, 9-12 middle, 13-16 ring, 17-20 little finger,
each from its root (1) to its tip (4).
"""

_LEFT, _MIDDLE, _RIGHT = [0, 255, 0], [51, 153, 255], [255, 128, 0]
_BODY_PARENTS = {
    'right_ankle': 'right_knee',
    'right_knee': 'right_hip',
    'right_hip': 'pelvis',
    'left_hip': 'pelvis',
    'left_knee': 'left_hip',
    'left_ankle': 'left_knee',
    'pelvis': 'thorax',
    'thorax': 'neck',
    'neck': '',
    'head': 'neck',
    'right_wrist': 'right_elbow',
    'right_elbow': 'right_shoulder',
    'right_shoulder': 'neck',
    'left_shoulder': 'neck',
    'left_elbow': 'left_shoulder',
    'left_wrist': 'left_elbow',
}
_LOWER_BODY = ('ankle', 'knee', 'hip', 'pelvis')


def _body_metainfo() -> dict:
    keypoints, skeleton = {}, {}
    for keypoint_id, (name, parent) in enumerate(_BODY_PARENTS.items()):
        side, _, part = name.rpartition('_')
        color = dict(left=_LEFT, right=_RIGHT).get(side, _MIDDLE)
        other_side = dict(left='right', right='left').get(side)
        keypoints[keypoint_id] = dict(
            name=name,
            id=keypoint_id,
            color=color,
            type='lower' if part in _LOWER_BODY else 'upper',
            swap=f'{other_side}_{part}' if side else '',
        )
        if parent:
            link_id = len(skeleton)
            skeleton[link_id] = dict(link=(parent, name), id=link_id, color=color)
    return dict(
        dataset_name='body16',
        keypoint_info=keypoints,
        skeleton_info=skeleton,
        joint_weights=[1.0] * 16,
        # COCO's constants, as MMPose has them for MPII.
        sigmas=[
            *(0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026),
            *(0.026, 0.026, 0.062, 0.072, 0.179, 0.179, 0.072, 0.062),
        ],
    )


BODY16 = _body_metainfo()
"""dict: The 16-keypoint body as MMPose's metainfo, in the order of MPII.

0-2 right ankle, knee, hip; 3-5 left hip, knee, ankle; 6 pelvis, 7 thorax,
8 neck, 9 head; 10-12 right wrist, elbow, shoulder; 13-15 left shoulder, elbow,
wrist. Sides are the person's own. A mirrored body swaps them (flip pairs).
"""

KEYPOINT_GROUPS = dict(
    hand21=dict(
        MCP=[1, 5, 9, 13, 17],
        PIP=[2, 6, 10, 14, 18],
        DIP=[3, 7, 11, 15, 19],
        Fingertip=[4, 8, 12, 16, 20],
        Avg=list(range(21)),
    ),
    # Pelvis, thorax, neck and head are in no group.
    body16=dict(
        Shoulder=[12, 13],
        Elbow=[11, 14],
        Wrist=[10, 15],
        Hip=[2, 3],
        Knee=[1, 4],
        Ankle=[0, 5],
        Avg=[0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15],
    ),
)
"""dict: The groups of keypoints by which the papers report PCK.

Keys are the ``dataset_name`` of a keypoint definition or of a dataset.
"""


def metainfo_of(definition: dict, dataset_name: str) -> dict:
    """A keypoint definition under the name of one dataset."""
    return dict(definition, dataset_name=dataset_name)


def metainfo_named(name: str) -> dict:
    """A metainfo that MMPose parses, by its name.

    Args:
        name (str): ``'hand21'``, ``'body16'``, ``'coco17'``, or the name of any
            dataset whose keypoints come with MMPose, such as ``'coco_wholebody'``,
            ``'freihand2d'`` or ``'mpii'``.

    Raises:
        InputError: If there is none of that name.
    """
    own = dict(hand21=HAND21, body16=BODY16)
    if name in own:
        return copy.deepcopy(own[name])
    folder = os.path.dirname(mmpose.__file__)
    folder = os.path.join(folder, '.mim', 'configs', '_base_', 'datasets')
    files = os.listdir(folder) if os.path.isdir(folder) else []
    files = {file[:-3]: file for file in files if file.endswith('.py')}
    if 'coco' in files:
        files['coco17'] = files['coco']
    if name not in files:
        known = close_matches(name, [*own, *files], listed=100)
        raise InputError(f'metainfo is "{name}", which is not known.{known}')
    return dict(from_file=os.path.join(folder, files[name]))


def definition_of(metainfo: Union[str, dict]) -> dict:
    """A keypoint definition in full.

    Args:
        metainfo (str | dict): A name, as in :func:`metainfo_named`, or any metainfo of
            MMPose, such as ``dict(from_file='configs/_base_/datasets/coco.py')``.

    Returns:
        dict: MMPose's metainfo, not yet parsed.

    Raises:
        InputError: If there is no definition of this name or file.
    """
    if isinstance(metainfo, str):
        metainfo = metainfo_named(metainfo)
    path = metainfo.get('from_file')
    if path and not os.path.isfile(path):
        # As MMPose does, which finds what its wheel brings by the file's name.
        path = metainfo_named(os.path.splitext(os.path.basename(path))[0])['from_file']
    if path:
        metainfo = Config.fromfile(path).dataset_info.to_dict()
    # MMPose takes keypoints in their order, which in a config that MMEngine has
    # written is that of their digits: 1, 10, 11.
    info = metainfo.get('keypoint_info') or {}
    info = dict(sorted(info.items(), key=lambda item: item[1].get('id', item[0])))
    return {**metainfo, 'keypoint_info': info}
