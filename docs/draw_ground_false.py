#!/usr/bin/env python
"""Draw P_T and P_F of a label, as how_regda_works.md shows them.

python docs/draw_ground_false.py docs/ground_false.jpg
"""

# ruff: noqa: I001
import argparse

import numpy as np
import torch

from mmregda.codecs import gaussian_heatmaps
from mmregda.datasets import HAND21, metainfo_of
from mmregda.models import GroundFalseKLLoss
from mmregda.models.adaptations import WarmStartGradientScale
from mmregda.models.losses import ground_false
from mmregda.synthetic import PHOTO, scenes
from mmregda.visualization.figures import COLORS, new_figure, save_figure
from mmregda.visualization.skeletons import draw_image, draw_skeleton
from mmpose.datasets.datasets.utils import parse_pose_metainfo  # after mmregda

INDEX_TIP = 8
SIDE = 64  # of a heatmap, in pixels


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', help='the figure to write')
    parser.add_argument('--seed', type=int, default=5, help='of the hand (default: 5)')
    return parser.parse_args()


def warm_start(num_iters: int) -> list:
    """The scale of each of the first iterations."""
    scales, scale = [], WarmStartGradientScale()
    for _ in range(num_iters):
        scales.append(float(scale.scale))
        scale.step()
    return scales


def main() -> None:
    args = parse_args()
    rng = np.random.default_rng(args.seed)
    scene = scenes.sample_h3d(rng, PHOTO)
    image, _ = scenes.picture(rng, scene, PHOTO)
    keypoints = scene.project(scene.keypoints)
    metainfo = parse_pose_metainfo(metainfo_of(HAND21, 'rendered'))

    on_grid = torch.from_numpy(keypoints * SIDE / len(image)).round()
    true = gaussian_heatmaps(on_grid[None], (SIDE, SIDE))
    false = ground_false(true) + GroundFalseKLLoss().epsilon
    figure = new_figure(12, 3.3)
    axes = figure.subplots(1, 4)
    draw_image(axes[0], image)
    draw_skeleton(axes[0], keypoints, metainfo)
    circle = dict(s=90, facecolors='none', edgecolors='white', linewidths=1.6)
    axes[0].scatter(*keypoints[INDEX_TIP], **circle)
    axes[0].set_title('a label y; k is the fingertip in the ring', fontsize=10)
    for place, maps, title in (
        (axes[1], true, '$P_T(y)_k$: where k is'),
        (axes[2], false, '$P_F(y)_k$: where the other keypoints are'),
    ):
        p = maps[0, INDEX_TIP] / maps[0, INDEX_TIP].sum()
        draw_image(place, image // 2)
        extent = (-0.5, len(image) - 0.5, len(image) - 0.5, -0.5)
        place.imshow(p / p.max(), 'inferno', alpha=p / p.max(), extent=extent)
        place.set_title(title, fontsize=10)
    for place in axes[:3]:
        place.set_axis_off()
    axes[3].plot(warm_start(6000), color=COLORS[1])
    axes[3].set_title(r'warm start: the scale $\gamma(i)$', fontsize=10)
    axes[3].set_xlabel('iteration i')
    axes[3].grid(alpha=0.3)
    save_figure(figure, args.out, dpi=80)


if __name__ == '__main__':
    main()
