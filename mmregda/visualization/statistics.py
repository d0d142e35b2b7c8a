"""The statistics figure of the paper: f and f' in the course of training."""

from __future__ import annotations

from typing import Dict

import numpy as np
from matplotlib.lines import Line2D

from mmregda.errors import InputError
from mmregda.visualization.curves import load_scalars
from mmregda.visualization.figures import COLORS, new_figure, save_figure

_PANELS = (
    ('accuracy_f', '(a) accuracy of f', 'PCK (%)'),
    ('accuracy_adversary', "(b) accuracy of f'", 'PCK (%)'),
    ('accuracy_difference', "(c) accuracy of f less that of f'", 'points of PCK'),
    ('prediction_difference', "(d) keypoints on which f and f' differ", '%'),
)
_STYLES = dict(source='--', target='-')


def plot_statistics(path: str, runs: Dict[str, str]) -> None:
    """Draw the accuracies of f and f' and how they differ, over iterations.

    It is what
    :class:`~mmregda.engine.hooks.DisparityStatisticsHook` has logged. A method
    without an adversarial regressor appears in (a) alone.

    Raises:
        InputError: If a run has logged no statistics.
    """
    scalars = {label: load_scalars(work_dir) for label, work_dir in runs.items()}
    for label, found in scalars.items():
        if not any(name.startswith('statistics/') for name in found):
            raise InputError(
                f'run "{label}": no statistics were logged in '
                f'"{runs[label]}/*/vis_data/scalars.json". Train with '
                'dict(type="DisparityStatisticsHook") among the custom_hooks of the '
                'config.'
            )
    styles = {
        domain: style
        for domain, style in _STYLES.items()
        if any(
            name.startswith(f'statistics/{domain}/')
            for f in scalars.values()
            for name in f
        )
    }
    figure = new_figure(9, 6.6)
    for axes, (key, title, unit) in zip(figure.subplots(2, 2).flat, _PANELS):
        for index, found in enumerate(scalars.values()):
            for domain, style in styles.items():
                steps, values = found.get(f'statistics/{domain}/{key}', ([], []))
                axes.plot(steps, 100 * np.array(values), style, **_looks(index))
        axes.set_title(title, fontsize=11)
        axes.set_xlabel('iteration')
        axes.set_ylabel(unit)
        axes.grid(alpha=0.3)
        if key == 'accuracy_difference':
            axes.axhline(0, color='0.5', linewidth=0.8, zorder=0)
        if not axes.dataLim.width:
            axes.text(0.5, 0.5, 'nothing logged', ha='center', transform=axes.transAxes)
    handles = [
        Line2D([], [], label=label, **_looks(index)) for index, label in enumerate(runs)
    ]
    handles += [
        Line2D([], [], color='0.4', linestyle=style, label=f'on the {domain}')
        for domain, style in styles.items()
    ]
    figure.legend(handles=handles, loc='outside lower center', ncols=4, fontsize=9)
    save_figure(figure, path)


def _looks(index: int) -> dict:
    repeat, color = divmod(index, len(COLORS))
    markers = ('', 'o', 's', '^')
    return dict(
        color=COLORS[color],
        marker=markers[repeat % len(markers)],
        markersize=3,
        linewidth=1.5,
    )
