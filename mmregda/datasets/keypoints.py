"""Keypoint definitions, which are MMPose's, and groups of keypoints.

One definition serves every dataset of the same body part, in the order that
the adaptation papers use (root to tip).
"""

from __future__ import annotations

import copy
import os
import runpy
from pathlib import Path
from typing import Any, Dict, Union

import mmpose
import numpy as np
from mmengine.config import Config

from mmregda.errors import InputError, close_matches


def _files() -> Dict[str, str]:
    """The keypoint definitions that come with MMPose, by their files' names."""
    root = Path(mmpose.__file__).parent
    # Installed, or imported from a checkout.
    folders = [
        parent / 'configs/_base_/datasets' for parent in (root / '.mim', root.parent)
    ]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise InputError(
            f'MMPose has no keypoint definitions in "{folders[0]}". Install it again.'
        )
    return {path.stem: str(path) for path in folder.glob('*.py')}


def _definition(name: str, dataset_name: str) -> dict:
    """One of MMPose's definitions under another name."""
    return metainfo_of(runpy.run_path(_files()[name])['dataset_info'], dataset_name)


def metainfo_of(definition: dict, dataset_name: str) -> dict:
    """A keypoint definition under the name of one dataset."""
    return dict(definition, dataset_name=dataset_name)


HAND21 = _definition('coco_wholebody_hand', 'hand21')
"""dict: The 21-keypoint hand as MMPose's metainfo.

0 wrist; 1-4 thumb, 5-8 forefinger, 9-12 middle, 13-16 ring, 17-20 little finger,
each from its root (1) to its tip (4).
"""

BODY16 = _definition('mpii', 'body16')
"""dict: The 16-keypoint body as MMPose's metainfo, which is MPII's.

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
    files = _files()
    if 'coco' in files:
        files['coco17'] = files['coco']
    if name not in files:
        known = close_matches(name, [*own, *files], listed=100)
        raise InputError(f'metainfo is "{name}", which is not known.{known}')
    return dict(from_file=files[name])


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


def visibility_of(keypoints_visible: Any) -> np.ndarray:
    """Visibilities of one instance, (K,), of its ``keypoints_visible``.

    Args:
        keypoints_visible (np.ndarray): (1, K), or (1, K, 2) of transforms that keep a
            weight beside, such as ``KeypointConverter``.
    """
    flags = np.asarray(keypoints_visible)[0]
    return flags.reshape(len(flags), -1)[:, 0]
