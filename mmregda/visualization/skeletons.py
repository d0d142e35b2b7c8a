"""Keypoints and their skeleton on an image."""

from __future__ import annotations

from typing import Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection


def draw_image(axes: Axes, image: np.ndarray) -> None:
    """Show an image, (H, W, 3) uint8 RGB, and nothing beyond its border."""
    axes.imshow(image)
    height, width = image.shape[:2]
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def draw_skeleton(
    axes: Axes,
    keypoints: np.ndarray,
    metainfo: dict,
    visible: Optional[np.ndarray] = None,
) -> None:
    """Draw keypoints and the links between them.

    Args:
        axes (Axes): Where the image is.
        keypoints (np.ndarray): (K, 2) in pixels of the image.
        metainfo (dict): The dataset's parsed metainfo. If it describes another
            number of keypoints, or none, these are drawn without links.
        visible (np.ndarray, optional): (K,) bool, the keypoints to draw; a link
            is drawn if both its ends are. Defaults to all.
    """
    if visible is None:
        visible = np.ones(len(keypoints), dtype=bool)
    described = metainfo.get('num_keypoints', len(keypoints)) == len(keypoints)
    if not described or 'skeleton_links' not in metainfo:
        axes.scatter(*keypoints[visible].T, c='white', edgecolors='black', s=9)
        return
    links = np.asarray(metainfo['skeleton_links'], dtype=int).reshape(-1, 2)
    colors = np.asarray(metainfo['skeleton_link_colors']).reshape(-1, 3) / 255
    drawn = visible[links].all(axis=1)
    lines = LineCollection(
        keypoints[links[drawn]], colors=colors[drawn], linewidths=1.8
    )
    axes.add_collection(lines)
    colors = np.asarray(metainfo['keypoint_colors']) / 255
    axes.scatter(*keypoints[visible].T, c=colors[visible], s=7, zorder=3)
