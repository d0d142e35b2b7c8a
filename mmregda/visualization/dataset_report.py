"""A dataset's check as files: one page, its figure, and every finding."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmregda.datasets.checks import DatasetReport, SplitSummary
from mmregda.visualization.figures import new_figure, save_figure, write_text


def write_dataset_report(folder: str, report: DatasetReport) -> None:
    """Write ``summary.md``, ``summary.png`` and ``findings.csv``.

    Args:
        folder (str): Where; made if it is missing.
        report (DatasetReport): What was found.
    """
    os.makedirs(folder, exist_ok=True)
    page = report.to_markdown() + '\n![Sizes of boxes, visibility](summary.png)\n'
    write_text(os.path.join(folder, 'summary.md'), page)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator='\n')
    writer.writerow(['kind', 'split', 'path', 'detail', 'spoils'])
    for finding in report.findings:
        writer.writerow([*finding[:-1], 'yes' if finding.spoils else 'no'])
    write_text(os.path.join(folder, 'findings.csv'), table.getvalue())
    save_figure(draw_summaries(report), os.path.join(folder, 'summary.png'))


def draw_summaries(report: DatasetReport) -> Figure:
    """A row for each split: how large boxes are, how often keypoints are seen.

    Args:
        report (DatasetReport): What was found.

    Returns:
        Figure: Histograms of the boxes' longer sides; of labelled splits, the
        share of instances in which each keypoint is visible.
    """
    splits = report.splits
    figure = new_figure(9, 2.2 * len(splits) + 0.2)
    grid = figure.subplots(len(splits), 2, squeeze=False, width_ratios=(1, 1.6))
    largest = max((s.box_sides.max(initial=0) for s in splits), default=0)
    bins: Any = np.linspace(0, max(largest, 1), 41)
    for split, (boxes, visibility) in zip(splits, grid):
        boxes.hist(split.box_sides, bins=bins, color='tab:blue')
        boxes.set_title(f'{split.name}: {split.num_samples} samples', fontsize=9)
        boxes.set_xlabel("box's longer side (pixels)", fontsize=8)
        boxes.set_ylabel('samples', fontsize=8)
        boxes.tick_params(labelsize=7)
        _draw_visibility(visibility, split)
    return figure


def _draw_visibility(axes: Axes, split: SplitSummary) -> None:
    if not len(split.visible):
        axes.set_axis_off()
        axes.text(0.5, 0.5, 'labels not looked at', ha='center', fontsize=8)
        return
    places = np.arange(len(split.visible))
    axes.bar(places, 100 * split.visible, color='tab:green')
    axes.set_ylim(0, 100)
    axes.set_ylabel('visible (%)', fontsize=8)
    axes.set_title(f'{split.name}: {split.num_labeled} labelled', fontsize=9)
    axes.set_xticks(places, split.keypoint_names, rotation=90)
    axes.tick_params(labelsize=6)
