"""Keypoint definitions: names, skeletons, colours and groups.

One definition serves every dataset of the same body part, in the order that
the adaptation papers use (root to tip).
"""

from __future__ import annotations

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

KEYPOINT_GROUPS = dict(
    hand21=dict(
        MCP=[1, 5, 9, 13, 17],
        PIP=[2, 6, 10, 14, 18],
        DIP=[3, 7, 11, 15, 19],
        Fingertip=[4, 8, 12, 16, 20],
        Avg=list(range(21)),
    ),
)
"""dict: The groups of keypoints by which the papers report PCK.

Keys are the ``dataset_name`` of a keypoint definition or of a dataset.
"""


def metainfo_of(definition: dict, dataset_name: str) -> dict:
    """A keypoint definition under the name of one dataset."""
    return dict(definition, dataset_name=dataset_name)
