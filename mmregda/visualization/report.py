"""One figure that shows what adaptation did."""

from __future__ import annotations

from typing import Dict, Sequence

import numpy as np
from matplotlib.axes import Axes

from mmregda.visualization.curves import Scalars
from mmregda.visualization.figures import COLORS, new_figure, save_figure
from mmregda.visualization.predictions import DrawnSample
from mmregda.visualization.skeletons import draw_image, draw_skeleton


def write_report(
    path: str,
    title: str,
    samples: Dict[str, Sequence[DrawnSample]],
    curves: Dict[str, Scalars],
    metainfo: dict,
) -> None:
    """Draw target images with skeletons, and the course of training, as PNG.

    Each row is one image: the ground truth, then each method's prediction. Below are
    the accuracy of f on each domain, and for methods with an adversary that of f' and
    their disagreement.

    Args:
        path (str): The file.
        title (str): The figure's heading.
        samples (dict[str, Sequence[DrawnSample]]): By method, in the same order.
        curves (dict[str, dict]): By method, of
            :func:`~mmregda.visualization.curves.load_scalars`.
        metainfo (dict): The dataset's parsed metainfo, for the skeleton.
    """
    methods = list(samples)
    first = samples[methods[0]]
    pairs = 2
    rows = -(-len(first) // pairs)
    columns = pairs * (1 + len(methods))
    figure = new_figure(2.1 * columns, 2.2 * rows + 3.6)
    figure.suptitle(title)
    top, bottom = figure.subfigures(2, 1, height_ratios=(2.2 * rows, 3.4))

    grid = top.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, sample in enumerate(first):
        row, block = divmod(index, pairs)
        cells = grid[row, block * (1 + len(methods)) :]
        draw_image(cells[0], sample.image)
        draw_skeleton(cells[0], sample.keypoints, metainfo, sample.visible)
        for cell, method in zip(cells[1:], methods):
            drawn = samples[method][index]
            draw_image(cell, drawn.image)
            draw_skeleton(cell, drawn.predicted, metainfo)
        if row == 0:
            for cell, name in zip(cells, ['ground truth', *methods]):
                cell.set_title(name, fontsize=10)

    domains = [
        domain
        for domain in ('source', 'target')
        if any(f'statistics/{domain}/accuracy_f' in s for s in curves.values())
    ]
    panels = bottom.subplots(1, len(domains) + 1, squeeze=False)
    _draw_curves(panels[0], domains, curves)
    save_figure(figure, path)


def _draw_curves(
    panels: Sequence[Axes], domains: Sequence[str], curves: Dict[str, Scalars]
) -> None:
    for panel, domain in zip(panels, domains):
        panel.set_title(f"accuracy of f and f' on the {domain}", fontsize=10)
        panel.set_ylabel('PCK@0.05 (%)')
        for color, (method, scalars) in zip(COLORS, curves.items()):
            for key, style, label in (
                ('accuracy_f', '-', method),
                ('accuracy_adversary', ':', f"{method}, f'"),
            ):
                _plot(panel, scalars, f'statistics/{domain}/{key}', style, color, label)
    panels[-1].set_title("keypoints on which f and f' differ", fontsize=10)
    panels[-1].set_ylabel('%')
    for color, (method, scalars) in zip(COLORS, curves.items()):
        for domain, style in (('source', '--'), ('target', '-')):
            key = f'statistics/{domain}/prediction_difference'
            _plot(panels[-1], scalars, key, style, color, f'{method}, {domain}')
    for panel in panels:
        panel.set_xlabel('iteration')
        panel.grid(alpha=0.3)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=8)


def _plot(
    panel: Axes, scalars: Scalars, key: str, style: str, color: str, label: str
) -> None:
    if key in scalars:
        steps, values = scalars[key]
        panel.plot(steps, 100 * np.array(values), style, color=color, label=label)
